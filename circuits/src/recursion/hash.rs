//! The transcript's Poseidon (P-8.6) in cells: a round's inputs, with their constants added, and the squares of those that pass an S-box.

use std::sync::OnceLock;

use halo2curves::{bn256::Fr, ff::Field};

use super::{
    config::{Gate, PARTIAL, PARTIAL_CELLS},
    sheet::{Sheet, Var},
};
use crate::plonk::arithmetic::WIDTH;
use rules::poseidon::{self, Spec};

type State = [Fr; WIDTH];

/// Round constants, moved so that a partial round adds one.
pub(super) struct Constants {
    /// Of the full rounds in order; of the first partial round.
    pub full: Vec<State>,
    pub first_partial: State,
    /// Behind the S-box of each partial round.
    pub behind: Vec<Fr>,
}

pub(super) fn constants() -> &'static Constants {
    static CONSTANTS: OnceLock<Constants> = OnceLock::new();
    CONSTANTS.get_or_init(|| {
        let spec = poseidon::spec3();
        let inverse = inverse(&spec.mds);
        let half = spec.full_rounds / 2;
        let (before, rest) = spec.round_constants.split_at(half);
        let (partial, after) = rest.split_at(spec.partial_rounds);
        let mut after = after.to_vec();
        // Constants behind a round's mix are others before it. Elements 1 and 2 pass no S-box, so theirs join the round's own.
        let mut carried = std::mem::take(&mut after[0]);
        let mut behind = vec![];
        for own in partial.iter().rev() {
            let moved = multiply(&inverse, &carried);
            behind.push(moved[0]);
            carried = std::array::from_fn(|i| own[i] + if i == 0 { Fr::ZERO } else { moved[i] });
        }
        behind.reverse();
        Constants {
            full: [before, &after].concat(),
            first_partial: carried,
            behind,
        }
    })
}

fn multiply(matrix: &[State; WIDTH], state: &State) -> State {
    matrix.map(|row| row.iter().zip(state).map(|(a, b)| a * b).sum())
}

/// The inverse of a matrix of three rows, by its cofactors.
fn inverse(of: &[State; WIDTH]) -> [State; WIDTH] {
    let minor = |i: usize, j: usize| {
        let [a, b, c, d] =
            [(1, 1), (2, 2), (1, 2), (2, 1)].map(|(k, l)| of[(i + k) % WIDTH][(j + l) % WIDTH]);
        a * b - c * d
    };
    let determinant: Fr = (0..WIDTH).map(|j| of[0][j] * minor(0, j)).sum();
    let scale = determinant.invert().expect("the mix can be undone");
    std::array::from_fn(|i| std::array::from_fn(|j| minor(j, i) * scale))
}

impl Sheet {
    /// The permutation, between states to which the first round's constants are added.
    pub fn permutation(&mut self, state: &[Var; WIDTH]) -> [Var; WIDTH] {
        let spec = poseidon::spec3();
        let constants = constants();
        let half = spec.full_rounds / 2;
        let mut inputs = state.map(|input| self.copy(&input));
        for round in 0..half {
            let next = constants.full.get(round + 1).filter(|_| round + 1 < half);
            inputs = self.full_round(spec, &inputs, next.unwrap_or(&constants.first_partial));
        }
        for behind in constants.behind.chunks(PARTIAL) {
            inputs = self.partial_rounds(spec, &inputs, behind);
        }
        for round in half..spec.full_rounds {
            let next = constants.full.get(round + 1).unwrap_or(&constants.full[0]);
            inputs = self.full_round(spec, &inputs, next);
        }
        inputs
    }

    fn full_round(&mut self, spec: &Spec<WIDTH>, inputs: &[Var; WIDTH], next: &State) -> [Var; WIDTH] {
        let row = inputs[0].row;
        self.enable(Gate::Full, row);
        let outputs = inputs.map(|input| power(self, &input));
        let mixed = multiply(&spec.mds, &outputs);
        std::array::from_fn(|i| {
            self.set_added(row + i, next[i]);
            self.witness(mixed[i] + next[i])
        })
    }

    fn partial_rounds(&mut self, spec: &Spec<WIDTH>, inputs: &[Var; WIDTH], behind: &[Fr]) -> [Var; WIDTH] {
        assert_eq!(behind.len(), PARTIAL, "one gate's rounds");
        let row = inputs[0].row;
        self.enable(Gate::Partial, row);
        let mut state = inputs.map(|input| input.value);
        let mut first = inputs[0];
        for (round, behind) in behind.iter().enumerate() {
            self.set_added(row + round, *behind);
            state[0] = power(self, &first) + behind;
            state = multiply(&spec.mds, &state);
            if round + 1 < PARTIAL {
                first = self.witness(state[0]);
            }
        }
        let outputs = state.map(|value| self.witness(value));
        debug_assert_eq!(self.row(), row + PARTIAL_CELLS);
        outputs
    }
}

/// Lays out the square of an S-box's input; its output.
fn power(sheet: &mut Sheet, input: &Var) -> Fr {
    let square = input.value.square();
    sheet.witness(square);
    square.square() * input.value
}
