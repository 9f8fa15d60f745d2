//! Certificates and keys in PEM files, with errors that name the file. Nothing of a key is ever told.

use std::{
    fs::{self, File, FileType},
    io::Read as _,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use tokio_rustls::rustls::{
    self, RootCertStore,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
        pem::{Error, PemObject},
    },
};

/// Most bytes of such a file, the access file included: ten times those of a system's authorities.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

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

/// A file's bytes. They are read again later, for the next connection or because they changed, so that only a regular file will
/// do: from a pipe (`/dev/stdin`, a shell's `<(...)`) they come once, if ever.
///
/// # Errors
/// See [`FileError`].
pub fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read {
        what,
        path: path.into(),
        source,
    };
    let content = |problem| FileError::Content {
        what,
        path: path.into(),
        problem,
    };
    // Before it is opened, which waits for a writer if it is a pipe.
    let kind = fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_file() {
        let found = name(kind);
        return Err(content(format!(
            "expected a regular file, since it is read more than once; found {found}"
        )));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(content(format!(
            "expected at most {FILE_BYTES_MAX} bytes, found more"
        )));
    }
    Ok(bytes)
}

/// What a thing is that is no regular file.
fn name(kind: FileType) -> &'static str {
    match kind {
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    }
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

/// The lists of revoked certificates of a PEM file: one at least.
///
/// # Errors
/// [`FileError::Content`].
pub fn revocations(
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, FileError> {
    let what = "the revocation lists";
    let content = |problem: String| FileError::Content {
        what,
        path: path.into(),
        problem,
    };
    let found = CertificateRevocationListDer::pem_slice_iter(text).collect::<Result<Vec<_>, Error>>();
    let found = found.map_err(|error| content(error.to_string()))?;
    match found.is_empty() {
        true => Err(content(
            "no revocation list (X509 CRL) in PEM form is in it".into(),
        )),
        false => Ok(found),
    }
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

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, process::Command};

    use fuzzer::Target;

    use super::*;

    #[test]
    fn only_a_regular_file_is_read_and_whatever_else_it_is_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        for name in ["file", "link"] {
            assert_eq!(read("the key", &path(name)).unwrap(), b"text");
        }
        let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        std::os::unix::fs::symlink(path("pipe"), path("link-to-pipe")).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for (path, found) in [
            (path("pipe"), "a pipe"),
            (path("link-to-pipe"), "a pipe"),
            (path("socket"), "a socket"),
            (folder.path().into(), "a folder"),
            ("/dev/zero".into(), "a device"),
        ] {
            let told = read("the key", &path).unwrap_err().to_string();
            let named = told.contains("the key") && told.contains(path.to_str().unwrap());
            assert!(named && told.ends_with(found), "{told}");
        }
        let absent = read("the key", &path("absent")).unwrap_err();
        assert!(matches!(absent, FileError::Read { .. }), "{absent}");
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let file = File::create(&path).unwrap();
        file.set_len(FILE_BYTES_MAX).unwrap();
        assert_eq!(read("the key", &path).unwrap().len() as u64, FILE_BYTES_MAX);
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        let told = read("the key", &path).unwrap_err().to_string();
        assert!(told.contains("at most 4194304 bytes"), "{told}");
    }

    #[test]
    fn fuzz_pem_files() {
        let path = Path::new("file.pem");
        Target::new(env!("CARGO_MANIFEST_DIR"), "pem")
            .seed("certificate", include_bytes!("../fuzz/pem/seed-certificate"))
            .seed("key", include_bytes!("../fuzz/pem/seed-key"))
            .seed("list", include_bytes!("../fuzz/pem/seed-list"))
            .word("-----BEGIN ")
            .word("-----END CERTIFICATE-----\n")
            .memory(1 << 16, 256)
            .run(|text| {
                let found = [
                    certificates("a certificate", path, text).map(drop),
                    authorities(path, text).map(drop),
                    private_key(path, text).map(drop),
                    revocations(path, text).map(drop),
                ];
                let told: Vec<String> = found
                    .iter()
                    .filter_map(|found| found.as_ref().err())
                    .map(ToString::to_string)
                    .collect();
                assert!(told.iter().all(|told| told.contains("file.pem")), "{told:?}");
                // Each kind is refused by those that look for another.
                if told.len() < found.len() {
                    Ok(())
                } else {
                    Err(told.join("; "))
                }
            });
    }

    #[test]
    fn a_file_of_another_kind_is_refused_by_name() {
        let path = Path::new("file.pem");
        let certificate = include_bytes!("../fuzz/pem/seed-certificate");
        let list = include_bytes!("../fuzz/pem/seed-list");
        assert_eq!(certificates("a certificate", path, certificate).unwrap().len(), 1);
        assert_eq!(revocations(path, list).unwrap().len(), 1);
        let told = revocations(path, certificate).unwrap_err().to_string();
        assert!(
            told.contains("file.pem") && told.contains("no revocation list"),
            "{told}"
        );
        let told = authorities(path, list).unwrap_err().to_string();
        assert!(told.contains("no certificate"), "{told}");
    }
}
