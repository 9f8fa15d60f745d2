//! Forged witnesses: each breaks one rule of the statement, is consistent in everything else, and must fail by
//! exactly the constraint that enforces the rule.

use super::checker::Checker;
use super::world::*;
use crate::shard::config::Z;
use crate::shard::raw::{AX, AY, BALANCE, L1_ADDRESS, NONCE, RawGroup, TOKEN};
use crate::shard::sheet::Place;
use halo2_proofs::arithmetic::Field;
use halo2curves::ff::PrimeField;
use num_bigint::BigUint;
use rules::account::AccountIndex;
use rules::{Fr, field};

const SEQUENCE: &str = "copy @ P-4.5: updates in sequence";
const ROOM_ROOT: &str = "copy @ P-6.7: before the group's places";
pub const SIGNATURE: &str = "copy @ P-5.4: the sum is R8, and R8.x is not 0";

fn failures_after(
    world: &mut World,
    entry: &Entry,
    plans: &[Plan],
    change: impl FnOnce(&mut RawGroup),
) -> Vec<String> {
    let root = world.tree.root();
    let mut group = world.group(Some(entry), plans);
    change(&mut group);
    let (sheet, instances) = sheet_with(TINY, root, &[group]);
    Checker::new().failures(&sheet, &instances).into_iter().collect()
}

fn of_plan(plan: &Plan) -> Vec<String> {
    failures_after(
        &mut World::new(),
        &Entry::idle(),
        std::slice::from_ref(plan),
        |_| {},
    )
}

fn of_entry(entry: &Entry) -> Vec<String> {
    failures_after(&mut World::new(), entry, &[], |_| {})
}

#[track_caller]
fn breaks(plan: Plan, expected: &[&str]) {
    assert_eq!(of_plan(&plan), expected);
}

/// The rule's constraint fails, beside others of which it is a part.
#[track_caller]
fn breaks_too(plan: &Plan, expected: &str) {
    let found = of_plan(plan);
    assert!(found.contains(&expected.to_string()), "{found:?}");
}

#[track_caller]
fn entry_breaks(entry: Entry, expected: &[&str]) {
    assert_eq!(of_entry(&entry), expected);
}

#[test]
fn valid_operations_break_nothing() {
    for plan in [Plan::default(), withdrawal(), creation(), no_op()] {
        breaks(plan, &[]);
    }
    for entry in Entry::all() {
        entry_breaks(entry, &[]);
    }
}

#[test]
fn one_kind_at_most() {
    for kind in [
        [true, true, false],
        [true, false, true],
        [false, true, true],
        [true; 3],
    ] {
        let found = failures_after(&mut World::new(), &Entry::idle(), &[Plan::default()], |group| {
            group.places[0].kind = kind;
        });
        assert!(
            found.contains(&"arith: a + b c = d @ P-4.3: one kind or none".into()),
            "{found:?}"
        );
    }
    let found = failures_after(&mut World::new(), &Entry::deposit_new(), &[], |group| {
        group.room.as_mut().expect("a room").kind[2] = true;
    });
    let kinds = "arith: a + b c = d @ P-6.6: one kind of the queue or none".to_string();
    assert!(found.contains(&kinds), "{found:?}");
}

#[test]
fn a_sender_that_is_not_there_mints_nothing() {
    // An index without account, with a balance that nobody has.
    for plan in [Plan::default(), withdrawal()] {
        let mut plan = plan;
        plan.indices[0] = FREE;
        plan.before = vec![(0, TOKEN, Fr::one()), (0, BALANCE, Fr::from(1_000_000))];
        plan.before.extend((3..6).map(|i| (0, i, account(1, 3)[i])));
        let found = of_plan(&plan);
        assert!(found.contains(&SEQUENCE.to_string()), "{found:?}");
    }
    // A creation whose account had a balance or a nonce before it was there.
    let nothing = "arith: a + b c = d @ P-10.13: who is not there has nothing";
    let with = |field, value| Plan {
        before: vec![(0, field, Fr::from(value))],
        ..creation()
    };
    breaks(with(BALANCE, 5), &[nothing]);
    breaks_too(&with(NONCE, 1), nothing);
    let entry = Entry {
        before: vec![(BALANCE, Fr::from(5))],
        after: vec![(BALANCE, Fr::from(5_005))],
        ..Entry::deposit_new()
    };
    entry_breaks(
        entry,
        &["arith: a + b c = d @ P-10.13: who is not there has nothing"],
    );
    let entry = Entry {
        before: vec![(NONCE, Fr::from(5))],
        ..Entry::deposit_new()
    };
    entry_breaks(
        entry,
        &["arith: a + b c = d @ P-10.13: who is not there has nothing"],
    );
}

#[test]
fn a_creation_has_a_free_index_of_a_user() {
    let at = |index| Plan {
        indices: [index, 0, 1],
        ..creation()
    };
    let index = "copy @ P-4.9.1: a creation's index";
    breaks(at(65_536), &[]);
    breaks(at((1 << 32) - 1), &[]);
    // What is idle finds index 0 occupied, too.
    breaks_too(&at(0), index);
    breaks(at(3), &[index]);
    breaks(at(65_535), &[index]);
    let found = of_plan(&at((1 << 32) + 5));
    assert_eq!(found, [index]);
    // Over an account.
    let found = of_plan(&at(BOB));
    assert!(found.contains(&SEQUENCE.to_string()), "{found:?}");
}

#[test]
fn a_creation_is_signed_in_full() {
    for (at, value) in [(0, 1), (1, 2), (2, 3), (3, 3), (4, 3), (5, 3), (6, 3), (7, 3)] {
        breaks(
            Plan {
                signed: vec![(at, Fr::from(value))],
                ..creation()
            },
            &[SIGNATURE],
        );
    }
    let mut plan = creation();
    plan.account.0[L1_ADDRESS] = Fr::from_u128(1 << 80).square();
    breaks(plan, &["copy @ P-10.12: an L1 address has 160 bits"]);
    // No fee account of its token.
    let mut plan = creation();
    plan.account.0[TOKEN] = Fr::from(3);
    plan.indices[2] = 3;
    plan.before = vec![(2, TOKEN, Fr::from(3))];
    let found = of_plan(&plan);
    assert!(found.contains(&SEQUENCE.to_string()), "{found:?}");
    // Anything but an account without balance, and of its signer.
    for (field, name) in [
        (BALANCE, "arith: a + b c = d @ P-4.5: balances"),
        (NONCE, "arith: a + b c = d @ P-4.5: nonces"),
        (AX, "copy @ P-3.2: leaf"),
    ] {
        breaks(
            Plan {
                after: vec![(0, field, Fr::from(1))],
                ..creation()
            },
            &[name],
        );
    }
}

#[test]
fn transfers_and_withdrawals_are_signed_in_full() {
    for at in 0..8 {
        breaks(
            Plan {
                signed: vec![(at, Fr::from(123_456))],
                ..Plan::default()
            },
            &[SIGNATURE],
        );
        breaks(
            Plan {
                signed: vec![(at, Fr::from(123_456))],
                ..withdrawal()
            },
            &[SIGNATURE],
        );
    }
}

#[test]
fn amounts_belong_to_kinds() {
    for plan in [
        Plan {
            exact: Fr::one(),
            ..Plan::default()
        },
        Plan {
            exact: Fr::one(),
            ..creation()
        },
        Plan {
            amount: (5, 0),
            ..withdrawal()
        },
        Plan {
            amount: (5, 0),
            ..no_op()
        },
        Plan {
            fee: (1, 0),
            ..creation()
        },
        Plan {
            fee: (1, 0),
            ..no_op()
        },
    ] {
        breaks_too(&plan, "arith: a + b c = d @ P-4.3: amounts by kind");
    }
}

#[test]
fn a_withdrawal_takes_what_is_there() {
    breaks(
        Plan {
            exact: Fr::from(999_990),
            ..withdrawal()
        },
        &[],
    );
    breaks(
        Plan {
            exact: Fr::from(999_991),
            ..withdrawal()
        },
        &["copy @ P-4.4.7: the sender's balance after"],
    );
    // An amount that wraps in the field gives instead of taking.
    let found = of_plan(&Plan {
        exact: -Fr::from(5),
        ..withdrawal()
    });
    assert_eq!(found, ["copy @ P-4.4.9: the receiver's balance after"]);
    // The idle receiver begins with nothing, or its balance after would not be the amount.
    let found = of_plan(&Plan {
        exact: -Fr::from(5),
        before: vec![(1, BALANCE, Fr::from(5))],
        ..withdrawal()
    });
    assert_eq!(
        found,
        ["arith: a + b c = d @ P-10.13: who is not there has nothing"]
    );
}

#[test]
fn an_access_that_is_not_used_is_idle() {
    let idle = "arith: a + b c = d @ P-10.2: an access that is not used has index 0";
    let found = of_plan(&Plan {
        indices: [ALICE, CAROL + 9, 1],
        ..withdrawal()
    });
    assert!(found.contains(&idle.to_string()), "{found:?}");
    breaks_too(
        &Plan {
            indices: [0, 0, 9],
            before: vec![(0, TOKEN, Fr::from(9))],
            ..no_op()
        },
        idle,
    );
    let plan = Plan {
        indices: [FREE, 0, 0],
        ..no_op()
    };
    breaks_too(&plan, "arith: a + b c = d @ P-4.6: a no-op's word is 0");
    let entry = Entry {
        index: NEXT,
        ..Entry::idle()
    };
    entry_breaks(
        entry,
        &["arith: a + b c = d @ P-10.2: a room that is not used has index 0"],
    );
    // A no-op at an account.
    let found = of_plan(&Plan {
        indices: [ALICE, 0, 0],
        ..no_op()
    });
    assert!(found.contains(&SEQUENCE.to_string()), "{found:?}");
}

#[test]
fn no_record_stands_at_a_groups_last_place() {
    for plan in [withdrawal(), creation()] {
        let plans = [no_op(), no_op(), no_op(), no_op(), plan];
        let found = failures_after(&mut World::new(), &Entry::idle(), &plans, |_| {});
        assert_eq!(found, ["copy @ P-6.3: no record at a group's last place"]);
    }
}

#[test]
fn a_key_is_posted_as_one_of_its_integers() {
    let change = |at: usize, integer: BigUint| {
        failures_after(&mut World::new(), &Entry::idle(), &[creation()], |group| {
            let (digits, mut be) = (integer.to_bytes_be(), [0; 32]);
            be[32 - digits.len()..].copy_from_slice(&digits);
            group.places[0].posted[at] = be;
        })
    };
    for at in [0, 1] {
        let value = field::to_integer(&fresh(1, 9)[AX + at]);
        assert!(!change(at, &value + 1u32).is_empty());
        let other = &value + field::modulus();
        let fits = other < BigUint::from(1u32) << 254u32;
        assert_eq!(change(at, other).is_empty(), fits);
    }
}

#[test]
fn codes_are_proven() {
    let equalities = "arith: a + b c = d @ P-4.11: whether the account is the one asked for";
    // A valid entry that is said to be another's, and one of another that is said to be valid.
    for (entry, at) in [
        (Entry::deposit_existing(), 0),
        (Entry::deposit_existing(), 1),
        (Entry::deposit_existing(), 2),
        (
            Entry {
                amount: Fr::ZERO,
                ..Entry::forced_exit()
            },
            0,
        ),
        (
            Entry {
                amount: Fr::ZERO,
                ..Entry::forced_exit()
            },
            1,
        ),
        (Entry::key_change(), 1),
    ] {
        let mut equal = [true; 3];
        equal[at] = false;
        entry_breaks(
            Entry {
                equal: Some(equal),
                ..entry
            },
            &[equalities],
        );
    }
    let wrong: [fn(&mut Entry); 3] = [
        |entry| entry.token = 2,
        |entry| entry.u += 1u32,
        |entry| entry.v += 1u32,
    ];
    for change in wrong {
        let mut entry = Entry::deposit_existing();
        change(&mut entry);
        // As it is, it has a code; claimed to fit, it is refused.
        entry_breaks(entry.clone(), &[]);
        entry_breaks(
            Entry {
                equal: Some([true; 3]),
                ..entry
            },
            &[equalities],
        );
    }
    // An account that is said not to be there, and one that is said to be.
    for entry in &Entry::all()[1..] {
        let mut entry = entry.clone();
        entry.occupied = Some(false);
        if entry.kind == 3 {
            entry.amount = Fr::ZERO;
        }
        assert!(of_entry(&entry).contains(&ROOM_ROOT.to_string()));
    }
    let entry = Entry {
        occupied: Some(true),
        ..Entry::deposit_new()
    };
    let found = of_entry(&entry);
    assert!(found.contains(&ROOM_ROOT.to_string()), "{found:?}");
    let entry = Entry {
        occupied: Some(false),
        index: BOB,
        ..Entry::deposit_new()
    };
    let found = of_entry(&entry);
    assert!(found.contains(&ROOM_ROOT.to_string()), "{found:?}");
    // A deposit to a new account where somebody is has code 1 and no effect.
    entry_breaks(
        Entry {
            index: BOB,
            ..Entry::deposit_new()
        },
        &[],
    );
}

#[test]
fn effects_of_the_queue_are_those_of_the_code() {
    let balance = "arith: a + b c = d @ P-4.11: balance";
    for entry in Entry::all() {
        let after = vec![(BALANCE, Fr::from(123))];
        let found = of_entry(&Entry {
            after,
            ..entry.clone()
        });
        assert_eq!(found, [balance], "kind {}", entry.kind);
        let after = vec![(AX, Fr::from(123))];
        assert_eq!(
            of_entry(&Entry {
                after,
                ..entry.clone()
            }),
            ["arith: a + b c = d @ P-4.11: owner"]
        );
        let after = vec![(NONCE, Fr::from(123))];
        assert_eq!(of_entry(&Entry { after, ..entry }), ["copy @ P-4.11: nonce"]);
    }
    for amount in [0, 999_999, 1_000_001] {
        let entry = Entry {
            amount: Fr::from(amount),
            ..Entry::forced_exit()
        };
        entry_breaks(entry, &["arith: a + b c = d @ P-4.11: a forced exit's amount"]);
    }
    // With a code it leaves nothing.
    let other = Entry {
        address: Fr::from(77),
        ..Entry::forced_exit()
    };
    entry_breaks(
        other.clone(),
        &["arith: a + b c = d @ P-4.11: a forced exit's amount"],
    );
    entry_breaks(
        Entry {
            amount: Fr::ZERO,
            ..other
        },
        &[],
    );
    // The new account is the record's.
    let made = "arith: a + b c = d @ P-4.11: an account that is made";
    for field in [TOKEN, L1_ADDRESS] {
        let change = vec![(field, Fr::from(2))];
        let entry = Entry {
            before: change.clone(),
            after: change,
            ..Entry::deposit_new()
        };
        entry_breaks(entry, &[made]);
    }
    // A balance that reaches 2^128.
    let mut world = World::new();
    let mut bob = world.accounts[&BOB];
    bob[BALANCE] = Fr::from_u128(u128::MAX);
    world.set(BOB, bob);
    let found = failures_after(&mut world, &Entry::deposit_existing(), &[], |_| {});
    assert_eq!(found, ["copy @ P-4.11: balance"]);
}

#[test]
fn fields_of_a_record_have_their_widths() {
    let fields = ["copy @ P-6.6: fields"];
    entry_breaks(
        Entry {
            token: 1 << 16,
            ..Entry::deposit_existing()
        },
        &fields,
    );
    entry_breaks(
        Entry {
            address: Fr::from_u128(1 << 80).square(),
            ..Entry::deposit_existing()
        },
        &fields,
    );
    let amount = Fr::from_u128(u128::MAX) + Fr::one();
    let found = of_entry(&Entry {
        amount,
        token: 2,
        ..Entry::deposit_existing()
    });
    assert_eq!(found, fields);
    let most = (BigUint::from(1u32) << 254u32) - 1u32;
    entry_breaks(
        Entry {
            u: most.clone(),
            v: most.clone(),
            ..Entry::deposit_existing()
        },
        &[],
    );
    entry_breaks(
        Entry {
            u: &most + 1u32,
            ..Entry::deposit_existing()
        },
        &fields,
    );
    entry_breaks(
        Entry {
            v: most + 1u32,
            ..Entry::deposit_existing()
        },
        &fields,
    );
}

#[test]
fn tokens_fees_and_fields() {
    breaks(
        Plan {
            indices: [ALICE, DORA, 1],
            ..Plan::default()
        },
        &["copy @ P-4.4.3: one token"],
    );
    breaks(
        Plan {
            indices: [ALICE, BOB, CAROL],
            ..Plan::default()
        },
        &["copy @ P-3.5: the fee account's index is its token"],
    );
    for plan in [Plan::default(), withdrawal()] {
        breaks(
            Plan {
                expiry: TIME - 1,
                ..plan.clone()
            },
            &["copy @ P-4.4.6: not expired"],
        );
        for (update, field, name) in [
            (0, NONCE, "arith: a + b c = d @ P-4.5: nonces"),
            (2, NONCE, "copy @ P-4.5: nonces"),
            (0, BALANCE, "arith: a + b c = d @ P-4.5: balances"),
            (2, BALANCE, "arith: a + b c = d @ P-4.5: balances"),
            (0, AX, "copy @ P-3.2: leaf"),
            (0, L1_ADDRESS, "copy @ P-3.2: leaf"),
            (2, TOKEN, "copy @ P-3.2: leaf"),
        ] {
            breaks(
                Plan {
                    after: vec![(update, field, Fr::from(9))],
                    ..plan.clone()
                },
                &[name],
            );
        }
    }
}

#[test]
fn tokens_are_one() {
    let both = [
        "copy @ P-3.5: the fee account's index is its token",
        "copy @ P-4.4.3: one token",
    ];
    breaks(
        Plan {
            indices: [ALICE, BOB, 2],
            ..Plan::default()
        },
        &both,
    );
}

#[test]
fn underflow() {
    let below = "copy @ P-4.4.7: the sender's balance after";
    let plan = |amount, fee| Plan {
        amount,
        fee: (fee, 0),
        ..Plan::default()
    };
    breaks(plan((100_000, 3), 10), &[below]);
    // By one unit, through the fee; the last unit can be spent.
    breaks(plan((99_999, 1), 11), &[below]);
    breaks(plan((99_999, 1), 10), &[]);
}

#[test]
fn overflow_of_a_balance() {
    let rich = |index: u64| {
        let mut world = World::new();
        let mut fields = world.accounts[&index];
        fields[BALANCE] = Fr::from_u128(u128::MAX);
        world.set(index, fields);
        world
    };
    let of = |index: u64, plan: Plan| failures_after(&mut rich(index), &Entry::idle(), &[plan], |_| {});
    let receiver = of(BOB, Plan::default());
    assert_eq!(receiver, ["copy @ P-4.4.9: the receiver's balance after"]);
    for plan in [Plan::default(), withdrawal()] {
        assert_eq!(of(1, plan), ["copy @ P-4.4.9: the fee account's balance after"]);
    }
}

#[test]
fn value_is_conserved() {
    for (update, balance) in [(0, 1_000_000 - 1_009), (1, 1_001_001), (2, 1_000_011)] {
        let after = vec![(update, BALANCE, Fr::from(balance))];
        breaks(
            Plan {
                after,
                ..Plan::default()
            },
            &["arith: a + b c = d @ P-4.5: balances"],
        );
    }
}

#[test]
fn nonces() {
    for nonce in [3, 5] {
        let after = vec![(0, NONCE, Fr::from(nonce))];
        for plan in [Plan::default(), withdrawal()] {
            let after = after.clone();
            breaks(Plan { after, ..plan }, &["arith: a + b c = d @ P-4.5: nonces"]);
        }
    }
    for update in [1, 2] {
        let after = vec![(update, NONCE, Fr::from(4))];
        breaks(
            Plan {
                after,
                ..Plan::default()
            },
            &["copy @ P-4.5: nonces"],
        );
    }
}

#[test]
fn nothing_else_of_a_leaf_changes() {
    for update in 0..3 {
        for field in [TOKEN, AX, AY, L1_ADDRESS] {
            let after = vec![(update, field, Fr::from(77))];
            breaks(
                Plan {
                    after,
                    ..Plan::default()
                },
                &["copy @ P-3.2: leaf"],
            );
        }
    }
}

#[test]
fn expiry() {
    let expiry = |expiry: u64| Plan {
        expiry,
        ..Plan::default()
    };
    let expired = ["copy @ P-4.4.6: not expired"];
    breaks(expiry(TIME - 1), &expired);
    breaks(expiry(TIME), &[]);
    breaks(expiry((1 << 40) - 1), &[]);
    breaks(expiry(1 << 40), &expired);
}

#[test]
fn floats_are_canonical() {
    let amount = |mantissa: u64, exponent| Plan {
        amount: (mantissa, exponent),
        ..Plan::default()
    };
    breaks(amount(100, 1), &["copy @ P-4.2: amount"]);
    breaks(amount(0, 1), &["copy @ P-4.2: amount"]);
    breaks(amount(52_428, 1), &["copy @ P-4.2: amount"]);
    breaks(amount(52_429, 1), &[]);
    breaks(amount((1 << 19) - 1, 0), &[]);
    breaks(amount(1 << 19, 0), &["arith: a + b c = d @ P-4.2: amount"]);
    for plan in [Plan::default(), withdrawal()] {
        let fee = |mantissa: u64, exponent| Plan {
            fee: (mantissa, exponent),
            ..plan.clone()
        };
        breaks(fee(1, 1), &["copy @ P-4.2: fee"]);
        breaks(fee(2, 1), &[]);
        breaks(fee(15, 0), &[]);
        breaks(fee(16, 0), &["copy @ P-4.2: fee"]);
    }
}

#[test]
fn an_index_has_33_bits() {
    for update in [0, 1] {
        let mut world = World::new();
        let mut plan = Plan::default();
        let beyond = plan.indices[update] + (1 << 33);
        world
            .keys
            .insert(beyond, world.keys[&plan.indices[update]].clone());
        let fields = world.accounts[&plan.indices[update]];
        world.accounts.insert(beyond, fields);
        plan.indices[update] = beyond;
        let found = failures_after(&mut world, &Entry::idle(), &[plan], |_| {});
        assert_eq!(found, ["copy @ P-3.4: path"], "update {update}");
    }
    let mut world = World::new();
    world.accounts.insert(BOB + (1 << 33), world.accounts[&BOB]);
    let entry = Entry {
        index: BOB + (1 << 33),
        ..Entry::deposit_existing()
    };
    assert_eq!(
        failures_after(&mut world, &entry, &[], |_| {}),
        ["copy @ P-3.4: path"]
    );
}

#[test]
fn a_leaf_must_be_in_the_tree() {
    for update in 0..3 {
        let before = vec![(update, BALANCE, Fr::from(2_000_000))];
        breaks_too(
            &Plan {
                before,
                ..Plan::default()
            },
            SEQUENCE,
        );
    }
    let entry = Entry {
        before: vec![(BALANCE, Fr::from(2_000_000))],
        ..Entry::deposit_existing()
    };
    assert!(of_entry(&entry).contains(&ROOM_ROOT.to_string()));
}

#[test]
fn siblings_and_digits() {
    for update in 0..3 {
        for level in [0, 5, 10] {
            let plans = [Plan::default()];
            let found = failures_after(&mut World::new(), &Entry::idle(), &plans, |group| {
                group.places[0].updates[update].path[level][3] += Fr::one();
            });
            assert_eq!(found, [SEQUENCE]);
        }
    }
    let found = failures_after(&mut World::new(), &Entry::deposit_existing(), &[], |group| {
        group.room.as_mut().expect("a room").update.path[5][3] += Fr::one();
    });
    assert_eq!(found, [SEQUENCE, ROOM_ROOT]);
}

#[test]
fn updates_follow_each_other() {
    // Each update alone is right, but the receiver's is made on the state before the sender's.
    let mut world = World::new();
    let stale = world.tree.path(AccountIndex::new(BOB).expect("in range"));
    let found = failures_after(&mut world, &Entry::idle(), &[Plan::default()], |group| {
        group.places[0].updates[1].path = stale;
    });
    assert_eq!(found, [SEQUENCE]);
}

#[test]
fn an_operation_cannot_open_index_0() {
    let mut world = World::new();
    world.accounts.insert(0, world.accounts[&ALICE]);
    world.keys.insert(0, world.keys[&ALICE].clone());
    let plan = Plan {
        indices: [0, BOB, 1],
        ..Plan::default()
    };
    let found = failures_after(&mut world, &Entry::idle(), &[plan], |_| {});
    assert!(found.contains(&SEQUENCE.to_string()), "{found:?}");
}

/// A flag without a record, a record without a flag: both are one cell.
#[test]
fn flag_and_record_are_one_bit() {
    for entry in [Entry::idle(), Entry::deposit_new()] {
        let mut world = World::new();
        let root = world.tree.root();
        let group = world.group(Some(&entry), &[]);
        let (sheet, instances) = sheet_with(TINY, root, &[group]);
        let counts = |label: &str| {
            let first = "P-6.6: one kind of the queue or none";
            let start = sheet
                .labels
                .iter()
                .position(|(_, name)| *name == first)
                .expect("a room");
            let (begin, end) = (sheet.labels[start].0, sheet.labels[start + 1].0);
            sheet
                .copies
                .iter()
                .filter(|(_, b, found)| {
                    *found == label && b.place == Place::Advice(Z) && (begin..end).contains(&b.row)
                })
                .map(|(a, ..)| *a)
                .collect::<Vec<_>>()
        };
        for label in [
            "P-6.2: elements",
            "P-6.4: commitment to stream A",
            "P-6.5: evaluation of stream A",
        ] {
            let uses = counts(label);
            assert_eq!(uses.len(), 1, "{label}");
            let mut forged = sheet.clone();
            let cell = &mut forged.advice[Z][uses[0].row];
            *cell = Fr::one() - *cell;
            let found = Checker::new().failures(&forged, &instances);
            assert!(found.contains(&format!("copy @ {label}")), "{found:?}");
        }
    }
}

#[test]
fn every_instance_is_bound() {
    let (sheet, instances) = super::gates::valid();
    let checker = Checker::new();
    for i in 0..instances.len() {
        let mut other = instances.clone();
        other[i] += Fr::one();
        assert_eq!(checker.failures(&sheet, &other).len(), 1, "instance {i}");
    }
}
