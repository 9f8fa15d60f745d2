//! The key manifest: what a deployment's keys are, by digest (P-10.7). Workers, coordinator and contract are pinned to it.

use circuits::preset::ShardParams;
use rules::digest::Digest;
use rules::witness::Shape;
use serde::{Deserialize, Serialize};

/// What a set of keys is: JSON beside the keys, and what parties compare before they work together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`rules::PROTOCOL_VERSION`] of the code that made the keys.
    pub protocol_version: u32,
    /// The preset's name.
    pub preset: String,
    /// Log2 of the shard circuit's rows.
    pub shard_k: u32,
    /// Places of a shard: `n` of P-7.1.
    pub shard_places: usize,
    /// Room for operations of the queue in a shard: `q` of P-7.1.
    pub shard_rooms: usize,
    /// Shard proofs in one aggregation: `N` of P-7.1.
    pub children: usize,
    /// True when the trapdoor of the reference string is published: anyone can forge proofs. Development only.
    pub insecure_srs: bool,
    /// Digest of the structured reference string ([`srs::SrsId`]).
    pub srs_digest: Digest,
    /// Digest of everything that fixes the shard circuit: gates, columns, fixed cells, copies.
    pub shard_circuit_digest: Digest,
    /// Digest of the shard verifying key ([`circuits::fingerprint::vk_digest`]).
    pub shard_vk_digest: Digest,
    /// Log2 of the aggregation circuit's rows.
    pub aggregation_k: u32,
    /// Digest of everything that fixes the aggregation circuit, the shard key included.
    pub aggregation_circuit_digest: Digest,
    /// Digest of the aggregation verifying key.
    pub aggregation_vk_digest: Digest,
    /// SHA-256 of the shard verifying key's file (P-11.1).
    pub shard_verifying_key_digest: Digest,
    /// SHA-256 of the aggregation verifying key's file.
    pub aggregation_verifying_key_digest: Digest,
}

impl Manifest {
    /// The shard circuit's size.
    pub fn shard(&self) -> ShardParams {
        ShardParams {
            k: self.shard_k,
            shape: Shape {
                places: self.shard_places,
                rooms: self.shard_rooms,
            },
        }
    }

    /// Operations of the queue that one root proof has room for: `N q`, which a verifier tells L1 (P-14.4).
    pub fn queue_capacity(&self) -> usize {
        self.shard_rooms.saturating_mul(self.children)
    }
}
