//! A submission as it arrives: bounded in bytes, in time, and in what its bytes may become in memory.

use std::time::Duration;

use prost::Message;
use proto::{CHUNK_BYTES_MAX, NAME_CHARS_MAX, v1};
use rules::batch::Batch;
use sha2::{Digest, Sha256};
use tonic::{Status, Streaming};

use super::{
    access::quota::{Held, Meter, Share},
    status::{bad_field, bad_stream},
    undecodable::unread,
};
use crate::convert::batch_from_proto;

/// What bounds one submission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits<'a> {
    pub(super) batch_bytes_max: u64,
    /// Longest time between two messages.
    pub(super) idle: Duration,
    pub(super) meter: &'a Meter,
    /// Of the caller.
    pub(super) share: &'a Share,
}

/// A submission that has arrived whole.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) header: v1::SubmitBatchHeader,
    pub(super) sha256: [u8; 32],
    bytes: Vec<u8>,
    /// Of the budget, for as long as the bytes are there.
    _room: Option<Held>,
}

/// Refuses a header that cannot be right, before anything is read into memory for it.
fn check_header(header: &v1::SubmitBatchHeader, batch_bytes_max: u64) -> Result<[u8; 32], Status> {
    let id = &header.request_id;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    if id.is_empty() || id.len() > NAME_CHARS_MAX || !id.chars().all(allowed) {
        let found = format!("{} bytes", id.len());
        return Err(bad_field(
            "MALFORMED_FIELD",
            "header.request_id",
            "1 to 128 of A-Z a-z 0-9 . _ : -",
            found,
        ));
    }
    if header.total_bytes == 0 || header.total_bytes > batch_bytes_max {
        let expected = format!("1 to {batch_bytes_max}");
        return Err(bad_field(
            "MALFORMED_FIELD",
            "header.total_bytes",
            expected,
            header.total_bytes,
        ));
    }
    header.sha256[..].try_into().map_err(|_| {
        bad_field(
            "MALFORMED_FIELD",
            "header.sha256",
            "32 bytes",
            format!("{} bytes", header.sha256.len()),
        )
    })
}

/// Reads a submission to its end.
pub(super) async fn receive(
    stream: &mut Streaming<v1::SubmitBatchRequest>,
    limits: Limits<'_>,
) -> Result<Received, Status> {
    use v1::submit_batch_request::Part;
    let first = next(stream, limits).await?;
    let Some(Part::Header(header)) = first else {
        return Err(bad_stream(
            "HEADER_MISSING",
            "the first message must be the header",
        ));
    };
    let sha256 = check_header(&header, limits.batch_bytes_max)?;
    let mut bytes = Vec::new();
    let mut room: Option<Held> = None;
    while let Some(part) = next(stream, limits).await? {
        let Part::Chunk(chunk) = part else {
            return Err(bad_stream(
                "CHUNK_MISSING",
                "every message after the header must be a chunk",
            ));
        };
        if chunk.is_empty() || chunk.len() > CHUNK_BYTES_MAX {
            let expected = format!("1 to {CHUNK_BYTES_MAX} bytes");
            return Err(bad_field(
                "CHUNK_SIZE",
                "chunk",
                expected,
                format!("{} bytes", chunk.len()),
            ));
        }
        let more = limits.meter.take_bytes(limits.share, chunk.len())?;
        match &mut room {
            Some(room) => room.merge(more),
            None => room = Some(more),
        }
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > header.total_bytes {
            let found = format!("at least {}", bytes.len());
            return Err(bad_field(
                "TOTAL_MISMATCH",
                "header.total_bytes",
                found,
                header.total_bytes,
            ));
        }
    }
    if bytes.len() as u64 != header.total_bytes {
        return Err(bad_field(
            "TOTAL_MISMATCH",
            "header.total_bytes",
            bytes.len(),
            header.total_bytes,
        ));
    }
    Ok(Received {
        header,
        sha256,
        bytes,
        _room: room,
    })
}

/// The next part of a submission; none at its end.
async fn next(
    stream: &mut Streaming<v1::SubmitBatchRequest>,
    limits: Limits<'_>,
) -> Result<Option<v1::submit_batch_request::Part>, Status> {
    let message = tokio::time::timeout(limits.idle, stream.message()).await;
    let message = message.map_err(|_| Status::deadline_exceeded("the submission stands still"))?;
    let message = message.map_err(unread)?;
    match message {
        None => Ok(None),
        Some(message) => match message.part {
            Some(part) => Ok(Some(part)),
            None => Err(bad_stream("CHUNK_MISSING", "a message without header or chunk")),
        },
    }
}

impl Received {
    /// The batch, if it has at most `operations_max` operations: they are counted before anything is made of them, since two
    /// bytes on the wire become hundreds in memory.
    pub(super) fn decode(self, operations_max: usize) -> Result<Batch, Status> {
        let found: [u8; 32] = Sha256::digest(&self.bytes).into();
        if found != self.sha256 {
            return Err(bad_field(
                "DIGEST_MISMATCH",
                "header.sha256",
                hex::encode(found),
                hex::encode(self.sha256),
            ));
        }
        let malformed =
            |error: &str| bad_stream("MALFORMED_BATCH", format!("the chunks are no Batch: {error}"));
        let operations =
            count_operations(&self.bytes).ok_or_else(|| malformed("a field that does not end"))?;
        if operations > operations_max {
            let expected = format!("at most {operations_max}");
            return Err(bad_field(
                "BATCH_TOO_LARGE",
                "batch.operations",
                expected,
                operations,
            ));
        }
        let message =
            v1::Batch::decode(self.bytes.as_slice()).map_err(|error| malformed(&error.to_string()))?;
        Ok(batch_from_proto(message)?)
    }
}

/// Field number of `Batch.operations`.
const OPERATIONS: u64 = 9;

/// How many operations an encoded `Batch` has; none where its fields do not follow each other to the end.
fn count_operations(mut bytes: &[u8]) -> Option<usize> {
    let mut operations = 0;
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let length = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)?).ok()?,
            5 => 4,
            // Groups, which this message has none of.
            _ => return None,
        };
        bytes = bytes.get(length..)?;
        operations += usize::from(key >> 3 == OPERATIONS);
    }
    Some(operations)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for at in 0..10 {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * at);
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use fuzzer::Target;
    use rules::{
        operation::RollupId,
        sample::{Draw, Mix, Sample, SampleConfig},
        witness::Shape,
    };

    use super::*;
    use crate::convert::batch_to_proto;

    #[test]
    fn operations_are_counted_as_they_are_decoded() {
        for count in [0, 1, 3, 100] {
            let batch = v1::Batch {
                protocol_version: 2,
                chain_id: u64::MAX,
                contract: vec![7; 20].into(),
                number: 1 << 40,
                time: 3,
                old_root: vec![0x42; 32].into(),
                new_root: vec![0; 32].into(),
                operations: vec![v1::Operation::default(); count],
            };
            let bytes = batch.encode_to_vec();
            assert_eq!(count_operations(&bytes), Some(count));
            for cut in 0..bytes.len() {
                // What is cut counts no more than what is whole, and what does not count does not decode.
                let counted = count_operations(&bytes[..cut]);
                assert!(counted.is_none_or(|counted| counted <= count), "{cut}");
                let decodes = v1::Batch::decode(&bytes[..cut]).is_ok();
                assert!(counted.is_some() || !decodes, "{cut}");
            }
        }
    }

    /// Version 1 had its transfers in another field, so that whoever still sends them is told of the version.
    #[test]
    fn a_batch_of_version_1_is_refused_for_its_version() {
        let head = v1::Batch {
            protocol_version: 1,
            contract: vec![7; 20].into(),
            ..v1::Batch::default()
        };
        let transfer = [0x42, 4, 0x0a, 2, 8, 1];
        let bytes = [&head.encode_to_vec()[..], &transfer[..]].concat();
        let received = Received {
            header: v1::SubmitBatchHeader::default(),
            sha256: Sha256::digest(&bytes).into(),
            bytes,
            _room: None,
        };
        let status = received.decode(8).expect_err("version 2 is spoken");
        let expected = "batch.protocol_version: expected 2, found 1";
        assert_eq!(status.message(), expected);
    }

    #[test]
    fn fuzz_submitted_batches() {
        const OPERATIONS_MAX: usize = 8;
        let mut sample = Sample::new(SampleConfig {
            seed: 1,
            users: 2,
            tokens: 1,
        });
        let rollup_id = RollupId {
            chain_id: 31_337,
            contract: [7; 20],
        };
        let draw = Draw {
            shape: Shape { places: 5, rooms: 1 },
            queued: 1,
            signed: 3,
            mix: Mix::Transfers,
        };
        let batch = sample.batch(rollup_id, 1_700_000_000, draw);
        Target::new(env!("CARGO_MANIFEST_DIR"), "submitted-batch")
            .seed("four", batch_to_proto(&batch).encode_to_vec())
            .word([0x4a, 0])
            // Eight operations and what their growth leaves, whatever the bytes are.
            .memory(1 << 15, 16)
            .run(|bytes| {
                let received = Received {
                    header: v1::SubmitBatchHeader::default(),
                    sha256: Sha256::digest(bytes).into(),
                    bytes: bytes.to_vec(),
                    _room: None,
                };
                let refused = |status: Status| status.message().to_string();
                let batch = received.decode(OPERATIONS_MAX).map_err(refused)?;
                assert!(batch.operations.len() <= OPERATIONS_MAX);
                assert_eq!(count_operations(bytes), Some(batch.operations.len()));
                assert_eq!(batch_from_proto(batch_to_proto(&batch)), Ok(batch));
                Ok(())
            });
    }
}
