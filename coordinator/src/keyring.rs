//! The circuits that a coordinator serves: the current ones, which new batches get, and earlier ones, whose batches are proven to
//! their end.

use std::sync::Arc;

use circuits::{keys::KeyStore, manifest::Manifest, preset::Preset};

use crate::{
    core::id::KeyId,
    verifier::{KeyVerifier, Verifier},
};

/// The keys of a coordinator. Only their verifying keys are read.
#[derive(Debug, Clone)]
pub struct Keys {
    /// What new batches are proven with.
    pub current: Arc<KeyStore>,
    /// What batches that were accepted before may still be proven with.
    pub previous: Vec<Arc<KeyStore>>,
}

impl From<Arc<KeyStore>> for Keys {
    fn from(current: Arc<KeyStore>) -> Self {
        Self {
            current,
            previous: Vec::new(),
        }
    }
}

/// A set of circuits and what judges its proofs.
pub(crate) struct Circuits {
    pub preset: Preset,
    pub manifest: Manifest,
    pub verifier: Box<dyn Verifier>,
}

impl Circuits {
    /// How batches and workers name it.
    pub(crate) fn id(&self) -> KeyId {
        KeyId {
            shard_vk: self.manifest.shard_vk_digest.0,
            aggregation_vk: self.manifest.aggregation_vk_digest.0,
        }
    }
}

/// All that are served.
pub(crate) struct Keyring {
    pub current: Circuits,
    pub previous: Vec<Circuits>,
}

impl Keyring {
    /// The current ones first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Circuits> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Those of that name.
    pub(crate) fn get(&self, id: KeyId) -> Option<&Circuits> {
        self.all().find(|circuits| circuits.id() == id)
    }
}

impl From<Keys> for Keyring {
    fn from(keys: Keys) -> Self {
        let circuits = |keys: Arc<KeyStore>| Circuits {
            preset: *keys.preset(),
            manifest: keys.manifest().clone(),
            verifier: Box::new(KeyVerifier(keys)),
        };
        Self {
            current: circuits(keys.current),
            previous: keys.previous.into_iter().map(circuits).collect(),
        }
    }
}
