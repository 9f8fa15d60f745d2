//! Every rule of a batch is broken alone and refused by its exact error (P-4.4, P-3.6), and the state stays as it was.

use rules::Fr;
use rules::account::{Account, AccountIndex, IndexRange, TokenId};
use rules::amount::{Amount, AmountError, Fee};
use rules::babyjub::{self, Point};
use rules::batch::{self, Batch, BatchError, Violation};
use rules::eddsa::{PrivateKey, PublicKey, Signature, SignatureError};
use rules::genesis::{Genesis, GenesisAccount, GenesisError};
use rules::operation::{Effect, Expiry, ExpiryRange, RollupId, SignedTransfer, Transfer, WordError};
use rules::state::State;

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

fn accounts() -> Vec<GenesisAccount> {
    let list = [
        (1, account(GOLD, 0, 9)),
        (2, account(SILVER, u128::MAX - 4, 9)),
        (ALICE, account(GOLD, 1_000, 1)),
        (BOB, account(GOLD, 500, 2)),
        (ALICE_SILVER, account(SILVER, 1_000, 1)),
        (ALICE_TIN, account(TIN, 1_000, 1)),
        (BOB_TIN, account(TIN, 1_000, 2)),
        (RICH, account(GOLD, u128::MAX - 99, 3)),
        (
            OLD,
            Account {
                nonce: u64::MAX,
                ..account(GOLD, 1_000, 1)
            },
        ),
    ];
    list.into_iter()
        .map(|(index, account)| GenesisAccount {
            index: at(index),
            account,
        })
        .collect()
}

fn state() -> State {
    State::from_accounts(accounts().into_iter().map(|entry| (entry.index, entry.account)))
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

fn batch_of(state: &State, operations: Vec<SignedTransfer>) -> Batch {
    let (old_root, new_root) = (state.root(), Fr::zero());
    Batch {
        rollup_id: ROLLUP,
        number: 0,
        time: TIME,
        old_root,
        new_root,
        operations,
    }
}

/// Executes a valid transfer and then `operation`; returns what the second one violates.
fn violation_of(operation: SignedTransfer) -> Violation {
    let first = Transfer {
        from: at(BOB),
        to: at(BOB),
        ..transfer()
    }
    .sign(&key(2), &ROLLUP);
    let mut state = state();
    let before = state.root();
    let batch = batch_of(&state, vec![first, operation]);
    let error = batch::execute(&mut state, &batch).expect_err("the second operation is invalid");
    assert_eq!(batch::new_root(&state, &batch), Err(error.clone()));
    assert_eq!(state.root(), before);
    assert_eq!(state.get(at(BOB)).unwrap().balance, 500);
    match error {
        BatchError::Operation {
            operation: 1,
            violation,
        } => violation,
        other => panic!("{other}"),
    }
}

fn violation_signed(transfer: Transfer) -> Violation {
    violation_of(transfer.sign(&key(1), &ROLLUP))
}

#[test]
fn rule_1_the_sender_exists() {
    for index in [0, NOBODY] {
        let violation = violation_signed(Transfer {
            from: at(index),
            ..transfer()
        });
        assert_eq!(violation, Violation::SenderUnknown { index: at(index) });
        assert_eq!(
            (violation.rule(), violation.field(), violation.found()),
            (1, "from", index.to_string())
        );
    }
    // A no-op is not an operation of a batch.
    let violation = violation_of(SignedTransfer::dummy(&ROLLUP));
    assert_eq!(
        violation,
        Violation::SenderUnknown {
            index: AccountIndex::NONE
        }
    );
}

#[test]
fn rule_2_the_receiver_exists() {
    for index in [0, NOBODY] {
        let violation = violation_signed(Transfer {
            to: at(index),
            ..transfer()
        });
        assert_eq!(violation, Violation::ReceiverUnknown { index: at(index) });
        assert_eq!((violation.rule(), violation.field()), (2, "to"));
    }
}

#[test]
fn rule_3_both_accounts_have_the_token() {
    let violation = violation_signed(Transfer {
        from: at(ALICE_SILVER),
        ..transfer()
    });
    assert_eq!(
        violation,
        Violation::SenderToken {
            transfer: GOLD,
            account: SILVER
        }
    );
    let violation = violation_signed(Transfer {
        to: at(ALICE_SILVER),
        ..transfer()
    });
    assert_eq!(
        violation,
        Violation::ReceiverToken {
            transfer: GOLD,
            account: SILVER
        }
    );
    let violation = violation_signed(Transfer {
        token: SILVER,
        ..transfer()
    });
    assert_eq!(
        violation,
        Violation::SenderToken {
            transfer: SILVER,
            account: GOLD
        }
    );
    let violation = violation_signed(Transfer {
        token: TokenId(0),
        ..transfer()
    });
    assert_eq!(
        violation,
        Violation::SenderToken {
            transfer: TokenId(0),
            account: GOLD
        }
    );
    assert_eq!((violation.rule(), violation.field()), (3, "token"));
}

#[test]
fn rule_4_the_token_has_a_fee_account() {
    let violation = violation_signed(Transfer {
        from: at(ALICE_TIN),
        to: at(BOB_TIN),
        token: TIN,
        ..transfer()
    });
    assert_eq!(violation, Violation::FeeAccountUnknown { token: TIN });
    assert_eq!((violation.rule(), violation.field()), (4, "token"));
}

#[test]
fn rule_5_the_nonce_is_the_senders() {
    let violation = violation_signed(Transfer {
        nonce: 1,
        ..transfer()
    });
    assert_eq!(
        violation,
        Violation::Nonce {
            expected: 0,
            found: 1
        }
    );
    assert_eq!(
        (violation.rule(), violation.expected(), violation.found()),
        (5, "0".into(), "1".into())
    );
    let violation = violation_signed(Transfer {
        from: at(OLD),
        nonce: u64::MAX,
        ..transfer()
    });
    assert_eq!(violation, Violation::NonceExhausted);
}

#[test]
fn rule_5_a_transfer_cannot_be_replayed() {
    let mut state = state();
    let signed = transfer().sign(&key(1), &ROLLUP);
    let error = batch::new_root(&state, &batch_of(&state, vec![signed, signed])).unwrap_err();
    let violation = Violation::Nonce {
        expected: 1,
        found: 0,
    };
    assert_eq!(
        error,
        BatchError::Operation {
            operation: 1,
            violation
        }
    );
    let mut batch = batch_of(&state, vec![signed]);
    batch.new_root = batch::new_root(&state, &batch).unwrap();
    batch::execute(&mut state, &batch).unwrap();
    let again = batch_of(&state, vec![signed]);
    let error = batch::execute(&mut state, &again).unwrap_err();
    assert_eq!(
        error,
        BatchError::Operation {
            operation: 0,
            violation
        }
    );
    let found = batch.old_root;
    assert_eq!(
        batch::execute(&mut state, &batch).unwrap_err(),
        BatchError::OldRoot {
            expected: state.root(),
            found
        }
    );
}

#[test]
fn rule_6_the_transfer_has_not_expired() {
    let expiry = Expiry::new(TIME - 1).unwrap();
    let violation = violation_signed(Transfer { expiry, ..transfer() });
    assert_eq!(violation, Violation::Expired { time: TIME, expiry });
    assert_eq!((violation.rule(), violation.field()), (6, "expiry"));
}

#[test]
fn rule_7_the_sender_covers_amount_and_fee() {
    let violation = violation_signed(Transfer {
        amount: Amount::from_integer(996).unwrap(),
        ..transfer()
    });
    assert_eq!(
        violation,
        Violation::Balance {
            needed: 1_001,
            available: 1_000
        }
    );
    assert_eq!((violation.rule(), violation.field()), (7, "amount"));
    let all = Amount::new(524_287, 31).unwrap();
    let violation = violation_signed(Transfer {
        amount: all,
        fee: Fee::new(15, 31).unwrap(),
        ..transfer()
    });
    assert!(matches!(violation, Violation::Balance { available: 1_000, .. }));
    // A transfer to oneself must be covered too, and may be exactly.
    let own = Transfer {
        to: at(ALICE),
        amount: Amount::from_integer(995).unwrap(),
        ..transfer()
    };
    let state = state();
    assert!(batch::new_root(&state, &batch_of(&state, vec![own.sign(&key(1), &ROLLUP)])).is_ok());
    let violation = violation_signed(Transfer {
        amount: Amount::from_integer(996).unwrap(),
        ..own
    });
    assert_eq!(
        violation,
        Violation::Balance {
            needed: 1_001,
            available: 1_000
        }
    );
}

#[test]
fn rule_8_every_field_is_signed() {
    let signature = transfer().sign(&key(1), &ROLLUP).signature;
    // Changes that pass rules 1 to 7.
    let changes = [
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
        Transfer {
            from: at(BOB),
            nonce: 1,
            ..transfer()
        },
    ];
    for changed in changes {
        let violation = violation_of(SignedTransfer {
            transfer: changed,
            signature,
        });
        assert_eq!(
            violation,
            Violation::Signature(SignatureError::Equation),
            "{changed:?}"
        );
        assert_eq!((violation.rule(), violation.field()), (8, "signature"));
    }
    // The nonce and the token are signed as well; rules 3 and 5 would hide it.
    let message = transfer().message(&ROLLUP);
    assert_ne!(
        Transfer {
            nonce: 1,
            ..transfer()
        }
        .message(&ROLLUP),
        message
    );
    assert_ne!(
        Transfer {
            token: SILVER,
            ..transfer()
        }
        .message(&ROLLUP),
        message
    );
}

#[test]
fn rule_8_a_signature_for_another_rollup_is_worth_nothing() {
    for other in [
        RollupId {
            chain_id: 1,
            ..ROLLUP
        },
        RollupId {
            contract: [8; 20],
            ..ROLLUP
        },
    ] {
        let violation = violation_of(transfer().sign(&key(1), &other));
        assert_eq!(violation, Violation::Signature(SignatureError::Equation));
    }
}

#[test]
fn rule_8_malformed_signatures_fail_the_named_check() {
    let valid = transfer().sign(&key(1), &ROLLUP).signature;
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
        (
            transfer().sign(&key(2), &ROLLUP).signature,
            SignatureError::Equation,
        ),
    ];
    for (signature, reason) in cases {
        let violation = violation_of(SignedTransfer {
            transfer: transfer(),
            signature,
        });
        assert_eq!(violation, Violation::Signature(reason));
    }
}

#[test]
fn rule_9_no_balance_overflows() {
    let violation = violation_signed(Transfer {
        to: at(RICH),
        ..transfer()
    });
    assert_eq!(
        violation,
        Violation::ReceiverOverflow {
            balance: u128::MAX - 99,
            amount: 100
        }
    );
    assert_eq!(
        (violation.rule(), violation.expected()),
        (9, "at most 99".to_string())
    );
    let silver = Transfer {
        from: at(ALICE_SILVER),
        to: at(ALICE_SILVER),
        token: SILVER,
        ..transfer()
    };
    let violation = violation_signed(silver);
    assert_eq!(
        violation,
        Violation::FeeOverflow {
            balance: u128::MAX - 4,
            fee: 5
        }
    );
    assert_eq!((violation.rule(), violation.field()), (9, "fee"));
    let state = state();
    let fits = Transfer {
        fee: Fee::from_integer(4).unwrap(),
        ..silver
    }
    .sign(&key(1), &ROLLUP);
    assert!(batch::new_root(&state, &batch_of(&state, vec![fits])).is_ok());
}

#[test]
fn the_first_rule_of_the_first_operation_is_named() {
    // Breaks rules 5, 6, 7 and 8 at once.
    let mut broken = Transfer {
        nonce: 3,
        expiry: Expiry::new(1).unwrap(),
        amount: Amount::from_integer(5_000).unwrap(),
        ..transfer()
    };
    let signature = transfer().sign(&key(2), &ROLLUP).signature;
    let mut rules = Vec::new();
    for fix in 0..4 {
        match fix {
            1 => broken.nonce = 0,
            2 => broken.expiry = Expiry::NEVER,
            3 => broken.amount = Amount::ZERO,
            _ => {}
        }
        rules.push(
            violation_of(SignedTransfer {
                transfer: broken,
                signature,
            })
            .rule(),
        );
    }
    assert_eq!(rules, [5, 6, 7, 8]);
    // An earlier operation's later rule comes first.
    let state = state();
    let unsigned = SignedTransfer {
        transfer: transfer(),
        signature,
    };
    let unknown = Transfer {
        from: at(NOBODY),
        ..transfer()
    }
    .sign(&key(1), &ROLLUP);
    let error = batch::new_root(&state, &batch_of(&state, vec![unsigned, unknown])).unwrap_err();
    let violation = Violation::Signature(SignatureError::Equation);
    assert_eq!(
        error,
        BatchError::Operation {
            operation: 0,
            violation
        }
    );
    assert!(
        error.to_string().contains("operation 0") && error.to_string().contains("rule 8"),
        "{error}"
    );
}

#[test]
fn roots_and_time_of_a_batch_are_checked() {
    let mut state = state();
    let root = state.root();
    let mut valid = batch_of(&state, vec![transfer().sign(&key(1), &ROLLUP)]);
    valid.new_root = batch::new_root(&state, &valid).unwrap();
    let cases = [
        (
            Batch {
                time: 1 << 40,
                ..valid.clone()
            },
            BatchError::Time { found: 1 << 40 },
        ),
        (
            Batch {
                old_root: Fr::one(),
                ..valid.clone()
            },
            BatchError::OldRoot {
                expected: root,
                found: Fr::one(),
            },
        ),
        (
            Batch {
                new_root: root,
                ..valid.clone()
            },
            BatchError::NewRoot {
                expected: valid.new_root,
                found: root,
            },
        ),
        (
            Batch {
                operations: vec![valid.operations[0]; batch::OPERATIONS_MAX + 1],
                ..valid.clone()
            },
            BatchError::TooManyOperations {
                found: batch::OPERATIONS_MAX + 1,
            },
        ),
    ];
    for (batch, error) in cases {
        assert_eq!(batch::execute(&mut state, &batch).unwrap_err(), error);
        assert_eq!(state.root(), root);
    }
    let executed = batch::execute(&mut state, &valid).unwrap();
    assert_eq!(
        (executed.old_root, executed.new_root, state.root()),
        (root, valid.new_root, valid.new_root)
    );
    assert_eq!(state.get(at(1)).unwrap().balance, 5);
}

#[test]
fn values_out_of_range_cannot_be_made() {
    assert_eq!(AccountIndex::new(1 << 33), Err(IndexRange(1 << 33)));
    assert_eq!(Expiry::new(1 << 40), Err(ExpiryRange(1 << 40)));
    assert!(matches!(Amount::new(1, 1), Err(AmountError::NonCanonical { .. })));
    let non_canonical_amount = transfer().word() & !(0xff_ffff << 33) | 1 << 33 | 1 << 52;
    assert!(matches!(
        Effect::from_word(non_canonical_amount),
        Err(WordError::Amount(_))
    ));
    let non_canonical_fee = transfer().word() & !(0x1ff << 57) | 1 << 57 | 1 << 61;
    assert!(matches!(
        Effect::from_word(non_canonical_fee),
        Err(WordError::Amount(_))
    ));
    assert_eq!(Effect::from_word(1 << 99), Err(WordError::Range));
}

#[test]
fn genesis_rules_are_checked() {
    let entry = |index, account| GenesisAccount {
        index: at(index),
        account,
    };
    let fine = entry(ALICE, account(GOLD, 1, 1));
    let owned_by = |point| Account {
        owner: PublicKey(point),
        ..account(GOLD, 1, 1)
    };
    let off_curve = Point {
        x: Fr::one(),
        y: Fr::one(),
    };
    let cases = [
        (
            entry(0, account(GOLD, 1, 1)),
            GenesisError::IndexZero { position: 1 },
        ),
        (
            fine,
            GenesisError::Duplicate {
                position: 1,
                index: at(ALICE),
            },
        ),
        (
            entry(BOB, account(TokenId(0), 1, 1)),
            GenesisError::TokenZero {
                position: 1,
                index: at(BOB),
            },
        ),
        (
            entry(1, account(SILVER, 1, 1)),
            GenesisError::FeeToken {
                position: 1,
                index: at(1),
                found: SILVER,
            },
        ),
        (
            entry(65_535, account(GOLD, 1, 1)),
            GenesisError::FeeToken {
                position: 1,
                index: at(65_535),
                found: GOLD,
            },
        ),
        (
            entry(
                BOB,
                Account {
                    nonce: 1 << 63,
                    ..account(GOLD, 1, 1)
                },
            ),
            GenesisError::Nonce {
                position: 1,
                index: at(BOB),
                found: 1 << 63,
            },
        ),
        (
            entry(BOB, owned_by(off_curve)),
            GenesisError::Owner {
                position: 1,
                index: at(BOB),
                reason: SignatureError::KeyOffCurve,
            },
        ),
        (
            entry(BOB, owned_by(Point::IDENTITY)),
            GenesisError::Owner {
                position: 1,
                index: at(BOB),
                reason: SignatureError::KeySmallOrder,
            },
        ),
    ];
    for (second, error) in cases {
        assert_eq!(Genesis::new(vec![fine, second]).build().unwrap_err(), error);
    }
    let genesis = Genesis::new(accounts());
    assert_eq!(Genesis::from_json(&genesis.to_json()), Ok(genesis.clone()));
    let other = genesis.to_json().replacen("\"version\": 1", "\"version\": 2", 1);
    assert_eq!(
        Genesis::from_json(&other),
        Err(GenesisError::Version { found: 2 })
    );
    assert!(matches!(
        Genesis::from_json("{}"),
        Err(GenesisError::Malformed(_))
    ));
}
