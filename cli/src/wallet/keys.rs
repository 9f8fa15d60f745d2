//! Secret keys: from a file or a variable, never from the command line (P-5.7).

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rand::RngCore;
use rand::rngs::OsRng;
use rules::eddsa::{PrivateKey, PublicKey};
use serde_json::{Value, json};

use crate::bounded;
use crate::environment;

/// The variable of the key that signs on the rollup.
pub const L2_KEY_VARIABLE: &str = "ROLLUP_PROVER_L2_KEY";
/// The variable of the key that pays and calls on L1.
pub const L1_KEY_VARIABLE: &str = "ROLLUP_PROVER_L1_KEY";
/// Version of the key file.
const FILE_VERSION: u64 = 1;
/// Most bytes of a key file.
const FILE_BYTES_MAX: u64 = 4_096;

/// 32 secret bytes. They are never shown.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// New ones from the system.
    ///
    /// # Errors
    /// When it gives none.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 32];
        let filled = OsRng.try_fill_bytes(&mut bytes);
        filled.context("the system gives no random bytes")?;
        Ok(Self(bytes))
    }

    /// From a key file if one is named, else from the variable.
    ///
    /// # Errors
    /// When there is neither, or what is there is no key. No part of it is repeated.
    pub fn find(file: Option<&Path>, flag: &str, variable: &str) -> Result<Self> {
        if let Some(path) = file {
            return Self::read(path);
        }
        let Some(value) = environment::variable(variable) else {
            bail!("no key: name its file with {flag}, or set {variable} to 0x and its 64 hexadecimal digits");
        };
        let text = value.to_str().map(Self::parse);
        text.unwrap_or_else(|| Err(anyhow!("it is no text")))
            .with_context(|| format!("{variable} has no key"))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// As [`Secret::find`].
    pub fn read(path: &Path) -> Result<Self> {
        let text = bounded::read(path, FILE_BYTES_MAX)?;
        warn_of_readers(path);
        Self::of_file(&text).with_context(|| format!("{} is not a key file", path.display()))
    }

    /// An error of serde's would repeat what it found, so the fields are looked at here.
    pub(crate) fn of_file(text: &[u8]) -> Result<Self> {
        // What other programs write and a variable holds.
        if let Some(digits) = str::from_utf8(text).ok().filter(|text| text.starts_with("0x")) {
            return Self::parse(digits.trim_end());
        }
        let value: Value = serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            anyhow!("neither 0x and 64 digits, nor JSON: line {line}, column {column}")
        })?;
        let fields = value.as_object().context("expected a JSON object")?;
        let version = fields.get("version").context("missing field `version`")?;
        ensure!(
            version.as_u64() == Some(FILE_VERSION),
            "version: expected {FILE_VERSION}, found another"
        );
        let key = fields.get("secret_key").context("missing field `secret_key`")?;
        ensure!(
            fields.len() == 2,
            "expected the fields `version` and `secret_key` alone, found {} fields",
            fields.len()
        );
        let key = key.as_str().context("secret_key: expected a text")?;
        Self::parse(key).context("secret_key")
    }

    fn parse(text: &str) -> Result<Self> {
        let digits = text.strip_prefix("0x").context("expected 0x in front")?;
        ensure!(
            digits.len() == 64,
            "expected 64 hexadecimal digits after 0x, found {} characters",
            digits.chars().count()
        );
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes)
            .map_err(|_| anyhow!("expected hexadecimal digits after 0x"))?;
        Ok(Self(bytes))
    }

    /// Writes a new key file that only its owner reads.
    ///
    /// # Errors
    /// When there is something already, or it cannot be written.
    pub fn write_new(&self, path: &Path) -> Result<()> {
        let text = json!({ "version": FILE_VERSION, "secret_key": self.to_text() }).to_string() + "\n";
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        let written = file.and_then(|mut file| {
            let whole = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
            // Half a key would stand in the way of the next try.
            whole.inspect_err(|_| drop(fs::remove_file(path)))
        });
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    /// The key pair that signs on the rollup.
    pub fn l2(&self) -> PrivateKey {
        PrivateKey::from_bytes(&self.0)
    }

    /// `0x` and the digits: what a key file, a variable or an L1 client takes.
    pub fn to_text(&self) -> String {
        format!("0x{}", hex::encode(self.0))
    }
}

/// Refuses to write over a key file: what is written can be made again, a key cannot.
///
/// # Errors
/// When there is one at the path.
pub fn spare(path: &Path) -> Result<()> {
    let is_small = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= FILE_BYTES_MAX);
    let is_key = is_small && fs::read(path).is_ok_and(|text| Secret::of_file(&text).is_ok());
    ensure!(
        !is_key,
        "{} is a key file, which is not written over: name another file",
        path.display()
    );
    Ok(())
}

/// A key that others on the machine read is theirs too.
fn warn_of_readers(path: &Path) {
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.mode());
    if mode & 0o077 != 0 {
        tracing::warn!(
            file = %path.display(),
            mode = format!("{:o}", mode & 0o777),
            "others on this machine can read or change this key file: `chmod 600` it"
        );
    }
}

/// A public key as text: `0x`, then `A.x` and `A.y` with 64 digits each.
pub fn owner_text(owner: &PublicKey) -> String {
    format!("0x{}", hex::encode(owner.to_bytes()))
}

/// Reads [`owner_text`], and checks that it is a key that can sign (P-5.1).
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_owner(text: &str) -> Result<PublicKey, String> {
    let digits = text.strip_prefix("0x").ok_or("a public key begins with 0x")?;
    let mut bytes = [0; 64];
    hex::decode_to_slice(digits, &mut bytes)
        .map_err(|error| format!("a public key has 128 hexadecimal digits, A.x then A.y: {error}"))?;
    let key = PublicKey::from_bytes(&bytes).map_err(|error| error.to_string())?;
    key.validate().map_err(|error| error.to_string())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_read_as_it_was_written_and_is_its_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        let secret = Secret::random().unwrap();
        secret.write_new(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = Secret::find(Some(&path), "--key-file", L2_KEY_VARIABLE).unwrap();
        assert_eq!(read.to_text(), secret.to_text());
        for text in [
            secret.to_text(),
            secret.to_text() + "\n",
            secret.to_text() + "\r\n",
        ] {
            assert_eq!(
                Secret::of_file(text.as_bytes()).unwrap().to_text(),
                secret.to_text()
            );
        }
        assert_ne!(secret.to_text(), Secret::random().unwrap().to_text());
        let error = spare(&path).unwrap_err().to_string();
        assert!(error.contains("is a key file"), "{error}");
        let other = directory.path().join("other.json");
        spare(&other).unwrap();
        fs::write(&other, "{}").unwrap();
        spare(&other).unwrap();
        spare(directory.path()).unwrap();
        // What is there is not written over.
        assert!(Secret::random().unwrap().write_new(&path).is_err());
        assert_eq!(Secret::read(&path).unwrap().to_text(), secret.to_text());
    }

    #[test]
    fn what_is_no_key_is_told_without_a_part_of_it() {
        let secret = "ab".repeat(32);
        for (text, told) in [
            (String::new(), "nor JSON"),
            (secret.clone(), "nor JSON"),
            (format!("0x{}", &secret[2..]), "found 62 characters"),
            (format!("0x{secret}\n0x{secret}\n"), "found 131 characters"),
            (format!("0x{}zz", &secret[2..]), "hexadecimal digits"),
            (format!("\"0x{secret}\""), "expected a JSON object"),
            (
                format!("{{\"secret_key\": \"0x{secret}\"}}"),
                "missing field `version`",
            ),
            ("{\"version\": 1}".to_owned(), "missing field `secret_key`"),
            (
                format!("{{\"version\": 2, \"secret_key\": \"0x{secret}\"}}"),
                "version: expected 1",
            ),
            (
                format!("{{\"version\": 1, \"secret_key\": \"{secret}\"}}"),
                "expected 0x in front",
            ),
            (
                format!("{{\"version\": 1, \"secret_key\": \"0x{}\"}}", &secret[2..]),
                "found 62 characters",
            ),
            (
                format!("{{\"version\": 1, \"secret_key\": \"0x{}zz\"}}", &secret[2..]),
                "hexadecimal digits",
            ),
            (
                format!("{{\"version\": 1, \"secret_key\": [\"0x{secret}\"]}}"),
                "expected a text",
            ),
            (
                format!("{{\"version\": 1, \"secret_key\": \"0x{secret}\", \"{secret}\": 1}}"),
                "found 3 fields",
            ),
        ] {
            let error = format!("{:#}", Secret::of_file(text.as_bytes()).unwrap_err());
            assert!(error.contains(told), "{error}");
            assert!(!error.contains("abab"), "{error}");
        }
        assert_eq!(format!("{:?}", Secret([0xab; 32])), "Secret(…)");
        let none = Secret::find(None, "--key-file", "ROLLUP_PROVER_NO_SUCH_KEY").unwrap_err();
        assert!(none.to_string().contains("--key-file"), "{none}");
    }

    #[test]
    fn a_public_key_reads_back_and_a_bad_one_is_refused() {
        let key = Secret([1; 32]).l2().public();
        assert_eq!(parse_owner(&owner_text(&key)), Ok(key));
        for (text, told) in [
            (owner_text(&key)[2..].to_owned(), "begins with 0x"),
            ("0x01".to_owned(), "128 hexadecimal digits"),
            (format!("0x{}", "ff".repeat(64)), ""),
            // The identity, and a point that is none.
            (format!("0x{}01", "00".repeat(63)), "small order"),
            (format!("0x{}02", "00".repeat(63)), "not on the curve"),
        ] {
            let error = parse_owner(&text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
