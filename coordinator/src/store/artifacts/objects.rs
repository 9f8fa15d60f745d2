//! What a back end does: objects under names, each whole or absent.

use std::{fmt, time::Duration};

use super::super::StoreError;

/// What is found under a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// As many bytes as were asked for.
    Bytes(Vec<u8>),
    /// Nothing.
    Missing,
    /// Something of another length.
    Changed,
    /// Something that does not read, and why.
    Unreadable(String),
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub name: String,
    pub bytes: u64,
    /// How long ago it was put, by this machine's clock: nothing that must hold depends on it.
    pub age: Duration,
}

/// A place where objects are kept. Calls block, and end: each request has a longest time.
pub(super) trait Objects: fmt::Debug + Send + Sync {
    /// Puts objects, in the place of those of the same names. When this returns, they survive a loss of power. Where it fails, each
    /// is there, or as it was.
    fn put(&self, objects: &[(String, &[u8])]) -> Result<(), StoreError>;

    /// Reads an object that should have so many bytes.
    fn read(&self, name: &str, bytes: u64) -> Result<Found, StoreError>;

    /// Shows all objects there are.
    fn list(&self, show: &mut (dyn FnMut(Listed) + Send)) -> Result<(), StoreError>;

    /// Deletes objects, as far as they are there.
    fn delete(&self, names: &[String]) -> Result<(), StoreError>;

    /// Where an object lies, for people.
    fn location(&self, name: &str) -> String;
}
