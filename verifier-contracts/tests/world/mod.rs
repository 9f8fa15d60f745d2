//! A rollup on an anvil whose verifier takes everything: batches are executed natively, and nothing is proven.

use alloy::{
    primitives::{Address, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
};
use rules::{
    Fr,
    batch::{Batch, execute, new_root},
    eddsa::PrivateKey,
    operation::{Operation, Queued, RollupId},
    record::Record,
    shards::shards,
    state::State,
    witness::Shape,
};
use serde_json::{Value, json};
use verifier_contracts::{
    anvil::Anvil,
    l1::{ANVIL_KEY, Accepted, DeployConfig, Deployment, L1},
    rollup::{self, RootSubmission},
    tools::Tools,
    verifier::CompiledVerifier,
};

pub const STAND_INS: &str = include_str!("../../test/StandIns.sol");
/// The private key of anvil's second account, who is a user here; the first is the operator, governor and guardian.
const USER_KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
pub const FEE_ADDRESS: Address = Address::repeat_byte(0xfe);

/// A key by its number: 1 is that of the fee accounts.
pub fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes(&[number; 32])
}

/// What the chain comes to, natively.
pub struct World {
    #[allow(dead_code)] // Each test file that has this module uses some of it.
    pub tools: Tools,
    pub anvil: Anvil,
    pub operator: Deployment,
    pub user: Deployment,
    pub rollup_id: RollupId,
    pub state: State,
    pub batches: u64,
}

impl World {
    #[allow(dead_code)] // Each test file that has this module uses some of it.
    pub async fn start() -> Self {
        Self::start_over("AcceptsAll").await
    }

    /// With another stand-in for the verifier.
    pub async fn start_over(verifier: &'static str) -> Self {
        let tools = Tools::ensure(&mut |line| eprintln!("{line}")).expect("the L1 tools");
        let anvil = Anvil::spawn(&tools).expect("anvil");
        let l1 = L1::connect(anvil.url(), ANVIL_KEY).expect("connects");
        let verifier = CompiledVerifier::stand_in(&tools, STAND_INS, verifier).expect("compiles");
        let contracts = rollup::compile(&tools).expect("compiles");
        let config = DeployConfig {
            governor: l1.account(),
            guardian: l1.account(),
            ..DeployConfig::new(l1.account(), FEE_ADDRESS, key(1).public())
        };
        let deployed = Deployment::deploy(&l1, &contracts, &[&verifier], &config).await;
        let (operator, _) = deployed.expect("deploys");
        let user = L1::connect(anvil.url(), USER_KEY).expect("connects");
        let user = Deployment::at(&user, operator.rollup())
            .await
            .expect("it is there");
        let rollup_id = RollupId {
            chain_id: l1.chain_id().await.expect("asks the chain"),
            contract: operator.rollup().into_array(),
        };
        Self {
            tools,
            anvil,
            operator,
            user,
            rollup_id,
            state: State::default(),
            batches: 0,
        }
    }

    pub fn rpc(&self) -> DynProvider {
        let url = self.anvil.url().parse().expect("a URL");
        ProviderBuilder::new().connect_http(url).erased()
    }

    #[allow(dead_code)] // Each test file that has this module uses some of it.
    pub async fn reorganise(&self, depth: u64) {
        let nothing = Vec::<Value>::new();
        let _: Value = self
            .rpc()
            .raw_request("anvil_reorg".into(), json!([depth, nothing]))
            .await
            .expect("anvil does it");
    }

    /// Executes a batch and lets L1 accept it.
    pub async fn submit(&mut self, operations: Vec<Operation>) -> Accepted {
        let submission = self.make(operations).await;
        let accepted = self.operator.submit_batch(&submission).await.expect("accepts");
        assert_eq!(accepted.new_root, self.state.root());
        accepted
    }

    /// Executes a batch natively.
    pub async fn make(&mut self, operations: Vec<Operation>) -> RootSubmission {
        let time = self.operator.l1().block_time().await.expect("asks the block");
        let mut batch = Batch {
            rollup_id: self.rollup_id,
            number: self.batches,
            time,
            old_root: self.state.root(),
            new_root: Fr::zero(),
            operations,
        };
        batch.new_root = new_root(&self.state, &batch).expect("a batch");
        let executed = execute(&mut self.state, &batch).expect("a batch");
        let shape = Shape { places: 25, rooms: 5 };
        let sharded = shards(&batch, &executed, shape, 4).expect("there is room");
        self.batches += 1;
        RootSubmission {
            number: batch.number,
            verifier: 0,
            time,
            old_root: batch.old_root,
            new_root: batch.new_root,
            commitment_a: Fr::one(),
            commitment_b: Fr::one(),
            accumulator: [Fr::one(); 8],
            data_a: sharded.posted_a,
            data_b: sharded.posted_b,
            proof: vec![1; 64],
        }
    }

    /// The entry that the constructor made.
    pub fn first_entry(&self) -> Operation {
        let key = key(1).public();
        queued(&Record {
            kind: rules::record::Kind::DepositNew,
            code: 0,
            token: rules::account::TokenId(1),
            index: rules::account::AccountIndex::new(1).expect("33 bits"),
            amount: 0,
            address: FEE_ADDRESS.into_array(),
            u: key.0.x.into(),
            v: key.0.y.into(),
        })
    }
}

pub fn queued(record: &Record) -> Operation {
    Operation::Queued(Queued::new(*record).expect("it is as the queue has it"))
}

/// 10^18.
#[allow(dead_code)] // Each test file that has this module uses some of it.
pub fn ether(tenths: u128) -> u128 {
    tenths * 100_000_000_000_000_000
}

#[allow(dead_code)] // Each test file that has this module uses some of it.
pub fn wei(amount: u128) -> U256 {
    U256::from(amount)
}
