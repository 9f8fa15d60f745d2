//! How a coordinator comes to lead: at once, where the store is its own; by the lease in the database, where it shares one. Until then it
//! mirrors what the leader writes, for those who read.

use std::{sync::Arc, time::Duration};

use rules::state::State;
use tokio::task;
use tonic_health::server::HealthReporter;

use super::{
    Error, set_health,
    shell::{Clock, Shell},
};
use crate::{
    config::Config,
    core::{
        Core, Head, Limits,
        id::{StateRoot, UnixMs},
    },
    keyring::{Circuits, Keyring},
    snapshot::{self, Beginning},
    store::{
        Identity, KeptStore, Opening, SCHEMA, Store, StoreError,
        postgres::{Campaign, Candidate, Leader, Leadership},
    },
};

/// How often a coordinator that stands by looks whether nobody leads, and what the leader has written.
const LOOK: Duration = Duration::from_millis(500);

/// A coordinator that is about to serve.
pub(super) struct Begun {
    pub(super) shell: Shell,
    /// What the first batch of the chain follows.
    pub(super) start: Head,
    pub(super) standby: Option<Standby>,
}

/// A coordinator's place among those that share a database.
pub(super) struct Standby {
    candidate: Candidate,
    place: Place,
}

enum Place {
    /// It leads, until it hears otherwise.
    Leads(tokio::sync::watch::Receiver<bool>),
    /// Another does. So many commits of it are known.
    StandsBy(i64),
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
    let clock = Clock::start();
    let Some(shared) = &config.postgres else {
        let opening = Opening::begin(&config.store)?;
        let opened = complete(config, &keyring, opening, &|| clock.now())?;
        let shell = Shell::new(opened.core, opened.ledger, opened.store, keyring, clock);
        return Ok(Begun {
            shell,
            start: opened.start,
            standby: None,
        });
    };
    let lease = Duration::from_millis(shared.lease_ms);
    let candidate = Candidate::new(
        &shared.url,
        shared.holder.clone(),
        shared.advertised.clone(),
        lease,
    )?;
    let mut told = false;
    loop {
        match candidate.campaign()? {
            Campaign::Won(leadership) => {
                let lost = leadership.lost();
                tracing::info!(term = leadership.term(), "this coordinator leads");
                let opening = Opening::lead(leadership, &config.store)?;
                let opened = complete(config, &keyring, opening, &|| clock.now())?;
                return Ok(Begun {
                    shell: Shell::new(opened.core, opened.ledger, opened.store, keyring, clock),
                    start: opened.start,
                    standby: Some(Standby {
                        candidate,
                        place: Place::Leads(lost),
                    }),
                });
            }
            Campaign::Lost(leader) => {
                if let Some(mirrored) = mirror(config, &keyring, &candidate, &|| clock.now())? {
                    let Opened {
                        core,
                        ledger,
                        store,
                        start,
                    } = mirrored;
                    tracing::info!(
                        leader = leader.url,
                        term = leader.term,
                        "this coordinator stands by"
                    );
                    let shell = Shell::new(core, ledger, store, keyring, clock);
                    shell.standing().set(Some(heard(&leader)));
                    return Ok(Begun {
                        shell,
                        start,
                        standby: Some(Standby {
                            candidate,
                            place: Place::StandsBy(leader.commits),
                        }),
                    });
                }
                if !told {
                    tracing::info!(
                        leader = leader.url,
                        "the store is being made by another coordinator"
                    );
                    told = true;
                }
            }
        }
        std::thread::sleep(LOOK);
    }
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
    keyring: &Keyring,
    candidate: &Candidate,
    now: &dyn Fn() -> UnixMs,
) -> Result<Option<Opened>, Error> {
    let Some(store) = KeptStore::mirror(candidate, &config.store)? else {
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
    pub(super) async fn keep(
        self,
        shell: Arc<Shell>,
        config: Config,
        keyring: Arc<Keyring>,
        health: HealthReporter,
    ) {
        let Self { candidate, mut place } = self;
        let stopping = shell.stopping().clone();
        loop {
            let mut lost = match place {
                Place::Leads(lost) => lost,
                Place::StandsBy(commits) => {
                    tokio::select! {
                        () = stopping.cancelled() => return,
                        () = tokio::time::sleep(LOOK) => {}
                    }
                    let (shell, candidate) = (Arc::clone(&shell), candidate.clone());
                    let (config, keyring) = (config.clone(), Arc::clone(&keyring));
                    let look = move || look(&shell, &candidate, &config, &keyring, commits);
                    let Ok(now) = task::spawn_blocking(look).await else {
                        tracing::error!("a look at the shared store ended in a panic");
                        stopping.cancel();
                        return;
                    };
                    place = now;
                    if let Place::Leads(_) = place {
                        set_health(&health, true).await;
                    }
                    continue;
                }
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                heard = lost.wait_for(|lost| *lost) => if heard.is_err() { return },
            }
            let ending = {
                let (shell, candidate) = (Arc::clone(&shell), candidate.clone());
                task::spawn_blocking(move || shell.end_with(candidate.deposed()))
            };
            if ending.await.is_err() {
                stopping.cancel();
            }
            return;
        }
    }
}

/// Takes the lead if nobody has it, or what the leader has come to.
fn look(shell: &Shell, candidate: &Candidate, config: &Config, keyring: &Keyring, commits: i64) -> Place {
    let done = match candidate.campaign() {
        Ok(Campaign::Won(leadership)) => lead(shell, leadership, config, keyring),
        Ok(Campaign::Lost(leader)) => {
            shell.standing().set(Some(heard(&leader)));
            match leader.commits == commits {
                true => Ok(Place::StandsBy(commits)),
                false => follow(shell, candidate, config, keyring, leader.commits),
            }
        }
        Err(error) => Err(error.into()),
    };
    done.unwrap_or_else(|error| {
        match error {
            Error::Store(error) if !error.may_pass() => shell.end_with(error),
            error => tracing::warn!(%error, "the shared store is not seen"),
        }
        Place::StandsBy(commits)
    })
}

fn lead(shell: &Shell, leadership: Leadership, config: &Config, keyring: &Keyring) -> Result<Place, Error> {
    let (lost, term) = (leadership.lost(), leadership.term());
    tracing::info!(term, "this coordinator takes the lead");
    let opening = Opening::lead(leadership, &config.store)?;
    let Opened {
        core, ledger, store, ..
    } = complete(config, keyring, opening, &|| shell.now())?;
    shell.lead(core, ledger, store);
    tracing::info!(term, "this coordinator leads");
    Ok(Place::Leads(lost))
}

fn follow(
    shell: &Shell,
    candidate: &Candidate,
    config: &Config,
    keyring: &Keyring,
    commits: i64,
) -> Result<Place, Error> {
    if let Some(Opened { core, store, .. }) = mirror(config, keyring, candidate, &|| shell.now())? {
        shell.mirror(core, store);
    }
    Ok(Place::StandsBy(commits))
}
