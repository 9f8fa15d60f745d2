//! What the coordinator is told at its start.

use std::{net::SocketAddr, path::PathBuf};

use rules::operation::RollupId;
use telemetry::traces::Traces;

use crate::{
    core::Limits,
    store::{ArtifactOptions, LocationError},
};

/// Most bytes of one batch, unless [`Config::batch_bytes_max`] says otherwise.
pub const BATCH_BYTES_MAX: u64 = 32 << 20;

/// Configuration, read once and checked by [`Config::check`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one; [`crate::Coordinator::address`] tells which.
    pub listen: SocketAddr,
    /// The files that TLS is spoken with; without them everything is in plain text.
    pub tls: Option<TlsFiles>,
    /// The access file: whose certificates and tokens are whose, and what these may do. Without it everybody may do
    /// everything, where there is no client CA; where there is one, everybody with a certificate of it.
    pub access: Option<PathBuf>,
    /// Must be true to listen on anything but loopback in plain text, or where nobody proves who calls.
    pub insecure_plaintext: bool,
    /// How often it is looked whether these files have changed, milliseconds.
    pub reload_ms: u64,
    /// Where metrics are served over HTTP, in plain text and to everybody; port 0 takes a free one. Nowhere unless it is said.
    pub metrics_listen: Option<SocketAddr>,
    /// Where the status page is served, likewise.
    pub status_listen: Option<SocketAddr>,
    /// Where it is told what becomes of batches, as spans of traces.
    pub traces: Traces,
    /// What one connection and one caller may take.
    pub quotas: Quotas,
    /// Folder of the store, or of its artifacts where records are in PostgreSQL; it is made if need be.
    pub store: PathBuf,
    /// The database that several coordinators share, of which one leads; none where the store is this one's alone.
    pub postgres: Option<Postgres>,
    /// Where its artifacts are kept, and for how long those that nothing needs any more.
    pub artifacts: ArtifactOptions,
    /// A rollup that is proven: a new store is made with it, and one that is there must have it. Without it, the store's rollups are
    /// those that operators create.
    pub rollup_id: Option<RollupId>,
    /// The snapshot that this rollup begins with in a new store (P-15.4); without it, it begins with the empty state (P-3.6). One that
    /// is there goes on with what it began with, and refuses another.
    pub snapshot: Option<PathBuf>,
    /// Limits and times of the queue and the leases.
    pub limits: Limits,
    /// Most bytes of an encoded batch.
    pub batch_bytes_max: u64,
    /// Submissions that may be under way at once.
    pub submissions_max: usize,
    /// Bytes of batches that may be in memory at once before they are executed, of all submissions together.
    pub submissions_bytes_max: u64,
    /// Longest time that a submission may take to arrive, milliseconds.
    pub submission_ms_max: u64,
    /// Longest time between two messages of a submission, milliseconds.
    pub submission_idle_ms_max: u64,
    /// Watch streams at once.
    pub watches_max: usize,
    /// Proofs that are verified at once.
    pub verifications_max: usize,
    /// How far a batch's time may be ahead of the clock, seconds.
    pub time_ahead_s_max: u64,
    /// How old a batch's time may be, seconds: at most the contract's `maxBatchAge` (P-9.4).
    pub time_age_s_max: u64,
    /// How long calls under way may take to end after shutdown, milliseconds.
    pub shutdown_ms_max: u64,
}

/// A database for several coordinators, and this one's place among them.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with `sslmode` and the like.
    pub url: String,
    /// What this coordinator calls itself, for those who look into the database.
    pub holder: String,
    /// Where clients and workers reach this coordinator.
    pub advertised: String,
    /// How long it leads after its last word, milliseconds.
    pub lease_ms: u64,
}

/// The files that TLS is spoken with, all PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The coordinator's certificate, followed by those that lead to its authority.
    pub certificate: PathBuf,
    /// The certificate's key.
    pub key: PathBuf,
    /// The authorities that vouch for clients.
    pub client_ca: Option<PathBuf>,
    /// What these authorities have revoked: a list of each.
    pub client_crl: Option<PathBuf>,
}

/// What one connection, one address and one caller may take: a tenant, or an address where no identity is proven. With what
/// there is for all of them.
#[derive(Debug, Clone)]
pub struct Quotas {
    /// Connections at once, handshakes included; fewer where there are fewer file descriptors.
    pub connections_max: usize,
    /// The same of one address.
    pub address_connections_max: usize,
    /// Longest time for a handshake, and for a connection to begin with HTTP/2, milliseconds.
    pub handshake_ms_max: u64,
    /// Longest time that a connection stays open without a call, milliseconds.
    pub idle_ms_max: u64,
    /// A connection over which nothing comes for so long is asked for a sign of life, and closed after as long again without
    /// one, milliseconds.
    pub keepalive_ms: u64,
    /// Longest time for a request to go on where its caller has not finished it, milliseconds. Submissions have a time of
    /// their own, and workers are renewed or lose their leases.
    pub request_ms_max: u64,
    /// Longest time for a small answer to be made and taken by the peer, milliseconds; then the connection is closed.
    pub answer_ms_max: u64,
    /// The same of a large one.
    pub download_ms_max: u64,
    /// Longest time for a message of a stream to be taken by the peer, milliseconds.
    pub stream_write_ms_max: u64,
    /// Calls that one caller may make in a second, in the long run.
    pub caller_calls_per_s: u32,
    /// Calls that one caller may make at once after a pause.
    pub caller_calls_burst: u32,
    /// Calls at once whose answer is small.
    pub calls_max: usize,
    /// The same of one caller.
    pub caller_calls_max: usize,
    /// Calls at once whose answer is large: proofs.
    pub downloads_max: usize,
    /// The same of one caller.
    pub caller_downloads_max: usize,
    /// Watch streams at once, of one caller.
    pub caller_watches_max: usize,
    /// The same of one connection.
    pub connection_watches_max: usize,
    /// Submissions that may be under way at once, of one caller.
    pub caller_submissions_max: usize,
    /// Bytes of batches that may be in memory at once before they are executed, of one caller.
    pub caller_submissions_bytes_max: u64,
    /// Workers' sessions at once, of one caller.
    pub caller_sessions_max: usize,
    /// Tasks' payloads in memory at once, on their way to workers.
    pub payloads_max: usize,
    /// The same to the workers of one caller.
    pub caller_payloads_max: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            connections_max: 2_048,
            address_connections_max: 128,
            handshake_ms_max: 10_000,
            idle_ms_max: 300_000,
            keepalive_ms: 10_000,
            request_ms_max: 30_000,
            answer_ms_max: 120_000,
            download_ms_max: 600_000,
            stream_write_ms_max: 60_000,
            caller_calls_per_s: 100,
            caller_calls_burst: 500,
            calls_max: 1_024,
            caller_calls_max: 128,
            downloads_max: 32,
            caller_downloads_max: 8,
            caller_watches_max: 500,
            connection_watches_max: 128,
            caller_submissions_max: 16,
            caller_submissions_bytes_max: 64 << 20,
            caller_sessions_max: 256,
            payloads_max: 32,
            caller_payloads_max: 8,
        }
    }
}

/// A configuration that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Listening on a network in plain text.
    #[error(
        "{0} is not a loopback address, and without a certificate everything is in plain text there; name the files for TLS, or allow it as insecure"
    )]
    PlainText(SocketAddr),
    /// Revocation lists of nobody's certificates.
    #[error("revocation lists are of the authorities in a client CA, and none is given")]
    NothingToRevoke,
    /// Listening on a network for everybody.
    #[error(
        "{0} is not a loopback address, and nobody proves who calls there; name a client CA or an access file, or allow it as insecure"
    )]
    Unauthenticated(SocketAddr),
    /// Artifacts cannot be kept there.
    #[error("artifacts: {0}")]
    Artifacts(#[from] LocationError),
    /// A rollup of no contract.
    #[error("rollup_id.contract is the zero address, which no contract has")]
    NoContract,
    /// A snapshot of no rollup.
    #[error("a snapshot is the beginning of a rollup, and no rollup is named; name its chain and contract")]
    NothingBegins,
    /// A limit or time that leaves no room.
    #[error("{name} is {found}, expected at least {min}")]
    TooSmall {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        found: u64,
        /// The least value.
        min: u64,
    },
}

impl Config {
    /// The default limits, and no snapshot.
    pub fn new(listen: SocketAddr, store: PathBuf, rollup_id: impl Into<Option<RollupId>>) -> Self {
        Self {
            listen,
            tls: None,
            access: None,
            insecure_plaintext: false,
            reload_ms: 2_000,
            metrics_listen: None,
            status_listen: None,
            traces: Traces::default(),
            quotas: Quotas::default(),
            store,
            postgres: None,
            artifacts: ArtifactOptions::default(),
            rollup_id: rollup_id.into(),
            snapshot: None,
            limits: Limits::default(),
            batch_bytes_max: BATCH_BYTES_MAX,
            submissions_max: 64,
            submissions_bytes_max: 128 << 20,
            submission_ms_max: 60_000,
            submission_idle_ms_max: 5_000,
            watches_max: 1_000,
            verifications_max: std::thread::available_parallelism().map_or(1, usize::from),
            time_ahead_s_max: 300,
            time_age_s_max: 86_400,
            shutdown_ms_max: 10_000,
        }
    }

    /// Checks every setting but the snapshot, which is read when the store is open.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Some(TlsFiles {
            client_ca: None,
            client_crl: Some(_),
            ..
        }) = &self.tls
        {
            return Err(ConfigError::NothingToRevoke);
        }
        if !self.insecure_plaintext && !self.listen.ip().is_loopback() {
            match &self.tls {
                None => return Err(ConfigError::PlainText(self.listen)),
                Some(tls) if tls.client_ca.is_none() && self.access.is_none() => {
                    return Err(ConfigError::Unauthenticated(self.listen));
                }
                Some(_) => {}
            }
        }
        self.artifacts.location.check(self.insecure_plaintext)?;
        match self.rollup_id {
            Some(rollup) if rollup.contract == [0; 20] => return Err(ConfigError::NoContract),
            None if self.snapshot.is_some() => return Err(ConfigError::NothingBegins),
            _ => {}
        }
        if let Some((name, found, min)) = self.settings().into_iter().find(|(_, found, min)| found < min) {
            return Err(ConfigError::TooSmall { name, found, min });
        }
        Ok(())
    }

    /// Every setting that must not be below something: its name, its value, and that.
    fn settings(&self) -> Vec<(&'static str, u64, u64)> {
        let (limits, quotas) = (&self.limits, &self.quotas);
        vec![
            ("limits.batches_open_max", limits.batches_open_max as u64, 1),
            (
                "limits.tenant_batches_open_max",
                limits.tenant_batches_open_max as u64,
                1,
            ),
            ("limits.sessions_max", limits.sessions_max as u64, 1),
            ("limits.session_leases_max", limits.session_leases_max as u64, 1),
            ("limits.lease_ms", limits.lease_ms, 100),
            ("limits.rollback_max", limits.rollback_max, 1),
            ("limits.progress_ms_max", limits.progress_ms_max, limits.lease_ms),
            ("limits.failures_max", limits.failures_max.into(), 1),
            ("limits.deaths_max", limits.deaths_max.into(), 1),
            ("artifacts.retention", self.artifacts.retention.as_secs(), 1),
            ("batch_bytes_max", self.batch_bytes_max, 1),
            ("submissions_max", self.submissions_max as u64, 1),
            (
                "submissions_bytes_max",
                self.submissions_bytes_max,
                self.batch_bytes_max,
            ),
            ("submission_ms_max", self.submission_ms_max, 100),
            ("submission_idle_ms_max", self.submission_idle_ms_max, 100),
            ("watches_max", self.watches_max as u64, 1),
            ("verifications_max", self.verifications_max as u64, 1),
            ("reload_ms", self.reload_ms, 10),
            (
                "postgres.lease_ms",
                self.postgres
                    .as_ref()
                    .map_or(u64::MAX, |postgres| postgres.lease_ms),
                500,
            ),
            ("quotas.connections_max", quotas.connections_max as u64, 1),
            (
                "quotas.address_connections_max",
                quotas.address_connections_max as u64,
                1,
            ),
            ("quotas.handshake_ms_max", quotas.handshake_ms_max, 100),
            ("quotas.idle_ms_max", quotas.idle_ms_max, 100),
            ("quotas.keepalive_ms", quotas.keepalive_ms, 100),
            ("quotas.request_ms_max", quotas.request_ms_max, 100),
            ("quotas.answer_ms_max", quotas.answer_ms_max, 100),
            ("quotas.download_ms_max", quotas.download_ms_max, 100),
            ("quotas.stream_write_ms_max", quotas.stream_write_ms_max, 100),
            ("quotas.caller_calls_per_s", quotas.caller_calls_per_s.into(), 1),
            ("quotas.caller_calls_burst", quotas.caller_calls_burst.into(), 1),
            ("quotas.calls_max", quotas.calls_max as u64, 1),
            ("quotas.caller_calls_max", quotas.caller_calls_max as u64, 1),
            ("quotas.downloads_max", quotas.downloads_max as u64, 1),
            (
                "quotas.caller_downloads_max",
                quotas.caller_downloads_max as u64,
                1,
            ),
            ("quotas.caller_watches_max", quotas.caller_watches_max as u64, 1),
            (
                "quotas.connection_watches_max",
                quotas.connection_watches_max as u64,
                1,
            ),
            (
                "quotas.caller_submissions_max",
                quotas.caller_submissions_max as u64,
                1,
            ),
            (
                "quotas.caller_submissions_bytes_max",
                quotas.caller_submissions_bytes_max,
                self.batch_bytes_max,
            ),
            ("quotas.caller_sessions_max", quotas.caller_sessions_max as u64, 1),
            ("quotas.caller_payloads_max", quotas.caller_payloads_max as u64, 1),
            ("quotas.payloads_max", quotas.payloads_max as u64, 1),
        ]
    }
}
