//! How peers reach a coordinator and prove who they are, and the files that this takes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use coordinator::{Config, TlsFiles};
use proto::{
    connection::{Connector, Credentials},
    pem,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::{ClientConfig, crypto::ring};

const HONEST_TOKEN: &str = "a-token-of-an-honest-peer-0123456789abcdef";
pub const HOSTILE_TOKEN: &str = "a-token-of-a-hostile-peer-0123456789abcdef";

/// How.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In plain text, by nothing.
    Open,
    /// In plain text, by tokens.
    Token,
    /// Over TLS, by tokens.
    TlsToken,
    /// Over TLS, by certificates.
    TlsCertificate,
    /// Over TLS, honest peers by certificates and hostile ones by nothing.
    TlsNobody,
}

impl Way {
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Token,
        Self::TlsToken,
        Self::TlsCertificate,
        Self::TlsNobody,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Token => "token",
            Self::TlsToken => "tls-token",
            Self::TlsCertificate => "tls-certificate",
            Self::TlsNobody => "tls-nobody",
        }
    }

    /// The way of that name.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(name: &str) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|way| way.name() == name)
            .unwrap_or_else(|| panic!("no way {name}"))
    }

    pub fn has_tokens(self) -> bool {
        matches!(self, Self::Token | Self::TlsToken)
    }

    fn has_tls(self) -> bool {
        !matches!(self, Self::Open | Self::Token)
    }

    fn has_certificates(self) -> bool {
        matches!(self, Self::TlsCertificate | Self::TlsNobody)
    }
}

/// The files, in a folder.
#[derive(Clone)]
pub struct Papers {
    pub way: Way,
    pub folder: PathBuf,
}

impl Papers {
    /// Writes them: an authority, certificates of the coordinator, an honest and a hostile peer, tokens of both, and the access
    /// file.
    pub fn write(folder: &Path, way: Way) -> Self {
        let papers = Self {
            way,
            folder: folder.into(),
        };
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        papers.put("ca.pem", &params.self_signed(&key).expect("signed").pem());
        let issuer = Issuer::new(params, key);
        for name in ["coordinator", "honest", "hostile"] {
            let mut params = CertificateParams::new(vec![name.into()]).expect("a name");
            let loopback = SanType::IpAddress([127, 0, 0, 1].into());
            params.subject_alt_names.push(loopback);
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &issuer).expect("signed");
            papers.put(&format!("{name}.pem"), &certificate.pem());
            papers.put(&format!("{name}.key"), &key.serialize_pem());
        }
        papers.put("honest.token", HONEST_TOKEN);
        let identity = |name: &str, token: &str| {
            let shown = match way.has_certificates() {
                true => format!("certificate_names = [\"{name}\"]"),
                false => format!("token_sha256 = [\"{}\"]", hex::encode(Sha256::digest(token))),
            };
            format!(
                "[[identity]]\nname = \"{name}\"\nroles = [\"sequencer\", \"worker\", \"reader\"]\n{shown}\n"
            )
        };
        let access = identity("honest", HONEST_TOKEN) + &identity("hostile", HOSTILE_TOKEN);
        papers.put("access.toml", &access);
        papers
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("written");
    }

    /// What a coordinator is told.
    pub fn configure(&self, config: &mut Config) {
        config.access = (self.way != Way::Open).then(|| self.folder.join("access.toml"));
        config.tls = self.way.has_tls().then(|| TlsFiles {
            certificate: self.folder.join("coordinator.pem"),
            key: self.folder.join("coordinator.key"),
            client_ca: self.way.has_certificates().then(|| self.folder.join("ca.pem")),
            client_crl: None,
        });
    }

    /// How honest peers reach it.
    pub fn connector(&self, address: &str) -> Connector {
        let scheme = if self.way.has_tls() { "https" } else { "http" };
        let file = |name: &str| self.folder.join(name);
        let credentials = Credentials {
            ca: self.way.has_tls().then(|| file("ca.pem")),
            identity: self
                .way
                .has_certificates()
                .then(|| (file("honest.pem"), file("honest.key"))),
            token: self.way.has_tokens().then(|| file("honest.token")),
        };
        let url = format!("{scheme}://{address}").parse().expect("a URL");
        Connector::new(url, credentials).expect("the files are right")
    }

    /// What hostile peers speak TLS with, if any do.
    pub fn hostile_tls(&self) -> Option<ClientConfig> {
        let read = |name: &str| {
            let path = self.folder.join(name);
            let text = fs::read(&path).expect("readable");
            (path, text)
        };
        let (path, text) = read("ca.pem");
        let builder = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the defaults")
            .with_root_certificates(pem::authorities(&path, &text).expect("an authority"));
        let mut config = match self.way {
            Way::Open | Way::Token => return None,
            Way::TlsToken | Way::TlsNobody => builder.with_no_client_auth(),
            Way::TlsCertificate => {
                let (path, text) = read("hostile.pem");
                let chain = pem::certificates("a certificate", &path, &text).expect("one");
                let (path, text) = read("hostile.key");
                let key = pem::private_key(&path, &text).expect("a key");
                builder.with_client_auth_cert(chain, key).expect("they fit")
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Some(config)
    }
}
