//! A step's witness as field elements and integers, without the ranges that the native types enforce, so that the
//! layout can be given values that no native type would hold.

use rules::Fr;
use rules::account::Account;
use rules::babyjub::Point;
use rules::tree::Path;
use rules::witness::{LeafUpdate, StepWitness};

/// One update of one leaf.
#[derive(Clone, Debug)]
pub(super) struct RawUpdate {
    pub index: u64,
    /// `token, nonce, balance, Ax, Ay, l1_address`.
    pub before: [Fr; 6],
    pub after: [Fr; 6],
    pub path: Path,
}

/// A float's parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawFloat {
    pub mantissa: Fr,
    pub exponent: u8,
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct RawStep {
    pub is_op: bool,
    pub amount: RawFloat,
    pub fee: RawFloat,
    pub expiry: Fr,
    pub r8: Point,
    /// Big endian.
    pub s: [u8; 32],
    /// Sender, receiver, fee account.
    pub updates: [RawUpdate; 3],
}

fn fields(account: &Account) -> [Fr; 6] {
    let inputs = account.leaf_inputs();
    std::array::from_fn(|i| inputs[i])
}

impl From<&LeafUpdate> for RawUpdate {
    fn from(update: &LeafUpdate) -> Self {
        Self {
            index: update.index.get(),
            before: fields(&update.before),
            after: fields(&update.after),
            path: update.path,
        }
    }
}

impl From<&StepWitness> for RawStep {
    fn from(step: &StepWitness) -> Self {
        let transfer = &step.operation.transfer;
        let signature = &step.operation.signature;
        let mut s = [0; 32];
        let integer = signature.s_integer().to_bytes_be();
        s[32 - integer.len()..].copy_from_slice(&integer);
        Self {
            is_op: step.is_op,
            amount: RawFloat {
                mantissa: Fr::from(u64::from(transfer.amount.mantissa())),
                exponent: transfer.amount.exponent(),
            },
            fee: RawFloat {
                mantissa: Fr::from(u64::from(transfer.fee.mantissa())),
                exponent: transfer.fee.exponent(),
            },
            expiry: Fr::from(transfer.expiry.get()),
            r8: signature.r8,
            s,
            updates: [&step.sender, &step.receiver, &step.fee].map(RawUpdate::from),
        }
    }
}
