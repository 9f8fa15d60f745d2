//! Poseidon in the lanes (P-2.1): blocks of width 9 in both, of width 6 in lane 0.

use super::config::{
    BLOCK_6, BLOCK_9, DOUBLE_ROUND_ROWS, Gate, OUT_6, OUT_9, PARTIAL_ROWS_6, PARTIAL_ROWS_9, U, X,
};
use super::sheet::{Sheet, Var};
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::poseidon::partial::{PartialRounds, Window};
use rules::poseidon::{self, Spec};
use std::sync::OnceLock;

/// Where a block of width 9 lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block9 {
    base: usize,
}

impl Block9 {
    /// First row: the capacity element.
    pub fn base(&self) -> usize {
        self.base
    }

    /// Input `i` (0 … 7) of a lane.
    pub fn input(&self, sheet: &Sheet, lane: usize, i: usize) -> Var {
        sheet.var(X[lane], self.base + 1 + i)
    }

    /// The hash in a lane.
    pub fn out(&self, sheet: &Sheet, lane: usize) -> Var {
        sheet.var(X[lane], self.base + OUT_9)
    }
}

fn partial9() -> &'static PartialRounds<9> {
    static FORMS: OnceLock<PartialRounds<9>> = OnceLock::new();
    FORMS.get_or_init(|| PartialRounds::new(poseidon::spec9()))
}

fn partial6() -> &'static PartialRounds<6> {
    static FORMS: OnceLock<PartialRounds<6>> = OnceLock::new();
    FORMS.get_or_init(|| PartialRounds::new(poseidon::spec6()))
}

/// The rows of one lane while a permutation is laid out.
struct Lane<'a> {
    sheet: &'a mut Sheet,
    lane: usize,
}

impl Lane<'_> {
    /// Puts an S-box input with its constant; returns the S-box output.
    fn sbox(&mut self, row: usize, x: Fr, constant: Fr) -> Fr {
        let input = x + constant;
        let quart = input.square().square();
        self.sheet.set(X[self.lane], row, x);
        self.sheet.set(U[self.lane], row, quart);
        quart * input
    }

    fn sboxes<const T: usize>(&mut self, row: usize, state: &[Fr; T], constants: &[Fr; T]) -> [Fr; T] {
        std::array::from_fn(|i| self.sbox(row + i, state[i], constants[i]))
    }

    /// Two full rounds of width 9 up to the outputs of the second S-box layer.
    fn double_round(&mut self, row: usize, state: &[Fr; 9], constants: [&[Fr; 9]; 2]) -> [Fr; 9] {
        let y = self.sboxes(row, state, constants[0]);
        let mixed = mix(&poseidon::spec9().mds, &y);
        std::array::from_fn(|i| {
            let input = mixed[i] + constants[1][i];
            let square = input.square();
            let (column, cell) = if i < 5 {
                (X[self.lane], row + 9 + i)
            } else {
                (U[self.lane], row + 4 + i)
            };
            self.sheet.set(column, cell, square);
            square.square() * input
        })
    }

    /// The partial rounds; `y` is the last full round's S-box output. Returns the state after them.
    fn partial<const T: usize>(&mut self, row: usize, y: &[Fr; T], forms: &PartialRounds<T>) -> [Fr; T] {
        let rounds = forms.constants.len();
        let (mut xs, mut ys) = (Vec::with_capacity(rounds), Vec::with_capacity(rounds));
        for r in 0..rounds {
            let x = if r < T {
                apply(&forms.init[r], y, &ys)
            } else {
                apply(&forms.step, &xs[r - T..], &ys[r - T..])
            };
            ys.push(self.sbox(row + r, x, forms.constants[r]));
            xs.push(x);
        }
        std::array::from_fn(|i| apply(&forms.last[i], &xs[rounds - T..], &ys[rounds - T..]))
    }
}

fn apply(form: &Window, x: &[Fr], y: &[Fr]) -> Fr {
    let dot = |a: &[Fr], b: &[Fr]| -> Fr { a.iter().zip(b).map(|(a, b)| *a * b).sum() };
    dot(&form.x, x) + dot(&form.y, y)
}

fn mix<const T: usize>(mds: &[[Fr; T]; T], y: &[Fr; T]) -> [Fr; T] {
    std::array::from_fn(|i| (0..T).map(|j| mds[i][j] * y[j]).sum())
}

impl Sheet {
    /// Lays out one hash of eight inputs in each lane. The capacity is 0; the inputs are the caller's to constrain.
    pub fn block9(&mut self, inputs: [[Fr; 8]; 2]) -> Block9 {
        let base = self.lane_row;
        self.lane_row += BLOCK_9;
        let spec = poseidon::spec9();
        self.constants9(base, spec);
        for (lane, inputs) in inputs.iter().enumerate() {
            self.lane9(base, lane, inputs, spec);
            let capacity = self.var(X[lane], base);
            self.equal_constant(capacity, Fr::ZERO);
        }
        Block9 { base }
    }

    /// Gives a lane of a block that was laid out other inputs.
    pub fn refill(&mut self, block: &Block9, lane: usize, inputs: &[Fr; 8]) {
        self.lane9(block.base, lane, inputs, poseidon::spec9());
    }

    fn lane9(&mut self, base: usize, lane: usize, inputs: &[Fr; 8], spec: &Spec<9>) {
        let forms = partial9();
        let constants = &spec.round_constants;
        let second_half = 4 + PARTIAL_ROWS_9;
        let mut state = [Fr::ZERO; 9];
        state[1..].copy_from_slice(inputs);
        let mut lane_rows = Lane { sheet: self, lane };
        let y = lane_rows.double_round(base, &state, [&constants[0], &constants[1]]);
        let state = mix(&spec.mds, &y);
        let mut row = base + DOUBLE_ROUND_ROWS;
        let y = lane_rows.double_round(row, &state, [&constants[2], &constants[3]]);
        row += DOUBLE_ROUND_ROWS;
        let state = lane_rows.partial(row, &y, forms);
        row += PARTIAL_ROWS_9;
        let y = lane_rows.double_round(row, &state, [&forms.next_constants, &constants[second_half + 1]]);
        let state = mix(&spec.mds, &y);
        row += DOUBLE_ROUND_ROWS;
        let y = lane_rows.double_round(
            row,
            &state,
            [&constants[second_half + 2], &constants[second_half + 3]],
        );
        self.set(X[lane], base + OUT_9, mix(&spec.mds, &y)[0]);
    }

    /// Round constants and selectors of a width-9 block.
    fn constants9(&mut self, base: usize, spec: &Spec<9>) {
        let forms = partial9();
        let constants = &spec.round_constants;
        let second_half = 4 + PARTIAL_ROWS_9;
        let partial = base + 2 * DOUBLE_ROUND_ROWS;
        let ends = partial + PARTIAL_ROWS_9;
        let rounds = [
            (base, &constants[0], &constants[1], Gate::Next9),
            (
                base + DOUBLE_ROUND_ROWS,
                &constants[2],
                &constants[3],
                Gate::Init9,
            ),
            (
                ends,
                &forms.next_constants,
                &constants[second_half + 1],
                Gate::Next9,
            ),
            (
                ends + DOUBLE_ROUND_ROWS,
                &constants[second_half + 2],
                &constants[second_half + 3],
                Gate::Out9,
            ),
        ];
        for (row, first, second, gate) in rounds {
            self.enable(gate, row);
            for i in 0..9 {
                self.enable(Gate::Quart, row + i);
                let [constant, middle] = self.fixed_at(row + i);
                (*constant, *middle) = (first[i], second[i]);
            }
        }
        self.partial_constants(partial, &forms.constants, 9, [Gate::Recur9, Gate::Last9]);
    }

    fn partial_constants(&mut self, row: usize, constants: &[Fr], width: usize, [recur, last]: [Gate; 2]) {
        for (r, constant) in constants.iter().enumerate() {
            self.enable(Gate::Quart, row + r);
            *self.fixed_at(row + r)[0] = *constant;
            if r + width < constants.len() {
                self.enable(recur, row + r);
            }
        }
        self.enable(last, row + constants.len() - width);
    }

    /// Lays out `Poseidon_5` in lane 0. Returns its five inputs, which are the caller's to constrain, and the hash.
    pub fn block6(&mut self, inputs: [Fr; 5]) -> ([Var; 5], Var) {
        let base = self.lane_row;
        self.lane_row += BLOCK_6;
        let (spec, forms) = (poseidon::spec6(), partial6());
        let mut state = [Fr::ZERO; 6];
        state[1..].copy_from_slice(&inputs);
        let full = |i: usize| match i {
            0..4 => (base + 6 * i, &spec.round_constants[i]),
            4 => (base + 24 + PARTIAL_ROWS_6, &forms.next_constants),
            _ => (
                base + 6 * i + PARTIAL_ROWS_6,
                &spec.round_constants[i + PARTIAL_ROWS_6],
            ),
        };
        for i in 0..8 {
            let (row, constants) = full(i);
            let y = Lane { sheet: self, lane: 0 }.sboxes(row, &state, constants);
            state = if i == 3 {
                Lane { sheet: self, lane: 0 }.partial(row + 6, &y, forms)
            } else {
                mix(&spec.mds, &y)
            };
            self.enable(
                [Gate::Full6, Gate::Init6, Gate::Out6][usize::from(i == 3) + 2 * usize::from(i == 7)],
                row,
            );
            for (j, constant) in constants.iter().enumerate() {
                self.enable(Gate::Quart, row + j);
                *self.fixed_at(row + j)[0] = *constant;
            }
        }
        self.partial_constants(base + 24, &forms.constants, 6, [Gate::Recur6, Gate::Last6]);
        let out = self.set(X[0], base + OUT_6, state[0]);
        // Lane 1 idles: its S-box rows hold 0 and the constant's fourth power.
        for row in base..base + OUT_6 {
            let constant = *self.fixed_at(row)[0];
            self.set(U[1], row, constant.square().square());
        }
        let capacity = self.var(X[0], base);
        self.equal_constant(capacity, Fr::ZERO);
        (std::array::from_fn(|i| self.var(X[0], base + 1 + i)), out)
    }
}
