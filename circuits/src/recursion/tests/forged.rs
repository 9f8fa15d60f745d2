//! Forged witnesses: each breaks one constraint, is consistent in everything that is not about it, and must fail by it alone.

use std::collections::BTreeSet;

use halo2curves::{
    bn256::{Fq, Fr},
    ff::Field,
};
use num_bigint::BigUint;

use super::{
    checker::Checker,
    curve::{failures, none, point},
};
use crate::{
    field,
    plonk::arithmetic::Arithmetic,
    recursion::{
        config::{Gate, add, digit, select},
        curve::Point,
        modulus,
        sheet::{Place, Sheet},
    },
};

fn only(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("{name} @ test")).collect()
}

/// Changes a cell and whatever is copied from or to it, so that no copy fails.
fn set(sheet: &mut Sheet, row: usize, value: Fr) {
    let mut rows = BTreeSet::from([row]);
    loop {
        let before = rows.len();
        for (a, b, _) in &sheet.copies {
            if [a, b].iter().all(|cell| cell.place == Place::Advice)
                && (rows.contains(&a.row) || rows.contains(&b.row))
            {
                rows.extend([a.row, b.row]);
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
        .find(|(_, b, _)| b.place == Place::Advice && b.row == row)
        .map(|(a, _, _)| a.row)
        .expect("a quotient is copied to its chain")
}

#[test]
fn a_wrong_multiple_of_q_is_seen_modulo_r_alone() {
    // x3 is changed by 1, and the quotient by m takes up the difference there: only the check modulo r is left.
    let (valid, row) = addition();
    for (quotient, names) in [(0, "slope"), (2, "x")] {
        let mut sheet = valid.clone();
        let [k, l] = [0, 1].map(|i| row + add::QUOTIENTS + quotient + i);
        // k moves by m and l by -(q mod m): the check modulo m stands still.
        let m = modulus::m();
        let (k_value, l_value) = (sheet.advice[k] + m, sheet.advice[l] - modulus::q(1));
        for (cell, value) in [(k, k_value), (l, l_value)] {
            let head = chain_of(&sheet, cell);
            sheet.advice[cell] = value;
            set_chain(&mut sheet, head, 10, modulus::QUOTIENT_DIGITS, value);
        }
        let found = check(&sheet);
        // k would have to leave its range, too: m is larger.
        assert_eq!(found, only(&["digit", &format!("add: {names} modulo r")]));
    }
}

#[test]
fn a_multiple_of_r_is_seen_modulo_m_alone() {
    // An x3 that is wrong by (k q mod r) for small k: the check modulo r accepts it with k as the quotient's change.
    let (valid, row) = addition();
    let mut sheet = valid.clone();
    let k = row + add::QUOTIENTS + 2;
    // x3's lowest limb moves by -d and the quotient by k with k q = d modulo r, d short: no k in range does that but 0,
    // so the forged quotient is out of its range, and only then the check modulo m is the one that is left.
    let d = Fr::ONE;
    let moved = d * modulus::q(0).invert().unwrap();
    let limb = row + add::X3;
    let value = sheet.advice[limb] - d;
    set(&mut sheet, limb, value);
    let chains = sheet.advice[k] + moved;
    let head = chain_of(&sheet, k);
    sheet.advice[k] = chains;
    set_chain(&mut sheet, head, 10, modulus::QUOTIENT_DIGITS, chains);
    let found = check(&sheet);
    assert_eq!(
        found,
        only(&["add: x modulo m", "add: y modulo m", "add: y modulo r", "digit"])
    );
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

#[test]
fn a_limb_of_more_than_51_bits_is_refused() {
    // The same element in limbs that carry otherwise: every identity holds, the range does not.
    let mut sheet = Sheet::default();
    sheet.label("test");
    let value = modulus::base_from_integer(&(BigUint::from(5u8) << 51usize));
    let element = sheet.element(value);
    assert_eq!(failures(&mut sheet), none());
    let [low, high] = [0, 1].map(|limb| element.limbs[limb].cell.row);
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
        set_chain(&mut sheet, var.cell.row, 10, modulus::LIMB_DIGITS, value);
    }
    assert_eq!(failures(&mut sheet), none());
}

#[test]
fn digits_and_entries() {
    let mut sheet = Sheet::default();
    let scalar = sheet.witness(Fr::from(1_234_567));
    sheet.label("test");
    let digits = sheet.digits_of(&scalar);
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
        let scalar = sheet.advice[scalar.cell.row] + sign * Fr::from(2 * weight);
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
    assert_eq!(changed(product.cell.row), only(&["arith: a + b c + added = d"]));
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
        set(&mut other, var.cell.row, var.value + Fr::ONE);
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
