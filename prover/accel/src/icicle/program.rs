//! Element-wise programs by vector operations, block by block so that intermediate results need little memory.

use super::context::{Arithmetic, Context};
use super::memory::{Buffer, Span};
use super::{IcicleVector, abi};
use crate::{DeviceError, Op, Operand, Program};
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use std::sync::Arc;

const OPERATION: &str = "run";

/// What an operand is once the constants are known.
#[derive(Clone, Copy)]
enum Value {
    /// One number for every element.
    Scalar(Fr),
    /// The same, by its index among those that steps read from the device.
    Constant(usize),
    /// An input, rotated.
    Input { column: usize, rotation: i64 },
    /// A result in the program's own memory.
    Slot(usize),
    /// A result that is written where it is wanted in the end.
    Output(usize),
    /// The result of an instruction that nothing reads.
    Unused,
}

/// A vector operation on each block.
struct Step {
    arithmetic: Arithmetic,
    a: Value,
    b: Value,
    to: Value,
}

/// The program as vector operations, and its memory.
struct Plan {
    steps: Vec<Step>,
    outputs: Vec<Value>,
    slots: usize,
    /// What steps and outputs read as [`Value::Constant`].
    constants: Vec<Fr>,
}

/// Runs a program that fits the vectors, all of `n > 0` elements.
pub(super) fn run(
    context: &Arc<Context>,
    program: &Program,
    inputs: &[&IcicleVector],
    constants: &[Fr],
    outputs: &[&IcicleVector],
    block_elements: usize,
) -> Result<(), DeviceError> {
    let plan = Plan::new(program, constants);
    let Some(n) = outputs.first().map(|output| output.len) else {
        return Ok(());
    };
    let block = n.min(block_elements);
    let slots = match plan.slots {
        0 => None,
        slots => Some(context.allocate(OPERATION, slots * block * abi::SCALAR_BYTES)?),
    };
    let scalars = context.constants(OPERATION, &plan.constants)?;
    for start in (0..n).step_by(block) {
        let run = Run {
            context,
            inputs,
            outputs,
            constants: &scalars,
            slots: slots.as_ref(),
            block,
            n,
            start,
            len: block.min(n - start),
        };
        plan.steps.iter().try_for_each(|step| run.step(step))?;
        for (at, value) in plan.outputs.iter().enumerate() {
            run.output(at, *value)?;
        }
    }
    context.finish(OPERATION)
}

impl Plan {
    fn new(program: &Program, constants: &[Fr]) -> Self {
        let (last_read, wanted) = (last_reads(program), wanted(program));
        let mut plan = Self {
            steps: Vec::new(),
            outputs: Vec::new(),
            slots: 0,
            constants: Vec::new(),
        };
        let mut free = Vec::new();
        let mut values: Vec<Value> = Vec::with_capacity(program.ops().len());
        for (at, op) in program.ops().iter().enumerate() {
            let get = |operand| value(operand, &values, constants);
            let (arithmetic, a, b) = match *op {
                Op::Add(a, b) => (Arithmetic::Add, get(a), get(b)),
                Op::Sub(a, b) => (Arithmetic::Sub, get(a), get(b)),
                Op::Mul(a, b) => (Arithmetic::Mul, get(a), get(b)),
                Op::Square(a) => (Arithmetic::Mul, get(a), get(a)),
                Op::Double(a) => (Arithmetic::Add, get(a), get(a)),
                Op::Negate(a) => (Arithmetic::Sub, Value::Scalar(Fr::ZERO), get(a)),
            };
            let result = match (a, b) {
                _ if last_read[at] == NEVER => Value::Unused,
                (Value::Scalar(a), Value::Scalar(b)) => Value::Scalar(apply(arithmetic, a, b)),
                _ => {
                    free.extend(last_used(op, at, &last_read, &values));
                    let to = match wanted[at] {
                        Some(output) => Value::Output(output),
                        None => Value::Slot(free.pop().unwrap_or_else(|| {
                            plan.slots += 1;
                            plan.slots - 1
                        })),
                    };
                    plan.push(arithmetic, a, b, to);
                    to
                }
            };
            values.push(result);
        }
        for operand in program.outputs() {
            let value = value(*operand, &values, constants);
            let value = plan.on_device(value);
            plan.outputs.push(value);
        }
        plan
    }

    /// Adds a step; of its operands only the first may be a scalar.
    fn push(&mut self, arithmetic: Arithmetic, a: Value, b: Value, to: Value) {
        let (arithmetic, a, b) = match (arithmetic, b) {
            // `a - b` is `-b + a`; the others commute.
            (Arithmetic::Sub, Value::Scalar(b)) => (Arithmetic::Add, Value::Scalar(-b), a),
            (_, Value::Scalar(_)) => (arithmetic, b, a),
            _ => (arithmetic, a, b),
        };
        let a = self.on_device(a);
        self.steps.push(Step { arithmetic, a, b, to });
    }

    /// Gives a scalar its place on the device.
    fn on_device(&mut self, value: Value) -> Value {
        let Value::Scalar(scalar) = value else {
            return value;
        };
        let found = self.constants.iter().position(|other| *other == scalar);
        Value::Constant(found.unwrap_or_else(|| {
            self.constants.push(scalar);
            self.constants.len() - 1
        }))
    }
}

/// The first instruction reads no result, so that its index stands for none.
const NEVER: usize = 0;

/// For each result, the last instruction that reads it, of those whose own results are read; the number of
/// instructions if it is an output.
fn last_reads(program: &Program) -> Vec<usize> {
    let ops = program.ops();
    let mut last_read = vec![NEVER; ops.len()];
    for operand in program.outputs() {
        if let Operand::Result(at) = operand {
            last_read[*at as usize] = ops.len();
        }
    }
    for (at, op) in ops.iter().enumerate().rev() {
        if last_read[at] == NEVER {
            continue;
        }
        for operand in op.operands() {
            if let Operand::Result(read) = operand {
                let last = &mut last_read[read as usize];
                *last = (*last).max(at);
            }
        }
    }
    last_read
}

/// For each result, the first output that it is.
fn wanted(program: &Program) -> Vec<Option<usize>> {
    let mut wanted = vec![None; program.ops().len()];
    for (output, operand) in program.outputs().iter().enumerate().rev() {
        if let Operand::Result(at) = operand {
            wanted[*at as usize] = Some(output);
        }
    }
    wanted
}

/// Slots that the `at`-th instruction is the last to read. Its own result may take one of them: operations on the same
/// place of a block are element by element.
fn last_used(op: &Op, at: usize, last_read: &[usize], values: &[Value]) -> Vec<usize> {
    let mut slots: Vec<usize> = op
        .operands()
        .filter_map(|operand| match operand {
            Operand::Result(read) if last_read[read as usize] == at => match values[read as usize] {
                Value::Slot(slot) => Some(slot),
                _ => None,
            },
            _ => None,
        })
        .collect();
    // Both operands may be the same result.
    slots.dedup();
    slots
}

fn value(operand: Operand, values: &[Value], constants: &[Fr]) -> Value {
    match operand {
        Operand::Input { column, rotation } => Value::Input {
            column: column as usize,
            rotation: i64::from(rotation),
        },
        Operand::Constant(index) => Value::Scalar(constants[index as usize]),
        Operand::Result(at) => values[at as usize],
    }
}

fn apply(arithmetic: Arithmetic, a: Fr, b: Fr) -> Fr {
    match arithmetic {
        Arithmetic::Add => a + b,
        Arithmetic::Sub => a - b,
        Arithmetic::Mul => a * b,
    }
}

/// One block of a run.
struct Run<'a> {
    context: &'a Arc<Context>,
    inputs: &'a [&'a IcicleVector],
    outputs: &'a [&'a IcicleVector],
    constants: &'a Buffer,
    slots: Option<&'a Buffer>,
    block: usize,
    n: usize,
    start: usize,
    len: usize,
}

impl Run<'_> {
    fn step(&self, step: &Step) -> Result<(), DeviceError> {
        match (step.a, step.b) {
            (Value::Constant(a), b) => self.pieces(&[b, step.to], |[b, to]| {
                let a = self.constants.span(a, 1);
                self.context.scalar(OPERATION, step.arithmetic, a, b, to)
            }),
            (a, b) => self.pieces(&[a, b, step.to], |[a, b, to]| {
                self.context.vector(OPERATION, step.arithmetic, a, b, to)
            }),
        }
    }

    /// Writes what no step has written to its place.
    fn output(&self, at: usize, value: Value) -> Result<(), DeviceError> {
        let to = Value::Output(at);
        match value {
            Value::Output(written) if written == at => Ok(()),
            Value::Constant(scalar) => self.pieces(&[to], |[to]| {
                self.context.clear(OPERATION, to)?;
                let scalar = self.constants.span(scalar, 1);
                self.context.scalar(OPERATION, Arithmetic::Add, scalar, to, to)
            }),
            value => self.pieces(&[value, to], |[value, to]| {
                self.context.copy(OPERATION, value, to)
            }),
        }
    }

    /// Calls `each` on runs in which no rotated input wraps around, with the values' memory for the run.
    fn pieces<const V: usize>(
        &self,
        values: &[Value; V],
        mut each: impl FnMut([Span; V]) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let mut from = 0;
        while from < self.len {
            let places = values.map(|value| self.place(value, from));
            let len = places.iter().map(|(_, _, len)| *len).min().unwrap_or(0);
            each(places.map(|(buffer, at, _)| buffer.span(at, len)))?;
            from += len;
        }
        Ok(())
    }

    /// Where a value's `from`-th element of this block is, and how many follow side by side.
    fn place(&self, value: Value, from: usize) -> (&Buffer, usize, usize) {
        let rest = self.len - from;
        match value {
            Value::Input { column, rotation } => {
                let at = (self.start + from) as i64 + rotation;
                let at = at.rem_euclid(self.n as i64) as usize;
                (self.inputs[column].memory(), at, rest.min(self.n - at))
            }
            Value::Output(output) => (self.outputs[output].memory(), self.start + from, rest),
            Value::Slot(slot) => {
                let slots = self.slots.expect("allocated when there are any");
                (slots, slot * self.block + from, rest)
            }
            Value::Scalar(_) | Value::Constant(_) | Value::Unused => {
                unreachable!("steps read vectors that were computed")
            }
        }
    }
}
