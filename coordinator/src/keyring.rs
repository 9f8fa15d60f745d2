//! The circuits that a coordinator serves: the current ones, which new batches get, and earlier ones, whose batches are proven to
//! their end.

use std::sync::Arc;

use circuits::preset::Preset;
use keys::{VerifyingKeys, manifest::Manifest};
use rules::PROTOCOL_VERSION;

use crate::{
    core::id::KeyId,
    verifier::{KeyVerifier, Verifier},
};

/// The keys of a coordinator.
#[derive(Debug, Clone)]
pub struct Keys {
    /// What new batches are proven with: those of a preset of this program.
    pub current: Arc<VerifyingKeys>,
    /// What batches that were accepted before may still be proven with. Their circuits may be any that prove the statement of this
    /// version of the protocol, at any size: nothing of them is needed but these keys.
    pub previous: Vec<Arc<VerifyingKeys>>,
}

/// Why keys cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The current keys are of no preset of this program, so that it cannot cut batches for them.
    #[error(
        "the keys are of preset {preset:?} ({shards} shards of {places} places and {rooms} rooms), which this program does not have"
    )]
    Preset {
        /// The preset's name.
        preset: String,
        /// Its shards.
        shards: usize,
        /// Places of each.
        places: usize,
        /// Operations of the queue that each has room for.
        rooms: usize,
    },
    /// Keys prove the statement of another version of the protocol.
    #[error("keys of preset {preset:?} are of protocol version {found}, expected {PROTOCOL_VERSION}")]
    Protocol {
        /// The preset's name.
        preset: String,
        /// The version.
        found: u32,
    },
}

impl From<Arc<VerifyingKeys>> for Keys {
    fn from(current: Arc<VerifyingKeys>) -> Self {
        Self {
            current,
            previous: Vec::new(),
        }
    }
}

/// A set of circuits and what judges its proofs.
pub(crate) struct Circuits {
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

    fn new(keys: Arc<VerifyingKeys>) -> Result<Self, KeysError> {
        let manifest = keys.manifest().clone();
        if manifest.protocol_version != PROTOCOL_VERSION {
            return Err(KeysError::Protocol {
                preset: manifest.preset,
                found: manifest.protocol_version,
            });
        }
        Ok(Self {
            manifest,
            verifier: Box::new(KeyVerifier(keys)),
        })
    }
}

/// All that are served.
pub(crate) struct Keyring {
    /// The sizes of the current ones: batches are cut by them.
    pub preset: Preset,
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

impl TryFrom<Keys> for Keyring {
    type Error = KeysError;

    fn try_from(keys: Keys) -> Result<Self, KeysError> {
        let current = Circuits::new(keys.current)?;
        let manifest = &current.manifest;
        let ours = |preset: &Preset| (preset.shard, preset.children) == (manifest.shard(), manifest.children);
        let preset = Preset::by_name(&manifest.preset)
            .filter(ours)
            .ok_or_else(|| KeysError::Preset {
                preset: manifest.preset.clone(),
                shards: manifest.children,
                places: manifest.shard_places,
                rooms: manifest.shard_rooms,
            })?;
        let previous = keys.previous.into_iter().map(Circuits::new);
        Ok(Self {
            preset,
            current,
            previous: previous.collect::<Result<_, _>>()?,
        })
    }
}
