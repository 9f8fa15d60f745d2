//! How a coordinator comes to lead: at once, where the store is its own; by the lease in the database, where it shares one. Until then it
//! mirrors what the leader writes, for those who read.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rules::state::State;
use tokio::{sync::watch, task};
use tonic_health::server::HealthReporter;

use super::{
    Error, set_health,
    shell::{Clock, Shell},
};
use crate::{
    config::{Config, Postgres},
    core::{
        Core, Head, Limits,
        id::{StateRoot, UnixMs},
    },
    keyring::{Circuits, Keyring},
    snapshot::{self, Beginning},
    store::{
        Artifacts, Identity, KeptStore, Opening, SCHEMA, Store, StoreError,
        postgres::{Campaign, Candidate, Leader, Leadership},
    },
};

/// How often a coordinator that stands by looks whether nobody leads, and what the leader has written.
const LOOK: Duration = Duration::from_millis(500);

/// How long a start waits for a database that does not answer.
const DATABASE_MAX: Duration = Duration::from_secs(30);

/// A coordinator that is about to serve.
pub(super) struct Begun {
    pub(super) shell: Shell,
    /// What the first batch of the chain follows.
    pub(super) start: Head,
    pub(super) standby: Option<Standby>,
}

/// A coordinator's place among those that share a database.
pub(super) struct Standby {
    follower: Arc<Follower>,
    /// Becomes true once it leads no more; none while it stands by.
    lost: Option<watch::Receiver<bool>>,
}

/// Sees what the coordinator that leads has written.
pub(super) struct Follower {
    candidate: Candidate,
    config: Config,
    artifacts: Arc<Artifacts>,
    keyring: Arc<Keyring>,
    /// Commits that are known here. Locked while they are looked for.
    known: Mutex<i64>,
}

/// What a store has.
struct Opened {
    core: Core,
    ledger: State,
    store: Arc<dyn Store>,
    start: Head,
}

/// Opens the store; one that is shared as soon as there is one, or nobody leads.
pub(super) fn begin(config: &Config, keyring: Arc<Keyring>) -> Result<Begun, Error> {
    let Some(shared) = &config.postgres else {
        let opening = Opening::begin(&config.store, &config.artifacts)?;
        let clock = Clock::start();
        let opened = complete(config, &keyring, opening, &|| clock.now())?;
        return Ok(Begun {
            start: opened.start,
            shell: Shell::new(opened.core, opened.ledger, opened.store, keyring, clock),
            standby: None,
        });
    };
    let artifacts = Arc::new(Artifacts::open(&config.artifacts, &config.store)?);
    let began = Instant::now();
    let mut told = String::new();
    loop {
        let why = match join(config, shared, &artifacts, &keyring) {
            Ok(Some(begun)) => return Ok(begun),
            Ok(None) => "another coordinator makes the store".to_owned(),
            // It took longer to open than the lead lasts.
            Err(Error::Store(error @ StoreError::Deposed { .. })) => error.to_string(),
            Err(Error::Store(error)) if error.may_pass() && began.elapsed() < DATABASE_MAX => {
                error.to_string()
            }
            Err(error) => return Err(error),
        };
        if why != told {
            tracing::warn!(why, "the shared store is waited for");
            told = why;
        }
        std::thread::sleep(LOOK);
    }
}

/// Leads if nobody does, and else mirrors what the leader writes; none where that has not made the store yet.
fn join(
    config: &Config,
    shared: &Postgres,
    artifacts: &Arc<Artifacts>,
    keyring: &Arc<Keyring>,
) -> Result<Option<Begun>, Error> {
    let clock = Clock::start();
    let lease = Duration::from_millis(shared.lease_ms);
    let candidate = Candidate::new(
        &shared.url,
        shared.holder.clone(),
        shared.advertised.clone(),
        lease,
    )?;
    let (opened, commits, lost) = match candidate.campaign()? {
        Campaign::Won(leadership) => {
            tracing::info!(term = leadership.term(), "this coordinator leads");
            let lost = leadership.lost();
            let opening = Opening::lead(leadership, Arc::clone(artifacts))?;
            let opened = complete(config, keyring, opening, &|| clock.now())?;
            (Some(opened), 0, Some(lost))
        }
        Campaign::Lost(leader) => {
            let opened = mirror(config, artifacts, keyring, &candidate, &|| clock.now())?;
            (opened, leader.commits, None)
        }
    };
    let Some(Opened {
        core,
        ledger,
        store,
        start,
    }) = opened
    else {
        return Ok(None);
    };
    let follower = Arc::new(Follower {
        candidate,
        config: config.clone(),
        artifacts: Arc::clone(artifacts),
        keyring: Arc::clone(keyring),
        known: Mutex::new(commits),
    });
    let shell = Shell::new(core, ledger, store, Arc::clone(keyring), clock);
    shell.follow_by(Arc::clone(&follower));
    if lost.is_none() {
        tracing::info!("this coordinator stands by");
        shell.standing().set(Some(String::new()));
    }
    let standby = Some(Standby { follower, lost });
    Ok(Some(Begun {
        shell,
        start,
        standby,
    }))
}

/// Where a leader is reached; empty where its time is over.
fn heard(leader: &Leader) -> String {
    if leader.leads {
        leader.url.clone()
    } else {
        String::new()
    }
}

/// What a store is to be for that begins with `start`.
fn identities(config: &Config, keyring: &Keyring, start: Head) -> (Identity, Vec<Identity>) {
    let identity = |circuits: &Circuits| Identity {
        schema: SCHEMA,
        protocol_version: circuits.manifest.protocol_version,
        preset: circuits.manifest.preset.clone(),
        srs_digest: circuits.manifest.srs_digest.0,
        shard_vk_digest: circuits.manifest.shard_vk_digest.0,
        aggregation_vk_digest: circuits.manifest.aggregation_vk_digest.0,
        chain_id: config.rollup_id.chain_id,
        contract: config.rollup_id.contract,
        start,
    };
    let previous = keyring.previous.iter().map(&identity).collect();
    (identity(&keyring.current), previous)
}

fn limits(config: &Config) -> Limits {
    Limits {
        time_age_s_max: config.time_age_s_max,
        ..config.limits.clone()
    }
}

/// Opens a store that is this process's, and restores the core and the ledger from it.
fn complete(
    config: &Config,
    keyring: &Keyring,
    opening: Opening,
    now: &dyn Fn() -> UnixMs,
) -> Result<Opened, Error> {
    let Beginning { start, state, digest } =
        snapshot::begin(config.snapshot.as_deref(), &config.rollup_id, opening.start()?)?;
    let (identity, previous) = identities(config, keyring, start);
    // Where nothing is stored nothing was known, so that it was made or read. It goes before the state is loaded.
    let first = move || state.expect("the first state was made or read");
    let store = opening.complete(&identity, &previous, first, digest)?;
    let core = Core::restore(limits(config), start, store.snapshot()?, now());
    let ledger = store.state()?;
    let (head, found) = (core.head(), StateRoot(rules::field::to_be(&ledger.root())));
    if head.root != found {
        let what = format!(
            "its accounts have the root {found}, the chain ends with {}",
            head.root
        );
        return Err(StoreError::Corrupt { what }.into());
    }
    tracing::info!(root = %head.root, accounts = ledger.accounts().len(), next = head.next_number, open = core.open_batches(), "store opened");
    Ok(Opened {
        core,
        ledger,
        store: Arc::new(store),
        start,
    })
}

/// What another coordinator has come to; none before its store is made.
fn mirror(
    config: &Config,
    artifacts: &Arc<Artifacts>,
    keyring: &Keyring,
    candidate: &Candidate,
    now: &dyn Fn() -> UnixMs,
) -> Result<Option<Opened>, Error> {
    let Some(store) = KeptStore::mirror(candidate, Arc::clone(artifacts))? else {
        return Ok(None);
    };
    let start = store.start()?;
    let (identity, previous) = identities(config, keyring, start);
    store.check(&identity, &previous)?;
    Ok(Some(Opened {
        core: Core::restore(limits(config), start, store.snapshot()?, now()),
        // Nobody asks for it here.
        ledger: State::default(),
        store: Arc::new(store),
        start,
    }))
}

impl Standby {
    /// Leads when nobody does, and ends the service when another does after that; until the coordinator stops.
    pub(super) async fn keep(self, shell: Arc<Shell>, health: HealthReporter) {
        let Self { follower, mut lost } = self;
        let stopping = shell.stopping().clone();
        let mut lost = loop {
            match lost.take() {
                Some(lost) => break lost,
                None => {
                    let (shell, follower) = (Arc::clone(&shell), Arc::clone(&follower));
                    let Ok(now) = task::spawn_blocking(move || follower.look(&shell)).await else {
                        tracing::error!("a look at the shared store ended in a panic");
                        stopping.cancel();
                        return;
                    };
                    lost = now;
                }
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(if lost.is_some() { Duration::ZERO } else { LOOK }) => {}
            }
        };
        set_health(&health, true).await;
        tokio::select! {
            () = stopping.cancelled() => return,
            heard = lost.wait_for(|lost| *lost) => if heard.is_err() { return },
        }
        let deposed = {
            let shell = Arc::clone(&shell);
            task::spawn_blocking(move || shell.end_with(follower.candidate.deposed()))
        };
        if deposed.await.is_err() {
            stopping.cancel();
        }
    }
}

impl Follower {
    /// Takes the lead if nobody has it, or what the leader has come to.
    fn look(&self, shell: &Shell) -> Option<watch::Receiver<bool>> {
        let seen = match self.candidate.campaign() {
            Ok(Campaign::Won(leadership)) => self.lead(shell, leadership).map(Some),
            Ok(Campaign::Lost(leader)) => {
                shell.standing().set(Some(heard(&leader)));
                self.refresh(shell).map(|()| None)
            }
            Err(error) => Err(error.into()),
        };
        seen.unwrap_or_else(|error| {
            match error {
                Error::Store(error) if !error.may_pass() => shell.end_with(error),
                error => tracing::warn!(%error, "the shared store is not seen"),
            }
            None
        })
    }

    /// Leads with what the store has.
    fn lead(&self, shell: &Shell, leadership: Leadership) -> Result<watch::Receiver<bool>, Error> {
        // Nobody takes over what was before.
        let _known = self.known();
        let (lost, term) = (leadership.lost(), leadership.term());
        tracing::info!(term, "this coordinator takes the lead");
        let opening = Opening::lead(leadership, Arc::clone(&self.artifacts))?;
        let opened = complete(&self.config, &self.keyring, opening, &|| shell.now())?;
        shell.lead(opened.core, opened.ledger, opened.store);
        tracing::info!(term, "this coordinator leads");
        Ok(lost)
    }

    fn known(&self) -> MutexGuard<'_, i64> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the leader has written by now.
    pub(super) fn refresh(&self, shell: &Shell) -> Result<(), Error> {
        let mut known = self.known();
        if shell.standing().leads() {
            return Ok(());
        }
        let leader = self.candidate.leader()?;
        if leader.commits == *known {
            return Ok(());
        }
        if let Some(opened) = mirror(
            &self.config,
            &self.artifacts,
            &self.keyring,
            &self.candidate,
            &|| shell.now(),
        )? {
            shell.mirror(opened.core, opened.store);
        }
        *known = leader.commits;
        Ok(())
    }
}
