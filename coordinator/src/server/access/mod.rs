//! Who calls, and what that caller may do and take.
//!
//! - [`certificate`]: what a client's certificate says.
//! - [`file`]: the access file, which says whose certificates and tokens are whose.
//! - [`methods`]: which role may call what.
//! - [`quota`]: how much one caller may take of what there is for all.
//! - [`gate`]: asks the others at each call, before anything is read of it.

pub(crate) mod certificate;
pub(crate) mod file;
pub(crate) mod gate;
pub(crate) mod methods;
pub(crate) mod quota;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tonic::{
    Status,
    codegen::http::{HeaderMap, header::AUTHORIZATION},
};

use self::{certificate::Certificate, file::AccessFile};
use super::status::unauthenticated;
use crate::core::{
    id::{Principal, Tenant},
    record::BatchRecord,
    rollup::RollupRecord,
};

/// What an identity may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Hands over batches, and takes its own back.
    Sequencer,
    /// Proves.
    Worker,
    /// Does all that is not proving.
    Operator,
    /// Looks.
    Reader,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Sequencer, Self::Worker, Self::Operator, Self::Reader];

    /// As it is written in the access file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sequencer => "sequencer",
            Self::Worker => "worker",
            Self::Operator => "operator",
            Self::Reader => "reader",
        }
    }
}

/// Several roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Roles(u8);

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |all, role| all | 1 << role as u8))
    }
}

impl Roles {
    /// Whether a role is among them.
    pub(crate) fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }
}

/// Somebody who is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub principal: Principal,
    pub tenant: Tenant,
    pub roles: Roles,
}

impl Identity {
    /// Whether a batch is this caller's to take back, and to know by its request id.
    pub(crate) fn owns(&self, batch: &BatchRecord) -> bool {
        batch.tenant == self.tenant || self.roles.has(Role::Operator)
    }

    /// Whether this caller may submit batches of a rollup.
    pub(crate) fn sequences(&self, rollup: &RollupRecord) -> bool {
        let nobodys = rollup.tenant == Tenant::default();
        nobodys || rollup.tenant == self.tenant || self.roles.has(Role::Operator)
    }

    /// Whoever calls, where nobody has to prove who that is.
    fn anybody() -> Self {
        Self {
            principal: Principal::default(),
            tenant: Tenant::default(),
            roles: Role::ALL.into_iter().collect(),
        }
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub address: SocketAddr,
    /// Whether TLS is spoken.
    pub encrypted: bool,
    /// What the peer has shown, vouched for by the client CA.
    pub certificate: Option<Arc<Certificate>>,
}

/// How callers are known.
#[derive(Debug)]
pub(crate) enum Policy {
    /// They are not: everybody may do everything.
    Open,
    /// By a certificate of the client CA, by its first name; each may do everything.
    Authorities,
    /// By the access file.
    File(AccessFile),
}

/// The policy in force.
#[derive(Debug)]
pub(crate) struct Access(watch::Sender<Arc<Policy>>);

impl Access {
    pub(crate) fn new(policy: Policy) -> Self {
        Self(watch::Sender::new(Arc::new(policy)))
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.borrow())
    }

    /// Puts another policy in force, for all calls from now on, and for the streams that are open.
    pub(crate) fn replace(&self, policy: Policy) {
        self.0.send_replace(Arc::new(policy));
    }

    /// Tells of each policy that is put in force.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Policy>> {
        self.0.subscribe()
    }
}

/// What a caller has shown of itself.
#[derive(Debug, Clone)]
pub(crate) enum Shown {
    Nothing,
    /// Its digest; the token itself is not kept.
    Token([u8; 32]),
    Certificate(Arc<Certificate>),
}

impl Shown {
    /// The token of a call, or else the certificate of the connection.
    ///
    /// # Errors
    /// UNAUTHENTICATED if it is no token, or one that others could read.
    fn of(peer: &Peer, headers: &HeaderMap) -> Result<Self, Status> {
        let mut tokens = headers.get_all(AUTHORIZATION).iter();
        let Some(header) = tokens.next() else {
            let certificate = peer.certificate.clone();
            return Ok(certificate.map_or(Self::Nothing, Self::Certificate));
        };
        if tokens.next().is_some() {
            let message = "expected one authorization, found several";
            return Err(unauthenticated("TOKEN_MALFORMED", message));
        }
        if !peer.encrypted && !peer.address.ip().is_loopback() {
            let message =
                "a token came over the network unencrypted; it should be replaced, and sent with TLS";
            return Err(unauthenticated("TOKEN_IN_PLAIN_TEXT", message));
        }
        let token = header.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token)
        });
        let token = token
            .ok_or_else(|| unauthenticated("TOKEN_MALFORMED", "expected authorization: Bearer TOKEN"))?;
        Ok(Self::Token(Sha256::digest(token).into()))
    }
}

impl Policy {
    /// Whether everybody may do everything.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// The tenants that have a sequencer; none where any name may be one's.
    pub(crate) fn sequencing_tenants(&self) -> Option<BTreeSet<&str>> {
        match self {
            Self::Open | Self::Authorities => None,
            Self::File(file) => Some(file.sequencing_tenants()),
        }
    }

    /// Who has shown this; none if it is nothing, or nobody has to.
    ///
    /// # Errors
    /// UNAUTHENTICATED if it counts for nothing here.
    pub(crate) fn whose(&self, shown: &Shown) -> Result<Option<Identity>, Status> {
        let found = match (self, shown) {
            (Self::Open, _) | (_, Shown::Nothing) => return Ok(None),
            (Self::Authorities, Shown::Certificate(certificate)) => by_authority(certificate),
            (Self::File(file), Shown::Certificate(certificate)) => file.by_certificate(certificate).cloned(),
            (Self::Authorities, Shown::Token(_)) => None,
            (Self::File(file), Shown::Token(digest)) => file.by_token(digest).cloned(),
        };
        found.map(Some).ok_or_else(|| match shown {
            Shown::Certificate(certificate) => {
                let message = format!(
                    "the certificate (SHA-256 {}) is no identity's here",
                    hex::encode(certificate.fingerprint)
                );
                unauthenticated("CERTIFICATE_UNKNOWN", &message)
            }
            _ => unauthenticated("TOKEN_UNKNOWN", "the token is no identity's here"),
        })
    }

    /// Who makes a call; with what was shown.
    ///
    /// # Errors
    /// UNAUTHENTICATED if something is shown that counts for nothing here.
    fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<(Shown, Option<Identity>), Status> {
        if self.is_open() {
            return Ok((Shown::Nothing, None));
        }
        let shown = Shown::of(peer, headers)?;
        let whose = self.whose(&shown)?;
        Ok((shown, whose))
    }
}

/// The holder of a certificate, where its authority's word is enough.
fn by_authority(certificate: &Certificate) -> Option<Identity> {
    let name = certificate.names.first()?;
    Some(Identity {
        principal: Principal(name.clone()),
        tenant: Tenant(name.clone()),
        roles: Role::ALL.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tonic::Code;
    use tonic_types::StatusExt;

    use super::*;

    fn policy() -> Policy {
        let digest = hex::encode(Sha256::digest("s3cret"));
        let text = format!(
            "[[identity]]\nname = \"one\"\nroles = [\"reader\"]\ntoken_sha256 = [\"{digest}\"]\ncertificate_names = [\"one.example\"]"
        );
        Policy::File(AccessFile::read(Path::new("access.toml"), text.as_bytes()).unwrap())
    }

    fn peer(address: &str, encrypted: bool, names: Option<&[&str]>) -> Peer {
        let certificate = names.map(|names| {
            Arc::new(Certificate {
                fingerprint: [1; 32],
                names: names.iter().map(|name| (*name).into()).collect(),
            })
        });
        Peer {
            address: address.parse().unwrap(),
            encrypted,
            certificate,
        }
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    fn refused(policy: &Policy, peer: &Peer, values: &[&str]) -> String {
        let status = policy
            .identify(peer, &headers(values))
            .expect_err("it is nobody's");
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(!status.message().contains("s3cret"));
        status.get_details_error_info().expect("details").reason
    }

    #[test]
    fn a_token_counts_where_nobody_else_could_read_it() {
        let policy = policy();
        for (address, encrypted) in [("127.0.0.1:9", false), ("[::1]:9", false), ("192.0.2.1:9", true)] {
            let peer = peer(address, encrypted, None);
            for value in ["Bearer s3cret", "bearer s3cret"] {
                let known = policy.identify(&peer, &headers(&[value])).unwrap().1.unwrap();
                assert_eq!(known.principal, Principal("one".into()));
            }
            for (values, reason) in [
                (&["Bearer s3cre"][..], "TOKEN_UNKNOWN"),
                (&["Bearer  s3cret"], "TOKEN_UNKNOWN"),
                (&["s3cret"], "TOKEN_MALFORMED"),
                (&["Basic s3cret"], "TOKEN_MALFORMED"),
                (&["Bearer s3cret", "Bearer s3cret"], "TOKEN_MALFORMED"),
            ] {
                assert_eq!(refused(&policy, &peer, values), reason, "{values:?}");
            }
        }
        let remote = peer("192.0.2.1:9", false, None);
        assert_eq!(
            refused(&policy, &remote, &["Bearer s3cret"]),
            "TOKEN_IN_PLAIN_TEXT"
        );
        assert_eq!(policy.identify(&remote, &headers(&[])).unwrap().1, None);
    }

    #[test]
    fn a_certificate_is_somebodys_or_nobodys() {
        let known =
            |policy: &Policy, names| policy.identify(&peer("192.0.2.1:9", true, Some(names)), &headers(&[]));
        let one = known(&policy(), &["one.example"]).unwrap().1.unwrap();
        assert_eq!(one.principal, Principal("one".into()));
        let stranger = peer("192.0.2.1:9", true, Some(&["two.example"]));
        assert_eq!(refused(&policy(), &stranger, &[]), "CERTIFICATE_UNKNOWN");
        let any = known(&Policy::Authorities, &["two.example", "x"])
            .unwrap()
            .1
            .unwrap();
        assert_eq!(any.principal, Principal("two.example".into()));
        let nameless = peer("192.0.2.1:9", true, Some(&[]));
        assert_eq!(
            refused(&Policy::Authorities, &nameless, &[]),
            "CERTIFICATE_UNKNOWN"
        );
        assert_eq!(
            refused(&Policy::Authorities, &stranger, &["Bearer s3cret"]),
            "TOKEN_UNKNOWN"
        );
        // A token that is shown counts, whatever the certificate says.
        let both = peer("192.0.2.1:9", true, Some(&["one.example"]));
        assert_eq!(refused(&policy(), &both, &["Bearer other"]), "TOKEN_UNKNOWN");
        assert_eq!(
            Policy::Open.identify(&stranger, &headers(&["x"])).unwrap().1,
            None
        );
    }

    #[test]
    fn fuzz_authorizations() {
        let (policy, peer) = (policy(), peer("127.0.0.1:9", true, None));
        fuzzer::Target::new(env!("CARGO_MANIFEST_DIR"), "authorization")
            .seed("bearer", "Bearer s3cret")
            .word("Basic ")
            .word(" ")
            .memory(1 << 18, 64)
            .run(|bytes| {
                let mut headers = HeaderMap::new();
                let value = tonic::codegen::http::HeaderValue::from_bytes(bytes);
                headers.append(AUTHORIZATION, value.map_err(|error| error.to_string())?);
                let (_, identity) = policy.identify(&peer, &headers).map_err(|status| {
                    assert_eq!(status.code(), Code::Unauthenticated);
                    status.message().to_owned()
                })?;
                assert_eq!(
                    identity.map(|identity| identity.principal.0).as_deref(),
                    Some("one")
                );
                Ok(())
            });
    }
}
