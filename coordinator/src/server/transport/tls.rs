//! The certificates that TLS is spoken with.

use std::{path::Path, sync::Arc};

use proto::pem::{FileError, authorities, certificates, private_key, read, revocations};
use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, UnixTime},
    server::{
        NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
};

use crate::config::TlsFiles;

/// The name of HTTP/2 in a handshake.
const HTTP2: &[u8] = b"h2";

/// What TLS is spoken with.
#[derive(Debug)]
pub(crate) struct InForce {
    pub server: Arc<ServerConfig>,
    /// Judges clients' certificates; none where there is no client CA.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl InForce {
    /// Whether a chain that was shown, the peer's own certificate first, would be taken at that time.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn vouches_for(
        &self,
        chain: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> Result<(), rustls::Error> {
        let (Some(clients), Some((own, rest))) = (&self.clients, chain.split_first()) else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        clients.verify_client_cert(own, rest, at).map(drop)
    }
}

/// What the files say. A client may come without a certificate, and is nobody then; one that it shows must be vouched for by
/// the client CA, and not revoked.
///
/// # Errors
/// The file, and what is wrong with it.
pub(crate) fn in_force(files: &TlsFiles) -> Result<Arc<InForce>, FileError> {
    let what = "the certificate";
    let chain = certificates(what, &files.certificate, &read(what, &files.certificate)?)?;
    let key = private_key(&files.key, &read("the key", &files.key)?)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions that are the default");
    let clients = match &files.client_ca {
        None => None,
        Some(path) => {
            let roots = authorities(path, &read("the authorities' certificates", path)?)?;
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if let Some(path) = &files.client_crl {
                verifier = verifier.with_crls(revocations(path, &read("the revocation lists", path)?)?);
            }
            let verifier = verifier.allow_unauthenticated().build();
            Some(verifier.map_err(|error| content(files, path, error))?)
        }
    };
    let builder = match &clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| FileError::Content {
            what,
            path: files.certificate.clone(),
            problem: format!("with the key {}: {error}", files.key.display()),
        })?;
    config.alpn_protocols = vec![HTTP2.to_vec()];
    // A resumed session would bring a certificate back without another look at it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(InForce {
        server: Arc::new(config),
        clients,
    }))
}

/// What is wrong with the client CA, or with its revocation lists.
fn content(files: &TlsFiles, authorities: &Path, error: VerifierBuilderError) -> FileError {
    match (error, &files.client_crl) {
        (VerifierBuilderError::InvalidCrl(error), Some(path)) => FileError::Content {
            what: "the revocation lists",
            path: path.clone(),
            problem: format!("a list does not read ({error:?}), expected X.509 CRLs of version 2"),
        },
        (error, _) => FileError::Content {
            what: "the authorities' certificates",
            path: authorities.into(),
            problem: error.to_string(),
        },
    }
}
