//! What is wrong with a connection that no waiting mends, and the remedy.

use std::io;

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error,
    pki_types::{DnsName, ServerName},
};

/// Why a connection cannot come about until somebody changes something. Each says what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nobody who is trusted vouches for the coordinator.
    #[error(
        "its certificate is of an authority that is not trusted here: name that authority's certificate with --tls-ca"
    )]
    UnknownAuthority,
    /// The coordinator's certificate has expired.
    #[error(
        "its certificate has expired: the coordinator's has to be renewed, or this machine's clock set right"
    )]
    Expired,
    /// The coordinator's certificate is of the future.
    #[error("its certificate is not valid yet: is this machine's clock right?")]
    NotYetValid,
    /// The coordinator's certificate has other names.
    #[error("its certificate is not for {host}: {names}")]
    OtherName {
        /// What the URL says.
        host: String,
        /// What the certificate says, as the remedy.
        names: String,
    },
    /// Something else is wrong with the coordinator's certificate.
    #[error("its certificate is not taken: {0}")]
    Certificate(String),
    /// TLS, where plain text was spoken.
    #[error("TLS is spoken there: the URL has to begin with https://")]
    SpeaksTls,
    /// Anything else, where TLS was spoken.
    #[error(
        "no TLS is spoken there: the URL has to begin with http://, or the coordinator to be started with --tls-cert"
    )]
    SpeaksNoTls,
    /// Another protocol than a coordinator's.
    #[error("HTTP/2 is not spoken there: is it the coordinator's port?")]
    NoHttp2,
    /// Other versions or ciphers of TLS.
    #[error("no version or cipher of TLS is known to both ends; versions 1.2 and 1.3 are spoken here")]
    NothingInCommon,
    /// The coordinator wants a certificate, and the client has none.
    #[error("it wants a client's certificate: name it with --tls-cert and --tls-key")]
    CertificateWanted,
    /// The coordinator does not take the client's certificate.
    #[error("it does not take the certificate of --tls-cert: {0}")]
    CertificateRefused(&'static str),
}

impl Fault {
    /// The fault that an error of TLS tells of; none if it may pass, as a connection that is lost does.
    pub(super) fn of(error: &io::Error, host: &ServerName<'_>) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error, host),
            Error::AlertReceived(alert) => return Self::of_alert(*alert),
            // The first bytes that came are no record of TLS.
            Error::InvalidMessage(_) => Self::SpeaksNoTls,
            Error::NoApplicationProtocol => Self::NoHttp2,
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            _ => return None,
        })
    }

    fn of_certificate(error: &CertificateError, host: &ServerName<'_>) -> Self {
        match error {
            // The second is of an authority that has the name of one that is trusted, and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName => Self::other_name(host, &[]),
            CertificateError::NotValidForNameContext { presented, .. } => Self::other_name(host, presented),
            other => Self::Certificate(other.to_string()),
        }
    }

    fn other_name(host: &ServerName<'_>, presented: &[String]) -> Self {
        let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
        let names = match names.is_empty() {
            true => "the coordinator needs one with that name".to_owned(),
            false => format!(
                "the URL has to name {}, or the coordinator needs another",
                names.join(" or ")
            ),
        };
        Self::OtherName {
            host: host.to_str().into_owned(),
            names,
        }
    }

    /// What the other end says of this one before it leaves.
    fn of_alert(alert: AlertDescription) -> Option<Self> {
        use AlertDescription as Alert;
        Some(match alert {
            Alert::CertificateRequired | Alert::NoCertificate => Self::CertificateWanted,
            Alert::UnknownCA => {
                Self::CertificateRefused("its authority is none of the coordinator's --tls-client-ca")
            }
            Alert::CertificateExpired => {
                Self::CertificateRefused("it has expired and has to be renewed, or a clock is wrong")
            }
            Alert::CertificateRevoked => Self::CertificateRefused("it was revoked; another is needed"),
            Alert::CertificateUnknown
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::AccessDenied => Self::CertificateRefused(
                "it is damaged, not made for clients, or of an authority without a revocation list",
            ),
            Alert::DecryptError => Self::CertificateRefused(
                "its authority is none of the coordinator's --tls-client-ca, or has the name of one",
            ),
            Alert::ProtocolVersion | Alert::HandshakeFailure | Alert::InsufficientSecurity => {
                Self::NothingInCommon
            }
            Alert::NoApplicationProtocol => Self::NoHttp2,
            _ => return None,
        })
    }

    /// The fault that the first bytes of an answer in plain text tell of.
    pub(super) fn of_beginning(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // A record of TLS, an alert or of the handshake. HTTP/2 begins with a frame of settings, which is not as long.
            [0x15 | 0x16, 0x03, ..] => Some(Self::SpeaksTls),
            [b'H', b'T', b'T', b'P', b'/', ..] => Some(Self::NoHttp2),
            _ => None,
        }
    }
}

/// `DnsName("a.example")`, as rustls lists names, without the kind.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    let inner = inner.unwrap_or(name).trim_matches('"');
    if DnsName::try_from(inner).is_ok() {
        inner
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(error: Error) -> Option<Fault> {
        Fault::of(
            &io::Error::other(error),
            &ServerName::try_from("coordinator").unwrap(),
        )
    }

    #[test]
    fn what_may_pass_is_no_fault() {
        for error in [
            Error::HandshakeNotComplete,
            Error::AlertReceived(AlertDescription::InternalError),
            Error::AlertReceived(AlertDescription::CloseNotify),
        ] {
            assert_eq!(fault(error), None);
        }
        let lost = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(Fault::of(&lost, &ServerName::try_from("a").unwrap()), None);
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        for beginning in [&[][..], &[0x15], &settings, b"HTT"] {
            assert_eq!(Fault::of_beginning(beginning), None);
        }
    }

    #[test]
    fn what_each_end_says_of_the_other_is_told_apart() {
        use AlertDescription as Alert;
        assert_eq!(
            fault(Error::AlertReceived(Alert::CertificateRequired)),
            Some(Fault::CertificateWanted)
        );
        for (alert, part) in [
            (Alert::UnknownCA, "--tls-client-ca"),
            (Alert::DecryptError, "--tls-client-ca"),
            (Alert::CertificateExpired, "expired"),
            (Alert::CertificateRevoked, "revoked"),
            (Alert::BadCertificate, "damaged"),
        ] {
            let told = fault(Error::AlertReceived(alert)).unwrap().to_string();
            assert!(told.contains(part) && told.contains("--tls-cert"), "{told}");
        }
        assert_eq!(
            fault(Error::InvalidCertificate(CertificateError::BadSignature)),
            Some(Fault::UnknownAuthority)
        );
        assert_eq!(
            fault(Error::InvalidCertificate(CertificateError::NotValidYet)),
            Some(Fault::NotYetValid)
        );
        assert_eq!(
            fault(Error::AlertReceived(Alert::ProtocolVersion)),
            Some(Fault::NothingInCommon)
        );
        let presented = vec!["DnsName(\"a.example\")".to_owned()];
        let other = Fault::other_name(&ServerName::try_from("b.example").unwrap(), &presented);
        let told = other.to_string();
        assert!(
            told.contains("not for b.example") && told.contains("name a.example,"),
            "{told}"
        );
        assert_eq!(Fault::of_beginning(&[0x15, 3, 3, 0, 2]), Some(Fault::SpeaksTls));
        assert_eq!(Fault::of_beginning(b"HTTP/1.1 400"), Some(Fault::NoHttp2));
    }
}
