//! What a shard proof is made from: its groups, in them what stands before and in their places, and its running states (section 7).

use crate::account::{Account, AccountIndex};
use crate::encoding;
use crate::format::{Format, FormatError};
use crate::operation::Signed;
use crate::record::Record;
use crate::stream::GROUP_WORDS;
use crate::tree::{self, Path};
use halo2curves::bn256::Fr;
use serde::{Deserialize, Serialize};

/// Version of [`ShardInput`]'s encoding.
pub const SHARD_INPUT_VERSION: u8 = 2;
/// Places that one shard may have.
pub const SHARD_PLACES_MAX: usize = 1 << 16;
/// Accesses of a place.
pub const PLACE_ACCESSES: usize = 3;
/// The access of a transfer's and a withdrawal's sender, or of a creation's new account.
pub const SENDER: usize = 0;
/// The access of a transfer's receiver; idle in a withdrawal and a creation.
pub const RECEIVER: usize = 1;
/// The access of the fee account, which a creation leaves as it is.
pub const FEE: usize = 2;

/// Bytes that an encoded access has at least: its path.
const ACCESS_BYTES_MIN: usize = tree::DEPTH * (tree::ARITY - 1) * 32;
/// Bytes that an encoded group has at most: 16 accesses of a path and two accounts of fewer than 160 bytes, six operations or records
/// of fewer than 320.
const GROUP_BYTES_MAX: usize = (GROUP_WORDS * PLACE_ACCESSES + 1) * (ACCESS_BYTES_MIN + 320) + 6 * 320;

/// A running state (P-7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningState {
    /// The state tree's root.
    #[serde(with = "encoding::field_element")]
    pub root: Fr,
    /// Commitment to stream A.
    #[serde(with = "encoding::field_element")]
    pub c_a: Fr,
    /// Evaluation of stream A.
    #[serde(with = "encoding::field_element")]
    pub y_a: Fr,
    /// Power of `x` that stream A's next element has.
    #[serde(with = "encoding::field_element")]
    pub p_a: Fr,
    /// Commitment to stream B.
    #[serde(with = "encoding::field_element")]
    pub c_b: Fr,
    /// Evaluation of stream B.
    #[serde(with = "encoding::field_element")]
    pub y_b: Fr,
    /// Power of `x` that stream B's next element has.
    #[serde(with = "encoding::field_element")]
    pub p_b: Fr,
}

impl RunningState {
    /// The first shard's running state before (P-8.2).
    pub fn initial(root: Fr) -> Self {
        let (zero, one) = (Fr::zero(), Fr::one());
        Self {
            root,
            c_a: zero,
            y_a: zero,
            p_a: one,
            c_b: zero,
            y_b: zero,
            p_b: one,
        }
    }

    /// In the order of P-7.2.
    pub fn to_array(&self) -> [Fr; 7] {
        [
            self.root, self.c_a, self.y_a, self.p_a, self.c_b, self.y_b, self.p_b,
        ]
    }
}

/// What a shard has room for (P-7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// `n`, a multiple of 5.
    pub places: usize,
    /// `q`: so many of the first groups have room for an operation of the queue before them.
    pub rooms: usize,
}

impl Shape {
    /// Groups of five places.
    pub fn groups(&self) -> usize {
        self.places / GROUP_WORDS
    }
}

/// One access to one leaf: who it is, what it was and becomes, and the path of that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Where. Index 0 in an idle access.
    pub index: AccountIndex,
    /// The account that is read; none where the leaf is 0.
    pub before: Option<Account>,
    /// The account that is written; none where the leaf stays 0.
    pub after: Option<Account>,
    /// Siblings of the index, level 0 first, as in [`tree::Tree::path`]. The access changes none of them.
    #[serde(with = "tree::path_bytes")]
    pub path: Path,
}

impl Access {
    /// An access that an operation does not use: index 0, empty before and after (P-7.6). `path` is index 0's at that moment.
    pub fn idle(path: &Path) -> Self {
        Self {
            index: AccountIndex::NONE,
            before: None,
            after: None,
            path: *path,
        }
    }

    /// The root before.
    pub fn root_before(&self) -> Fr {
        tree::root_of(self.index, leaf(self.before.as_ref()), &self.path)
    }

    /// The root after.
    pub fn root_after(&self) -> Fr {
        tree::root_of(self.index, leaf(self.after.as_ref()), &self.path)
    }
}

/// The leaf of an account, or 0 (P-3.2).
pub fn leaf(account: Option<&Account>) -> Fr {
    account.map_or(Fr::zero(), Account::leaf)
}

/// What stands in a place, and its accesses in sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceWitness {
    /// The operation.
    pub operation: Signed,
    /// [`SENDER`], [`RECEIVER`], [`FEE`].
    pub accesses: [Access; PLACE_ACCESSES],
}

impl PlaceWitness {
    /// A no-op. `path` is index 0's at that moment.
    pub fn no_op(path: &Path) -> Self {
        Self {
            operation: Signed::NoOp,
            accesses: std::array::from_fn(|_| Access::idle(path)),
        }
    }

    /// The record of a withdrawal or a creation (P-6.6); none of what has none, or of a withdrawal from no account.
    pub fn record(&self) -> Option<Record> {
        match &self.operation {
            Signed::NoOp | Signed::Transfer(_) => None,
            Signed::Withdrawal(signed) => {
                let account = self.accesses[SENDER].before.as_ref()?;
                Some(signed.withdrawal.record(account))
            }
            Signed::Creation(signed) => Some(signed.creation.record()),
        }
    }
}

/// The room for an operation of the queue before a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomWitness {
    /// The record as it is posted, with its code and the amount of a forced exit; none in an idle room.
    pub record: Option<Record>,
    /// The access to the record's index; idle in an idle room.
    pub access: Access,
}

impl RoomWitness {
    /// A room that is not used. `path` is index 0's at that moment.
    pub fn idle(path: &Path) -> Self {
        Self {
            record: None,
            access: Access::idle(path),
        }
    }
}

/// A group (P-6.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupWitness {
    /// What stands before the group's places; none where the shard's shape has no room.
    pub room: Option<RoomWitness>,
    /// Its places.
    pub places: [PlaceWitness; GROUP_WORDS],
}

impl GroupWitness {
    /// The words of the places.
    pub fn words(&self) -> [u128; GROUP_WORDS] {
        std::array::from_fn(|place| self.places[place].operation.word().to_integer())
    }

    /// Whether an operation of the queue stands before the group: `q_g`.
    pub fn flag(&self) -> bool {
        self.room.as_ref().is_some_and(|room| room.record.is_some())
    }

    /// The records, in order (P-6.7).
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let room = self.room.as_ref().and_then(|room| room.record);
        room.into_iter()
            .chain(self.places.iter().filter_map(PlaceWitness::record))
    }
}

/// Everything that one shard's proof is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardInput {
    /// `RollupId::to_fr`.
    #[serde(with = "encoding::field_element")]
    pub rollup_id: Fr,
    /// The batch's time `T`, Unix seconds.
    pub time: u64,
    /// Where the streams are evaluated.
    #[serde(with = "encoding::field_element")]
    pub x: Fr,
    /// The running state before.
    pub before: RunningState,
    /// The running state after.
    pub after: RunningState,
    /// As many as the shard's shape has.
    pub groups: Vec<GroupWitness>,
}

const FORMAT: Format = Format {
    name: "shard input",
    version: SHARD_INPUT_VERSION,
    bytes_max: 1024 + SHARD_PLACES_MAX / GROUP_WORDS * GROUP_BYTES_MAX,
};

impl ShardInput {
    /// The shape that the groups have; none where a group has room and one before it has none.
    pub fn shape(&self) -> Option<Shape> {
        let has_room = |group: &GroupWitness| group.room.is_some();
        let rooms = self.groups.iter().take_while(|group| has_room(group)).count();
        let shape = Shape {
            places: self.groups.len() * GROUP_WORDS,
            rooms,
        };
        (!self.groups[rooms..].iter().any(has_room)).then_some(shape)
    }

    /// The 17 instances of the shard's proof (P-7.3).
    pub fn instances(&self) -> Vec<Fr> {
        let head = [self.rollup_id, Fr::from(self.time), self.x];
        head.into_iter()
            .chain(self.before.to_array())
            .chain(self.after.to_array())
            .collect()
    }

    /// The version's byte, then postcard.
    pub fn to_bytes(&self) -> Vec<u8> {
        FORMAT.encode(self, 1024 + self.groups.len() * GROUP_BYTES_MAX)
    }

    /// Reads [`ShardInput::to_bytes`].
    ///
    /// # Errors
    /// Anything else. Values are checked to be in range, not to be a valid witness: the circuit does that.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        FORMAT.decode(bytes)
    }
}
