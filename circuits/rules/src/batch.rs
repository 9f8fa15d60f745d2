//! Batches: their form, their execution, and the shards they are proven in.

use crate::account::{self, Account, AccountIndex};
use crate::eddsa;
use crate::encoding;
use crate::field;
use crate::format::{Format, FormatError};
use crate::operation::{Effect, RollupId, SignedTransfer, TIME_BITS, WordError};
use crate::state::State;
use crate::stream::{self, DaMode, GROUP_WORDS, PostedError, RunningStream};
use crate::threads;
use crate::transition::{Change, Overlay};
use crate::tree::Path;
use crate::witness::{LeafUpdate, RunningState, SHARD_STEPS_MAX, ShardInput, StepWitness};
use halo2curves::bn256::Fr;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

pub use crate::transition::Violation;

/// Version of a batch's encodings.
pub const BATCH_VERSION: u8 = 1;
/// Operations that one batch may have.
pub const OPERATIONS_MAX: usize = 1 << 16;
/// Bytes that [`Batch::from_bytes`] reads at most: an operation has fewer than 144.
pub const BATCH_BYTES_MAX: usize = 256 + OPERATIONS_MAX * 144;
const FORMAT: Format = Format {
    name: "batch",
    version: BATCH_VERSION,
    bytes_max: BATCH_BYTES_MAX,
};
/// Bytes that [`Batch::from_json`] reads at most.
pub const BATCH_JSON_BYTES_MAX: usize = 4096 + OPERATIONS_MAX * 2048;

/// An executed batch, as a sequencer hands it over.
///
/// Its file form is JSON: integers that may exceed `2^53`, amounts and fees are decimal strings of their value;
/// field elements are `0x` strings (decimal strings are read too):
///
/// ```json
/// {
///   "version": 1,
///   "batch": {
///     "rollup_id": { "chain_id": "31337", "contract": "0x5fbdb2315678afecb367f032d93f642f64180aa3" },
///     "number": "0",
///     "time": "1800000000",
///     "old_root": "0x…",
///     "new_root": "0x…",
///     "operations": [
///       {
///         "transfer": {
///           "from": 65536, "to": 65540, "amount": "1500", "fee": "20",
///           "nonce": "0", "expiry": 1800003600, "token": 1
///         },
///         "signature": { "r8": { "x": "0x…", "y": "0x…" }, "s": "0x…" }
///       }
///     ]
///   }
/// }
/// ```
///
/// A signature is `{ r8: { x: R8[0], y: R8[1] }, s: S }` of circomlibjs's or zk-kit's `(R8, S)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The rollup.
    pub rollup_id: RollupId,
    /// The batch's number in the rollup, from 0 (P-6.6).
    #[serde(with = "encoding::decimal")]
    pub number: u64,
    /// The batch's time `T`, Unix seconds, below `2^40`.
    #[serde(with = "encoding::decimal")]
    pub time: u64,
    /// The root before.
    #[serde(with = "encoding::field_element")]
    pub old_root: Fr,
    /// The root after.
    #[serde(with = "encoding::field_element")]
    pub new_root: Fr,
    /// At most [`OPERATIONS_MAX`].
    pub operations: Vec<SignedTransfer>,
}

/// Why a batch is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The bytes, or the text, are no batch's.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// More operations than [`OPERATIONS_MAX`].
    #[error("batch of {found} operations, at most {OPERATIONS_MAX} are allowed")]
    TooManyOperations {
        /// Operations given.
        found: usize,
    },
    /// The time has more than 40 bits (P-7.5).
    #[error("batch time {found} is not below 2^40")]
    Time {
        /// The batch's time.
        found: u64,
    },
    /// The batch begins from another state.
    #[error("old root {}, expected {}", field::to_hex(.found), field::to_hex(.expected))]
    OldRoot {
        /// The state's root.
        expected: Fr,
        /// The batch's old root.
        found: Fr,
    },
    /// An operation breaks a rule of P-4.4; earlier operations break none.
    #[error("operation {operation}: {violation} (P-4.4, rule {})", .violation.rule())]
    Operation {
        /// Place in the batch, from 0.
        operation: usize,
        /// The first rule broken.
        violation: Violation,
    },
    /// The operations lead to another state.
    #[error("new root {}, expected {}", field::to_hex(.found), field::to_hex(.expected))]
    NewRoot {
        /// The root that the operations lead to.
        expected: Fr,
        /// The batch's new root.
        found: Fr,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchFile {
    version: u8,
    batch: Batch,
}

#[derive(Serialize)]
struct BatchFileRef<'a> {
    version: u8,
    batch: &'a Batch,
}

impl Batch {
    /// The version's byte, then postcard.
    pub fn to_bytes(&self) -> Vec<u8> {
        FORMAT.encode(self, 256 + self.operations.len() * 128)
    }

    /// Reads [`Batch::to_bytes`]. Values are checked to be in range; [`execute`] checks the rest.
    ///
    /// # Errors
    /// [`BatchError::Format`] and [`BatchError::TooManyOperations`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BatchError> {
        FORMAT.decode::<Self>(bytes)?.checked_length()
    }

    /// The file form.
    pub fn to_json(&self) -> String {
        let file = BatchFileRef {
            version: BATCH_VERSION,
            batch: self,
        };
        serde_json::to_string_pretty(&file).expect("the protocol's types have string keys only")
    }

    /// Reads the file form. Values are checked to be in range; [`execute`] checks the rest.
    ///
    /// # Errors
    /// As [`Batch::from_bytes`].
    pub fn from_json(text: &str) -> Result<Self, BatchError> {
        FORMAT.check_length(text.len(), BATCH_JSON_BYTES_MAX)?;
        let file: BatchFile = serde_json::from_str(text).map_err(|error| FORMAT.malformed(error))?;
        FORMAT.check_version(file.version)?;
        file.batch.checked_length()
    }

    /// The words of the operations, in order (P-4.3).
    pub fn words(&self) -> Vec<u128> {
        self.operations.iter().map(SignedTransfer::word).collect()
    }

    fn checked_length(self) -> Result<Self, BatchError> {
        match self.operations.len() {
            found if found > OPERATIONS_MAX => Err(BatchError::TooManyOperations { found }),
            _ => Ok(self),
        }
    }
}

/// What executing a batch yields.
///
/// The point `x` and the stream commitments are not here: they count the no-ops of all shards (P-7.4, P-8.3), so
/// [`shards`] derives them.
#[derive(Debug, Clone)]
pub struct Executed {
    /// One per operation.
    pub steps: Vec<StepWitness>,
    /// Index 0's path after the batch, which no-ops use.
    pub zero_path: Path,
    /// The accounts that the batch touched as they are after it, by index.
    pub touched: Vec<(AccountIndex, Account)>,
    /// The root before.
    pub old_root: Fr,
    /// The root after.
    pub new_root: Fr,
    /// The posted bytes of stream B (P-6.5). Stream A is empty.
    pub posted_b: Vec<u8>,
}

/// Executes a batch on a state.
///
/// # Errors
/// The first failing check, in this order: number of operations, time, old root, then the operations in order and in
/// each the rules of P-4.4 in order, then the new root. After an error the state is as it was.
pub fn execute(state: &mut State, batch: &Batch) -> Result<Executed, BatchError> {
    let (changes, touched) = run(state, batch)?;
    let indices: Vec<AccountIndex> = changes.iter().flatten().map(|change| change.index).collect();
    let traced = state.tree().trace_leaves(&indices, |seen| {
        account::leaves_of(seen.len(), |place| {
            &changes[seen[place] / 3][seen[place] % 3].after
        })
    });
    let (old_root, new_root) = (state.root(), traced.update.root());
    if batch.new_root != new_root {
        return Err(BatchError::NewRoot {
            expected: new_root,
            found: batch.new_root,
        });
    }
    let steps = batch
        .operations
        .iter()
        .zip(&changes)
        .zip(traced.paths.chunks_exact(3));
    let steps = steps
        .map(|((operation, changes), paths)| step(operation, changes, paths))
        .collect();
    state.commit(&touched, traced.update);
    let zero_path = state.tree().path(AccountIndex::NONE);
    let posted_b = stream::posted_bytes(&batch.words());
    Ok(Executed {
        steps,
        zero_path,
        touched,
        old_root,
        new_root,
        posted_b,
    })
}

/// The root that a batch's operations lead to: all that [`execute`] checks but the new root, without its witness. A
/// sequencer fills in [`Batch::new_root`] with it.
///
/// # Errors
/// As [`execute`], without [`BatchError::NewRoot`].
pub fn new_root(state: &State, batch: &Batch) -> Result<Fr, BatchError> {
    let (_, touched) = run(state, batch)?;
    Ok(state.tree().update(&account::leaves(&touched)).root())
}

type Touched = Vec<(AccountIndex, Account)>;

/// Every check but the new root, and the accounts' changes.
fn run(state: &State, batch: &Batch) -> Result<(Vec<[Change; 3]>, Touched), BatchError> {
    if batch.operations.len() > OPERATIONS_MAX {
        return Err(BatchError::TooManyOperations {
            found: batch.operations.len(),
        });
    }
    if batch.time >> TIME_BITS != 0 {
        return Err(BatchError::Time { found: batch.time });
    }
    if batch.old_root != state.root() {
        return Err(BatchError::OldRoot {
            expected: state.root(),
            found: batch.old_root,
        });
    }
    // No operation creates an account or changes an owner, so signatures can be checked ahead of the sequence, in
    // parallel. A sender without an account fails rule 1 before its signature counts.
    let signatures = threads::each(batch.operations.len(), |place| {
        let operation = &batch.operations[place];
        match state.get(operation.transfer.from) {
            Some(sender) => eddsa::verify(
                &sender.owner,
                &operation.message(&batch.rollup_id),
                &operation.signature,
            ),
            None => Ok(()),
        }
    });
    let mut overlay = Overlay::new(state);
    let mut changes = Vec::with_capacity(batch.operations.len());
    for (operation, (signed, signature)) in batch.operations.iter().zip(signatures).enumerate() {
        let change = overlay
            .transfer(&signed.transfer, batch.time, signature)
            .map_err(|violation| BatchError::Operation { operation, violation })?;
        changes.push(change);
    }
    Ok((changes, overlay.into_changed()))
}

fn step(operation: &SignedTransfer, changes: &[Change; 3], paths: &[Path]) -> StepWitness {
    let update = |number: usize| {
        let Change { index, before, after } = changes[number];
        LeafUpdate {
            index,
            before,
            after,
            path: paths[number],
        }
    };
    StepWitness {
        operation: *operation,
        is_op: true,
        sender: update(0),
        receiver: update(1),
        fee: update(2),
    }
}

/// Why a batch cannot be cut into shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ShardsError {
    /// A capacity is a positive multiple of 5 (P-7.1).
    #[error("shard capacity {capacity} is no positive multiple of 5 up to {SHARD_STEPS_MAX}")]
    Capacity {
        /// The capacity given.
        capacity: usize,
    },
    /// The batch needs more shards than the aggregation has children.
    #[error("the batch needs {needed} shards, the aggregation has {children}")]
    TooManyShards {
        /// Shards needed.
        needed: usize,
        /// Shards there are.
        children: usize,
    },
}

/// Cuts an executed batch into exactly `children` shards of `capacity` operations, the last ones filled with no-ops
/// (P-7.1, P-8.3).
///
/// The number of shards is needed here since the commitment `C_B`, hence `x` (P-6.6), covers the no-ops' groups too.
/// The last shard's `after` has the commitments and evaluations of the root proof.
///
/// # Errors
/// A capacity that P-7.1 does not allow, and batches that do not fit.
pub fn shards(
    batch: &Batch,
    executed: &Executed,
    capacity: usize,
    children: usize,
) -> Result<Vec<ShardInput>, ShardsError> {
    if capacity == 0 || !capacity.is_multiple_of(GROUP_WORDS) || capacity > SHARD_STEPS_MAX {
        return Err(ShardsError::Capacity { capacity });
    }
    let needed = executed.steps.len().div_ceil(capacity);
    if needed > children {
        return Err(ShardsError::TooManyShards { needed, children });
    }
    let mut words = batch.words();
    words.resize(capacity * children, 0);
    let groups: Vec<[Fr; 2]> = stream::groups(&words)
        .map(|group| stream::group_fr(&group))
        .collect();
    let commitments = stream::commitments(&groups);
    let c_b = commitments.last().copied().unwrap_or_default();
    let x = stream::derive_x(
        &batch.rollup_id,
        batch.number,
        DaMode::Calldata,
        &Fr::zero(),
        &c_b,
        &[],
        &executed.posted_b,
    );
    let noop = StepWitness::noop(&executed.zero_path, &batch.rollup_id);
    let mut before = RunningState::initial(executed.old_root);
    let mut shards = Vec::with_capacity(children);
    let shard_groups = capacity / GROUP_WORDS;
    let streams = groups.chunks(shard_groups).zip(commitments.chunks(shard_groups));
    for (number, (groups, commitments)) in streams.enumerate() {
        let steps = executed.steps.iter().skip(number * capacity).take(capacity);
        let mut steps: Vec<StepWitness> = steps.cloned().collect();
        let root = steps.last().map_or(before.root, |step| step.fee.root_after());
        steps.resize(capacity, noop.clone());
        let mut stream = RunningStream {
            c: before.c_b,
            y: before.y_b,
            p: before.p_b,
        };
        for (elements, c) in groups.iter().zip(commitments) {
            stream.advance(elements, *c, &x);
        }
        let after = RunningState {
            root,
            c_b: stream.c,
            y_b: stream.y,
            p_b: stream.p,
            ..before
        };
        shards.push(ShardInput {
            rollup_id: batch.rollup_id.to_fr(),
            time: batch.time,
            x,
            before,
            after,
            steps,
        });
        before = after;
    }
    Ok(shards)
}

/// Why posted bytes cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReplayError {
    /// The bytes are not a stream as it is posted.
    #[error("posted bytes: {0}")]
    Posted(#[from] PostedError),
    /// A word is no transfer's.
    #[error("word {position}: {reason}")]
    Word {
        /// Place in the stream, from 0.
        position: usize,
        /// What is wrong with it.
        reason: WordError,
    },
    /// A transfer is impossible on this state.
    #[error("word {position}: {violation}")]
    Effect {
        /// Place in the stream, from 0.
        position: usize,
        /// The rule of P-4.4 broken.
        violation: Violation,
    },
    /// The accounts are not those after a transfer that is to be taken back.
    #[error("word {position}: no state before it leads to these accounts")]
    NoStateBefore {
        /// Place in the stream, from 0.
        position: usize,
    },
}

/// Rebuilds the state after a batch from the state before and the posted bytes of stream B alone.
///
/// It trusts that L1 accepted the batch: posted words have no nonces, expiries or signatures.
///
/// # Errors
/// Bytes that no accepted batch posts. The state is then as it was.
pub fn replay_words(state: &mut State, posted_b: &[u8]) -> Result<(), ReplayError> {
    let words = stream::posted_words(posted_b)?;
    let mut overlay = Overlay::new(state);
    for (position, word) in words.into_iter().enumerate().filter(|(_, word)| *word != 0) {
        let effect = Effect::from_word(word).map_err(|reason| ReplayError::Word { position, reason })?;
        overlay
            .replay(&effect)
            .map_err(|violation| ReplayError::Effect { position, violation })?;
    }
    let touched = overlay.into_changed();
    state.overwrite(&touched);
    Ok(())
}

/// The accounts that a batch changed as they were before it, from what it posted: the inverse of [`replay_words`]. The state after
/// the batch is `state` with the accounts of `changed` in place of its own. Returned are all of `changed` and the batch's, by index.
///
/// # Errors
/// Bytes that no accepted batch posts, or that cannot have led to these accounts. Whether they did, the root tells.
pub fn take_back_words(
    state: &State,
    changed: BTreeMap<AccountIndex, Account>,
    posted_b: &[u8],
) -> Result<Vec<(AccountIndex, Account)>, ReplayError> {
    let words = stream::posted_words(posted_b)?;
    let mut overlay = Overlay::with(state, changed);
    let used = words.into_iter().enumerate().filter(|(_, word)| *word != 0);
    for (position, word) in used.rev() {
        let effect = Effect::from_word(word).map_err(|reason| ReplayError::Word { position, reason })?;
        overlay
            .take_back(&effect)
            .ok_or(ReplayError::NoStateBefore { position })?;
    }
    Ok(overlay.into_changed())
}
