//! The coordinator as a gRPC server.

pub(crate) mod access;
mod bounds;
mod hello;
pub(crate) mod metrics;
pub(crate) mod observed;
mod operator_service;
mod prover_service;
mod reload;
mod rollup_creation;
mod shell;
mod standby;
mod standing;
mod status;
mod status_page;
mod submission;
#[cfg(test)]
mod tests;
pub(crate) mod told;
mod transport;
mod undecodable;
mod view;
mod worker_service;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use circuits::preset::Preset;
use keys::manifest::Manifest;
use proto::{
    CHUNK_BYTES_MAX, PROOF_BYTES_MAX,
    pem::FileError,
    v1::{
        FILE_DESCRIPTOR_SET, operator_service_server::OperatorServiceServer,
        prover_service_server::ProverServiceServer, worker_service_server::WorkerServiceServer,
    },
};
use telemetry::{ListenError, Listener, process::Process};
use tokio::{net::TcpListener, sync::watch, task};
use tokio_util::sync::CancellationToken;
use tonic::{codec::CompressionEncoding::Gzip, server::NamedService, service::Routes, transport::Server};
use tonic_health::{ServingStatus, server::HealthReporter};

use self::{
    access::{
        Access,
        gate::{Gate, Gated},
        quota::Meter,
    },
    operator_service::OperatorServer,
    prover_service::{About, ProverServer},
    reload::InForce,
    shell::Shell,
    standby::{Begun, Standby},
    transport::listener::connections,
    undecodable::reading,
    worker_service::WorkerServer,
};
use crate::{
    config::{Config, ConfigError},
    keyring::{Circuits, Keyring, Keys, KeysError},
    snapshot::SnapshotError,
    store::{ArtifactMeters, StoreError},
    verifier::Verifier,
};

/// Calls that one connection may have open.
const STREAMS_MAX: u32 = 256;
/// Bytes that a connection may send before they are read.
const WINDOW_BYTES: u32 = 512 << 10;
/// Most bytes of a request's headers.
const HEADER_BYTES_MAX: u32 = 4 << 10;
/// Most bytes of a message: the largest chunk or proof, and what goes with it.
const MESSAGE_BYTES_MAX: usize = CHUNK_BYTES_MAX + (64 << 10);
const _: () = assert!(PROOF_BYTES_MAX <= CHUNK_BYTES_MAX);
/// Between two looks whether this coordinator certainly leads.
const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// Longest time between two looks for artifacts that nothing needs. It is a quarter of the time for which they are kept, if that is less.
const COLLECT_MAX: Duration = Duration::from_secs(900);

/// Why the coordinator does not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration makes no sense.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The snapshot cannot be taken.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The keys cannot be served.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A certificate, a key or the access file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// An address for those who look cannot be listened on.
    #[error(transparent)]
    Looking(#[from] ListenError),
    /// The connections broke down.
    #[error("serving: {0}")]
    Serve(#[from] tonic::transport::Error),
    /// A thread of the coordinator panicked.
    #[error("a defect of the coordinator: {0}")]
    Panic(#[from] task::JoinError),
}

/// A coordinator that has opened its store and listens, and serves nothing yet.
pub struct Coordinator {
    config: Config,
    shell: Arc<Shell>,
    /// Fires when another coordinator leads after this one has; none where there is only this one.
    standby: Option<Standby>,
    about: Arc<About>,
    in_force: InForce,
    keyring: Arc<Keyring>,
    listener: TcpListener,
    address: SocketAddr,
    /// For those who scrape.
    metrics: Option<Listener>,
    /// For those who look at the status page.
    status: Option<Listener>,
}

/// Starts a coordinator and serves until `shutdown` completes.
///
/// A shutdown that comes while the store is being opened does not
/// wait for that, and leaves the store locked until the thread that opens it is done.
///
/// # Errors
/// See [`Error`].
pub async fn run(
    config: Config,
    keys: impl Into<Keys>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let keys: Keys = keys.into();
    run_with(config, keys.try_into()?, shutdown).await
}

/// The same as [`run`], for proofs that `verifier` judges: `preset` and `manifest` say what they are proofs of.
///
/// # Errors
/// See [`Error`].
pub async fn run_with_verifier(
    config: Config,
    preset: Preset,
    manifest: Manifest,
    verifier: Box<dyn Verifier>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    run_with(config, of_one(preset, manifest, verifier), shutdown).await
}

fn of_one(preset: Preset, manifest: Manifest, verifier: Box<dyn Verifier>) -> Keyring {
    Keyring {
        preset,
        current: Circuits { manifest, verifier },
        previous: Vec::new(),
    }
}

async fn run_with(
    config: Config,
    keyring: Keyring,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let keyring = Arc::new(keyring);
    let ended = CancellationToken::new();
    let watching = tokio::spawn({
        let ended = ended.clone();
        async move {
            shutdown.await;
            ended.cancel();
        }
    });
    let result = loop {
        let coordinator = tokio::select! {
            started = Coordinator::start_on(config.clone(), Arc::clone(&keyring)) => started,
            () = ended.cancelled() => break Ok(()),
        };
        let coordinator = match coordinator {
            Ok(coordinator) => coordinator,
            Err(error) => break Err(error),
        };
        match coordinator.serve(ended.clone().cancelled_owned()).await {
            // From now on it stands by.
            Err(Error::Store(error @ StoreError::Deposed { .. })) => tracing::warn!(%error, "standing by"),
            result => break result,
        }
    };
    watching.abort();
    result
}

impl Coordinator {
    /// Opens the store, restores what is in it, and begins to listen.
    ///
    /// # Errors
    /// See [`Error`]: above all a store that another process uses, or that was made for other keys, another rollup or
    /// another beginning.
    pub async fn start(config: Config, keys: impl Into<Keys>) -> Result<Self, Error> {
        let keys: Keys = keys.into();
        Self::start_with(config, keys.try_into()?).await
    }

    /// The same, for proofs that `verifier` judges: `preset` and `manifest` say what they are proofs of.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start_with_verifier(
        config: Config,
        preset: Preset,
        manifest: Manifest,
        verifier: Box<dyn Verifier>,
    ) -> Result<Self, Error> {
        Self::start_with(config, of_one(preset, manifest, verifier)).await
    }

    async fn start_with(config: Config, keyring: Keyring) -> Result<Self, Error> {
        Self::start_on(config, Arc::new(keyring)).await
    }

    async fn start_on(config: Config, keyring: Arc<Keyring>) -> Result<Self, Error> {
        let opened = {
            let (config, keyring) = (config.clone(), Arc::clone(&keyring));
            task::spawn_blocking(move || {
                let in_force = InForce::read(&config)?;
                config.check()?;
                let begun = standby::begin(&config, keyring)?;
                Ok::<_, Error>((begun, in_force))
            })
            .await??
        };
        let (Begun { shell, standby }, in_force) = opened;
        shell.tell_to(config.traces.clone());
        let listen = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let metrics = listen_for(config.metrics_listen).await?;
        let status = listen_for(config.status_listen).await?;
        let about = About {
            preset: keyring.preset,
            manifest: keyring.current.manifest.clone(),
            previous: keyring
                .previous
                .iter()
                .map(|circuits| circuits.manifest.clone())
                .collect(),
            batch_bytes_max: config.batch_bytes_max,
            submission_ms_max: config.submission_ms_max,
            submission_idle_ms_max: config.submission_idle_ms_max,
            time_ahead_s_max: config.time_ahead_s_max,
            time_age_s_max: config.time_age_s_max,
            batches_open_max: config.limits.batches_open_max,
            tenant_batches_open_max: config.limits.tenant_batches_open_max,
        };
        Ok(Self {
            config,
            shell: Arc::new(shell),
            standby,
            about: Arc::new(about),
            in_force,
            keyring,
            listener,
            address,
            metrics,
            status,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are served, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Listener::address)
    }

    /// Where the status page is served, if it is.
    pub fn status_address(&self) -> Option<SocketAddr> {
        self.status.as_ref().map(Listener::address)
    }

    /// Serves until `shutdown` completes and calls under way have ended or their time is over.
    ///
    /// # Errors
    /// [`Error::Store`] if the store failed, after which nothing was acknowledged; [`Error::Serve`].
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
        let Self {
            config,
            shell,
            standby,
            about,
            in_force,
            keyring,
            listener,
            address,
            metrics,
            status,
        } = self;
        let (health, health_service) = tonic_health::server::health_reporter();
        set_health(&health, shell.standing().leads()).await;
        let stopping = shell.stopping().clone();
        let meter = Arc::new(Meter::new(&config));
        let artifacts = Arc::clone(&config.artifacts.meters);
        let lookout = look_out(Arc::clone(&shell), Arc::clone(&about), artifacts, metrics, status);
        let lookout = tokio::spawn(lookout);
        let services = services(&shell, about, keyring, (&meter, &in_force.access), &config)
            .add_service(reading!(health_service.send_compressed(Gzip)));
        let standing = Arc::clone(shell.standing());
        let gate = Gate::new(Arc::clone(&in_force.access), meter, &config.quotas, standing);
        let sweeper = tokio::spawn(gate.sweeper(stopping.clone()));
        let connections = connections(listener, in_force.tls, &config.quotas, stopping.clone());
        let keepalive = Some(Duration::from_millis(config.quotas.keepalive_ms));
        let serving = Server::builder()
            .http2_keepalive_interval(keepalive)
            .http2_keepalive_timeout(keepalive)
            .max_concurrent_streams(STREAMS_MAX)
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .serve_with_incoming_shutdown(
                Gated::new(gate, services.prepare()),
                connections,
                stopping.clone().cancelled_owned(),
            );
        let reloader = tokio::spawn(in_force.files.keep(stopping.clone()));
        let timekeeper = tokio::spawn(Arc::clone(&shell).keep_time());
        let storekeeper = tokio::spawn(Arc::clone(&shell).keep_store());
        let candidacy = standby.map(|standby| tokio::spawn(standby.keep(Arc::clone(&shell), health.clone())));
        let collect_every = (config.artifacts.retention / 4).min(COLLECT_MAX);
        let remover = tokio::spawn(Arc::clone(&shell).keep_rollups());
        let collector = tokio::spawn(Arc::clone(&shell).keep_artifacts(collect_every));
        let reporter = tokio::spawn(report(Arc::clone(&shell), health.clone()));
        let (one, all) = (bounds::of_one(&config), bounds::of_all(&config));
        tracing::debug!(?one, ?all, "bytes that callers may take at most");
        tracing::info!(%address, tls = config.tls.is_some(), access = config.access.is_some(), "coordinator serves");

        tokio::pin!(serving);
        let ended = tokio::select! {
            ended = &mut serving => Some(ended),
            () = shutdown => None,
            () = stopping.cancelled() => None,
        };
        task::spawn_blocking({
            let shell = Arc::clone(&shell);
            move || shell.stop()
        })
        .await?;
        if let Some(candidacy) = candidacy {
            candidacy.await?;
        }
        reporter.await?;
        reloader.await?;
        sweeper.await?;
        lookout.await?;
        set_health(&health, false).await;
        let ended = match ended {
            Some(ended) => ended,
            None => at_most(config.shutdown_ms_max, serving).await.unwrap_or(Ok(())),
        };
        timekeeper.await?;
        storekeeper.await?;
        remover.await?;
        at_most(config.shutdown_ms_max, collector).await;
        // Sessions and steps under way hold the store, which another coordinator may be waiting for.
        shell.tasks().close();
        at_most(config.shutdown_ms_max, shell.tasks().wait()).await;
        tracing::info!("coordinator stopped");
        match shell.take_failure() {
            Some(error) => Err(error.into()),
            None => Ok(ended?),
        }
    }
}

/// Begins to listen for those who look, where they are to be listened for.
async fn listen_for(address: Option<SocketAddr>) -> Result<Option<Listener>, ListenError> {
    match address {
        Some(address) => Listener::bind(address).await.map(Some),
        None => Ok(None),
    }
}

/// Serves those who look from outside, until the coordinator stops. Where nobody is to look, nothing is done for it.
async fn look_out(
    shell: Arc<Shell>,
    about: Arc<About>,
    artifacts: Arc<ArtifactMeters>,
    metrics: Option<Listener>,
    status: Option<Listener>,
) {
    if metrics.is_none() && status.is_none() {
        return;
    }
    let (seen, looks) = watch::channel(None);
    let process = Process::begun();
    let stopping = shell.stopping().clone();
    let looking = observed::keep_looking(Arc::clone(&shell), artifacts, status.is_some(), seen);
    let scraped = async {
        if let Some(metrics) = metrics {
            let looks = looks.clone();
            let answer = move |asked| std::future::ready(metrics::answer(&looks, process, &asked));
            metrics.serve("metrics are", answer, stopping.cancelled()).await;
        }
    };
    let shown = async {
        if let Some(status) = status {
            let (shell, looks) = (Arc::clone(&shell), looks.clone());
            let answer = move |asked| {
                status_page::answer(Arc::clone(&shell), Arc::clone(&about), looks.clone(), asked)
            };
            status
                .serve("the status page is", answer, stopping.cancelled())
                .await;
        }
    };
    tokio::join!(looking, scraped, shown);
}

/// All services but health, which are served behind the gate.
fn services(
    shell: &Arc<Shell>,
    about: Arc<About>,
    keyring: Arc<Keyring>,
    (meter, access): (&Arc<Meter>, &Arc<Access>),
    config: &Config,
) -> Routes {
    // Older clients know the interface by its first name only.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflected = "the descriptor sets are those of the build";
    let (reflection_v1, reflection_v1alpha) = (reflection().build_v1(), reflection().build_v1alpha());
    let operator = OperatorServer::new(Arc::clone(shell), Arc::clone(access), config);
    let prover = ProverServer::new(Arc::clone(shell), about, Arc::clone(meter), config);
    let worker = WorkerServer::new(Arc::clone(shell), keyring, config);
    let reflection_v1 = reflection_v1.expect(reflected).send_compressed(Gzip);
    let reflection_v1alpha = reflection_v1alpha.expect(reflected).send_compressed(Gzip);
    Routes::new(reading!(reflection_v1))
        .add_service(reading!(reflection_v1alpha))
        .add_service(reading!(
            OperatorServiceServer::new(operator).send_compressed(Gzip)
        ))
        .add_service(reading!(ProverServiceServer::new(prover).send_compressed(Gzip)))
        // Payloads come in chunks of a megabyte, each of which would hold a thread up.
        .add_service(reading!(WorkerServiceServer::new(worker)))
}

/// Says whether the services serve.
async fn set_health(health: &HealthReporter, serving: bool) {
    let status = match serving {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    };
    for name in [
        <ProverServiceServer<ProverServer> as NamedService>::NAME,
        <WorkerServiceServer<WorkerServer> as NamedService>::NAME,
        <OperatorServiceServer<OperatorServer> as NamedService>::NAME,
    ] {
        health.set_service_status(name, status).await;
    }
}

/// Lets health follow whether the store is waited for and whether this coordinator certainly leads, until it stops.
async fn report(shell: Arc<Shell>, health: HealthReporter) {
    let mut suspended = shell.suspensions();
    let mut told = None;
    loop {
        tokio::select! {
            () = shell.stopping().cancelled() => return,
            changed = suspended.changed() => if changed.is_err() { return },
            // That a lead is not certain any more says nobody.
            () = tokio::time::sleep(HEALTH_EVERY) => {}
        }
        let serving = !*suspended.borrow_and_update() && shell.certainly_leads();
        if told.replace(serving) != Some(serving) {
            set_health(&health, serving).await;
        }
    }
}

/// Waits for what is under way, but not for ever.
async fn at_most<T>(wait_ms: u64, ending: impl Future<Output = T>) -> Option<T> {
    let ended = tokio::time::timeout(Duration::from_millis(wait_ms), ending).await;
    if ended.is_err() {
        tracing::warn!("not everything under way ended in time");
    }
    ended.ok()
}
