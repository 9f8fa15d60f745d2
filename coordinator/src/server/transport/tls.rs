//! The certificates that TLS is spoken with.

use std::sync::Arc;

use proto::pem::{FileError, authorities, certificates, private_key, read};
use tokio_rustls::rustls::{
    ServerConfig,
    crypto::ring,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

use crate::config::TlsFiles;

/// The name of HTTP/2 in a handshake.
const HTTP2: &[u8] = b"h2";

/// What the files say. A client may come without a certificate, and is nobody then; one that it shows must be vouched for by
/// the client CA.
///
/// # Errors
/// The file, and what is wrong with it.
pub(crate) fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, FileError> {
    let what = "the certificate";
    let chain = certificates(what, &files.certificate, &read(what, &files.certificate)?)?;
    let key = private_key(&files.key, &read("the key", &files.key)?)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions that are the default");
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = authorities(path, &read("the authorities' certificates", path)?)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build();
            builder.with_client_cert_verifier(verifier.map_err(|error| FileError::Content {
                what: "the authorities' certificates",
                path: path.clone(),
                problem: error.to_string(),
            })?)
        }
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
    Ok(Arc::new(config))
}
