//! Forged witnesses: each breaks one rule of the statement, is consistent in everything else, and must fail by
//! exactly the constraint that enforces the rule.

use super::checker::Checker;
use super::world::*;
use crate::shard::config::{Gate, STEP_ROWS, Z, step};
use crate::shard::sheet::Sheet;
use halo2curves::ff::PrimeField;
use num_bigint::BigUint;
use rules::Fr;
use rules::babyjub::{self, BASE8, Point};
use rules::eddsa::{self, PublicKey, Signature};
use rules::field;
use rules::poseidon;

/// What fails when `plan` is the first operation of a shard.
fn failures_of(world: &mut World, plan: &Plan) -> Vec<String> {
    failures_after(world, plan, |_| {})
}

fn failures_after(
    world: &mut World,
    plan: &Plan,
    change: impl FnOnce(&mut crate::shard::raw::RawStep),
) -> Vec<String> {
    let root = world.tree.root();
    let mut step = world.step(plan);
    change(&mut step);
    let (sheet, instances) = sheet_of(root, vec![step], world);
    Checker::new().failures(&sheet, &instances).into_iter().collect()
}

#[track_caller]
fn breaks(plan: Plan, expected: &[&str]) {
    assert_eq!(failures_of(&mut World::new(), &plan), expected);
}

const SIGNATURE: &str = "copy @ P-5.4: the sum is R8, and R8.x is not 0";

#[test]
fn the_default_plan_breaks_nothing() {
    breaks(Plan::default(), &[]);
    breaks(noop_plan(), &[]);
}

#[test]
fn underflow() {
    let amount = (Fr::from(100_000), 3);
    breaks(
        Plan {
            amount,
            ..Plan::default()
        },
        &["copy @ P-4.4.7: the sender's balance after"],
    );
    // By one unit, through the fee.
    let plan = Plan {
        amount: (Fr::from(99_999), 1),
        fee: (Fr::from(11), 0),
        ..Plan::default()
    };
    breaks(plan, &["copy @ P-4.4.7: the sender's balance after"]);
}

#[test]
fn the_last_unit_can_be_spent() {
    breaks(
        Plan {
            amount: (Fr::from(99_999), 1),
            fee: (Fr::from(10), 0),
            ..Plan::default()
        },
        &[],
    );
}

fn rich(index: u64) -> World {
    let mut world = World::new();
    let mut fields = world.accounts[&index];
    fields[BALANCE] = Fr::from_u128(u128::MAX);
    world.set(index, fields);
    world
}

#[test]
fn overflow_of_a_balance() {
    let found = failures_of(&mut rich(BOB), &Plan::default());
    assert_eq!(found, ["copy @ P-4.4.9: the receiver's balance after"]);
    let found = failures_of(&mut rich(1), &Plan::default());
    assert_eq!(found, ["copy @ P-4.4.9: the fee account's balance after"]);
}

#[test]
fn replay_and_foreign_messages() {
    for signed in [
        // Another nonce than the tree's.
        [Some(Fr::from(2)), None, None],
        [Some(Fr::from(4)), None, None],
        // Another token, another rollup.
        [None, Some(Fr::from(2)), None],
        [None, None, Some(rollup().to_fr() + Fr::one())],
    ] {
        breaks(
            Plan {
                signed,
                ..Plan::default()
            },
            &[SIGNATURE],
        );
    }
}

#[test]
fn message_fields_are_signed() {
    // Each field of the operation is changed after it was signed; the state follows the change.
    let changes: [fn(&mut Plan); 4] = [
        |plan| plan.amount.0 += Fr::one(),
        |plan| plan.fee.0 += Fr::one(),
        |plan| plan.expiry += Fr::one(),
        |plan| plan.indices[1] = CAROL,
    ];
    for change in changes {
        let mut world = World::new();
        let signed = world.step(&Plan::default());
        let mut plan = Plan {
            signature: Some(Signature {
                r8: signed.r8,
                s: signed.s,
            }),
            ..Plan::default()
        };
        change(&mut plan);
        breaks(plan, &[SIGNATURE]);
    }
}

#[test]
fn nonces() {
    for nonce in [3, 5] {
        let after = vec![(0, NONCE, Fr::from(nonce))];
        breaks(
            Plan {
                after,
                ..Plan::default()
            },
            &["arith: a + b c = d @ P-4.5: nonces"],
        );
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
fn nothing_else_of_a_leaf_changes() {
    for update in 0..3 {
        for field in [3, 4, 5] {
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
    // The token after is tied to the token before.
    let after = vec![(1, 0, Fr::from(2))];
    breaks(
        Plan {
            after,
            ..Plan::default()
        },
        &["copy @ P-3.2: leaf"],
    );
}

#[test]
fn cross_token() {
    breaks(
        Plan {
            indices: [ALICE, DORA, 1],
            ..Plan::default()
        },
        &["copy @ P-4.4.3: one token"],
    );
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
fn fees_go_to_the_fee_account() {
    breaks(
        Plan {
            indices: [ALICE, BOB, CAROL],
            ..Plan::default()
        },
        &["copy @ P-3.5: the fee account's index is its token"],
    );
}

#[test]
fn expiry() {
    let expiry = |seconds: u64| Plan {
        expiry: Fr::from(seconds),
        ..Plan::default()
    };
    breaks(expiry(TIME - 1), &["copy @ P-4.4.6: not expired"]);
    breaks(expiry(TIME), &[]);
    breaks(expiry((1 << 40) - 1), &[]);
    breaks(expiry(1 << 40), &["copy @ P-4.4.6: not expired"]);
}

#[test]
fn floats_are_canonical() {
    let amount = |mantissa: u64, exponent| Plan {
        amount: (Fr::from(mantissa), exponent),
        ..Plan::default()
    };
    breaks(amount(100, 1), &["copy @ P-4.2: amount"]);
    breaks(amount(0, 1), &["copy @ P-4.2: amount"]);
    breaks(amount(52_428, 1), &["copy @ P-4.2: amount"]);
    breaks(amount(52_429, 1), &[]);
    breaks(amount((1 << 19) - 1, 0), &[]);
    let fee = |mantissa: u64, exponent| Plan {
        fee: (Fr::from(mantissa), exponent),
        ..Plan::default()
    };
    breaks(fee(1, 1), &["copy @ P-4.2: fee"]);
    breaks(fee(2, 1), &[]);
    breaks(fee(15, 0), &[]);
    breaks(fee(16, 0), &["copy @ P-4.2: fee"]);
}

#[test]
fn a_mantissa_has_19_bits() {
    let plan = Plan {
        amount: (Fr::from(1 << 19), 0),
        ..Plan::default()
    };
    breaks(plan, &["arith: a + b c = d @ P-4.2: amount"]);
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
        assert_eq!(
            failures_of(&mut world, &plan),
            ["copy @ P-3.4: path"],
            "update {update}"
        );
    }
}

#[test]
fn a_leaf_must_be_in_the_tree() {
    for update in 0..3 {
        let before = vec![(update, BALANCE, Fr::from(2_000_000))];
        let found = failures_of(
            &mut World::new(),
            &Plan {
                before,
                ..Plan::default()
            },
        );
        assert!(
            found.contains(&"copy @ P-4.5: three updates in sequence".to_string()),
            "{found:?}"
        );
    }
}

#[test]
fn siblings_and_digits() {
    for update in 0..3 {
        for level in [0, 5, 10] {
            let found = failures_after(&mut World::new(), &Plan::default(), |step| {
                step.updates[update].path[level][3] += Fr::one();
            });
            assert!(
                found
                    .iter()
                    .all(|name| name == "copy @ P-4.5: three updates in sequence"
                        || name == "copy @ P-7.3: running state after"),
                "{found:?}"
            );
            assert!(!found.is_empty());
        }
    }
}

#[test]
fn updates_follow_each_other() {
    // Each update alone is right, but the receiver's is made on the state before the sender's.
    let mut world = World::new();
    let stale = world
        .tree
        .path(rules::account::AccountIndex::new(BOB).expect("in range"));
    let found = failures_after(&mut world, &Plan::default(), |step| step.updates[1].path = stale);
    assert_eq!(found, ["copy @ P-4.5: three updates in sequence"]);
}

#[test]
fn a_noop_has_no_effect() {
    // A word without an operation.
    let before = vec![(0, BALANCE, Fr::from(100))];
    let plan = Plan {
        amount: (Fr::from(5), 0),
        before,
        ..noop_plan()
    };
    breaks(plan, &["arith: a + b c = d @ P-4.6: a no-op's word is 0"]);
    let plan = Plan {
        indices: [CAROL - 1, 0, 0],
        ..noop_plan()
    };
    breaks(plan, &["arith: a + b c = d @ P-4.6: a no-op's word is 0"]);
    // A no-op at an occupied place: its leaf counts as empty, which is not what the tree holds.
    let plan = Plan {
        indices: [0, 0, ALICE],
        ..noop_plan()
    };
    let found = failures_of(&mut World::new(), &plan);
    assert!(
        found.contains(&"copy @ P-3.5: the fee account's index is its token".to_string()),
        "{found:?}"
    );
}

#[test]
fn an_operation_cannot_open_index_0() {
    let mut world = World::new();
    let fields = world.accounts[&ALICE];
    let key = world.keys[&ALICE].clone();
    world.accounts.insert(0, fields);
    world.keys.insert(0, key);
    let found = failures_of(
        &mut world,
        &Plan {
            indices: [0, BOB, 1],
            ..Plan::default()
        },
    );
    assert!(
        found.contains(&"copy @ P-4.5: three updates in sequence".to_string()),
        "{found:?}"
    );
}

/// A signature check alone: what fails for a key point, a message and a claimed signature.
fn signature_failures(
    key: Point,
    message: Fr,
    r8: Point,
    s: &BigUint,
    integer: fn(&Fr) -> [u8; 32],
) -> Vec<String> {
    let mut be = [0; 32];
    let bytes = s.to_bytes_be();
    be[32 - bytes.len()..].copy_from_slice(&bytes);
    let mut sheet = Sheet::new(8_192);
    let key = [key.x, key.y].map(|value| sheet.witness(value));
    let message = sheet.witness(message);
    sheet.signature_with(key, message, &r8, &be, integer);
    Checker::new().failures(&sheet, &[]).into_iter().collect()
}

/// The secret scalar, the key, and a nonce's scalar and point.
struct Signer {
    secret: BigUint,
    key: Point,
    nonce: BigUint,
    r8: Point,
}

fn signer() -> Signer {
    let (secret, nonce) = (
        BigUint::from(123_456_789_u64).pow(5),
        BigUint::from(987_654_321_u64).pow(6),
    );
    Signer {
        key: BASE8.mul(&secret),
        r8: BASE8.mul(&nonce),
        secret,
        nonce,
    }
}

fn challenge(r8: &Point, key: &Point, message: Fr) -> BigUint {
    field::to_integer(&poseidon::hash5(&[r8.x, r8.y, key.x, key.y, message]))
}

impl Signer {
    /// `S` for a challenge: `nonce + 8 h secret`.
    fn s(&self, h: &BigUint) -> BigUint {
        (&self.nonce + BigUint::from(8u32) * h * &self.secret) % babyjub::suborder()
    }
}

#[test]
fn a_signature_alone() {
    let signer = signer();
    let message = Fr::from(42);
    let s = signer.s(&challenge(&signer.r8, &signer.key, message));
    assert!(signature_failures(signer.key, message, signer.r8, &s, field::to_be).is_empty());
    let found = signature_failures(signer.key, message, signer.r8, &(s + 1u32), field::to_be);
    assert_eq!(found, [SIGNATURE]);
}

#[test]
fn s_is_below_the_order() {
    let signer = signer();
    let limit = (BigUint::from(1u32) << 251) - babyjub::suborder();
    // A message whose S leaves room for the order within 251 bits, and one whose S does not.
    for fits in [true, false] {
        let (message, s) = (0u64..)
            .map(|m| {
                (
                    Fr::from(m),
                    signer.s(&challenge(&signer.r8, &signer.key, Fr::from(m))),
                )
            })
            .find(|(_, s)| (*s < limit) == fits)
            .expect("one in three");
        let found = signature_failures(
            signer.key,
            message,
            signer.r8,
            &(s + babyjub::suborder()),
            field::to_be,
        );
        assert_eq!(found, ["copy @ P-5.4: S is below the subgroup's order"]);
    }
}

#[test]
fn a_challenge_is_its_canonical_integer() {
    // The challenge plus the modulus is another integer for the same element, with its own valid S.
    fn aliased(h: &Fr) -> [u8; 32] {
        let bytes = (field::to_integer(h) + field::modulus()).to_bytes_be();
        bytes.try_into().expect("32 bytes")
    }
    let signer = signer();
    let (message, h) = (0u64..)
        .map(|m| (Fr::from(m), challenge(&signer.r8, &signer.key, Fr::from(m))))
        .find(|(_, h)| h + field::modulus() < BigUint::from(1u32) << 254)
        .expect("one in three");
    let s = signer.s(&(h + field::modulus()));
    let found = signature_failures(signer.key, message, signer.r8, &s, aliased);
    assert_eq!(
        found,
        ["copy @ P-5.3: the challenge's bits are its canonical integer"]
    );
}

#[test]
fn small_order_and_off_curve_points() {
    let signer = signer();
    let message = Fr::from(42);
    // The identity and the point of order two as key: S·B = R8 for anyone's R8.
    for y in [Fr::one(), -Fr::one()] {
        let found = signature_failures(
            Point { x: Fr::zero(), y },
            message,
            signer.r8,
            &signer.nonce,
            field::to_be,
        );
        assert_eq!(
            found,
            ["arith: a + b c = d @ P-5.1: the key is on the curve and not of small order"]
        );
    }
    // R8 the identity, with the S that its holder can make.
    let h = challenge(&Point::IDENTITY, &signer.key, message);
    let s = BigUint::from(8u32) * h * &signer.secret % babyjub::suborder();
    let found = signature_failures(signer.key, message, Point::IDENTITY, &s, field::to_be);
    assert_eq!(
        found,
        ["arith: a + b c = d @ P-5.4: the sum is R8, and R8.x is not 0"]
    );
    // Off the curve.
    let off = Point {
        x: signer.key.x,
        y: signer.key.y + Fr::one(),
    };
    let s = signer.s(&challenge(&signer.r8, &off, message));
    let found = signature_failures(off, message, signer.r8, &s, field::to_be);
    let curve = "arith: a + b c = d @ P-5.1: the key is on the curve and not of small order".to_string();
    assert!(found.contains(&curve), "{found:?}");
    let off = Point {
        x: signer.r8.x,
        y: signer.r8.y + Fr::one(),
    };
    let s = signer.s(&challenge(&off, &signer.key, message));
    assert_eq!(
        signature_failures(signer.key, message, off, &s, field::to_be),
        [SIGNATURE]
    );
}

#[test]
fn the_carried_points_stay() {
    let signer = signer();
    let message = Fr::from(42);
    let h = challenge(&signer.r8, &signer.key, message);
    let s = signer.s(&h);
    let mut be = [0; 32];
    let bytes = s.to_bytes_be();
    be[32 - bytes.len()..].copy_from_slice(&bytes);
    let mut sheet = Sheet::new(8_192);
    let key = [signer.key.x, signer.key.y].map(|value| sheet.witness(value));
    let message = sheet.witness(message);
    sheet.signature_with(key, message, &signer.r8, &be, field::to_be);
    let checker = Checker::new();
    let steps = [Gate::StepT, Gate::StepU].map(|gate| sheet.on[gate as usize].clone());
    assert_eq!(steps.each_ref().map(Vec::len), [127, 127]);
    // A step whose point neither it nor the next takes, since their bits of the challenge are 0.
    let idle = |at: usize| !h.bit(253 - at as u64) && !h.bit(252 - at as u64);
    for parity in [0, 1] {
        let at = (10..200)
            .find(|at| at % 2 == parity && idle(*at))
            .expect("one step in four");
        let row = steps[parity][at / 2];
        for offset in [step::TABLE, step::TABLE + 1] {
            let mut forged = sheet.clone();
            forged.advice[Z][row + offset] += Fr::one();
            let found: Vec<String> = checker.failures(&forged, &[]).into_iter().collect();
            assert_eq!(
                found,
                ["step: the table stays @ P-5.4: double-scalar multiplication"]
            );
        }
        // The other point of the table in the place of the one that the bits say, sums and all after it as they follow.
        let taken = (10..200)
            .find(|at| at % 2 == parity && h.bit(253 - *at as u64))
            .expect("one step in two");
        let row = steps[parity][taken / 2];
        let mut forged = sheet.clone();
        for i in [0, 1] {
            let other = forged.advice[Z][row - STEP_ROWS + step::TABLE + i];
            let own = forged.advice[Z][row + step::TABLE + i];
            let cell = &mut forged.advice[Z][row + step::ADDEND + i];
            *cell = if *cell == own { other } else { own };
        }
        let found = checker.failures(&forged, &[]);
        for name in ["x of the addend", "y of the addend"] {
            let name = format!("step: {name} @ P-5.4: double-scalar multiplication");
            assert!(found.contains(&name), "{found:?}");
        }
    }
}

#[test]
fn key_and_nonce_point_do_not_swap() {
    let signer = signer();
    let message = Fr::from(42);
    let s = signer.s(&challenge(&signer.r8, &signer.key, message));
    assert_eq!(
        signature_failures(signer.r8, message, signer.key, &s, field::to_be),
        [SIGNATURE]
    );
}

#[test]
fn native_and_circuit_agree_on_torsion() {
    // A key with a component of order two: 8·A has none of it, so both accept (P-5.4).
    let signer = signer();
    let order_two = Point {
        x: Fr::zero(),
        y: -Fr::one(),
    };
    let key = signer.key.add(&order_two);
    let message = Fr::from(42);
    let s = signer.s(&challenge(&signer.r8, &key, message));
    assert!(signature_failures(key, message, signer.r8, &s, field::to_be).is_empty());
    let mut be = [0; 32];
    let bytes = s.to_bytes_be();
    be[32 - bytes.len()..].copy_from_slice(&bytes);
    let signature = Signature { r8: signer.r8, s: be };
    assert_eq!(eddsa::verify(&PublicKey(key), &message, &signature), Ok(()));
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
