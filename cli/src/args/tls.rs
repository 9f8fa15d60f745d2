//! What coordinators and their clients speak TLS with, and show.

use std::path::PathBuf;

use clap::Args;
use coordinator::TlsFiles;

/// Variables of the environment that say how to speak with a coordinator, or how it is spoken with.
pub const CONNECTION_VARIABLES: [&str; 9] = [
    "ROLLUP_PROVER_TLS_CA",
    "ROLLUP_PROVER_TLS_CERT",
    "ROLLUP_PROVER_TLS_KEY",
    "ROLLUP_PROVER_TOKEN_FILE",
    "ROLLUP_PROVER_SERVER_TLS_CERT",
    "ROLLUP_PROVER_SERVER_TLS_KEY",
    "ROLLUP_PROVER_SERVER_TLS_CLIENT_CA",
    "ROLLUP_PROVER_SERVER_TLS_CLIENT_CRL",
    "ROLLUP_PROVER_SERVER_ACCESS",
];

/// Whom to trust, and who to be.
#[derive(Debug, Clone, Args)]
pub struct CredentialArgs {
    /// Certificates of the authorities that may vouch for the coordinator, PEM [default: the system's].
    #[arg(long, value_name = "FILE", env = "ROLLUP_PROVER_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// Certificate to show, followed by those that lead to its authority, PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "ROLLUP_PROVER_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Key of that certificate, PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "ROLLUP_PROVER_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// File that holds a token to show, as `token` writes it.
    #[arg(long, value_name = "FILE", env = "ROLLUP_PROVER_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// What the coordinator speaks TLS with. The files are read again when they change.
#[derive(Debug, Clone, Args)]
pub struct ServerTlsArgs {
    /// The coordinator's certificate, followed by those that lead to its authority, PEM. Read again when it changes.
    #[arg(
        long,
        value_name = "FILE",
        env = "ROLLUP_PROVER_SERVER_TLS_CERT",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// Key of that certificate, PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "ROLLUP_PROVER_SERVER_TLS_KEY",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
    /// Certificates of the authorities that vouch for clients (mTLS), PEM.
    #[arg(
        long,
        value_name = "FILE",
        env = "ROLLUP_PROVER_SERVER_TLS_CLIENT_CA",
        requires = "tls_cert"
    )]
    pub tls_client_ca: Option<PathBuf>,
    /// Revocation lists of these authorities (CRL), one of each, PEM. Connections with a revoked certificate are closed.
    #[arg(
        long,
        alias = "client-crl",
        value_name = "FILE",
        env = "ROLLUP_PROVER_SERVER_TLS_CLIENT_CRL",
        requires = "tls_client_ca"
    )]
    pub tls_client_crl: Option<PathBuf>,
}

impl ServerTlsArgs {
    /// The files, if TLS is to be spoken.
    pub fn files(&self) -> Option<TlsFiles> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles {
            certificate,
            key,
            client_ca: self.tls_client_ca.clone(),
            client_crl: self.tls_client_crl.clone(),
        })
    }
}
