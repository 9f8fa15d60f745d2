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
    /// Log2 of the aggregation circuit's rows: the fewest that hold its cells.
    pub aggregation_k: u32,
}

/// For tests: the smallest shard there is, and one child.
pub const TINY: Preset = Preset {
    name: "tiny",
    shard: ShardParams { k: 15, capacity: 5 },
    children: 1,
    aggregation_k: 19,
};

/// For two CPU cores and continuous integration.
pub const CI: Preset = Preset {
    name: "ci",
    shard: ShardParams { k: 17, capacity: 25 },
    children: 2,
    aggregation_k: 19,
};

/// For a server of 8 to 32 cores and 64 GB.
pub const SERVER: Preset = Preset {
    name: "server",
    shard: ShardParams { k: 19, capacity: 110 },
    children: 5,
    aggregation_k: 20,
};

/// For one large GPU. These sizes are computed, not run.
pub const GPU: Preset = Preset {
    name: "gpu",
    shard: ShardParams { k: 20, capacity: 230 },
    children: 13,
    aggregation_k: 22,
};

/// Every preset.
pub const ALL: [Preset; 4] = [TINY, CI, SERVER, GPU];

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

    #[test]
    fn presets_are_found_by_name_and_are_well_formed() {
        for preset in ALL {
            assert_eq!(Preset::by_name(preset.name), Some(preset));
            assert_eq!(preset.shard.capacity % 5, 0, "P-7.1");
            assert!(preset.children > 0);
        }
        assert_eq!(Preset::by_name("CI"), None);
    }
}
