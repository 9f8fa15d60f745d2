//! The gRPC interface of the prover service: what `zkrollup/prover/v1/*.proto` say, as Rust, and how a client connects.

// They panic where the stream cannot be written; whoever calls is told by an error or `tracing`.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod connection;
pub mod pem;

/// Version 1 of the interface. The comments of the .proto files are the documentation of its items.
// Generated methods and modules carry no comments of their own; their items' are in the .proto files.
#[allow(missing_docs, clippy::doc_lazy_continuation, clippy::large_enum_variant)]
pub mod v1 {
    tonic::include_proto!("zkrollup.prover.v1");

    /// The encoded `FileDescriptorSet` of this package, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("zkrollup.prover.v1");
}

mod failure;
mod text;

pub use failure::{FailureClass, NoClass};
pub use text::one_line;

/// Most bytes in one chunk, of a submitted batch or of a task's payload.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Most bytes in one proof.
pub const PROOF_BYTES_MAX: usize = 1 << 20;

/// Most bytes in a task's payload.
pub const PAYLOAD_BYTES_MAX: u64 = 256 << 20;

/// Most characters in a request id or a worker's name.
pub const NAME_CHARS_MAX: usize = 128;
/// Most characters of a failure's message; the rest is cut off.
pub const FAILURE_CHARS_MAX: usize = 1_024;
/// Most characters of a phase's name; the rest is cut off.
pub const PHASE_CHARS_MAX: usize = 64;
