//! Forged witnesses: each breaks one constraint, is consistent in everything that is not about it, and must fail by it alone.

use std::collections::BTreeSet;

use halo2curves::{
    bn256::{Fq, Fr},
    ff::Field,
};
use num_bigint::{BigInt, BigUint};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::{
    checker::Checker,
    curve::{failures, none, point},
};
use crate::{
    plonk::arithmetic::{Arithmetic, WIDTH},
    recursion::{
        config::{Gate, PARTIAL, PARTIAL_CELLS, add, digit, select},
        curve::Point,
        foreign::{Operands, Slope},
        modulus::{self, Exact, LIMBS},
        scalar::{self, SHORT_WINDOWS, WINDOWS},
        sheet::Sheet,
    },
};
use rules::{field, poseidon};

fn only(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("{name} @ test")).collect()
}

/// Changes a cell and whatever is copied from or to it, so that no copy fails.
fn set(sheet: &mut Sheet, row: usize, value: Fr) {
    let mut rows = BTreeSet::from([row]);
    loop {
        let before = rows.len();
        for (a, b, _) in &sheet.copies {
            if rows.contains(a) || rows.contains(b) {
                rows.extend([a, b]);
            }
        }
        if rows.len() == before {
            break;
        }
    }
    rows.into_iter().for_each(|row| sheet.advice[row] = value);
}

fn shift(value: Fr, bits: usize) -> Fr {
    field::reduce(&(field::to_integer(&value) >> bits))
}

/// One addition of points, and the row of its gate.
fn addition() -> (Sheet, usize) {
    let mut sheet = Sheet::default();
    let (left, _) = sheet.point(&point(1));
    let (right, _) = sheet.point(&point(2));
    sheet.label("test");
    let left = Point {
        weight: Fr::ONE,
        ..left
    };
    sheet.plus(&left, &right);
    assert_eq!(failures(&mut sheet), none());
    let row = *sheet.on[Gate::Add as usize].last().unwrap();
    (sheet, row)
}

/// Sets a chain's first cell and all that follows from it; what does not fit is left in its last cell.
fn set_chain(sheet: &mut Sheet, head: usize, stride: usize, digits: usize, value: Fr) {
    for digit in 0..digits {
        let row = head + stride * digit;
        sheet.advice[row] = shift(value, modulus::DIGIT_BITS * digit);
    }
}

fn check(sheet: &Sheet) -> BTreeSet<String> {
    Checker::new().failures(sheet, &[])
}

/// The head of a quotient's chain: the other end of the only copy of its cell.
fn chain_of(sheet: &Sheet, row: usize) -> usize {
    sheet
        .copies
        .iter()
        .find(|(_, b, _)| *b == row)
        .map(|(a, _, _)| *a)
        .expect("a quotient is copied to its chain")
}

fn limbs_at(sheet: &Sheet, row: usize) -> [i64; LIMBS] {
    let integer = |cell: &Fr| i64::try_from(field::to_integer(cell)).expect("a limb");
    std::array::from_fn(|limb| integer(&sheet.advice[row + limb]))
}

/// Sets an element's limbs and their digits.
fn set_limbs(sheet: &mut Sheet, row: usize, value: &BigUint) {
    let mask = (BigUint::from(1u8) << modulus::LIMB_BITS) - 1u8;
    for limb in 0..LIMBS {
        let value = field::reduce(&((value >> (modulus::LIMB_BITS * limb)) & &mask));
        set_chain(sheet, row + limb, 10, modulus::LIMB_DIGITS, value);
    }
}

/// Sets a quotient and its digits.
fn set_quotient(sheet: &mut Sheet, row: usize, value: Fr) {
    let head = chain_of(sheet, row);
    sheet.advice[row] = value;
    set_chain(sheet, head, 10, modulus::QUOTIENT_DIGITS, value);
}

fn integer(limbs: &[i64; LIMBS]) -> BigUint {
    let limbs = limbs.iter().rev();
    limbs.fold(BigUint::ZERO, |sum, limb| {
        (sum << modulus::LIMB_BITS) + BigUint::from(*limb as u64)
    })
}

fn minus(a: &[i64; LIMBS], b: &[i64; LIMBS]) -> [i64; LIMBS] {
    std::array::from_fn(|i| a[i] - b[i])
}

/// Makes what follows from slope and x3 follow: the quotients of x where they exist, and y3.
fn follow(sheet: &mut Sheet, row: usize, with_quotients: bool) {
    let [x2, slope, x3] = [add::X2, add::SLOPE, add::X3].map(|at| limbs_at(sheet, row + at));
    let x = limbs_at(sheet, row - add::X_BEFORE);
    if with_quotients {
        let square = [x, x2, x3]
            .iter()
            .fold(Exact::product(&slope, &slope), |sum, limbs| {
                sum.minus(&Exact::element(limbs))
            });
        for (at, quotient) in square.quotients().into_iter().enumerate() {
            set_quotient(sheet, row + add::QUOTIENTS + 2 + at, quotient);
        }
    }
    for (side, product) in Exact::product(&slope, &minus(&x, &x3))
        .scalars()
        .into_iter()
        .enumerate()
    {
        let y = sheet.advice[row - add::Y_BEFORE + side];
        set(sheet, row + add::Y3 + side, product - y);
    }
}

fn m() -> BigInt {
    BigInt::from(1u8) << 128usize
}

/// `q mod m`.
fn q_modulo_m() -> BigInt {
    BigInt::from(modulus::base_modulus()) % m()
}

/// A quotient as its cell holds it, or nothing where its range does not.
fn quotient(value: &BigInt) -> Option<Fr> {
    let shifted: BigInt = value + (BigInt::from(1u8) << 118usize);
    let shifted = shifted.to_biguint()?;
    (shifted.bits() <= 119).then(|| field::reduce(&shifted))
}

/// Without the identity modulo r a prover chooses the slope: one of a thousand has a short quotient modulo m.
#[test]
fn a_slope_that_holds_modulo_m_is_refused_modulo_r() {
    let (mut sheet, row) = addition();
    let [x, x2] = [row - add::X_BEFORE, row + add::X2].map(|row| limbs_at(&sheet, row));
    let [y, y2] = [row - add::Y_BEFORE, row + add::Y2]
        .map(|row| BigInt::from(field::to_integer(&sheet.advice[row + 1])));
    let inverse = q_modulo_m().modpow(&((BigInt::from(1u8) << 126usize) - 1), &m());
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (slope, quotients) = (0..1 << 16)
        .find_map(|_| {
            let slope: [i64; LIMBS] = std::array::from_fn(|_| rng.gen_range(0..1 << 51));
            let [_, value] = Exact::product(&slope, &minus(&x2, &x)).0;
            let value = value + &y - &y2;
            let half: BigInt = m() >> 1usize;
            let shifted: BigInt = &value * &inverse + &half;
            let k = shifted.modpow(&BigInt::from(1u8), &m()) - half;
            let l = (value - &k * q_modulo_m()) / m();
            Some((slope, [quotient(&k)?, quotient(&l)?]))
        })
        .expect("a short quotient");
    set_limbs(&mut sheet, row + add::SLOPE, &integer(&slope));
    for (at, quotient) in quotients.into_iter().enumerate() {
        set_quotient(&mut sheet, row + add::QUOTIENTS + at, quotient);
    }
    let [x, x2, slope] = [x, x2, slope].map(|limbs| Exact::element(&limbs).to_base());
    let x3 = modulus::limbs(&(slope.square() - x - x2));
    set_limbs(&mut sheet, row + add::X3, &integer(&x3));
    follow(&mut sheet, row, true);
    assert_eq!(check(&sheet), only(&["add: slope modulo r"]));
}

/// Without the identity modulo m a prover takes any multiple of q, and what is congruent to it modulo r as the element.
#[test]
fn an_element_that_holds_modulo_r_is_refused_modulo_m() {
    // The chord's identity, where it reduces: an element that is `y - k q` modulo r, for a k of choice.
    let mut sheet = Sheet::default();
    let of = sheet.element(Fq::from(1_234_567));
    let of = sheet.lazy(&of);
    sheet.label("test");
    let [q, r] = [modulus::base_modulus(), field::modulus()];
    let forged = (BigUint::from(1_234_567u32) + &r + &r - q) % &r;
    let forged = sheet.element(modulus::base_from_integer(&forged));
    let y2 = sheet.lazy(&forged);
    let zero = sheet.constant_element(Fq::ZERO);
    let sign = sheet.constant(Fr::ONE);
    sheet.add_gate(&Operands {
        x: &zero,
        y: &of,
        x2: &zero,
        y2: &y2,
        sign,
        slope: Slope::New(Fq::ZERO),
        x3: Fq::ZERO,
    });
    sheet.flush_quotients(true);
    sheet.skip(40);
    let row = *sheet.on[Gate::Add as usize].last().unwrap();
    set_quotient(
        &mut sheet,
        row + add::QUOTIENTS,
        modulus::quotient_offset() + Fr::ONE,
    );
    assert_eq!(check(&sheet), only(&["add: slope modulo m"]));

    // x3, with the next multiple of q.
    let (mut sheet, row) = addition();
    let k = row + add::QUOTIENTS + 2;
    let x3 = integer(&limbs_at(&sheet, row + add::X3));
    let forged = (x3 + &r + &r - modulus::base_modulus()) % &r;
    set_limbs(&mut sheet, row + add::X3, &forged);
    let next = sheet.advice[k] + Fr::ONE;
    set_quotient(&mut sheet, k, next);
    follow(&mut sheet, row, false);
    assert_eq!(check(&sheet), only(&["add: x modulo m"]));
}

/// `2^204` is 0 modulo m, so that the highest limb of x3 is seen modulo r alone.
#[test]
fn an_x_that_holds_modulo_m_is_refused_modulo_r() {
    let (mut sheet, row) = addition();
    let x3 = integer(&limbs_at(&sheet, row + add::X3)) + (BigUint::from(1u8) << 204usize);
    set_limbs(&mut sheet, row + add::X3, &x3);
    follow(&mut sheet, row, false);
    assert_eq!(check(&sheet), only(&["add: x modulo r"]));
}

#[test]
fn each_identity_fails_alone() {
    let (valid, row) = addition();
    // A quotient by m, an integer y3, on either side.
    for (cell, name) in [
        (add::QUOTIENTS + 1, "add: slope modulo m"),
        (add::QUOTIENTS + 3, "add: x modulo m"),
    ] {
        let mut sheet = valid.clone();
        let cell = row + cell;
        let head = chain_of(&sheet, cell);
        let value = sheet.advice[cell] + Fr::ONE;
        sheet.advice[cell] = value;
        set_chain(&mut sheet, head, 10, modulus::QUOTIENT_DIGITS, value);
        assert_eq!(check(&sheet), only(&[name]));
    }
    for (side, name) in [(0, "add: y modulo r"), (1, "add: y modulo m")] {
        let mut sheet = valid.clone();
        let value = sheet.advice[row + add::Y3 + side] + Fr::ONE;
        set(&mut sheet, row + add::Y3 + side, value);
        assert_eq!(check(&sheet), only(&[name]));
    }
}

#[test]
fn a_slope_or_an_x_of_choice_is_refused() {
    let (valid, row) = addition();
    let changed = |cell: usize| {
        let mut sheet = valid.clone();
        let value = sheet.advice[row + cell] + Fr::ONE;
        set_chain(&mut sheet, row + cell, 10, modulus::LIMB_DIGITS, value);
        check(&sheet)
    };
    let slope = [
        "slope modulo m",
        "slope modulo r",
        "x modulo m",
        "x modulo r",
        "y modulo m",
        "y modulo r",
    ];
    let named = |names: &[&str]| {
        only(
            &names
                .iter()
                .map(|name| format!("add: {name}"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(changed(add::SLOPE), named(&slope));
    assert_eq!(changed(add::X3), named(&slope[2..]));
}

/// Without the ranges of quotients a prover chooses the slope: modulo r there are quotients for any value.
#[test]
fn a_quotient_of_more_than_119_bits_is_refused() {
    let (mut sheet, row) = addition();
    let slope = integer(&limbs_at(&sheet, row + add::SLOPE)) ^ BigUint::from(1u8);
    set_limbs(&mut sheet, row + add::SLOPE, &slope);
    let [x, x2, slope] =
        [row - add::X_BEFORE, row + add::X2, row + add::SLOPE].map(|row| limbs_at(&sheet, row));
    let [x_value, x2_value, slope_value] = [x, x2, slope].map(|limbs| Exact::element(&limbs).to_base());
    let x3 = modulus::limbs(&(slope_value.square() - x_value - x2_value));
    set_limbs(&mut sheet, row + add::X3, &integer(&x3));
    follow(&mut sheet, row, true);
    assert_eq!(
        check(&sheet),
        only(&["add: slope modulo m", "add: slope modulo r"])
    );
    let chord = Exact::product(&slope, &minus(&x2, &x)).scalars();
    let [value, image] = [0, 1].map(|side| {
        chord[side] + sheet.advice[row - add::Y_BEFORE + side] - sheet.advice[row + add::Y2 + side]
    });
    let k = value * modulus::q(0).invert().unwrap();
    let l = (image - k * modulus::q(1)) * modulus::m().invert().unwrap();
    for (at, quotient) in [k, l].into_iter().enumerate() {
        let quotient = quotient + modulus::quotient_offset();
        assert!(field::to_integer(&quotient).bits() > 119);
        set_quotient(&mut sheet, row + add::QUOTIENTS + at, quotient);
    }
    assert_eq!(check(&sheet), only(&["digit"]));
}

#[test]
fn a_limb_of_more_than_51_bits_is_refused() {
    // The same element in limbs that carry otherwise: every identity holds, the range does not.
    let mut sheet = Sheet::default();
    sheet.label("test");
    let value = modulus::base_from_integer(&(BigUint::from(5u8) << 51usize));
    let element = sheet.element(value);
    assert_eq!(failures(&mut sheet), none());
    let [low, high] = [0, 1].map(|limb| element.limbs[limb].row);
    let carried = Fr::from(1 << 51);
    let (low_value, high_value) = (sheet.advice[low] + carried, sheet.advice[high] - Fr::ONE);
    set_chain(&mut sheet, low, 10, modulus::LIMB_DIGITS, low_value);
    set_chain(&mut sheet, high, 10, modulus::LIMB_DIGITS, high_value);
    assert_eq!(check(&sheet), only(&["digit"]));
}

#[test]
fn an_element_plus_q_is_another_form_of_the_same_element() {
    // Free by design: x + q fits five limbs. It is the same element in every identity.
    let mut sheet = Sheet::default();
    sheet.label("test");
    let element = sheet.element(Fq::from(9));
    let integer = modulus::base_modulus() + 9u8;
    let mask = (BigUint::from(1u8) << 51usize) - 1u8;
    for (limb, var) in element.limbs.iter().enumerate() {
        let value = field::reduce(&((&integer >> (51 * limb)) & &mask));
        set_chain(&mut sheet, var.row, 10, modulus::LIMB_DIGITS, value);
    }
    assert_eq!(failures(&mut sheet), none());
}

#[test]
fn digits_and_entries() {
    let mut sheet = Sheet::default();
    let scalar = sheet.witness(Fr::from(1_234_567));
    sheet.label("test");
    let digits = sheet.digits_of(&scalar, WINDOWS);
    let entries = [0u64, 1, 2, 3, 4, 5, 6, 7].map(|value| sheet.witness(Fr::from(100 + value)));
    sheet.select(&entries, &digits);
    assert_eq!(failures(&mut sheet), none());
    // A bit that is none: the prefix follows, so that only the bit is wrong (and the entry that it names).
    let row = sheet.on[Gate::Digit as usize][63];
    let valid = sheet.clone();
    for (cell, weight) in [(digit::BITS, 2u64), (digit::BITS + 1, 4), (digit::BITS + 2, 8)] {
        let mut sheet = valid.clone();
        let sign = sheet.advice[row + digit::SIGN] * Fr::from(2) - Fr::ONE;
        let value = sheet.advice[row + cell] + Fr::from(2);
        set(&mut sheet, row + cell, value);
        let prefix = sheet.advice[row + digit::NEXT] + sign * Fr::from(2 * weight);
        sheet.advice[row + digit::NEXT] = prefix;
        let scalar = sheet.advice[scalar.row] + sign * Fr::from(2 * weight);
        set(&mut sheet, row + digit::NEXT, scalar);
        let found = check(&sheet);
        assert!(found.contains("digit: a bit is 0 or 1 @ test"), "{found:?}");
        let expected = only(&["digit: a bit is 0 or 1", "select: the chosen entry"]);
        assert!(found.is_subset(&expected), "{found:?}");
    }
    let mut other = valid.clone();
    let sign = row + digit::SIGN;
    let value = Fr::ONE - other.advice[sign];
    set(&mut other, sign, value);
    assert_eq!(check(&other), only(&["digit: the scalar's prefix"]));
    let mut other = valid;
    let chosen = other.on[Gate::Select as usize][3] + select::OUT;
    other.advice[chosen] += Fr::ONE;
    assert_eq!(check(&other), only(&["select: the chosen entry"]));
}

/// The same without a selection, so that nothing else reads a bit; and a sign that is none.
#[test]
fn a_bit_is_refused_alone() {
    let mut valid = Sheet::default();
    let scalar = valid.witness(Fr::from(1_234_567));
    valid.label("test");
    valid.digits_of(&scalar, WINDOWS);
    assert_eq!(failures(&mut valid), none());
    let row = valid.on[Gate::Digit as usize][63];
    let digit = |sheet: &Sheet| {
        let [sign, b0, b1, b2] =
            [digit::SIGN, digit::BITS, digit::BITS + 1, digit::BITS + 2].map(|cell| sheet.advice[row + cell]);
        let size = Fr::ONE + b0 * Fr::from(2) + b1 * Fr::from(4) + b2 * Fr::from(8);
        (sign * Fr::from(2) - Fr::ONE) * size
    };
    for cell in digit::SIGN..digit::NEXT {
        let mut sheet = valid.clone();
        let before = digit(&sheet);
        sheet.advice[row + cell] += Fr::from(2);
        let next = sheet.advice[row + digit::NEXT] + digit(&sheet) - before;
        set(&mut sheet, row + digit::NEXT, next);
        assert_eq!(check(&sheet), only(&["digit: a bit is 0 or 1"]), "{cell}");
    }
}

fn mix(state: &[Fr; WIDTH]) -> [Fr; WIDTH] {
    let rows = poseidon::spec3().mds;
    rows.map(|row| row.iter().zip(state).map(|(a, b)| a * b).sum())
}

/// Lays out anew what follows a gate's inputs. Of partial rounds, the input of one may be kept as it is.
fn continue_gate(sheet: &mut Sheet, gate: Gate, row: usize, kept: Option<usize>) {
    let added = [0, 1, 2].map(|i| sheet.added.get(&(row + i)).copied().unwrap_or(Fr::ZERO));
    let mut state: [Fr; WIDTH] = std::array::from_fn(|i| sheet.advice[row + i]);
    let power = |sheet: &mut Sheet, input: Fr, at: usize| {
        sheet.advice[row + at] = input.square();
        input.square().square() * input
    };
    let outputs = if gate == Gate::Full {
        for (i, value) in state.iter_mut().enumerate() {
            *value = power(sheet, *value, WIDTH + i);
        }
        let mixed = mix(&state);
        state = std::array::from_fn(|i| mixed[i] + added[i]);
        2 * WIDTH
    } else {
        for (round, constant) in added.iter().enumerate() {
            state[0] = power(sheet, state[0], WIDTH + 2 * round) + constant;
            state = mix(&state);
            let next = row + WIDTH + 2 * round + 1;
            if kept == Some(round + 1) {
                state[0] = sheet.advice[next];
            }
            sheet.advice[next] = state[0];
        }
        PARTIAL_CELLS - WIDTH
    };
    sheet.advice[row + outputs..][..WIDTH].copy_from_slice(&state);
}

/// Lays out anew what follows a round's inputs, from a row on that a gate of the permutation is on at.
fn continue_rounds(sheet: &mut Sheet, from: usize) {
    let mut rounds: Vec<(usize, Gate)> = vec![];
    for gate in [Gate::Full, Gate::Partial] {
        let rows = sheet.on[gate as usize].iter().filter(|row| **row >= from);
        rounds.extend(rows.map(|row| (*row, gate)));
    }
    rounds.sort_unstable_by_key(|(row, _)| *row);
    for (row, gate) in rounds {
        continue_gate(sheet, gate, row, None);
    }
}

#[test]
fn a_round_is_refused_alone() {
    let mut valid = Sheet::default();
    let inputs = [5, 6, 7].map(|value| valid.witness(Fr::from(value)));
    valid.label("test");
    valid.permute(inputs);
    assert_eq!(failures(&mut valid), none());
    let mut same = valid.clone();
    continue_rounds(&mut same, 0);
    assert_eq!(same.advice, valid.advice);
    for (gate, name, squares, outputs) in [
        (Gate::Full, "full", [3, 4, 5], 2 * WIDTH),
        (Gate::Partial, "partial", [3, 5, 7], PARTIAL_CELLS - WIDTH),
    ] {
        let row = valid.on[gate as usize][2];
        for square in squares {
            // The other root of u²: the output is the same.
            let mut sheet = valid.clone();
            sheet.advice[row + square] *= -Fr::ONE;
            assert_eq!(check(&sheet), only(&[&format!("{name}: u = x²")]));
        }
        for output in 0..WIDTH {
            let mut sheet = valid.clone();
            let next = row + outputs;
            sheet.advice[next + output] += Fr::ONE;
            continue_rounds(&mut sheet, next);
            assert_eq!(check(&sheet), only(&[&format!("{name}: the next input")]));
        }
    }
    // The inputs of the rounds within a gate.
    for round in 1..PARTIAL {
        let row = valid.on[Gate::Partial as usize][2];
        let mut sheet = valid.clone();
        sheet.advice[row + WIDTH + 2 * round - 1] += Fr::ONE;
        continue_gate(&mut sheet, Gate::Partial, row, Some(round));
        continue_rounds(&mut sheet, row + PARTIAL_CELLS - WIDTH);
        assert_eq!(check(&sheet), only(&["partial: the next input"]));
    }
}

/// An instance and its cell, with all that is copied from it; the constants move with no instance.
#[test]
fn an_instance_is_the_cell_at_its_row() {
    let mut sheet = Sheet::with_room(3, 1 << 5);
    sheet.label("test");
    for row in 0..3 {
        let value = sheet.witness(Fr::from(7 + row as u64));
        sheet.equal_instance(&value, row);
    }
    sheet.skip(40);
    let instances = sheet.instances.clone();
    let checker = Checker::new();
    assert_eq!(checker.failures(&sheet, &instances), none());
    let expected = BTreeSet::from(["instance: the cell is the instance @ P-8.4: root instances".to_owned()]);
    for row in 0..3 {
        let mut other = instances.clone();
        other[row] += Fr::ONE;
        assert_eq!(checker.failures(&sheet, &other), expected);
        let mut other = sheet.clone();
        let value = other.advice[row] + Fr::ONE;
        set(&mut other, row, value);
        assert_eq!(checker.failures(&other, &instances), expected);
    }
}

#[test]
fn arithmetic_and_hashes() {
    let mut sheet = Sheet::default();
    sheet.label("test");
    let inputs = [5, 6, 7].map(|value| sheet.witness(Fr::from(value)));
    let product = Arithmetic::mul_add(&mut sheet, &inputs[0], &inputs[1], &inputs[2]);
    sheet.invert(&inputs[1]);
    sheet.permute(inputs);
    assert_eq!(failures(&mut sheet), none());
    let changed = |row: usize| {
        let mut sheet = sheet.clone();
        let value = sheet.advice[row] + Fr::ONE;
        set(&mut sheet, row, value);
        check(&sheet)
    };
    assert_eq!(changed(product.row), only(&["arith: a + b c + added = d"]));
    // A square, an input of a round and the output of the one before it, an output that nobody reads.
    for (gate, name) in [(Gate::Full, "full"), (Gate::Partial, "partial")] {
        let at = sheet.on[gate as usize][2] + 3;
        let names = ["u = x²", "the next input"].map(|of| format!("{name}: {of}"));
        assert_eq!(changed(at), only(&[&names[0], &names[1]]));
    }
    let partial = sheet.on[Gate::Partial as usize][0];
    assert_eq!(
        changed(partial + 1),
        only(&["full: the next input", "partial: the next input"])
    );
    assert_eq!(
        changed(partial + 4),
        only(&["partial: the next input", "partial: u = x²"])
    );
    let last = *sheet.on[Gate::Full as usize].last().unwrap();
    for output in [6, 7, 8] {
        assert_eq!(changed(last + output), only(&["full: the next input"]));
    }
}

#[test]
fn a_constant_is_no_choice() {
    let mut sheet = Sheet::default();
    sheet.label("test");
    let five = sheet.constant(Fr::from(5));
    sheet.copy(&five);
    let nine = sheet.constant(Fr::from(9));
    assert_eq!(failures(&mut sheet), none());
    let arith: BTreeSet<String> = ["arith: a + b c + added = d @ constants".to_owned()].into();
    for var in [five, nine, sheet.constant(Fr::ZERO)] {
        let mut other = sheet.clone();
        set(&mut other, var.row, var.value + Fr::ONE);
        assert_eq!(check(&other), arith);
    }
}

#[test]
fn zero_has_no_inverse() {
    let mut sheet = Sheet::default();
    sheet.label("test");
    let zero = sheet.witness(Fr::ZERO);
    sheet.invert(&zero);
    assert_eq!(failures(&mut sheet), only(&["arith: a + b c + added = d"]));
}

/// A challenge plus an odd multiple of r has other digits. A weight's challenge may have those of an integer below `2^254` in size alone.
#[test]
fn a_weights_challenge_has_two_forms() {
    let challenge = Fr::from(6);
    let integer = |times: i64| BigInt::from(6) + BigInt::from(field::modulus()) * times;
    // Lays out a challenge, then sets its digits to those of one of its integers.
    let forms: Vec<(i64, BTreeSet<String>)> = (-7..7)
        .filter(|times| integer(*times).bit(0))
        .filter(|times| integer(*times).magnitude().bits() <= 256)
        .map(|times| {
            let mut sheet = Sheet::default();
            let var = sheet.witness(challenge);
            sheet.label("test");
            let weight = sheet.weight_of(&var);
            let rows = sheet.on[Gate::Digit as usize].clone();
            let mut prefix = Fr::ZERO;
            for (row, value) in rows.iter().zip(scalar::digits(integer(times), WINDOWS)) {
                let bits = [0, 1, 2].map(|bit| Fr::from((value.entry >> bit & 1) as u64));
                sheet.advice[row + digit::SIGN] = Fr::from(u64::from(value.positive));
                sheet.advice[row + digit::BITS..][..3].copy_from_slice(&bits);
                let size = Fr::from(2 * value.entry as u64 + 1);
                prefix = prefix * Fr::from(16) + if value.positive { size } else { -size };
                set(&mut sheet, row + digit::NEXT, prefix);
            }
            let above = sheet.advice[rows[SHORT_WINDOWS]];
            let power = Fr::from(2).pow_vartime([128]);
            sheet.advice[weight.row] = challenge - above * power;
            sheet.skip(40);
            (times, check(&sheet))
        })
        .collect();
    let holds = |times: i64| forms.iter().any(|(of, failed)| *of == times && failed.is_empty());
    assert!(holds(-1) && forms.len() == 6);
    for (times, failed) in &forms {
        let short = integer(*times).magnitude().bits() <= 254;
        let expected = if short { none() } else { only(&["copy"]) };
        assert_eq!(*failed, expected, "{times}");
    }
}
