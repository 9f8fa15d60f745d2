//! Messages from outside, on any bytes: they neither panic nor become more in memory than the interface allows for.

use coordinator::{
    convert::{batch_from_proto, batch_to_proto},
    core::{
        id::{BatchId, TaskId},
        record::{BatchRecord, TaskRecord},
    },
};
use fuzzer::{Target, Verdict};
use prost::Message;
use proto::v1;

fn target(name: &'static str) -> Target {
    Target::new(env!("CARGO_MANIFEST_DIR"), name)
}

/// A message that decodes, decodes again from its own encoding.
fn decode<M: Message + Default + PartialEq>(bytes: &[u8]) -> Result<M, String> {
    let message = M::decode(bytes).map_err(|error| error.to_string())?;
    // Numbers that are none differ from themselves, so the bytes are compared.
    let encoded = message.encode_to_vec();
    let again = M::decode(encoded.as_slice()).map_err(|error| error.to_string())?;
    assert_eq!(again.encode_to_vec(), encoded);
    Ok(message)
}

/// Two bytes of a message become an element of 32 at the most (a device without a name), and a list that grows holds its old
/// elements beside the new ones. Each target decodes twice and encodes twice.
const PER_BYTE: u64 = 160;

#[test]
fn fuzz_requests_of_workers() {
    use v1::session_request::Message as M;
    let request = |message| {
        v1::SessionRequest {
            message: Some(message),
        }
        .encode_to_vec()
    };
    let hello = v1::Hello {
        worker_name: "w".into(),
        protocol_version: 1,
        shard_vk_digest: vec![1; 32].into(),
        aggregation_vk_digest: vec![2; 32].into(),
        capabilities: vec![1, 2],
        devices: vec![v1::Device::default(); 2],
        memory_bytes: 1 << 40,
        ..v1::Hello::default()
    };
    let progress = v1::Progress {
        task_id: "b1-s0".into(),
        fence: 1,
        phase: "witness".into(),
        fraction: f64::NAN,
    };
    let complete = v1::Complete {
        task_id: "b1-a".into(),
        fence: u64::MAX,
        proof: vec![3; 64].into(),
        accumulator: vec![vec![4; 32].into(); 12],
        prove_ms: 1,
    };
    let fail = v1::Fail {
        task_id: "b1-a".into(),
        fence: 1,
        class: 7,
        message: "why".into(),
    };
    target("session-request")
        .seed("hello", request(M::Hello(hello)))
        .seed(
            "lease",
            request(M::LeaseRequest(v1::LeaseRequest { kinds: vec![1] })),
        )
        .seed("progress", request(M::Progress(progress)))
        .seed("complete", request(M::Complete(complete)))
        .seed("fail", request(M::Fail(fail)))
        .word([0x32, 0])
        .memory(1 << 16, PER_BYTE)
        .run(|bytes| {
            let request: v1::SessionRequest = decode(bytes)?;
            match request.message {
                None => Err("no message".to_string()),
                Some(M::Fail(fail)) => {
                    let _ = proto::FailureClass::try_from(fail.class());
                    task(&fail.task_id);
                    Ok(())
                }
                Some(M::Complete(complete)) => {
                    task(&complete.task_id);
                    Ok(())
                }
                Some(_) => Ok(()),
            }
        });
}

fn task(text: &str) {
    if let Ok(id) = text.parse::<TaskId>() {
        assert_eq!(id.to_string(), text, "an id has one spelling");
    }
}

#[test]
fn fuzz_requests_of_clients() {
    use v1::submit_batch_request::Part;
    let header = v1::SubmitBatchHeader {
        request_id: "r".into(),
        total_bytes: 3,
        sha256: vec![1; 32].into(),
        ..v1::SubmitBatchHeader::default()
    };
    let request = |part| v1::SubmitBatchRequest { part: Some(part) }.encode_to_vec();
    target("submit-request")
        .seed("header", request(Part::Header(header)))
        .seed("chunk", request(Part::Chunk(vec![1, 2, 3].into())))
        .memory(1 << 16, PER_BYTE)
        .run(|bytes| decode::<v1::SubmitBatchRequest>(bytes).map(drop));
}

#[test]
fn fuzz_requests_of_operators() {
    // The first byte says which request it is.
    let seed = |kind: u8, request: Vec<u8>| [vec![kind], request].concat();
    let rollback = v1::RollbackBatchesRequest {
        batch_number: 7,
        newest_batch_id: "b9".into(),
    };
    let list = v1::ListWorkersRequest {
        page_size: 100,
        page_token: "17".into(),
    };
    let drain = v1::DrainWorkerRequest {
        worker: "w".into(),
        identity: "pool".into(),
    };
    let input = v1::GetTaskInputRequest {
        task_id: "b1-s0".into(),
    };
    target("operator-request")
        .seed("rollback", seed(0, rollback.encode_to_vec()))
        .seed("list", seed(1, list.encode_to_vec()))
        .seed("drain", seed(2, drain.encode_to_vec()))
        .seed("input", seed(3, input.encode_to_vec()))
        .memory(1 << 16, PER_BYTE)
        .run(|bytes| {
            let (kind, bytes) = bytes.split_first().ok_or("nothing")?;
            match kind {
                0 => {
                    let request: v1::RollbackBatchesRequest = decode(bytes)?;
                    let _ = request.newest_batch_id.parse::<BatchId>();
                }
                1 => drop(decode::<v1::ListWorkersRequest>(bytes)?),
                2 => drop(decode::<v1::DrainWorkerRequest>(bytes)?),
                3 => task(&decode::<v1::GetTaskInputRequest>(bytes)?.task_id),
                _ => return Err("no request".into()),
            }
            Ok(())
        });
}

#[test]
fn fuzz_ids() {
    target("id")
        .seed("batch", "b17")
        .seed("shard", "b17-s3")
        .seed("aggregation", "b18446744073709551615-a")
        .word("+")
        .word("-")
        .run(|bytes| -> Verdict {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            task(text);
            if let Ok(id) = text.parse::<BatchId>() {
                assert_eq!(id.to_string(), text, "an id has one spelling");
                return Ok(());
            }
            text.parse::<TaskId>()
                .map(drop)
                .map_err(|error| error.to_string())
        });
}

#[test]
fn fuzz_batch_messages() {
    let decimal = |mantissa, exponent| Some(v1::Decimal { mantissa, exponent });
    use v1::operation::Kind;
    let signature = || {
        Some(v1::Signature {
            r8_x: vec![0; 32].into(),
            r8_y: vec![0; 32].into(),
            s: vec![0; 32].into(),
        })
    };
    let transfer = v1::Operation {
        kind: Some(Kind::Transfer(v1::Transfer {
            from: 65_536,
            to: 65_537,
            amount: decimal(60_000, 2),
            fee: decimal(1, 0),
            nonce: 1,
            expiry: 0,
            token: 1,
        })),
        signature: signature(),
    };
    let withdrawal = v1::Operation {
        kind: Some(Kind::Withdrawal(v1::Withdrawal {
            from: 65_536,
            amount: vec![0; 16].into(),
            fee: decimal(1, 0),
            nonce: 2,
            expiry: 0,
            token: 1,
        })),
        signature: signature(),
    };
    let creation = v1::Operation {
        kind: Some(Kind::Creation(v1::Creation {
            index: 65_538,
            token: 1,
            owner_x: vec![0; 32].into(),
            owner_y: vec![0; 32].into(),
            l1_address: vec![1; 20].into(),
        })),
        signature: signature(),
    };
    let queued = |queued: v1::QueuedOperation| v1::Operation {
        kind: Some(Kind::Queued(queued)),
        signature: None,
    };
    let deposit = queued(v1::QueuedOperation {
        kind: v1::QueuedKind::DepositExisting.into(),
        token: 1,
        index: 65_536,
        amount: vec![1; 16].into(),
        address: vec![1; 20].into(),
        u: vec![0; 32].into(),
        v: vec![0; 32].into(),
    });
    let exit = queued(v1::QueuedOperation {
        kind: v1::QueuedKind::ForcedExit.into(),
        index: 65_536,
        address: vec![1; 20].into(),
        ..v1::QueuedOperation::default()
    });
    let no_op = v1::Operation {
        kind: Some(Kind::NoOp(v1::NoOp {})),
        signature: None,
    };
    let batch = v1::Batch {
        protocol_version: 2,
        chain_id: 1,
        contract: vec![7; 20].into(),
        number: 1,
        time: 3,
        old_root: vec![0; 32].into(),
        new_root: vec![0; 32].into(),
        operations: vec![transfer, withdrawal, creation, deposit, exit, no_op],
    };
    target("batch-message")
        .seed("six", batch.encode_to_vec())
        // Operations are counted before this where they come from outside (`fuzz_submitted_batches`).
        .memory(1 << 16, 2_048)
        .run(|bytes| {
            let message: v1::Batch = decode(bytes)?;
            let batch = batch_from_proto(message).map_err(|error| error.to_string())?;
            assert_eq!(batch_from_proto(batch_to_proto(&batch)), Ok(batch));
            Ok(())
        });
}

#[test]
fn fuzz_records() {
    fn record<T>(bytes: &[u8]) -> Result<(), String>
    where
        T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let value: T = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
        let again: T =
            postcard::from_bytes(&postcard::to_stdvec(&value).expect("plain data")).expect("reads");
        assert_eq!(again, value);
        Ok(())
    }
    let id = TaskId::shard(BatchId(1), 2);
    let task = TaskRecord::new(id);
    target("record")
        .seed("task", postcard::to_stdvec(&task).expect("plain data"))
        .run(|bytes| {
            let batch = record::<BatchRecord>(bytes);
            record::<TaskRecord>(bytes).map_err(|error| format!("{error}, {batch:?}"))
        });
}
