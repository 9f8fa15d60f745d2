//! Certificates for a test: an authority, a coordinator, and clients with roles.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

/// The identities, each with the role of its name.
const ROLES: [&str; 4] = ["sequencer", "worker", "operator", "reader"];

/// A folder with `ca.pem`, `server.pem`, `server.key`, a pair for each role, and `access.toml`.
pub struct Papers(PathBuf);

impl Papers {
    pub fn new(directory: &Path) -> Self {
        let papers = Self(directory.join("papers"));
        fs::create_dir(&papers.0).unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "trial");
        let key = KeyPair::generate().unwrap();
        papers.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        let mut access = String::new();
        for name in ["server"].into_iter().chain(ROLES) {
            let mut params = CertificateParams::new(vec![name.into()]).unwrap();
            params
                .subject_alt_names
                .push(SanType::IpAddress([127, 0, 0, 1].into()));
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &issuer).unwrap();
            papers.write(&format!("{name}.pem"), &certificate.pem());
            papers.write(&format!("{name}.key"), &key.serialize_pem());
        }
        for role in ROLES {
            let entry = format!(
                "[[identity]]\nname = \"{role}\"\nroles = [\"{role}\"]\ncertificate_names = [\"{role}\"]\n"
            );
            access.push_str(&entry);
        }
        papers.write("access.toml", &access);
        papers
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// What the coordinator is told.
    pub fn server(&self) -> Vec<String> {
        let arguments = [
            ("--tls-cert", "server.pem"),
            ("--tls-key", "server.key"),
            ("--tls-client-ca", "ca.pem"),
            ("--access", "access.toml"),
        ];
        self.arguments(&arguments)
    }

    /// What a client with a role is told.
    pub fn client(&self, role: &str) -> Vec<String> {
        self.arguments(&[
            ("--tls-ca", "ca.pem"),
            ("--tls-cert", &format!("{role}.pem")),
            ("--tls-key", &format!("{role}.key")),
        ])
    }

    fn arguments(&self, arguments: &[(&str, &str)]) -> Vec<String> {
        let pair = |(name, file): &(&str, &str)| [(*name).to_string(), self.path(file)];
        arguments.iter().flat_map(pair).collect()
    }
}
