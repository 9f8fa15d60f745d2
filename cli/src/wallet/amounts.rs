//! Amounts as people write them: in a token's own units, with as many decimals as it has, exactly.

use rules::amount::{Amount, AmountError, Fee};
use thiserror::Error;

/// Most characters of an amount that are looked at.
const TEXT_MAX: usize = 320;
/// Decimals of ETH.
pub const ETH_DECIMALS: u8 = 18;

/// A text that is no amount of a token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AmountTextError {
    /// It is no decimal number.
    #[error(
        "{text:?} is no amount: expected digits, with a point and more digits if need be, such as 12 or 0.5"
    )]
    Form {
        /// The text, or its beginning.
        text: String,
    },
    /// It has more decimals than the token.
    #[error("{text} has {found} decimals, the token has {decimals}")]
    Decimals {
        /// The text.
        text: String,
        /// Decimals that it has, zeros at its end aside.
        found: usize,
        /// Decimals that the token has.
        decimals: u8,
    },
    /// It is `2^128` smallest units or more.
    #[error("{text} is more than an account can have: 2^128 smallest units")]
    TooLarge {
        /// The text.
        text: String,
    },
}

/// What a transfer cannot say exactly, and the nearest that it can.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {given} is not m·10^e smallest units with m below 2^{bits} (P-4.2); {}", nearest(.below.as_deref(), .above.as_deref()))]
pub struct NoFloat {
    /// "an amount" or "a fee".
    what: &'static str,
    given: String,
    bits: u32,
    below: Option<String>,
    above: Option<String>,
}

fn nearest(below: Option<&str>, above: Option<&str>) -> String {
    match (below, above) {
        (Some(below), Some(above)) => format!("the nearest are {below} and {above}"),
        (Some(one), None) | (None, Some(one)) => format!("the nearest is {one}"),
        (None, None) => "there is none near".to_owned(),
    }
}

/// A token's unit: a one and so many zeros of the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Decimals.
    pub decimals: u8,
}

impl Unit {
    /// Reads an amount, in smallest units.
    ///
    /// # Errors
    /// [`AmountTextError`]: nothing is rounded.
    pub fn parse(self, text: &str) -> Result<u128, AmountTextError> {
        let form = || AmountTextError::Form {
            text: text.chars().take(40).collect(),
        };
        let (whole, part) = match text.split_once('.') {
            Some((whole, part)) if !part.is_empty() => (whole, part),
            Some(_) => return Err(form()),
            None => (text, ""),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() > TEXT_MAX || whole.is_empty() || !digits(whole) || !digits(part) {
            return Err(form());
        }
        let part = part.trim_end_matches('0');
        let missing = usize::from(self.decimals)
            .checked_sub(part.len())
            .ok_or_else(|| AmountTextError::Decimals {
                text: text.to_owned(),
                found: part.len(),
                decimals: self.decimals,
            })?;
        let all = format!("{whole}{part}{}", "0".repeat(missing));
        let significant = all.trim_start_matches('0');
        if significant.is_empty() {
            return Ok(0);
        }
        significant.parse().map_err(|_| AmountTextError::TooLarge {
            text: text.to_owned(),
        })
    }

    /// Writes an amount, as [`Unit::parse`] reads it.
    pub fn show(self, value: u128) -> String {
        let decimals = usize::from(self.decimals);
        let digits = format!("{value:0>width$}", width = decimals + 1);
        let (whole, part) = digits.split_at(digits.len() - decimals);
        match part.trim_end_matches('0') {
            "" => whole.to_owned(),
            part => format!("{whole}.{part}"),
        }
    }

    /// The float of exactly this amount.
    ///
    /// # Errors
    /// [`NoFloat`] names the nearest.
    pub fn amount(self, value: u128) -> Result<Amount, NoFloat> {
        let bits = (Amount::MANTISSA_BITS, Amount::MANTISSA_MIN);
        self.float("an amount of", value, bits, Amount::from_integer, |m, e| {
            Amount::new(m, e).map(|amount| amount.value())
        })
    }

    /// The float of exactly this fee.
    ///
    /// # Errors
    /// [`NoFloat`] names the nearest.
    pub fn fee(self, value: u128) -> Result<Fee, NoFloat> {
        let bits = (Fee::MANTISSA_BITS, Fee::MANTISSA_MIN);
        self.float("a fee of", value, bits, Fee::from_integer, |m, e| {
            Fee::new(m, e).map(|fee| fee.value())
        })
    }

    fn float<T>(
        self,
        what: &'static str,
        value: u128,
        (bits, least): (u32, u32),
        exact: impl Fn(u128) -> Result<T, AmountError>,
        of: impl Fn(u32, u8) -> Result<u128, AmountError>,
    ) -> Result<T, NoFloat> {
        exact(value).map_err(|_| {
            let (below, above) = neighbours(value, bits, least, of);
            NoFloat {
                what,
                given: self.show(value),
                bits,
                below: below.map(|value| self.show(value)),
                above: above.map(|value| self.show(value)),
            }
        })
    }
}

/// The largest float that is not above a value, and the smallest that is not below it.
fn neighbours(
    value: u128,
    bits: u32,
    least: u32,
    of: impl Fn(u32, u8) -> Result<u128, AmountError>,
) -> (Option<u128>, Option<u128>) {
    let (mut mantissa, mut exponent) = (value, 0u8);
    while mantissa >> bits != 0 {
        mantissa /= 10;
        exponent += 1;
    }
    let mantissa = u32::try_from(mantissa).expect("a mantissa has fewer bits");
    let largest = |exponent: u8| of((1 << bits) - 1, exponent).ok();
    // Below the least mantissa stand the largest ones of the exponent before.
    let below = of(mantissa, exponent).ok();
    let below = below.or_else(|| largest(exponent.saturating_sub(1).min(31)));
    let next = match exponent {
        0 => mantissa + 1,
        _ => (mantissa + 1).max(least),
    };
    let above = of(next, exponent);
    let above = above.or_else(|_| of(least, exponent.saturating_add(1)));
    (below, above.ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH: Unit = Unit {
        decimals: ETH_DECIMALS,
    };
    const WHOLE: Unit = Unit { decimals: 0 };

    #[test]
    fn amounts_are_read_exactly_and_written_back() {
        let ether = 10u128.pow(18);
        for (unit, text, value) in [
            (ETH, "1", ether),
            (ETH, "0.5", ether / 2),
            (ETH, "0.000000000000000001", 1),
            (ETH, "0", 0),
            (WHOLE, "7", 7),
            (WHOLE, "340282366920938463463374607431768211455", u128::MAX),
            (Unit { decimals: 6 }, "1234.56789", 1_234_567_890),
            (Unit { decimals: 77 }, "0", 0),
        ] {
            assert_eq!(unit.parse(text), Ok(value), "{text}");
            assert_eq!(unit.show(value), text);
        }
        // Zeros that say nothing.
        assert_eq!(ETH.parse("0001.50000000000000000000000"), Ok(ether / 2 * 3));
        assert_eq!(WHOLE.parse("3.000"), Ok(3));
        let tiny = Unit { decimals: 255 };
        assert_eq!(tiny.parse(&tiny.show(1)), Ok(1));
    }

    #[test]
    fn what_is_no_amount_is_refused_and_never_rounded() {
        for text in [
            "", ".", "1.", ".5", "-1", "+1", "1e3", "1_000", "1,5", " 1", "0x1", "1.2.3", "１",
        ] {
            assert!(
                matches!(ETH.parse(text), Err(AmountTextError::Form { .. })),
                "{text:?}"
            );
        }
        assert!(matches!(
            ETH.parse(&"1".repeat(400)),
            Err(AmountTextError::Form { .. })
        ));
        let finer = ETH.parse("0.0000000000000000001");
        let expected = AmountTextError::Decimals {
            text: "0.0000000000000000001".into(),
            found: 19,
            decimals: 18,
        };
        assert_eq!(finer, Err(expected));
        assert!(matches!(
            WHOLE.parse("0.5"),
            Err(AmountTextError::Decimals { found: 1, .. })
        ));
        assert!(matches!(
            WHOLE.parse("340282366920938463463374607431768211456"),
            Err(AmountTextError::TooLarge { .. })
        ));
        assert!(matches!(
            (Unit { decimals: 255 }).parse("1"),
            Err(AmountTextError::TooLarge { .. })
        ));
    }

    #[test]
    fn the_nearest_floats_are_named() {
        assert_eq!(ETH.amount(10u128.pow(17)).unwrap().value(), 10u128.pow(17));
        let said = ETH
            .amount(ETH.parse("1.23456789").unwrap())
            .unwrap_err()
            .to_string();
        assert!(said.ends_with("the nearest are 1.23456 and 1.23457"), "{said}");
        let said = WHOLE.fee(17).unwrap_err().to_string();
        assert!(said.ends_with("the nearest are 15 and 20"), "{said}");
        let said = WHOLE.amount(u128::MAX).unwrap_err().to_string();
        assert!(
            said.ends_with(&format!("the nearest is {}", 524_287 * 10u128.pow(31))),
            "{said}"
        );
    }

    #[test]
    fn no_float_lies_between_a_value_and_its_neighbours() {
        let mut fees: Vec<u128> = (0..16u32)
            .flat_map(|m| (0..32u8).filter_map(move |e| Fee::new(m, e).ok()))
            .map(|fee| fee.value())
            .collect();
        fees.sort_unstable();
        let of = |m, e| Fee::new(m, e).map(|fee| fee.value());
        let values = fees
            .iter()
            .flat_map(|fee| [fee.saturating_sub(1), *fee, fee + 1, fee + fee / 3])
            .chain([u128::MAX]);
        for value in values {
            let (below, above) = neighbours(value, Fee::MANTISSA_BITS, Fee::MANTISSA_MIN, of);
            let expected = fees.iter().rev().find(|fee| **fee <= value).copied();
            assert_eq!(below, expected, "below {value}");
            if Fee::from_integer(value).is_err() {
                let expected = fees.iter().find(|fee| **fee >= value).copied();
                assert_eq!(above, expected, "above {value}");
            }
        }
    }
}
