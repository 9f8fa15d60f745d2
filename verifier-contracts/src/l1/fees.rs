//! What is offered for gas (EIP-1559).

use alloy::rpc::types::FeeHistory;

use super::error::L1Error;

/// Blocks whose tips are looked at.
pub(super) const HISTORY_BLOCKS: u64 = 10;
/// The tip of those blocks that is offered: the one that half of their gas paid at least.
pub(super) const TIP_PERCENTILE: f64 = 50.0;

/// What may be offered for one gas, wei.
#[derive(Clone, Copy, Debug)]
pub struct FeeBounds {
    /// Most, base fee and tip together; a replacement stays below it too.
    pub fee_max: u128,
    /// Most that the block's proposer is offered of it.
    pub tip_max: u128,
    /// Least that the proposer is offered.
    pub tip_min: u128,
}

impl Default for FeeBounds {
    /// 200 gwei, of which the tip is from 0.001 gwei, the least that common nodes mine, to 20 gwei.
    fn default() -> Self {
        const GWEI: u128 = 1_000_000_000;
        Self {
            fee_max: 200 * GWEI,
            tip_max: 20 * GWEI,
            tip_min: GWEI / 1_000,
        }
    }
}

/// What a transaction offers for one gas, wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fees {
    /// `maxFeePerGas`.
    pub fee: u128,
    /// `maxPriorityFeePerGas`.
    pub tip: u128,
}

impl Fees {
    /// What to offer now: twice the next block's base fee, which six full blocks in a row do not reach, and the
    /// median of the latest blocks' tips.
    pub fn estimate(history: &FeeHistory, bounds: &FeeBounds) -> Result<Self, L1Error> {
        let Some(base_fee) = history.base_fee_per_gas.last().copied() else {
            return Err(L1Error::Answer {
                call: "eth_feeHistory",
                reason: "it has no base fee".to_owned(),
            });
        };
        let tips = history.reward.iter().flatten();
        // Blocks without transactions say nothing of tips.
        let mut tips: Vec<u128> = tips.filter_map(|tips| tips.first().copied()).collect();
        tips.retain(|tip| *tip > 0);
        tips.sort_unstable();
        let median = tips.get(tips.len() / 2).copied().unwrap_or(bounds.tip_min);
        let needed = base_fee.saturating_add(bounds.tip_min);
        if needed > bounds.fee_max {
            let most = bounds.fee_max;
            return Err(L1Error::FeesAboveCap { needed, most });
        }
        // Neither bound can be above the fee: the base fee is not negative.
        let tip = median
            .clamp(bounds.tip_min, bounds.tip_max.max(bounds.tip_min))
            .min(bounds.fee_max);
        let fee = base_fee.saturating_mul(2).saturating_add(tip).min(bounds.fee_max);
        Ok(Self { fee, tip })
    }

    /// What a replacement of a transaction that offers this must offer: an eighth more of both, which is what
    /// nodes ask for at most, or what would be offered now if that is more. None above the bounds.
    pub fn raised(&self, now: Option<Self>, bounds: &FeeBounds) -> Option<Self> {
        let least = Self {
            fee: an_eighth_more(self.fee),
            tip: an_eighth_more(self.tip),
        };
        let tip_max = bounds.tip_max.max(bounds.tip_min).min(bounds.fee_max);
        if least.fee > bounds.fee_max || least.tip > tip_max {
            return None;
        }
        let now = now.unwrap_or(least);
        Some(Self {
            fee: least.fee.max(now.fee).min(bounds.fee_max),
            tip: least.tip.max(now.tip).min(tip_max),
        })
    }
}

/// Rounded up, and more by at least 1.
fn an_eighth_more(value: u128) -> u128 {
    value.saturating_add((value / 8).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(base_fees: &[u128], tips: &[u128]) -> FeeHistory {
        FeeHistory {
            base_fee_per_gas: base_fees.to_vec(),
            reward: Some(tips.iter().map(|tip| vec![*tip]).collect()),
            ..FeeHistory::default()
        }
    }

    const BOUNDS: FeeBounds = FeeBounds {
        fee_max: 1_000,
        tip_max: 100,
        tip_min: 10,
    };

    #[test]
    fn twice_the_next_base_fee_and_the_median_tip_are_offered() {
        let fees = Fees::estimate(&history(&[90, 100], &[30, 0, 20, 50]), &BOUNDS).unwrap();
        assert_eq!(fees, Fees { fee: 230, tip: 30 });
        // Empty blocks say nothing, and a block without an answer neither.
        let fees = Fees::estimate(&history(&[100], &[0, 0]), &BOUNDS).unwrap();
        assert_eq!(fees, Fees { fee: 210, tip: 10 });
        let silent = FeeHistory {
            base_fee_per_gas: vec![100],
            reward: Some(vec![vec![]]),
            ..FeeHistory::default()
        };
        assert_eq!(
            Fees::estimate(&silent, &BOUNDS).unwrap(),
            Fees { fee: 210, tip: 10 }
        );
    }

    #[test]
    fn nothing_is_offered_above_the_bounds() {
        let fees = Fees::estimate(&history(&[900], &[u128::MAX]), &BOUNDS).unwrap();
        assert_eq!(fees, Fees { fee: 1_000, tip: 100 });
        assert!(Fees::estimate(&history(&[990], &[20]), &BOUNDS).is_ok());
        for base_fee in [991, u128::MAX] {
            let refused = Fees::estimate(&history(&[base_fee], &[20]), &BOUNDS);
            assert!(matches!(refused, Err(L1Error::FeesAboveCap { most: 1_000, .. })));
        }
        assert!(matches!(
            Fees::estimate(&FeeHistory::default(), &BOUNDS),
            Err(L1Error::Answer { .. })
        ));
    }

    #[test]
    fn a_replacement_offers_an_eighth_more_of_both_or_what_is_offered_now() {
        let sent = Fees { fee: 400, tip: 10 };
        assert_eq!(sent.raised(None, &BOUNDS), Some(Fees { fee: 451, tip: 12 }));
        let now = Some(Fees { fee: 600, tip: 5 });
        assert_eq!(sent.raised(now, &BOUNDS), Some(Fees { fee: 600, tip: 12 }));
        let now = Some(Fees {
            fee: 5_000,
            tip: 5_000,
        });
        assert_eq!(sent.raised(now, &BOUNDS), Some(Fees { fee: 1_000, tip: 100 }));
        for too_much in [Fees { fee: 889, tip: 10 }, Fees { fee: 400, tip: 90 }] {
            assert_eq!(too_much.raised(None, &BOUNDS), None);
        }
        let last = Fees { fee: 888, tip: 87 };
        assert_eq!(last.raised(None, &BOUNDS), Some(Fees { fee: 1_000, tip: 98 }));
    }
}
