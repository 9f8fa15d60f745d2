//! How a coordinator comes to lead: at once, where the store is its own; by the lease in the database, where it shares one. Until then it
//! mirrors what the leader writes, for those who read.

mod warm;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rules::state::State;
use tokio::{sync::watch, task};
use tonic_health::server::HealthReporter;

use self::warm::{Chains, Warm};
use super::{
    Error, set_health,
    shell::{Clock, Shell},
};
use crate::{
    config::{Config, Postgres},
    core::{
        Core, Limits,
        id::{RollupNumber, StateRoot, Tenant, UnixMs},
        record::Write,
        rollup::{NewRollup, RollupRecord, RollupStatus},
    },
    keyring::{Circuits, Keyring},
    snapshot::{self, Beginning, KnownStart, in_words},
    store::{
        Artifacts, Identity, KeptStore, Opening, SCHEMA, Store, StoreError, check_start,
        postgres::{Campaign, Candidate, Leader, Leadership},
    },
};

/// How often a coordinator that stands by looks whether nobody leads, and what the leader has written.
const LOOK: Duration = Duration::from_millis(500);

/// How often a state is brought up to the leader's within a look before all are loaded.
const FOLLOWS: usize = 3;

/// How long a start waits for a database that does not answer.
const DATABASE_MAX: Duration = Duration::from_secs(30);

/// A coordinator that is about to serve.
pub(super) struct Begun {
    pub(super) shell: Shell,
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
    /// When the store was last looked at in vain. Locked after `known`.
    unseen: Mutex<Option<Instant>>,
    /// The states, and the commits that they have followed. Locked before `known`.
    warm: Mutex<(Warm, Option<i64>)>,
}

/// What a store has.
struct Opened {
    core: Core,
    states: BTreeMap<RollupNumber, State>,
    store: Arc<dyn Store>,
}

/// What a rollup that the configuration names is called.
const NAMED_ROLLUP: &str = "main";

/// Opens the store; one that is shared as soon as there is one, or nobody leads.
pub(super) fn begin(config: &Config, keyring: Arc<Keyring>) -> Result<Begun, Error> {
    let Some(shared) = &config.postgres else {
        let opening = Opening::begin(&config.store, &config.artifacts)?;
        let clock = Clock::start();
        let opened = complete(config, &keyring, opening, &|| clock.now(), Warm::default())?;
        return Ok(Begun {
            shell: Shell::new(opened.core, opened.states, opened.store, keyring, clock),
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
            let opened = complete(config, keyring, opening, &|| clock.now(), Warm::default())?;
            (Some(opened), 0, Some(lost))
        }
        Campaign::Lost(leader) => {
            let opened = mirror(config, artifacts, keyring, &candidate, &|| clock.now())?;
            if let Some(opened) = &opened {
                // Else it could not lead.
                named(config, candidate.name(), opened.core.rollups().cloned().collect())?;
            }
            (opened, leader.commits, None)
        }
    };
    let Some(Opened { core, states, store }) = opened else {
        return Ok(None);
    };
    let follower = Arc::new(Follower {
        candidate,
        config: config.clone(),
        artifacts: Arc::clone(artifacts),
        keyring: Arc::clone(keyring),
        known: Mutex::new(commits),
        unseen: Mutex::default(),
        warm: Mutex::default(),
    });
    let shell = Shell::new(core, states, store, Arc::clone(keyring), clock);
    shell.follow_by(Arc::clone(&follower));
    if lost.is_none() {
        tracing::info!("this coordinator stands by");
        shell.standing().set(Some(String::new()));
    }
    let standby = Some(Standby { follower, lost });
    Ok(Some(Begun { shell, standby }))
}

/// Where a leader is reached; empty where its time is over.
fn heard(leader: &Leader) -> String {
    if leader.leads {
        leader.url.clone()
    } else {
        String::new()
    }
}

/// What a store is to be for.
fn identities(keyring: &Keyring) -> (Identity, Vec<Identity>) {
    let identity = |circuits: &Circuits| Identity {
        schema: SCHEMA,
        protocol_version: circuits.manifest.protocol_version,
        preset: circuits.manifest.preset.clone(),
        srs_digest: circuits.manifest.srs_digest.0,
        shard_vk_digest: circuits.manifest.shard_vk_digest.0,
        aggregation_vk_digest: circuits.manifest.aggregation_vk_digest.0,
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

/// Opens a store that is this process's, and restores the core and the ledger from it, or what is warm of it.
fn complete(
    config: &Config,
    keyring: &Keyring,
    opening: Opening,
    now: &dyn Fn() -> UnixMs,
    mut warm: Warm,
) -> Result<Opened, Error> {
    let (identity, previous) = identities(keyring);
    let (first, named) = match opening.rollups()? {
        None => (first(config, now())?, None),
        Some(rollups) => (None, named(config, opening.name(), rollups)?),
    };
    // What was made or read goes before the states are loaded.
    let store = opening.complete(&identity, &previous, move || first)?;
    if let Some(named) = named {
        store.commit(&[Write::Rollup(Box::new(named))])?;
    }
    let core = Core::restore(limits(config), store.snapshot()?, now());
    let warm = warm.take(&Chains::of(&core), &store);
    let is_warm = warm.is_some();
    let mut states = warm.map_or_else(|| store.states(), Ok)?;
    for rollup in core.rollups().filter(|rollup| rollup.is_live()) {
        let state = states.entry(rollup.number).or_default();
        let (head, found) = (
            core.head(rollup.number),
            StateRoot(rules::field::to_be(&state.root())),
        );
        if head.root != found {
            let what = format!(
                "the accounts of rollup {} have the root {found}, its chain ends with {}",
                rollup.name, head.root
            );
            return Err(StoreError::Corrupt { what }.into());
        }
        tracing::info!(rollup = rollup.name, root = %head.root, accounts = state.accounts().len(), next = head.next_number, open = core.open_batches_of(rollup.number), loaded = !is_warm, "rollup opened");
    }
    Ok(Opened {
        core,
        states,
        store: Arc::new(store),
    })
}

/// The rollup that a new store is made with, if the configuration names one.
fn first(config: &Config, now: UnixMs) -> Result<Option<(RollupRecord, State)>, Error> {
    let Some(rollup_id) = config.rollup_id else {
        return Ok(None);
    };
    let beginning = snapshot::begin(config.snapshot.as_deref(), &rollup_id, None)?;
    let new = NewRollup {
        name: NAMED_ROLLUP.into(),
        rollup_id,
        tenant: Tenant::default(),
        weight: 1,
        start: beginning.start,
        digest: beginning.digest,
    };
    let rollup = RollupRecord::new(RollupNumber(0), new, now, RollupStatus::Live);
    let state = beginning
        .state
        .expect("where nothing is known it was made or read");
    Ok(Some((rollup, state)))
}

/// Refuses a store without the rollup that the configuration names, or with another beginning of it. The rollup as it is to be stored, if
/// it is named with another snapshot than the last time.
fn named(config: &Config, store: &str, rollups: Vec<RollupRecord>) -> Result<Option<RollupRecord>, Error> {
    let Some(rollup_id) = config.rollup_id else {
        return Ok(None);
    };
    const NAMED_MAX: usize = 8;
    let here: Vec<RollupRecord> = rollups.into_iter().filter(RollupRecord::is_live).collect();
    let Some(mut rollup) = here.iter().find(|rollup| rollup.id() == rollup_id).cloned() else {
        let mut found: Vec<String> = here.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        if here.len() > NAMED_MAX {
            found.push(format!("{} more", here.len() - NAMED_MAX));
        }
        return Err(StoreError::NoRollup {
            store: store.into(),
            asked: in_words(&rollup_id),
            found: match found.is_empty() {
                true => "none".into(),
                false => found.join(", "),
            },
        }
        .into());
    };
    let known = KnownStart {
        start: rollup.start,
        digest: rollup.digest,
    };
    let Beginning { start, digest, .. } =
        snapshot::begin(config.snapshot.as_deref(), &rollup_id, Some(known))?;
    check_start(store, &rollup, start)?;
    if digest == rollup.digest {
        return Ok(None);
    }
    rollup.digest = digest;
    Ok(Some(rollup))
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
    let (identity, previous) = identities(keyring);
    store.check(&identity, &previous)?;
    let snapshot = store.snapshot()?;
    Ok(Some(Opened {
        core: Core::restore(limits(config), snapshot, now()),
        // Nobody asks for them here.
        states: BTreeMap::new(),
        store: Arc::new(store),
    }))
}

impl Standby {
    /// Leads when nobody does, and ends the service when another does after that; until the coordinator stops.
    pub(super) async fn keep(self, shell: Arc<Shell>, health: HealthReporter) {
        let Self { follower, mut lost } = self;
        let stopping = shell.stopping().clone();
        if lost.is_none() {
            tokio::spawn(Arc::clone(&follower).warm_up(Arc::clone(&shell)));
        }
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
        // Where they are being read, nobody waits for that.
        let (warm, _) = self
            .warm
            .try_lock()
            .map(|mut warm| std::mem::take(&mut *warm))
            .unwrap_or_default();
        // Nobody takes over what was before.
        let _known = self.known();
        let (lost, term) = (leadership.lost(), leadership.term());
        tracing::info!(term, "this coordinator takes the lead");
        let opening = Opening::lead(leadership, Arc::clone(&self.artifacts))?;
        let opened = complete(&self.config, &self.keyring, opening, &|| shell.now(), warm)?;
        shell.lead(opened.core, opened.states, opened.store);
        tracing::info!(term, "this coordinator leads");
        Ok(lost)
    }

    fn known(&self) -> MutexGuard<'_, i64> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn warm(&self) -> MutexGuard<'_, (Warm, Option<i64>)> {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the states warm until this coordinator leads, or stops. What that reads may have a long way, for which a lead does not wait.
    async fn warm_up(self: Arc<Self>, shell: Arc<Shell>) {
        while !shell.standing().leads() {
            let (follower, looking) = (Arc::clone(&self), Arc::clone(&shell));
            match task::spawn_blocking(move || follower.keep_warm(&looking)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    if let Some(more) = shell.told("the states") {
                        tracing::warn!(%error, more, "the states are not followed now; a lead may have to load them");
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "a look at the states ended in a panic; a lead has to load them");
                    break;
                }
            }
            tokio::select! {
                () = shell.stopping().cancelled() => break,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        *self.warm() = Default::default();
    }

    /// Brings the states up to what the leader has written by now.
    fn keep_warm(&self, shell: &Shell) -> Result<(), Error> {
        let mut warm = self.warm();
        let (warm, followed) = &mut *warm;
        for _ in 0..FOLLOWS {
            let known = *self.known();
            if *followed == Some(known) {
                return Ok(());
            }
            let Some(store) = KeptStore::mirror(&self.candidate, Arc::clone(&self.artifacts))? else {
                return Ok(());
            };
            let chains = shell.peek(|core, _| Chains::of(core));
            if !warm.is_loaded() {
                // However much the leader writes meanwhile: that is followed.
                warm.load(&chains, &store)?;
            }
            while warm.see(&chains, &store)? {
                if shell.stopping().is_cancelled() || shell.standing().leads() {
                    return Ok(());
                }
            }
            warm.follow(&chains, &store)?;
            if warm.are_current(&chains) {
                *followed = Some(known);
                return Ok(());
            }
            self.refresh(shell)?;
            if *self.known() == known {
                // It is not that the leader has written meanwhile.
                return Ok(warm.load(&chains, &store)?);
            }
        }
        Ok(())
    }

    /// Takes over what the leader has written by now.
    pub(super) fn refresh(&self, shell: &Shell) -> Result<(), Error> {
        let asked = Instant::now();
        let mut known = self.known();
        if shell.standing().leads() {
            return Ok(());
        }
        let mut unseen = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        if unseen.is_some_and(|unseen| unseen > asked) {
            // Whoever has waited for another's look waits for none again: a server that is silent is so for long.
            let (path, source) = (self.candidate.name().into(), io::ErrorKind::TimedOut.into());
            return Err(StoreError::Io { path, source }.into());
        }
        *unseen = None;
        let leader = self.candidate.leader();
        if leader.is_err() {
            *unseen = Some(Instant::now());
        }
        drop(unseen);
        let leader = leader?;
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
