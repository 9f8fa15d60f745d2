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

/// How a set's factor is made of the first set's points: `Z_0(u) / Z_S(u)` is the product over the first set's own points, divided by that
/// over this set's own.
struct Quotient {
    /// So many of the first set's rotations, in the order of [`first_rotations`], are not this set's.
    prefix: usize,
    /// Those after them that are not this set's either.
    extra: Vec<i32>,
    /// Rotations of this set that the first has not.
    inverted: Vec<i32>,
}

impl Quotient {
    fn of(shape: &Shape, set: &OpeningSet) -> Self {
        let order = first_rotations(shape);
        let is_own = |rotation: &&i32| !set.rotations.contains(rotation);
        let prefix = order.iter().take_while(is_own).count();
        let extra = order[prefix..].iter().filter(is_own).copied();
        let inverted = set.rotations.iter().filter(|at| !order.contains(at));
        Self {
            prefix,
            extra: extra.collect(),
            inverted: inverted.copied().collect(),
        }
    }
}

/// The first set's rotations, those first that fewest other sets have: then products that are made on the way serve these sets.
fn first_rotations(shape: &Shape) -> Vec<i32> {
    let mut order = shape.sets[0].rotations.clone();
    let having = |at: &i32| shape.sets.iter().filter(|set| set.rotations.contains(at)).count();
    order.sort_by_key(|at| (having(at), -at));
    order
}

/// Rotations whose points' differences from `u` are divided by.
fn inverted(shape: &Shape) -> Vec<i32> {
    let sets = shape.sets.iter();
    let mut all: Vec<i32> = sets.flat_map(|set| Quotient::of(shape, set).inverted).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn inverse_name(rotation: i32) -> String {
    match rotation {
        0 => "INV_AT_X".to_owned(),
        1.. => format!("INV_NEXT_{rotation}"),
        _ => format!("INV_BACK_{}", -rotation),
    }
}

/// Names the words of these steps. Returns what is to be inverted, with its meaning.
pub(super) fn allocate(memory: &mut Memory, shape: &Shape) -> Vec<(String, String)> {
    const SETS: &str = "Opening sets";
    const SUMS: &str = "Sums of points: what is summed, a term, the next point or a factor";
    memory.allocate(SETS, "U_OVER_X", 1, "");
    memory.allocate(SETS, "ZERO_0", 1, "Z(u) of set 0");
    for i in 1..shape.sets.len() {
        memory.allocate(
            SETS,
            format!("KAPPA_{i}"),
            1,
            &format!("κ of set {i}; before _weigh a product over points of set 0"),
        );
    }
    memory.allocate(SETS, "VALUES", 1, "the sum of all κ r(u)");
    memory.allocate(SUMS, "SUM", 2, "");
    memory.allocate(SUMS, "TERM", 2, "");
    memory.allocate(SUMS, "NEXT", 2, "");
    memory.allocate(SUMS, "H", 2, "the quotient's commitment");
    let mut inverses = vec![("INV_X".to_owned(), "x".to_owned())];
    inverses.extend(inverted(shape).into_iter().map(|rotation| {
        (
            inverse_name(rotation),
            format!("u less the point of rotation {rotation}"),
        )
    }));
    inverses
}

/// What the opening divides by.
pub(super) fn denominators(text: &mut Text, shape: &Shape) {
    text.line("// Of the opening.");
    text.line("mstore(INV_X, x)");
    for rotation in inverted(shape) {
        text.store(
            &inverse_name(rotation),
            &add(mload("U"), mulmod(atom("x"), literal(-shape.omega_to(rotation)))),
        );
    }
}

/// The first set: its polynomial's value, and products that the others' factors begin with.
pub(super) fn first_set(text: &mut Text, shape: &Shape, memory: &Memory) {
    let set = &shape.sets[0];
    text.comment(
        "///",
        "@dev Set 0, in s = u/x: there a point ω^i x is ω^i. With each rotation the fraction N/D of r(u)/Z(u) becomes (N d + D t) / (D d) with d = s - \
         ω^i and t = value / Π (ω^i - ω^j) over the other rotations. D, times x to the number of its factors, is a product of u - ω^i x: Z_0(u) at the \
         end, and on the way what Z_0(u) / Z_S(u) of a set S begins with.",
    );
    text.step("_openSet0");
    text.line("let s := mulmod(mload(U), mload(INV_X), r)");
    text.line("mstore(U_OVER_X, s)");
    text.line("let x := mload(X)");
    if set.members.len() > 1 {
        text.line("let fold := mload(FOLD)");
        text.line("let value");
    }
    text.line("let power");
    text.line("let product");
    let quotients: Vec<Quotient> = shape.sets.iter().map(|set| Quotient::of(shape, set)).collect();
    let mut exponent = 0;
    let order = first_rotations(shape);
    let mut after = |text: &mut Text, factors: usize| {
        let begun = (1..quotients.len()).filter(|i| quotients[*i].prefix == factors);
        let mut names: Vec<String> = begun.map(|i| format!("KAPPA_{i}")).collect();
        if factors == order.len() {
            names.push("ZERO_0".to_owned());
        }
        if names.is_empty() {
            return;
        }
        text.line(format!("// times x^{factors}"));
        raise(text, &mut exponent, factors);
        text.assign("product", &mulmod(atom("zero"), atom("power")));
        names.iter().for_each(|name| text.store(name, &atom("product")));
    };
    fraction(text, shape, memory, set, &order, Some(&mut after));
    text.line("mstore(VALUES, numerator)");
    text.end_step();
}

/// `power := x^to` from `x^from`.
fn raise(text: &mut Text, from: &mut usize, to: usize) {
    match (*from, to) {
        (0, _) => power(text, "power", "x", to),
        (before, to) => (before..to).for_each(|_| text.line("power := mulmod(power, x, r)")),
    }
    *from = to;
}

/// What is written after a factor of `Z(u)`, told how many there are.
type AfterFactor<'a> = &'a mut dyn FnMut(&mut Text, usize);

/// The fraction `r(u)/Z(u)` of a set, in variables `numerator` and `zero`, taken through its rotations in that order. `after`
/// is told of each with the number of them so far; without it the whole `Z(u)` is not made.
fn fraction(
    text: &mut Text,
    shape: &Shape,
    memory: &Memory,
    set: &OpeningSet,
    order: &[i32],
    mut after: Option<AfterFactor<'_>>,
) {
    for (taken, rotation) in order.iter().enumerate() {
        let place = set.rotations.iter().position(|at| at == rotation);
        let value = folded(text, memory, set, place.expect("a set's own rotation"));
        let term = match order.len() {
            1 => value,
            _ => mulmod(value, literal(weight(shape, set, *rotation))),
        };
        let difference = add(atom("s"), literal(-shape.omega_to(*rotation)));
        match taken {
            0 => {
                text.assign("let numerator", &term);
                text.assign("let zero", &difference);
            }
            _ => {
                let declare = if taken == 1 { "let " } else { "" };
                text.assign(&format!("{declare}d"), &difference);
                text.assign(
                    "numerator",
                    &add(mulmod(atom("numerator"), atom("d")), mulmod(atom("zero"), term)),
                );
                if taken + 1 < order.len() || after.is_some() {
                    text.assign("zero", &mulmod(atom("zero"), atom("d")));
                }
            }
        }
        if let Some(after) = &mut after {
            after(text, taken + 1);
        }
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

/// The other sets: factors and values.
pub(super) fn weights(text: &mut Text, shape: &Shape, memory: &Memory) {
    text.comment(
        "///",
        "@dev κ = v^S Z_0(u) / Z_S(u) of each other set S, and the sum of all κ r(u). Values are as in set 0.",
    );
    text.step("_weigh");
    text.line("let s := mload(U_OVER_X)");
    text.line("let fold := mload(FOLD)");
    text.line("let v := 1");
    text.line("let values := mload(VALUES)");
    text.line("let kappa");
    text.line("let value");
    for (i, set) in shape.sets.iter().enumerate().skip(1) {
        text.line(format!("// Set {i}: rotations {}", rotations(set)));
        match i {
            1 => text.line("v := mload(V)"),
            _ => text.line("v := mulmod(v, mload(V), r)"),
        }
        let Quotient {
            prefix,
            extra,
            inverted,
        } = Quotient::of(shape, set);
        let begin = match prefix {
            0 => atom("v"),
            _ => mulmod(atom("v"), mload(format!("KAPPA_{i}"))),
        };
        text.assign("kappa", &begin);
        for rotation in extra {
            let root = literal(-shape.omega_to(rotation));
            let difference = add(mload("U"), mulmod(mload("X"), root));
            text.assign("kappa", &mulmod(atom("kappa"), difference));
        }
        for rotation in inverted {
            text.assign("kappa", &mulmod(atom("kappa"), mload(inverse_name(rotation))));
        }
        text.line(format!("mstore(KAPPA_{i}, kappa)"));
        text.open("{");
        let value = match set.rotations.len() {
            1 => folded(text, memory, set, 0),
            _ => {
                fraction(text, shape, memory, set, &set.rotations, None);
                atom("numerator")
            }
        };
        text.assign(
            "values",
            &Expr::Call(
                "addmod",
                vec![atom("values"), mulmod(atom("kappa"), value), atom("r")],
            ),
        );
        text.close();
    }
    text.line("mstore(VALUES, mod(values, r))");
    text.end_step();
}

fn rotations(set: &OpeningSet) -> String {
    let rotations: Vec<String> = set.rotations.iter().map(i32::to_string).collect();
    rotations.join(", ")
}

/// A commitment where it is added.
enum Point {
    Memory(String),
    Constant(G1Affine),
}

/// The sums of points on both sides of the pairing, in its input.
pub(super) fn sums_of_points(text: &mut Text, shape: &Shape, memory: &Memory) {
    text.comment(
        "///",
        "@dev Σ κ (C - r(u)) - Z_0(u) W + u W' + ρ lhs, with C a set's commitments folded, from the last one down: C := fold · C + next, and W' + ρ rhs. \
         The quotient's commitment is its pieces', folded by x^n. The precompiles refuse a coordinate of Q or more and what is not on the curve. \
         A call that fails takes all the gas that it is given: the calls after it are given none.",
    );
    text.open("function _sumPoints(uint256 r) private view returns (bool ok) {");
    text.open("assembly {");
    text.line("let budget := CALL_GAS");
    text.line("let fold := mload(FOLD)");
    let opened = |point: usize| {
        let pieces = shape.points.first_quotient()..shape.points.first_quotient() + shape.points.quotient;
        let mut members = shape.sets.iter().flat_map(|set| &set.members);
        pieces.contains(&point) || members.any(|(base, _)| *base == Base::Proof(point))
    };
    let closing = shape.points.total() - shape.points.opening;
    for point in (0..closing).filter(|point| !opened(*point)) {
        text.line(format!("// {}: nothing opens it.", memory.points[point]));
        place(text, "TERM", &Point::Memory(memory.points[point].clone()));
        add_next(text, &Point::Memory(memory.points[point].clone()));
    }
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
    let generator = Point::Constant(G1Affine::generator());
    let [w, w_at_u, lhs, rhs] = ["W", "W_AT_U", "LHS_X", "RHS_X"].map(|name| Point::Memory(name.to_owned()));
    for (what, point, factor) in [
        ("- Σ κ r(u) G", &generator, "sub(r, mload(VALUES))"),
        ("- Z_0(u) W", &w, "sub(r, mload(ZERO_0))"),
        ("u W'", &w_at_u, "mload(U)"),
        ("ρ lhs", &lhs, "mload(RHO)"),
    ] {
        text.line(format!("// {what}"));
        place(text, "TERM", point);
        join(text, factor);
    }
    text.line("mcopy(PAIRING, SUM, 0x40)");
    text.line("// W' + ρ rhs");
    place(text, "SUM", &w_at_u);
    place(text, "TERM", &rhs);
    join(text, "mload(RHO)");
    text.line("mcopy(add(PAIRING, 0xc0), SUM, 0x40)");
    text.line("ok := gt(budget, 0)");
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
fn multiply(text: &mut Text, factor: &str) {
    text.line(format!("mstore(NEXT, {factor})"));
    text.line("budget := mul(budget, staticcall(budget, 0x07, TERM, 0x60, TERM, 0x40))");
}

/// Adds a point to the term.
fn add_next(text: &mut Text, point: &Point) {
    place(text, "NEXT", point);
    text.line("budget := mul(budget, staticcall(budget, 0x06, TERM, 0x80, TERM, 0x40))");
}

/// Adds a multiple of the term to the sum.
fn join(text: &mut Text, factor: &str) {
    multiply(text, factor);
    text.line("budget := mul(budget, staticcall(budget, 0x06, SUM, 0x80, SUM, 0x40))");
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
