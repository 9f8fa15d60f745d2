//! The transcript's Poseidon (P-8.6) in cells: a round's inputs, with their constants added, and the squares of those that pass an S-box.

use halo2curves::{bn256::Fr, ff::Field};

use super::{
    config::Gate,
    sheet::{Sheet, Var},
};
use crate::{plonk::arithmetic::WIDTH, poseidon};

impl Sheet {
    /// The permutation.
    pub fn permutation(&mut self, state: &[Var; WIDTH]) -> [Var; WIDTH] {
        let spec = poseidon::spec3();
        let added: [Var; WIDTH] = std::array::from_fn(|i| {
            let [constant, one] = [spec.round_constants[0][i], Fr::ONE].map(|value| self.constant(value));
            self.mul_add(&state[i], &constant, &one)
        });
        let mut inputs = added.map(|input| self.copy(&input));
        for round in 0..spec.rounds() {
            let (gate, boxes) = if spec.is_full_round(round) {
                (Gate::Full, WIDTH)
            } else {
                (Gate::Partial, 1)
            };
            let row = inputs[0].cell.row;
            self.enable(gate, row);
            let mut outputs = inputs.map(|input| input.value);
            for output in &mut outputs[..boxes] {
                let square = output.square();
                self.witness(square);
                *output *= square.square();
            }
            let next = spec.round_constants.get(round + 1);
            let next = next.copied().unwrap_or([Fr::ZERO; WIDTH]);
            inputs = std::array::from_fn(|i| {
                self.set_added(row + i, next[i]);
                let mixed: Fr = (0..WIDTH).map(|j| spec.mds[i][j] * outputs[j]).sum();
                self.witness(mixed + next[i])
            });
        }
        inputs
    }
}
