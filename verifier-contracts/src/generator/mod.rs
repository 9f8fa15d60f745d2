//! Our own generator: a verifying key to a Solidity contract that verifies proofs under it.
//!
//! | file | what |
//! |---|---|
//! | `memory` | where the contract keeps what, and the names of it |
//! | `transcript` | reading, checking, challenges |
//! | `lagrange` | the rows at `x`; the one inversion |
//! | `polynomials`, `constraints` | gates, permutation, lookups at `x` |
//! | `shplonk` | the opening scheme |
//! | `yul` | expressions and text |
//!
//! What it renders is `circuits::plonk`'s equation, step for step; `tests/differential.rs` holds the two to each other.

mod constraints;
mod lagrange;
mod memory;
mod polynomials;
mod shplonk;
mod transcript;
mod yul;

use alloy::primitives::{B256, keccak256};
use circuits::plonk::Shape;
use halo2curves::{
    bn256::{Fq2, Fr, G1Affine, G2Affine},
    ff::{Field, PrimeField},
};
use srs::OpeningKey;

use halo2_proofs::plonk::ConstraintSystem;

use self::{
    constraints::NamedGate,
    memory::{Memory, WORD},
    yul::{Text, hex, literal},
};

/// Where the instances hold the accumulator that the proof's own pairing is joined with: from instance `first` on, the
/// coordinates lhs.x, lhs.y, rhs.x, rhs.y, each in limbs of so many bits, lowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accumulator {
    /// Place of the first limb.
    pub first: usize,
    /// Bits of each limb of a coordinate.
    pub limb_bits: Vec<usize>,
}

/// A gate's name, and those of its polynomials. A verifying key has none; its circuit does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateNames {
    /// The gate's.
    pub name: String,
    /// Of each polynomial in order; empty where it has none.
    pub constraints: Vec<String>,
}

impl GateNames {
    /// The names of a constraint system's gates.
    pub fn of(cs: &ConstraintSystem<Fr>) -> Vec<Self> {
        let gates = cs.gates().iter().map(|gate| Self {
            name: gate.name().to_owned(),
            constraints: (0..gate.polynomials().len())
                .map(|i| gate.constraint_name(i).to_owned())
                .collect(),
        });
        gates.collect()
    }
}

/// What a verifier is made from.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// What the verifying key fixes.
    pub shape: &'a Shape,
    /// Names of its gates.
    pub gates: &'a [GateNames],
    /// The reference string's points.
    pub opening: &'a OpeningKey,
    /// A name for each instance.
    pub instances: &'a [&'a str],
    /// Where they hold the accumulator.
    pub accumulator: &'a Accumulator,
    /// Operations of the queue for which a batch under the key has room (P-7.1).
    pub queue_capacity: u64,
}

/// A rendered verifier.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The contract's source, which imports `IVerifier.sol`.
    pub solidity: String,
    /// What `vkDigest()` answers.
    pub vk_digest: B256,
    /// What `queueCapacity()` answers.
    pub queue_capacity: u64,
    /// Bytes of a proof.
    pub proof_bytes: usize,
}

/// The contract's name.
pub const CONTRACT: &str = "RootVerifier";

/// Renders the verifier of a key. `head` is written above it, a comment line each.
pub fn render(key: &Key<'_>, head: &[String]) -> Rendered {
    let shape = key.shape;
    let mut memory = Memory::new(shape, key.instances);
    transcript::allocate(&mut memory);
    let opening = shplonk::allocate(&mut memory, shape);
    let inverses = lagrange::allocate(&mut memory, shape, opening);
    let gates = NamedGate::all(shape, key.gates);
    constraints::allocate(&mut memory, &gates);
    let (steps, temporaries) = constraints::steps(shape, &gates, &memory);
    for word in 0..temporaries {
        memory.allocate("Values that several constraints share", format!("T{word}"), 1, "");
    }
    memory.allocate("The pairing's input", "PAIRING", 12, "");

    let vk_digest = digest(key);
    let mut text = Text::default();
    head.iter().for_each(|line| text.line(format!("// {line}")));
    text.line("// SPDX-License-Identifier: MIT OR Apache-2.0");
    text.line("pragma solidity 0.8.37;");
    text.line("");
    text.line("import {IVerifier} from \"./IVerifier.sol\";");
    text.line("");
    text.comment("///", TITLE);
    text.comment("///", NOTES);
    text.open(format!("contract {CONTRACT} is IVerifier {{"));
    constants(&mut text, key, &memory, vk_digest);
    verify(&mut text, &steps);
    transcript::load(&mut text, shape, &memory);
    transcript::canonical(&mut text, &memory, key.accumulator);
    transcript::challenges(&mut text, &memory);
    lagrange::denominators(&mut text, shape);
    lagrange::invert(&mut text, &inverses);
    lagrange::rows(&mut text, shape);
    for step in steps {
        text.append(step.text);
    }
    shplonk::first_set(&mut text, shape, &memory);
    shplonk::weights(&mut text, shape, &memory);
    shplonk::sums_of_points(&mut text, shape, &memory);
    pairing(&mut text, key.opening);
    text.trim();
    text.close();
    Rendered {
        solidity: text.finish(),
        vk_digest,
        queue_capacity: key.queue_capacity,
        proof_bytes: memory.proof_bytes(),
    }
}

const TITLE: &str = "@title Verifies root proofs under one key: halo2's PLONK with SHPLONK and KZG on BN254.";
const NOTES: &str = "@dev One function a step, in the order of `verify`. They pass values in memory, at places with names; `r` is the modulus R on the \
     stack. Values below R are added without reduction where the sum is at most 5 R, which a word holds: mulmod and addmod take any \
     words. Challenges have halo2's names.";

/// The key's digest: everything that the contract has of it.
fn digest(key: &Key<'_>) -> B256 {
    let mut bytes = be(&key.shape.digest);
    for point in &key.shape.commitments {
        let [x, y] = g1_words(point);
        bytes.extend(x.into_iter().chain(y));
    }
    for point in [&key.opening.g2, &key.opening.s_g2] {
        g2_words(point).into_iter().for_each(|word| bytes.extend(word));
    }
    let numbers = [key.shape.instances, key.accumulator.first];
    for number in numbers.iter().chain(&key.accumulator.limb_bits) {
        bytes.extend((*number as u64).to_be_bytes());
    }
    keccak256(bytes)
}

fn be<F: PrimeField<Repr = [u8; 32]>>(value: &F) -> Vec<u8> {
    value.to_repr().into_iter().rev().collect()
}

fn g1_words(point: &G1Affine) -> [Vec<u8>; 2] {
    [be(&point.x), be(&point.y)]
}

/// As the pairing's precompile has them: x, then y, of each the imaginary part first.
fn g2_words(point: &G2Affine) -> [Vec<u8>; 4] {
    let [x, y]: [Fq2; 2] = [point.x, point.y];
    [be(&x.c1), be(&x.c0), be(&y.c1), be(&y.c0)]
}

fn constants(text: &mut Text, key: &Key<'_>, memory: &Memory, vk_digest: B256) {
    let shape = key.shape;
    text.line("/// @inheritdoc IVerifier");
    text.line(format!("bytes32 public constant vkDigest = {vk_digest:#x};"));
    text.line("/// @inheritdoc IVerifier");
    text.line(format!(
        "uint256 public constant queueCapacity = {};",
        key.queue_capacity
    ));
    text.line("");
    text.line("/// @dev Order of the curve: the modulus of instances and evaluations.");
    text.line(format!(
        "uint256 private constant R = {};",
        lagrange::modulus_times(1)
    ));
    for multiple in 2..=polynomials::BOUND_MAX as u8 {
        let value = lagrange::modulus_times(multiple);
        text.line(format!("uint256 private constant R{multiple} = {value};"));
    }
    text.line("/// @dev Modulus of the points' coordinates.");
    let q = {
        let mut bytes = (-halo2curves::bn256::Fq::ONE).to_repr();
        // q is odd.
        bytes[0] += 1;
        hex(&bytes)
    };
    text.line(format!("uint256 private constant Q = {q};"));
    text.line("/// @dev The root of unity that generates the rows' domain.");
    text.line(format!(
        "uint256 private constant OMEGA = {};",
        literal_text(shape.omega)
    ));
    transcript::constants(text, shape);
    text.line("/// @dev Gas for a sum or multiple of points: far above its price, far below the pairing's.");
    text.line("uint256 private constant CALL_GAS = 50000;");
    text.line("/// @dev Bytes of a proof, and number of instances.");
    text.line(format!(
        "uint256 private constant PROOF_BYTES = {};",
        memory.proof_bytes()
    ));
    text.line(format!(
        "uint256 private constant INSTANCES = {};",
        shape.instances
    ));
    text.line("");
    text.line("// Places in memory.");
    for (section, names) in &memory.sections {
        text.line("");
        text.comment("//", *section);
        for name in names {
            let comment = if name.meaning.is_empty() {
                String::new()
            } else {
                format!(" // {}", name.meaning)
            };
            text.line(format!(
                "uint256 private constant {} = {:#x};{comment}",
                name.name, name.at
            ));
        }
    }
    text.line("");
}

fn literal_text(value: Fr) -> String {
    match literal(value) {
        yul::Expr::Atom(text) => text,
        yul::Expr::Call(..) => unreachable!("a literal is an atom"),
    }
}

fn verify(text: &mut Text, steps: &[constraints::Step]) {
    text.line("/// @inheritdoc IVerifier");
    text.open(
        "function verify(bytes calldata proof, uint256[] calldata instances) external view returns (uint256) {",
    );
    text.line("if (proof.length != PROOF_BYTES || instances.length != INSTANCES) return 0;");
    text.line("uint256 r = R;");
    text.line("_load(proof, instances);");
    text.line("if (!_isCanonical(r)) return 0;");
    text.line("_drawChallenges(r);");
    text.line("_denominators(r);");
    text.line("if (!_invert(r)) return 0;");
    text.line("_evaluateRows(r);");
    for step in steps {
        text.line(format!("{}(r);", step.name));
    }
    text.line("_openSet0(r);");
    text.line("_weigh(r);");
    text.line("if (!_sumPoints(r)) return 0;");
    text.line("return _pair();");
    text.close();
    text.line("");
}

/// The end: both equations in one pairing.
fn pairing(text: &mut Text, opening: &OpeningKey) {
    text.comment(
        "///",
        "@dev e(SUM, g2) = e(W', s·g2) for the proof and e(lhs, g2) = e(rhs, s·g2) for the accumulator of its instances, the second times \
         ρ, which was drawn after everything: e(SUM + ρ lhs, g2) e(W' + ρ rhs, -s·g2) = 1.",
    );
    text.open("function _pair() private view returns (uint256 ok) {");
    text.open("assembly {");
    for (what, point, first) in [("g2", opening.g2, 2), ("-s·g2", -opening.s_g2, 8)] {
        text.line(format!("// {what}: x and y, the imaginary part first."));
        for (i, word) in g2_words(&point).into_iter().enumerate() {
            let little: Vec<u8> = word.into_iter().rev().collect();
            text.line(format!(
                "mstore(add(PAIRING, {:#x}), {})",
                WORD * (first + i),
                hex(&little)
            ));
        }
    }
    text.line("ok := staticcall(gas(), 0x08, PAIRING, 0x180, PAIRING, 0x20)");
    text.line("ok := and(ok, eq(mload(PAIRING), 1))");
    text.end_step();
}
