//! The state of the coordinator as those see it who look from outside: taken once a second, whoever looks and however often.
//!
//! So the core is locked once a second for what is there to be counted, and never for a peer. Where a disk holds the core up, what
//! was seen last stays, and says how old it is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use telemetry::Histogram;
use tokio::sync::watch;

use super::shell::Shell;
use crate::{
    core::{load::Load, tally::Numbers},
    store::{ArtifactMeters, ArtifactNumbers},
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// What was seen at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    /// When.
    pub at: Instant,
    /// Where the coordinator that leads is reached, if it is not this one. Empty where nobody does, or that is not known.
    pub leader: Option<String>,
    /// What has come to pass.
    pub numbers: Numbers,
    /// What there is to do.
    pub load: Load,
    /// Whether the store is waited for.
    pub suspended: bool,
    /// Accounts of all rollups after their last batches. None where a batch was being executed at each look so far.
    pub accounts: Option<usize>,
    /// Times of the coordinator's own work.
    pub own: Vec<(&'static str, Histogram)>,
    /// What the artifacts' back end does.
    pub artifacts: ArtifactNumbers,
    /// The newest batches, workers and failures; null where no page shows them.
    pub lists: Arc<Value>,
}

/// Where the newest look is found. None before the first, which is soon.
pub(crate) type Looks = watch::Receiver<Option<Arc<Observed>>>;

/// Looks once a second until the coordinator stops, at the lists of the status page too if `listed`.
pub(super) async fn keep_looking(
    shell: Arc<Shell>,
    artifacts: Arc<ArtifactMeters>,
    listed: bool,
    seen: watch::Sender<Option<Arc<Observed>>>,
) {
    loop {
        let last = seen.borrow().clone();
        let look = move |shell: &Shell| shell.observe(last.as_deref(), listed);
        match shell.run(look).await {
            Ok(observed) => {
                let artifacts = artifacts.numbers();
                seen.send_replace(Some(Arc::new(Observed {
                    artifacts,
                    ..observed
                })));
            }
            Err(_) => return,
        }
        tokio::select! {
            () = shell.stopping().cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
