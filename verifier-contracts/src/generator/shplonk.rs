//! The opening scheme: SHPLONK over KZG. The generator's one seam for another.
//!
//! Commitments are opened in sets, by the rotations at which they are. With `C_S = Σ fold^j C_j` over a set's commitments, `r_S`
//! the polynomial through their values folded in the same way, and `Z_S` the one that vanishes at the set's points, the proof holds if
//! `e(Σ κ_S (C_S - r_S(u)) - Z_0(u) W + u W', g₂) = e(W', s·g₂)` with `κ_S = v^S Z_0(u) / Z_S(u)`.

use circuits::plonk::{Base, OpeningSet, Shape, Value};
use halo2curves::{
    CurveAffine,
    bn256::{Fr, G1Affine},
    ff::PrimeField,
};

use super::{
    lagrange::power,
    memory::Memory,
    yul::{Expr, Text, add, atom, hex, literal, mload, mulmod},
};

/// Names the words of the steps before the inversion. Returns what is to be inverted.
pub(super) fn allocate(memory: &mut Memory, shape: &Shape) -> Vec<String> {
    const SETS: &str = "Opening sets";
    for (i, set) in shape.sets.iter().enumerate() {
        let rotations: Vec<String> = set.rotations.iter().map(i32::to_string).collect();
        let at = rotations.join(", ");
        memory.allocate(
            SETS,
            format!("ZERO_{i}"),
            1,
            &format!("Z(u) of set {i}: rotations {at}"),
        );
        if set.rotations.len() > 1 {
            let meaning = format!("r(u) of set {i}, times x^{}", set.rotations.len() - 1);
            memory.allocate(SETS, format!("VALUE_{i}"), 1, &meaning);
        }
        if i > 0 {
            memory.allocate(SETS, format!("KAPPA_{i}"), 1, &format!("κ of set {i}"));
        }
    }
    memory.allocate(SETS, "VALUES", 1, "the sum of all κ r(u)");
    memory.allocate(
        "Sums of points: what is summed, a term, the next point or a factor",
        "SUM",
        2,
        "",
    );
    memory.allocate(
        "Sums of points: what is summed, a term, the next point or a factor",
        "TERM",
        2,
        "",
    );
    memory.allocate(
        "Sums of points: what is summed, a term, the next point or a factor",
        "NEXT",
        2,
        "",
    );
    memory.allocate(
        "Sums of points: what is summed, a term, the next point or a factor",
        "H",
        2,
        "the quotient's commitment",
    );
    let sets = 1..shape.sets.len();
    let mut inverses: Vec<String> = sets.map(|i| format!("INV_ZERO_{i}")).collect();
    if shape.sets.iter().any(|set| set.rotations.len() > 1) {
        inverses.push("INV_X".to_owned());
    }
    inverses
}

/// Steps before the inversion: interpolation, and the denominators.
pub(super) fn interpolation(text: &mut Text, shape: &Shape, memory: &Memory) {
    text.comment(
        "///",
        "@dev For each opening set Z(u) = Π (u - p) over its points p = ω^i x, and, where it has more than one, r(u) for r through the values \
         there: N/D + t/(u - p) with t = value / Π (ω^i - ω^j) over the other points, times x to their number.",
    );
    text.step("_interpolate");
    text.line("let x := mload(X)");
    text.line("let u := mload(U)");
    text.line("let fold := mload(FOLD)");
    text.line("let point");
    text.line("let d");
    text.line("let value");
    text.line("let numerator");
    text.line("let zero");
    if shape.sets.iter().any(|set| set.rotations.len() > 1) {
        text.line("mstore(INV_X, x)");
    }
    for (i, set) in shape.sets.iter().enumerate() {
        text.line(format!("// Set {i}"));
        for (place, rotation) in set.rotations.iter().enumerate() {
            text.assign("point", &point(shape, set, place));
            text.line("d := add(u, sub(r, point))");
            if set.rotations.len() > 1 {
                let value = folded(text, memory, set, place);
                let term = mulmod(value, literal(weight(shape, set, *rotation)));
                match place {
                    0 => text.assign("numerator", &term),
                    _ => text.assign(
                        "numerator",
                        &add(mulmod(atom("numerator"), atom("d")), mulmod(atom("zero"), term)),
                    ),
                }
            }
            match place {
                0 => text.line("zero := d"),
                _ => text.assign("zero", &mulmod(atom("zero"), atom("d"))),
            }
        }
        // A factor of the equation must be below r, a denominator need not.
        if i == 0 {
            text.line("mstore(ZERO_0, mod(zero, r))");
        } else {
            text.line(format!("mstore(INV_ZERO_{i}, zero)"));
        }
        if set.rotations.len() > 1 {
            text.line(format!("mstore(VALUE_{i}, numerator)"));
        }
    }
    text.end_step();
}

/// `ω^i x` for a set's next rotation, from the one before.
fn point(shape: &Shape, set: &OpeningSet, place: usize) -> Expr {
    let rotation = set.rotations[place];
    let (from, steps) = match place {
        0 => ("x", rotation),
        _ => ("point", rotation - set.rotations[place - 1]),
    };
    match steps {
        0 => atom(from),
        1 => mulmod(atom(from), atom("OMEGA")),
        _ => mulmod(atom(from), literal(shape.omega_to(steps))),
    }
}

/// `1 / Π (ω^i - ω^j)` over the other rotations.
fn weight(shape: &Shape, set: &OpeningSet, rotation: i32) -> Fr {
    let here = shape.omega_to(rotation);
    let others = set.rotations.iter().filter(|other| **other != rotation);
    let product: Fr = others.map(|other| here - shape.omega_to(*other)).product();
    product.invert().expect("rotations are distinct rows")
}

/// A set's values at one rotation, folded: one of them is itself, more are in the variable `value`.
fn folded(text: &mut Text, memory: &Memory, set: &OpeningSet, place: usize) -> Expr {
    let mut values = set.members.iter().rev().map(|(_, values)| match values[place] {
        Value::Proof(scalar) => mload(memory.scalars[scalar].clone()),
        Value::Quotient => mload("QUOTIENT"),
    });
    let last = values.next().expect("a set has a member");
    if set.members.len() == 1 {
        return last;
    }
    text.assign("value", &last);
    for value in values {
        text.assign("value", &add(mulmod(atom("value"), atom("fold")), value));
    }
    atom("value")
}

/// Steps after the inversion: factors and values.
pub(super) fn weights(text: &mut Text, shape: &Shape, memory: &Memory) {
    text.comment(
        "///",
        "@dev κ = v^S Z_0(u) / Z_S(u) of each set S, and the sum of all κ r(u).",
    );
    text.step("_weigh");
    text.line("let fold := mload(FOLD)");
    text.line("let zero := mload(ZERO_0)");
    text.line("let values := 0");
    text.line("let kappa");
    text.line("let value");
    text.line("let power := 0");
    if shape.sets.iter().any(|set| set.rotations.len() > 1) {
        text.line("let overX := mload(INV_X)");
    }
    for (i, set) in shape.sets.iter().enumerate() {
        text.line(format!("// Set {i}"));
        let mut value = match set.rotations.len() {
            1 => folded(text, memory, set, 0),
            count => {
                power(text, "power", "overX", count - 1);
                mulmod(mload(format!("VALUE_{i}")), atom("power"))
            }
        };
        if i > 0 {
            text.assign("zero", &mulmod(atom("zero"), mload("V")));
            text.assign("kappa", &mulmod(atom("zero"), mload(format!("INV_ZERO_{i}"))));
            text.line(format!("mstore(KAPPA_{i}, kappa)"));
            value = mulmod(atom("kappa"), value);
        }
        text.assign(
            "values",
            &Expr::Call("addmod", vec![atom("values"), value, atom("r")]),
        );
    }
    text.line("mstore(VALUES, values)");
    text.end_step();
}

/// A commitment where it is added.
enum Point {
    Memory(String),
    Constant(G1Affine),
}

/// The sum of points on the left of the pairing, in `SUM`.
pub(super) fn sum_of_points(text: &mut Text, shape: &Shape, memory: &Memory) {
    text.comment(
        "///",
        "@dev Σ κ (C - r(u)) - Z_0(u) W + u W', with C a set's commitments folded, from the last one down: C := fold · C + next. The \
         quotient's commitment is its pieces', folded by x^n. Points are on the curve: no call fails but for want of gas.",
    );
    text.open("function _sumPoints(uint256 r) private view returns (bool ok) {");
    text.open("assembly (\"memory-safe\") {");
    text.line("ok := 1");
    text.line("let fold := mload(FOLD)");
    text.line("// The quotient.");
    let first = shape.points.first_quotient();
    let pieces = (first..first + shape.points.quotient).rev();
    for (i, piece) in pieces.enumerate() {
        let point = Point::Memory(memory.points[piece].clone());
        if i == 0 {
            place(text, "TERM", &point);
        } else {
            multiply(text, "mload(X_TO_N)");
            add_next(text, &point);
        }
    }
    text.line("mcopy(H, TERM, 0x40)");
    for (i, set) in shape.sets.iter().enumerate() {
        text.line(format!("// Set {i}"));
        for (j, (base, _)) in set.members.iter().rev().enumerate() {
            let point = match *base {
                Base::Proof(i) => Point::Memory(memory.points[i].clone()),
                Base::Quotient => Point::Memory("H".to_owned()),
                Base::Key(i) => Point::Constant(shape.commitments[i]),
            };
            if j == 0 {
                place(text, "TERM", &point);
            } else {
                multiply(text, "fold");
                add_next(text, &point);
            }
        }
        if i == 0 {
            text.line("mcopy(SUM, TERM, 0x40)");
        } else {
            join(text, &format!("mload(KAPPA_{i})"));
        }
    }
    for (what, point, factor) in [
        (
            "- Σ κ r(u) G",
            Point::Constant(G1Affine::generator()),
            "sub(r, mload(VALUES))",
        ),
        (
            "- Z_0(u) W",
            Point::Memory("W".to_owned()),
            "sub(r, mload(ZERO_0))",
        ),
        ("u W'", Point::Memory("W_AT_U".to_owned()), "mload(U)"),
    ] {
        text.line(format!("// {what}"));
        place(text, "TERM", &point);
        join(text, factor);
    }
    text.end_step();
}

/// Writes a point into the two words from `to`.
fn place(text: &mut Text, to: &str, point: &Point) {
    match point {
        Point::Memory(from) => text.line(format!("mcopy({to}, {from}, 0x40)")),
        Point::Constant(point) => {
            let [x, y] = coordinates(point);
            text.line(format!("mstore({to}, {x})"));
            text.line(format!("mstore(add({to}, 0x20), {y})"));
        }
    }
}

/// Multiplies the term.
pub(super) fn multiply(text: &mut Text, factor: &str) {
    text.line(format!("mstore(NEXT, {factor})"));
    text.line("ok := and(ok, staticcall(gas(), 0x07, TERM, 0x60, TERM, 0x40))");
}

/// Adds a point to the term.
fn add_next(text: &mut Text, point: &Point) {
    place(text, "NEXT", point);
    text.line("ok := and(ok, staticcall(gas(), 0x06, TERM, 0x80, TERM, 0x40))");
}

/// Adds a multiple of the term to the sum.
pub(super) fn join(text: &mut Text, factor: &str) {
    multiply(text, factor);
    text.line("ok := and(ok, staticcall(gas(), 0x06, SUM, 0x80, SUM, 0x40))");
}

/// A point's coordinates as literals; the identity is zeros, as the precompiles have it.
fn coordinates(point: &G1Affine) -> [String; 2] {
    match Option::from(point.coordinates()) {
        Some(coordinates) => {
            let coordinates: halo2curves::Coordinates<G1Affine> = coordinates;
            [coordinates.x(), coordinates.y()].map(|of| hex(of.to_repr().as_ref()))
        }
        None => ["0".to_owned(), "0".to_owned()],
    }
}
