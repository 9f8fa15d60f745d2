//! The aggregation circuit (section 8): the shard proofs of a batch verified in a circuit that is made for it. The equation
//! of a child's verification is [`crate::plonk`]'s, whose plain reading is the circuit's oracle.
//!
//! | file | what |
//! |---|---|
//! | `config` | columns and gates |
//! | `sheet`, `range` | cells, constants, arithmetic; digits |
//! | `modulus`, `foreign` | arithmetic modulo q: bounds and exact integers; its one gate |
//! | `scalar`, `curve` | signed digits; points, tables, sums of multiples |
//! | `hash`, `cells` | the transcript's Poseidon; the equation's scalars as cells |
//! | `circuit` | children, chain, accumulator, root instances |
//! | `batch` | the circuit of a preset, for keys and for proofs |
//!
//! # What it computes
//!
//! For each child, from its points, instances and evaluations: the challenges of its transcript, then the scalars of the
//! equation `lhs`, which a proof satisfies when `e(lhs, g₂) = e(rhs, s·g₂)`. Children are folded with a challenge each, drawn from a
//! sponge that absorbs a digest of every child's whole transcript; the scalars of the key's commitments, which all
//! children share, are added up. A child that is a recursion itself (P-8.13) has an accumulator among its instances, which is
//! folded in. What is left are two sums of multiples, `14 N` points and 20 constants for `lhs` and `N - 1` for `rhs`. The
//! transcript is the one that shard proofs have today, so that no proof of a child changes.
//!
//! # Why it is laid out so
//!
//! L1 pays for each commitment, so there is one advice column, one lookup, constants and instances come from gates and not through
//! the permutation, and seven gates share three columns of switches. A root proof has 21 curve terms: 1 advice, 3 lookup, 1
//! permutation, 1 blinding, 4 quotient, 7 fixed, 1 permuted, 2 opening, 1 generator. What L1 pays for a rotation is an
//! evaluation, a seventh of a commitment, so the one field gate reads 31 cells, and every other gate fits the same rotations.
//!
//! A single gate does all arithmetic modulo q: `λ (x2 - x) + y ∓ y2 ≡ 0`, `λ² - x - x2 - x3 ≡ 0`, `y3 = λ (x - x3) - y`. It is an addition of
//! points; with zeros in the right places it is also the reduction of an integer and, twice, the curve's equation. A y
//! occurs in it only to the first power, so a y is never made limbs of: it stays an integer modulo r and modulo m (`modulus`),
//! reduced after some thousand additions. Limbs of 51 bits are three digits of the range table, which has `2^17` rows; a product needs no
//! carries, only quotients of 119 bits. An addition reads its first point where the addition before it wrote its third.
//!
//! A sum has one accumulator for all its terms, so that doublings are shared; they are made of two additions each, which is
//! why there is no gate for them, and one of the two is an addition that was due anyway: a quarter of the terms has its windows' ends at
//! each bit. Digits are odd and signed, so that a table has 8 entries and no identity, and a scalar needs
//! no range. An entry is chosen by three bits; four windows of a scalar read one copy of the table. Weights of children have half the
//! windows (P-8.5).
//!
//! Of Poseidon's partial rounds only the S-boxes' inputs and squares are cells, and one constant a round is left, behind the S-box.
//!
//! Considered and not taken: quotients that are the heads of their own chains (4 cells an addition less; their digits lie among those of the
//! next additions, whose rotations the other gates do not fit); five windows to a choice (28 cells in a row, and the rotations have 24);
//! digits of 18 bits with quotients of six (4 cells an addition less, but y must be reduced every few additions); three limbs of 88 bits with carries (780 bits of ranges a product, against 492); four limbs of 64 bits
//! (the same cells, but m must be searched for, since `V'` overflows r for a power of two); a second lookup that reads tables (an entry for 7
//! cells and not 42, but 3 commitments more); points packed into four cells in a table (19 % fewer cells, one gate more); a zero below
//! each chain in place of the column `next` (11 % more cells, one commitment less).
//!
//! # What it costs
//!
//! ARCHITECTURE.md has the cells by part, `costs/recursion.json` each part by its label; a test holds both to the layout.
//! Two of three are the additions of `lhs`, for 14 points of each child and the 20 constants that all share.
//! An addition is 72 cells in a row of them: 24 that it lays out of the 31 that its gate reads, 20 of the digits of slope and x, 28 of its quotients; the first of a row
//! has 32 before it. Choosing an entry is 42, a digit 5. One child and two fit `2^19` rows, five
//! `2^20`, 13 `2^22`.
//!
//! # Why it is sound
//!
//! P-10.6, P-10.9 to P-10.11, with the bounds in `modulus`, which asserts them where an identity is laid out, and the weights of points in
//! `curve`, asserted for each addition. Everything else is the equation itself, the same text in the circuit and in its oracle.
//! ARCHITECTURE.md names for each clause of P-8 the gate and the tests.

mod batch;
mod cells;
mod circuit;
mod config;
mod curve;
mod foreign;
mod hash;
mod modulus;
mod range;
mod scalar;
mod sheet;
#[cfg(test)]
mod tests;

pub use batch::{AggregationError, keygen_circuit, prover_circuit};
pub use circuit::{ChildError, ChildKind, RecursionCircuit, Scope};
pub use config::RecursionConfig;
