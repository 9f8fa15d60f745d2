//! Field and curve in cells against halo2curves, with the values at which such arithmetic breaks.

use std::collections::BTreeSet;

use halo2_proofs::{
    dev::MockProver,
    plonk::{ConstraintSystem, Expression},
};
use halo2curves::{
    CurveAffine,
    bn256::{Fq, Fr, G1, G1Affine},
    ff::{Field, PrimeField},
    group::Curve,
};
use num_bigint::{BigInt, BigUint, Sign};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::checker::{Checker, at};
use crate::{
    plonk::arithmetic::{Arithmetic, Native},
    recursion::{
        RecursionCircuit, RecursionConfig,
        config::{CHAIN, GATES, Gate, SWITCHES},
        curve::{Helper, Point, Term},
        foreign::{Element, Operands, Slope},
        modulus::{self, Bound, Exact, LIMBS},
        scalar,
        sheet::{Sheet, Var},
    },
};
use rules::field;

pub fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

pub fn failures(sheet: &mut Sheet) -> BTreeSet<String> {
    sheet.flush_quotients(true);
    sheet.skip(40);
    Checker::new().failures(sheet, &[])
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

/// 0, 1, q - 1, limbs all ones, a single limb, and random elements.
fn edges() -> Vec<Fq> {
    let ones = (BigUint::from(1u8) << 253usize) - 1u8;
    let mut values = vec![Fq::ZERO, Fq::ONE, -Fq::ONE, modulus::base_from_integer(&ones)];
    values.extend((0..LIMBS).map(|limb| modulus::base_from_integer(&(BigUint::from(1u8) << (51 * limb)))));
    let mut rng = rng();
    values.extend((0..4).map(|_| Fq::random(&mut rng)));
    values
}

/// A random point, and a multiple of it.
pub fn point(seed: u64) -> G1Affine {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (G1::generator() * Fr::random(&mut rng)).to_affine()
}

#[test]
fn limbs_and_exact_integers_are_the_elements_they_stand_for() {
    let edges = edges();
    for x in &edges {
        let x_limbs = modulus::limbs(x);
        assert_eq!(Exact::element(&x_limbs).to_base(), *x);
        for y in &edges {
            let product = Exact::product(&x_limbs, &modulus::limbs(y));
            assert_eq!(product.to_base(), x * y);
            let difference = product.minus(&Exact::element(&modulus::limbs(&(x * y))));
            assert_eq!(difference.to_base(), Fq::ZERO);
        }
    }
    // Limbs all ones: not a reduced element, and the largest integer that a product meets.
    let ones = [(1i64 << 51) - 1; LIMBS];
    let square = Exact::product(&ones, &ones);
    let [bound, bound_m] = Bound::product().0;
    assert_eq!(square.0, [bound.clone().into(), bound_m.clone().into()]);
    let value =
        modulus::base_from_integer(&(((BigUint::from(1u8) << 255usize) - 1u8) % modulus::base_modulus()));
    assert_eq!(square.to_base(), value.square());
}

#[test]
fn the_bounds_have_room_and_no_more_than_they_claim() {
    // A sum of 2^10 products can be checked, one of 2^13 is reduced before, one of 2^14 has no room.
    let mut sum = Bound::product();
    for _ in 0..10 {
        sum = sum.plus(&sum);
        sum.plus(&Bound::product()).require_identity();
    }
    assert!(sum.is_small());
    let larger = (0..3).fold(sum, |sum, _| sum.plus(&sum));
    assert!(!larger.is_small());
    let too_large = larger.plus(&larger);
    assert!(std::panic::catch_unwind(|| too_large.require_identity()).is_err());
}

#[test]
fn the_gate_holds_for_all_edges() {
    let edges = edges();
    let checker = Checker::new();
    for x in &edges {
        let mut sheet = Sheet::default();
        for slope in &edges {
            let (x2, y) = (edges[4], edges[edges.len() - 1]);
            let y2 = slope * (x2 - x) + y;
            let [x, x2, y, y2] = [*x, x2, y, y2].map(|value| sheet.element(value));
            let [y, y2] = [&y, &y2].map(|element| sheet.lazy(element));
            let sign = sheet.constant(Fr::ONE);
            let third = sheet.add_gate(&Operands {
                x: &x,
                y: &y,
                x2: &x2,
                y2: &y2,
                sign,
                slope: Slope::New(*slope),
                x3: slope.square() - x.value - x2.value,
            });
            let expected = slope * (x.value - third.x3.value) - y.exact.to_base();
            assert_eq!(third.y3.exact.to_base(), expected);
            let (reduced, _) = sheet.reduce(&third.y3);
            assert_eq!(reduced.value, expected);
        }
        sheet.flush_quotients(true);
        sheet.skip(40);
        assert_eq!(checker.failures(&sheet, &[]), none());
    }
}

/// An element of limbs that are all ones, the largest that the ranges allow: it is not reduced.
#[test]
fn the_gate_holds_for_limbs_that_are_all_ones() {
    let ones = [(1i64 << 51) - 1; LIMBS];
    let value = Exact::element(&ones).to_base();
    let mut sheet = Sheet::default();
    let mut element = || {
        let limbs = ones.map(|limb| sheet.witness(Fr::from(limb as u64)));
        sheet.skip(LIMBS);
        let mut heads = [None; CHAIN];
        heads[..LIMBS].copy_from_slice(&limbs.map(Some));
        sheet.chains(heads, modulus::LIMB_DIGITS);
        Element {
            limbs,
            integers: ones,
            value,
        }
    };
    let elements = [0; 4].map(|_| element());
    let [y, y2] = [0, 1].map(|at| sheet.lazy(&elements[at]));
    let sign = sheet.constant(Fr::ZERO);
    // λ (x2 - x) + y + y2 ≡ 0 needs y = -y2 where x = x2, so that y2 is taken with its sign and reduced to the other.
    let minus = sheet.element(-value);
    let minus = sheet.lazy(&minus);
    for (left, right) in [(&y, &minus), (&minus, &y2)] {
        let third = sheet.add_gate(&Operands {
            x: &elements[0],
            y: left,
            x2: &elements[1],
            y2: right,
            sign,
            slope: Slope::Old(&elements[2]),
            x3: value.square() - value.double(),
        });
        let expected = value * (value - third.x3.value) - left.exact.to_base();
        assert_eq!(third.y3.exact.to_base(), expected);
        let (reduced, _) = sheet.reduce(&third.y3);
        assert_eq!(reduced.value, expected);
    }
    assert_eq!(failures(&mut sheet), none());
}

#[test]
fn points_are_on_the_curve() {
    let mut sheet = Sheet::default();
    for value in [G1Affine::generator(), point(1), -point(2)] {
        let (laid_out, [x, y]) = sheet.point(&value);
        assert_eq!(laid_out.value(), value);
        let coordinates = value.coordinates().unwrap();
        assert_eq!([x.value, y.value], [*coordinates.x(), *coordinates.y()]);
    }
    assert_eq!(failures(&mut sheet), none());
    for (x, y) in [
        (Fq::ZERO, Fq::ZERO),
        (Fq::ONE, Fq::ONE),
        (Fq::ONE, -Fq::from(2) + Fq::ONE),
    ] {
        let mut sheet = Sheet::default();
        sheet.label("point");
        let [x, y] = sheet.element_pair([x, y]);
        sheet.require_on_curve(&x, &y);
        let found = failures(&mut sheet);
        let expected = ["add: slope modulo m @ point", "add: slope modulo r @ point"];
        assert!(
            found.iter().any(|name| expected.contains(&name.as_str())),
            "{found:?}"
        );
        assert!(
            found.iter().all(|name| expected.contains(&name.as_str())),
            "{found:?}"
        );
    }
}

#[test]
fn sums_of_points() {
    let mut sheet = Sheet::default();
    let [p, q] = [point(1), point(2)];
    let (left, _) = sheet.point(&p);
    let (right, _) = sheet.point(&q);
    let left = Point {
        weight: Fr::ONE,
        ..left
    };
    let sum = sheet.plus(&left, &right);
    assert_eq!(sum.value(), (p + q).to_affine());
    assert_eq!(sum.weight, Fr::ONE);
    // A chain long enough that y is reduced on the way.
    let mut chain = sum;
    let mut plain = p + q;
    for _ in 0..1_200 {
        chain = sheet.plus(&chain, &right);
        plain += q;
    }
    assert_eq!(chain.value(), plain.to_affine());
    assert_eq!(failures(&mut sheet), none());
}

#[test]
fn equal_and_inverse_points_cannot_be_added() {
    let p = point(3);
    // Equal weights are refused when the circuit is laid out.
    let refused = std::panic::catch_unwind(|| {
        let mut sheet = Sheet::default();
        let (left, _) = sheet.point(&p);
        let (right, _) = sheet.point(&point(4));
        sheet.plus(&left, &right)
    });
    assert!(refused.is_err());
    // Inverse points have no slope: the gate fails.
    let mut sheet = Sheet::default();
    let (left, _) = sheet.point(&p);
    let (right, _) = sheet.point(&-p);
    sheet.label("sum");
    let left = Point {
        weight: Fr::ONE,
        ..left
    };
    sheet.plus(&left, &right);
    let found = failures(&mut sheet);
    let expected = ["add: slope modulo m @ sum", "add: slope modulo r @ sum"].map(String::from);
    assert!(
        !found.is_empty() && found.is_subset(&expected.into()),
        "{found:?}"
    );
}

#[test]
fn scalars_have_the_digits_that_they_say() {
    let mut rng = rng();
    let mut values = vec![Fr::ZERO, Fr::ONE, -Fr::ONE, Fr::from(2), -Fr::from(2)];
    values.extend((0..20).map(|_| Fr::random(&mut rng)));
    let mut sheet = Sheet::default();
    for value in values {
        let digits = scalar::digits_of(&value, scalar::WINDOWS);
        let sum = digits.iter().fold(Fr::ZERO, |sum, digit| {
            let size = Fr::from(2 * digit.entry as u64 + 1);
            sum * Fr::from(16) + if digit.positive { size } else { -size }
        });
        assert_eq!(sum, value);
        let var = sheet.witness(value);
        for shift in 0..scalar::WINDOW_BITS {
            sheet.shifted_digits_of(&var, scalar::WINDOWS, shift);
        }
    }
    assert_eq!(failures(&mut sheet), none());
}

fn helper(sheet: &mut Sheet) -> Helper {
    let seed = sheet.witness(Fr::from(rng().r#gen::<u64>()));
    sheet.helper(&seed)
}

#[test]
fn the_helpers_multiples() {
    let mut sheet = Sheet::default();
    let helper = helper(&mut sheet);
    for (i, point) in helper.iter().enumerate() {
        let multiple = Fr::from((1 << (i + 1)) - 1);
        assert_eq!(point.weight, multiple);
        assert_eq!(point.value(), (helper[0].value() * multiple).to_affine());
    }
    assert_eq!(failures(&mut sheet), none());
}

/// A sum of two multiples, one of them of a constant, and a point: every gate of field and curve.
fn small_sum(scalars: [Fr; 2]) -> (Sheet, G1Affine) {
    let mut sheet = Sheet::with_room(2, 1 << 11);
    let instances = [3, 4].map(|value| sheet.witness(Fr::from(value)));
    for (row, var) in instances.iter().enumerate() {
        sheet.equal_instance(var, row);
    }
    sheet.label("point");
    let helper = helper(&mut sheet);
    let (first, _) = sheet.point(&point(1));
    let (second, _) = sheet.point(&point(5));
    let table = sheet.table(&first, &helper[0]);
    for (entry, point_of) in table.iter().enumerate() {
        let multiple = point(1) * Fr::from(2 * entry as u64 + 1);
        assert_eq!(point_of.value(), multiple.to_affine());
    }
    let constant = sheet.constant_table(&point(2));
    let scalars = scalars.map(|scalar| sheet.witness(scalar));
    sheet.label("sum");
    let sum = sheet.sum(
        &[
            Term::whole(&table, scalars[0]),
            Term::whole(&constant, scalars[1]),
        ],
        &[second],
        &helper,
    );
    let value = sum.value();
    sheet.flush_quotients(true);
    sheet.skip(40);
    (sheet, value)
}

#[test]
fn sums_of_multiples() {
    let mut rng = rng();
    let checker = Checker::new();
    for scalars in [
        [Fr::ZERO, Fr::ZERO],
        [Fr::ONE, -Fr::ONE],
        [Fr::random(&mut rng), Fr::random(&mut rng)],
    ] {
        let (sheet, sum) = small_sum(scalars);
        let plain = point(1) * scalars[0] + point(2) * scalars[1] + point(5);
        assert_eq!(sum, plain.to_affine());
        assert_eq!(checker.failures(&sheet, &sheet.instances), none());
    }
}

/// Terms enough that every doubling has one to take up, and weights among them.
#[test]
fn sums_of_many_multiples_and_of_weights() {
    let mut rng = rng();
    let mut sheet = Sheet::default();
    let helper = helper(&mut sheet);
    let tables: Vec<[Point; scalar::ENTRIES]> =
        (0..6).map(|i| sheet.constant_table(&point(10 + i))).collect();
    let scalars: Vec<Fr> = (0..6).map(|_| Fr::random(&mut rng)).collect();
    let cells: Vec<Var> = scalars.iter().map(|scalar| sheet.witness(*scalar)).collect();
    let weights: Vec<Var> = cells.iter().map(|challenge| sheet.weight_of(challenge)).collect();
    for (challenge, weight) in scalars.iter().zip(&weights) {
        assert_eq!(Native::default().weight(challenge), weight.value);
    }
    let whole = |i: usize| Term::whole(&tables[i], cells[i]);
    let short = |i: usize| Term::short(&tables[i], weights[i]);
    for is_short in [[false; 6], [true; 6], [false, true, true, false, true, false]] {
        let terms = [0, 1, 2, 3, 4, 5].map(|i| if is_short[i] { short(i) } else { whole(i) });
        let sum = sheet.sum(&terms, &[], &helper);
        let scalar = |i: usize| if is_short[i] { weights[i].value } else { scalars[i] };
        let plain: G1 = (0..6).map(|i| point(10 + i as u64) * scalar(i)).sum();
        assert_eq!(sum.value(), plain.to_affine());
    }
    assert_eq!(failures(&mut sheet), none());
}

#[test]
fn weights_are_odd_and_short() {
    let mut rng = rng();
    let mut values = vec![Fr::ZERO, Fr::ONE, -Fr::ONE, Fr::from(2), -Fr::from(2)];
    values.extend((0..50).map(|_| Fr::random(&mut rng)));
    for value in values {
        let digits = scalar::digits_of(&value, scalar::WINDOWS);
        let low = &digits[scalar::WINDOWS - scalar::SHORT_WINDOWS..];
        let sum = low.iter().fold(BigInt::ZERO, |sum, digit| {
            let size = 2 * digit.entry as i64 + 1;
            sum * 16 + if digit.positive { size } else { -size }
        });
        assert!(sum.bit(0) && sum.magnitude().bits() <= 128);
        let size = field::reduce(sum.magnitude());
        let weight = if sum.sign() == Sign::Minus { -size } else { size };
        assert_eq!(Native::default().weight(&value), weight);
    }
}

#[test]
fn the_layout_does_not_depend_on_the_values() {
    let (one, _) = small_sum([Fr::ONE, Fr::from(12)]);
    let (other, _) = small_sum([-Fr::from(77), Fr::ZERO]);
    assert_eq!(one.on, other.on);
    assert_eq!(one.added, other.added);
    assert_eq!(one.digits, other.digits);
    assert_eq!(one.copies, other.copies);
}

#[test]
fn the_permutation_is_poseidons() {
    let mut rng = rng();
    let mut sheet = Sheet::default();
    for _ in 0..3 {
        let state = [0; 3].map(|_| Fr::random(&mut rng));
        let vars = state.map(|value| sheet.witness(value));
        let permuted = sheet.permute(vars);
        assert_eq!(permuted.map(|var| var.value), Native::default().permute(state));
    }
    assert_eq!(failures(&mut sheet), none());
}

/// Cells of every kind of gate, small enough for halo2's own checks.
pub fn every_gate() -> Sheet {
    let mut sheet = small_sum([Fr::from(12), -Fr::from(5)]).0;
    let inputs = [1, 2, 3].map(|value| sheet.witness(Fr::from(value)));
    let [a, ..] = sheet.permute(inputs);
    sheet.invert(&a);
    sheet.skip(40);
    sheet
}

#[test]
fn agrees_with_mock_prover() {
    let checker = Checker::new();
    let sheet = every_gate();
    let run = |sheet: &Sheet, instances: &[Fr]| {
        let circuit = RecursionCircuit::of_sheet(sheet.clone());
        let prover = MockProver::run(18, &circuit, vec![instances.to_vec()]).expect("runs");
        prover.verify().is_ok()
    };
    let instances = &sheet.instances;
    assert_eq!(checker.failures(&sheet, instances), none());
    assert!(run(&sheet, instances));
    assert!(!run(&sheet, &[instances[0], instances[1] + Fr::ONE]));
    // A change in each kind of gate, and one that only a lookup or a copy sees.
    let rows: Vec<usize> = sheet.on.iter().map(|rows| rows[rows.len() / 2]).collect();
    let digit = sheet.digits[sheet.digits.len() / 2].0;
    for row in rows.into_iter().chain([digit]) {
        let mut changed = sheet.clone();
        changed.advice[row] += Fr::ONE;
        assert!(!checker.failures(&changed, instances).is_empty(), "row {row}");
        assert!(!run(&changed, instances), "row {row}");
    }
}

#[test]
fn degree_is_five_and_rotations_are_few() {
    let mut cs = ConstraintSystem::<Fr>::default();
    RecursionConfig::configure(&mut cs);
    let degree = cs
        .gates()
        .iter()
        .flat_map(|gate| gate.polynomials())
        .map(|poly| poly.degree())
        .max();
    assert_eq!(degree, Some(5));
    assert_eq!(cs.degree(), 5);
    assert_eq!(cs.num_advice_columns(), 1);
    assert_eq!(cs.advice_queries().len(), 31);
    assert_eq!(cs.lookups().len(), 1);
    assert_eq!(cs.permutation().get_columns().len(), 1);
    assert_eq!(cs.num_selectors(), 0);
    // The switches, `added`, the lookup's two and the table.
    assert_eq!(cs.num_fixed_columns(), 7);
}

#[test]
fn one_gate_is_on_where_the_switches_say_so() {
    let value = |gate: Gate, switches: [u64; SWITCHES]| {
        let selector = gate.selector(switches.map(|value| Expression::Constant(Fr::from(value))));
        let never = |_| unreachable!("constants alone");
        selector.evaluate(
            &|constant| constant,
            &|_| never(()),
            &|_| never(()),
            &|_| never(()),
            &|_| never(()),
            &|_| never(()),
            &|a| -a,
            &|a, b| a + b,
            &|a, b| a * b,
            &|a, scale| a * scale,
        )
    };
    for gate in GATES {
        assert_eq!(value(gate, [0; SWITCHES]), Fr::ZERO);
        for on in GATES {
            assert_eq!(
                value(gate, on.switches()) != Fr::ZERO,
                gate == on,
                "{gate:?} at {on:?}"
            );
        }
    }
}

#[test]
fn every_constraint_can_fail() {
    let sheet = every_gate();
    let checker = Checker::new();
    let mut scratch = sheet.clone();
    assert!(sheet.on.iter().all(|rows| !rows.is_empty()));
    for constraint in &checker.constraints {
        let row = sheet.on[constraint.gate as usize][0];
        assert!(constraint.holds(&sheet, row), "{}", constraint.name);
        let breaks = constraint.reads.iter().any(|rotation| {
            scratch.advice[at(row, *rotation)] += Fr::from(5);
            let holds = constraint.holds(&scratch, row);
            scratch.advice[at(row, *rotation)] -= Fr::from(5);
            !holds
        });
        assert!(breaks, "{}", constraint.name);
    }
}

#[test]
fn a_helper_follows_from_its_seed() {
    let mut sheet = Sheet::default();
    sheet.label("seed");
    let seed = sheet.witness(Fr::from(9));
    let helper = sheet.hash_to_curve(&seed);
    assert!(bool::from(helper.value().is_on_curve()));
    let x = field::reduce(&BigUint::from_bytes_le(&helper.x.value.to_repr()));
    assert!(field::to_integer(&(x - Fr::from(9))) < BigUint::from(20u8));
    let mut other = sheet.clone();
    assert_eq!(failures(&mut sheet), none());
    other.advice[seed.row] += Fr::ONE;
    let found: Vec<String> = failures(&mut other).into_iter().collect();
    assert_eq!(found, ["copy @ seed"]);
}
