//! Every rule of the operations is broken alone and refused by its exact error, and every code of the queue's operations comes about.

use rules::Fr;
use rules::account::{Account, AccountIndex, TokenId};
use rules::amount::{Amount, Fee};
use rules::babyjub::{self, Point};
use rules::batch::{self, Batch, BatchError, Executed};
use rules::eddsa::{PrivateKey, Signature, SignatureError};
use rules::layout::lay_out;
use rules::operation::{
    Creation, Expiry, Operation, Queued, RollupId, SignedCreation, SignedTransfer, SignedWithdrawal,
    Transfer, Withdrawal, Word, WordError,
};
use rules::record::{Coordinate, Kind, Record, RecordError};
use rules::state::State;
use rules::violation::{Cause, Clause, Violation};
use rules::witness::Shape;

const TIME: u64 = 1_800_000_000;
const ROLLUP: RollupId = RollupId {
    chain_id: 31_337,
    contract: [7; 20],
};
const GOLD: TokenId = TokenId(1);
const SILVER: TokenId = TokenId(2);
/// A token whose fee account does not exist.
const TIN: TokenId = TokenId(3);

const ALICE: u64 = 65_536;
const BOB: u64 = 65_537;
const ALICE_SILVER: u64 = 65_538;
const ALICE_TIN: u64 = 65_539;
const BOB_TIN: u64 = 65_540;
/// Holds all but 99 of what a balance can hold.
const RICH: u64 = 65_541;
/// Has sent as often as an account can.
const OLD: u64 = 65_542;
const NOBODY: u64 = 99_999;

fn at(index: u64) -> AccountIndex {
    AccountIndex::new(index).unwrap()
}

fn key(number: u8) -> PrivateKey {
    PrivateKey::from_bytes(&[number; 32])
}

fn account(token: TokenId, balance: u128, owner: u8) -> Account {
    Account {
        token,
        nonce: 0,
        balance,
        owner: key(owner).public(),
        l1_address: [owner; 20],
    }
}

fn state() -> State {
    let old = Account {
        nonce: u64::MAX,
        ..account(GOLD, 1_000, 1)
    };
    State::from_accounts([
        (at(1), account(GOLD, 0, 9)),
        (at(2), account(SILVER, u128::MAX - 4, 9)),
        (at(ALICE), account(GOLD, 1_000, 1)),
        (at(BOB), account(GOLD, 500, 2)),
        (at(ALICE_SILVER), account(SILVER, 1_000, 1)),
        (at(ALICE_TIN), account(TIN, 1_000, 1)),
        (at(BOB_TIN), account(TIN, 1_000, 2)),
        (at(RICH), account(GOLD, u128::MAX - 99, 3)),
        (at(OLD), old),
    ])
}

/// Alice gives Bob 100 for a fee of 5.
fn transfer() -> Transfer {
    Transfer {
        from: at(ALICE),
        to: at(BOB),
        amount: Amount::from_integer(100).unwrap(),
        fee: Fee::from_integer(5).unwrap(),
        nonce: 0,
        expiry: Expiry::new(TIME).unwrap(),
        token: GOLD,
    }
}

fn sign(transfer: Transfer) -> Operation {
    let state = state();
    let nobody = account(GOLD, 0, 2);
    let receiver = state.get(transfer.to).unwrap_or(&nobody);
    Operation::Transfer(transfer.sign(&key(1), &ROLLUP, receiver))
}

fn withdrawal() -> Withdrawal {
    Withdrawal {
        from: at(ALICE),
        amount: 77,
        fee: Fee::from_integer(5).unwrap(),
        nonce: 0,
        expiry: Expiry::new(TIME).unwrap(),
        token: GOLD,
    }
}

fn sign_withdrawal(withdrawal: Withdrawal) -> Operation {
    Operation::Withdrawal(withdrawal.sign(&key(1), &ROLLUP, &[1; 20]))
}

fn creation() -> Creation {
    Creation {
        index: at(NOBODY),
        token: GOLD,
        owner: key(4).public(),
        l1_address: [4; 20],
    }
}

fn sign_creation(creation: Creation) -> Operation {
    Operation::Creation(creation.sign(&key(4), &ROLLUP))
}

fn batch_of(state: &State, operations: Vec<Operation>) -> Batch {
    Batch {
        rollup_id: ROLLUP,
        number: 0,
        time: TIME,
        old_root: state.root(),
        new_root: Fr::zero(),
        operations,
    }
}

fn violation_of(operation: Operation) -> Violation {
    let mut state = state();
    let before = state.root();
    let first = Transfer {
        from: at(BOB),
        to: at(BOB),
        ..transfer()
    };
    let first = Operation::Transfer(first.sign(&key(2), &ROLLUP, state.get(at(BOB)).unwrap()));
    let batch = batch_of(&state, vec![first, operation]);
    let error = batch::execute(&mut state, &batch).expect_err("the second operation is invalid");
    assert_eq!(batch::new_root(&state, &batch), Err(error.clone()));
    assert_eq!(state.root(), before);
    match error {
        BatchError::Operation {
            operation: 1,
            violation,
        } => violation,
        other => panic!("{other}"),
    }
}

fn executed(mut state: State, operations: Vec<Operation>) -> (State, Executed) {
    let mut batch = batch_of(&state, operations);
    batch.new_root = batch::new_root(&state, &batch).unwrap();
    let executed = batch::execute(&mut state, &batch).unwrap();
    (state, executed)
}

/// Breaks one rule after the other, the later ones staying broken: each time the first is named.
fn in_order(clause: Clause, operations: Vec<(u8, Operation)>) {
    for (rule, operation) in operations {
        let violation = violation_of(operation);
        assert_eq!(
            (violation.clause, violation.rule()),
            (clause, Some(rule)),
            "{violation}"
        );
        assert!(
            violation.to_string().contains(&format!("{clause}, rule {rule}")),
            "{violation}"
        );
        assert!(!violation.expected().is_empty() && !violation.found().is_empty());
    }
}

#[test]
fn transfers_break_their_rules_in_order() {
    let good = transfer();
    let rule_9 = Transfer { to: at(RICH), ..good };
    let rule_8 = Operation::Transfer(rule_9.sign(&key(2), &ROLLUP, &account(GOLD, 0, 3)));
    let unsigned =
        |transfer: Transfer| Operation::Transfer(transfer.sign(&key(2), &ROLLUP, &account(GOLD, 0, 3)));
    let poor = Transfer {
        amount: Amount::from_integer(996).unwrap(),
        ..rule_9
    };
    let late = Transfer {
        expiry: Expiry::new(TIME - 1).unwrap(),
        ..poor
    };
    let again = Transfer { nonce: 1, ..late };
    let tin = Transfer {
        from: at(ALICE_TIN),
        to: at(BOB_TIN),
        token: TIN,
        ..again
    };
    in_order(
        Clause::Transfer,
        vec![
            (9, sign(rule_9)),
            (8, rule_8),
            (7, unsigned(poor)),
            (6, unsigned(late)),
            (5, unsigned(again)),
            (4, unsigned(tin)),
            (3, unsigned(Transfer { token: SILVER, ..tin })),
            (
                2,
                unsigned(Transfer {
                    to: at(NOBODY),
                    ..tin
                }),
            ),
            (
                1,
                unsigned(Transfer {
                    from: at(0),
                    to: at(NOBODY),
                    ..tin
                }),
            ),
        ],
    );
    let fee = Transfer {
        from: at(ALICE_SILVER),
        to: at(ALICE_SILVER),
        token: SILVER,
        ..good
    };
    in_order(
        Clause::Transfer,
        vec![
            (9, sign(fee)),
            (
                3,
                sign(Transfer {
                    to: at(ALICE_SILVER),
                    ..good
                }),
            ),
        ],
    );
    let old = Transfer {
        from: at(OLD),
        nonce: u64::MAX,
        ..good
    };
    assert_eq!(violation_of(sign(old)).cause, Cause::NonceExhausted);
}

#[test]
fn withdrawals_break_their_rules_in_order() {
    let unsigned =
        |withdrawal: Withdrawal| Operation::Withdrawal(withdrawal.sign(&key(2), &ROLLUP, &[1; 20]));
    let silver = Withdrawal {
        from: at(ALICE_SILVER),
        token: SILVER,
        ..withdrawal()
    };
    let poor = Withdrawal {
        amount: u128::MAX,
        ..silver
    };
    let late = Withdrawal {
        expiry: Expiry::new(TIME - 1).unwrap(),
        ..poor
    };
    let again = Withdrawal { nonce: 1, ..late };
    let tin = Withdrawal {
        from: at(ALICE_TIN),
        token: TIN,
        ..again
    };
    in_order(
        Clause::Withdrawal,
        vec![
            (8, sign_withdrawal(silver)),
            (7, unsigned(silver)),
            (6, unsigned(poor)),
            (5, unsigned(late)),
            (4, unsigned(again)),
            (3, unsigned(tin)),
            (2, unsigned(Withdrawal { token: GOLD, ..tin })),
            (
                1,
                unsigned(Withdrawal {
                    from: at(NOBODY),
                    ..tin
                }),
            ),
        ],
    );
    let all = |amount| Withdrawal {
        amount,
        ..withdrawal()
    };
    assert!(matches!(
        violation_of(sign_withdrawal(all(996))).cause,
        Cause::Balance {
            amount: 996,
            fee: 5,
            available: 1_000
        }
    ));
    let (after, done) = executed(state(), vec![sign_withdrawal(all(995))]);
    let alice = after.get(at(ALICE)).unwrap();
    assert_eq!(
        (alice.balance, alice.nonce, after.get(at(1)).unwrap().balance),
        (0, 1, 5)
    );
    assert_eq!(done.records(), [all(995).record(alice)]);
    assert!(done.records()[0].pays() && !all(0).record(alice).pays());
}

#[test]
fn creations_break_their_rules_in_order() {
    let unsigned = |creation: Creation| Operation::Creation(creation.sign(&key(2), &ROLLUP));
    let tin = Creation {
        token: TIN,
        ..creation()
    };
    let mut operations = vec![
        (4, unsigned(creation())),
        (3, unsigned(tin)),
        (
            3,
            unsigned(Creation {
                token: TokenId(0),
                ..tin
            }),
        ),
        (
            2,
            unsigned(Creation {
                index: at(BOB),
                ..tin
            }),
        ),
    ];
    for index in [0, 1, 65_535, 1 << 32, (1 << 33) - 1] {
        operations.push((
            1,
            unsigned(Creation {
                index: at(index),
                ..tin
            }),
        ));
    }
    in_order(Clause::Creation, operations);
    for index in [99_999, (1 << 32) - 1] {
        let creation = Creation {
            index: at(index),
            ..creation()
        };
        let (after, done) = executed(state(), vec![sign_creation(creation)]);
        assert_eq!(after.get(at(index)), Some(&creation.account()));
        let mut undone = after.clone();
        undone.set(&batch::undo(&done.changes));
        assert_eq!((undone.root(), undone.get(at(index))), (state().root(), None));
    }
}

#[test]
fn every_field_is_signed() {
    let rejects = |operation| {
        let cause = violation_of(operation).cause;
        assert_eq!(cause, Cause::Signature(SignatureError::Equation));
    };
    let receiver = account(GOLD, 0, 2);
    let signature = transfer().sign(&key(1), &ROLLUP, &receiver).signature;
    for changed in [
        Transfer {
            to: at(ALICE),
            ..transfer()
        },
        Transfer {
            amount: Amount::from_integer(101).unwrap(),
            ..transfer()
        },
        Transfer {
            fee: Fee::from_integer(6).unwrap(),
            ..transfer()
        },
        Transfer {
            expiry: Expiry::NEVER,
            ..transfer()
        },
    ] {
        rejects(Operation::Transfer(SignedTransfer {
            transfer: changed,
            signature,
        }));
    }
    // Another receiver than the sender looked at: by key, and by L1 address.
    for meant in [
        account(GOLD, 0, 3),
        Account {
            l1_address: [3; 20],
            ..receiver
        },
    ] {
        rejects(Operation::Transfer(transfer().sign(&key(1), &ROLLUP, &meant)));
    }
    let other = RollupId {
        chain_id: 1,
        ..ROLLUP
    };
    rejects(Operation::Transfer(transfer().sign(&key(1), &other, &receiver)));
    let signature = withdrawal().sign(&key(1), &ROLLUP, &[1; 20]).signature;
    for changed in [
        Withdrawal {
            amount: 78,
            ..withdrawal()
        },
        Withdrawal {
            fee: Fee::from_integer(6).unwrap(),
            ..withdrawal()
        },
        Withdrawal {
            expiry: Expiry::NEVER,
            ..withdrawal()
        },
    ] {
        rejects(Operation::Withdrawal(SignedWithdrawal {
            withdrawal: changed,
            signature,
        }));
    }
    rejects(Operation::Withdrawal(withdrawal().sign(
        &key(1),
        &ROLLUP,
        &[2; 20],
    )));
    rejects(Operation::Withdrawal(withdrawal().sign(
        &key(1),
        &other,
        &[1; 20],
    )));
    let signature = creation().sign(&key(4), &ROLLUP).signature;
    for changed in [
        Creation {
            token: SILVER,
            ..creation()
        },
        Creation {
            l1_address: [5; 20],
            ..creation()
        },
        Creation {
            owner: key(5).public(),
            ..creation()
        },
    ] {
        rejects(Operation::Creation(SignedCreation {
            creation: changed,
            signature,
        }));
    }
    // The index is whoever's who makes the batch: one signature makes two accounts.
    let twice = Creation {
        index: at(NOBODY + 1),
        ..creation()
    };
    let twice = Operation::Creation(SignedCreation {
        creation: twice,
        signature,
    });
    let (after, _) = executed(state(), vec![sign_creation(creation()), twice]);
    assert_eq!(after.get(at(NOBODY)), after.get(at(NOBODY + 1)));
    // A bad signature of an earlier operation comes before what breaks later.
    let state = state();
    let bad = Operation::Transfer(transfer().sign(&key(2), &ROLLUP, &receiver));
    let unknown = sign(Transfer {
        from: at(NOBODY),
        ..transfer()
    });
    let error = batch::new_root(&state, &batch_of(&state, vec![bad, unknown])).unwrap_err();
    assert!(
        matches!(error, BatchError::Operation { operation: 0, .. }),
        "{error}"
    );
}

#[test]
fn malformed_signatures_fail_the_named_check() {
    let receiver = *state().get(at(BOB)).unwrap();
    let signed = |number| transfer().sign(&key(number), &ROLLUP, &receiver).signature;
    let valid = signed(1);
    let above = (valid.s_integer() + babyjub::suborder()).to_bytes_be();
    let mut s = [0; 32];
    s[32 - above.len()..].copy_from_slice(&above);
    let cases = [
        (Signature { s, ..valid }, SignatureError::ScalarRange),
        (
            Signature {
                s: [0xff; 32],
                ..valid
            },
            SignatureError::ScalarRange,
        ),
        (
            Signature {
                r8: Point {
                    x: Fr::one(),
                    y: Fr::one(),
                },
                ..valid
            },
            SignatureError::NonceOffCurve,
        ),
        (
            Signature {
                r8: Point {
                    x: Fr::zero(),
                    y: Fr::zero(),
                },
                ..valid
            },
            SignatureError::NonceOffCurve,
        ),
        (
            Signature {
                r8: Point::IDENTITY,
                ..valid
            },
            SignatureError::NonceZeroX,
        ),
        (
            Signature {
                r8: Point {
                    x: Fr::zero(),
                    y: -Fr::one(),
                },
                ..valid
            },
            SignatureError::NonceZeroX,
        ),
        (
            Signature {
                r8: valid.r8.negate(),
                ..valid
            },
            SignatureError::Equation,
        ),
        (Signature { s: [0; 32], ..valid }, SignatureError::Equation),
        (signed(2), SignatureError::Equation),
    ];
    for (signature, reason) in cases {
        let violation = violation_of(Operation::Transfer(SignedTransfer {
            transfer: transfer(),
            signature,
        }));
        assert_eq!(violation.cause, Cause::Signature(reason));
    }
}

fn entry(kind: Kind, token: TokenId, index: u64, amount: u128, address: u8) -> Record {
    Record {
        kind,
        code: 0,
        token,
        index: at(index),
        amount,
        address: [address; 20],
        u: Coordinate::ZERO,
        v: Coordinate::ZERO,
    }
}

fn keyed(record: Record, owner: u8) -> Record {
    let key = key(owner).public();
    Record {
        u: key.0.x.into(),
        v: key.0.y.into(),
        ..record
    }
}

fn for_account(record: Record, account: &Account) -> Record {
    Record {
        u: Coordinate::from_address(&account.l1_address),
        v: account.owner.0.y.into(),
        ..record
    }
}

/// Executes one entry; returns its record and the accounts after it.
fn decided(entry: Record) -> (Record, State) {
    let (after, done) = executed(state(), vec![Queued::new(entry).unwrap().into()]);
    let record = done.records()[0];
    assert_eq!(record.entry(), entry);
    if record.code != 0 {
        assert_eq!(after.root(), state().root());
    }
    (record, after)
}

#[test]
fn queue_operations_say_their_code() {
    let alice = account(GOLD, 1_000, 1);
    let new = keyed(entry(Kind::DepositNew, GOLD, 1 << 32, 9, 5), 5);
    let (record, after) = decided(new);
    assert_eq!((record.code, record.pays()), (0, false));
    assert_eq!(
        after.get(at(1 << 32)),
        Some(&Account {
            balance: 9,
            ..account(GOLD, 0, 5)
        })
    );
    for index in [ALICE, 0] {
        let (record, _) = decided(Record {
            index: at(index),
            ..new
        });
        assert_eq!((record.code, record.pays()), (1, true));
    }
    let existing = for_account(entry(Kind::DepositExisting, GOLD, ALICE, 9, 5), &alice);
    let (record, after) = decided(existing);
    assert_eq!((record.code, after.get(at(ALICE)).unwrap().balance), (0, 1_009));
    // Each alone, and with all that come after it.
    let wrong_v = Record {
        v: Coordinate::ZERO,
        ..existing
    };
    let wrong_u = Record {
        u: Coordinate::ZERO,
        ..existing
    };
    let broken = [
        (4, wrong_v),
        (3, wrong_u),
        (
            3,
            Record {
                u: Coordinate::ZERO,
                ..wrong_v
            },
        ),
        (
            2,
            Record {
                token: SILVER,
                ..existing
            },
        ),
        (
            2,
            Record {
                token: SILVER,
                u: Coordinate::ZERO,
                ..wrong_v
            },
        ),
        (
            1,
            Record {
                index: at(NOBODY),
                ..existing
            },
        ),
        (
            1,
            Record {
                index: at(0),
                ..existing
            },
        ),
    ];
    for (code, entry) in broken {
        let (record, _) = decided(entry);
        assert_eq!((record.code, record.pays()), (code, true));
    }
    let exit = entry(Kind::ForcedExit, GOLD, ALICE, 0, 1);
    let (record, after) = decided(exit);
    assert_eq!((record.code, record.amount, record.pays()), (0, 1_000, true));
    assert_eq!(after.get(at(ALICE)), Some(&Account { balance: 0, ..alice }));
    let broken = [
        (
            3,
            Record {
                address: [2; 20],
                ..exit
            },
        ),
        (
            2,
            Record {
                token: SILVER,
                ..exit
            },
        ),
        (
            2,
            Record {
                token: SILVER,
                address: [2; 20],
                ..exit
            },
        ),
        (
            1,
            Record {
                index: at(NOBODY),
                ..exit
            },
        ),
    ];
    for (code, entry) in broken {
        let (record, _) = decided(entry);
        assert_eq!((record.code, record.amount, record.pays()), (code, 0, false));
    }
    let change = keyed(entry(Kind::KeyChange, TokenId(0), ALICE, 0, 1), 7);
    let (record, after) = decided(change);
    assert_eq!((record.code, record.pays()), (0, false));
    assert_eq!(
        after.get(at(ALICE)),
        Some(&Account {
            owner: key(7).public(),
            ..alice
        })
    );
    assert_eq!(
        decided(Record {
            address: [2; 20],
            ..change
        })
        .0
        .code,
        3
    );
    assert_eq!(
        decided(Record {
            index: at(NOBODY),
            ..change
        })
        .0
        .code,
        1
    );
    // A deposit that would overflow is possible on no state that was reached.
    let overflow = for_account(
        entry(Kind::DepositExisting, GOLD, RICH, 100, 5),
        &account(GOLD, 0, 3),
    );
    let violation = violation_of(Queued::new(overflow).unwrap().into());
    assert_eq!((violation.clause, violation.rule()), (Clause::Queue, None));
}

#[test]
fn operations_coincide_in_every_way() {
    // All in one batch: a new account, a transfer to it, its deposit, its forced exit, and the same on the fee account.
    let fee = |balance| Account {
        balance,
        ..account(GOLD, 0, 9)
    };
    let new = creation().account();
    let to_new = Transfer {
        to: at(NOBODY),
        ..transfer()
    };
    let to_new = Operation::Transfer(to_new.sign(&key(1), &ROLLUP, &new));
    let deposit = for_account(entry(Kind::DepositExisting, GOLD, NOBODY, 9, 5), &new);
    let exit = entry(Kind::ForcedExit, GOLD, NOBODY, 0, 4);
    let to_fee = for_account(entry(Kind::DepositExisting, GOLD, 1, 3, 5), &fee(0));
    let fee_exit = entry(Kind::ForcedExit, GOLD, 1, 0, 9);
    let queued = |record| Operation::from(Queued::new(record).unwrap());
    let operations = vec![
        queued(exit),
        sign_creation(creation()),
        to_new,
        queued(deposit),
        queued(exit),
        queued(to_fee),
        queued(fee_exit),
        queued(fee_exit),
    ];
    let (after, done) = executed(state(), operations);
    let codes: Vec<_> = done
        .records()
        .iter()
        .map(|record| (record.code, record.amount))
        .collect();
    assert_eq!(codes, [(1, 0), (0, 0), (0, 9), (0, 109), (0, 3), (0, 8), (0, 0)]);
    assert_eq!(after.get(at(NOBODY)), Some(&new));
    assert_eq!(after.get(at(1)), Some(&fee(0)));
    // Sender, receiver and fee account are one.
    let fees = Account {
        balance: 100,
        ..fee(0)
    };
    let state = State::from_accounts([(at(1), fees)]);
    let own = Transfer {
        from: at(1),
        to: at(1),
        amount: Amount::from_integer(95).unwrap(),
        ..transfer()
    };
    let own = Operation::Transfer(own.sign(&key(9), &ROLLUP, &fees));
    let burn = Withdrawal {
        from: at(1),
        amount: 95,
        nonce: 1,
        ..withdrawal()
    };
    let burn = Operation::Withdrawal(burn.sign(&key(9), &ROLLUP, &[9; 20]));
    let (after, _) = executed(state, vec![own, burn]);
    assert_eq!(
        after.get(at(1)),
        Some(&Account {
            nonce: 2,
            balance: 5,
            ..fees
        })
    );
}

#[test]
fn integers_that_are_no_words_are_refused() {
    let word = |m_amount: u128, e_amount: u128, m_fee: u128, e_fee: u128, from: u128, to: u128| {
        from | m_amount << 33 | e_amount << 52 | m_fee << 57 | e_fee << 61 | to << 66
    };
    let part = |integer| match Word::from_integer(integer) {
        Err(WordError::Part { kind, part, found: 1 }) => (kind, part),
        other => panic!("{other:?}"),
    };
    for (from, to, kind) in [(0, 0, "no-op"), (0, 9, "creation"), (9, 0, "withdrawal")] {
        assert_eq!(part(word(1, 0, 0, 0, from, to)), (kind, "m_amount"));
        assert_eq!(part(word(0, 1, 0, 0, from, to)), (kind, "e_amount"));
        if from == 0 {
            assert_eq!(part(word(0, 0, 1, 0, from, to)), (kind, "m_fee"));
            assert_eq!(part(word(0, 0, 0, 1, from, to)), (kind, "e_fee"));
        }
    }
    for (from, to) in [(9, 0), (9, 9)] {
        assert!(matches!(
            Word::from_integer(word(0, 0, 1, 1, from, to)),
            Err(WordError::Amount(_))
        ));
    }
    assert!(matches!(
        Word::from_integer(word(1, 1, 0, 0, 9, 9)),
        Err(WordError::Amount(_))
    ));
    assert_eq!(Word::from_integer(1 << 99), Err(WordError::Range));
    for integer in [
        0,
        word(7, 0, 2, 1, 9, 9),
        word(0, 0, 2, 1, 9, 0),
        word(0, 0, 0, 0, 0, 9),
    ] {
        assert_eq!(Word::from_integer(integer).unwrap().to_integer(), integer);
    }
}

#[test]
fn records_and_entries_are_read_strictly() {
    let record = keyed(entry(Kind::DepositNew, GOLD, 1 << 32, u128::MAX, 5), 5);
    let bytes = record.to_bytes();
    assert_eq!(Record::from_bytes(&bytes), Ok(record));
    for number in [0, 7] {
        let mut other = bytes;
        other[30] = other[30] & !7 | number;
        assert_eq!(
            Record::from_bytes(&other),
            Err(RecordError::Kind { found: number })
        );
    }
    for (element, expected) in [(0, 183), (3, 172)] {
        let mut other = bytes;
        other[31 * element] = 1;
        let found = 241;
        assert_eq!(
            Record::from_bytes(&other),
            Err(RecordError::Bits {
                element,
                expected,
                found
            })
        );
    }
    let refused = |record| Queued::new(record).unwrap_err().to_string();
    let exit = entry(Kind::ForcedExit, GOLD, 1, 0, 5);
    let change = entry(Kind::KeyChange, TokenId(0), 1, 0, 5);
    assert!(
        refused(Record {
            kind: Kind::Withdrawal,
            ..exit
        })
        .contains("kind")
    );
    assert!(refused(Record { code: 1, ..exit }).contains("code"));
    assert!(refused(Record { amount: 1, ..exit }).contains("amount"));
    assert!(refused(Record { u: record.u, ..exit }).contains("u of"));
    assert!(refused(Record { v: record.v, ..exit }).contains("v of"));
    assert!(
        refused(Record {
            token: GOLD,
            ..change
        })
        .contains("token")
    );
    assert!(refused(Record { amount: 1, ..change }).contains("amount"));
    assert!(Coordinate::new([0x3f; 32]).is_ok() && Coordinate::new([0x40; 32]).is_err());
}

#[test]
fn the_file_form_says_one_operation() {
    let read = serde_json::from_str::<Operation>;
    assert_eq!(read(r#"{"no_op":{}}"#).unwrap(), Operation::NoOp);
    let text = serde_json::to_string(&sign_creation(creation())).unwrap();
    assert_eq!(read(&text).unwrap(), sign_creation(creation()));
    let unsigned = format!("{}}}", &text[..text.find(",\"signature\"").unwrap()]);
    let both = text.replacen('{', r#"{"no_op":{},"#, 1);
    let other = text.replace("creation", "creations");
    for wrong in [
        "{}",
        r#"{"no_op":{"a":1}}"#,
        r#"{"no_op":1}"#,
        &unsigned,
        &both,
        &other,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn operations_stand_where_they_may() {
    let shape = Shape { places: 10, rooms: 1 };
    let exit = Operation::from(Queued::new(entry(Kind::ForcedExit, GOLD, ALICE, 0, 1)).unwrap());
    let (paid, burnt) = (sign(transfer()), sign_withdrawal(withdrawal()));
    let operations = [paid, paid, paid, paid, burnt, exit, exit, paid];
    let groups = lay_out(&operations, shape).unwrap();
    let places: Vec<_> = groups.iter().map(|group| (group.queued, group.places)).collect();
    let none = [None; 5];
    assert_eq!(
        places,
        [
            (None, [Some(0), Some(1), Some(2), Some(3), None]),
            (None, [Some(4), None, None, None, None]),
            (Some(5), none),
            (None, none),
            (Some(6), [Some(7), None, None, None, None]),
        ]
    );
    let order =
        rules::layout::interleave([exit, exit], [paid, paid, paid, paid, burnt, paid], shape).unwrap();
    assert_eq!(order, [exit, paid, paid, paid, paid, burnt, paid, exit]);
}
