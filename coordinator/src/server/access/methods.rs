//! What may be called by whom, and what a call may take. A method that is not in the table may be called by nobody.

use super::Role;

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callers {
    /// Without any identity too.
    Everybody,
    /// An identity with one of these roles.
    Roles(&'static [Role]),
}

/// What a call holds while it lasts; each kind has limits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// An answer of some kilobytes, at once.
    Quick,
    /// An answer of some megabytes.
    Download,
    /// A batch that is sent.
    Submission,
    /// A stream of small answers, for as long as the caller likes.
    Watch,
    /// A worker.
    Session,
}

impl Kind {
    /// Whether the messages of a request are small: `gate::REQUEST_BYTES_MAX` in all.
    pub(crate) fn requests_are_small(self) -> bool {
        match self {
            Self::Quick | Self::Download | Self::Watch => true,
            // Chunks, and proofs.
            Self::Submission | Self::Session => false,
        }
    }
}

/// A method.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Method {
    /// As in the request's path, without the slash that it begins with.
    pub name: &'static str,
    /// Who may call it.
    pub callers: Callers,
    /// What a call holds.
    pub kind: Kind,
}

/// What a coordinator answers that stands by: all else is the leader's.
const READS: [&str; 10] = [
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "zkrollup.prover.v1.ProverService/GetBatch",
    "zkrollup.prover.v1.ProverService/WatchBatch",
    "zkrollup.prover.v1.ProverService/ListBatches",
    "zkrollup.prover.v1.ProverService/GetProof",
    "zkrollup.prover.v1.ProverService/GetInfo",
    "zkrollup.prover.v1.ProverService/ListRollups",
];

impl Method {
    /// Whether it is the leader's to answer.
    pub(super) fn is_leaders(&self) -> bool {
        !READS.contains(&self.name)
    }
}

const READ: Callers = Callers::Roles(&[Role::Reader, Role::Sequencer, Role::Operator]);
const SEQUENCE: Callers = Callers::Roles(&[Role::Sequencer, Role::Operator]);
const OPERATE: Callers = Callers::Roles(&[Role::Operator]);
const WORK: Callers = Callers::Roles(&[Role::Worker]);

const fn method(name: &'static str, callers: Callers, kind: Kind) -> Method {
    Method { name, callers, kind }
}

/// Every method that is served.
pub(crate) const METHODS: &[Method] = &[
    method("grpc.health.v1.Health/Check", Callers::Everybody, Kind::Quick),
    method("grpc.health.v1.Health/Watch", Callers::Everybody, Kind::Watch),
    method(
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        READ,
        Kind::Watch,
    ),
    method(
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        READ,
        Kind::Watch,
    ),
    method(
        "zkrollup.prover.v1.OperatorService/RollbackBatches",
        OPERATE,
        Kind::Quick,
    ),
    method(
        "zkrollup.prover.v1.OperatorService/ExplainBatch",
        OPERATE,
        Kind::Quick,
    ),
    method(
        "zkrollup.prover.v1.OperatorService/ListWorkers",
        OPERATE,
        Kind::Quick,
    ),
    method(
        "zkrollup.prover.v1.OperatorService/DrainWorker",
        OPERATE,
        Kind::Quick,
    ),
    method("zkrollup.prover.v1.OperatorService/Pause", OPERATE, Kind::Quick),
    method("zkrollup.prover.v1.OperatorService/Resume", OPERATE, Kind::Quick),
    method(
        "zkrollup.prover.v1.OperatorService/CreateRollup",
        OPERATE,
        Kind::Submission,
    ),
    method(
        "zkrollup.prover.v1.OperatorService/UpdateRollup",
        OPERATE,
        Kind::Quick,
    ),
    method(
        "zkrollup.prover.v1.OperatorService/DeleteRollup",
        OPERATE,
        Kind::Quick,
    ),
    method("zkrollup.prover.v1.ProverService/ListRollups", READ, Kind::Quick),
    method(
        "zkrollup.prover.v1.OperatorService/GetTaskInput",
        OPERATE,
        Kind::Download,
    ),
    method(
        "zkrollup.prover.v1.ProverService/SubmitBatch",
        SEQUENCE,
        Kind::Submission,
    ),
    method("zkrollup.prover.v1.ProverService/GetBatch", READ, Kind::Quick),
    method("zkrollup.prover.v1.ProverService/WatchBatch", READ, Kind::Watch),
    method("zkrollup.prover.v1.ProverService/ListBatches", READ, Kind::Quick),
    method(
        "zkrollup.prover.v1.ProverService/CancelBatch",
        SEQUENCE,
        Kind::Quick,
    ),
    method(
        "zkrollup.prover.v1.ProverService/RetryBatch",
        SEQUENCE,
        Kind::Quick,
    ),
    method("zkrollup.prover.v1.ProverService/GetProof", READ, Kind::Download),
    method("zkrollup.prover.v1.ProverService/GetInfo", READ, Kind::Quick),
    method("zkrollup.prover.v1.WorkerService/Session", WORK, Kind::Session),
];

/// The method of a request's path.
pub(crate) fn find(path: &str) -> Option<&'static Method> {
    let name = path.strip_prefix('/')?;
    METHODS.iter().find(|method| method.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// The methods of the services that the descriptor sets of the build describe.
    fn described() -> BTreeSet<String> {
        let sets = [
            proto::v1::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let mut names = BTreeSet::new();
        for set in sets {
            let set = FileDescriptorSet::decode(set).unwrap();
            for file in &set.file {
                for service in &file.service {
                    for method in &service.method {
                        names.insert(format!("{}.{}/{}", file.package(), service.name(), method.name()));
                    }
                }
            }
        }
        names
    }

    #[test]
    fn every_method_of_every_service_is_in_the_table_once() {
        let listed: BTreeSet<String> = METHODS.iter().map(|method| method.name.to_owned()).collect();
        assert_eq!(listed, described());
        assert_eq!(listed.len(), METHODS.len());
    }

    #[test]
    fn only_health_is_for_everybody_and_what_is_unknown_for_nobody() {
        for method in METHODS {
            let open = method.callers == Callers::Everybody;
            assert_eq!(open, method.name.starts_with("grpc.health."), "{method:?}");
            assert_eq!(find(&format!("/{}", method.name)), Some(method));
        }
        for path in [
            "",
            "/",
            "zkrollup.prover.v1.ProverService/GetInfo",
            "/zkrollup.prover.v1.ProverService/GetInfo/",
            "/zkrollup.prover.v1.ProverService/getinfo",
            "//grpc.health.v1.Health/Check",
        ] {
            assert_eq!(find(path), None, "{path:?}");
        }
    }
}
