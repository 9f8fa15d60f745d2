//! What a client's certificate says of its holder.

use sha2::{Digest, Sha256};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

/// Most names that are looked at.
const NAMES_MAX: usize = 64;
/// Most bytes of a name.
pub(super) const NAME_BYTES_MAX: usize = 253;

/// A certificate whose key the peer holds, and that an authority of the client CA vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// SHA-256 of the DER encoding.
    pub fingerprint: [u8; 32],
    /// DNS names, URIs and mail addresses of the subject's alternative names, then the subject's common names.
    pub names: Vec<String>,
}

impl Certificate {
    /// Reads a certificate that passed the handshake. One that does not parse has no names.
    pub(crate) fn read(der: &[u8]) -> Self {
        Self {
            fingerprint: Sha256::digest(der).into(),
            names: names(der).unwrap_or_default(),
        }
    }
}

fn names(der: &[u8]) -> Option<Vec<String>> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternative = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names);
    let alternative = alternative.filter_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => Some(*name),
        _ => None,
    });
    let common = certificate.subject().iter_common_name();
    let common = common.filter_map(|attribute| attribute.as_str().ok());
    let mut names: Vec<String> = Vec::new();
    for name in alternative.chain(common).take(NAMES_MAX) {
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
        if fits && !names.iter().any(|known| known == name) {
            names.push(name.into());
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_is_known_by_its_digest_and_its_names() {
        let mut params = CertificateParams::new(vec!["worker-1.example".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "worker 1");
        params
            .subject_alt_names
            .push(SanType::URI("spiffe://example/worker-1".try_into().unwrap()));
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let certificate = Certificate::read(&der);
        assert_eq!(certificate.fingerprint, <[u8; 32]>::from(Sha256::digest(&der)));
        assert_eq!(
            certificate.names,
            ["worker-1.example", "spiffe://example/worker-1", "worker 1"]
        );
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_names() {
        for bytes in [&b""[..], b"\x30", &[0x30; 300]] {
            assert_eq!(Certificate::read(bytes).names, [""; 0]);
        }
    }

    #[test]
    fn fuzz_certificates() {
        fuzzer::Target::new(env!("CARGO_MANIFEST_DIR"), "certificate")
            .seed("small", include_bytes!("../../../fuzz/certificate/seed-small"))
            .memory(1 << 16, 64)
            .run(|bytes| {
                let names = Certificate::read(bytes).names;
                assert!(names.len() <= NAMES_MAX);
                for name in &names {
                    assert!((1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control));
                }
                if names.is_empty() {
                    Err("no names".into())
                } else {
                    Ok(())
                }
            });
    }
}
