//! From a batch to a submission: executes it on the ledger, cuts it into shards, and keeps what its proofs state.

use std::collections::BTreeMap;

use circuits::preset::Preset;
use rules::statement::{ChainError, RootStatement, root_statement};
use rules::{
    Fr,
    account::{Account, AccountIndex, Hashed, TokenId},
    batch::{self, Batch, BatchError, Executed, execute},
    field::{self, NonCanonical},
    format::{FormatError, exact},
    gas::Posted,
    layout::lay_out,
    operation::Operation,
    record::Record,
    shards::{Sharded, ShardsError, shards},
    state::State,
    stream::{self, GROUP_WORDS, Group},
    witness::{GroupWitness, PlaceWitness, ShardInput},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::core::{
    chain::Submission,
    id::{KeyId, RollupNumber, StateRoot, Tenant},
    record::{Billing, Operations, Wishes},
};

pub(crate) mod take_back;

/// Who submits a batch, and as what.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The tenant.
    pub tenant: Tenant,
    /// The tenant's id.
    pub request_id: String,
    /// How urgent it is, and its labels.
    pub wishes: Wishes,
    /// SHA-256 of the encoded batch.
    pub sha256: [u8; 32],
}

/// What a batch's proofs state, and the data that L1 gets with them. A stored artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statement {
    /// T, Unix seconds.
    pub time: u64,
    /// The 17 instances of each shard, 32 bytes each, big endian.
    pub shards: Vec<Vec<[u8; 32]>>,
    /// Stream A as posted.
    pub posted_a: Vec<u8>,
    /// Stream B as posted.
    pub posted_b: Vec<u8>,
}

/// A verified root proof. A stored artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RootProof {
    /// The 17 instances, 32 bytes each, big endian.
    pub instances: Vec<[u8; 32]>,
    /// The proof.
    pub proof: Vec<u8>,
}

/// Why a batch is not executed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecutionError {
    /// It does not fit the preset.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// It breaks a rule.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// It cannot be cut for the preset.
    #[error(transparent)]
    Shards(#[from] ShardsError),
}

/// A batch that the shards have no room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operation {operation} does not fit: expected {expected}, found {found} (P-7.1)")]
pub(crate) struct SizeError {
    /// The first operation that has no room.
    pub operation: usize,
    /// What there is room for.
    pub expected: String,
    /// What the batch needs.
    pub found: String,
}

/// A stored artifact that does not read as it was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// Not the encoding.
    #[error("malformed artifact: {0}")]
    Malformed(String),
    /// A value that is no field element.
    #[error("{0}")]
    Element(#[from] NonCanonical),
    /// The shards do not chain.
    #[error("{0}")]
    Chain(#[from] ChainError),
    /// A shard's input.
    #[error("{0}")]
    Input(#[from] FormatError),
}

/// Executes a batch on the ledger, which is left after it. On an error the ledger is as it was.
///
/// `origin` goes into the submission.
pub(crate) fn prepare(
    ledger: &mut State,
    preset: &Preset,
    batch: &Batch,
    rollup: RollupNumber,
    keys: KeyId,
    origin: Origin,
) -> Result<Submission, ExecutionError> {
    // Sizes first: after the execution there is no way back without the undo.
    check_size(preset, &batch.operations)?;
    let executed = execute(ledger, batch)?;
    let undo = batch::undo(&executed.changes);
    let sharded = match shards(batch, &executed, preset.shard.shape, preset.children) {
        Ok(sharded) => sharded,
        Err(error) => {
            ledger.set(&undo);
            return Err(error.into());
        }
    };
    let accounts = executed.changes.iter().map(|change| {
        let leaf = ledger.tree().get(change.index);
        let hashed = change.after.map(|account| Hashed { account, leaf });
        (change.index, hashed)
    });
    let accounts = accounts.collect();
    Ok(submission(
        batch,
        &executed,
        &sharded,
        &undo,
        accounts,
        (rollup, keys, origin),
    ))
}

/// That the operations, laid out in their order, are no more than the shards have room for.
fn check_size(preset: &Preset, operations: &[Operation]) -> Result<(), ExecutionError> {
    let shape = preset.shard.shape;
    let capacity = preset.queue_capacity();
    let queued = || {
        let operations = operations.iter().enumerate();
        operations.filter(|(_, operation)| matches!(operation, Operation::Queued(_)))
    };
    if let Some((operation, _)) = queued().nth(capacity) {
        return Err(SizeError {
            operation,
            expected: format!("at most {capacity} operations of the queue"),
            found: queued().count().to_string(),
        }
        .into());
    }
    let slots = lay_out(operations, shape).map_err(ShardsError::from)?;
    let groups = shape.groups() * preset.children;
    let first = slots.get(groups).map(|slots| {
        let placed = slots.places.into_iter().flatten();
        slots.queued.into_iter().chain(placed).min()
    });
    let Some(first) = first else {
        return Ok(());
    };
    // Groups that nothing stands in are there for a room behind them.
    let behind = || slots[groups..].iter().find_map(|slots| slots.queued);
    Err(SizeError {
        operation: first.or_else(behind).unwrap_or(operations.len() - 1),
        expected: format!(
            "at most {groups} groups of {GROUP_WORDS} places ({} shards of {} places, with room for an operation of the queue before the first {} groups of each)",
            preset.children, shape.places, shape.rooms
        ),
        found: format!("{} groups", slots.len()),
    }
    .into())
}

fn submission(
    batch: &Batch,
    executed: &Executed,
    sharded: &Sharded,
    undo: &Undo,
    accounts: Vec<(AccountIndex, Option<Hashed>)>,
    (rollup, keys, origin): (RollupNumber, KeyId, Origin),
) -> Submission {
    let statement = Statement::of(sharded).expect("a batch has a shard");
    Submission {
        rollup,
        wishes: origin.wishes,
        keys,
        tenant: origin.tenant,
        request_id: origin.request_id,
        sha256: origin.sha256,
        number: batch.number,
        time: batch.time,
        old_root: StateRoot(field::to_be(&executed.old_root)),
        new_root: StateRoot(field::to_be(&executed.new_root)),
        operations: count(batch, executed),
        billing: Billing {
            fees: fees(&batch.operations),
            posted: Posted::of(&sharded.posted_a, &sharded.posted_b).expect("records were just posted"),
        },
        shard_inputs: sharded.shards.iter().map(ShardInput::to_bytes).collect(),
        statement: encode(&statement),
        undo: encode(undo),
        accounts,
    }
}

/// The operations by kind.
fn count(batch: &Batch, executed: &Executed) -> Operations {
    let mut counts = Operations::default();
    for (operation, step) in batch.operations.iter().zip(&executed.steps) {
        let count = match operation {
            Operation::NoOp => &mut counts.no_ops,
            Operation::Transfer(_) => &mut counts.transfers,
            Operation::Withdrawal(_) => &mut counts.withdrawals,
            Operation::Creation(_) => &mut counts.creations,
            Operation::Queued(_) => &mut counts.queued,
        };
        *count += 1;
        let without_effect = step.record.is_some_and(|record| record.code != 0);
        counts.queued_without_effect += u32::from(without_effect);
    }
    counts
}

/// What is paid to the fee account of each token (P-4.5, P-4.8), in its smallest unit, where anything is.
fn fees(operations: &[Operation]) -> BTreeMap<TokenId, u128> {
    let mut fees = BTreeMap::<TokenId, u128>::new();
    for operation in operations {
        let (token, fee) = match operation {
            Operation::Transfer(signed) => (signed.transfer.token, signed.transfer.fee),
            Operation::Withdrawal(signed) => (signed.withdrawal.token, signed.withdrawal.fee),
            Operation::NoOp | Operation::Creation(_) | Operation::Queued(_) => continue,
        };
        if fee.value() > 0 {
            let sum = fees.entry(token).or_default();
            // A fee is at most 15 * 10^31 (P-4.2).
            *sum = sum
                .checked_add(fee.value())
                .expect("two million operations are no batch");
        }
    }
    fees
}

/// What inputs of shards were cut from a batch with.
pub(crate) fn sharded(shards: Vec<ShardInput>) -> Sharded {
    let groups = || shards.iter().flat_map(|shard| &shard.groups);
    let records: Vec<Record> = groups().flat_map(GroupWitness::records).collect();
    let posted: Vec<Group> = groups()
        .map(|group| Group {
            flag: group.flag(),
            words: group.words(),
        })
        .collect();
    Sharded {
        posted_a: stream::posted_a(&records),
        posted_b: stream::posted_b(&posted),
        shards,
    }
}

/// The accounts that a batch of these shards looked at, as they were before it.
pub(crate) fn undo_of(shards: &[ShardInput]) -> Undo {
    let mut before = BTreeMap::new();
    let groups = shards.iter().flat_map(|shard| &shard.groups);
    for group in groups {
        let room = group.room.iter().map(|room| &room.access);
        let places = group
            .places
            .iter()
            .flat_map(|PlaceWitness { accesses, .. }| accesses);
        for access in room
            .chain(places)
            .filter(|access| access.index != AccountIndex::NONE)
        {
            before.entry(access.index).or_insert(access.before);
        }
    }
    before.into_iter().collect()
}

impl Statement {
    /// What the proofs of a batch state that is cut so; none where it has no shard.
    pub(crate) fn of(sharded: &Sharded) -> Option<Self> {
        let shards = &sharded.shards;
        Some(Self {
            time: shards.first()?.time,
            shards: shards
                .iter()
                .map(|shard| shard.instances().iter().map(field::to_be).collect())
                .collect(),
            posted_a: sharded.posted_a.clone(),
            posted_b: sharded.posted_b.clone(),
        })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ArtifactError> {
        decode(bytes)
    }

    /// The instances of a shard's proof.
    pub(crate) fn shard(&self, index: u32) -> Result<Vec<Fr>, ArtifactError> {
        let shard = self
            .shards
            .get(index as usize)
            .ok_or_else(|| ArtifactError::Malformed(format!("no shard {index}")))?;
        Ok(shard.iter().map(field::from_be).collect::<Result<_, _>>()?)
    }

    /// The root instances after the accumulator.
    pub(crate) fn root(&self) -> Result<RootStatement, ArtifactError> {
        let shards = (0..).take(self.shards.len()).map(|index| self.shard(index));
        let shards = shards.collect::<Result<Vec<_>, _>>()?;
        let shards: Vec<&[Fr]> = shards.iter().map(Vec::as_slice).collect();
        Ok(root_statement(&shards, shards.len())?)
    }
}

impl RootProof {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ArtifactError> {
        decode(bytes)
    }
}

/// Accounts that a batch changed, as they were before it; none where it made one. A stored artifact.
pub(crate) type Undo = Vec<(AccountIndex, Option<Account>)>;

/// The accounts of an undo artifact.
pub(crate) fn decode_undo(bytes: &[u8]) -> Result<Undo, ArtifactError> {
    decode(bytes)
}

/// Reads an artifact that ends where the bytes end.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ArtifactError> {
    exact(bytes).map_err(ArtifactError::Malformed)
}

/// Encodes an artifact.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data encodes")
}

#[cfg(test)]
mod tests {
    use circuits::preset::ShardParams;
    use fuzzer::{Target, Verdict};
    use rules::{
        amount::Fee,
        operation::{RollupId, Word},
        sample::{Draw, Mix, Sample, SampleConfig},
        witness::Shape,
    };

    use super::*;

    /// serde sets 1 MiB aside for a sequence whose length is claimed, and artifacts hold one in another.
    const CLAIMED: u64 = 2 << 20;

    fn target(name: &'static str) -> Target {
        Target::new(env!("CARGO_MANIFEST_DIR"), name).memory(CLAIMED, 64)
    }

    const ROLLUP: RollupId = RollupId {
        chain_id: 31_337,
        contract: [7; 20],
    };
    /// One with room for every kind of operation.
    const PRESET: Preset = Preset {
        name: "test",
        shard: ShardParams {
            k: 15,
            shape: Shape { places: 10, rooms: 1 },
        },
        children: 3,
        aggregation_k: 19,
    };

    fn sample() -> Sample {
        Sample::new(SampleConfig {
            seed: 3,
            users: 3,
            tokens: 1,
        })
    }

    fn draw(queued: usize, signed: usize) -> Draw {
        Draw {
            shape: PRESET.shard.shape,
            queued,
            signed,
            mix: Mix::All,
        }
    }

    fn prepared(ledger: &mut State, batch: &Batch) -> Result<Submission, ExecutionError> {
        let origin = Origin {
            tenant: Tenant::default(),
            request_id: "r".into(),
            wishes: Wishes::default(),
            sha256: [0; 32],
        };
        let keys = KeyId {
            shard_vk: [1; 32],
            aggregation_vk: [2; 32],
        };
        prepare(ledger, &PRESET, batch, RollupNumber(0), keys, origin)
    }

    /// Batches that fill all places and rooms, with the submissions that are made of them, from the empty state.
    fn submissions(batches: usize) -> Vec<(Batch, Submission)> {
        let (mut sample, mut ledger) = (sample(), State::default());
        let mut signed = 0;
        let mut next = || {
            let batch = sample.batch(ROLLUP, 1_700_000_000, draw(3, signed));
            signed = 30;
            let submission = prepared(&mut ledger, &batch).expect("the sample holds");
            (batch, submission)
        };
        (0..batches).map(|_| next()).collect()
    }

    fn submitted() -> Submission {
        submissions(2).pop().expect("one was made").1
    }

    #[test]
    fn what_a_batch_leaves_follows_from_its_inputs_again() {
        let mut ledger = State::default();
        let mut seen = Operations::default();
        for (batch, submission) in submissions(12) {
            let before = ledger.clone();
            execute(&mut ledger, &batch).expect("the sample holds");
            let read = |bytes: &Vec<u8>| ShardInput::from_bytes(bytes).expect("just encoded");
            let inputs: Vec<ShardInput> = submission.shard_inputs.iter().map(read).collect();
            assert_eq!(inputs.len(), PRESET.children);
            let undo = decode_undo(&submission.undo).expect("just encoded");
            for undo in [undo, undo_of(&inputs)] {
                let mut back = ledger.clone();
                back.set(&undo);
                assert_eq!(back.root(), before.root());
                assert!(back.accounts().eq(before.accounts()));
            }
            let statement = Statement::of(&sharded(inputs)).expect("it has shards");
            assert_eq!(encode(&statement), submission.statement);
            let records = stream::records(&statement.posted_a).expect("just written");
            let counts = submission.operations;
            let with_record = counts.withdrawals + counts.creations + counts.queued;
            assert_eq!(records.len(), with_record as usize);
            let posted = Posted::of(&statement.posted_a, &statement.posted_b);
            assert_eq!(posted, Ok(submission.billing.posted));
            let earned: u128 = submission.billing.fees.values().sum();
            assert_eq!(earned, in_words(&statement.posted_b));
            assert_eq!(counts.total() as usize, batch.operations.len());
            for (sum, count) in [
                (&mut seen.transfers, counts.transfers),
                (&mut seen.withdrawals, counts.withdrawals),
                (&mut seen.creations, counts.creations),
                (&mut seen.queued, counts.queued),
                (&mut seen.queued_without_effect, counts.queued_without_effect),
                (&mut seen.no_ops, counts.no_ops),
            ] {
                *sum += count;
            }
        }
        let Operations {
            transfers,
            withdrawals,
            creations,
            queued,
            queued_without_effect,
            no_ops,
        } = seen;
        let all = [
            transfers,
            withdrawals,
            creations,
            queued,
            queued_without_effect,
            no_ops,
        ];
        assert!(all.iter().all(|count| *count > 0), "{seen:?}");
    }

    /// The fees that the words of stream B say.
    fn in_words(posted_b: &[u8]) -> u128 {
        let groups = stream::groups(posted_b).expect("just written");
        let words = groups.into_iter().flat_map(|group| group.words);
        let fee = |word| match Word::from_integer(word).expect("just written") {
            Word::Transfer(effect) => effect.fee.value(),
            Word::Withdrawal { fee, .. } => fee.value(),
            Word::NoOp | Word::Creation { .. } => 0,
        };
        words.map(fee).sum()
    }

    #[test]
    fn fees_are_what_transfers_and_withdrawals_pay_by_token() {
        let all: Vec<Operation> = submissions(12)
            .into_iter()
            .flat_map(|(batch, _)| batch.operations)
            .collect();
        let one = |is: fn(&Operation) -> bool| *all.iter().find(|one| is(one)).expect("every kind");
        let transfer = |token: u16, mantissa: u32, exponent: u8| {
            let mut one = one(|one| matches!(one, Operation::Transfer(_)));
            if let Operation::Transfer(signed) = &mut one {
                signed.transfer.token = TokenId(token);
                signed.transfer.fee = Fee::new(mantissa, exponent).expect("canonical");
            }
            one
        };
        let withdrawal = |token: u16, mantissa: u32, exponent: u8| {
            let mut one = one(|one| matches!(one, Operation::Withdrawal(_)));
            if let Operation::Withdrawal(signed) = &mut one {
                signed.withdrawal.token = TokenId(token);
                signed.withdrawal.fee = Fee::new(mantissa, exponent).expect("canonical");
            }
            one
        };
        let free = [
            one(|one| matches!(one, Operation::Creation(_))),
            one(|one| matches!(one, Operation::Queued(_))),
            Operation::NoOp,
            transfer(3, 0, 0),
            withdrawal(3, 0, 0),
        ];
        assert_eq!(fees(&free), BTreeMap::new());
        let paying = [
            transfer(2, 7, 0),
            withdrawal(1, 15, 3),
            transfer(1, 15, 31),
            transfer(1, 15, 31),
            withdrawal(2, 5, 0),
        ];
        let expected = BTreeMap::from([(TokenId(1), 30 * 10u128.pow(31) + 15_000), (TokenId(2), 12)]);
        assert_eq!(fees(&[&free[..], &paying].concat()), expected);
    }

    /// Expects a batch to be refused for its size before anything is executed.
    #[track_caller]
    fn too_large(operations: Vec<Operation>, operation: usize, expected: &str, found: &str) {
        let mut batch = sample().batch(ROLLUP, 1_700_000_000, draw(1, 0));
        batch.operations = operations;
        let mut ledger = State::default();
        let error = prepared(&mut ledger, &batch)
            .map(drop)
            .expect_err("it does not fit");
        let ExecutionError::Size(error) = error else {
            panic!("{error}");
        };
        assert_eq!(error.operation, operation, "{error}");
        assert!(error.expected.starts_with(expected), "{error}");
        assert_eq!(error.found, found);
        assert_eq!(ledger.root(), State::default().root());
    }

    #[test]
    fn a_batch_fits_by_its_places_and_rooms_in_their_order() {
        let entry = sample().batch(ROLLUP, 1_700_000_000, draw(1, 0)).operations[0];
        let (no_op, fits) = (Operation::NoOp, |operations: &[Operation]| {
            check_size(&PRESET, operations).is_ok()
        });
        assert!(fits(&[no_op; 30]));
        too_large(vec![no_op; 31], 30, "at most 6 groups", "7 groups");
        // Three rooms, before the groups 0, 2 and 4.
        assert!(fits(&[entry; 3]));
        too_large(vec![entry; 4], 3, "at most 3 operations of the queue", "4");
        // The rest of a group and the next, which has no room, are left before it.
        let mut late = vec![entry];
        late.extend([no_op; 11]);
        late.extend([entry]);
        assert!(fits(&late));
        late.extend([no_op; 10]);
        assert!(fits(&late));
        too_large(
            [late.clone(), vec![no_op]].concat(),
            23,
            "at most 6 groups",
            "7 groups",
        );
        late.extend([entry]);
        too_large(late, 23, "at most 6 groups", "7 groups");
        let mut behind = vec![no_op; 21];
        behind.extend([entry]);
        too_large(behind, 21, "at most 6 groups", "7 groups");
        // A creation leaves the last place of a group.
        let creations = submissions(12)
            .into_iter()
            .flat_map(|(batch, _)| batch.operations);
        let creation = creations
            .into_iter()
            .find(|operation| matches!(operation, Operation::Creation(_)));
        let creation = creation.expect("the sample has some");
        assert!(fits(&vec![creation; 24]));
        too_large(vec![creation; 25], 24, "at most 6 groups", "7 groups");
    }

    /// What is read is written and read again as the same; with a byte more it is refused.
    fn again<T: PartialEq + std::fmt::Debug + Serialize>(
        value: &T,
        read: impl Fn(&[u8]) -> Result<T, ArtifactError>,
    ) {
        let mut bytes = encode(value);
        assert_eq!(read(&bytes).as_ref().ok(), Some(value));
        bytes.push(0);
        assert!(read(&bytes).is_err(), "nothing may follow an artifact");
    }

    #[test]
    fn fuzz_statements() {
        target("statement")
            .seed("every-kind", submitted().statement)
            .run(|bytes| -> Verdict {
                let statement = Statement::decode(bytes).map_err(|error| error.to_string())?;
                again(&statement, Statement::decode);
                let root = statement.root();
                root.map(drop).map_err(|error| error.to_string())
            });
    }

    #[test]
    fn fuzz_undos() {
        target("undo").seed("every-kind", submitted().undo).run(|bytes| {
            let undo = decode_undo(bytes).map_err(|error| error.to_string())?;
            again(&undo, decode_undo);
            Ok(())
        });
    }

    #[test]
    fn fuzz_root_proofs() {
        let proof = RootProof {
            instances: vec![[1; 32]; 17],
            proof: vec![2; 64],
        };
        target("root-proof").seed("short", encode(&proof)).run(|bytes| {
            let proof = RootProof::decode(bytes).map_err(|error| error.to_string())?;
            again(&proof, RootProof::decode);
            Ok(())
        });
    }
}
