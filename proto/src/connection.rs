//! How a client reaches a coordinator: its URL, TLS, and what the client proves who it is with.

mod dial;
mod fault;

use std::{
    fmt,
    net::IpAddr,
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{InvalidDnsNameError, ServerName},
};

use tonic::{
    Request, Status,
    codegen::http::Uri,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{self, Endpoint},
};
use tonic_types::StatusExt;

use crate::pem::{FileError, authorities, certificates, private_key, read};
use dial::{Dialer, HTTP2, Noted};
pub use fault::Fault;

/// Time for a connection, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A connection over which nothing comes is asked for a sign of life this often, and given up without one.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The same where there are others to turn to.
const KEEP_ALIVE_AMONG_OTHERS: Duration = Duration::from_secs(4);
/// Most bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 512;

/// A connection to a coordinator, whose calls bear the client's token if it has one.
pub type Channel = InterceptedService<transport::Channel, Bearer>;

/// `http://HOST:PORT` or `https://HOST:PORT` of a coordinator. It holds no name and no password, so it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorUrl(String);

/// Why something is no URL of a coordinator. None of these repeats what was given, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has no scheme or no host, or is no URL at all.
    #[error("a coordinator's URL is http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:7400")]
    Malformed,
    /// Another scheme.
    #[error("a coordinator's URL begins with http:// or https://, not {0}://")]
    Scheme(String),
    /// A name or a password.
    #[error(
        "a coordinator's URL holds no name and no password: a client is known by a certificate or a token"
    )]
    Credentials,
    /// A port that cannot be.
    #[error("a coordinator's port is a number from 1 to 65,535")]
    Port,
    /// A path or a query.
    #[error("a coordinator's URL ends with its port: a path or a query would not be heeded")]
    Path,
}

impl CoordinatorUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether TLS is spoken.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// The host, an address without brackets, and the port.
    fn host_and_port(&self) -> (String, u16) {
        let uri: Uri = self.0.parse().expect("it was parsed before");
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 });
        (host.to_owned(), port)
    }

    /// Whether it names this machine, so that nobody else hears what is said.
    fn is_loopback(&self) -> bool {
        let (host, _) = self.host_and_port();
        host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

impl fmt::Display for CoordinatorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CoordinatorUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        // Before the scheme: whoever sent a password should know that it is not heeded.
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        let scheme = match uri.scheme_str() {
            Some(scheme @ ("http" | "https")) => scheme,
            Some(other) => return Err(UrlError::Scheme(other.into())),
            None => return Err(UrlError::Malformed),
        };
        if authority.host().is_empty() {
            return Err(UrlError::Malformed);
        }
        let port = &authority.as_str()[authority.host().len()..];
        if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(UrlError::Port);
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(UrlError::Path);
        }
        // A scheme may be written in any case; the text has it in one.
        Ok(Self(format!("{scheme}{}", &text[scheme.len()..])))
    }
}

/// A bearer token. It is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// A token: visible ASCII without spaces, [`TOKEN_BYTES_MAX`] at most.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=TOKEN_BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.into()))
    }

    fn header(&self) -> MetadataValue<Ascii> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", self.0)
            .parse()
            .expect("a token is visible ASCII");
        value.set_sensitive(true);
        value
    }
}

/// The files that a client reads what it trusts and who it is from. They are read again for each connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Certificates of the authorities that may vouch for the coordinator (PEM); the system's where there is none.
    pub ca: Option<PathBuf>,
    /// The client's certificate with those that lead to its authority, and its key (both PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The client's token, on one line.
    pub token: Option<PathBuf>,
}

/// Why a coordinator cannot be spoken to as asked. No secret is repeated.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file is not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// Certificates for a connection without TLS.
    #[error("certificates are of no use with {0}: TLS is spoken with https://")]
    NoTls(CoordinatorUrl),
    /// A token that others could read.
    #[error("a token would cross the network unencrypted to {0}: use https://")]
    TokenExposed(CoordinatorUrl),
    /// A certificate and a token, which may be of two identities.
    #[error(
        "both a certificate and a token are given: a client is known by one of them (--tls-cert or --token-file)"
    )]
    TwoIdentities,
    /// The system has no authorities of its own.
    #[error("this system trusts no authority: name the coordinator's with --tls-ca")]
    NoAuthorities,
    /// No certificate could be for it.
    #[error("the host of {0} is neither a DNS name nor an address, so no certificate can be for it")]
    HostName(CoordinatorUrl, #[source] InvalidDnsNameError),
    /// What no waiting mends.
    #[error("the coordinator at {url} cannot be spoken with: {fault}")]
    Fault {
        /// The coordinator.
        url: CoordinatorUrl,
        /// Why, and the remedy.
        fault: Fault,
    },
    /// Nobody answers there, or not as should be.
    #[error("cannot connect to {url}")]
    Unreachable {
        /// The coordinator.
        url: CoordinatorUrl,
        /// Why.
        #[source]
        source: transport::Error,
    },
}

/// A coordinator that can be connected to, as often as need be; or several of which one leads.
#[derive(Debug, Clone)]
pub struct Connector {
    /// All that there are; never none.
    urls: Vec<CoordinatorUrl>,
    /// Which of them is connected to next. Shared with its copies.
    at: Arc<AtomicUsize>,
    credentials: Credentials,
    noted: Noted,
    keep_alive: Duration,
}

impl Connector {
    /// A coordinator, and what to connect to it with. Everything that can be known to fail beforehand fails here.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn new(url: CoordinatorUrl, credentials: Credentials) -> Result<Self, ConnectError> {
        Self::any(vec![url], credentials)
    }

    /// The same of several coordinators, of which one leads.
    ///
    /// # Errors
    /// See [`ConnectError`].
    ///
    /// # Panics
    /// If there are none.
    pub fn any(urls: Vec<CoordinatorUrl>, credentials: Credentials) -> Result<Self, ConnectError> {
        assert!(!urls.is_empty(), "there is a coordinator");
        let tls = credentials.ca.is_some() || credentials.identity.is_some();
        for url in &urls {
            if tls && !url.is_https() {
                return Err(ConnectError::NoTls(url.clone()));
            }
            if credentials.token.is_some() && !url.is_https() && !url.is_loopback() {
                return Err(ConnectError::TokenExposed(url.clone()));
            }
        }
        if credentials.token.is_some() && credentials.identity.is_some() {
            return Err(ConnectError::TwoIdentities);
        }
        let keep_alive = match urls.len() {
            1 => KEEP_ALIVE,
            _ => KEEP_ALIVE_AMONG_OTHERS,
        };
        let connector = Self {
            urls,
            at: Arc::default(),
            credentials,
            noted: Noted::default(),
            keep_alive,
        };
        for url in &connector.urls {
            connector.dialer(url)?;
        }
        connector.bearer()?;
        Ok(connector)
    }

    /// The URL of the coordinator that is connected to next.
    pub fn url(&self) -> &CoordinatorUrl {
        &self.urls[self.at.load(Ordering::Relaxed) % self.urls.len()]
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.urls.len()
    }

    /// Whether there are others.
    pub fn has_others(&self) -> bool {
        self.count() > 1
    }

    /// Turns to another coordinator, since the one at `url` could not be reached or does not serve: to the one that it says leads, if
    /// that is one of these, else to the one after it.
    pub fn turn_from(&self, url: &CoordinatorUrl, said: Option<&Status>) {
        let of = |wanted: &str| {
            let same =
                |url: &CoordinatorUrl| url.as_str().trim_end_matches('/') == wanted.trim_end_matches('/');
            self.urls.iter().position(same)
        };
        let details = said.and_then(StatusExt::get_details_error_info);
        let leader = details.and_then(|info| info.metadata.get("leader").and_then(|leader| of(leader)));
        let from = of(url.as_str()).unwrap_or_default();
        let to = leader
            .filter(|to| *to != from)
            .unwrap_or((from + 1) % self.urls.len());
        // Where another call has turned already, that holds.
        let _ = self
            .at
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A connection that is made when it is first used, with the files as they are now.
    ///
    /// # Errors
    /// See [`ConnectError`]: a file that was there before may be gone.
    pub fn channel(&self) -> Result<Channel, ConnectError> {
        let url = self.url();
        let channel = endpoint(url, self.keep_alive).connect_with_connector_lazy(self.dialer(url)?);
        Ok(InterceptedService::new(channel, self.bearer()?))
    }

    /// A connection, with the files as they are now.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn connect(&self) -> Result<Channel, ConnectError> {
        let url = self.url();
        let (dialer, bearer) = (self.dialer(url)?, self.bearer()?);
        let channel = endpoint(url, self.keep_alive)
            .connect_with_connector(dialer)
            .await;
        let channel = channel.map_err(|source| {
            let url = url.clone();
            self.fault().unwrap_or(ConnectError::Unreachable { url, source })
        })?;
        Ok(InterceptedService::new(channel, bearer))
    }

    /// What is wrong with the connection that was tried last, as far as no waiting mends it. It may show only at a call.
    pub fn fault(&self) -> Option<ConnectError> {
        let (fault, url) = (self.noted.get()?, self.url().clone());
        Some(ConnectError::Fault { url, fault })
    }

    fn dialer(&self, url: &CoordinatorUrl) -> Result<Dialer, ConnectError> {
        let (host, port) = url.host_and_port();
        let tls = match url.is_https() {
            true => {
                let name = ServerName::try_from(host.clone());
                let name = name.map_err(|error| ConnectError::HostName(url.clone(), error))?;
                Some((Arc::new(self.tls()?), name))
            }
            false => None,
        };
        let noted = self.noted.clone();
        Ok(Dialer {
            host,
            port,
            tls,
            noted,
        })
    }

    fn tls(&self) -> Result<ClientConfig, ConnectError> {
        let Credentials { ca, identity, .. } = &self.credentials;
        let roots = match ca {
            Some(path) => authorities(path, &read("the authorities' certificates", path)?)?,
            None => system_authorities()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows the versions that are the default")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let what = "the certificate";
                let chain = certificates(what, certificate, &read(what, certificate)?)?;
                let private = private_key(key, &read("the key", key)?)?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| FileError::Content {
                        what,
                        path: certificate.clone(),
                        problem: format!("with the key {}: {error}", key.display()),
                    })?
            }
        };
        config.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(config)
    }

    fn bearer(&self) -> Result<Bearer, ConnectError> {
        let Some(path) = &self.credentials.token else {
            return Ok(Bearer(None));
        };
        let what = "the token file";
        let text = read(what, path)?;
        let token = token(&text).ok_or_else(|| FileError::Content {
            what,
            path: path.clone(),
            problem: format!("expected one line of visible ASCII, {TOKEN_BYTES_MAX} bytes at most"),
        })?;
        Ok(Bearer(Some(token.header())))
    }
}

fn endpoint(url: &CoordinatorUrl, keep_alive: Duration) -> Endpoint {
    Endpoint::from_shared(url.to_string())
        .expect("a coordinator's URL is one")
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(keep_alive)
        .keep_alive_timeout(keep_alive)
        .keep_alive_while_idle(true)
}

fn system_authorities() -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    // What does not parse is of no use to anybody, and no reason to trust none of the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(ConnectError::NoAuthorities),
        false => Ok(roots),
    }
}

/// The token of a file.
fn token(text: &[u8]) -> Option<Token> {
    Token::new(std::str::from_utf8(text).ok()?.trim())
}

/// Puts the client's token into each call.
#[derive(Debug, Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn a_host_with_or_without_a_port_is_taken_as_it_is() {
        for text in [
            "http://127.0.0.1:7400",
            "http://127.0.0.1:7400/",
            "https://[::1]:7400",
            "http://coordinator",
            "https://coordinator:7400",
        ] {
            let url: CoordinatorUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
            assert_eq!(url.is_https(), text.starts_with("https"));
        }
        let url: CoordinatorUrl = "HTTPS://coordinator".parse().unwrap();
        assert!(url.is_https());
    }

    #[test]
    fn what_could_not_be_reached_or_would_be_read_otherwise_is_refused_with_its_cause() {
        for (text, error) in [
            ("", UrlError::Malformed),
            ("127.0.0.1:7400", UrlError::Malformed),
            ("coordinator", UrlError::Malformed),
            ("/socket", UrlError::Malformed),
            ("http://", UrlError::Malformed),
            ("https://:7400", UrlError::Malformed),
            ("http://a b", UrlError::Malformed),
            ("ftp://coordinator", UrlError::Scheme("ftp".into())),
            ("https://127.0.0.1:65536", UrlError::Port),
            ("https://[::1]:99999", UrlError::Port),
            ("http://coordinator:0", UrlError::Port),
            ("http://coordinator:", UrlError::Port),
            ("http://coordinator:7400/v1", UrlError::Path),
            ("https://coordinator:7400?x=1", UrlError::Path),
        ] {
            assert_eq!(text.parse::<CoordinatorUrl>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn of_several_coordinators_the_one_that_leads_is_turned_to() {
        let urls = ["http://127.0.0.1:1", "http://127.0.0.1:2/", "http://127.0.0.1:3"];
        let urls: Vec<CoordinatorUrl> = urls.map(|url| url.parse().unwrap()).into();
        let connector = Connector::any(urls.clone(), Credentials::default()).unwrap();
        let copy = connector.clone();
        let turned = |from: usize, said: Option<&Status>| {
            connector.turn_from(&urls[from], said);
            copy.url().as_str().to_owned()
        };
        let sent_to = |leader: &str| {
            let metadata = std::collections::HashMap::from([("leader".to_owned(), leader.to_owned())]);
            let details = tonic_types::ErrorDetails::with_error_info("NOT_LEADER", "d", metadata);
            Status::with_error_details(tonic::Code::Unavailable, "", details)
        };
        assert_eq!(turned(0, None), urls[1].as_str());
        assert_eq!(turned(0, None), urls[1].as_str(), "it has turned already");
        assert_eq!(turned(1, Some(&sent_to("http://127.0.0.1:1"))), urls[0].as_str());
        assert_eq!(turned(0, Some(&sent_to("http://127.0.0.1:2"))), urls[1].as_str());
        // Nobody is sent where nobody said to go.
        for unknown in ["", "http://127.0.0.1:9", "http://127.0.0.1:2"] {
            connector.at.store(1, Ordering::Relaxed);
            assert_eq!(turned(1, Some(&sent_to(unknown))), urls[2].as_str(), "{unknown}");
        }
        assert_eq!(
            turned(2, Some(&Status::unavailable("stopping"))),
            urls[0].as_str()
        );
    }

    #[test]
    fn no_refusal_repeats_a_password() {
        for text in [
            "http://name:secret@coordinator:7400",
            "https://name:secret@coordinator:7400",
            "name:secret@coordinator:7400",
            "http://name:secret@coordi nator",
            "secret://name:secret@coordinator",
        ] {
            let error = text.parse::<CoordinatorUrl>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{text:?}: {error}");
        }
    }

    fn refused(url: &str, credentials: Credentials) -> String {
        let error = Connector::new(url.parse().unwrap(), credentials).unwrap_err();
        let source =
            std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
        format!("{error}{source}")
    }

    #[test]
    fn what_cannot_work_is_refused_before_a_connection_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let token = file("token", "s3cret\n");
        let with_token = Credentials {
            token: Some(token.clone()),
            ..Credentials::default()
        };
        for url in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost"] {
            Connector::new(url.parse().unwrap(), with_token.clone()).unwrap();
        }
        for url in [
            "http://10.0.0.1:1",
            "http://localhost.example",
            "http://coordinator",
        ] {
            let told = refused(url, with_token.clone());
            assert!(told.contains("unencrypted") && !told.contains("s3cret"), "{told}");
        }
        let ca = |path: &Path| Credentials {
            ca: Some(path.into()),
            ..Credentials::default()
        };
        let missing = folder.path().join("missing.pem");
        let told = refused("https://coordinator", ca(&missing));
        assert!(
            told.contains("missing.pem") && told.contains("No such file"),
            "{told}"
        );
        let told = refused("https://coordinator", ca(&token));
        assert!(told.contains("no certificate"), "{told}");
        let garbage = file(
            "garbage.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        let told = refused("https://coordinator", ca(&garbage));
        assert!(told.contains("garbage.pem"), "{told}");
        let told = refused("http://127.0.0.1:1", ca(&garbage));
        assert!(told.contains("https://"), "{told}");
        let both = Credentials {
            identity: Some((garbage.clone(), garbage.clone())),
            ..with_token
        };
        let told = refused("https://coordinator", both);
        assert!(told.contains("--tls-cert or --token-file"), "{told}");
        let identity = Credentials {
            identity: Some((garbage, token)),
            ..Credentials::default()
        };
        let told = refused("https://coordinator", identity);
        assert!(
            told.contains("no unencrypted private key") && !told.contains("s3cret"),
            "{told}"
        );
        for text in ["", "two words", "tw\u{f6}", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            let bad = Credentials {
                token: Some(file("bad-token", text)),
                ..Credentials::default()
            };
            let told = refused("http://127.0.0.1:1", bad);
            assert!(told.contains("bad-token") && told.contains("one line"), "{told}");
        }
    }

    #[test]
    fn a_token_is_in_the_call_and_in_no_debug_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "s3cret\n").unwrap();
        let credentials = Credentials {
            token: Some(path.clone()),
            ..Credentials::default()
        };
        let connector = Connector::new("http://127.0.0.1:1".parse().unwrap(), credentials).unwrap();
        let bearer = |connector: &Connector| {
            let mut bearer = connector.bearer().unwrap();
            let request = bearer.call(Request::new(())).unwrap();
            (
                request.metadata().get("authorization").unwrap().clone(),
                format!("{bearer:?}{request:?}"),
            )
        };
        let (header, shown) = bearer(&connector);
        assert_eq!(header, "Bearer s3cret");
        let token = Token::new("s3cret").unwrap();
        for shown in [
            shown,
            format!("{connector:?}"),
            format!("{token:?}"),
            format!("{header:?}"),
        ] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
        // Another connection, another look at the file.
        fs::write(&path, "other").unwrap();
        assert_eq!(bearer(&connector).0, "Bearer other");
    }

    /// A coordinator that has begun to speak HTTP/2 and then stands still, as one does that was stopped or is cut off.
    #[tokio::test]
    async fn a_coordinator_that_answers_no_ping_is_given_up_with_a_call_and_without_one() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        const PATIENCE: Duration = Duration::from_secs(20);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let mut connector = Connector::new(url, Credentials::default()).unwrap();
        assert_eq!(connector.keep_alive, KEEP_ALIVE);
        let others = vec![connector.url().clone(); 2];
        let among_others = Connector::any(others, Credentials::default()).unwrap();
        assert_eq!(among_others.keep_alive, KEEP_ALIVE_AMONG_OTHERS);
        connector.keep_alive = Duration::from_millis(200);
        for calls in [true, false] {
            let accepted = tokio::spawn({
                let (stream, connected) = tokio::join!(listener.accept(), async {
                    let connected = connector.connect();
                    tokio::time::timeout(PATIENCE, connected).await
                });
                let channel = connected.expect("in time").expect("it listens");
                let mut stream = stream.unwrap().0;
                // Its settings, and that it has seen the client's.
                let (settings, seen) = ([0, 0, 0, 4, 0, 0, 0, 0, 0], [0, 0, 0, 4, 1, 0, 0, 0, 0]);
                stream.write_all(&[settings, seen].concat()).await.unwrap();
                let call = calls.then(|| {
                    let mut client =
                        crate::v1::prover_service_client::ProverServiceClient::new(channel.clone());
                    tokio::spawn(async move { client.get_info(crate::v1::GetInfoRequest::default()).await })
                });
                async move {
                    let mut came = Vec::new();
                    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut came)).await;
                    let _ = end.expect("the client closes the connection in time");
                    if let Some(call) = call {
                        let ended = tokio::time::timeout(PATIENCE, call).await.expect("in time");
                        ended.unwrap().expect_err("nobody answered");
                    }
                    drop(channel);
                    came
                }
            });
            let came = accepted.await.unwrap();
            let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
            assert!(came.windows(ping.len()).any(|frame| frame == ping), "{came:?}");
        }
    }

    #[test]
    fn fuzz_tokens() {
        fuzzer::Target::new(env!("CARGO_MANIFEST_DIR"), "token")
            .seed("short", "s3cret\n")
            .word("\n")
            .word("\0")
            .run(|bytes| {
                let token = token(bytes).ok_or("no token")?;
                let header = token.header();
                let text = header.to_str().map_err(|error| error.to_string())?;
                assert_eq!(text.strip_prefix("Bearer "), Some(token.0.as_str()));
                assert!(header.is_sensitive() && !format!("{token:?}").contains(&format!("({})", token.0)));
                Ok(())
            });
    }
}
