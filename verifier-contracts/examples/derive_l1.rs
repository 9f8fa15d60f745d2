//! How many operations a second are derived from an L1: 1,000 batches of 35 transfers on a local anvil (PROTOCOL.md, section 15).
//! `cargo run --release -p verifier-contracts --example derive_l1`. A stand-in takes the verifier's place, which deriving never asks.

#[path = "../tests/actions/chain.rs"]
#[allow(dead_code, reason = "a test uses the rest")]
mod chain;

use std::time::Instant;

use alloy::{
    primitives::{Address, B256, U256, keccak256},
    sol_types::{SolCall, SolValue},
};
use chain::{Chain, Tx};
use rules::{
    Fr, batch,
    operation::{Operation, RollupId},
    record::{Kind, Record},
    sample::{Draw, Mix, Sample, SampleConfig},
    shards::shards,
    state::State,
    statement::root_statement,
    witness::Shape,
};
use serde_json::{Value, json};
use verifier_contracts::{
    l1::{Following, L1},
    replica::{Replica, Step, Watch},
    rollup::{self, IRollup, to_u256},
    solc::{self, Runs},
    tools::Tools,
};

const BATCHES: usize = 1_000;
const TRANSFERS: usize = 35;
const ENTRIES: usize = 150;
const SHAPE: Shape = Shape {
    places: 225,
    rooms: 45,
};
const CHILDREN: usize = 4;
const ETHER: u128 = 1_000_000_000_000_000_000;

fn draw(queued: usize, signed: usize) -> Draw {
    Draw {
        shape: SHAPE,
        queued,
        signed,
        mix: Mix::Transfers,
    }
}

fn sample(seed: u64) -> Sample {
    Sample::new(SampleConfig {
        seed,
        users: 100,
        tokens: 1,
    })
}

/// The entries of the first batch.
fn entries(sample: &mut Sample) -> Vec<Record> {
    let rollup_id = RollupId {
        chain_id: 1,
        contract: [0; 20],
    };
    let batch = sample.batch(rollup_id, 1, draw(ENTRIES, 0));
    let entry = |operation: &Operation| match operation {
        Operation::Queued(entry) => *entry.record(),
        _ => panic!("nothing else was drawn"),
    };
    batch.operations.iter().map(entry).collect()
}

/// A sample whose entries L1 takes: deposits are of tokens that there are.
fn taken() -> (Sample, Vec<Record>) {
    let deposits = |entry: &&Record| matches!(entry.kind, Kind::DepositNew | Kind::DepositExisting);
    let fits = |entries: &[Record]| entries.iter().filter(deposits).all(|entry| entry.token.0 == 1);
    let found = (0..).map(|seed| (sample(seed), entries(&mut sample(seed))));
    let mut found = found.filter(|(_, entries)| fits(entries));
    found.next().expect("endless")
}

struct Rollup {
    chain: Chain,
    contract: Address,
}

impl Rollup {
    async fn deploy(tools: &Tools, fees: &Record) -> Self {
        let mut chain = Chain::start(tools).await;
        let mut sources: Vec<(&str, &str)> = rollup::SOURCES.to_vec();
        sources.retain(|(name, _)| *name == "IVerifier.sol");
        sources.push(("StandIns.sol", include_str!("../tests/actions/StandIns.sol")));
        let knows = solc::compile(tools, &sources, Runs::Size, "StandIns.sol", "Knows").expect("it compiles");
        let contracts = rollup::compile(tools).expect("they compile");
        let poseidon = create(&mut chain, contracts.poseidon.creation).await;
        let verifier = create(&mut chain, knows.creation).await;
        let parameters = IRollup::Parameters {
            dueAfter: 86_400,
            silence: 86_400,
            freezeAfter: 14 * 86_400,
            consumedMax: 10,
            batchAgeMax: 86_400,
            delay: 46 * 86_400,
            tokenPrice: U256::from(1),
            operator: chain.people[0],
            feeAddress: fees.address.into(),
            feeKeyX: to_u256(&fees.u.to_fr()),
            feeKeyY: to_u256(&fees.v.to_fr()),
            governor: Address::ZERO,
            guardian: Address::ZERO,
            poseidon,
            poseidonCodeHash: keccak256(&contracts.poseidon.runtime),
        };
        let registration = IRollup::Registration {
            addr: verifier,
            vkDigest: B256::from(U256::from(0x5afe)),
            gasCap: 250_000,
        };
        let arguments = (parameters, vec![registration]).abi_encode_params();
        let contract = create(&mut chain, [contracts.rollup.creation, arguments].concat()).await;
        Self { chain, contract }
    }

    async fn enter(&mut self, entry: &Record) {
        let from = Address::from(entry.address);
        let _: Value = self.chain.ask("anvil_impersonateAccount", json!([from])).await;
        let _: Value = self
            .chain
            .ask("anvil_setBalance", json!([from, U256::from(1_000 * ETHER)]))
            .await;
        let (x, y) = (to_u256(&entry.u.to_fr()), to_u256(&entry.v.to_fr()));
        let (token, index, amount) = (entry.token.0, entry.index.get(), entry.amount);
        let data = match entry.kind {
            Kind::DepositNew => IRollup::depositNewCall {
                token,
                amount,
                ax: x,
                ay: y,
            }
            .abi_encode(),
            Kind::DepositExisting => {
                let mut address = [0; 20];
                address.copy_from_slice(&entry.u.to_bytes()[12..]);
                IRollup::depositToCall {
                    token,
                    amount,
                    index,
                    l1Address: address.into(),
                    ay: y,
                }
                .abi_encode()
            }
            Kind::ForcedExit => IRollup::forceExitCall { index, token }.abi_encode(),
            _ => IRollup::changeKeyCall { index, ax: x, ay: y }.abi_encode(),
        };
        let tx = Tx {
            from,
            to: Some(self.contract),
            value: U256::from(ETHER + amount),
            data,
        };
        self.chain.send(&tx, 1).await.expect("the entry is taken");
    }

    /// Posts a batch; the state after it.
    async fn submit(&mut self, state: &mut State, batch: &batch::Batch) {
        let executed = batch::execute(state, batch).expect("samples are valid");
        let sharded = shards(batch, &executed, SHAPE, CHILDREN).expect("it fits");
        let instances: Vec<Vec<Fr>> = sharded.shards.iter().map(|shard| shard.instances()).collect();
        let instances: Vec<&[Fr]> = instances.iter().map(Vec::as_slice).collect();
        let statement = root_statement(&instances, CHILDREN).expect("the shards chain");
        let accumulator = [U256::from(1); 8];
        let rows = statement.to_instances().map(|row| to_u256(&row));
        let words = accumulator
            .iter()
            .chain(&rows)
            .flat_map(|row| row.to_be_bytes::<32>());
        let call = IRollup::submitBatchCall {
            header: IRollup::BatchHeader {
                number: batch.number,
                time: batch.time,
                oldRoot: to_u256(&statement.old_root),
                newRoot: to_u256(&statement.new_root),
                commitmentA: to_u256(&statement.c_a),
                commitmentB: to_u256(&statement.c_b),
                verifier: 0,
                accumulator,
            },
            dataA: sharded.posted_a.into(),
            dataB: sharded.posted_b.into(),
            proof: keccak256(words.collect::<Vec<u8>>()).0.into(),
        };
        let tx = Tx {
            from: self.chain.people[0],
            to: Some(self.contract),
            value: U256::ZERO,
            data: call.abi_encode(),
        };
        self.chain.send(&tx, 1).await.expect("the batch is accepted");
    }
}

async fn create(chain: &mut Chain, code: Vec<u8>) -> Address {
    let tx = Tx {
        from: chain.people[0],
        to: None,
        value: U256::ZERO,
        data: code,
    };
    let sent = chain.send(&tx, 1).await.expect("it is created");
    sent.created.expect("its address")
}

#[tokio::main]
async fn main() {
    let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
    let (mut sample, entries) = taken();
    let mut rollup = Rollup::deploy(&tools, &entries[0]).await;
    for entry in &entries[1..] {
        rollup.enter(entry).await;
    }
    let chain_id: U256 = rollup.chain.ask("eth_chainId", json!([])).await;
    let rollup_id = RollupId {
        chain_id: chain_id.to(),
        contract: rollup.contract.into_array(),
    };
    let mut state = State::default();
    for number in 0..=BATCHES {
        let draw = if number == 0 {
            draw(ENTRIES, 0)
        } else {
            draw(0, TRANSFERS)
        };
        let batch = sample.batch(rollup_id, rollup.chain.now, draw);
        rollup.submit(&mut state, &batch).await;
        if number % 100 == 0 {
            eprintln!("{number} of {BATCHES} batches posted");
        }
    }
    let l1 = L1::reader(rollup.chain.url()).expect("a URL");
    let following = Following::new(rollup.contract, 0);
    let start = Instant::now();
    let mut replica = Replica::new(&l1, following, Watch::Everybody)
        .await
        .expect("the contract");
    let mut batches = 0;
    while batches <= BATCHES {
        if let Step::Batch(_) = replica.next().await.expect("it follows") {
            batches += 1;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(replica.state().root(), state.root());
    let rate = (BATCHES * TRANSFERS) as f64 / seconds;
    println!(
        "{BATCHES} batches of {TRANSFERS} transfers from anvil: {seconds:.2} s, {rate:.0} operations a second"
    );
}
