//! What does not fit in what L1 accepted is told by batch, place, rule, expected and found (P-15.3), and never skipped.

use rules::Fr;
use rules::account::{Account, AccountIndex, TokenId};
use rules::amount::{Amount, Fee};
use rules::derive::{self, Accepted, Position, derive};
use rules::digest::Digest;
use rules::eddsa::PrivateKey;
use rules::operation::{Effect, Word};
use rules::outbox::{Tree, owed};
use rules::record::{Coordinate, Kind, Record};
use rules::state::State;
use rules::stream::{self, Group};

const ALICE: u64 = 65_536;
const BOB: u64 = 65_537;
const NOBODY: u64 = 99_999;

fn at(index: u64) -> AccountIndex {
    AccountIndex::new(index).unwrap()
}

fn account(owner: u8, balance: u128) -> Account {
    Account {
        token: TokenId(1),
        nonce: 0,
        balance,
        owner: PrivateKey::from_bytes(&[owner; 32]).public(),
        l1_address: [owner; 20],
    }
}

fn state() -> State {
    State::from_accounts([
        (at(1), account(9, 0)),
        (at(ALICE), account(1, 1_000)),
        (at(BOB), account(2, 500)),
    ])
}

fn transfer(from: u64, to: u64, amount: u128) -> u128 {
    let effect = Effect {
        from: at(from),
        to: at(to),
        amount: Amount::from_integer(amount).unwrap(),
        fee: Fee::from_integer(5).unwrap(),
    };
    Word::Transfer(effect).to_integer()
}

fn withdrawal(from: u64) -> u128 {
    let fee = Fee::from_integer(5).unwrap();
    Word::Withdrawal { from: at(from), fee }.to_integer()
}

fn creation(to: u64) -> u128 {
    Word::Creation { to: at(to) }.to_integer()
}

fn record(kind: Kind, index: u64, amount: u128, owner: u8) -> Record {
    Record {
        kind,
        code: 0,
        token: TokenId(1),
        index: at(index),
        amount,
        address: [owner; 20],
        u: Coordinate::ZERO,
        v: Coordinate::ZERO,
    }
}

fn keyed(record: Record, owner: u8) -> Record {
    let key = PrivateKey::from_bytes(&[owner; 32]).public();
    Record {
        u: key.0.x.into(),
        v: key.0.y.into(),
        ..record
    }
}

fn places(words: [u128; 5]) -> Group {
    Group { flag: false, words }
}

fn queued() -> Group {
    Group {
        flag: true,
        words: [0; 5],
    }
}

fn fault(groups: &[Group], records: &[Record]) -> String {
    let state = state();
    let replayed = derive::replay(&state, &stream::posted_a(records), &stream::posted_b(groups));
    replayed.expect_err("it does not fit").to_string()
}

#[test]
fn what_fits_is_taken() {
    let groups = [
        queued(),
        places([transfer(ALICE, BOB, 100), withdrawal(BOB), 0, creation(NOBODY), 0]),
    ];
    let records = [
        record(Kind::ForcedExit, ALICE, 1_000, 1),
        record(Kind::Withdrawal, BOB, 77, 2),
        keyed(record(Kind::Creation, NOBODY, 0, 4), 4),
    ];
    // Alice has left before she pays.
    assert_eq!(
        fault(&groups, &records),
        "place 5: amount 100 and fee 5 are more than the sender has, 0 (P-4.4, rule 7)"
    );
    let replay = |groups: &[Group]| {
        derive::replay(&state(), &stream::posted_a(&records), &stream::posted_b(groups))
            .map(|derived| derived.records)
    };
    let paid = places([0, withdrawal(BOB), 0, creation(NOBODY), transfer(BOB, BOB, 1)]);
    assert_eq!(replay(&[queued(), paid]), Ok(records.to_vec()));
}

#[test]
fn streams_that_are_none_are_told() {
    let fault = |a: &[u8], b: &[u8]| derive::replay(&state(), a, b).unwrap_err().to_string();
    assert_eq!(
        fault(&[], &[1; 61]),
        "stream B: expected whole groups of 62 bytes, found 61 bytes"
    );
    assert_eq!(
        fault(&[], &[0; 62]),
        "stream B: expected a last group that is not all zero, found 62 bytes that end in zeros"
    );
    assert_eq!(
        fault(&[1; 123], &[]),
        "stream A: expected whole records of 124 bytes, found 123 bytes"
    );
    assert_eq!(
        fault(&[0; 124], &[]),
        "stream A, record 0: kind: expected 1 to 6, found 0"
    );
}

#[test]
fn places_that_do_not_fit_are_told() {
    let paid = record(Kind::Withdrawal, BOB, 77, 2);
    let made = keyed(record(Kind::Creation, NOBODY, 0, 4), 4);
    let cases: [(Group, Vec<Record>, &str); 14] = [
        (
            places([0, 1 << 33, 0, 0, 0]),
            vec![],
            "place 1: m_amount of a no-op's word: expected 0, found 1 (P-4.3)",
        ),
        (
            places([0, 0, 0, 0, withdrawal(BOB)]),
            vec![paid],
            "place 4: expected no operation with a record, found one (P-6.3)",
        ),
        (
            places([transfer(ALICE, NOBODY, 1), 0, 0, 0, 0]),
            vec![],
            "place 0: receiver 99999 is not occupied (P-4.4, rule 2)",
        ),
        (
            places([transfer(NOBODY, BOB, 1), 0, 0, 0, 0]),
            vec![],
            "place 0: sender 99999 is not occupied (P-4.4, rule 1)",
        ),
        (
            places([withdrawal(BOB), 0, 0, 0, 0]),
            vec![],
            "place 0: expected record 0, found none (P-15.2)",
        ),
        (
            places([withdrawal(BOB), 0, 0, 0, 0]),
            vec![made],
            "place 0, record 0, kind: expected 5, found 6 (P-15.2)",
        ),
        (
            places([withdrawal(BOB), 0, 0, 0, 0]),
            vec![Record { amount: 496, ..paid }],
            "place 0: amount 496 and fee 5 are more than the sender has, 500 (P-4.7, rule 6)",
        ),
        (
            places([withdrawal(BOB), 0, 0, 0, 0]),
            vec![Record {
                address: [3; 20],
                ..paid
            }],
            "place 0, record 0, address: expected 0x0202020202020202020202020202020202020202, found 0x0303030303030303030303030303030303030303 (P-4.8)",
        ),
        (
            places([withdrawal(BOB), 0, 0, 0, 0]),
            vec![Record {
                token: TokenId(2),
                ..paid
            }],
            "place 0, record 0, token: expected 1, found 2 (P-4.8)",
        ),
        (
            places([withdrawal(BOB), 0, 0, 0, 0]),
            vec![Record {
                index: at(ALICE),
                ..paid
            }],
            "place 0, record 0, index: expected 65537, found 65536 (P-4.8)",
        ),
        (
            places([creation(BOB), 0, 0, 0, 0]),
            vec![Record {
                index: at(BOB),
                ..made
            }],
            "place 0: index 65537 is occupied (P-4.9, rule 2)",
        ),
        (
            places([creation(NOBODY), 0, 0, 0, 0]),
            vec![Record {
                index: at(BOB),
                ..made
            }],
            "place 0, record 0, index: expected 99999, found 65537 (P-4.10)",
        ),
        (
            places([creation(NOBODY), 0, 0, 0, 0]),
            vec![Record { amount: 1, ..made }],
            "place 0, record 0, amount: expected 0, found 1 (P-4.10)",
        ),
        (
            places([transfer(BOB, BOB, 1), 0, 0, 0, 0]),
            vec![paid],
            "expected 0 records, found 1 (P-15.2)",
        ),
    ];
    for (group, records, expected) in cases {
        assert_eq!(fault(&[group], &records), expected);
    }
}

#[test]
fn operations_of_the_queue_that_do_not_fit_are_told() {
    let exit = record(Kind::ForcedExit, ALICE, 1_000, 1);
    let deposit = keyed(record(Kind::DepositNew, 1 << 32, 5, 1), 1);
    let cases: [(Record, &str); 5] = [
        (
            Record { amount: 999, ..exit },
            "before group 0, record 0, amount: expected 1000, found 999 (P-4.11)",
        ),
        (
            Record { code: 3, ..exit },
            "before group 0, record 0, code: expected 0, found 3 (P-4.11)",
        ),
        (
            Record {
                address: [2; 20],
                ..exit
            },
            "before group 0, record 0, code: expected 3, found 0 (P-4.11)",
        ),
        (
            Record { code: 1, ..deposit },
            "before group 0, record 0, code: expected 0, found 1 (P-4.11)",
        ),
        (
            record(Kind::Withdrawal, BOB, 77, 2),
            "before group 0, record 0, kind: expected 1 to 4, found 5 (P-15.2)",
        ),
    ];
    for (record, expected) in cases {
        assert_eq!(fault(&[queued()], &[record]), expected);
    }
    assert_eq!(
        fault(&[queued()], &[]),
        "before group 0: expected record 0, found none (P-15.2)"
    );
}

#[test]
fn what_l1_says_beside_the_data_is_compared() {
    let before = state();
    let groups = [queued(), places([withdrawal(BOB), 0, 0, 0, 0])];
    let records = [
        record(Kind::ForcedExit, ALICE, 1_000, 1),
        record(Kind::Withdrawal, BOB, 77, 2),
    ];
    let (data_a, data_b) = (stream::posted_a(&records), stream::posted_b(&groups));
    let replayed = derive::replay(&before, &data_a, &data_b).unwrap();
    let after: Vec<_> = replayed
        .changes
        .iter()
        .map(|change| (change.index, change.after))
        .collect();
    let position = Position { number: 7, head: 3 };
    let accepted = Accepted {
        number: 7,
        old_root: before.root(),
        new_root: before.root_with(&after),
        head: 4,
        withdrawals_root: Tree::new(&owed(7, &records)).root(),
        withdrawals: 2,
        data_a,
        data_b,
    };
    let told = |spoil: fn(&mut Accepted)| {
        let (mut state, mut place, mut accepted) = (before.clone(), position, accepted.clone());
        spoil(&mut accepted);
        let error = derive(&mut state, &mut place, &accepted).map(drop);
        if error.is_err() {
            assert_eq!(
                (state.root(), place),
                (before.root(), position),
                "it is as it was"
            );
        }
        error.map_err(|error| error.to_string())
    };
    assert_eq!(told(|_| {}), Ok(()));
    type Spoil = fn(&mut Accepted);
    let cases: [(Spoil, &str); 7] = [
        (|accepted| accepted.number = 8, "8: number: expected 7, found 8"),
        (
            |accepted| accepted.old_root = Fr::from(5),
            "7: old root: expected 0x2d8c9f922db6fc229dbbc23b3d546dc496020065003ee45fa67412d4ae08ac88, found 0x0000000000000000000000000000000000000000000000000000000000000005",
        ),
        (
            |accepted| accepted.new_root = Fr::from(5),
            "7: new root: expected 0x0000000000000000000000000000000000000000000000000000000000000005, found 0x26663d77ba521b43d39e02a187f4c6a437ff71785cad084c2ddf119f3bbaaa9e",
        ),
        (
            |accepted| accepted.head = 3,
            "7: head of the queue: expected 4, found 3 (P-9.10)",
        ),
        (
            |accepted| accepted.withdrawals = 1,
            "7: withdrawals: expected 2, found 1 (P-9.12)",
        ),
        (
            |accepted| accepted.withdrawals_root = None,
            "7: root of the withdrawals: expected 0x32ad7eee4958527721b53658601e168b2bc02f6651f47c2558d9c3b8bc9dc168, found none (P-13.1)",
        ),
        (
            |accepted| accepted.withdrawals_root = Some(Digest([5; 32])),
            "7: root of the withdrawals: expected 0x32ad7eee4958527721b53658601e168b2bc02f6651f47c2558d9c3b8bc9dc168, found 0x0505050505050505050505050505050505050505050505050505050505050505 (P-13.1)",
        ),
    ];
    for (spoil, expected) in cases {
        assert_eq!(told(spoil), Err(format!("batch {expected}")));
    }
}
