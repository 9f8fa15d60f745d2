//! Straight-line element-wise programs: what a quotient, a grand product's factors or a division need of a device.

use thiserror::Error;

/// What an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// `inputs[column]` at `(i + rotation) mod n`.
    Input {
        /// Index of the input vector.
        column: u32,
        /// Offset in elements; negative looks back.
        rotation: i32,
    },
    /// `constants[index]`, given when the program runs.
    Constant(u32),
    /// The result of an earlier instruction.
    Result(u32),
}

/// An instruction. Its result has the number of its place in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `a + b`.
    Add(Operand, Operand),
    /// `a - b`.
    Sub(Operand, Operand),
    /// `a · b`.
    Mul(Operand, Operand),
    /// `a²`.
    Square(Operand),
    /// `2 a`.
    Double(Operand),
    /// `-a`.
    Negate(Operand),
}

impl Op {
    /// What it reads.
    pub fn operands(&self) -> impl Iterator<Item = Operand> {
        let (a, b) = match *self {
            Self::Add(a, b) | Self::Sub(a, b) | Self::Mul(a, b) => (a, Some(b)),
            Self::Square(a) | Self::Double(a) | Self::Negate(a) => (a, None),
        };
        std::iter::once(a).chain(b)
    }
}

/// A checked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    ops: Vec<Op>,
    outputs: Vec<Operand>,
    inputs: u32,
    constants: u32,
}

/// Why a program is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProgramError {
    /// An instruction reads a result that is not there yet.
    #[error("instruction {at} reads the result of instruction {found}")]
    Order {
        /// The instruction; the number of instructions for an output.
        at: usize,
        /// The result that it reads.
        found: u32,
    },
}

impl Program {
    /// Checks that every result is computed before it is read.
    ///
    /// # Errors
    /// [`ProgramError::Order`].
    pub fn new(ops: Vec<Op>, outputs: Vec<Operand>) -> Result<Self, ProgramError> {
        let (mut inputs, mut constants) = (0, 0);
        let outputs_at = ops.len();
        let reads = ops
            .iter()
            .enumerate()
            .flat_map(|(at, op)| op.operands().map(move |operand| (at, operand)));
        for (at, operand) in reads.chain(outputs.iter().map(|operand| (outputs_at, *operand))) {
            match operand {
                Operand::Input { column, .. } => inputs = inputs.max(column + 1),
                Operand::Constant(index) => constants = constants.max(index + 1),
                Operand::Result(found) if found as usize >= at => {
                    return Err(ProgramError::Order { at, found });
                }
                Operand::Result(_) => {}
            }
        }
        Ok(Self {
            ops,
            outputs,
            inputs,
            constants,
        })
    }

    /// The program of one instruction, whose result it gives.
    pub(crate) fn one(op: Op) -> Self {
        let program = Self::new(vec![op], vec![Operand::Result(0)]);
        program.expect("a single instruction of inputs and constants is in order")
    }

    /// The instructions in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// What the program gives.
    pub fn outputs(&self) -> &[Operand] {
        &self.outputs
    }

    /// Input vectors that it needs at least.
    pub fn inputs(&self) -> usize {
        self.inputs as usize
    }

    /// Constants that it needs at least.
    pub fn constants(&self) -> usize {
        self.constants as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_after_they_are_computed() {
        let input = Operand::Input {
            column: 2,
            rotation: -1,
        };
        let program = Program::new(
            vec![Op::Mul(input, Operand::Constant(1))],
            vec![Operand::Result(0)],
        );
        let program = program.expect("in order");
        assert_eq!((program.inputs(), program.constants()), (3, 2));
        let early = Program::new(vec![Op::Square(Operand::Result(0))], vec![]);
        assert_eq!(early, Err(ProgramError::Order { at: 0, found: 0 }));
        let beyond = Program::new(vec![], vec![Operand::Result(0)]);
        assert_eq!(beyond, Err(ProgramError::Order { at: 0, found: 0 }));
    }
}
