//! Where a coordinator is, checked before anything is sent there.

use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use tonic::codegen::http::Uri;

/// `http://HOST:PORT` of a coordinator. It holds no name and no password, so it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinatorUrl(String);

/// Why something is no URL of a coordinator. None of these repeats what was given, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has no scheme or no host, or is no URL at all.
    #[error("a coordinator's URL is http://HOST:PORT, such as http://127.0.0.1:7400")]
    Malformed,
    /// TLS was asked for.
    #[error(
        "https is not spoken in this version: there is no TLS; name http://HOST:PORT of something on this machine that \
         encrypts what it passes on"
    )]
    Tls,
    /// Another scheme.
    #[error("a coordinator's URL begins with http://, not {0}://")]
    Scheme(String),
    /// A name or a password.
    #[error(
        "a coordinator's URL holds no name and no password: the coordinator asks for none in this version"
    )]
    Credentials,
    /// A path or a query.
    #[error("a coordinator's URL ends with its port: a path or a query would not be heeded")]
    Path,
}

impl CoordinatorUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CoordinatorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CoordinatorUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        // Before the scheme: whoever sent a password should know that it is not heeded.
        if authority.as_str().contains('@') {
            return Err(UrlError::Credentials);
        }
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(UrlError::Tls),
            Some(other) => return Err(UrlError::Scheme(other.into())),
            None => return Err(UrlError::Malformed),
        }
        if authority.host().is_empty() {
            return Err(UrlError::Malformed);
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(UrlError::Path);
        }
        Ok(Self(text.into()))
    }
}

/// Reads a [`CoordinatorUrl`] from the command line. clap's own message would repeat the value.
#[derive(Debug, Clone, Copy)]
pub struct CoordinatorUrlParser;

impl TypedValueParser for CoordinatorUrlParser {
    type Value = CoordinatorUrl;

    fn parse_ref(
        &self,
        command: &Command,
        _argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<CoordinatorUrl, clap::Error> {
        let url = value.to_str().ok_or(UrlError::Malformed).and_then(str::parse);
        url.map_err(|error| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")).with_cmd(command)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_or_without_a_port_is_taken_as_it_is() {
        for text in [
            "http://127.0.0.1:7400",
            "http://127.0.0.1:7400/",
            "http://[::1]:7400",
            "http://coordinator",
        ] {
            let url: CoordinatorUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn what_could_not_be_reached_or_would_be_read_otherwise_is_refused_with_its_cause() {
        for (text, error) in [
            ("", UrlError::Malformed),
            ("127.0.0.1:7400", UrlError::Malformed),
            ("coordinator", UrlError::Malformed),
            ("/socket", UrlError::Malformed),
            ("http://", UrlError::Malformed),
            ("http://:7400", UrlError::Malformed),
            ("http://a b", UrlError::Malformed),
            ("https://coordinator:7400", UrlError::Tls),
            ("ftp://coordinator", UrlError::Scheme("ftp".into())),
            ("http://coordinator:7400/v1", UrlError::Path),
            ("http://coordinator:7400?x=1", UrlError::Path),
        ] {
            assert_eq!(text.parse::<CoordinatorUrl>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn no_refusal_repeats_a_password() {
        for text in [
            "http://name:secret@coordinator:7400",
            "https://name:secret@coordinator:7400",
            "name:secret@coordinator:7400",
            "http://name:secret@coordi nator",
            "secret://name:secret@coordinator",
        ] {
            let error = text.parse::<CoordinatorUrl>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{text:?}: {error}");
        }
    }
}
