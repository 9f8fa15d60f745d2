//! The first steps: copy instances and proof, check every element, draw the challenges.

use circuits::plonk::Shape;
use halo2curves::{bn256::Fr, ff::PrimeField};

use super::{
    Accumulator,
    memory::{Memory, Stretch, WORD},
    yul::{Expr, Text, atom, literal, mload},
};

/// Columns that the conditions of one statement may take.
const CONDITIONS_WIDTH: usize = 80;
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
    text.open("assembly {");
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
        "@dev Whether every scalar is canonical: instances and evaluations below R, the accumulator's limbs within their bits. Of points it is seen \
         here that none is the one at infinity, which is written as zeros: no other of the curve has y = 0. That coordinates are below Q and on \
         the curve y² = x³ + 3 is for the precompiles to check, which _sumPoints gives every point as it is.",
    );
    text.open("function _isCanonical(uint256 r) private pure returns (bool ok) {");
    text.open("assembly {");
    text.line("ok := 1");
    text.line("// Instances.");
    let limbs = accumulator.first..accumulator.first + COORDINATES.len() * accumulator.limb_bits.len();
    let below_r = |name: &str| format!("lt(mload({name}), r)");
    let instances = (0..memory.stretches[0].instances).filter(|i| !limbs.contains(i));
    check(text, instances.map(|i| below_r(&format!("I{i}"))));
    text.line("// Evaluations.");
    check(text, memory.scalars.iter().map(|name| below_r(name)));
    text.line("// The accumulator: limbs, lowest first, to coordinates.");
    coordinates(text, accumulator);
    text.line("// Points.");
    let ordinates = memory.points.iter().map(|name| format!("add({name}, 0x20)"));
    let ordinates = ordinates.chain(["LHS_Y", "RHS_Y"].map(str::to_owned));
    check(text, ordinates.map(|y| format!("gt(mload({y}), 0)")));
    text.end_step();
}

/// Checks several conditions, as many a statement as fit a line: they stay on the stack.
fn check(text: &mut Text, conditions: impl Iterator<Item = String>) {
    let mut line: Vec<String> = vec![];
    for condition in conditions {
        let width: usize = line.iter().map(|of| of.len() + "and(, )".len()).sum();
        if !line.is_empty() && width + condition.len() > CONDITIONS_WIDTH {
            all_of(text, &std::mem::take(&mut line));
        }
        line.push(condition);
    }
    all_of(text, &line);
}

fn all_of(text: &mut Text, conditions: &[String]) {
    let all = conditions.iter().rev();
    let all = all.fold("ok".to_owned(), |all, one| format!("and({one}, {all})"));
    text.line(format!("ok := {all}"));
}

fn coordinates(text: &mut Text, accumulator: &Accumulator) {
    for (i, coordinate) in COORDINATES.iter().enumerate() {
        let first = accumulator.first + i * accumulator.limb_bits.len();
        let mut shift = 0;
        let mut value = None;
        let mut conditions = vec![];
        for (limb, bits) in accumulator.limb_bits.iter().enumerate() {
            let name = mload(format!("I{}", first + limb));
            // What a word cannot hold exceeds every coordinate.
            let bits = (*bits).min(256 - shift);
            assert!(bits < Fr::NUM_BITS as usize, "a limb within its bits is below R");
            conditions.push(format!("iszero(shr({bits}, mload(I{})))", first + limb));
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
        check(text, conditions.into_iter());
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
