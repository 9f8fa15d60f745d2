//! Operations of the queue between the wire and the state machine's types.
//!
//! Whether L1's queue has an entry is not known here. That it can have one like it is checked: the circuit takes other entries too, and
//! L1 would refuse the proof.

use proto::v1;
use rules::{
    account::{AccountIndex, INDEX_BITS, TokenId},
    field,
    operation::{Queued, QueuedError},
    record::{Coordinate, Kind, Record},
};

use super::{FieldError, bytes, missing, wrong};

/// The first index that L1 gives to a deposit to a new account (P-3.5).
const L1_INDEX_MIN: u64 = 1 << 32;

/// An operation of the queue as a message.
pub(super) fn to_proto(queued: &Queued) -> v1::QueuedOperation {
    let record = queued.record();
    let kind = match record.kind {
        Kind::DepositNew => v1::QueuedKind::DepositNew,
        Kind::DepositExisting => v1::QueuedKind::DepositExisting,
        Kind::ForcedExit => v1::QueuedKind::ForcedExit,
        Kind::KeyChange => v1::QueuedKind::KeyChange,
        Kind::Withdrawal | Kind::Creation => unreachable!("the queue has no such records"),
    };
    v1::QueuedOperation {
        kind: kind.into(),
        token: record.token.0.into(),
        index: record.index.get(),
        amount: record.amount.to_be_bytes().to_vec().into(),
        address: record.address.to_vec().into(),
        u: record.u.to_bytes().to_vec().into(),
        v: record.v.to_bytes().to_vec().into(),
    }
}

/// A message as an operation of the queue.
pub(super) fn from_proto(queued: &v1::QueuedOperation) -> Result<Queued, FieldError> {
    let kind = match v1::QueuedKind::try_from(queued.kind) {
        Ok(v1::QueuedKind::DepositNew) => Kind::DepositNew,
        Ok(v1::QueuedKind::DepositExisting) => Kind::DepositExisting,
        Ok(v1::QueuedKind::ForcedExit) => Kind::ForcedExit,
        Ok(v1::QueuedKind::KeyChange) => Kind::KeyChange,
        Ok(v1::QueuedKind::Unspecified) | Err(_) => {
            return Err(wrong("queued.kind", "1 to 4 (P-6.6)", queued.kind));
        }
    };
    let token = u16::try_from(queued.token)
        .map_err(|_| wrong("queued.token", "at most 65535 (P-6.6)", queued.token))?;
    let index = AccountIndex::new(queued.index).map_err(|_| {
        let expected = format!("below 2^{INDEX_BITS} (P-6.6)");
        wrong("queued.index", expected, queued.index)
    })?;
    let deposit = matches!(kind, Kind::DepositNew | Kind::DepositExisting);
    let record = Record {
        kind,
        code: 0,
        token: TokenId(token),
        index,
        amount: u128::from_be_bytes(part("queued.amount", &queued.amount, deposit)?),
        address: bytes("queued.address", &queued.address)?,
        u: coordinate("queued.u", &queued.u, kind)?,
        v: coordinate("queued.v", &queued.v, kind)?,
    };
    let queued = Queued::new(record).map_err(lacking)?;
    check(&record)?;
    Ok(queued)
}

/// Bytes of a field that may be left empty where its kind has none.
fn part<const N: usize>(field: &'static str, found: &[u8], required: bool) -> Result<[u8; N], FieldError> {
    match found {
        [] if required => Err(missing(field)),
        [] => Ok([0; N]),
        found => bytes(field, found),
    }
}

fn coordinate(field: &'static str, found: &[u8], kind: Kind) -> Result<Coordinate, FieldError> {
    Coordinate::new(part(field, found, kind != Kind::ForcedExit)?)
        .map_err(|error| wrong(field, "below 2^254 (P-6.6)", hex::encode(error.0)))
}

/// A field that no entry of the kind has so.
fn lacking(error: QueuedError) -> FieldError {
    let field = match error.field {
        "token" => "queued.token",
        "amount" => "queued.amount",
        "u" => "queued.u",
        "v" => "queued.v",
        // The record is made with a kind of the queue and the code 0.
        _ => "queued",
    };
    let expected = format!("{} in a {} (P-6.6)", error.expected, error.kind);
    wrong(field, expected, error.found)
}

/// What L1 sees to of an entry.
fn check(record: &Record) -> Result<(), FieldError> {
    let deposit = matches!(record.kind, Kind::DepositNew | Kind::DepositExisting);
    if deposit && record.token == TokenId(0) {
        return Err(wrong("queued.token", "1 to 65535 in a deposit (P-12.7)", 0));
    }
    let index = record.index.get();
    let fee_account = record.kind == Kind::DepositNew && index == u64::from(record.token.0);
    if record.kind == Kind::DepositNew && index < L1_INDEX_MIN && !fee_account {
        let expected = format!(
            "{}, the fee account, or at least 2^32 (P-12.4, P-12.9)",
            record.token
        );
        return Err(wrong("queued.index", expected, index));
    }
    if fee_account && record.amount != 0 {
        let expected = "0 in the entry of a fee account (P-12.9)";
        return Err(wrong("queued.amount", expected, record.amount));
    }
    if deposit && !fee_account && record.amount == 0 {
        return Err(wrong("queued.amount", "at least 1 in a deposit (P-12.7)", 0));
    }
    match record.kind {
        Kind::DepositNew | Kind::KeyChange => {
            canonical("queued.u", record.u)?;
            canonical("queued.v", record.v)?;
            let key = record.key();
            let expected = "a key with queued.v (P-12.5)";
            key.validate().map_err(|error| wrong("queued.u", expected, error))
        }
        Kind::DepositExisting => {
            if record.u.to_bytes()[..12] != [0; 12] {
                let expected = "an L1 address in the last 20 of 32 bytes (P-12.6)";
                return Err(wrong("queued.u", expected, hex::encode(record.u.to_bytes())));
            }
            canonical("queued.v", record.v)
        }
        _ => Ok(()),
    }
}

fn canonical(field: &'static str, found: Coordinate) -> Result<(), FieldError> {
    let found = field::from_be(&found.to_bytes());
    found
        .map(drop)
        .map_err(|error| wrong(field, "an element below r (P-12.5, P-12.6)", hex::encode(error.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> (Vec<u8>, Vec<u8>) {
        let point = rules::babyjub::BASE8;
        (field::to_be(&point.x).to_vec(), field::to_be(&point.y).to_vec())
    }

    fn entry(kind: v1::QueuedKind) -> v1::QueuedOperation {
        let (x, y) = key();
        let mut entry = v1::QueuedOperation {
            kind: kind.into(),
            token: 3,
            index: 1 << 32,
            amount: 7u128.to_be_bytes().to_vec().into(),
            address: vec![1; 20].into(),
            u: x.into(),
            v: y.into(),
        };
        match kind {
            v1::QueuedKind::DepositExisting => entry.u = [vec![0; 12], vec![2; 20]].concat().into(),
            v1::QueuedKind::ForcedExit => {
                entry.amount = Vec::new().into();
                (entry.u, entry.v) = (Vec::new().into(), Vec::new().into());
            }
            v1::QueuedKind::KeyChange => {
                entry.token = 0;
                entry.amount = Vec::new().into();
            }
            _ => {}
        }
        entry
    }

    const KINDS: [v1::QueuedKind; 4] = [
        v1::QueuedKind::DepositNew,
        v1::QueuedKind::DepositExisting,
        v1::QueuedKind::ForcedExit,
        v1::QueuedKind::KeyChange,
    ];

    #[test]
    fn what_an_entry_has_not_may_be_left_out_or_zero() {
        for kind in KINDS {
            let left_out = from_proto(&entry(kind)).expect("the queue can have it");
            let written = to_proto(&left_out);
            assert_eq!(
                (written.amount.len(), written.u.len(), written.v.len()),
                (16, 32, 32)
            );
            assert_eq!(from_proto(&written), Ok(left_out));
        }
        let mut fee_account = entry(v1::QueuedKind::DepositNew);
        (fee_account.index, fee_account.amount) = (3, vec![0; 16].into());
        from_proto(&fee_account).expect("addToken enters it");
    }

    /// Breaks one field of an entry and expects the error to name it.
    fn refused(
        kind: v1::QueuedKind,
        field: &str,
        found: &str,
        spoil: impl FnOnce(&mut v1::QueuedOperation),
    ) -> String {
        let mut entry = entry(kind);
        spoil(&mut entry);
        let error = from_proto(&entry).expect_err(field);
        assert_eq!(
            (error.field, error.found.as_str()),
            (field, found),
            "{kind:?}: {error}"
        );
        error.expected
    }

    #[test]
    fn the_ranges_of_each_field_are_checked() {
        for kind in KINDS {
            refused(kind, "queued.kind", "0", |entry| entry.kind = 0);
            refused(kind, "queued.kind", "5", |entry| entry.kind = 5);
            refused(kind, "queued.token", "65536", |entry| entry.token = 1 << 16);
            refused(kind, "queued.index", "8589934592", |entry| entry.index = 1 << 33);
            let over = [vec![1], vec![0; 16]].concat();
            refused(kind, "queued.amount", "17 bytes", |entry| {
                entry.amount = over.into()
            });
            refused(kind, "queued.address", "0 bytes", |entry| {
                entry.address = Vec::new().into()
            });
            refused(kind, "queued.u", "31 bytes", |entry| entry.u = vec![0; 31].into());
            let wide = hex::encode([0x40; 32]);
            refused(kind, "queued.v", &wide, |entry| entry.v = vec![0x40; 32].into());
        }
        for kind in [v1::QueuedKind::DepositNew, v1::QueuedKind::DepositExisting] {
            refused(kind, "queued.amount", "nothing", |entry| {
                entry.amount = Vec::new().into()
            });
        }
        for kind in [v1::QueuedKind::DepositNew, v1::QueuedKind::KeyChange] {
            refused(kind, "queued.u", "nothing", |entry| entry.u = Vec::new().into());
            refused(kind, "queued.v", "nothing", |entry| entry.v = Vec::new().into());
        }
    }

    #[test]
    fn a_field_that_a_kind_lacks_is_refused_with_the_kind() {
        let one = |bytes: usize| [vec![0; bytes - 1], vec![1]].concat();
        for kind in [v1::QueuedKind::ForcedExit, v1::QueuedKind::KeyChange] {
            let expected = refused(kind, "queued.amount", "1", |entry| entry.amount = one(16).into());
            assert!(expected.contains("P-6.6"), "{expected}");
        }
        let found = format!("0x{}", hex::encode(one(32)));
        let exit = v1::QueuedKind::ForcedExit;
        let expected = refused(exit, "queued.u", &found, |entry| entry.u = one(32).into());
        assert_eq!(expected, "0 in a forced exit (P-6.6)");
        refused(exit, "queued.v", &found, |entry| entry.v = one(32).into());
        let change = v1::QueuedKind::KeyChange;
        refused(change, "queued.token", "1", |entry| entry.token = 1);
    }

    #[test]
    fn what_l1_never_lets_into_the_queue_is_refused() {
        let (new, existing) = (v1::QueuedKind::DepositNew, v1::QueuedKind::DepositExisting);
        let change = v1::QueuedKind::KeyChange;
        for index in [0, 4, 65_536, (1 << 32) - 1] {
            refused(new, "queued.index", &index.to_string(), |entry| {
                entry.index = index;
            });
        }
        refused(new, "queued.amount", "7", |entry| entry.index = 3);
        for kind in [new, existing] {
            refused(kind, "queued.token", "0", |entry| entry.token = 0);
            refused(kind, "queued.amount", "0", |entry| {
                entry.amount = vec![0; 16].into();
            });
        }
        // r + 1, of which the residue is 1.
        let (high, low) = (
            0x30644e72e131a029b85045b68181585d_u128,
            0x2833e84879b9709143e1f593f0000002_u128,
        );
        let above = [high.to_be_bytes(), low.to_be_bytes()].concat();
        for (kind, field) in [(new, "queued.u"), (change, "queued.u"), (existing, "queued.v")] {
            refused(kind, field, &hex::encode(&above), |entry| match field {
                "queued.u" => entry.u = above.clone().into(),
                _ => entry.v = above.clone().into(),
            });
        }
        for kind in [new, change] {
            let off = rules::eddsa::SignatureError::KeyOffCurve.to_string();
            refused(kind, "queued.u", &off, |entry| {
                std::mem::swap(&mut entry.u, &mut entry.v)
            });
            // The identity.
            let small = rules::eddsa::SignatureError::KeySmallOrder.to_string();
            refused(kind, "queued.u", &small, |entry| {
                entry.u = vec![0; 32].into();
                entry.v = [vec![0; 31], vec![1]].concat().into();
            });
        }
        let key = hex::encode(key().0);
        refused(existing, "queued.u", &key, |entry| {
            entry.u = super::tests::key().0.into();
        });
    }
}
