//! Where artifacts are kept: a folder, or a bucket behind S3's interface.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use reqwest::Url;

/// Where artifacts are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Location {
    /// A folder of the store's own.
    #[default]
    Store,
    /// This folder, `file:///…`.
    Folder(PathBuf),
    /// A bucket, `s3://BUCKET/PREFIX`.
    S3(S3),
}

/// A place in a bucket, and how it is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct S3 {
    /// The bucket.
    pub bucket: String,
    /// What the names of its objects begin with, without a slash at either end; may be empty.
    pub prefix: String,
    /// The variables `AWS_…` that say the endpoint, the region and the credentials. The last of a name counts.
    pub variables: Vec<(String, String)>,
}

/// A location that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Not of a known form.
    #[error("expected s3://BUCKET/PREFIX or file:///FOLDER, found {0:?}")]
    Form(String),
    /// A variable that does not say what it is to say.
    #[error("{variable}: expected {expected}, found {found:?}")]
    Variable {
        /// Its name.
        variable: String,
        /// What it should be.
        expected: &'static str,
        /// Its value.
        found: String,
    },
    /// Credentials and artifacts would cross a network in plain text.
    #[error(
        "{variable} is {endpoint}, which is in plain text beyond loopback; use https, or allow it as insecure"
    )]
    PlainText {
        /// The variable that names the endpoint.
        variable: String,
        /// The endpoint.
        endpoint: String,
    },
}

/// Variables that name an endpoint, the one that counts first.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

impl Location {
    /// The same with the variables by which a bucket is reached.
    pub fn with_variables(self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        match self {
            Self::S3(s3) => Self::S3(S3 {
                variables: variables.into_iter().collect(),
                ..s3
            }),
            other => other,
        }
    }

    /// Checks what can be checked without asking anybody. `insecure` allows plain text beyond loopback.
    ///
    /// # Errors
    /// See [`LocationError`].
    pub fn check(&self, insecure: bool) -> Result<(), LocationError> {
        match self {
            Self::Store | Self::Folder(_) => Ok(()),
            Self::S3(s3) => s3.check(insecure),
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let form = || LocationError::Form(text.into());
        if let Some(folder) = text.strip_prefix("file://") {
            return match folder.starts_with('/') {
                true => Ok(Self::Folder(folder.into())),
                false => Err(form()),
            };
        }
        let place = text.strip_prefix("s3://").ok_or_else(form)?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_end_matches('/');
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
        let is_bucket = (3..=63).contains(&bucket.len()) && bucket.chars().all(is_name);
        let is_part = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            !part.is_empty() && part.chars().all(plain) && !part.chars().all(|c| c == '.')
        };
        if !is_bucket || !(prefix.is_empty() || prefix.split('/').all(is_part)) {
            return Err(form());
        }
        Ok(Self::S3(S3 {
            bucket: bucket.into(),
            prefix: prefix.into(),
            variables: Vec::new(),
        }))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("the store's own folder"),
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::S3(s3) => write!(f, "{s3}"),
        }
    }
}

impl S3 {
    /// What the variables make of the defaults.
    pub(super) fn builder(&self) -> AmazonS3Builder {
        let mut builder = AmazonS3Builder::new();
        for (variable, value) in &self.variables {
            if let Ok(key) = variable.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        builder.with_bucket_name(&self.bucket)
    }

    /// The endpoint, with the variable that names it; none where it is Amazon's own.
    fn endpoint(&self) -> Option<(&str, &str)> {
        let value_of = |name: &str| {
            let named = self.variables.iter().rev().find(|(variable, _)| variable == name);
            named.map(|(variable, value)| (variable.as_str(), value.as_str()))
        };
        ENDPOINTS.iter().find_map(|name| value_of(name))
    }

    fn check(&self, insecure: bool) -> Result<(), LocationError> {
        let Some((variable, endpoint)) = self.endpoint() else {
            return Ok(());
        };
        let wrong = || LocationError::Variable {
            variable: variable.into(),
            expected: "a URL, https://HOST or http://HOST",
            found: endpoint.into(),
        };
        let url: Url = endpoint.parse().map_err(|_| wrong())?;
        let host = url.host_str().ok_or_else(wrong)?;
        match url.scheme() {
            "https" => Ok(()),
            "http" if insecure || is_loopback(host) => Ok(()),
            "http" => Err(LocationError::PlainText {
                variable: variable.into(),
                endpoint: endpoint.into(),
            }),
            _ => Err(wrong()),
        }
    }

    /// Whether the endpoint speaks plain text.
    pub(super) fn is_plain_text(&self) -> bool {
        self.endpoint()
            .is_some_and(|(_, endpoint)| endpoint.starts_with("http://"))
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix.as_str() {
            "" => write!(f, "s3://{}", self.bucket),
            prefix => write!(f, "s3://{}/{prefix}", self.bucket),
        }
    }
}

/// Without what the variables say: a secret is among them.
impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(variables: &[(&str, &str)]) -> Location {
        let location: Location = "s3://bucket/a/b".parse().expect("it is one");
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        location.with_variables(variables.iter().map(owned))
    }

    #[test]
    fn locations_read_as_they_are_written() {
        for text in ["s3://bucket", "s3://my-bucket.x/a/B_1", "file:///var/objects"] {
            assert_eq!(text.parse::<Location>().expect(text).to_string(), text);
        }
        let slash = "s3://bucket/a/"
            .parse::<Location>()
            .expect("a slash at its end is none");
        assert_eq!(slash.to_string(), "s3://bucket/a");
        let others = [
            "",
            "bucket",
            "/var/objects",
            "file://var/objects",
            "http://bucket",
            "s3://",
            "s3://b",
            "s3://Bucket/a",
            "s3://bucket//a",
            "s3://bucket/../a",
            "s3://bucket/a b",
            "s3://bucket/a?b=c",
            "s3://user:secret@bucket/a",
        ];
        for text in others {
            assert_eq!(text.parse::<Location>(), Err(LocationError::Form(text.into())));
        }
    }

    #[test]
    fn plain_text_is_for_loopback_alone_unless_it_is_allowed() {
        for endpoint in [
            "https://s3.example",
            "http://127.0.0.1:9000",
            "http://localhost:9000",
            "http://[::1]:9000",
        ] {
            let location = s3(&[("AWS_ENDPOINT_URL", endpoint)]);
            assert_eq!(location.check(false), Ok(()), "{endpoint}");
        }
        assert_eq!(s3(&[]).check(false), Ok(()), "Amazon's own");
        for variable in ENDPOINTS {
            let location = s3(&[(variable, "http://s3.example:9000")]);
            let refused = location
                .check(false)
                .expect_err("it is in plain text")
                .to_string();
            assert!(
                refused.contains(variable) && refused.contains("http://s3.example:9000"),
                "{refused}"
            );
            assert_eq!(location.check(true), Ok(()));
        }
        // The one that counts.
        let both = s3(&[
            ("AWS_ENDPOINT_URL", "https://s3.example"),
            ("AWS_ENDPOINT_URL_S3", "http://s3.example"),
        ]);
        assert!(both.check(false).is_err());
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_named() {
        for endpoint in ["s3.example:9000", "ftp://s3.example", "http://", "nothing"] {
            let refused = s3(&[("AWS_ENDPOINT_URL", endpoint)]).check(true);
            let text = refused.expect_err(endpoint).to_string();
            assert!(
                text.contains("AWS_ENDPOINT_URL") && text.contains(endpoint),
                "{text}"
            );
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let location = s3(&[("AWS_SECRET_ACCESS_KEY", "hidden")]);
        assert!(!format!("{location:?} {location}").contains("hidden"));
    }
}
