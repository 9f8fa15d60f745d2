//! Certificates and keys in PEM files, with errors that name the file. Nothing of a key is ever told.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tokio_rustls::rustls::{
    self, RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error, PemObject},
    },
};

/// A file that does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It does not read.
    #[error("{what} {}", path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It reads, and holds something else.
    #[error("{what} {}: {problem}", path.display())]
    Content {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// A file's bytes.
///
/// # Errors
/// [`FileError::Read`].
pub fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Read {
        what,
        path: path.into(),
        source,
    })
}

/// The certificates of a PEM file: one at least.
///
/// # Errors
/// [`FileError::Content`].
pub fn certificates(
    what: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let content = |problem: String| FileError::Content {
        what,
        path: path.into(),
        problem,
    };
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, Error>>();
    match found {
        Ok(found) if found.is_empty() => Err(content("no certificate in PEM form is in it".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(content(error.to_string())),
    }
}

/// The authorities of a PEM file.
///
/// # Errors
/// [`FileError::Content`].
pub fn authorities(path: &Path, text: &[u8]) -> Result<RootCertStore, FileError> {
    let what = "the authorities' certificates";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, path, text)? {
        roots.add(certificate).map_err(|error| FileError::Content {
            what,
            path: path.into(),
            problem: error.to_string(),
        })?;
    }
    Ok(roots)
}

/// The key of a PEM file, one that can be signed with.
///
/// # Errors
/// [`FileError::Content`].
pub fn private_key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, FileError> {
    let content = |problem: &str| FileError::Content {
        what: "the key",
        path: path.into(),
        problem: problem.into(),
    };
    let key = PrivateKeyDer::from_pem_slice(text)
        .map_err(|_| content("no unencrypted private key in PEM form is in it"))?;
    rustls::crypto::ring::sign::any_supported_type(&key)
        .map_err(|_| content("its kind is not supported; ECDSA (P-256, P-384), Ed25519 and RSA are"))?;
    Ok(key)
}
