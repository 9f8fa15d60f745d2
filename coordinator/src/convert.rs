//! Batches between the wire and the state machine's types.

use proto::v1;
use rules::{
    Fr, PROTOCOL_VERSION,
    account::{AccountIndex, INDEX_BITS, TokenId},
    amount::{Amount, AmountError, EXPONENT_BITS, Fee},
    babyjub::Point,
    batch::Batch,
    eddsa::{PublicKey, Signature},
    field,
    operation::{
        Creation, Expiry, Operation, RollupId, SignedCreation, SignedTransfer, SignedWithdrawal, TIME_BITS,
        Transfer, Withdrawal,
    },
};

mod queued;

/// A field of a batch that is missing or out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: expected {expected}, found {found}", self.path())]
pub struct FieldError {
    /// Place of the operation in the batch; none for a field of the batch itself.
    pub operation: Option<usize>,
    /// The field, as a path from the operation or the batch; empty for an operation as a whole.
    pub field: &'static str,
    /// What the field may be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl FieldError {
    /// The field as a path from the request, such as `batch.operations[37].signature.s`.
    pub fn path(&self) -> String {
        match (self.operation, self.field) {
            (Some(operation), "") => format!("batch.operations[{operation}]"),
            (Some(operation), field) => format!("batch.operations[{operation}].{field}"),
            (None, field) => format!("batch.{field}"),
        }
    }
}

/// A batch as a message.
pub fn batch_to_proto(batch: &Batch) -> v1::Batch {
    v1::Batch {
        protocol_version: PROTOCOL_VERSION,
        chain_id: batch.rollup_id.chain_id,
        contract: batch.rollup_id.contract.to_vec().into(),
        number: batch.number,
        time: batch.time,
        old_root: field::to_be(&batch.old_root).to_vec().into(),
        new_root: field::to_be(&batch.new_root).to_vec().into(),
        operations: batch.operations.iter().map(operation_to_proto).collect(),
    }
}

fn operation_to_proto(operation: &Operation) -> v1::Operation {
    use v1::operation::Kind;
    let (kind, signature) = match operation {
        Operation::NoOp => (Kind::NoOp(v1::NoOp {}), None),
        Operation::Transfer(signed) => (
            Kind::Transfer(transfer_to_proto(&signed.transfer)),
            Some(&signed.signature),
        ),
        Operation::Withdrawal(signed) => (
            Kind::Withdrawal(withdrawal_to_proto(&signed.withdrawal)),
            Some(&signed.signature),
        ),
        Operation::Creation(signed) => (
            Kind::Creation(creation_to_proto(&signed.creation)),
            Some(&signed.signature),
        ),
        Operation::Queued(queued) => (Kind::Queued(queued::to_proto(queued)), None),
    };
    v1::Operation {
        kind: Some(kind),
        signature: signature.map(|signature| v1::Signature {
            r8_x: field::to_be(&signature.r8.x).to_vec().into(),
            r8_y: field::to_be(&signature.r8.y).to_vec().into(),
            s: signature.s.to_vec().into(),
        }),
    }
}

fn transfer_to_proto(transfer: &Transfer) -> v1::Transfer {
    v1::Transfer {
        from: transfer.from.get(),
        to: transfer.to.get(),
        amount: Some(v1::Decimal {
            mantissa: transfer.amount.mantissa(),
            exponent: transfer.amount.exponent().into(),
        }),
        fee: Some(fee_to_proto(&transfer.fee)),
        nonce: transfer.nonce,
        expiry: transfer.expiry.get(),
        token: transfer.token.0.into(),
    }
}

fn withdrawal_to_proto(withdrawal: &Withdrawal) -> v1::Withdrawal {
    v1::Withdrawal {
        from: withdrawal.from.get(),
        amount: withdrawal.amount.to_be_bytes().to_vec().into(),
        fee: Some(fee_to_proto(&withdrawal.fee)),
        nonce: withdrawal.nonce,
        expiry: withdrawal.expiry.get(),
        token: withdrawal.token.0.into(),
    }
}

fn creation_to_proto(creation: &Creation) -> v1::Creation {
    let PublicKey(owner) = creation.owner;
    v1::Creation {
        index: creation.index.get(),
        token: creation.token.0.into(),
        owner_x: field::to_be(&owner.x).to_vec().into(),
        owner_y: field::to_be(&owner.y).to_vec().into(),
        l1_address: creation.l1_address.to_vec().into(),
    }
}

fn fee_to_proto(fee: &Fee) -> v1::Decimal {
    v1::Decimal {
        mantissa: fee.mantissa(),
        exponent: fee.exponent().into(),
    }
}

/// A message as a batch. Each value is checked to be in range, and an operation of the queue to be one that the queue can have;
/// executing the batch checks the rest.
///
/// # Errors
/// The first field that is missing or out of range.
pub fn batch_from_proto(batch: v1::Batch) -> Result<Batch, FieldError> {
    if batch.protocol_version != PROTOCOL_VERSION {
        return Err(wrong(
            "protocol_version",
            PROTOCOL_VERSION,
            batch.protocol_version,
        ));
    }
    if batch.time >> TIME_BITS != 0 {
        return Err(wrong("time", format!("below 2^{TIME_BITS}"), batch.time));
    }
    if batch.operations.is_empty() {
        return Err(wrong("operations", "at least one", 0));
    }
    let operations = batch.operations.iter().enumerate().map(|(at, operation)| {
        operation_from_proto(operation).map_err(|error| FieldError {
            operation: Some(at),
            ..error
        })
    });
    Ok(Batch {
        rollup_id: RollupId {
            chain_id: batch.chain_id,
            contract: bytes("contract", &batch.contract)?,
        },
        number: batch.number,
        time: batch.time,
        old_root: element("old_root", &batch.old_root)?,
        new_root: element("new_root", &batch.new_root)?,
        operations: operations.collect::<Result<_, _>>()?,
    })
}

fn operation_from_proto(operation: &v1::Operation) -> Result<Operation, FieldError> {
    use v1::operation::Kind;
    let kinds = "transfer, withdrawal, creation, queued or no_op";
    let kind = operation
        .kind
        .as_ref()
        .ok_or_else(|| wrong("", kinds, "nothing"))?;
    if matches!(kind, Kind::Queued(_) | Kind::NoOp(_)) && operation.signature.is_some() {
        return Err(wrong("signature", "nothing, of what nobody signs", "a signature"));
    }
    Ok(match kind {
        Kind::NoOp(v1::NoOp {}) => Operation::NoOp,
        Kind::Transfer(transfer) => Operation::Transfer(SignedTransfer {
            transfer: transfer_from_proto(transfer)?,
            signature: signature(operation)?,
        }),
        Kind::Withdrawal(withdrawal) => Operation::Withdrawal(SignedWithdrawal {
            withdrawal: withdrawal_from_proto(withdrawal)?,
            signature: signature(operation)?,
        }),
        Kind::Creation(creation) => Operation::Creation(SignedCreation {
            creation: creation_from_proto(creation)?,
            signature: signature(operation)?,
        }),
        Kind::Queued(queued) => Operation::Queued(queued::from_proto(queued)?),
    })
}

fn transfer_from_proto(transfer: &v1::Transfer) -> Result<Transfer, FieldError> {
    let amount = transfer
        .amount
        .as_ref()
        .ok_or_else(|| missing("transfer.amount"))?;
    Ok(Transfer {
        from: account("transfer.from", transfer.from)?,
        to: account("transfer.to", transfer.to)?,
        amount: decimal("transfer.amount", amount, Amount::new)?,
        fee: fee("transfer.fee", transfer.fee.as_ref())?,
        nonce: transfer.nonce,
        expiry: expiry("transfer.expiry", transfer.expiry)?,
        token: token("transfer.token", transfer.token)?,
    })
}

fn withdrawal_from_proto(withdrawal: &v1::Withdrawal) -> Result<Withdrawal, FieldError> {
    Ok(Withdrawal {
        from: account("withdrawal.from", withdrawal.from)?,
        amount: u128::from_be_bytes(bytes("withdrawal.amount", &withdrawal.amount)?),
        fee: fee("withdrawal.fee", withdrawal.fee.as_ref())?,
        nonce: withdrawal.nonce,
        expiry: expiry("withdrawal.expiry", withdrawal.expiry)?,
        token: token("withdrawal.token", withdrawal.token)?,
    })
}

fn creation_from_proto(creation: &v1::Creation) -> Result<Creation, FieldError> {
    Ok(Creation {
        index: account("creation.index", creation.index)?,
        token: token("creation.token", creation.token)?,
        owner: PublicKey(Point {
            x: element("creation.owner_x", &creation.owner_x)?,
            y: element("creation.owner_y", &creation.owner_y)?,
        }),
        l1_address: bytes("creation.l1_address", &creation.l1_address)?,
    })
}

fn signature(operation: &v1::Operation) -> Result<Signature, FieldError> {
    let signature = operation.signature.as_ref().ok_or_else(|| missing("signature"))?;
    Ok(Signature {
        r8: Point {
            x: element("signature.r8_x", &signature.r8_x)?,
            y: element("signature.r8_y", &signature.r8_y)?,
        },
        s: bytes("signature.s", &signature.s)?,
    })
}

/// The index of an account, which is not 0.
fn account(field: &'static str, found: u64) -> Result<AccountIndex, FieldError> {
    match AccountIndex::new(found) {
        Ok(index) if index != AccountIndex::NONE => Ok(index),
        _ => Err(wrong(field, format!("1 to 2^{INDEX_BITS} - 1"), found)),
    }
}

fn token(field: &'static str, found: u32) -> Result<TokenId, FieldError> {
    match u16::try_from(found) {
        Ok(token) if token > 0 => Ok(TokenId(token)),
        _ => Err(wrong(field, "1 to 65535", found)),
    }
}

fn expiry(field: &'static str, found: u64) -> Result<Expiry, FieldError> {
    Expiry::new(found).map_err(|_| wrong(field, format!("below 2^{TIME_BITS}"), found))
}

fn fee(field: &'static str, found: Option<&v1::Decimal>) -> Result<Fee, FieldError> {
    decimal(field, found.ok_or_else(|| missing(field))?, Fee::new)
}

fn decimal<T>(
    field: &'static str,
    found: &v1::Decimal,
    new: impl FnOnce(u32, u8) -> Result<T, AmountError>,
) -> Result<T, FieldError> {
    let text = || format!("{}e{}", found.mantissa, found.exponent);
    let exponent = u8::try_from(found.exponent)
        .map_err(|_| wrong(field, format!("an exponent below 2^{EXPONENT_BITS}"), text()))?;
    new(found.mantissa, exponent)
        .map_err(|error| wrong(field, format!("a canonical decimal ({error})"), text()))
}

fn element(field: &'static str, found: &[u8]) -> Result<Fr, FieldError> {
    field::from_be(&bytes(field, found)?)
        .map_err(|error| wrong(field, "an element below r", hex::encode(error.0)))
}

fn bytes<const N: usize>(field: &'static str, found: &[u8]) -> Result<[u8; N], FieldError> {
    found
        .try_into()
        .map_err(|_| wrong(field, format!("{N} bytes"), format!("{} bytes", found.len())))
}

fn missing(field: &'static str) -> FieldError {
    wrong(field, "a value", "nothing")
}

fn wrong(field: &'static str, expected: impl ToString, found: impl ToString) -> FieldError {
    FieldError {
        operation: None,
        field,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use rules::sample::{Draw, Mix, Sample, SampleConfig};
    use rules::statement::ROOT_INSTANCES;
    use rules::witness::Shape;
    use v1::operation::Kind;

    const ROLLUP: RollupId = RollupId {
        chain_id: 31_337,
        contract: [7; 20],
    };

    #[test]
    fn the_service_names_the_root_instances_in_their_order() {
        let proto = include_str!("../../proto/zkrollup/prover/v1/prover_service.proto");
        let comment = proto.split("in the order of P-8.4: ").nth(1).expect("their list");
        let list = comment
            .split(".\n")
            .next()
            .expect("its end")
            .replace("\n  // ", " ");
        assert_eq!(list, ROOT_INSTANCES.join(", "));
    }

    /// A batch with operations of every kind.
    fn batch() -> Batch {
        let mut sample = Sample::new(SampleConfig {
            seed: 1,
            users: 4,
            tokens: 2,
        });
        let mut draw = Draw {
            shape: Shape {
                places: 200,
                rooms: 40,
            },
            queued: 12,
            signed: 0,
            mix: Mix::All,
        };
        sample.batch(ROLLUP, 1_800_000_000, draw);
        draw.signed = 100;
        sample.batch(ROLLUP, 1_800_000_000, draw)
    }

    type Is = fn(&Operation) -> bool;
    const KINDS: [(&str, Is); 5] = [
        ("transfer", |operation| {
            matches!(operation, Operation::Transfer(_))
        }),
        ("withdrawal", |operation| {
            matches!(operation, Operation::Withdrawal(_))
        }),
        ("creation", |operation| {
            matches!(operation, Operation::Creation(_))
        }),
        ("queued", |operation| matches!(operation, Operation::Queued(_))),
        ("no_op", |operation| matches!(operation, Operation::NoOp)),
    ];

    #[test]
    fn a_batch_of_every_kind_of_operation_survives_the_wire() {
        let batch = batch();
        for (name, is) in KINDS {
            assert!(batch.operations.iter().any(is), "no {name}");
        }
        let bytes = batch_to_proto(&batch).encode_to_vec();
        let message = v1::Batch::decode(bytes.as_slice()).expect("just encoded");
        assert_eq!(batch_from_proto(message), Ok(batch));
    }

    /// Breaks one field and expects the error to name it.
    fn refused(path: &str, found: &str, spoil: impl FnOnce(&mut v1::Batch)) {
        let mut message = batch_to_proto(&batch());
        spoil(&mut message);
        let error = batch_from_proto(message).expect_err(path);
        assert_eq!((error.path().as_str(), error.found.as_str()), (path, found));
    }

    /// Breaks the first operation of a kind and expects the error to name place and field.
    fn refused_in(kind: &str, field: &str, found: &str, spoil: impl FnOnce(&mut v1::Operation)) {
        let (_, is) = KINDS.into_iter().find(|(name, _)| *name == kind).expect("a kind");
        let at = batch().operations.iter().position(is).expect("one is there");
        let path = match field {
            "" => format!("batch.operations[{at}]"),
            field => format!("batch.operations[{at}].{field}"),
        };
        refused(&path, found, |batch| spoil(&mut batch.operations[at]));
    }

    fn transfer(operation: &mut v1::Operation) -> &mut v1::Transfer {
        match &mut operation.kind {
            Some(Kind::Transfer(transfer)) => transfer,
            other => panic!("{other:?}"),
        }
    }

    fn withdrawal(operation: &mut v1::Operation) -> &mut v1::Withdrawal {
        match &mut operation.kind {
            Some(Kind::Withdrawal(withdrawal)) => withdrawal,
            other => panic!("{other:?}"),
        }
    }

    fn creation(operation: &mut v1::Operation) -> &mut v1::Creation {
        match &mut operation.kind {
            Some(Kind::Creation(creation)) => creation,
            other => panic!("{other:?}"),
        }
    }

    fn signature(operation: &mut v1::Operation) -> &mut v1::Signature {
        operation.signature.as_mut().expect("the sample sets it")
    }

    fn decimal(mantissa: u32, exponent: u32) -> Option<v1::Decimal> {
        Some(v1::Decimal { mantissa, exponent })
    }

    #[test]
    fn each_field_of_the_batch_is_checked() {
        refused("batch.protocol_version", "1", |batch| batch.protocol_version = 1);
        refused("batch.contract", "19 bytes", |batch| {
            batch.contract = vec![0; 19].into()
        });
        refused("batch.time", "1099511627776", |batch| batch.time = 1 << 40);
        refused("batch.old_root", "0 bytes", |batch| {
            batch.old_root = Vec::new().into()
        });
        refused("batch.new_root", &"ff".repeat(32), |batch| {
            batch.new_root = vec![0xff; 32].into()
        });
        refused("batch.operations", "0", |batch| batch.operations.clear());
    }

    #[test]
    fn an_operation_is_of_one_kind_and_those_that_are_signed_have_a_signature() {
        for (name, _) in KINDS {
            refused_in(name, "", "nothing", |operation| operation.kind = None);
        }
        for name in ["transfer", "withdrawal", "creation"] {
            refused_in(name, "signature", "nothing", |operation| {
                operation.signature = None
            });
            refused_in(name, "signature.r8_x", "31 bytes", |operation| {
                signature(operation).r8_x = vec![0; 31].into();
            });
            refused_in(name, "signature.r8_y", &"ff".repeat(32), |operation| {
                signature(operation).r8_y = vec![0xff; 32].into();
            });
            refused_in(name, "signature.s", "33 bytes", |operation| {
                signature(operation).s = vec![0; 33].into()
            });
        }
        for name in ["queued", "no_op"] {
            refused_in(name, "signature", "a signature", |operation| {
                operation.signature = Some(v1::Signature::default());
            });
        }
    }

    #[test]
    fn each_field_of_a_transfer_is_checked() {
        let refused = |field: &str, found: &str, spoil: fn(&mut v1::Transfer)| {
            let field = format!("transfer.{field}");
            refused_in("transfer", &field, found, |operation| spoil(transfer(operation)));
        };
        refused("from", "0", |transfer| transfer.from = 0);
        refused("to", "8589934592", |transfer| transfer.to = 1 << 33);
        refused("amount", "nothing", |transfer| transfer.amount = None);
        refused("amount", "524288e0", |transfer| {
            transfer.amount = decimal(1 << 19, 0)
        });
        refused("amount", "10e1", |transfer| transfer.amount = decimal(10, 1));
        refused("fee", "nothing", |transfer| transfer.fee = None);
        refused("fee", "1e257", |transfer| transfer.fee = decimal(1, 257));
        refused("expiry", "1099511627776", |transfer| transfer.expiry = 1 << 40);
        refused("token", "0", |transfer| transfer.token = 0);
        refused("token", "65537", |transfer| transfer.token = 65_537);
    }

    #[test]
    fn each_field_of_a_withdrawal_is_checked() {
        let refused = |field: &str, found: &str, spoil: fn(&mut v1::Withdrawal)| {
            let field = format!("withdrawal.{field}");
            refused_in("withdrawal", &field, found, |operation| {
                spoil(withdrawal(operation))
            });
        };
        refused("from", "0", |withdrawal| withdrawal.from = 0);
        refused("amount", "0 bytes", |withdrawal| {
            withdrawal.amount = Vec::new().into()
        });
        // 2^128.
        refused("amount", "17 bytes", |withdrawal| {
            withdrawal.amount = [vec![1], vec![0; 16]].concat().into();
        });
        refused("fee", "nothing", |withdrawal| withdrawal.fee = None);
        refused("fee", "16e0", |withdrawal| withdrawal.fee = decimal(16, 0));
        refused("expiry", "1099511627776", |withdrawal| {
            withdrawal.expiry = 1 << 40
        });
        refused("token", "0", |withdrawal| withdrawal.token = 0);
    }

    #[test]
    fn each_field_of_a_creation_is_checked() {
        let refused = |field: &str, found: &str, spoil: fn(&mut v1::Creation)| {
            let field = format!("creation.{field}");
            refused_in("creation", &field, found, |operation| spoil(creation(operation)));
        };
        refused("index", "0", |creation| creation.index = 0);
        refused("index", "8589934592", |creation| creation.index = 1 << 33);
        refused("token", "65536", |creation| creation.token = 1 << 16);
        refused("owner_x", "0 bytes", |creation| {
            creation.owner_x = Vec::new().into()
        });
        refused("owner_y", &"ff".repeat(32), |creation| {
            creation.owner_y = vec![0xff; 32].into()
        });
        refused("l1_address", "21 bytes", |creation| {
            creation.l1_address = vec![0; 21].into()
        });
    }

    #[test]
    fn a_field_of_an_entry_is_named_with_its_operation() {
        refused_in("queued", "queued.kind", "0", |operation| {
            let Some(Kind::Queued(queued)) = &mut operation.kind else {
                panic!("{operation:?}");
            };
            queued.kind = 0;
        });
    }
}
