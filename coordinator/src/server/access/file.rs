//! The access file: which certificates and tokens are whose, and what these may do.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use proto::{NAME_CHARS_MAX, pem::FileError};
use serde::Deserialize;
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::{Identity, Role, Roles, certificate::Certificate, certificate::NAME_BYTES_MAX};
use crate::core::id::{Principal, Tenant};

/// Most bytes of an access file.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Most identities.
const IDENTITIES_MAX: usize = 10_000;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    identity: Vec<WrittenIdentity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenIdentity {
    name: String,
    roles: Vec<Role>,
    tenant: Option<String>,
    #[serde(default)]
    certificate_sha256: Vec<String>,
    #[serde(default)]
    certificate_names: Vec<String>,
    #[serde(default)]
    token_sha256: Vec<String>,
}

/// The identities of an access file.
#[derive(Debug, Default)]
pub(crate) struct AccessFile {
    identities: Vec<Identity>,
    fingerprints: HashMap<[u8; 32], usize>,
    names: HashMap<String, usize>,
    /// Digests of tokens, never tokens.
    tokens: Vec<([u8; 32], usize)>,
}

impl AccessFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// [`FileError::Content`], with the identity and the field.
    pub(crate) fn read(path: &Path, text: &[u8]) -> Result<Self, FileError> {
        Self::parse(text).map_err(|problem| FileError::Content {
            what: "the access file",
            path: path.into(),
            problem,
        })
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        if text.len() > FILE_BYTES_MAX {
            return Err(format!("{} bytes, at most {FILE_BYTES_MAX}", text.len()));
        }
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
        // Its Display cites the text around a mistake, which may be a token that was put where its digest belongs.
        let written: Written = toml::from_str(text).map_err(|error| match error.span() {
            Some(span) => {
                let line = 1 + text[..span.start.min(text.len())].matches('\n').count();
                format!("line {line}: {}", without_values(error.message()))
            }
            None => without_values(error.message()),
        })?;
        if written.identity.len() > IDENTITIES_MAX {
            return Err(format!(
                "{} identities, at most {IDENTITIES_MAX}",
                written.identity.len()
            ));
        }
        // A file that is written just now, or that a full disk cut off, would shut everybody out.
        if written.identity.is_empty() {
            return Err("no identity, expected at least one".into());
        }
        let mut file = Self::default();
        for identity in written.identity {
            file.add(identity)?;
        }
        Ok(file)
    }

    fn add(&mut self, written: WrittenIdentity) -> Result<(), String> {
        let name = checked("name", &written.name, &written.name)?;
        let at = self.identities.len();
        let tenant = written.tenant.as_deref().unwrap_or(&written.name);
        let identity = Identity {
            principal: Principal(name.clone()),
            tenant: Tenant(checked("tenant", &name, tenant)?),
            roles: written.roles.iter().copied().collect::<Roles>(),
        };
        if written.roles.is_empty() {
            return Err(format!("identity {name:?}: roles: expected at least one"));
        }
        if self
            .identities
            .iter()
            .any(|other| other.principal == identity.principal)
        {
            return Err(format!("identity {name:?} is there twice"));
        }
        if written.certificate_sha256.is_empty()
            && written.certificate_names.is_empty()
            && written.token_sha256.is_empty()
        {
            return Err(format!(
                "identity {name:?}: expected certificate_sha256, certificate_names or token_sha256, found none of them"
            ));
        }
        let twice =
            |field: &str| format!("identity {name:?}: {field}: one of them is another identity's too");
        for text in &written.certificate_sha256 {
            let digest = digest("certificate_sha256", &name, text)?;
            if self.fingerprints.insert(digest, at).is_some() {
                return Err(twice("certificate_sha256"));
            }
        }
        for text in written.certificate_names {
            if text.is_empty() || text.len() > NAME_BYTES_MAX {
                return Err(format!(
                    "identity {name:?}: certificate_names: expected 1 to {NAME_BYTES_MAX} bytes, found {}",
                    text.len()
                ));
            }
            if self.names.insert(text, at).is_some() {
                return Err(twice("certificate_names"));
            }
        }
        for text in &written.token_sha256 {
            let digest = digest("token_sha256", &name, text)?;
            if self.tokens.iter().any(|(known, _)| *known == digest) {
                return Err(twice("token_sha256"));
            }
            self.tokens.push((digest, at));
        }
        self.identities.push(identity);
        Ok(())
    }

    /// The tenants that have a sequencer.
    pub(super) fn sequencing_tenants(&self) -> BTreeSet<&str> {
        let sequencers = self.identities.iter().filter(|it| it.roles.has(Role::Sequencer));
        sequencers.map(|it| it.tenant.0.as_str()).collect()
    }

    /// Whether any identity is known by a certificate.
    pub(crate) fn names_certificates(&self) -> bool {
        !self.fingerprints.is_empty() || !self.names.is_empty()
    }

    /// Whose certificate it is. One that names several identities is nobody's.
    pub(super) fn by_certificate(&self, certificate: &Certificate) -> Option<&Identity> {
        let at = match self.fingerprints.get(&certificate.fingerprint) {
            Some(at) => *at,
            None => {
                let mut found = certificate.names.iter().filter_map(|name| self.names.get(name));
                let first = *found.next()?;
                found.all(|other| *other == first).then_some(first)?
            }
        };
        self.identities.get(at)
    }

    /// Whose token has this digest. It takes the same time whichever token it is, or none.
    pub(super) fn by_token(&self, digest: &[u8; 32]) -> Option<&Identity> {
        let mut found = u64::MAX;
        for (known, at) in &self.tokens {
            found.conditional_assign(&(*at as u64), known.ct_eq(digest));
        }
        self.identities.get(usize::try_from(found).ok()?)
    }
}

/// A message with what is quoted in it left out.
fn without_values(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}(..){}", &message[..first], &message[last + 1..])
        }
        _ => message.into(),
    }
}

/// A name: what workers and requests may be called, so that it can be shown everywhere.
fn checked(field: &str, identity: &str, text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NAME_CHARS_MAX || text.chars().any(char::is_control) {
        let shown: String = identity.chars().take(64).collect();
        return Err(format!(
            "identity {shown:?}: {field}: expected 1 to {NAME_CHARS_MAX} bytes, none of control"
        ));
    }
    Ok(text.into())
}

/// 64 hex digits, with or without colons between bytes as openssl writes them. What is none may be a secret, and is not
/// repeated.
fn digest(field: &str, identity: &str, text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text.replace(':', ""), &mut digest).map_err(|_| {
        format!("identity {identity:?}: {field}: expected SHA-256 digests, 64 hex digits each")
    })?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn certificate(fingerprint: [u8; 32], names: &[&str]) -> Certificate {
        Certificate {
            fingerprint,
            names: names.iter().map(|name| (*name).into()).collect(),
        }
    }

    #[test]
    fn certificates_and_tokens_find_their_identity() {
        let colons = vec!["AB"; 32].join(":");
        let token = hex::encode(Sha256::digest("s3cret"));
        let text = format!(
            r#"
            # A comment.
            [[identity]]
            name = "sequencer"
            roles = ["sequencer"]
            tenant = "exchange"
            certificate_sha256 = ["{colons}"]
            token_sha256 = ["{token}"]

            [[identity]]
            name = "w"
            roles = ["worker", "reader"]
            certificate_names = ["w.example", "w-2.example"]
            "#
        );
        let file = AccessFile::parse(text.as_bytes()).unwrap();
        let name = |identity: Option<&Identity>| identity.map(|identity| identity.principal.0.clone());
        let found = file.by_certificate(&certificate([0xab; 32], &["w.example"]));
        assert_eq!(
            name(found).as_deref(),
            Some("sequencer"),
            "a digest says more than a name"
        );
        assert_eq!(found.unwrap().tenant, Tenant("exchange".into()));
        let found = file.by_certificate(&certificate([1; 32], &["x", "w-2.example", "w.example"]));
        assert_eq!(name(found).as_deref(), Some("w"));
        assert_eq!(found.unwrap().tenant, Tenant("w".into()));
        assert!(found.unwrap().roles.has(Role::Worker) && !found.unwrap().roles.has(Role::Operator));
        assert_eq!(file.by_certificate(&certificate([1; 32], &["W.example"])), None);
        let found = file.by_token(&Sha256::digest("s3cret").into());
        assert_eq!(name(found).as_deref(), Some("sequencer"));
        for other in ["", "s3cre", "s3crets"] {
            assert_eq!(file.by_token(&Sha256::digest(other).into()), None);
        }
        assert!(file.names_certificates());
        assert_eq!(AccessFile::default().by_token(&[0; 32]), None);
    }

    #[test]
    fn a_certificate_with_the_names_of_two_is_nobodys() {
        let text = r#"
            [[identity]]
            name = "one"
            roles = ["reader"]
            certificate_names = ["one"]
            [[identity]]
            name = "two"
            roles = ["operator"]
            certificate_names = ["two"]
        "#;
        let file = AccessFile::parse(text.as_bytes()).unwrap();
        assert_eq!(file.by_certificate(&certificate([1; 32], &["one", "two"])), None);
        assert!(file.by_certificate(&certificate([1; 32], &["one"])).is_some());
    }

    #[test]
    fn a_mistake_is_told_by_its_place_and_no_token_is_repeated() {
        let identity = |rest: &str| format!("[[identity]]\nname = \"a\"\n{rest}\n");
        let digest = "00".repeat(32);
        for (text, told) in [
            ("[[identity]]\nroles = [\"reader\"]".to_owned(), "name"),
            (identity("roles = [\"king\"]"), "line 3"),
            (identity("roles = []"), "roles: expected at least one"),
            (identity("roles = [\"reader\"]\ntokens = [\"s3cret\"]"), "tokens"),
            (
                identity("roles = [\"reader\"]\ntoken_sha256 = [\"s3cret\"]"),
                "64 hex digits",
            ),
            (
                identity("roles = [\"reader\"]\ntoken_sha256 = \"s3cret\""),
                "line 4",
            ),
            (
                identity("roles = [\"reader\"]\ntoken_sha256 = [s3cret]"),
                "line 4",
            ),
            (identity("roles = [\"reader\"]\ntenant = \"\""), "tenant"),
            (
                identity("roles = [\"reader\"]\ncertificate_names = [\"\"]"),
                "certificate_names",
            ),
            (String::new(), "no identity"),
            (identity("roles = [\"reader\"]"), "found none of them"),
            (
                identity("roles = [\"reader\"]\ncertificate_names = [\"a\"]").repeat(2),
                "twice",
            ),
            (
                identity(&format!(
                    "roles = [\"reader\"]\ntoken_sha256 = [\"{digest}\", \"{digest}\"]"
                )),
                "token_sha256: one of them",
            ),
        ] {
            let problem = AccessFile::parse(text.as_bytes()).unwrap_err();
            assert!(problem.contains(told), "{text}: {problem}");
            assert!(!problem.contains("s3cret"), "{problem}");
        }
        assert!(AccessFile::parse(&[0xff]).is_err());
    }

    #[test]
    fn fuzz_access_files() {
        let (digest, colons) = ("00".repeat(32), vec!["AB"; 32].join(":"));
        let two = format!(
            "[[identity]]\nname = \"a\"\nroles = [\"sequencer\", \"reader\"]\ntenant = \"t\"\ntoken_sha256 = [\"{digest}\"]\n\
             [[identity]]\nname = \"b\"\nroles = [\"worker\"]\ncertificate_sha256 = [\"{colons}\"]\ncertificate_names = [\"b.example\"]\n"
        );
        fuzzer::Target::new(env!("CARGO_MANIFEST_DIR"), "access-file")
            .seed("two", two)
            .word("[[identity]]\n")
            .word("= [\"\"]")
            .memory(1 << 18, 1 << 10)
            .run(|bytes| {
                let file =
                    AccessFile::read(Path::new("access.toml"), bytes).map_err(|error| error.to_string())?;
                assert!(!file.identities.is_empty());
                for identity in &file.identities {
                    for name in [&identity.principal.0, &identity.tenant.0] {
                        assert!(
                            (1..=NAME_CHARS_MAX).contains(&name.len()) && !name.contains(char::is_control)
                        );
                    }
                    assert!(Role::ALL.iter().any(|role| identity.roles.has(*role)));
                }
                Ok(())
            });
    }
}
