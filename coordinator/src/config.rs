//! What the coordinator is told at its start.

use std::{net::SocketAddr, path::PathBuf};

use circuits::{
    genesis::{Genesis, GenesisError},
    operation::RollupId,
    state::State,
};

use crate::core::Limits;

/// Configuration, read once and checked by [`Config::check`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one; [`crate::Coordinator::address`] tells which.
    pub listen: SocketAddr,
    /// Must be true to listen on anything but loopback: callers are not authenticated, and the link is not encrypted.
    pub allow_remote: bool,
    /// Folder of the store; it is made if need be.
    pub store: PathBuf,
    /// The rollup that is proven.
    pub rollup_id: RollupId,
    /// The state before batch 0.
    pub genesis: Genesis,
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

/// A configuration that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Listening on a network without authentication.
    #[error(
        "{0} is not a loopback address; callers are not authenticated, so this must be allowed explicitly"
    )]
    Remote(SocketAddr),
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
    /// The genesis breaks a rule.
    #[error("genesis: {0}")]
    Genesis(#[from] GenesisError),
}

impl Config {
    /// The default limits.
    pub fn new(listen: SocketAddr, store: PathBuf, rollup_id: RollupId, genesis: Genesis) -> Self {
        Self {
            listen,
            allow_remote: false,
            store,
            rollup_id,
            genesis,
            limits: Limits::default(),
            batch_bytes_max: 32 << 20,
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

    /// Checks every setting; the genesis state.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn check(&self) -> Result<State, ConfigError> {
        if !self.allow_remote && !self.listen.ip().is_loopback() {
            return Err(ConfigError::Remote(self.listen));
        }
        let limits = &self.limits;
        let settings = [
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
            ("limits.failures_max", limits.failures_max.into(), 1),
            ("limits.deaths_max", limits.deaths_max.into(), 1),
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
        ];
        if let Some((name, found, min)) = settings.into_iter().find(|(_, found, min)| found < min) {
            return Err(ConfigError::TooSmall { name, found, min });
        }
        Ok(self.genesis.build()?)
    }
}
