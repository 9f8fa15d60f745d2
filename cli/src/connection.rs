//! How the command line says which coordinator, and which L1, to speak with.

use std::error::Error;
use std::ffi::OsStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use proto::connection::{ConnectError, Connector, CoordinatorUrl, Credentials, UrlError};
use telemetry::traces::{Endpoint, EndpointError};
use verifier_contracts::l1;

use crate::args::CredentialArgs;
use crate::environment;

/// Reads a [`CoordinatorUrl`] from the command line. clap's own message would repeat the value.
#[derive(Debug, Clone, Copy)]
pub struct CoordinatorUrlParser;

impl TypedValueParser for CoordinatorUrlParser {
    type Value = CoordinatorUrl;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<CoordinatorUrl, clap::Error> {
        let url = value.to_str().ok_or(UrlError::Malformed).and_then(str::parse);
        url.map_err(|error| refused(&error, command, argument, value))
    }
}

/// Reads the address of an L1 endpoint from the command line, likewise.
#[derive(Debug, Clone, Copy)]
pub struct L1UrlParser;

impl TypedValueParser for L1UrlParser {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        let url = value.to_str().unwrap_or_default();
        let checked = l1::endpoint(url).map(|_| url.to_owned());
        checked.map_err(|error| refused(&error, command, argument, value))
    }
}

/// Reads the address of a collector of traces from the command line, likewise.
#[derive(Debug, Clone, Copy)]
pub struct EndpointParser;

impl TypedValueParser for EndpointParser {
    type Value = Endpoint;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Endpoint, clap::Error> {
        let endpoint = value.to_str().ok_or(EndpointError::Form).and_then(str::parse);
        endpoint.map_err(|error| refused(&error, command, argument, value))
    }
}

/// What is wrong, behind the variable that the value is from, if it is from one.
fn refused(error: &dyn Error, command: &Command, argument: Option<&Arg>, value: &OsStr) -> clap::Error {
    let variable = argument.and_then(|argument| environment::source(argument, value));
    let variable = variable.map(|name| format!("{name}: ")).unwrap_or_default();
    clap::Error::raw(ErrorKind::ValueValidation, format!("{variable}{error}\n")).with_cmd(command)
}

impl CredentialArgs {
    /// The coordinator at one of `urls` that leads, with what these arguments name.
    ///
    /// # Errors
    /// When it is known that no connection can come about, before one is tried.
    pub fn connector(&self, urls: &[CoordinatorUrl]) -> Result<Connector, ConnectError> {
        let credentials = Credentials {
            ca: self.tls_ca.clone(),
            identity: self.tls_cert.clone().zip(self.tls_key.clone()),
            token: self.token_file.clone(),
        };
        Connector::any(urls.to_vec(), credentials)
    }
}
