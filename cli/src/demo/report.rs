//! What a demo measured, as `--json` writes it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use accel::machine;
use anyhow::{Context, Result};
use keys::whole_file;
use serde::Serialize;

/// The report of one run of the demo.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Preset of the circuits.
    pub preset: String,
    /// Transfers proven and accepted, all batches together.
    pub transfers: u64,
    /// Different tokens among them.
    pub tokens: u16,
    /// Batches.
    pub batches: u64,
    /// Shards that hold operations, all batches together.
    pub shards: u64,
    /// Shard proofs made, padding included.
    pub shard_proofs: u64,
    /// Wall time by phase.
    pub seconds: Seconds,
    /// The coordinator's own work since it started last, by kind, seconds; some of it at the same time.
    pub coordinator_seconds: BTreeMap<String, f64>,
    /// All of it for each second from a batch's submission to its proof.
    pub coordinator_share: f64,
    /// Highest resident memory of each process, bytes.
    pub peak_memory_bytes: BTreeMap<String, u64>,
    /// Highest resident memory of all of them at one time, from samples, bytes. What they share counts for each.
    pub peak_memory_together_bytes: u64,
    /// How often a process was restarted after it died.
    pub restarts: BTreeMap<String, u32>,
    /// Length of a root proof, bytes.
    pub proof_bytes: u64,
    /// Length of the posted data, all batches together, bytes.
    pub data_bytes: u64,
    /// Posted bytes for each transfer.
    pub data_bytes_per_transfer: f64,
    /// Gas that the verifier alone takes for a batch.
    pub verify_gas: u64,
    /// Gas of all batch transactions on L1.
    pub l1_gas: u64,
    /// Gas of all batch transactions for each transfer.
    pub l1_gas_per_transfer: f64,
    /// State root before the first batch.
    pub old_root: String,
    /// State root after the last batch.
    pub new_root: String,
    /// Whether L1's contract accepted every batch and has the new root.
    pub accepted_on_l1: bool,
    /// Whether L1's contract refused a tampered proof and tampered data.
    pub tampered_rejected: bool,
    /// By which error L1 refused each tampered submission.
    pub tampered_errors: BTreeMap<String, String>,
    /// Whether deposits of ETH and of a token are in the accounts that they were for.
    pub deposit_credited: bool,
    /// Whether an account has the key that its L1 address gave it, and its owner's payments with that key were accepted.
    pub key_changed: bool,
    /// Whether an account that was made by a signature has what it was paid.
    pub new_account_paid: bool,
    /// Whether L1 paid a withdrawal, once.
    pub withdrawal_claimed: bool,
    /// Whether a forced exit was executed in a stranger's batch, against an operator that left it out, and paid.
    pub forced_exit_served: bool,
    /// Whether an account of the frozen rollup was paid by a proof of its leaf, once.
    pub exit_after_freeze_paid: bool,
    /// Whether the state that follows from L1's logs alone is the coordinator's.
    pub derived_state_equal: bool,
    /// Gas of each kind of transaction on L1.
    pub gas: BTreeMap<String, u64>,
    /// By which error L1 refused what comes too early, twice, or from the wrong caller.
    pub refused: BTreeMap<String, String>,
    /// Where it ran.
    pub machine: Machine,
    /// Commit of the source, with "-dirty" when it was changed; empty outside a checkout.
    pub commit: String,
}

/// Wall time by phase, seconds; of several batches, the sum.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seconds {
    /// Tools of the local L1: found, or installed.
    pub tools: f64,
    /// Keys: generated, or found in the cache and checked.
    pub keys: f64,
    /// Start of L1, coordinator and workers.
    pub startup: f64,
    /// Making and signing the operations.
    pub sample: f64,
    /// Submission: transfer of the batch, native execution, commit.
    pub submit: f64,
    /// From submission until the last shard was proven.
    pub shards: f64,
    /// From then until the root proof was ready.
    pub aggregation: f64,
    /// Compiling and deploying the contracts.
    pub deploy: f64,
    /// Batch transactions on L1.
    pub l1: f64,
    /// What users do on L1: deposits, claims, exits.
    pub users: f64,
    /// Everything.
    pub total: f64,
}

/// The machine of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Machine {
    /// Name of the processor.
    pub cpu: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// Memory that this process may use, bytes.
    pub memory_bytes: u64,
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        Self {
            cpu: machine::processor().unwrap_or_default(),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: prover::memory::limit_bytes().unwrap_or(0),
        }
    }
}

/// The commit of the checkout that the program runs in; empty when there is none.
pub fn commit() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_string(),
        _ => String::new(),
    }
}

impl Report {
    /// Fills in what follows from the rest.
    pub fn derive(&mut self) {
        let transfers = self.transfers.max(1) as f64;
        self.data_bytes_per_transfer = self.data_bytes as f64 / transfers;
        self.l1_gas_per_transfer = self.l1_gas as f64 / transfers;
        let seconds = &self.seconds;
        let proving = seconds.submit + seconds.shards + seconds.aggregation;
        self.coordinator_share = self.coordinator_seconds.values().sum::<f64>() / proving;
    }

    /// What the acts are to show, and whether they did.
    fn acts(&self) -> [(bool, &'static str); 7] {
        [
            (self.deposit_credited, "deposits of ETH and a token credited"),
            (self.key_changed, "a key changed by its owner's L1 address"),
            (
                self.new_account_paid,
                "a new account made by a signature, and paid",
            ),
            (self.withdrawal_claimed, "a withdrawal claimed on L1"),
            (
                self.forced_exit_served,
                "a forced exit served against a censoring operator",
            ),
            (
                self.exit_after_freeze_paid,
                "an account paid out after the operator's death and a freeze",
            ),
            (
                self.derived_state_equal,
                "the state derived from L1 alone is the coordinator's",
            ),
        ]
    }

    /// What the acts were to show and did not.
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = self.acts().into_iter().filter(|(done, _)| !done);
        missing.map(|(_, what)| what).collect()
    }

    /// What a person wants to know, on a few lines.
    pub fn summary(&self) -> String {
        let seconds = &self.seconds;
        let said = |(done, what): (bool, &str)| format!("{}: {what}", if done { "yes" } else { "NO" });
        let acts = self.acts().map(said);
        let gas: Vec<String> = self
            .gas
            .iter()
            .map(|(what, gas)| format!("{what} {gas}"))
            .collect();
        format!(
            "{} transfers, {} batches, {} shard proofs: accepted on L1\n{}\n\
             old root {}\nnew root {}\n\
             seconds: keys {:.1}, shards {:.1}, aggregation {:.1}, L1 {:.1}, all {:.1}\n\
             proof {} bytes, data {:.1} bytes a transfer, verification {} gas, L1 {:.0} gas a transfer\n\
             gas: {}\n\
             memory: {:.2} GB at most, all processes together; the coordinator's own work: {:.1} % of the time",
            self.transfers,
            self.batches,
            self.shard_proofs,
            acts.join("\n"),
            self.old_root,
            self.new_root,
            seconds.keys,
            seconds.shards,
            seconds.aggregation,
            seconds.deploy + seconds.l1 + seconds.users,
            seconds.total,
            self.proof_bytes,
            self.data_bytes_per_transfer,
            self.verify_gas,
            self.l1_gas_per_transfer,
            gas.join(", "),
            self.peak_memory_together_bytes as f64 / 1e9,
            self.coordinator_share * 100.0,
        )
    }

    /// Writes the report so that a reader never sees half of it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("cannot encode the report")? + "\n";
        crate::wallet::keys::spare(path)?;
        whole_file::write(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }
}
