//! What a worker and its prover process say to each other: one frame after another, over pipes.
//!
//! A frame is its length in bytes (4 bytes, little endian) and postcard's encoding. Both ends are the same file (the
//! worker starts its own program), but a process that a device library has damaged may write anything: a frame that cannot be
//! read ends the process.

use std::io::{self, ErrorKind, Read, Write};

use proto::PAYLOAD_BYTES_MAX;
use rules::format::exact;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::DeviceInfo;
use super::ledger::{Job, LeaseId};
use super::proving::TaskEvent;

/// A frame's bytes at most: a job with the longest payload, and room for the rest of it.
const FRAME_BYTES_MAX: u64 = PAYLOAD_BYTES_MAX + (1 << 20);

/// To the prover process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum ToProver {
    /// Another task.
    Job(Job),
    /// The proof of a task is not wanted any more.
    Abandon(LeaseId),
}

/// From the prover process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum FromProver {
    /// The device passed its checks; said once, first.
    Ready(DeviceInfo),
    /// The device cannot be used, and why. The process ends.
    Refused(String),
    /// Of a task.
    Task(TaskEvent),
}

/// Writes a frame.
///
/// # Errors
/// The pipe is closed, or the frame is too long.
pub(super) fn write(to: &mut impl Write, frame: &impl Serialize) -> io::Result<()> {
    let bytes = postcard::to_stdvec(frame).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).ok();
    let length = length.filter(|length| u64::from(*length) <= FRAME_BYTES_MAX);
    let length = length.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the frame is too long"))?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&bytes)
}

/// Reads a frame; none at the end of the pipe.
///
/// # Errors
/// The pipe fails, ends within a frame ([`ErrorKind::UnexpectedEof`]), or holds no frame.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u64::from(u32::from_le_bytes(length));
    if length > FRAME_BYTES_MAX {
        let reason = format!("a frame of {length} bytes, at most {FRAME_BYTES_MAX}");
        return Err(io::Error::new(ErrorKind::InvalidData, reason));
    }
    // Grows as the bytes come, so that a length alone takes no memory.
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let invalid = |error: String| io::Error::new(ErrorKind::InvalidData, error);
    exact(&bytes).map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use fuzzer::Target;

    use super::*;
    use crate::worker::ledger::Outcome;

    fn events() -> Vec<FromProver> {
        let lease = LeaseId {
            task_id: "t".into(),
            fence: 7,
        };
        vec![
            FromProver::Refused("no device".into()),
            FromProver::Task(TaskEvent::Over {
                lease,
                outcome: Outcome::Proven {
                    proof: vec![1; 3000],
                    accumulator: vec![[2; 32]; 12],
                    prove_ms: 5,
                },
                device_fault: true,
            }),
        ]
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut pipe = Vec::new();
        for event in events() {
            write(&mut pipe, &event).unwrap();
        }
        let mut pipe = pipe.as_slice();
        for event in events() {
            assert_eq!(read(&mut pipe).unwrap(), Some(event));
        }
        assert_eq!(read::<FromProver>(&mut pipe).unwrap(), None);
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let mut pipe = Vec::new();
        write(&mut pipe, &events()[1]).unwrap();
        for end in 4..pipe.len() {
            assert!(read::<FromProver>(&mut &pipe[..end]).is_err(), "cut at {end}");
        }
        let long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
        let error = read::<FromProver>(&mut long.as_slice()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let mut followed = pipe.clone();
        followed.push(0);
        let length = followed.len() as u32 - 4;
        followed[..4].copy_from_slice(&length.to_le_bytes());
        assert!(read::<FromProver>(&mut followed.as_slice()).is_err());
        pipe[4] = 99;
        assert!(read::<FromProver>(&mut pipe.as_slice()).is_err());
    }

    #[test]
    fn fuzz_frames() {
        let mut frames = Vec::new();
        for event in events() {
            write(&mut frames, &event).unwrap();
        }
        let job = Job {
            lease: LeaseId {
                task_id: "b1-s0".into(),
                fence: 1,
            },
            kind: None,
            batch_id: "b1".into(),
            index: 0,
            payload: vec![5; 40],
        };
        let mut jobs = Vec::new();
        write(&mut jobs, &ToProver::Job(job)).unwrap();
        Target::new(env!("CARGO_MANIFEST_DIR"), "frame")
            .seed("events", frames)
            .seed("job", jobs)
            // serde sets 1 MiB aside for a list whose length is claimed, whatever the length.
            .memory(1 << 21, 64)
            .run(|bytes| {
                let events = all::<FromProver>(bytes);
                all::<ToProver>(bytes)
                    .or(events)
                    .map_err(|error| error.to_string())
            });
    }

    /// Reads frames to the end; each is one that could have been written.
    fn all<T: Serialize + DeserializeOwned>(mut bytes: &[u8]) -> io::Result<()> {
        while let Some(frame) = read::<T>(&mut bytes)? {
            let mut once = Vec::new();
            write(&mut once, &frame)?;
            let again: T = read(&mut once.as_slice())?.expect("a frame");
            let mut twice = Vec::new();
            write(&mut twice, &again)?;
            assert_eq!(once, twice);
        }
        Ok(())
    }
}
