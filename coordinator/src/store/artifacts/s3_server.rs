//! Where artifacts are kept at an S3 server of a test's own.

pub(crate) use s3server::{BUCKET, Fault, S3Server};

use super::Location;

/// Under a prefix of its bucket.
pub(crate) fn location(server: &S3Server, prefix: &str) -> Location {
    location_in(server, BUCKET, prefix)
}

/// Under a prefix of any bucket.
pub(crate) fn location_in(server: &S3Server, bucket: &str, prefix: &str) -> Location {
    let location: Location = format!("s3://{bucket}/{prefix}").parse().expect("it is one");
    location.with_variables(server.variables())
}
