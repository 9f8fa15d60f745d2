//! Batches: their form and their execution (section 4).

use crate::account::{self, Account, AccountIndex};
use crate::encoding;
use crate::field;
use crate::format::{Format, FormatError};
use crate::operation::{Operation, Signed};
use crate::operation::{RollupId, TIME_BITS};
use crate::record::Record;
use crate::state::State;
use crate::threads;
use crate::transition::{Change, Claim, Done, Overlay, Terms};
use crate::tree::Path;
use crate::violation::{Cause, Clause, Violation};
use crate::witness::Access;
use halo2curves::bn256::Fr;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of a batch's encodings.
pub const BATCH_VERSION: u8 = 2;
/// Operations that one batch may have.
pub const OPERATIONS_MAX: usize = 1 << 16;
/// Bytes that [`Batch::from_bytes`] reads at most: an operation has fewer than 240.
pub const BATCH_BYTES_MAX: usize = 256 + OPERATIONS_MAX * 240;
/// Bytes that [`Batch::from_json`] reads at most.
pub const BATCH_JSON_BYTES_MAX: usize = 4096 + OPERATIONS_MAX * 2048;
const FORMAT: Format = Format {
    name: "batch",
    version: BATCH_VERSION,
    bytes_max: BATCH_BYTES_MAX,
};

/// An executed batch, as a sequencer hands it over. Its operations stand in the order in which they are executed.
///
/// Its file form is JSON (P-4.12):
///
/// ```json
/// {
///   "version": 2,
///   "batch": {
///     "rollup_id": { "chain_id": "31337", "contract": "0x5fbdb2315678afecb367f032d93f642f64180aa3" },
///     "number": "0",
///     "time": "1800000000",
///     "old_root": "0x…",
///     "new_root": "0x…",
///     "operations": [
///       { "queued": { "kind": "deposit_new", "token": 1, "index": 4294967296, "amount": "1000", "address": "0x…", "u": "0x…", "v": "0x…" } },
///       {
///         "transfer": {
///           "from": 65536, "to": 65540, "amount": "1500", "fee": "20",
///           "nonce": "0", "expiry": 1800003600, "token": 1
///         },
///         "signature": { "r8": { "x": "0x…", "y": "0x…" }, "s": "0x…" }
///       },
///       {
///         "withdrawal": { "from": 65536, "amount": "7", "fee": "20", "nonce": "1", "expiry": 1800003600, "token": 1 },
///         "signature": { "r8": { "x": "0x…", "y": "0x…" }, "s": "0x…" }
///       },
///       {
///         "creation": { "index": 65541, "token": 1, "owner": { "x": "0x…", "y": "0x…" }, "l1_address": "0x…" },
///         "signature": { "r8": { "x": "0x…", "y": "0x…" }, "s": "0x…" }
///       },
///       { "no_op": {} }
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
    /// The batch's number in the rollup, from 0 (P-6.9).
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
    pub operations: Vec<Operation>,
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
    /// The time has more than 40 bits (P-9.4).
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
    /// An operation breaks a rule; earlier operations break none.
    #[error("operation {operation}: {violation}")]
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
        FORMAT.encode(self, 256 + self.operations.len() * 240)
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

    fn checked_length(self) -> Result<Self, BatchError> {
        match self.operations.len() {
            found if found > OPERATIONS_MAX => Err(BatchError::TooManyOperations { found }),
            _ => Ok(self),
        }
    }
}

/// What an operation did.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its accesses in sequence: three of a signed operation, the idle ones too; one of an operation of the queue; none of a no-op.
    pub accesses: Vec<Access>,
    /// Its record as it is posted.
    pub record: Option<Record>,
    /// Index 0's path after it, which idle accesses use until the next operation.
    pub idle_path: Path,
}

/// What executing a batch yields. The streams are not here: [`crate::shards::shards`] derives them, since it knows what padding the shards
/// ask for.
#[derive(Debug, Clone)]
pub struct Executed {
    /// One per operation.
    pub steps: Vec<Step>,
    /// Index 0's path before the batch.
    pub idle_path: Path,
    /// The accounts that the batch wrote, before and after it, by index.
    pub changes: Vec<Change>,
    /// The root before.
    pub old_root: Fr,
    /// The root after.
    pub new_root: Fr,
}

impl Executed {
    /// The records, in their order (P-6.7).
    pub fn records(&self) -> Vec<Record> {
        self.steps.iter().filter_map(|step| step.record).collect()
    }
}

/// What [`State::set`] takes to undo changes, of one batch or, the last first, of several (P-15.4): an account that was created is
/// gone again.
pub fn undo(changes: &[Change]) -> Vec<(AccountIndex, Option<Account>)> {
    let undone = changes.iter().map(|change| (change.index, change.before));
    undone.collect()
}

/// Executes a batch on a state.
///
/// # Errors
/// The first failing check, in this order: number of operations, time, old root, then the operations in order and in each the rules of
/// its clause in order, then the new root. After an error the state is as it was.
pub fn execute(state: &mut State, batch: &Batch) -> Result<Executed, BatchError> {
    let Run { done, changes } = run(state, batch)?;
    // After each operation a look at index 0, for the idle accesses that may follow it.
    let idle = Change::IDLE;
    let accesses: Vec<&Change> = done
        .iter()
        .flat_map(|(accesses, _)| accesses.iter().chain([&idle]))
        .collect();
    let indices: Vec<AccountIndex> = accesses.iter().map(|change| change.index).collect();
    let traced = state.tree().trace_leaves(&indices, |seen| {
        let after = seen.iter().map(|access| accesses[*access].after.as_ref());
        account::leaves_or_empty(&after.collect::<Vec<_>>())
    });
    let (old_root, new_root) = (state.root(), traced.update.root());
    if batch.new_root != new_root {
        return Err(BatchError::NewRoot {
            expected: new_root,
            found: batch.new_root,
        });
    }
    let idle_path = state.tree().path(AccountIndex::NONE);
    // Where each operation's accesses begin.
    let begins = done.iter().scan(0, |next, (changes, _)| {
        let begin = *next;
        *next += changes.len() + 1;
        Some(begin)
    });
    let begins: Vec<usize> = begins.collect();
    let steps = threads::each(done.len(), |operation| {
        let (changes, record) = &done[operation];
        let paths = &traced.paths[begins[operation]..];
        let access = |(change, path): (&Change, &Path)| Access {
            index: change.index,
            before: change.before,
            after: change.after,
            path: *path,
        };
        Step {
            accesses: changes.iter().zip(paths).map(access).collect(),
            record: *record,
            idle_path: paths[changes.len()],
        }
    });
    let written: Vec<_> = changes
        .iter()
        .filter_map(|change| Some((change.index, change.after?)))
        .collect();
    state.commit(&written, traced.update);
    Ok(Executed {
        steps,
        idle_path,
        changes,
        old_root,
        new_root,
    })
}

/// The root that a batch's operations lead to: all that [`execute`] checks but the new root, without its witness. A sequencer fills in
/// [`Batch::new_root`] with it.
///
/// # Errors
/// As [`execute`], without [`BatchError::NewRoot`].
pub fn new_root(state: &State, batch: &Batch) -> Result<Fr, BatchError> {
    let Run { changes, .. } = run(state, batch)?;
    let after: Vec<_> = changes
        .iter()
        .map(|change| (change.index, change.after))
        .collect();
    Ok(state.root_with(&after))
}

/// What operations did, without the tree.
struct Run {
    /// For each its accesses and its record.
    done: Vec<(Vec<Change>, Option<Record>)>,
    /// The accounts written.
    changes: Vec<Change>,
}

/// Every check but the new root, and the accounts' changes.
fn run(state: &State, batch: &Batch) -> Result<Run, BatchError> {
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
    let terms = Terms {
        rollup_id: &batch.rollup_id,
        time: batch.time,
    };
    let mut overlay = Overlay::new(state);
    let mut done = Vec::with_capacity(batch.operations.len());
    // Whose signatures are verified, beside them.
    let (mut claims, mut claimants) = (Vec::new(), Vec::new());
    let mut broken = None;
    for (number, operation) in batch.operations.iter().enumerate() {
        let step = step(&mut overlay, operation, &terms, &mut claims);
        claimants.resize(claims.len(), number);
        match step {
            Ok(step) => done.push(step),
            Err(violation) => {
                broken = Some((number, violation));
                break;
            }
        }
    }
    // An operation whose signature is asked for breaks no rule before that of its signature, so the first bad signature comes before
    // what broke later.
    let verdicts = Claim::verify_each(&claims);
    let bad = claimants.into_iter().zip(verdicts).find_map(|(number, verdict)| {
        let cause = Cause::Signature(verdict.err()?);
        Some((number, cause.of(clause(&batch.operations[number]))))
    });
    if let Some((operation, violation)) = bad.or(broken) {
        return Err(BatchError::Operation { operation, violation });
    }
    Ok(Run {
        done,
        changes: overlay.into_changes(),
    })
}

fn step(
    overlay: &mut Overlay,
    operation: &Operation,
    terms: &Terms,
    claims: &mut Vec<Claim>,
) -> Result<(Vec<Change>, Option<Record>), Violation> {
    match operation {
        Operation::NoOp => Ok((Vec::new(), None)),
        Operation::Queued(queued) => {
            let Done { changes, record } = overlay.queued(queued.record())?;
            Ok((changes.to_vec(), record))
        }
        signed => {
            let signed = signed.signed().expect("the queue's are taken above");
            let Done { changes, record } = overlay.execute(&signed, terms, claims)?;
            Ok((changes.to_vec(), record))
        }
    }
}

fn clause(operation: &Operation) -> Clause {
    match operation.signed() {
        Some(Signed::Withdrawal(_)) => Clause::Withdrawal,
        Some(Signed::Creation(_)) => Clause::Creation,
        Some(Signed::Transfer(_) | Signed::NoOp) => Clause::Transfer,
        None => Clause::Queue,
    }
}
