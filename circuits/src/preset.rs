//! Presets: the sizes that a deployment fixes. All keys, and the contract's verifier, belong to one preset.

use serde::Serialize;

/// Size of the shard circuit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct ShardParams {
    /// Log2 of the circuit's rows.
    pub k: u32,
    /// Operations per shard, a multiple of 5 (P-7.1).
    pub capacity: usize,
}

/// The sizes of one deployment: a shard circuit and the aggregation circuit above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Preset {
    /// The name under which [`Preset::by_name`] finds it.
    pub name: &'static str,
    /// The shard circuit's size.
    pub shard: ShardParams,
    /// Shard proofs in one aggregation: `N` of P-8.1.
    pub children: usize,
    /// Log2 of the aggregation circuit's rows. Its number of columns follows from its cells.
    pub aggregation_k: u32,
    /// Log2 of the aggregation's range table; below `aggregation_k`.
    pub lookup_bits: usize,
}

/// For tests: the smallest shard there is, and one child.
pub const TINY: Preset = Preset {
    name: "tiny",
    shard: ShardParams { k: 15, capacity: 5 },
    children: 1,
    aggregation_k: 20,
    lookup_bits: 19,
};

/// For two CPU cores and continuous integration.
///
/// A child costs the aggregation 4.47 million cells, so two fill 5 advice columns and 1 lookup column of `2^21` rows: the
/// verifier contract has 20,959 bytes. `k = 20` would prove faster, but its 9 + 1 columns make a contract of 26,047
/// bytes, above the limit of 24,576 (EIP-170).
pub const CI: Preset = Preset {
    name: "ci",
    shard: ShardParams { k: 17, capacity: 25 },
    children: 2,
    aggregation_k: 21,
    lookup_bits: 20,
};

/// For one large GPU. These sizes are computed, not run: with a table of `2^22` a child costs 4.25 million cells, so 13
/// fill 7 advice columns, the most that still leaves the verifier contract below its limit.
pub const GPU: Preset = Preset {
    name: "gpu",
    shard: ShardParams { k: 20, capacity: 230 },
    children: 13,
    aggregation_k: 23,
    lookup_bits: 22,
};

/// Every preset.
pub const ALL: [Preset; 3] = [TINY, CI, GPU];

impl Preset {
    /// The preset of that name, if there is one. [`ALL`] lists them.
    pub fn by_name(name: &str) -> Option<Self> {
        ALL.into_iter().find(|preset| preset.name == name)
    }

    /// Operations that one aggregation, so one root proof, can hold.
    pub fn operations_max(&self) -> usize {
        self.shard.capacity * self.children
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::ShardCircuit;

    #[test]
    fn presets_are_found_by_name_and_are_well_formed() {
        for preset in ALL {
            assert_eq!(Preset::by_name(preset.name), Some(preset));
            assert_eq!(preset.shard.capacity % 5, 0, "P-7.1");
            assert!(preset.children > 0);
            assert!(preset.lookup_bits < preset.aggregation_k as usize);
        }
        assert_eq!(Preset::by_name("CI"), None);
    }

    #[test]
    fn the_operations_of_every_preset_fit_its_shard() {
        for preset in ALL {
            ShardCircuit::new(preset.shard, None).unwrap();
        }
    }
}
