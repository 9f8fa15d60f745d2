//! Poseidon of many inputs at once (P-2.1), in the vector lanes of processors that have them: a permutation is one straight-line
//! program of an accelerator, whose partial rounds are the recurrence of [`rules::poseidon::partial`].

use accel::{CpuDevice, Op, Operand, Program, Routine};
use rules::Fr;
use rules::poseidon::lanes::{self, LanesError};
use rules::poseidon::partial::{PartialRounds, Window};
use rules::poseidon::{Spec, spec6, spec9};

/// Has the rules hash many inputs in this processor's vector lanes for as long as the process lasts. Without such lanes nothing
/// changes, and false is returned.
///
/// # Errors
/// The lanes do not hash as the rules do, or were installed before.
pub fn install() -> Result<bool, LanesError> {
    let device = CpuDevice::new();
    if !device.has_lanes() {
        return Ok(false);
    }
    lanes::install(Box::new(Lanes::new(&device)))?;
    Ok(true)
}

/// Both widths of the rollup's hashes in a processor's arithmetic.
pub struct Lanes {
    eight: Hash<9>,
    five: Hash<6>,
}

impl Lanes {
    /// The hashes in a device's arithmetic.
    pub fn new(device: &CpuDevice) -> Self {
        Self {
            eight: Hash::new(device, spec9()),
            five: Hash::new(device, spec6()),
        }
    }
}

impl lanes::Lanes for Lanes {
    fn hash8_each(&self, inputs: &[[Fr; 8]]) -> Vec<Fr> {
        self.eight.each(inputs)
    }

    fn hash5_each(&self, inputs: &[[Fr; 5]]) -> Vec<Fr> {
        self.five.each(inputs)
    }
}

/// `Poseidon_{T - 1}` of many inputs.
struct Hash<const T: usize>(Routine);

impl<const T: usize> Hash<T> {
    fn new(device: &CpuDevice, spec: &Spec<T>) -> Self {
        let mut text = Text::default();
        let hash = text.hash(spec);
        let program = Program::new(text.ops, vec![hash]).expect("each instruction reads earlier ones");
        Self(Routine::new(device, program, &text.constants))
    }

    /// Of `T - 1` elements each.
    fn each<const N: usize>(&self, inputs: &[[Fr; N]]) -> Vec<Fr> {
        let column = |column| inputs.iter().map(|input| input[column]).collect();
        let columns: [Vec<Fr>; N] = std::array::from_fn(column);
        let columns = columns.each_ref().map(Vec::as_slice);
        let mut hashes = vec![Fr::zero(); inputs.len()];
        let run = self.0.run(&columns, vec![&mut hashes]);
        run.expect("the program has a column for each element, and the columns one length");
        hashes
    }
}

/// A program that is being written.
#[derive(Default)]
struct Text {
    ops: Vec<Op>,
    constants: Vec<Fr>,
}

impl Text {
    fn op(&mut self, op: Op) -> Operand {
        self.ops.push(op);
        Operand::Result(self.ops.len() as u32 - 1)
    }

    fn constant(&mut self, value: Fr) -> Operand {
        let found = self.constants.iter().position(|constant| *constant == value);
        let place = found.unwrap_or_else(|| {
            self.constants.push(value);
            self.constants.len() - 1
        });
        Operand::Constant(place as u32)
    }

    /// `(x + constant)^5`.
    fn power5(&mut self, x: Operand, constant: Fr) -> Operand {
        let constant = self.constant(constant);
        let x = self.op(Op::Add(x, constant));
        let square = self.op(Op::Square(x));
        let fourth = self.op(Op::Square(square));
        self.op(Op::Mul(fourth, x))
    }

    /// `Σ coefficient · value`.
    fn form<'a>(&mut self, coefficients: impl IntoIterator<Item = &'a Fr>, values: &[Operand]) -> Operand {
        let mut sum = None;
        for (coefficient, value) in coefficients.into_iter().zip(values) {
            if *coefficient == Fr::zero() {
                continue;
            }
            let coefficient = self.constant(*coefficient);
            let product = self.op(Op::Mul(*value, coefficient));
            sum = Some(match sum {
                Some(sum) => self.op(Op::Add(sum, product)),
                None => product,
            });
        }
        sum.expect("a form of the permutation has a coefficient that is not zero")
    }

    fn window(&mut self, form: &Window, x: &[Operand], y: &[Operand]) -> Operand {
        let values = [&x[..form.x.len()], &y[..form.y.len()]].concat();
        self.form(form.x.iter().chain(&form.y), &values)
    }

    /// Element 0 of the permutation of 0 and the inputs.
    fn hash<const T: usize>(&mut self, spec: &Spec<T>) -> Operand {
        let half = spec.full_rounds / 2;
        let partial = PartialRounds::new(spec);
        let mut state = vec![self.constant(Fr::zero())];
        state.extend((0..T as u32 - 1).map(|column| Operand::Input { column, rotation: 0 }));
        let mut boxes = self.boxes(&state, &spec.round_constants[0]);
        for constants in &spec.round_constants[1..half] {
            state = self.mix(spec, &boxes);
            boxes = self.boxes(&state, constants);
        }
        let state = self.partial(&partial, &boxes);
        boxes = self.boxes(&state, &partial.next_constants);
        for constants in &spec.round_constants[half + spec.partial_rounds + 1..] {
            let state = self.mix(spec, &boxes);
            boxes = self.boxes(&state, constants);
        }
        self.form(&spec.mds[0], &boxes)
    }

    /// The S-boxes of a full round.
    fn boxes<const T: usize>(&mut self, state: &[Operand], constants: &[Fr; T]) -> Vec<Operand> {
        let pairs = state.iter().zip(constants);
        pairs.map(|(x, constant)| self.power5(*x, *constant)).collect()
    }

    fn mix<const T: usize>(&mut self, spec: &Spec<T>, boxes: &[Operand]) -> Vec<Operand> {
        spec.mds.iter().map(|row| self.form(row, boxes)).collect()
    }

    /// The state after the partial rounds, from the S-boxes of the full round before.
    fn partial<const T: usize>(&mut self, partial: &PartialRounds<T>, boxes: &[Operand]) -> Vec<Operand> {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for (round, constant) in partial.constants.iter().enumerate() {
            let next = match round.checked_sub(T) {
                None => self.window(&partial.init[round], boxes, &y),
                Some(first) => self.window(&partial.step, &x[first..], &y[first..]),
            };
            x.push(next);
            y.push(self.power5(next, *constant));
        }
        let first = partial.constants.len() - T;
        let forms = partial.last.iter();
        forms
            .map(|form| self.window(form, &x[first..], &y[first..]))
            .collect()
    }
}
