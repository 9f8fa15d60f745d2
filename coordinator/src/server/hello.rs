//! What a worker says first: who it is, what it proves, and under which keys.

use std::collections::BTreeSet;

use proto::{NAME_CHARS_MAX, v1};
use rules::PROTOCOL_VERSION;
use tonic::Status;

use super::status::{bad_field, worker_mismatch};
use crate::{
    core::id::TaskKind,
    keyring::{Circuits, Keyring},
};

/// Most devices of a worker.
const DEVICES_MAX: usize = 64;

/// What a worker can do, if it can work here.
pub(super) fn check_hello(hello: &v1::Hello) -> Result<BTreeSet<TaskKind>, Status> {
    let name = &hello.worker_name;
    if name.is_empty() || name.len() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let found = format!("{} bytes", name.len());
        return Err(bad_field(
            "MALFORMED_FIELD",
            "hello.worker_name",
            "1 to 128 bytes, none of control",
            found,
        ));
    }
    if hello.devices.len() > DEVICES_MAX
        || hello
            .devices
            .iter()
            .any(|device| device.name.len() > NAME_CHARS_MAX)
    {
        let found = format!("{} devices", hello.devices.len());
        return Err(bad_field(
            "MALFORMED_FIELD",
            "hello.devices",
            "at most 64, with names of 128 bytes",
            found,
        ));
    }
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(worker_mismatch(
            "protocol_version",
            PROTOCOL_VERSION,
            hello.protocol_version,
        ));
    }
    let capabilities = task_kinds("hello.capabilities", &hello.capabilities)?;
    if capabilities.is_empty() {
        return Err(bad_field(
            "MALFORMED_FIELD",
            "hello.capabilities",
            "at least one",
            0,
        ));
    }
    Ok(capabilities)
}

/// The circuits that a worker proves, if they are among those that are served.
pub(super) fn circuits_of<'a>(hello: &v1::Hello, keyring: &'a Keyring) -> Result<&'a Circuits, Status> {
    let of_shard = |circuits: &&Circuits| circuits.manifest.shard_vk_digest.0 == hello.shard_vk_digest[..];
    let known: Vec<&Circuits> = keyring.all().filter(of_shard).collect();
    let refuse = |field, expected: Vec<[u8; 32]>, found: &[u8]| {
        let expected: Vec<String> = expected.iter().map(hex::encode).collect();
        let found: String = hex::encode(found).chars().take(64).collect();
        worker_mismatch(field, expected.join(" or "), found)
    };
    if known.is_empty() {
        let served = keyring.all().map(|circuits| circuits.id().shard_vk).collect();
        return Err(refuse("shard_vk_digest", served, &hello.shard_vk_digest));
    }
    let found = &hello.aggregation_vk_digest;
    let ours = |circuits: &&&Circuits| circuits.manifest.aggregation_vk_digest.0 == found[..];
    known.iter().find(ours).copied().ok_or_else(|| {
        let served = known
            .iter()
            .map(|circuits| circuits.id().aggregation_vk)
            .collect();
        refuse("aggregation_vk_digest", served, found)
    })
}

/// Kinds of tasks that a worker names.
pub(super) fn task_kinds(field: &str, kinds: &[i32]) -> Result<BTreeSet<TaskKind>, Status> {
    let kind = |kind: &i32| match v1::TaskKind::try_from(*kind) {
        Ok(v1::TaskKind::Shard) => Ok(TaskKind::Shard),
        Ok(v1::TaskKind::Aggregation) => Ok(TaskKind::Aggregation),
        Ok(v1::TaskKind::Unspecified) | Err(_) => Err(bad_field(
            "MALFORMED_FIELD",
            field,
            "TASK_KIND_SHARD (1) or TASK_KIND_AGGREGATION (2)",
            kind,
        )),
    };
    kinds.iter().map(kind).collect()
}
