//! Certificates made for a test, and a coordinator that speaks TLS with them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use proto::connection::{self, Connector, Credentials};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

use super::*;
use crate::config::TlsFiles;

/// An authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub pem: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// A certificate of this authority, valid or expired, and its key; both PEM.
    fn issue(&self, name: &str, expired: bool) -> (String, String) {
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![
            SanType::DnsName(format!("{name}.example").try_into().expect("a name")),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        if expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

/// A folder of certificates, keys, tokens and the access file.
pub(super) struct Papers {
    pub folder: TempDir,
    pub authority: Authority,
}

/// The identities of [`Papers::access`]: name, role, tenant.
pub(super) const IDENTITIES: [(&str, &str, &str); 8] = [
    ("seq-a", "sequencer", "a"),
    ("seq-a2", "sequencer", "a"),
    ("seq-b", "sequencer", "b"),
    ("worker-1", "worker", "w1"),
    ("worker-2", "worker", "w2"),
    ("operator", "operator", "o"),
    ("reader", "reader", "r"),
    ("reader-2", "reader", "r2"),
];

impl Papers {
    pub(super) fn new() -> Self {
        let papers = Self {
            folder: tempfile::tempdir().expect("a folder"),
            authority: Authority::new("authority"),
        };
        papers.write("ca.pem", &papers.authority.pem);
        papers.issue(&papers.authority, "server", false);
        for (name, _, _) in IDENTITIES {
            papers.issue(&papers.authority, name, false);
            papers.write(&format!("{name}.token"), &token(name));
        }
        papers.write("access.toml", &Self::access(&IDENTITIES));
        papers
    }

    /// An access file: each is known by the DNS name of a certificate, and by a token.
    pub(super) fn access(identities: &[(&str, &str, &str)]) -> String {
        let entry = |(name, role, tenant): &(&str, &str, &str)| {
            let digest = hex::encode(Sha256::digest(token(name)));
            format!(
                "[[identity]]\nname = \"{name}\"\nroles = [\"{role}\"]\ntenant = \"{tenant}\"\n\
                 certificate_names = [\"{name}.example\"]\ntoken_sha256 = [\"{digest}\"]\n"
            )
        };
        identities.iter().map(entry).collect()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file in place whole, as whoever renews certificates should.
    pub(super) fn write(&self, name: &str, text: &str) {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text).expect("written");
        fs::rename(new, self.path(name)).expect("renamed");
    }

    pub(super) fn issue(&self, authority: &Authority, name: &str, expired: bool) {
        let (certificate, key) = authority.issue(name, expired);
        self.write(&format!("{name}.pem"), &certificate);
        self.write(&format!("{name}.key"), &key);
    }

    pub(super) fn tls(&self) -> TlsFiles {
        TlsFiles {
            certificate: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: Some(self.path("ca.pem")),
            client_crl: None,
        }
    }

    /// With TLS, the client CA and the access file.
    pub(super) fn config(&self, store: &Path) -> Config {
        Config {
            tls: Some(self.tls()),
            access: Some(self.path("access.toml")),
            reload_ms: 20,
            ..config(store)
        }
    }

    /// What a client shows: the certificate of a name.
    pub(super) fn certificate(&self, name: &str) -> Credentials {
        Credentials {
            ca: Some(self.path("ca.pem")),
            identity: Some((
                self.path(&format!("{name}.pem")),
                self.path(&format!("{name}.key")),
            )),
            token: None,
        }
    }

    /// What a client shows: the token of a name, over TLS.
    pub(super) fn token(&self, name: &str) -> Credentials {
        Credentials {
            ca: Some(self.path("ca.pem")),
            identity: None,
            token: Some(self.path(&format!("{name}.token"))),
        }
    }
}

fn token(name: &str) -> String {
    format!("token-of-{name}")
}

/// A coordinator whose clients each come with credentials of their own.
pub(super) struct Secure {
    pub address: SocketAddr,
    encrypted: bool,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), Error>>,
}

impl Secure {
    pub(super) async fn start(config: Config) -> Self {
        let encrypted = config.tls.is_some();
        let coordinator = start(config).await.expect("it starts");
        let address = coordinator.address();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(coordinator.serve(async move { drop(stopped.await) }));
        Self {
            address,
            encrypted,
            stop,
            served,
        }
    }

    pub(super) fn connector(&self, credentials: Credentials) -> Connector {
        let scheme = if self.encrypted { "https" } else { "http" };
        let url = format!("{scheme}://{}", self.address).parse().expect("a URL");
        Connector::new(url, credentials).expect("the files are right")
    }

    /// A connection of its own.
    pub(super) async fn connect(&self, credentials: Credentials) -> connection::Channel {
        let connected = self.connector(credentials).connect().await;
        connected.unwrap_or_else(|error| panic!("{error:?}"))
    }

    pub(super) async fn prover(&self, credentials: Credentials) -> ProverServiceClient<connection::Channel> {
        ProverServiceClient::new(self.connect(credentials).await)
    }

    pub(super) async fn stop(self) {
        self.stop.send(()).expect("it serves");
        let served = tokio::time::timeout(PATIENCE, self.served).await;
        served
            .expect("it stops in time")
            .expect("no panic")
            .expect("no error");
    }
}

/// Waits until something holds that a change of a file brings about.
pub(super) async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}

/// The reason that a status gives to programs.
pub(super) fn reason(status: &Status) -> String {
    let info = status.get_error_details().error_info().cloned();
    info.map(|info| info.reason).unwrap_or_default()
}

/// Whether the coordinator says what it proves.
pub(super) async fn info(client: &ProverServiceClient<connection::Channel>) -> Result<(), Status> {
    client
        .clone()
        .get_info(v1::GetInfoRequest::default())
        .await
        .map(drop)
}

/// A worker with credentials; the answer to its hello is still to be read.
pub(super) async fn session(
    service: &Secure,
    credentials: Credentials,
    name: &str,
) -> Result<Worker, Status> {
    let mut client = WorkerServiceClient::new(service.connect(credentials).await);
    let (sender, receiver) = mpsc::channel(16);
    let receiver = client.session(ReceiverStream::new(receiver)).await?.into_inner();
    let worker = Worker { sender, receiver };
    worker.send(FromWorker::Hello(hello(name))).await;
    Ok(worker)
}

/// The same, welcomed.
pub(super) async fn join(service: &Secure, credentials: Credentials, name: &str) -> Worker {
    let mut worker = session(service, credentials, name).await.expect("it may work");
    assert!(matches!(worker.next().await, Ok(ToWorker::Welcome(_))));
    worker
}

/// Submits a batch as whom a client is.
pub(super) async fn submit(
    client: &ProverServiceClient<connection::Channel>,
    request_id: &str,
    batch: &Batch,
) -> Result<v1::BatchInfo, Status> {
    let messages = tokio_stream::iter(submission(request_id, batch));
    let response = client.clone().submit_batch(messages).await?;
    Ok(response.into_inner().batch.expect("always set"))
}
