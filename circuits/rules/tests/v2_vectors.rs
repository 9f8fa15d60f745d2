//! The vectors of docs/protocol-2.md, section 19: computed by a program that was written from the text alone.

use rules::account::{Account, AccountIndex, TokenId};
use rules::amount::{Amount, Fee};
use rules::babyjub::BASE8;
use rules::eddsa::PublicKey;
use rules::field;
use rules::operation::{Expiry, RollupId};
use rules::v2::operation::{Creation, Queued, Transfer, Withdrawal, Word};
use rules::v2::record::{Coordinate, Kind, QueueHash, Record};

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
