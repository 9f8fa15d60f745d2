//! Presets: the sizes that a deployment fixes. All keys, and the contract's verifier, belong to one preset.

use rules::witness::Shape;
use serde::Serialize;

/// Size of the shard circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ShardParams {
    /// Log2 of the circuit's rows.
    pub k: u32,
    /// What a shard has room for: `n` and `q` of P-7.1.
    pub shape: Shape,
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
    shard: ShardParams {
        k: 15,
        shape: Shape { places: 5, rooms: 1 },
    },
    children: 1,
    aggregation_k: 19,
};

/// For two CPU cores and continuous integration.
pub const CI: Preset = Preset {
    name: "ci",
    shard: ShardParams {
        k: 17,
        shape: Shape { places: 25, rooms: 5 },
    },
    children: 2,
    aggregation_k: 19,
};

/// For a server of 8 to 32 cores and 64 GB.
pub const SERVER: Preset = Preset {
    name: "server",
    shard: ShardParams {
        k: 19,
        shape: Shape {
            places: 110,
            rooms: 11,
        },
    },
    children: 5,
    aggregation_k: 20,
};

/// For one large GPU. These sizes are computed, not run.
pub const GPU: Preset = Preset {
    name: "gpu",
    shard: ShardParams {
        k: 20,
        shape: Shape {
            places: 225,
            rooms: 15,
        },
    },
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

    /// Places for signed operations that one aggregation, so one root proof, has.
    pub fn places_max(&self) -> usize {
        self.shard.shape.places * self.children
    }

    /// Operations of the queue that one aggregation has room for: `N q` of P-7.1.
    pub fn queue_capacity(&self) -> usize {
        self.shard.shape.rooms * self.children
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_name_and_are_well_formed() {
        for preset in ALL {
            assert_eq!(Preset::by_name(preset.name), Some(preset));
            assert_eq!(preset.shard.shape.check(), Ok(preset.shard.shape));
            assert!(preset.children > 0);
        }
        assert_eq!(Preset::by_name("CI"), None);
    }

    /// P-16.2.
    #[test]
    fn presets_have_the_room_of_the_text() {
        let sizes = ALL.map(|preset| (preset.places_max(), preset.queue_capacity()));
        assert_eq!(sizes, [(5, 1), (50, 10), (550, 55), (2_925, 195)]);
    }
}
