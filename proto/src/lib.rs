//! gRPC definitions.
