//! Batches between the wire and the state machine's types.

use proto::v1;
use rules::{
    Fr, PROTOCOL_VERSION,
    account::{AccountIndex, INDEX_BITS, TokenId},
    amount::{Amount, AmountError, EXPONENT_BITS, Fee},
    babyjub::Point,
    batch::Batch,
    eddsa::Signature,
    field,
    operation::{Expiry, RollupId, SignedTransfer, TIME_BITS, Transfer},
};

/// A field of a batch that is missing or out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: expected {expected}, found {found}", self.path())]
pub struct FieldError {
    /// Place of the operation in the batch; none for a field of the batch itself.
    pub operation: Option<usize>,
    /// The field, as a path from the operation or the batch.
    pub field: &'static str,
    /// What the field may be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

impl FieldError {
    /// The field as a path from the request, such as `batch.operations[37].signature.s`.
    pub fn path(&self) -> String {
        match self.operation {
            Some(operation) => format!("batch.operations[{operation}].{}", self.field),
            None => format!("batch.{}", self.field),
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

fn operation_to_proto(SignedTransfer { transfer, signature }: &SignedTransfer) -> v1::SignedTransfer {
    let decimal = |mantissa, exponent: u8| {
        Some(v1::Decimal {
            mantissa,
            exponent: exponent.into(),
        })
    };
    v1::SignedTransfer {
        transfer: Some(v1::Transfer {
            from: transfer.from.get(),
            to: transfer.to.get(),
            amount: decimal(transfer.amount.mantissa(), transfer.amount.exponent()),
            fee: decimal(transfer.fee.mantissa(), transfer.fee.exponent()),
            nonce: transfer.nonce,
            expiry: transfer.expiry.get(),
            token: transfer.token.0.into(),
        }),
        signature: Some(v1::Signature {
            r8_x: field::to_be(&signature.r8.x).to_vec().into(),
            r8_y: field::to_be(&signature.r8.y).to_vec().into(),
            s: signature.s.to_vec().into(),
        }),
    }
}

/// A message as a batch. Each value is checked to be in range; executing the batch checks the rest.
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
    let operations = batch.operations.iter().enumerate().map(|(at, signed)| {
        operation_from_proto(signed).map_err(|error| FieldError {
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

fn operation_from_proto(signed: &v1::SignedTransfer) -> Result<SignedTransfer, FieldError> {
    let transfer = signed.transfer.as_ref().ok_or_else(|| missing("transfer"))?;
    let signature = signed.signature.as_ref().ok_or_else(|| missing("signature"))?;
    let amount = transfer
        .amount
        .as_ref()
        .ok_or_else(|| missing("transfer.amount"))?;
    let fee = transfer.fee.as_ref().ok_or_else(|| missing("transfer.fee"))?;
    Ok(SignedTransfer {
        transfer: Transfer {
            from: index("transfer.from", transfer.from)?,
            to: index("transfer.to", transfer.to)?,
            amount: decimal("transfer.amount", amount, Amount::new)?,
            fee: decimal("transfer.fee", fee, Fee::new)?,
            nonce: transfer.nonce,
            expiry: Expiry::new(transfer.expiry)
                .map_err(|_| wrong("transfer.expiry", format!("below 2^{TIME_BITS}"), transfer.expiry))?,
            token: match u16::try_from(transfer.token) {
                Ok(token) if token > 0 => TokenId(token),
                _ => return Err(wrong("transfer.token", "1 to 65535", transfer.token)),
            },
        },
        signature: Signature {
            r8: Point {
                x: element("signature.r8_x", &signature.r8_x)?,
                y: element("signature.r8_y", &signature.r8_y)?,
            },
            s: bytes("signature.s", &signature.s)?,
        },
    })
}

fn index(field: &'static str, found: u64) -> Result<AccountIndex, FieldError> {
    match AccountIndex::new(found) {
        Ok(index) if index != AccountIndex::NONE => Ok(index),
        _ => Err(wrong(field, format!("1 to 2^{INDEX_BITS} - 1"), found)),
    }
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
    use rules::sample::{Sample, SampleConfig};
    use rules::statement::ROOT_INSTANCES;

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

    fn batch() -> Batch {
        let mut sample = Sample::new(SampleConfig {
            seed: 1,
            users: 4,
            tokens: 2,
        });
        sample.batch(ROLLUP, 1_800_000_000, 3)
    }

    #[test]
    fn a_batch_survives_the_wire() {
        let batch = batch();
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

    fn transfer(batch: &mut v1::Batch) -> &mut v1::Transfer {
        batch.operations[2].transfer.as_mut().expect("the sample sets it")
    }

    fn signature(batch: &mut v1::Batch) -> &mut v1::Signature {
        batch.operations[2]
            .signature
            .as_mut()
            .expect("the sample sets it")
    }

    #[test]
    fn each_field_of_the_batch_is_checked() {
        refused("batch.protocol_version", "2", |batch| batch.protocol_version = 2);
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
    fn each_field_of_an_operation_is_checked_and_the_operation_named() {
        refused("batch.operations[2].transfer", "nothing", |batch| {
            batch.operations[2].transfer = None
        });
        refused("batch.operations[2].signature", "nothing", |batch| {
            batch.operations[2].signature = None
        });
        refused("batch.operations[2].transfer.from", "0", |batch| {
            transfer(batch).from = 0
        });
        refused("batch.operations[2].transfer.to", "8589934592", |batch| {
            transfer(batch).to = 1 << 33
        });
        refused("batch.operations[2].transfer.amount", "nothing", |batch| {
            transfer(batch).amount = None
        });
        refused("batch.operations[2].transfer.amount", "524288e0", |batch| {
            transfer(batch).amount = Some(v1::Decimal {
                mantissa: 1 << 19,
                exponent: 0,
            });
        });
        refused("batch.operations[2].transfer.amount", "10e1", |batch| {
            transfer(batch).amount = Some(v1::Decimal {
                mantissa: 10,
                exponent: 1,
            });
        });
        refused("batch.operations[2].transfer.fee", "1e257", |batch| {
            transfer(batch).fee = Some(v1::Decimal {
                mantissa: 1,
                exponent: 257,
            });
        });
        refused("batch.operations[2].transfer.expiry", "1099511627776", |batch| {
            transfer(batch).expiry = 1 << 40
        });
        refused("batch.operations[2].transfer.token", "0", |batch| {
            transfer(batch).token = 0
        });
        refused("batch.operations[2].transfer.token", "65537", |batch| {
            transfer(batch).token = 65_537
        });
        refused("batch.operations[2].signature.r8_x", "31 bytes", |batch| {
            signature(batch).r8_x = vec![0; 31].into();
        });
        refused("batch.operations[2].signature.r8_y", &"ff".repeat(32), |batch| {
            signature(batch).r8_y = vec![0xff; 32].into();
        });
        refused("batch.operations[2].signature.s", "33 bytes", |batch| {
            signature(batch).s = vec![0; 33].into()
        });
    }
}
