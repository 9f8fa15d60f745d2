//! The contract, what L1's rules say that it holds, the native machine, and a follower: side by side after every action.

use std::collections::{BTreeMap, BTreeSet};

use alloy::{
    primitives::{Address, B256, U256, aliases::U40, keccak256},
    sol_types::{SolCall, SolEvent, SolValue},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rules::{
    Fr,
    account::{Account, AccountIndex, TokenId},
    amount::{Amount, Fee},
    batch::{self, Batch},
    derive::{Accepted, Position},
    digest::Digest,
    eddsa::{PrivateKey, PublicKey},
    follow::{Block, Follower},
    ledger::Ledger,
    operation::{Creation, Expiry, Operation, Queued, RollupId, Transfer, Withdrawal},
    outbox::{self, Owed, Tree},
    record::{Kind, QueueHash, Record},
    shards::{Sharded, ShardsError, shards},
    state::State,
    statement::root_statement,
    witness::Shape,
};
use verifier_contracts::{
    rollup::{self, IRollup, Rejection, from_u256, to_u256},
    solc::{self, Runs},
    tools::Tools,
};

use crate::{
    chain::{Chain, Sent, Tx},
    l2::{L2, Wish},
};

/// The keys' sizes: room for ten entries and fifty places.
const SHAPE: Shape = Shape { places: 25, rooms: 5 };
const CHILDREN: usize = 2;
/// Entries that a batch must consume at most, and the queue's capacity.
const CONSUMED_MAX: usize = 10;
/// Deadlines, seconds.
pub const DUE_AFTER: u64 = 3_600;
const SILENCE: u64 = 7_200;
pub const FREEZE_AFTER: u64 = 7 * 86_400;
const DELAY: u64 = FREEZE_AFTER + DUE_AFTER + 30 * 86_400;
/// The price of entries (P-12.3).
const ENTRY_GAS: u64 = 30_000;
const BASE_FEE_MIN: u64 = 100_000_000;
/// What everybody sends more than is asked, and gets back.
const MORE: u64 = 10_000_000_000_000_000;
/// Tokens: ETH, a plain one, and one that keeps a hundredth of what it moves.
pub const TOKENS: u16 = 3;
const KEEPS: u16 = 3;
/// Undo data reach back so many blocks.
const DEPTH: u64 = 64;

/// An entry of the queue.
#[derive(Clone, Copy, Debug)]
struct Entry {
    record: Record,
    time: u64,
}

/// What L1 holds, by its rules.
#[derive(Clone, Debug)]
struct Books {
    entries: Vec<Entry>,
    head: usize,
    batches: u64,
    last_time: u64,
    accepted_at: u64,
    deposits: u64,
    ledger: Ledger,
    owed: Vec<Owed>,
    trees: BTreeMap<u64, Tree>,
    paid: BTreeSet<(u64, u32)>,
    fees: U256,
    frozen: bool,
    l2: L2,
    /// The native machine's.
    state: State,
}

/// All of it.
pub struct World {
    /// The chain.
    pub chain: Chain,
    rng: ChaCha20Rng,
    contract: Address,
    rollup_id: RollupId,
    tokens: BTreeMap<u16, Address>,
    books: Books,
    follower: Follower,
    wishes: Vec<Wish>,
    keys: BTreeMap<[u8; 64], PrivateKey>,
    users: Vec<PrivateKey>,
    /// What was done, by name.
    pub done: BTreeMap<&'static str, usize>,
    /// The same of refusals.
    pub refusals: BTreeMap<String, usize>,
}

/// Who is who among anvil's accounts.
const OPERATOR: usize = 0;
const STRANGER: usize = 8;
const FEES: usize = 9;
const USERS: std::ops::Range<usize> = 1..8;

impl World {
    /// Deploys it all.
    pub async fn new(tools: &Tools, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut chain = Chain::start(tools).await;
        let mut sources: Vec<(&str, &str)> = rollup::SOURCES.to_vec();
        sources.retain(|(name, _)| *name == "IVerifier.sol");
        sources.push(("StandIns.sol", include_str!("StandIns.sol")));
        let wanted = [("StandIns.sol", "Knows"), ("StandIns.sol", "Token")];
        let codes = solc::compile_all(tools, &sources, Runs::Size, &wanted).expect("they compile");
        let mut create = async |code: Vec<u8>| {
            let tx = Tx {
                from: chain.people[OPERATOR],
                to: None,
                value: U256::ZERO,
                data: code,
            };
            let sent = chain.send(&tx, 1).await.expect("it is created");
            sent.created.expect("its address")
        };
        let verifier = create(codes[0].creation.clone()).await;
        let token = |kept: u64| [&codes[1].creation[..], &U256::from(kept).abi_encode()].concat();
        let plain = create(token(0)).await;
        let keeping = create(token(1)).await;
        let contracts = rollup::compile(tools).expect("they compile");
        let poseidon = create(contracts.poseidon.creation).await;
        let users: Vec<PrivateKey> = (0..10).map(|_| PrivateKey::from_bytes(&rng.r#gen())).collect();
        let fee_key = users[FEES].public();
        let poseidon_runtime: alloy::primitives::Bytes = chain
            .ask("eth_getCode", serde_json::json!([poseidon, "latest"]))
            .await;
        let parameters = IRollup::Parameters {
            dueAfter: DUE_AFTER,
            silence: SILENCE,
            freezeAfter: FREEZE_AFTER,
            consumedMax: CONSUMED_MAX as u64,
            batchAgeMax: 3_600,
            delay: DELAY,
            tokenPrice: U256::from(7),
            operator: chain.people[OPERATOR],
            feeAddress: chain.people[FEES],
            feeKeyX: to_u256(&fee_key.0.x),
            feeKeyY: to_u256(&fee_key.0.y),
            governor: Address::ZERO,
            guardian: Address::ZERO,
            poseidon,
            poseidonCodeHash: keccak256(&poseidon_runtime),
        };
        let registration = IRollup::Registration {
            addr: verifier,
            vkDigest: B256::from(U256::from(0x5afe)),
            gasCap: 250_000,
        };
        let arguments = (parameters, vec![registration]).abi_encode_params();
        let code = contracts.rollup.creation;
        let tx = Tx {
            from: chain.people[OPERATOR],
            to: None,
            value: U256::ZERO,
            data: [code, arguments].concat(),
        };
        let sent = chain.send(&tx, 1).await.expect("it is created");
        let contract = sent.created.expect("its address");
        let chain_id: U256 = chain.ask("eth_chainId", serde_json::json!([])).await;
        let books = Books {
            entries: Vec::new(),
            head: 0,
            batches: 0,
            last_time: 0,
            accepted_at: chain.now,
            deposits: 0,
            ledger: Ledger::default(),
            owed: Vec::new(),
            trees: BTreeMap::new(),
            paid: BTreeSet::new(),
            fees: U256::ZERO,
            frozen: false,
            l2: L2::default(),
            state: State::default(),
        };
        let keys = users.iter().map(|key| (key.public().to_bytes(), key.clone()));
        let mut world = Self {
            rng,
            contract,
            rollup_id: RollupId {
                chain_id: chain_id.to(),
                contract: contract.into_array(),
            },
            tokens: BTreeMap::from([(1, Address::ZERO), (2, plain), (3, keeping)]),
            books,
            follower: Follower::new(State::default(), Position::default(), DEPTH),
            wishes: Vec::new(),
            keys: keys.collect(),
            users,
            done: BTreeMap::new(),
            refusals: BTreeMap::new(),
            chain,
        };
        let first = world.token_entry(1);
        world.entered(first, &sent, false).await;
        for id in 2..=TOKENS {
            let call = IRollup::addTokenCall {
                token: world.tokens[&id],
            };
            let tx = world.tx(STRANGER, MORE, call);
            let sent = world.chain.send(&tx, 1).await.expect("anybody adds a token");
            world.books.fees += U256::from(7);
            let entry = world.token_entry(id);
            world.entered(entry, &sent, false).await;
        }
        world
    }

    fn token_entry(&self, id: u16) -> Record {
        let owner = self.users[FEES].public();
        Record {
            kind: Kind::DepositNew,
            code: 0,
            token: TokenId(id),
            index: index(id.into()),
            amount: 0,
            address: self.chain.people[FEES].into_array(),
            u: owner.0.x.into(),
            v: owner.0.y.into(),
        }
    }

    fn tx(&self, from: usize, value: impl TryInto<u128>, call: impl SolCall) -> Tx {
        let value: u128 = value.try_into().unwrap_or_else(|_| panic!("a sum of wei"));
        Tx {
            from: self.chain.people[from],
            to: Some(self.contract),
            value: U256::from(value),
            data: call.abi_encode(),
        }
    }

    fn count(&mut self, name: &'static str) {
        *self.done.entry(name).or_default() += 1;
    }

    /// Number of actions, refused ones too.
    pub fn actions(&self) -> usize {
        self.done.values().sum()
    }

    /// That a call is refused for this reason, and changes nothing.
    async fn refused(&mut self, tx: &Tx, is: impl Fn(&Rejection) -> bool) {
        let name = match self.chain.send(tx, 1).await {
            Ok(_) => panic!("it was to be refused: {tx:?}"),
            Err(rejection) => {
                assert!(is(&rejection), "for another reason: {rejection:?}");
                let name = format!("{rejection:?}");
                name.split([' ', '{', '(']).next().expect("a name").to_owned()
            }
        };
        *self.refusals.entry(name).or_default() += 1;
        self.count("refused");
    }

    /// An entry came into the queue by that transaction.
    async fn entered(&mut self, record: Record, sent: &Sent, asks_gas: bool) {
        let entry = self.books.entries.len();
        let queued = sent.logs.iter().find_map(|log| {
            let data = alloy::primitives::LogData::new(log.topics.clone(), log.data.clone())?;
            IRollup::Queued::decode_log_data(&data).ok()
        });
        let queued = queued.expect("its event");
        assert_eq!(queued.entry, U40::from(entry));
        let elements = record.elements().map(|element| to_u256(&element));
        assert_eq!(
            [queued.a0, queued.a1, queued.a2, queued.a3],
            elements,
            "{record:?}"
        );
        let time = self.chain.now;
        self.books.entries.push(Entry { record, time });
        self.books.ledger.enter(&record).expect("in range");
        let price = u128::from(self.chain.base_fee().await.max(BASE_FEE_MIN))
            * u128::from(if asks_gas { ENTRY_GAS } else { 0 });
        self.books.fees += U256::from(price);
    }

    /// One action, drawn.
    pub async fn act(&mut self) {
        match self.rng.gen_range(0..100) {
            0..10 => self.deposit_new().await,
            10..20 => self.deposit_to().await,
            20..27 => self.force_exit().await,
            27..31 => self.change_key().await,
            31..70 => self.wish(),
            70..80 => self.claim().await,
            80..88 => self.wrong_call().await,
            88..90 => self.wrong_batch().await,
            90..91 => self.late().await,
            91..92 => self.collect().await,
            92..93 => self.reorganise().await,
            _ => self.submit(OPERATOR).await,
        }
    }

    fn user(&mut self) -> usize {
        self.rng.gen_range(USERS)
    }

    /// An account that exists, for the most part.
    fn some_index(&mut self) -> u64 {
        let count = self.books.l2.accounts.len();
        if count == 0 || self.rng.gen_bool(0.05) {
            return self.rng.gen_range(0..1 << 33);
        }
        let place = self.rng.gen_range(0..count);
        *self.books.l2.accounts.keys().nth(place).expect("within")
    }

    fn some_key(&mut self) -> PublicKey {
        if self.rng.gen_bool(0.7) {
            let user = self.user();
            return self.users[user].public();
        }
        let key = PrivateKey::from_bytes(&self.rng.r#gen());
        let public = key.public();
        self.keys.insert(public.to_bytes(), key);
        public
    }

    fn arrives(&self, token: u16, amount: u128) -> u128 {
        if token == KEEPS {
            amount - amount / 100
        } else {
            amount
        }
    }

    fn value_of(&self, token: u16, amount: u128) -> u128 {
        u128::from(MORE) + if token == 1 { amount } else { 0 }
    }

    async fn deposit_new(&mut self) {
        let (user, key) = (self.user(), self.some_key());
        let token = self.rng.gen_range(1..=TOKENS);
        let amount: u128 = self.rng.gen_range(100..1_000_000_000_000);
        let call = IRollup::depositNewCall {
            token,
            amount,
            ax: to_u256(&key.0.x),
            ay: to_u256(&key.0.y),
        };
        let tx = self.tx(user, self.value_of(token, amount), call);
        let sent = self.chain.send(&tx, 1).await.expect("a deposit is taken");
        let record = Record {
            kind: Kind::DepositNew,
            code: 0,
            token: TokenId(token),
            index: index((1 << 32) + self.books.deposits),
            amount: self.arrives(token, amount),
            address: self.chain.people[user].into_array(),
            u: key.0.x.into(),
            v: key.0.y.into(),
        };
        self.books.deposits += 1;
        self.entered(record, &sent, false).await;
        self.count("deposit to a new account");
    }

    async fn deposit_to(&mut self) {
        let (user, at) = (self.user(), self.some_index());
        let account = self.books.l2.get(at).copied();
        let mut token = account.map_or(1, |account| account.token.0);
        if self.rng.gen_bool(0.05) {
            token = self.rng.gen_range(1..=TOKENS);
        }
        let mut address = account.map_or([0; 20], |account| account.l1_address);
        let mut ay = account.map_or(Fr::zero(), |account| account.owner.0.y);
        match self.rng.gen_range(0..20) {
            0 => address[19] ^= 1,
            1 => ay += Fr::one(),
            _ => {}
        }
        let amount: u128 = self.rng.gen_range(100..1_000_000_000_000);
        let call = IRollup::depositToCall {
            token,
            amount,
            index: at,
            l1Address: address.into(),
            ay: to_u256(&ay),
        };
        let tx = self.tx(user, self.value_of(token, amount), call);
        let sent = self.chain.send(&tx, 1).await.expect("a deposit is taken");
        let record = Record {
            kind: Kind::DepositExisting,
            code: 0,
            token: TokenId(token),
            index: index(at),
            amount: self.arrives(token, amount),
            address: self.chain.people[user].into_array(),
            u: rules::record::Coordinate::from_address(&address),
            v: ay.into(),
        };
        self.entered(record, &sent, false).await;
        self.count("deposit to an account");
    }

    /// Whose L1 address an account has, for the most part.
    fn caller_of(&mut self, at: u64) -> usize {
        let address = self
            .books
            .l2
            .get(at)
            .map(|account| Address::from(account.l1_address));
        let place = self
            .chain
            .people
            .iter()
            .position(|person| Some(*person) == address);
        match place {
            Some(place) if self.rng.gen_bool(0.9) => place,
            _ => self.user(),
        }
    }

    async fn force_exit(&mut self) {
        let at = self.some_index();
        let user = self.caller_of(at);
        let mut token = self.books.l2.get(at).map_or(1, |account| account.token.0);
        if self.rng.gen_bool(0.05) {
            token = self.rng.r#gen();
        }
        let tx = self.tx(user, MORE, IRollup::forceExitCall { index: at, token });
        let sent = self.chain.send(&tx, 1).await.expect("anybody may ask");
        let record = Record {
            kind: Kind::ForcedExit,
            code: 0,
            token: TokenId(token),
            index: index(at),
            amount: 0,
            address: self.chain.people[user].into_array(),
            u: rules::record::Coordinate::ZERO,
            v: rules::record::Coordinate::ZERO,
        };
        self.entered(record, &sent, true).await;
        self.count("forced exit");
    }

    async fn change_key(&mut self) {
        let (at, key) = (self.some_index(), self.some_key());
        let user = self.caller_of(at);
        let call = IRollup::changeKeyCall {
            index: at,
            ax: to_u256(&key.0.x),
            ay: to_u256(&key.0.y),
        };
        let tx = self.tx(user, MORE, call);
        let sent = self.chain.send(&tx, 1).await.expect("anybody may ask");
        let record = Record {
            kind: Kind::KeyChange,
            code: 0,
            token: TokenId(0),
            index: index(at),
            amount: 0,
            address: self.chain.people[user].into_array(),
            u: key.0.x.into(),
            v: key.0.y.into(),
        };
        self.entered(record, &sent, true).await;
        self.count("key change");
    }

    /// An owner signs something, which waits for a batch.
    fn wish(&mut self) {
        let (from, to) = (self.some_index(), self.some_index());
        let fee = self.rng.gen_range(0..16);
        let wish = match self.rng.gen_range(0..10) {
            0 | 1 => Wish::Withdraw {
                from,
                amount: self.rng.gen_range(0..2_000_000_000),
                fee,
            },
            2 => Wish::Create {
                index: self.rng.gen_range(1 << 16..1 << 18),
                token: self.rng.gen_range(1..=TOKENS),
                user: self.user(),
            },
            _ => {
                // Of the same token, if there is another such account.
                let token = self.books.l2.get(from).map(|account| account.token);
                let mut same = self.books.l2.accounts.iter();
                let partner = same.find(|(at, account)| **at >= to && Some(account.token) == token);
                Wish::Transfer {
                    from,
                    to: partner.map_or(to, |(at, _)| *at),
                    amount: self.rng.gen_range(0..500_000),
                    fee,
                }
            }
        };
        self.wishes.push(wish);
        self.count("signed operation");
    }

    fn account_of(&self, token: u16, user: usize) -> Account {
        Account {
            token: TokenId(token),
            nonce: 0,
            balance: 0,
            owner: self.users[user].public(),
            l1_address: self.chain.people[user].into_array(),
        }
    }

    /// The operation of a wish on these accounts, signed by whoever owns what pays.
    fn signed(&self, wish: &Wish, l2: &L2, time: u64) -> Option<Operation> {
        let id = &self.rollup_id;
        let expiry = Expiry::new(time).expect("40 bits");
        let fee = |fee: u64| Fee::from_integer(fee.into()).expect("a float");
        let owner = |account: &Account| &self.keys[&account.owner.to_bytes()];
        Some(match *wish {
            Wish::Transfer {
                from,
                to,
                amount,
                fee: paid,
            } => {
                let (sender, receiver) = (l2.get(from)?, l2.get(to)?);
                let transfer = Transfer {
                    from: index(from),
                    to: index(to),
                    amount: Amount::from_integer(amount.into()).expect("a float"),
                    fee: fee(paid),
                    nonce: sender.nonce,
                    expiry,
                    token: sender.token,
                };
                Operation::Transfer(transfer.sign(owner(sender), id, receiver))
            }
            Wish::Withdraw {
                from,
                amount,
                fee: paid,
            } => {
                let sender = l2.get(from)?;
                let withdrawal = Withdrawal {
                    from: index(from),
                    amount,
                    fee: fee(paid),
                    nonce: sender.nonce,
                    expiry,
                    token: sender.token,
                };
                Operation::Withdrawal(withdrawal.sign(owner(sender), id, &sender.l1_address))
            }
            Wish::Create {
                index: at,
                token,
                user,
            } => {
                let account = self.account_of(token, user);
                let creation = Creation {
                    index: index(at),
                    token: account.token,
                    owner: account.owner,
                    l1_address: account.l1_address,
                };
                Operation::Creation(creation.sign(&self.users[user], id))
            }
        })
    }

    /// Entries that are due at a second.
    fn due(&self, at: u64) -> usize {
        let waiting = &self.books.entries[self.books.head..];
        waiting
            .iter()
            .take_while(|entry| at >= entry.time + DUE_AFTER)
            .count()
    }

    fn is_enforced(&self, at: u64) -> bool {
        self.due(at) > 0 || at >= self.books.accepted_at + SILENCE
    }

    /// Makes a batch that consumes so many entries, out of wishes that are possible; the accounts after it; its records.
    fn make(&mut self, consumed: usize, time: u64) -> Made {
        let mut l2 = self.books.l2.clone();
        let (mut operations, mut records) = (Vec::new(), Vec::new());
        let mut left = 5 * (SHAPE.groups() * CHILDREN - consumed);
        let entries = self.books.entries[self.books.head..][..consumed].to_vec();
        let mut entries = entries.into_iter().peekable();
        let wishes: Vec<Wish> = self.wishes.drain(..).collect();
        let mut wishes = wishes.into_iter();
        loop {
            let take = entries.peek().is_some() && self.rng.gen_bool(0.4);
            if take {
                let record = entries.next().expect("one was seen").record;
                operations.push(Operation::Queued(Queued::new(record).expect("an entry")));
                records.push(l2.execute(&record));
                continue;
            }
            let next = if left < 12 { None } else { wishes.next() };
            let Some(wish) = next else {
                match entries.peek() {
                    Some(_) => continue,
                    None => break,
                }
            };
            let Some(operation) = self.signed(&wish, &l2, time) else {
                continue;
            };
            let before = l2.clone();
            if !l2.apply(&wish, |token, user| self.account_of(token, user)) {
                self.impossible(&operations, operation, time);
                continue;
            }
            left = left.saturating_sub(2);
            let record = match operation {
                Operation::Withdrawal(signed) => {
                    let from = before.get(signed.withdrawal.from.get()).expect("it paid");
                    Some(signed.withdrawal.record(from))
                }
                Operation::Creation(signed) => Some(signed.creation.record()),
                _ => None,
            };
            records.extend(record);
            operations.push(operation);
        }
        self.wishes.extend(wishes);
        let mut batch = self.batch(operations, time);
        batch.new_root =
            batch::new_root(&self.books.state, &batch).expect("the native machine takes what is possible");
        Made { batch, records, l2 }
    }

    fn batch(&self, operations: Vec<Operation>, time: u64) -> Batch {
        Batch {
            rollup_id: self.rollup_id,
            number: self.books.batches,
            time,
            old_root: self.books.state.root(),
            new_root: Fr::zero(),
            operations,
        }
    }

    /// That the native machine refuses what the accounts do not allow, too.
    fn impossible(&mut self, before: &[Operation], operation: Operation, time: u64) {
        let place = before.len();
        let batch = self.batch([before, &[operation]].concat(), time);
        let refused = batch::new_root(&self.books.state, &batch);
        assert!(
            matches!(refused, Err(batch::BatchError::Operation { operation, .. }) if operation == place),
            "{refused:?}"
        );
        self.count("impossible operation");
    }

    /// How a batch is proven: as the shards have it, or none where it does not fit.
    fn prove(&self, batch: &Batch, state: &State) -> Option<(State, Vec<Record>, Proven)> {
        let mut state = state.clone();
        let executed = batch::execute(&mut state, batch).expect("it was made so");
        let records = executed.records();
        match shards(batch, &executed, SHAPE, CHILDREN) {
            Ok(sharded) => Some((state, records, Proven::of(batch, sharded))),
            Err(ShardsError::TooManyShards { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// A batch of whoever it is, accepted.
    pub async fn submit(&mut self, who: usize) {
        let after = self.rng.gen_range(1..60);
        let at = self.chain.now + after;
        let least = self.due(at).min(CONSUMED_MAX);
        let waiting = self.books.entries.len() - self.books.head;
        let least = if who == OPERATOR { least } else { least.max(1) };
        if waiting < least {
            return;
        }
        let consumed = self.rng.gen_range(least..=waiting.min(CONSUMED_MAX));
        let time = at - self.rng.gen_range(0..after.min(at - self.books.last_time + 1));
        let made = self.make(consumed, time);
        let Some((state, records, proven)) = self.prove(&made.batch, &self.books.state) else {
            self.count("batch that does not fit");
            return;
        };
        assert_eq!(records, made.records, "records by both machines");
        let tx = self.tx(who, 0, proven.call());
        let sent = self.chain.send(&tx, after).await;
        let sent =
            sent.unwrap_or_else(|error| panic!("an honest batch was refused: {error}\n{:?}", made.batch));
        self.accepted(&made, records, state, &sent);
        self.count(if who == OPERATOR {
            "batch"
        } else {
            "batch of a stranger"
        });
    }

    fn accepted(&mut self, made: &Made, records: Vec<Record>, state: State, sent: &Sent) {
        let number = made.batch.number;
        let books = &mut self.books;
        for record in &records {
            books.ledger.accept(record).expect("in range");
            books.head += usize::from(record.kind.is_queued());
        }
        let owed = outbox::owed(number, &records);
        let tree = Tree::new(&owed);
        (books.batches, books.last_time, books.accepted_at) = (number + 1, made.batch.time, self.chain.now);
        (books.l2, books.state) = (made.l2.clone(), state);
        // The logs alone lead the follower there.
        let accepted = told(sent);
        assert_eq!(accepted.withdrawals_root, tree.root());
        let block = Block {
            number: sent.block,
            hash: Digest(sent.hash.0),
        };
        let derived = self.follower.accept(block, &accepted).expect("it derives");
        assert_eq!(derived.records, records);
        books.owed.extend(&owed);
        books.trees.insert(number, tree);
        self.compare();
    }

    /// Accounts, sums and roots of all machines.
    fn compare(&self) {
        let books = &self.books;
        assert_eq!(self.follower.state().root(), books.state.root());
        let listed: Vec<_> = books.l2.listed().collect();
        let native: Vec<_> = books
            .state
            .accounts()
            .map(|(at, account)| (at, *account))
            .collect();
        assert_eq!(listed, native, "accounts by both machines");
        let followed = self
            .follower
            .state()
            .accounts()
            .map(|(at, account)| (at, account.balance));
        assert!(followed.eq(native.iter().map(|(at, account)| (*at, account.balance))));
        books.ledger.check(&books.state).expect("L + O + U = E");
        assert_eq!(self.follower.position().head, books.head as u64);
    }

    /// What the contract holds is what the books say.
    pub async fn audit(&self) {
        let books = &self.books;
        let view = |token: u16| IRollup::escrowCall { token };
        for token in 1..=TOKENS {
            let escrow: u128 = self.chain.view(self.contract, view(token)).await;
            let sums = books.ledger.sums(TokenId(token));
            assert_eq!(escrow, sums.escrow, "token {token}");
        }
        let escrow = U256::from(books.ledger.sums(TokenId(1)).escrow);
        assert_eq!(
            self.chain.wei(self.contract).await,
            escrow + books.fees,
            "ETH and fees"
        );
        let root = self.chain.view(self.contract, IRollup::stateRootCall {}).await;
        assert_eq!(from_u256(&root), Some(books.state.root()));
        let bounds = self.chain.view(self.contract, IRollup::queueBoundsCall {}).await;
        let found: (u64, u64) = (bounds.head.to(), bounds.tail.to());
        assert_eq!(found, (books.head as u64, books.entries.len() as u64));
        let hash = books
            .entries
            .iter()
            .fold(QueueHash::default(), |hash, entry| hash.after(&entry.record));
        let last = books.entries.len() - 1;
        let slot = self
            .chain
            .view(
                self.contract,
                IRollup::queueCall {
                    entry: U256::from(last),
                },
            )
            .await;
        assert_eq!(slot.to_be_bytes::<32>()[5..], hash.0);
        assert_eq!((slot >> 216u32).to::<u64>(), books.entries[last].time);
    }

    /// One of what is owed, paid or not.
    fn some_owed(&mut self) -> Option<Owed> {
        let count = self.books.owed.len();
        (count > 0).then(|| {
            // Lately owed, for the most part.
            let from = if self.rng.gen_bool(0.7) {
                count.saturating_sub(20)
            } else {
                0
            };
            self.books.owed[self.rng.gen_range(from..count)]
        })
    }

    fn claim_of(&self, owed: &Owed) -> IRollup::claimCall {
        let siblings = self.books.trees[&owed.batch]
            .siblings(owed.position)
            .expect("it has a leaf");
        IRollup::claimCall {
            batch: owed.batch,
            position: owed.position,
            token: owed.token.0,
            amount: owed.amount,
            recipient: owed.recipient.into(),
            siblings: siblings
                .into_iter()
                .map(|sibling| B256::from(sibling.0))
                .collect(),
        }
    }

    async fn claim(&mut self) {
        let Some(owed) = self.some_owed() else { return };
        self.pay(&owed).await;
    }

    /// Claims it, by anybody.
    async fn pay(&mut self, owed: &Owed) {
        let who = self.user();
        let key = (owed.batch, owed.position);
        let tx = self.tx(who, 0, self.claim_of(owed));
        if self.books.paid.contains(&key) {
            return self
                .refused(&tx, |said| matches!(said, Rejection::AlreadyPaid { .. }))
                .await;
        }
        let recipient = Address::from(owed.recipient);
        let sees = owed.token.0 == 1 && self.chain.people[who] != recipient;
        let before = self.chain.wei(recipient).await;
        self.chain.send(&tx, 1).await.expect("it is owed");
        if sees {
            assert_eq!(self.chain.wei(recipient).await, before + U256::from(owed.amount));
        }
        self.books.paid.insert(key);
        self.books.ledger.claim(owed).expect("in range");
        self.count("claim");
    }

    async fn collect(&mut self) {
        let fees = self.chain.people[FEES];
        let before = self.chain.wei(fees).await;
        let tx = self.tx(STRANGER, 0, IRollup::collectFeesCall {});
        if self.books.fees.is_zero() {
            return self
                .refused(&tx, |said| matches!(said, Rejection::NothingToPay))
                .await;
        }
        self.chain.send(&tx, 1).await.expect("anybody may");
        let arrived = self.chain.wei(fees).await - before;
        assert_eq!(arrived, self.books.fees);
        self.books.fees = U256::ZERO;
        self.count("fees");
    }

    /// A call that L1 refuses whatever the state is.
    async fn wrong_call(&mut self) {
        use Rejection as R;
        let (user, key) = (self.user(), self.some_key());
        let (ax, ay) = (to_u256(&key.0.x), to_u256(&key.0.y));
        let deposit = |token, amount, ax, ay| IRollup::depositNewCall {
            token,
            amount,
            ax,
            ay,
        };
        let wide = 1 << 33;
        match self.rng.gen_range(0..9) {
            0 => {
                let tx = self.tx(user, MORE, deposit(TOKENS + 1, 5, ax, ay));
                self.refused(&tx, |said| matches!(said, R::NoSuchToken { .. }))
                    .await;
            }
            1 => {
                let tx = self.tx(user, MORE, deposit(1, 0, ax, ay));
                self.refused(&tx, |said| matches!(said, R::NoAmount)).await;
            }
            2 => {
                let tx = self.tx(user, 4, deposit(1, 5, ax, ay));
                self.refused(&tx, |said| matches!(said, R::PriceNotPaid { .. }))
                    .await;
            }
            3 => {
                let tx = self.tx(user, MORE, deposit(1, 5, ax, ay + U256::from(1)));
                self.refused(&tx, |said| matches!(said, R::BadKey { .. })).await;
            }
            4 => {
                let tx = self.tx(
                    user,
                    MORE,
                    IRollup::forceExitCall {
                        index: wide,
                        token: 1,
                    },
                );
                self.refused(&tx, |said| matches!(said, R::BadIndex { .. })).await;
            }
            5 => {
                let call = IRollup::changeKeyCall { index: wide, ax, ay };
                let tx = self.tx(user, MORE, call);
                self.refused(&tx, |said| matches!(said, R::BadIndex { .. })).await;
            }
            6 => {
                let tx = self.tx(user, 1, IRollup::forceExitCall { index: 1, token: 1 });
                self.refused(&tx, |said| matches!(said, R::PriceNotPaid { .. }))
                    .await;
            }
            7 => {
                let tx = self.tx(user, 0, IRollup::freezeCall {});
                self.refused(&tx, |said| {
                    matches!(said, R::NotYet { .. } | R::NotAnEntry { .. })
                })
                .await;
            }
            _ => {
                let Some(owed) = self.some_owed() else { return };
                let mut call = self.claim_of(&owed);
                match self.rng.gen_range(0..4) {
                    0 => call.amount += 1,
                    1 => call.recipient = self.chain.people[STRANGER],
                    2 => call.position += 1,
                    _ => call.token = call.token % TOKENS + 1,
                }
                let tx = self.tx(user, 0, call);
                self.refused(&tx, |said| {
                    matches!(said, R::NotInTree { .. } | R::AlreadyPaid { .. })
                })
                .await;
            }
        }
    }

    /// A batch with one thing wrong.
    async fn wrong_batch(&mut self) {
        use Rejection as R;
        let at = self.chain.now + 1;
        let waiting = self.books.entries.len() - self.books.head;
        let consumed = waiting.min(CONSUMED_MAX);
        let wishes = self.wishes.clone();
        let made = self.make(consumed, at.max(self.books.last_time));
        // They stay to be made.
        self.wishes = wishes;
        let Some((_, records, proven)) = self.prove(&made.batch, &self.books.state) else {
            return;
        };
        let mut call = proven.call();
        match self.rng.gen_range(0..8) {
            0 if !self.is_enforced(at) => {
                let tx = self.tx(STRANGER, 0, call);
                self.refused(&tx, |said| matches!(said, R::OnlyOperator { .. }))
                    .await;
            }
            1 => {
                call.header.number += 1;
                self.wrong(call, |said| matches!(said, R::WrongBatchNumber { .. }))
                    .await;
            }
            2 => {
                call.header.oldRoot += U256::from(1);
                self.wrong(call, |said| matches!(said, R::WrongOldRoot { .. }))
                    .await;
            }
            3 => {
                call.header.newRoot += U256::from(1);
                self.wrong(call, |said| matches!(said, R::ProofRejected)).await;
            }
            4 if !call.dataB.is_empty() => {
                let mut data = call.dataB.to_vec();
                let byte = self.rng.gen_range(0..data.len());
                data[byte] ^= 1 << self.rng.gen_range(0..8);
                call.dataB = data.into();
                self.wrong(call, |said| {
                    matches!(said, R::ProofRejected | R::DataBEndsInZeros { .. })
                })
                .await;
            }
            // A code, which the queue does not have.
            5 if records.first().is_some_and(|record| record.kind.is_queued()) => {
                let mut data = call.dataA.to_vec();
                data[30] ^= 1 << 3;
                call.dataA = data.into();
                self.wrong(call, |said| matches!(said, R::ProofRejected)).await;
            }
            6 if consumed > 1 && records[0].kind.is_queued() && records[1].kind.is_queued() => {
                let mut data = call.dataA.to_vec();
                data[..248].rotate_left(124);
                call.dataA = data.into();
                self.wrong(call, |said| {
                    matches!(said, R::QueueMismatch { .. } | R::ProofRejected)
                })
                .await;
            }
            7 => {
                call.header.time = self.chain.now + 1_000;
                self.wrong(call, |said| matches!(said, R::TimeInFuture { .. }))
                    .await;
            }
            _ => {}
        }
    }

    async fn wrong(&mut self, call: IRollup::submitBatchCall, is: impl Fn(&Rejection) -> bool) {
        let tx = self.tx(OPERATOR, 0, call);
        self.refused(&tx, is).await;
    }

    /// Time goes by without a batch, until a stranger may make one.
    async fn late(&mut self) {
        if self.books.head == self.books.entries.len() {
            return;
        }
        let tx = self.tx(STRANGER, 0, IRollup::modeCall {});
        self.chain.send(&tx, SILENCE).await.expect("a view");
        assert!(self.is_enforced(self.chain.now));
        // Not even the operator may leave out what is due.
        let at = self.chain.now + 1;
        if let due @ 1.. = self.due(at) {
            let wishes = self.wishes.clone();
            let made = self.make(due.min(CONSUMED_MAX) - 1, at);
            self.wishes = wishes;
            if let Some((_, _, proven)) = self.prove(&made.batch, &self.books.state) {
                self.wrong(proven.call(), |said| matches!(said, Rejection::EntryDue { .. }))
                    .await;
            }
        }
        self.submit(STRANGER).await;
    }

    /// L1 takes some blocks back.
    async fn reorganise(&mut self) {
        let (books, wishes) = (self.books.clone(), self.wishes.clone());
        let remembered = self.chain.remember().await;
        let reached = self.follower.position();
        for _ in 0..self.rng.gen_range(1..4) {
            Box::pin(self.deposit_new()).await;
            Box::pin(self.submit(OPERATOR)).await;
        }
        let batches = self.books.batches - books.batches;
        self.chain.take_back(remembered).await;
        let mut gone = Vec::new();
        // The same numbers hold other blocks, or none.
        let highest: U256 = self.chain.ask("eth_blockNumber", serde_json::json!([])).await;
        let highest = highest.to::<u64>();
        let undone = self.follower.settle(|block| {
            let stays = block.number <= highest;
            if !stays {
                gone.push(block.number);
            }
            stays
        });
        assert_eq!(undone, Ok(batches as usize));
        (self.books, self.wishes) = (books, wishes);
        assert_eq!(self.follower.position(), reached);
        self.compare();
        self.count("reorganisation");
    }

    /// The operator is gone: anybody freezes, and everybody leaves with what is theirs.
    pub async fn end(&mut self) {
        // Something is waiting.
        for _ in 0..3 {
            self.deposit_new().await;
            self.deposit_to().await;
            self.force_exit().await;
        }
        let head = self.books.entries[self.books.head].time;
        let early = self.tx(STRANGER, 0, IRollup::freezeCall {});
        let frozen_at = head + DUE_AFTER + FREEZE_AFTER;
        let after = frozen_at - 1 - self.chain.now;
        match self.chain.send(&early, after).await {
            Err(Rejection::NotYet { from }) => assert_eq!(from, U256::from(frozen_at)),
            other => panic!("the second before: {other:?}"),
        }
        self.chain.send(&early, 1).await.expect("in its second");
        self.books.frozen = true;
        self.refused(&early, |said| matches!(said, Rejection::IsFrozen))
            .await;
        for owed in self.books.owed.clone() {
            if !self.books.paid.contains(&(owed.batch, owed.position)) {
                self.pay(&owed).await;
            }
        }
        self.exits().await;
        self.refunds().await;
        self.audit().await;
        for token in 1..=TOKENS {
            let sums = self.books.ledger.sums(TokenId(token));
            assert_eq!(sums.escrow, 0, "token {token}: everybody has left");
        }
        assert_eq!(self.chain.wei(self.contract).await, self.books.fees);
    }

    async fn exits(&mut self) {
        let accounts: Vec<_> = self.books.l2.listed().collect();
        for (place, (at, account)) in accounts.into_iter().enumerate() {
            // What is refused is tried of one in ten.
            let tries = place % 10 == 0;
            let call = self.exit_of(at, &account);
            let tx = self.tx(STRANGER, 0, call.clone());
            if account.balance == 0 {
                if tries {
                    self.refused(&tx, |said| matches!(said, Rejection::NothingToPay))
                        .await;
                }
                continue;
            }
            if tries {
                let mut more = call;
                more.account.balance += 1;
                let more = self.tx(STRANGER, 0, more);
                self.refused(&more, |said| matches!(said, Rejection::WrongLeaf { .. }))
                    .await;
            }
            self.chain.send(&tx, 1).await.expect("it leaves");
            self.books.ledger.exit(&account).expect("in range");
            if tries {
                self.refused(&tx, |said| matches!(said, Rejection::AlreadyExited { .. }))
                    .await;
            }
            self.count("exit");
        }
    }

    fn exit_of(&self, at: AccountIndex, account: &Account) -> IRollup::exitCall {
        let path = self.books.state.tree().path(at);
        IRollup::exitCall {
            index: at.get(),
            account: IRollup::Account {
                token: account.token.0,
                nonce: account.nonce,
                balance: account.balance,
                ax: to_u256(&account.owner.0.x),
                ay: to_u256(&account.owner.0.y),
                l1Address: account.l1_address.into(),
            },
            siblings: path.map(|level| level.map(|sibling| to_u256(&sibling))),
        }
    }

    async fn refunds(&mut self) {
        for place in 0..self.books.entries.len() {
            let record = self.books.entries[place].record;
            let [a0, a1, a2, a3] = record.elements().map(|element| to_u256(&element));
            let call = IRollup::refundCall {
                entry: U40::from(place),
                a0,
                a1,
                a2,
                a3,
            };
            let tx = self.tx(STRANGER, 0, call);
            let deposit =
                matches!(record.kind, Kind::DepositNew | Kind::DepositExisting) && record.amount > 0;
            if place < self.books.head {
                // One of each fifty is enough.
                if place % 50 == 0 {
                    self.refused(&tx, |said| matches!(said, Rejection::NotAnEntry { .. }))
                        .await;
                }
            } else if deposit {
                self.chain.send(&tx, 1).await.expect("it is paid back");
                self.books.ledger.refund(&record).expect("in range");
                self.refused(&tx, |said| matches!(said, Rejection::AlreadyRefunded { .. }))
                    .await;
                self.count("refund");
            } else {
                self.refused(&tx, |said| matches!(said, Rejection::NotADeposit { .. }))
                    .await;
            }
        }
    }
}

/// A batch that was made.
struct Made {
    batch: Batch,
    records: Vec<Record>,
    l2: L2,
}

/// What L1 gets of a batch.
struct Proven {
    batch: Batch,
    sharded: Sharded,
}

impl Proven {
    fn of(batch: &Batch, sharded: Sharded) -> Self {
        let batch = batch.clone();
        Self { batch, sharded }
    }

    fn call(&self) -> IRollup::submitBatchCall {
        let Sharded {
            shards,
            posted_a,
            posted_b,
        } = &self.sharded;
        let instances: Vec<Vec<Fr>> = shards.iter().map(|shard| shard.instances()).collect();
        let instances: Vec<&[Fr]> = instances.iter().map(Vec::as_slice).collect();
        let statement = root_statement(&instances, shards.len()).expect("the shards chain");
        let accumulator: [U256; 8] = std::array::from_fn(|limb| U256::from(1_000 + limb));
        let rows = statement.to_instances().map(|row| to_u256(&row));
        let words: Vec<u8> = accumulator
            .iter()
            .chain(&rows)
            .flat_map(|row| row.to_be_bytes::<32>())
            .collect();
        IRollup::submitBatchCall {
            header: IRollup::BatchHeader {
                number: self.batch.number,
                time: self.batch.time,
                oldRoot: to_u256(&statement.old_root),
                newRoot: to_u256(&statement.new_root),
                commitmentA: to_u256(&statement.c_a),
                commitmentB: to_u256(&statement.c_b),
                verifier: 0,
                accumulator,
            },
            dataA: posted_a.clone().into(),
            dataB: posted_b.clone().into(),
            proof: keccak256(words).0.into(),
        }
    }
}

/// What L1's logs say of a batch.
fn told(sent: &Sent) -> Accepted {
    let data =
        |log: &crate::chain::Log| alloy::primitives::LogData::new(log.topics.clone(), log.data.clone());
    let logs: Vec<_> = sent.logs.iter().filter_map(data).collect();
    let event = logs
        .iter()
        .find_map(|log| IRollup::BatchAccepted::decode_log_data(log).ok());
    let posted = logs
        .iter()
        .find_map(|log| IRollup::BatchData::decode_log_data(log).ok());
    let (event, posted) = (event.expect("its event"), posted.expect("its data"));
    assert_eq!(event.number, posted.number);
    Accepted {
        number: event.number,
        old_root: from_u256(&event.oldRoot).expect("canonical"),
        new_root: from_u256(&event.newRoot).expect("canonical"),
        head: event.head.to(),
        withdrawals_root: (!event.withdrawalsRoot.is_zero()).then_some(Digest(event.withdrawalsRoot.0)),
        withdrawals: event.withdrawals,
        data_a: posted.dataA.to_vec(),
        data_b: posted.dataB.to_vec(),
    }
}

fn index(index: u64) -> AccountIndex {
    AccountIndex::new(index).expect("below 2^33")
}
