//! The first steps: copy instances and proof, check every element, draw the challenges.

use circuits::plonk::Shape;

use super::{
    Accumulator,
    memory::{Memory, Stretch, WORD},
    yul::{Expr, Text, atom, literal, mload},
};

/// Checks of one loop's body: what the loop itself costs is shared by so many at most.
const UNROLLED_MAX: usize = 10;
/// Coordinates of the accumulator: of `lhs`, then of `rhs`.
const COORDINATES: [&str; 4] = ["LHS_X", "LHS_Y", "RHS_X", "RHS_Y"];

/// Names the words of these steps.
pub(super) fn allocate(memory: &mut Memory) {
    const CHALLENGES: &str = "Challenges";
    for stretch in memory.stretches.clone() {
        for challenge in stretch.challenges {
            memory.allocate(CHALLENGES, *challenge, 1, "");
        }
    }
    for coordinate in COORDINATES {
        memory.allocate("The accumulator", coordinate, 1, "");
    }
}

/// Copies instances and proof to where they are hashed.
pub(super) fn load(text: &mut Text, shape: &Shape, memory: &Memory) {
    text.comment(
        "///",
        "@dev Copies instances and proof into memory, each part of the proof to where it is hashed.",
    );
    text.open("function _load(bytes calldata proof, uint256[] calldata instances) private pure {");
    text.open("assembly (\"memory-safe\") {");
    for (i, stretch) in memory.stretches.iter().enumerate() {
        if i == 0 {
            text.line(format!("mstore({:#x}, KEY)", stretch.at));
            let (to, bytes) = (stretch.elements(), WORD * shape.instances);
            text.line(format!("calldatacopy({to:#x}, instances.offset, {bytes:#x})"));
        }
        if stretch.proof_bytes > 0 {
            let (to, from, bytes) = (stretch.proof(), stretch.proof_at, stretch.proof_bytes);
            text.line(format!(
                "calldatacopy({to:#x}, add(proof.offset, {from:#x}), {bytes:#x})"
            ));
        }
    }
    text.end_step();
}

/// Checks that every element has its one encoding.
pub(super) fn canonical(text: &mut Text, memory: &Memory, accumulator: &Accumulator) {
    text.comment(
        "///",
        "@dev Whether every element is canonical: instances and evaluations below R, coordinates below Q, points on the curve y² = \
         x³ + 3 (which the point at infinity, written as zeros, is not), the accumulator's limbs within their bits.",
    );
    text.open("function _isCanonical(uint256 r) private pure returns (bool ok) {");
    text.open("assembly (\"memory-safe\") {");
    text.open("function areOnCurve(at, end) -> all {");
    text.line("let q := Q");
    text.line("all := 1");
    text.open("for { } lt(at, end) { at := add(at, 0x40) } {");
    text.line("let x := mload(at)");
    text.line("let y := mload(add(at, 0x20))");
    text.line("let isBelow := and(lt(x, q), lt(y, q))");
    text.line("let cube := mulmod(mulmod(x, x, q), x, q)");
    text.line("all := and(all, and(isBelow, eq(mulmod(y, y, q), addmod(cube, 3, q))))");
    text.close();
    text.close();
    text.line("ok := 1");
    text.comment("//", "Instances.");
    let first = &memory.stretches[0];
    below_r(text, first.elements(), first.instances);
    text.comment("//", "Evaluations.");
    let evaluations = &memory.stretches[4];
    below_r(text, evaluations.proof(), evaluations.proof_bytes / WORD);
    text.comment("//", "Points.");
    for stretch in memory
        .stretches
        .iter()
        .filter(|stretch| !stretch.points.is_empty())
    {
        let (from, to) = (stretch.proof(), stretch.proof() + stretch.proof_bytes);
        text.line(format!("ok := and(ok, areOnCurve({from:#x}, {to:#x}))"));
    }
    text.comment("//", "The accumulator: limbs, lowest first, to coordinates.");
    limbs(text, accumulator);
    text.line(format!(
        "ok := and(ok, areOnCurve({}, add({}, 0x80)))",
        COORDINATES[0], COORDINATES[0]
    ));
    text.end_step();
}

fn below_r(text: &mut Text, from: usize, count: usize) {
    let unrolled = (1..=UNROLLED_MAX.min(count))
        .rev()
        .find(|by| count.is_multiple_of(*by))
        .unwrap_or(1);
    // Where no number of checks divides them all, those that are left over come first.
    let unrolled = if unrolled == 1 {
        UNROLLED_MAX.min(count)
    } else {
        unrolled
    };
    let loose = count % unrolled;
    for i in 0..loose {
        is_below(text, &format!("{:#x}", from + WORD * i));
    }
    let (start, end, step) = (from + WORD * loose, from + WORD * count, WORD * unrolled);
    text.open(format!(
        "for {{ let at := {start:#x} }} lt(at, {end:#x}) {{ at := add(at, {step:#x}) }} {{"
    ));
    is_below(text, "at");
    for i in 1..unrolled {
        is_below(text, &format!("add(at, {:#x})", WORD * i));
    }
    text.close();
}

fn is_below(text: &mut Text, place: &str) {
    text.line(format!("ok := and(ok, lt(mload({place}), r))"));
}

fn limbs(text: &mut Text, accumulator: &Accumulator) {
    for (i, coordinate) in COORDINATES.iter().enumerate() {
        let first = accumulator.first + i * accumulator.limb_bits.len();
        let mut shift = 0;
        let mut value = None;
        for (limb, bits) in accumulator.limb_bits.iter().enumerate() {
            let name = mload(format!("I{}", first + limb));
            // What a word cannot hold exceeds every coordinate.
            let bits = (*bits).min(256 - shift);
            text.line(format!(
                "ok := and(ok, iszero(shr({bits}, mload(I{}))))",
                first + limb
            ));
            let shifted = match shift {
                0 => name,
                _ => Expr::Call("shl", vec![atom(shift.to_string()), name]),
            };
            value = Some(match value {
                None => shifted,
                Some(sum) => Expr::Call("add", vec![sum, shifted]),
            });
            shift += bits;
        }
        text.store(coordinate, &value.expect("a coordinate has limbs"));
    }
}

/// Draws the challenges.
pub(super) fn challenges(text: &mut Text, memory: &Memory) {
    text.comment(
        "///",
        "@dev The challenges. Each is a hash of the hash before it and of what the proof says in between, modulo R; where it says \
         nothing, a byte 1 stands for it. The first hash begins with the key's own.",
    );
    text.step("_drawChallenges");
    text.line("let hash");
    let next = memory.stretches.iter().skip(1).map(Some).chain([None]);
    for (stretch, next) in memory.stretches.iter().zip(next) {
        draw(text, stretch);
        if let Some(next) = next {
            text.line(format!("mstore({:#x}, hash)", next.at));
        }
    }
    text.end_step();
}

fn draw(text: &mut Text, stretch: &Stretch) {
    for (i, challenge) in stretch.challenges.iter().enumerate() {
        if i == 0 && stretch.bytes() > WORD {
            text.line(format!(
                "hash := keccak256({:#x}, {:#x})",
                stretch.at,
                stretch.bytes()
            ));
        } else {
            // The first two words of memory are anybody's.
            text.line("mstore(0x00, hash)");
            text.line("mstore8(0x20, 1)");
            text.line("hash := keccak256(0x00, 0x21)");
        }
        text.line(format!("mstore({challenge}, mod(hash, r))"));
    }
}

/// The key's digest, which every transcript begins with.
pub(super) fn constants(text: &mut Text, shape: &Shape) {
    text.comment("///", "@dev What every transcript begins with: the key's digest.");
    let mut line = Text::default();
    line.assign("KEY", &literal(shape.digest));
    let value = line.finish();
    let value = value.trim().trim_start_matches("KEY := ");
    text.line(format!("uint256 private constant KEY = {value};"));
}
