//! What a shard proof is made from: the steps of its operations and its running states (section 7).

use crate::account::{Account, AccountIndex};
use crate::encoding;
use crate::format::{Format, FormatError};
use crate::operation::{RollupId, SignedTransfer, dummy_account};
use crate::tree::{self, Path};
use halo2curves::bn256::Fr;
use serde::{Deserialize, Serialize};

/// Version of [`ShardInput`]'s encoding.
pub const SHARD_INPUT_VERSION: u8 = 1;
/// Operations that one shard may have.
pub const SHARD_STEPS_MAX: usize = 1 << 16;
/// Bytes that an encoded step has at least: three paths.
const STEP_BYTES_MIN: usize = 3 * tree::DEPTH * (tree::ARITY - 1) * 32;

/// One update of one leaf: who it is, what it was and becomes, and the path of that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafUpdate {
    /// Where.
    pub index: AccountIndex,
    /// The account that is read. In a no-op its leaf counts as 0.
    pub before: Account,
    /// The account that is written. In a no-op its leaf counts as 0.
    pub after: Account,
    /// Siblings of the index, level 0 first, as in [`tree::Tree::path`]. The update changes none of them.
    #[serde(with = "tree::path_bytes")]
    pub path: Path,
}

impl LeafUpdate {
    /// The root after the update of an operation that is not a no-op.
    pub fn root_after(&self) -> Fr {
        tree::root_of(self.index, self.after.leaf(), &self.path)
    }
}

/// One operation: its three updates in sequence (P-4.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepWitness {
    /// The transfer; a dummy in a no-op.
    pub operation: SignedTransfer,
    /// False for a no-op.
    pub is_op: bool,
    /// The sender's nonce and balance.
    pub sender: LeafUpdate,
    /// The receiver's balance.
    pub receiver: LeafUpdate,
    /// The fee account's balance.
    pub fee: LeafUpdate,
}

impl StepWitness {
    /// A no-op (P-4.6). `path` is index 0's at that moment.
    ///
    /// The dummy account follows the arithmetic of a transfer, nonce included, since circuits mask only its leaf.
    pub fn noop(path: &Path, rollup_id: &RollupId) -> Self {
        Self::noop_with(path, SignedTransfer::dummy(rollup_id))
    }

    /// [`StepWitness::noop`] with the signed dummy given, so that many no-ops share one signature.
    pub(crate) fn noop_with(path: &Path, operation: SignedTransfer) -> Self {
        let account = dummy_account();
        let same = LeafUpdate {
            index: AccountIndex::NONE,
            before: account,
            after: account,
            path: *path,
        };
        let sender = LeafUpdate {
            after: Account { nonce: 1, ..account },
            ..same.clone()
        };
        Self {
            operation,
            is_op: false,
            sender,
            receiver: same.clone(),
            fee: same,
        }
    }
}

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

/// Everything that one shard's proof is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardInput {
    /// [`RollupId::to_fr`].
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
    /// As many as the shard's capacity.
    pub steps: Vec<StepWitness>,
}

const FORMAT: Format = Format {
    name: "shard input",
    version: SHARD_INPUT_VERSION,
    bytes_max: SHARD_STEPS_MAX * (STEP_BYTES_MIN + 1024),
};

impl ShardInput {
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
        FORMAT.encode(self, (self.steps.len() + 1) * (STEP_BYTES_MIN + 1024))
    }

    /// Reads [`ShardInput::to_bytes`].
    ///
    /// # Errors
    /// Anything else. Values are checked to be in range, not to be a valid witness: the circuit does that.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        FORMAT.decode(bytes)
    }
}
