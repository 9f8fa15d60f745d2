//! The vectors of PROTOCOL.md, section 19: computed by a program that was written from the text alone.

use rules::account::{Account, AccountIndex, TokenId};
use rules::amount::{Amount, Fee};
use rules::babyjub::BASE8;
use rules::eddsa::PublicKey;
use rules::field;
use rules::operation::{Creation, Queued, Transfer, Withdrawal, Word};
use rules::operation::{Expiry, RollupId};
use rules::record::{Coordinate, Kind, QueueHash, Record};
use rules::witness::RunningState;
use rules::{outbox, stream};

const ROLLUP: RollupId = RollupId {
    chain_id: 31_337,
    contract: [
        0x5f, 0xbd, 0xb2, 0x31, 0x56, 0x78, 0xaf, 0xec, 0xb3, 0x67, 0xf0, 0x32, 0xd9, 0x3f, 0x64, 0x2f, 0x64,
        0x18, 0x0a, 0xa3,
    ],
};
const K: PublicKey = PublicKey(BASE8);
const A: [u8; 20] = [0x11; 20];
const B: [u8; 20] = [0x22; 20];
const ETHER: u128 = 1_000_000_000_000_000_000;

fn at(index: u64) -> AccountIndex {
    AccountIndex::new(index).unwrap()
}

/// An integer as the text writes it: without leading zeros.
fn hex(bytes: &[u8]) -> String {
    let digits = hex::encode(bytes);
    match digits.trim_start_matches('0') {
        "" => "0x0".to_string(),
        digits => format!("0x{digits}"),
    }
}

fn element(value: &rules::Fr) -> String {
    hex(&field::to_be(value))
}

fn account(l1_address: [u8; 20], balance: u128) -> Account {
    Account {
        token: TokenId(1),
        nonce: 0,
        balance,
        owner: K,
        l1_address,
    }
}

fn transfer(from: u64) -> Transfer {
    Transfer {
        from: at(from),
        to: at(65_540),
        amount: Amount::new(1_500, 0).unwrap(),
        fee: Fee::new(2, 1).unwrap(),
        nonce: 0,
        expiry: Expiry::new(1_800_003_600).unwrap(),
        token: TokenId(1),
    }
}

fn withdrawal() -> Withdrawal {
    Withdrawal {
        from: at(65_536),
        amount: ETHER,
        fee: Fee::new(2, 1).unwrap(),
        nonce: 1,
        expiry: Expiry::new(1_800_003_600).unwrap(),
        token: TokenId(1),
    }
}

fn entries() -> [Record; 4] {
    let (x, y) = (Coordinate::from(K.0.x), Coordinate::from(K.0.y));
    let record = |kind, token, index, amount, address, u, v| Record {
        kind,
        code: 0,
        token: TokenId(token),
        index: at(index),
        amount,
        address,
        u,
        v,
    };
    let a = Coordinate::from_address(&A);
    let none = Coordinate::ZERO;
    [
        record(Kind::DepositNew, 1, 1 << 32, ETHER, A, x, y),
        record(Kind::DepositExisting, 2, (1 << 33) - 1, u128::MAX, B, a, y),
        record(Kind::ForcedExit, 1, 65_536, 0, A, none, none),
        record(Kind::KeyChange, 0, 65_537, 0, B, x, y),
    ]
}

#[test]
fn identity_leaf_words_and_messages() {
    assert_eq!(
        element(&ROLLUP.to_fr()),
        "0x7a695fbdb2315678afecb367f032d93f642f64180aa3"
    );
    assert_eq!(
        element(&account(A, ETHER).leaf()),
        "0x1e0981f44854483e041f0f806c12d8e239f5e89adc5f159d180e9b6fb30b7195"
    );
    let word = |word: Word| hex(&word.to_integer().to_be_bytes());
    let transfer = transfer(65_536);
    assert_eq!(word(Word::Transfer(transfer.effect())), "0x4001024000bb800010000");
    assert_eq!(
        element(&transfer.message(&ROLLUP, &account(B, 0))),
        "0x1e344e7041200dad14a6cdd3aa15ab482a6ef714657334587e21f1b0be8b0940"
    );
    assert_eq!(word(withdrawal().word()), "0x2400000000010000");
    assert_eq!(
        element(&withdrawal().message(&ROLLUP, &B)),
        "0x7f89ac68fc2315655202a8d37e65d8ffbf36b114a128ad0dac44afdcac03ae8"
    );
    let creation = Creation {
        index: at(70_001),
        token: TokenId(1),
        owner: K,
        l1_address: A,
    };
    assert_eq!(
        element(&creation.message(&ROLLUP)),
        "0x1217bafe0670def4b855aaabdf861e5caa137aefb3386a4df604c22043d9bef0"
    );
}

/// `a_0 … a_3` of each entry, then the queue's hash after it.
const ENTRIES: [[&str; 5]; 4] = [
    [
        "0x6f05b59d3b2000040000000000041",
        "0x34e0b62893f3f6bb9570511111111111111111111111111111111111111111",
        "0x4cddd2cf095ea1cb5f62cbb77a6ad63e739b4eacb2e09d6277c12ab8d80105",
        "0x95e5c80fde82c924955cb87345afe7b7f380147ee78",
        "0x98c1ee21af41fe49d6fcc64f82246f8bfa26e5aae602a7f918ee9b",
    ],
    [
        "0x7fffffffffffffffffffffffffffffffffffffffc00082",
        "0x11111111111111111111112222222222222222222222222222222222222222",
        "0x4cddd2cf095ea1cb5f62c00000000000000000000000111111111111111111",
        "0x95e5c80fde82c924955cb87345afe7b7f380147ee78",
        "0xe499a5484b1bd0144dec3054c77042288e66f164e7030ecd91f9ef",
    ],
    [
        "0x4000000043",
        "0x1111111111111111111111111111111111111111",
        "0x0",
        "0x0",
        "0xea7828543c76dcd445734d610199e28a2f7a1f53dde0f0e614c632",
    ],
    [
        "0x4000400004",
        "0x34e0b62893f3f6bb9570512222222222222222222222222222222222222222",
        "0x4cddd2cf095ea1cb5f62cbb77a6ad63e739b4eacb2e09d6277c12ab8d80105",
        "0x95e5c80fde82c924955cb87345afe7b7f380147ee78",
        "0x57ae745d49602b4c21d66d9393a2889be2f75ebe6aa6288758b004",
    ],
];

#[test]
fn records_of_a_queue_and_its_hash() {
    let mut hash = QueueHash::default();
    for (record, expected) in entries().into_iter().zip(ENTRIES) {
        let elements = record.elements().map(|value| element(&value));
        assert_eq!(elements[..], expected[..4]);
        assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
        assert_eq!(Queued::new(record).unwrap().record(), &record);
        hash = hash.after(&record);
        assert_eq!(hash.to_string(), expected[4]);
    }
}

/// The exit, then what stands in the group's places (P-6.7).
fn batch_records() -> [Record; 2] {
    let exit = Record {
        kind: Kind::ForcedExit,
        code: 0,
        token: TokenId(1),
        index: at(70_000),
        amount: ETHER / 2,
        address: A,
        u: Coordinate::ZERO,
        v: Coordinate::ZERO,
    };
    [exit, withdrawal().record(&account(B, ETHER))]
}

#[test]
fn streams_of_a_batch() {
    let entries = entries();
    assert_eq!(
        element(&stream::commitment_a(&entries)),
        "0x2ae7adc031be48ef8deb53eb6b3c64c3558debd9b06d9025391ca6d284ebb7fd"
    );
    let records = batch_records();
    assert_eq!(
        element(&records[0].elements()[0]),
        "0x3782dace9d900000000445c000043"
    );
    assert_eq!(
        element(&records[1].elements()[0]),
        "0x6f05b59d3b2000000004000000045"
    );
    let word = |word: Word| word.to_integer();
    let transfers = [65_536, 65_537].map(|from| word(Word::Transfer(transfer(from).effect())));
    let group = stream::Group {
        flag: true,
        words: [transfers[0], 0, word(withdrawal().word()), 0, transfers[1]],
    };
    let [e0, e1] = group.elements();
    assert_eq!(
        element(&e0),
        "0x800000004000000000000000000000000000000004001024000bb800010000"
    );
    assert_eq!(
        element(&e1),
        "0x8002048001770000200020000000000000000000000000000000001200"
    );
    let (posted_a, posted_b) = (stream::posted_a(&records), stream::posted_b(&[group]));
    assert_eq!(stream::groups(&posted_b), Ok(vec![group]));
    assert_eq!(stream::records(&posted_a), Ok(records.to_vec()));
    let (c_a, c_b) = (stream::commitment_a(&records), stream::commitment_b(&[group]));
    assert_eq!(
        element(&c_a),
        "0x23e915ca915cca4fc62c2a6d3547b9ec47d5f2dfcff4b25520f8921381313cb7"
    );
    assert_eq!(
        element(&c_b),
        "0x1e4c20d513529197c01c86488d4da548ce788b5f99742880524ee55e9e8f74d"
    );
    let binding = stream::Binding {
        number: 3,
        mode: stream::DaMode::Calldata,
        c_a,
        c_b,
        posted_a: &posted_a,
        posted_b: &posted_b,
    };
    let x = binding.x(&ROLLUP);
    assert_eq!(
        element(&x),
        "0x10af08c839e987ccb6dbdabe680fcce70beace4f23662c973fff1bd6bf7121c9"
    );
    let (y_a, y_b) = (stream::evaluate(&posted_a, &x), stream::evaluate(&posted_b, &x));
    assert_eq!(
        element(&y_a),
        "0x82c9f4f3c31f5137b7ff512ccc1ab236e330247ea96607c3851634ed0b01ef5"
    );
    assert_eq!(
        element(&y_b),
        "0x2854854daedb393629fd2869c2f6962ea78602ef87a007a287246399603d59b7"
    );
    let mut running = RunningState::initial(rules::Fr::zero());
    records
        .iter()
        .for_each(|record| running.absorb_record(&record.elements(), &x));
    running.absorb_group(&group.elements(), &x);
    assert_eq!(
        (running.c_a, running.y_a, running.c_b, running.y_b),
        (c_a, y_a, c_b, y_b)
    );
    let owed = outbox::owed(3, &records);
    assert_eq!(
        owed[0].leaf().to_string(),
        "0x13f02f2c7cec778dd33be165a99995e8e8633a82b489567f0e4371d6aa012af2"
    );
    assert_eq!(
        outbox::Tree::new(&owed).root().unwrap().to_string(),
        "0xef829d35b730e5e958a5a71fa66ffa24105256d0ff1aaad06e6a1c94bf279e3e"
    );
}

#[test]
fn trees_of_withdrawals() {
    let roots = [
        (
            1,
            "0xc42457230066af7bf28bde19f0be14134a2173c5cc43c8203e2c1e92de128e43",
        ),
        (
            2,
            "0x9d65dc34881794a77822b176acb6efba1aa01b6a1a1861372b4935ed6d00f9e8",
        ),
        (
            3,
            "0xbfb56143ee889e55d1b9733c63674173ddf3b5346a637f32e60836cdedcb8c47",
        ),
        (
            5,
            "0x7418b9184c1135afd1cccfd1b53678e5c0960f196ba79affa19d7f091b90adb7",
        ),
        (
            8,
            "0xdeb6d18693f10c3ce26419ad2700a8959a17a10f0563c8101709351f1d3ffb55",
        ),
    ];
    for (count, expected) in roots {
        let owed: Vec<_> = (0..count)
            .map(|position: u32| {
                let mut recipient = A;
                recipient[19] += position as u8;
                outbox::Owed {
                    batch: 7,
                    position,
                    token: TokenId(1 + (position % 3) as u16),
                    amount: ETHER + u128::from(position),
                    recipient,
                }
            })
            .collect();
        let tree = outbox::Tree::new(&owed);
        let root = tree.root().unwrap();
        assert_eq!(root.to_string(), expected);
        for owed in &owed {
            let siblings = tree.siblings(owed.position).unwrap();
            assert_eq!(outbox::root_of(owed.leaf(), &siblings), root);
            let other = outbox::Owed { amount: 1, ..*owed };
            assert_ne!(outbox::root_of(other.leaf(), &siblings), root);
        }
        assert_eq!(tree.siblings(count), None);
    }
    assert_eq!(outbox::Tree::new(&[]).root(), None);
    let root = rules::state::State::default().root();
    assert_eq!(
        element(&root),
        "0x113546cad171002bd1b8f16603b113e11df1e25b1185ae23b092a7804737d912"
    );
}
