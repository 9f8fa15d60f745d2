//! Sample rollups: batches of every operation from a seed, beginning with the empty state. For demonstrations, benchmarks and tests; the
//! keys come from the seed and protect nothing.

use crate::account::{AccountIndex, TokenId, USER_INDEX_MIN, leaves};
use crate::amount::{Amount, Fee};
use crate::babyjub::Point;
use crate::batch::Batch;
use crate::eddsa::{PrivateKey, Signature};
use crate::operation::{
    Creation, Operation, Queued, Signed, SignedCreation, SignedTransfer, SignedWithdrawal, Transfer,
    Withdrawal,
};
use crate::operation::{Expiry, RollupId, TIME_BITS};
use crate::record::{Coordinate, Kind, Record};
use crate::state::State;
use crate::stream::GROUP_WORDS;
use crate::threads;
use crate::transition::{Claim, L1_INDEX_MIN, Overlay, Terms};
use crate::witness::Shape;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, VecDeque};

/// The largest amount of a sample transfer: every integer up to it is an [`Amount`].
const AMOUNT_MAX: u128 = (1 << Amount::MANTISSA_BITS) - 1;
/// The largest sample deposit, in smallest units.
const DEPOSIT_MAX: u128 = 1_000_000_000_000;
/// Seconds from a batch's time to its operations' expiry.
const LIFETIME_SECONDS: u64 = 3600;
/// What stands for a signature until all are made.
const UNSIGNED: Signature = Signature {
    r8: Point::IDENTITY,
    s: [0; 32],
};

/// What a sample rollup is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleConfig {
    /// Equal configurations make equal rollups.
    pub seed: u64,
    /// Users, each with an L1 address and, at first, one key. At least 1.
    pub users: u32,
    /// Tokens, numbered from 1, whose fee accounts are the queue's first entries. At least 1.
    pub tokens: u16,
}

/// Which signed operations a batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Transfers for the most part, withdrawals, creations, and now and then a no-op.
    All,
    /// Transfers.
    Transfers,
}

/// What a sample batch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The shards' shape: an operation of the queue stands before each group that has room, until `queued` are there.
    pub shape: Shape,
    /// Operations of the queue.
    pub queued: usize,
    /// Signed operations.
    pub signed: usize,
    /// Which.
    pub mix: Mix,
}

/// A sample rollup: its keys, and its state after the batches made so far.
#[derive(Debug, Clone)]
pub struct Sample {
    config: SampleConfig,
    rng: ChaCha20Rng,
    state: State,
    batches: u64,
    keys: Vec<PrivateKey>,
    /// By user; the operator, who has the fee accounts, is the last.
    addresses: Vec<[u8; 20]>,
    /// By account, the place of its key.
    owners: BTreeMap<AccountIndex, usize>,
    /// By token, its accounts, the fee account first.
    holders: BTreeMap<TokenId, Vec<AccountIndex>>,
    /// Entries that come before what is drawn.
    pending: VecDeque<Record>,
    deposits: u64,
    creations: u64,
}

impl Sample {
    /// Makes the keys; the state is empty, and the queue has an entry for each token.
    ///
    /// # Panics
    /// Without users or tokens.
    pub fn new(config: SampleConfig) -> Self {
        assert!(
            config.users > 0 && config.tokens > 0,
            "a sample has users and tokens"
        );
        let mut rng = ChaCha20Rng::seed_from_u64(config.seed);
        let people = config.users as usize + 1;
        let mut seeds = vec![[0; 32]; people];
        seeds.iter_mut().for_each(|seed| rng.fill_bytes(seed));
        let keys = threads::each(people, |place| PrivateKey::from_bytes(&seeds[place]));
        let addresses: Vec<[u8; 20]> = (0..people).map(|_| rng.r#gen()).collect();
        let operator = people - 1;
        let mut sample = Self {
            config,
            rng,
            state: State::default(),
            batches: 0,
            keys,
            addresses,
            owners: BTreeMap::new(),
            holders: BTreeMap::new(),
            pending: VecDeque::new(),
            deposits: 0,
            creations: 0,
        };
        for token in (1..=config.tokens).map(TokenId) {
            let index = AccountIndex::fee_account(token);
            let entry = sample.deposit_new(token, index, 0, operator);
            sample.pending.push_back(entry);
        }
        sample
    }

    /// The state after the batches made so far.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The key that owns an account now, if it is one of the sample's.
    pub fn key(&self, index: AccountIndex) -> Option<&PrivateKey> {
        self.owners.get(&index).map(|place| &self.keys[*place])
    }

    /// Makes the next batch and moves the state over it. Its operations fill the groups of the shape without a gap.
    ///
    /// # Panics
    /// On a time that leaves no 40-bit expiry, and a shape that P-7.1 does not allow.
    pub fn batch(&mut self, rollup_id: RollupId, time: u64, draw: Draw) -> Batch {
        assert!(
            (time + LIFETIME_SECONDS) >> TIME_BITS == 0,
            "a batch's time has 40 bits"
        );
        let shape = draw.shape.check().expect("a shape that is allowed");
        let terms = Terms {
            rollup_id: &rollup_id,
            time,
        };
        let base = std::mem::take(&mut self.state);
        let mut overlay = Overlay::new(&base);
        let (mut operations, mut claims, mut signers) = (Vec::new(), Vec::new(), Vec::new());
        let (mut queued, mut signed) = (draw.queued, draw.signed);
        for group in 0.. {
            if queued == 0 && signed == 0 {
                break;
            }
            if queued > 0 && group % shape.groups() < shape.rooms {
                queued -= 1;
                operations.push(self.queued(&mut overlay));
            }
            for place in 0..signed.min(GROUP_WORDS) {
                signed -= 1;
                let drawn = self.signed(&overlay, &terms, draw.mix, place == GROUP_WORDS - 1);
                let done = overlay.execute(&drawn, &terms, &mut claims);
                done.expect("what is drawn is valid");
                signers.resize(claims.len(), self.settle(&drawn));
                operations.push(drawn.into());
            }
        }
        let signatures = threads::each(claims.len(), |place| {
            let claim: &Claim = &claims[place];
            self.keys[signers[place]].sign(&claim.message())
        });
        sign(&mut operations, signatures);
        let written: Vec<_> = overlay.into_changes();
        let written: Vec<_> = written
            .into_iter()
            .filter_map(|change| Some((change.index, change.after?)))
            .collect();
        let update = base.tree().update(&leaves(&written));
        let (old_root, new_root) = (base.root(), update.root());
        self.state = base;
        self.state.commit(&written, update);
        let number = self.batches;
        self.batches += 1;
        Batch {
            rollup_id,
            number,
            time,
            old_root,
            new_root,
            operations,
        }
    }

    /// An operation of the queue, executed.
    fn queued(&mut self, overlay: &mut Overlay) -> Operation {
        let entry = match self.pending.pop_front() {
            Some(entry) => entry,
            None => self.draw_entry(overlay),
        };
        let done = overlay.queued(&entry).expect("sample deposits are small");
        let record = done.record.expect("the queue's operations have records");
        if record.code == 0 && matches!(record.kind, Kind::DepositNew | Kind::KeyChange) {
            let key = self.keys.iter().rposition(|key| key.public() == record.key());
            let key = key.expect("the sample's own");
            match record.kind {
                Kind::DepositNew => self.add(record.index, record.token, key),
                _ => drop(self.owners.insert(record.index, key)),
            }
        }
        Queued::new(entry)
            .expect("entries are as the queue has them")
            .into()
    }

    /// An entry: one in four does not fit the state, each code in turn.
    fn draw_entry(&mut self, overlay: &Overlay) -> Record {
        let token = TokenId(self.rng.gen_range(1..=self.config.tokens));
        let user = self.rng.gen_range(0..self.config.users as usize);
        let amount = self.rng.gen_range(1..=DEPOSIT_MAX);
        let kind = self.rng.gen_range(0..8);
        let target = self.holder(token, 0).filter(|_| kind > 2);
        let Some((index, account)) = target.and_then(|index| Some((index, overlay.get(index)?))) else {
            let index = AccountIndex::new(L1_INDEX_MIN + self.deposits).expect("fewer than 2^32 are drawn");
            self.deposits += 1;
            return self.deposit_new(token, index, amount, user);
        };
        let none = Coordinate::ZERO;
        let mut entry = Record {
            kind: Kind::ForcedExit,
            code: 0,
            token,
            index,
            amount: 0,
            address: account.l1_address,
            u: none,
            v: none,
        };
        match kind {
            3 | 4 => {
                entry.kind = Kind::DepositExisting;
                entry.amount = amount;
                entry.u = Coordinate::from_address(&account.l1_address);
                entry.v = account.owner.0.y.into();
                entry.address = self.addresses[user];
            }
            5 | 6 => {}
            _ => {
                let mut seed = [0; 32];
                self.rng.fill_bytes(&mut seed);
                self.keys.push(PrivateKey::from_bytes(&seed));
                let key = self.keys.last().expect("one was pushed").public();
                entry.kind = Kind::KeyChange;
                entry.token = TokenId(0);
                (entry.u, entry.v) = (key.0.x.into(), key.0.y.into());
            }
        }
        if self.rng.gen_ratio(1, 4) {
            self.spoil(&mut entry);
        }
        entry
    }

    /// Makes an entry one of those that do not fit.
    fn spoil(&mut self, entry: &mut Record) {
        let stranger = [0xee; 20];
        match (self.rng.gen_range(1..=4), entry.kind) {
            (2, Kind::DepositExisting | Kind::ForcedExit) => entry.token = TokenId(u16::MAX),
            (3, Kind::DepositExisting) => entry.u = Coordinate::from_address(&stranger),
            (4, Kind::DepositExisting) => entry.v = Coordinate::from_address(&stranger),
            (3, _) => entry.address = stranger,
            _ => entry.index = AccountIndex::new((1 << 33) - 1).expect("33 bits"),
        }
    }

    /// A valid operation, unsigned. Where no record may stand it is no withdrawal and no creation.
    fn signed(&mut self, overlay: &Overlay, terms: &Terms, mix: Mix, no_record: bool) -> Signed {
        let kind = match mix {
            Mix::All => self.rng.gen_range(0..32),
            Mix::Transfers => 8,
        };
        let token = TokenId(self.rng.gen_range(1..=self.config.tokens));
        let from = self.holder(token, 4);
        let sender = from.and_then(|from| Some((from, overlay.get(from)?)));
        let Some((from, sender)) = sender.filter(|_| kind > 0) else {
            return Signed::NoOp;
        };
        let expiry = Expiry::new(terms.time + LIFETIME_SECONDS).expect("the time leaves room");
        let fee = u128::from(self.rng.gen_range(0..16u8)).min(sender.balance);
        let fee_float = Fee::from_integer(fee).expect("mantissas without exponent are fees");
        match kind {
            1..5 if !no_record => {
                let user = self.rng.gen_range(0..self.config.users as usize);
                let place = USER_INDEX_MIN + self.creations;
                let creation = Creation {
                    index: AccountIndex::new(place).expect("fewer than 2^32 are drawn"),
                    token,
                    owner: self.keys[user].public(),
                    l1_address: self.addresses[user],
                };
                self.creations += 1;
                Signed::Creation(SignedCreation {
                    creation,
                    signature: UNSIGNED,
                })
            }
            5..8 if !no_record => {
                let withdrawal = Withdrawal {
                    from,
                    amount: self.rng.gen_range(0..=sender.balance - fee),
                    fee: fee_float,
                    nonce: sender.nonce,
                    expiry,
                    token,
                };
                Signed::Withdrawal(SignedWithdrawal {
                    withdrawal,
                    signature: UNSIGNED,
                })
            }
            _ => {
                let to = match self.rng.gen_range(0..16) {
                    0 | 1 => from,
                    2 => AccountIndex::fee_account(token),
                    _ => self.holder(token, 2).expect("the sender is one"),
                };
                let amount = self.rng.gen_range(0..=AMOUNT_MAX.min(sender.balance - fee));
                let transfer = Transfer {
                    from,
                    to,
                    amount: Amount::from_integer(amount).expect("mantissas without exponent are amounts"),
                    fee: fee_float,
                    nonce: sender.nonce,
                    expiry,
                    token,
                };
                Signed::Transfer(SignedTransfer {
                    transfer,
                    signature: UNSIGNED,
                })
            }
        }
    }

    /// Notes an account that a drawn operation makes. Returns whose key signs it.
    fn settle(&mut self, drawn: &Signed) -> usize {
        match drawn {
            Signed::NoOp => 0,
            Signed::Transfer(signed) => self.owners[&signed.transfer.from],
            Signed::Withdrawal(signed) => self.owners[&signed.withdrawal.from],
            Signed::Creation(signed) => {
                let creation = signed.creation;
                let key = self.keys.iter().position(|key| key.public() == creation.owner);
                let key = key.expect("the sample's own");
                self.add(creation.index, creation.token, key);
                key
            }
        }
    }

    fn add(&mut self, index: AccountIndex, token: TokenId, key: usize) {
        self.owners.insert(index, key);
        self.holders.entry(token).or_default().push(index);
    }

    /// One of a token's accounts, often one of the first `favourites`.
    fn holder(&mut self, token: TokenId, favourites: usize) -> Option<AccountIndex> {
        let holders = self.holders.get(&token)?;
        let favoured = favourites.min(holders.len());
        let among = match favoured > 0 && self.rng.gen_ratio(1, 4) {
            true => favoured,
            false => holders.len(),
        };
        Some(holders[self.rng.gen_range(0..among)])
    }

    fn deposit_new(&self, token: TokenId, index: AccountIndex, amount: u128, user: usize) -> Record {
        let key = self.keys[user].public();
        Record {
            kind: Kind::DepositNew,
            code: 0,
            token,
            index,
            amount,
            address: self.addresses[user],
            u: key.0.x.into(),
            v: key.0.y.into(),
        }
    }
}

/// Puts signatures into the operations that have one, in their order.
fn sign(operations: &mut [Operation], signatures: Vec<Signature>) {
    let mut signatures = signatures.into_iter();
    for operation in operations {
        let place = match operation {
            Operation::Transfer(signed) => &mut signed.signature,
            Operation::Withdrawal(signed) => &mut signed.signature,
            Operation::Creation(signed) => &mut signed.signature,
            Operation::NoOp | Operation::Queued(_) => continue,
        };
        *place = signatures.next().expect("each was claimed");
    }
}
