//! Errors as gRPC statuses with `google.rpc` details, as `prover_service.proto` describes them.

use std::time::Duration;

use rules::{
    batch::BatchError,
    field,
    violation::{Cause, Clause, Violation},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    access::Role,
    shell::{CancelFailure, RetryFailure, RollbackFailure, RollupFailure, SubmitFailure, Unread},
};
use crate::{
    convert::FieldError,
    core::{
        chain::{CancelError, RetryError, SubmitError},
        id::{BatchId, Principal},
        rollback::RollbackError,
        rollup::{CreateError, DeleteError, Difference, ROLLUP_NAME_CHARS_MAX, WEIGHT_MAX},
    },
    execution::{ExecutionError, SizeError},
};

const DOMAIN: &str = "prover.zkrollup";
/// When a full queue is worth another try.
const QUEUE_RETRY: Duration = Duration::from_secs(5);
/// When a caller of a coordinator that stands by may try again, there or where it was sent.
const LEADER_RETRY: Duration = Duration::from_millis(500);
/// When a caller that was too fast may try again.
const RATE_RETRY: Duration = Duration::from_secs(1);

/// Nothing can be done now, and nothing was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    /// The coordinator is stopping.
    #[error("the coordinator is stopping")]
    Stopping,
    /// The store does not take writes, or reads, and is tried again.
    #[error("the coordinator's store cannot be written or read at present; it goes on when it can")]
    Store,
    /// Another coordinator leads.
    #[error("this coordinator stands by")]
    StandsBy,
}

impl From<Unavailable> for Status {
    fn from(error: Unavailable) -> Self {
        let details = ErrorDetails::with_retry_info(Some(QUEUE_RETRY));
        Status::with_error_details(Code::Unavailable, error.to_string(), details)
    }
}

/// A reason and its metadata.
fn info<'a>(reason: &str, metadata: impl IntoIterator<Item = (&'a str, String)>) -> ErrorDetails {
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value));
    ErrorDetails::with_error_info(
        reason,
        DOMAIN,
        metadata.collect::<std::collections::HashMap<_, _>>(),
    )
}

/// INVALID_ARGUMENT for one field of the request.
pub(super) fn bad_field(reason: &str, path: &str, expected: impl ToString, found: impl ToString) -> Status {
    let (expected, found) = (expected.to_string(), found.to_string());
    let text = format!("expected {expected}, found {found}");
    let metadata = [
        ("field", path.to_owned()),
        ("expected", expected),
        ("found", found),
    ];
    let mut details = info(reason, metadata);
    details.add_bad_request_violation(path, &text);
    Status::with_error_details(Code::InvalidArgument, format!("{path}: {text}"), details)
}

/// INVALID_ARGUMENT or FAILED_PRECONDITION for the stream of messages itself.
pub(super) fn bad_stream(reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(Code::InvalidArgument, message, info(reason, []))
}

/// FAILED_PRECONDITION on one subject.
fn precondition(reason: &str, subject: &str, expected: impl ToString, found: impl ToString) -> Status {
    let (expected, found) = (expected.to_string(), found.to_string());
    let text = format!("expected {expected}, found {found}");
    let metadata = [
        ("field", subject.to_owned()),
        ("expected", expected),
        ("found", found),
    ];
    let mut details = info(reason, metadata);
    details.add_precondition_failure_violation(reason, subject, &text);
    Status::with_error_details(Code::FailedPrecondition, format!("{subject}: {text}"), details)
}

/// FAILED_PRECONDITION of a worker that cannot work here.
pub(super) fn worker_mismatch(field: &str, expected: impl ToString, found: impl ToString) -> Status {
    precondition("WORKER_MISMATCH", &format!("hello.{field}"), expected, found)
}

/// ALREADY_EXISTS of a worker under whose name another is connected.
pub(super) fn name_taken(message: &str) -> Status {
    Status::with_error_details(Code::AlreadyExists, message, info("WORKER_NAME_TAKEN", []))
}

/// FAILED_PRECONDITION on a batch.
pub(super) fn batch_state(reason: &str, batch: BatchId, message: &str) -> Status {
    let mut details = info(reason, [("batch_id", batch.to_string())]);
    details.add_precondition_failure_violation(reason, batch.to_string(), message);
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// RESOURCE_EXHAUSTED.
pub(super) fn exhausted(subject: &str, message: &str) -> Status {
    let mut details = info("LIMIT_REACHED", []);
    details
        .add_quota_failure_violation(subject, message)
        .set_retry_info(Some(QUEUE_RETRY));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// RESOURCE_EXHAUSTED of what waiting does not change.
pub(super) fn full(subject: &str, message: &str) -> Status {
    let mut details = info("LIMIT_REACHED", []);
    details.add_quota_failure_violation(subject, message);
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// RESOURCE_EXHAUSTED: a snapshot has no room here.
pub(super) fn not_kept(message: &str) -> Status {
    Status::with_error_details(Code::ResourceExhausted, message, info("SNAPSHOT_NOT_KEPT", []))
}

/// Another's text as it may be shown: short, and on one line.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 64;
    match text.chars().count() > SHOWN_CHARS_MAX {
        true => format!("{} bytes", text.len()),
        false => format!("{text:?}"),
    }
}

/// UNAUTHENTICATED: who calls is not known.
pub(super) fn unauthenticated(reason: &str, message: &str) -> Status {
    Status::with_error_details(Code::Unauthenticated, message, info(reason, []))
}

/// PERMISSION_DENIED to an identity that has none of the roles that a method asks for; none has any for a method that is
/// not known.
pub(super) fn denied(identity: &Principal, path: &str, roles: &[&str]) -> Status {
    let method: String = path.trim_start_matches('/').chars().take(128).collect();
    if roles.is_empty() {
        let message = format!("{method} is no method of this coordinator");
        return Status::with_error_details(Code::PermissionDenied, message, info("METHOD_UNKNOWN", []));
    }
    let roles = roles.join(" or ");
    let message = format!("{method} needs the role {roles}, which {identity} has not");
    let metadata = [
        ("method", method),
        ("role", roles),
        ("identity", identity.to_string()),
    ];
    Status::with_error_details(Code::PermissionDenied, message, info("ROLE_MISSING", metadata))
}

/// PERMISSION_DENIED to a tenant, on another's batch.
pub(super) fn not_yours(batch: BatchId) -> Status {
    let message = format!("batch {batch} is another tenant's; that tenant or an operator may cancel it");
    let metadata = [
        ("batch_id", batch.to_string()),
        ("role", Role::Operator.name().to_owned()),
    ];
    Status::with_error_details(Code::PermissionDenied, message, info("TENANT_MISMATCH", metadata))
}

/// UNAVAILABLE: another coordinator does what was asked for. `leader` is where it is reached; empty while nobody leads.
pub(super) fn not_leader(leader: &str) -> Status {
    let message = match leader {
        "" => "this coordinator stands by, and none leads at present".to_owned(),
        leader => format!("this coordinator stands by; {leader} leads"),
    };
    let mut details = info("NOT_LEADER", [("leader", leader.to_owned())]);
    details.set_retry_info(Some(LEADER_RETRY));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// RESOURCE_EXHAUSTED: calls come faster than they may.
pub(super) fn too_fast(calls_per_s: u32) -> Status {
    let message = format!("expected at most {calls_per_s} calls a second, found more");
    let mut details = info("LIMIT_REACHED", []);
    details
        .add_quota_failure_violation("caller_calls_per_s", &message)
        .set_retry_info(Some(RATE_RETRY));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// RESOURCE_EXHAUSTED: a request has more bytes than any of its kind needs.
pub(super) fn too_large(bytes_max: u64) -> Status {
    let message = format!("expected a request of at most {bytes_max} bytes, found more");
    Status::with_error_details(Code::ResourceExhausted, message, info("REQUEST_TOO_LARGE", []))
}

/// DEADLINE_EXCEEDED: the peer does not take what a stream sends.
pub(super) fn not_taken() -> Status {
    let message = "the stream is not read";
    Status::with_error_details(Code::DeadlineExceeded, message, info("STREAM_NOT_READ", []))
}

/// DEADLINE_EXCEEDED: a request began and does not end.
pub(super) fn unfinished() -> Status {
    let message = "the request stands still";
    Status::with_error_details(Code::DeadlineExceeded, message, info("REQUEST_UNFINISHED", []))
}

/// NOT_FOUND.
pub(super) fn no_batch(id: &str) -> Status {
    // An id from a stranger may be of any length.
    let id: String = id.chars().take(64).collect();
    let message = format!("no batch {id:?}");
    not_found("BATCH_UNKNOWN", "zkrollup.prover.v1.BatchInfo", &id, &message)
}

/// NOT_FOUND of a task's input.
pub(super) fn no_task_input(id: &str) -> Status {
    let message = format!(
        "no input is kept of a task {id:?}: its batch is final, or it is not ready, or there is none of that name"
    );
    not_found("TASK_INPUT_UNKNOWN", "zkrollup.prover.v1.TaskInfo", id, &message)
}

/// NOT_FOUND of a worker.
pub(super) fn no_worker(name: &str) -> Status {
    let message = format!("no worker {name:?} is connected");
    not_found("WORKER_UNKNOWN", "zkrollup.prover.v1.WorkerInfo", name, &message)
}

fn not_found(reason: &str, resource: &str, name: &str, message: &str) -> Status {
    let mut details = info(reason, []);
    details.set_resource_info(resource, name, "", message);
    Status::with_error_details(Code::NotFound, message, details)
}

impl From<FieldError> for Status {
    fn from(error: FieldError) -> Self {
        let path = error.path();
        let mut metadata = vec![
            ("field", path.clone()),
            ("expected", error.expected.clone()),
            ("found", error.found.clone()),
        ];
        metadata.extend(
            error
                .operation
                .map(|operation| ("operation", operation.to_string())),
        );
        let mut details = info("MALFORMED_FIELD", metadata);
        details.add_bad_request_violation(
            path,
            format!("expected {}, found {}", error.expected, error.found),
        );
        Status::with_error_details(Code::InvalidArgument, error.to_string(), details)
    }
}

impl From<SubmitFailure> for Status {
    fn from(failure: SubmitFailure) -> Self {
        match failure {
            SubmitFailure::Chain(error) => refused(&error),
            SubmitFailure::Execution(ExecutionError::Batch(error)) => broken_rule(&error),
            SubmitFailure::Execution(ExecutionError::Size(error)) => too_many(&error),
            SubmitFailure::Execution(ExecutionError::Shards(error)) => {
                let mut details = info("BATCH_TOO_LARGE", []);
                details.add_bad_request_violation("batch.operations", error.to_string());
                Status::with_error_details(Code::InvalidArgument, error.to_string(), details)
            }
            SubmitFailure::Unavailable(error) => error.into(),
        }
    }
}

fn refused(error: &SubmitError) -> Status {
    match error {
        SubmitError::RequestReused {
            request_id,
            batch,
            sha256,
        } => {
            let metadata = [("batch_id", batch.to_string()), ("sha256", hex::encode(sha256))];
            let mut details = info("REQUEST_ID_REUSED", metadata);
            let message = error.to_string();
            details.set_resource_info("zkrollup.prover.v1.SubmitBatchRequest", request_id, "", &message);
            Status::with_error_details(Code::AlreadyExists, message, details)
        }
        SubmitError::NoRollup => no_rollup("", &error.to_string()),
        SubmitError::QueueFull { .. } => exhausted("batches_open_max", &error.to_string()),
        SubmitError::TenantQueueFull { .. } => exhausted("tenant_batches_open_max", &error.to_string()),
        SubmitError::Number { expected, found } => {
            precondition("WRONG_BATCH_NUMBER", "batch.number", expected, found)
        }
        SubmitError::OldRoot { expected, found } => {
            precondition("WRONG_OLD_ROOT", "batch.old_root", expected, found)
        }
        SubmitError::Time { min, found } => {
            precondition("TIME_BEFORE_HEAD", "batch.time", format!("at least {min}"), found)
        }
        SubmitError::Stopping => Unavailable::Stopping.into(),
    }
}

fn too_many(error: &SizeError) -> Status {
    let path = format!("batch.operations[{}]", error.operation);
    let metadata = [
        ("operation", error.operation.to_string()),
        ("rule", "P-7.1".to_owned()),
        ("field", path.clone()),
        ("expected", error.expected.clone()),
        ("found", error.found.clone()),
    ];
    let mut details = info("BATCH_TOO_LARGE", metadata);
    details.add_bad_request_violation(path, error.to_string());
    Status::with_error_details(Code::InvalidArgument, error.to_string(), details)
}

fn broken_rule(error: &BatchError) -> Status {
    match error {
        BatchError::Operation { operation, violation } => {
            broken_operation(*operation, violation, &error.to_string())
        }
        BatchError::NewRoot { expected, found } => bad_field(
            "WRONG_NEW_ROOT",
            "batch.new_root",
            field::to_hex(expected),
            field::to_hex(found),
        ),
        BatchError::OldRoot { expected, found } => precondition(
            "WRONG_OLD_ROOT",
            "batch.old_root",
            field::to_hex(expected),
            field::to_hex(found),
        ),
        other => bad_stream("MALFORMED_BATCH", other.to_string()),
    }
}

fn broken_operation(operation: usize, violation: &Violation, message: &str) -> Status {
    let field = match violation.field() {
        "signature" => "signature".to_owned(),
        field => format!("{}.{field}", kind(violation.clause)),
    };
    let path = format!("batch.operations[{operation}].{field}");
    let metadata = [
        ("operation", operation.to_string()),
        ("rule", rule(violation)),
        ("field", path.clone()),
        ("expected", violation.expected()),
        ("found", violation.found()),
    ];
    let mut details = info(reason(violation), metadata);
    details.add_bad_request_violation(path, violation.to_string());
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// The field of an operation that its clause is about.
fn kind(clause: Clause) -> &'static str {
    match clause {
        Clause::Transfer => "transfer",
        Clause::Withdrawal => "withdrawal",
        Clause::Creation => "creation",
        Clause::Queue => "queued",
    }
}

fn rule(violation: &Violation) -> String {
    match violation.rule() {
        Some(rule) => format!("{}.{rule}", violation.clause),
        None => violation.clause.to_string(),
    }
}

fn reason(violation: &Violation) -> &'static str {
    match violation.cause {
        Cause::SenderUnknown { .. } => "SENDER_UNKNOWN",
        Cause::ReceiverUnknown { .. } => "RECEIVER_UNKNOWN",
        Cause::SenderToken { .. } => "SENDER_TOKEN",
        Cause::ReceiverToken { .. } => "RECEIVER_TOKEN",
        Cause::FeeAccountUnknown { .. } => "FEE_ACCOUNT_UNKNOWN",
        Cause::Nonce { .. } => "NONCE",
        Cause::NonceExhausted => "NONCE_EXHAUSTED",
        Cause::Expired { .. } => "EXPIRED",
        Cause::Balance { .. } => "BALANCE",
        Cause::Signature(_) => "BAD_SIGNATURE",
        Cause::ReceiverOverflow { .. } => "RECEIVER_OVERFLOW",
        Cause::FeeOverflow { .. } => "FEE_OVERFLOW",
        Cause::CreationIndex { .. } => "CREATION_INDEX",
        Cause::CreationOccupied { .. } => "CREATION_OCCUPIED",
    }
}

impl From<Unread> for Status {
    /// DATA_LOSS where something of a batch is lost.
    fn from(error: Unread) -> Self {
        let message = error.to_string();
        match error {
            Unread::Unavailable(error) => error.into(),
            Unread::MadeAgain { .. } => {
                let details = ErrorDetails::with_retry_info(Some(QUEUE_RETRY));
                Status::with_error_details(Code::Unavailable, message, details)
            }
            Unread::Lost { batch, .. } => {
                let metadata = [("batch_id", batch.to_string())];
                Status::with_error_details(Code::DataLoss, message, info("ARTIFACT_DAMAGED", metadata))
            }
        }
    }
}

impl From<CancelFailure> for Status {
    fn from(failure: CancelFailure) -> Self {
        match failure {
            CancelFailure::Unread(error) => error.into(),
            CancelFailure::Chain(error) => match error {
                CancelError::Unknown(id) => no_batch(&id.to_string()),
                CancelError::Proven(id) => batch_state("BATCH_PROVEN", id, &error.to_string()),
                CancelError::BuiltOn { batch, .. } => {
                    batch_state("BATCH_BUILT_ON", batch, &error.to_string())
                }
            },
        }
    }
}

impl From<RollbackFailure> for Status {
    fn from(failure: RollbackFailure) -> Self {
        let message = failure.to_string();
        match failure {
            RollbackFailure::Unread(error) => error.into(),
            RollbackFailure::NotKept(id) => batch_state("UNDO_NOT_KEPT", id, &message),
            RollbackFailure::Chain(error) => match error {
                RollbackError::Unknown(id) => no_batch(&id.to_string()),
                RollbackError::NotNewest { given, newest } => precondition(
                    "NOT_NEWEST_BATCH",
                    "newest_batch_id",
                    format!("{newest}, the newest batch of the chain"),
                    given,
                ),
                RollbackError::Empty => bad_field(
                    "NO_SUCH_NUMBER",
                    "batch_number",
                    "a batch of the chain",
                    "no batch",
                ),
                RollbackError::Past { number, oldest } => precondition(
                    "UNDO_NOT_KEPT",
                    "batch_number",
                    format!("at least {oldest}, the oldest batch that can be rolled back"),
                    number,
                ),
                RollbackError::BeforeStart { number, first } => bad_field(
                    "NO_SUCH_NUMBER",
                    "batch_number",
                    format!("at least {first}"),
                    number,
                ),
                RollbackError::Number { number, newest } => bad_field(
                    "NO_SUCH_NUMBER",
                    "batch_number",
                    format!("at most {newest}"),
                    number,
                ),
            },
        }
    }
}

impl From<RetryFailure> for Status {
    fn from(failure: RetryFailure) -> Self {
        match failure {
            RetryFailure::Chain(error) => error.into(),
            RetryFailure::Unavailable(error) => error.into(),
        }
    }
}

impl From<RollupFailure> for Status {
    fn from(failure: RollupFailure) -> Self {
        let message = failure.to_string();
        let taken = |reason: &str, name: &str, difference: &Difference| {
            let Difference {
                field,
                expected,
                found,
            } = difference;
            let metadata = [
                ("rollup", name.to_owned()),
                ("field", format!("header.{field}")),
                ("expected", expected.clone()),
                ("found", found.clone()),
            ];
            let mut details = info(reason, metadata);
            details.set_resource_info("zkrollup.prover.v1.RollupInfo", name, "", &message);
            Status::with_error_details(Code::AlreadyExists, message.clone(), details)
        };
        match &failure {
            RollupFailure::Unknown(name) => no_rollup(name, &message),
            RollupFailure::Unavailable(error) => (*error).into(),
            RollupFailure::Create(error) => match error {
                CreateError::NameTaken { name, difference } => taken("NAME_TAKEN", name, difference),
                CreateError::IsHere { name, difference } => taken("ROLLUP_EXISTS", name, difference),
                CreateError::Unfinished(name) => {
                    let mut details = info("ROLLUP_UNFINISHED", [("rollup", name.clone())]);
                    details.set_retry_info(Some(QUEUE_RETRY));
                    Status::with_error_details(Code::Unavailable, message, details)
                }
                CreateError::Name(found) => bad_field(
                    "MALFORMED_FIELD",
                    "header.name",
                    format!("1 to {ROLLUP_NAME_CHARS_MAX} of a-z 0-9 -, a letter first"),
                    format!("{found:?}"),
                ),
                CreateError::Weight(found) => bad_field(
                    "MALFORMED_FIELD",
                    "header.weight",
                    format!("1 to {WEIGHT_MAX}"),
                    found,
                ),
                CreateError::NoContract => bad_field(
                    "MALFORMED_FIELD",
                    "header.contract",
                    "a contract's address",
                    "the zero address",
                ),
                CreateError::TooMany(_) => full("rollups_max", &message),
            },
            RollupFailure::Delete(error) => {
                let (reason, name) = match error {
                    DeleteError::NotPaused(name) => ("ROLLUP_NOT_PAUSED", name),
                    DeleteError::Open { name, .. } => ("ROLLUP_HAS_OPEN_BATCHES", name),
                    DeleteError::Number { name, .. } => ("WRONG_BATCH_NUMBER", name),
                };
                let mut details = info(reason, [("rollup", name.clone())]);
                details.add_precondition_failure_violation(reason, name, &message);
                Status::with_error_details(Code::FailedPrecondition, message, details)
            }
        }
    }
}

/// NOT_FOUND of a rollup.
pub(super) fn no_rollup(name: &str, message: &str) -> Status {
    let name: String = name.chars().take(64).collect();
    not_found("ROLLUP_UNKNOWN", "zkrollup.prover.v1.RollupInfo", &name, message)
}

/// Names, the first of them where there are many.
pub(super) fn some_of(names: &[&str]) -> String {
    const NAMES_SHOWN: usize = 8;
    let mut some = names[..names.len().min(NAMES_SHOWN)].join(", ");
    if names.len() > NAMES_SHOWN {
        some.push_str(&format!(" and {} more", names.len() - NAMES_SHOWN));
    }
    some
}

/// FAILED_PRECONDITION: which of several rollups is meant is not said.
pub(super) fn which_rollup(names: &[&str]) -> Status {
    if names.is_empty() {
        let message = "there is no rollup here yet; an operator adds one (`rollup-prover rollups create`)";
        return no_rollup("", message);
    }
    let expected = format!("the name of one of several rollups: {}", some_of(names));
    precondition("ROLLUP_NOT_NAMED", "rollup", expected, "none")
}

/// PERMISSION_DENIED to a tenant, on another's rollup.
pub(super) fn not_your_rollup(name: &str) -> Status {
    let message =
        format!("rollup {name} is another tenant's; that tenant or an operator may submit its batches");
    let metadata = [
        ("rollup", name.to_owned()),
        ("role", Role::Operator.name().to_owned()),
    ];
    Status::with_error_details(Code::PermissionDenied, message, info("TENANT_MISMATCH", metadata))
}

impl From<RetryError> for Status {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::Unknown(id) => no_batch(&id.to_string()),
            RetryError::NotFailed { batch, .. } => batch_state("BATCH_NOT_FAILED", batch, &error.to_string()),
        }
    }
}
