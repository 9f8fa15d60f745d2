//! A step's witness as field elements and integers, without the ranges that the native types enforce, so that the
//! layout can be given values that no native type would hold.

use rules::Fr;
use rules::account::Account;
use rules::babyjub::Point;
use rules::eddsa::Signature;
use rules::tree::Path;
use rules::witness::{LeafUpdate, StepWitness};

/// One update of one leaf.
#[derive(Clone, Debug)]
pub(crate) struct RawUpdate {
    pub index: u64,
    pub before: Fields,
    pub after: Fields,
    pub path: Path,
}

/// A float's parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawFloat {
    pub mantissa: Fr,
    pub exponent: u8,
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct RawStep {
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

/// `token, nonce, balance, Ax, Ay, l1_address`.
pub(crate) type Fields = [Fr; 6];
/// Nobody's.
pub(crate) const NO_ACCOUNT: Fields = [Fr::zero(); 6];

/// The fields of an account.
pub(crate) fn fields(account: &Account) -> Fields {
    let inputs = account.leaf_inputs();
    std::array::from_fn(|i| inputs[i])
}

/// `S` of a signature, big endian.
pub(crate) fn s_bytes(signature: &Signature) -> [u8; 32] {
    let mut s = [0; 32];
    let integer = signature.s_integer().to_bytes_be();
    s[32 - integer.len()..].copy_from_slice(&integer);
    s
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
            s: s_bytes(signature),
            updates: [&step.sender, &step.receiver, &step.fee].map(RawUpdate::from),
        }
    }
}
