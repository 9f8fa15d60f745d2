//! What submissions of several sizes cost, and the estimate that is held to it. A verifier that accepts everything stands in for proofs;
//! a real one costs what `costs/tiny.json` has.

mod world;

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rules::{
    Fr,
    account::{AccountIndex, TokenId},
    field,
    gas::{ERROR_PER_MILLE, PROOF_BYTES, Posted, VERIFIER_GAS},
    record::{Coordinate, Kind, Record},
    stream::{GROUP_WORDS, Group, posted_a, posted_b},
};
use serde_json::json;
use verifier_contracts::rollup::RootSubmission;
use world::{World, key};

const ETH: TokenId = TokenId(1);
/// The first index that L1 gives.
const FIRST: u64 = 1 << 32;

/// A batch by how many operations of each kind it has.
#[derive(Debug, Clone, Copy)]
struct Size {
    transfers: usize,
    withdrawals: usize,
    creations: usize,
    deposits: usize,
    exits: usize,
}

/// What is measured.
const SIZES: [Size; 14] = {
    const NONE: Size = Size {
        transfers: 0,
        withdrawals: 0,
        creations: 0,
        deposits: 0,
        exits: 0,
    };
    [
        Size { transfers: 1, ..NONE },
        Size {
            transfers: 50,
            ..NONE
        },
        Size {
            transfers: 500,
            ..NONE
        },
        Size {
            transfers: 1_500,
            ..NONE
        },
        Size {
            transfers: 3_000,
            ..NONE
        },
        Size {
            transfers: 9_000,
            ..NONE
        },
        Size {
            withdrawals: 1,
            ..NONE
        },
        Size {
            withdrawals: 100,
            ..NONE
        },
        Size { creations: 1, ..NONE },
        Size {
            creations: 50,
            ..NONE
        },
        Size { deposits: 1, ..NONE },
        Size { deposits: 20, ..NONE },
        Size { exits: 5, ..NONE },
        Size {
            transfers: 200,
            withdrawals: 20,
            creations: 10,
            deposits: 10,
            exits: 5,
        },
    ]
};

/// Makes batches of a size whose bytes are as dense as those of real ones.
struct Maker {
    world: World,
    rng: ChaCha20Rng,
    root: Fr,
}

impl Maker {
    fn index(&mut self) -> u64 {
        FIRST + self.rng.gen_range(0..1_000_000)
    }

    fn element(&mut self) -> Fr {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes[0] &= 0x1f;
        field::from_be(&bytes).expect("below r")
    }

    fn word(&mut self) -> u128 {
        let (from, to) = (u128::from(self.index()), u128::from(self.index()));
        let amount: u32 = self.rng.gen_range(1..1 << 24);
        let fee: u32 = self.rng.gen_range(1..1 << 9);
        from | u128::from(amount) << 33 | u128::from(fee) << 57 | to << 66
    }

    fn record(&mut self, kind: Kind) -> Record {
        let mut address = [0; 20];
        self.rng.fill_bytes(&mut address);
        let mut coordinate = || match kind {
            Kind::Creation => {
                let mut bytes = [0; 32];
                self.rng.fill_bytes(&mut bytes);
                bytes[0] &= 0x1f;
                Coordinate::new(bytes).expect("254 bits")
            }
            _ => Coordinate::ZERO,
        };
        let (u, v) = (coordinate(), coordinate());
        Record {
            kind,
            code: 0,
            token: ETH,
            index: AccountIndex::new(self.index()).expect("33 bits"),
            amount: match kind {
                Kind::Withdrawal => u128::from(self.rng.next_u64()),
                _ => 0,
            },
            address,
            u,
            v,
        }
    }

    /// The records of a size, whose entries are in the queue before.
    async fn records(&mut self, size: &Size) -> Vec<Record> {
        let mut records = Vec::new();
        for _ in 0..size.deposits {
            let key = key(2).public();
            let entered = self
                .world
                .user
                .deposit_new(ETH, 1_234_567_890_123_456, &key)
                .await;
            records.push(entered.expect("it enters").record);
        }
        for _ in 0..size.exits {
            let index = AccountIndex::new(FIRST).expect("33 bits");
            let entered = self.world.user.force_exit(index, ETH).await.expect("it enters");
            records.push(Record {
                amount: 1_234_567_890_123_456,
                ..entered.record
            });
        }
        for _ in 0..size.withdrawals {
            records.push(self.record(Kind::Withdrawal));
        }
        for _ in 0..size.creations {
            records.push(self.record(Kind::Creation));
        }
        records
    }

    async fn submission(&mut self, number: u64, records: &[Record], words: usize) -> RootSubmission {
        let words: Vec<u128> = (0..words).map(|_| self.word()).collect();
        let groups = words.chunks(GROUP_WORDS).map(|words| {
            let mut group = Group::default();
            group.words[..words.len()].copy_from_slice(words);
            group
        });
        let mut proof = vec![0; PROOF_BYTES as usize];
        self.rng.fill_bytes(&mut proof);
        let old_root = std::mem::replace(&mut self.root, Fr::zero());
        self.root = self.element();
        RootSubmission {
            number,
            verifier: 0,
            time: dense(
                self.world
                    .operator
                    .l1()
                    .block_time()
                    .await
                    .expect("asks the block"),
            ),
            old_root,
            new_root: self.root,
            commitment_a: self.element(),
            commitment_b: self.element(),
            accumulator: std::array::from_fn(|_| self.element()),
            data_a: posted_a(records),
            data_b: posted_b(&groups.collect::<Vec<_>>()),
            proof,
        }
    }
}

/// The last moment up to `time` without a byte that is zero, so that every run pays the same.
fn dense(time: u64) -> u64 {
    let is_dense = |time: &u64| (*time as u32).to_be_bytes().iter().all(|byte| *byte != 0);
    (0..=time).rev().find(is_dense).expect("there is one a day")
}

/// The measured figures are the estimate's golden ones: a contract that takes more or less changes them, and fails this where the estimate
/// does not follow.
#[tokio::test]
async fn the_estimate_is_what_submissions_of_every_size_cost() {
    let mut world = World::start_over("AcceptsAtAPrice").await;
    // The entry that the constructor made is before all others.
    let first = world.first_entry();
    world.submit(vec![first]).await;
    let root = world.state.root();
    let mut maker = Maker {
        world,
        rng: ChaCha20Rng::seed_from_u64(7),
        root,
    };
    let mut measured = Vec::new();
    for (number, size) in (1..).zip(&SIZES) {
        let records = maker.records(size).await;
        let words = size.transfers + size.withdrawals + size.creations;
        let submission = maker.submission(number, &records, words).await;
        let posted = Posted::of(&submission.data_a, &submission.data_b).expect("as L1 takes them");
        let accepted = maker
            .world
            .operator
            .submit_batch(&submission)
            .await
            .expect("accepts");
        let (gas, estimate) = (accepted.gas_used, posted.gas());
        let apart = gas.abs_diff(estimate) * 1_000;
        assert!(
            apart <= ERROR_PER_MILLE * gas,
            "{size:?}: {gas}, estimated {estimate}"
        );
        measured.push(json!({
            "transfers": size.transfers,
            "withdrawals": size.withdrawals,
            "creations": size.creations,
            "deposits": size.deposits,
            "forced_exits": size.exits,
            "calldata_bytes": accepted.calldata_bytes,
            "gas": gas,
            "estimate": estimate,
        }));
    }
    golden::check_json(
        env!("CARGO_MANIFEST_DIR"),
        "costs/submissions.json",
        &json!(measured),
    );
    let all = measured.iter().filter_map(|one| one["gas"].as_u64());
    golden::quotes("verifier-contracts/GAS.md", all.map(golden::thousands));
}

/// The estimate's figure for a call of the verifier is that of the real one.
#[test]
fn the_estimate_takes_a_real_verifiers_gas() {
    let costs = include_str!("../costs/tiny.json");
    let costs: serde_json::Value = serde_json::from_str(costs).expect("JSON");
    assert_eq!(costs["verifier"]["call_gas"], VERIFIER_GAS);
    assert_eq!(costs["verifier"]["proof_bytes"], PROOF_BYTES);
}
