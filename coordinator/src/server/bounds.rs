//! What callers can make the process allocate at most, from the limits and the constants that hold them.
//!
//! Counted is what waits for a peer: bytes that came and are not done with, answers that are not taken. What the service
//! itself keeps (accounts, batches, the store's cache) is its own, and grows with accepted batches only. ARCHITECTURE states the
//! figures for the default limits; a test holds them to it.

use crate::{
    config::Config,
    server::{
        HEADER_BYTES_MAX, MESSAGE_BYTES_MAX, STREAMS_MAX, WINDOW_BYTES,
        access::gate::{PIECE_BYTES_MAX, REQUEST_BYTES_MAX},
        prover_service::WATCH_BUFFER,
        shell::OUTBOUND_MAX,
        transport::listener::CHAIN_BYTES_MAX,
        worker_service::WRITE_BUFFER,
    },
};

/// A connection's own: buffers of TLS, HTTP/2 and the socket's task.
const CONNECTION_OWN_BYTES: u64 = 128 << 10;
/// A small answer: a page of a hundred batches, each with the longest names and failure.
const QUICK_ANSWER_BYTES: u64 = 256 << 10;
/// A large answer: gRPC's limit for one message.
const DOWNLOAD_ANSWER_BYTES: u64 = 4 << 20;
/// A batch as a watcher gets it, with its tasks.
const WATCH_MESSAGE_BYTES: u64 = 32 << 10;
/// A message to a worker that is no part of a payload.
const OUTBOUND_BYTES: u64 = 2 << 10;
/// A buffer that grows may have twice the room that it uses.
const GROWTH: u64 = 2;
/// A message that may be compressed is there twice, as it is sent and as it is read.
const FORMS: u64 = 2;

/// Bytes, by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Connections, whatever is called over them.
    pub connections: u64,
    /// Calls, whatever they came over. Payloads on their way to workers come on top: as many as the limit says, each as large
    /// as the preset makes it.
    pub calls: u64,
}

/// How many there may be of each.
struct Counts {
    connections: usize,
    quick: usize,
    downloads: usize,
    submissions: usize,
    submission_bytes: u64,
    watches: usize,
    sessions: usize,
}

impl Counts {
    fn bounds(&self) -> Bounds {
        let message = MESSAGE_BYTES_MAX as u64;
        let stream = u64::from(HEADER_BYTES_MAX) + PIECE_BYTES_MAX as u64;
        let connection = u64::from(WINDOW_BYTES) + u64::from(STREAMS_MAX) * stream
            + CONNECTION_OWN_BYTES
            // TLS keeps one, and those who look at it again another.
            + 2 * CHAIN_BYTES_MAX as u64;
        let request = FORMS * GROWTH * REQUEST_BYTES_MAX;
        // What goes to workers is not compressed.
        let session = FORMS * GROWTH * message
            + (WRITE_BUFFER as u64 + 1) * message
            + OUTBOUND_MAX as u64 * OUTBOUND_BYTES;
        let calls = [
            (self.quick, request + FORMS * QUICK_ANSWER_BYTES),
            (self.downloads, request + FORMS * DOWNLOAD_ANSWER_BYTES),
            (self.submissions, FORMS * GROWTH * message),
            (
                self.watches,
                request + (WATCH_BUFFER as u64 + FORMS) * WATCH_MESSAGE_BYTES,
            ),
            (self.sessions, session),
        ];
        let calls = calls
            .into_iter()
            .map(|(count, each)| count as u64 * each)
            .sum::<u64>();
        Bounds {
            connections: self.connections as u64 * connection,
            calls: calls + GROWTH * self.submission_bytes,
        }
    }
}

/// Of one address, and of one caller: a tenant, or an address where no identity is proven.
pub(crate) fn of_one(config: &Config) -> Bounds {
    let quotas = &config.quotas;
    let counts = Counts {
        connections: quotas.address_connections_max,
        quick: quotas.caller_calls_max,
        downloads: quotas.caller_downloads_max,
        submissions: quotas.caller_submissions_max,
        submission_bytes: quotas.caller_submissions_bytes_max,
        watches: quotas.caller_watches_max,
        sessions: quotas.caller_sessions_max,
    };
    counts.bounds()
}

/// Of all together.
pub(crate) fn of_all(config: &Config) -> Bounds {
    let quotas = &config.quotas;
    let counts = Counts {
        connections: quotas.connections_max,
        quick: quotas.calls_max,
        downloads: quotas.downloads_max,
        submissions: config.submissions_max,
        submission_bytes: config.submissions_bytes_max,
        watches: config.watches_max,
        sessions: config.limits.sessions_max,
    };
    counts.bounds()
}

#[cfg(test)]
mod tests {
    use rules::operation::RollupId;

    use super::*;

    #[test]
    fn the_documentation_states_the_bounds_of_the_default_limits() {
        let rollup_id = RollupId {
            chain_id: 1,
            contract: [0; 20],
        };
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = Config::new(listen, "store".into(), rollup_id);
        let documentation = include_str!("../../../ARCHITECTURE.md");
        for (who, bounds) in [("one", of_one(&config)), ("all together", of_all(&config))] {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            let line = format!(
                "| {who} | {} MiB | {} MiB |",
                mib(bounds.connections),
                mib(bounds.calls)
            );
            assert!(documentation.contains(&line), "ARCHITECTURE.md lacks: {line}");
        }
    }
}
