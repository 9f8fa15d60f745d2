//! Element-wise programs, block by block so that temporaries stay in the cache.

use crate::{Op, Operand, Program};
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use rayon::prelude::*;

/// Elements per block.
const BLOCK: usize = 256;

/// Runs a program that fits `inputs`, `constants` and `outputs`, all of one length.
pub(super) fn run(program: &Program, inputs: &[&[Fr]], constants: &[Fr], outputs: Vec<&mut [Fr]>) {
    let n = outputs.first().map_or(0, |output| output.len());
    let mut blocks: Vec<Vec<&mut [Fr]>> = (0..n.div_ceil(BLOCK)).map(|_| Vec::new()).collect();
    for output in outputs {
        for (block, chunk) in blocks.iter_mut().zip(output.chunks_mut(BLOCK)) {
            block.push(chunk);
        }
    }
    blocks.into_par_iter().enumerate().for_each_init(
        || vec![Fr::ZERO; program.ops().len() * BLOCK],
        |results, (at, outputs)| block(program, inputs, constants, at * BLOCK, results, outputs),
    );
}

fn block(
    program: &Program,
    inputs: &[&[Fr]],
    constants: &[Fr],
    start: usize,
    results: &mut [Fr],
    outputs: Vec<&mut [Fr]>,
) {
    let value = |results: &[Fr], operand: Operand, i: usize| match operand {
        Operand::Input { column, rotation } => {
            let input = inputs[column as usize];
            let n = input.len() as i64;
            input[(((start + i) as i64 + i64::from(rotation)).rem_euclid(n)) as usize]
        }
        Operand::Constant(index) => constants[index as usize],
        Operand::Result(at) => results[at as usize * BLOCK + i],
    };
    let len = outputs.first().map_or(0, |output| output.len());
    for (at, op) in program.ops().iter().enumerate() {
        for i in 0..len {
            let get = |operand| value(results, operand, i);
            results[at * BLOCK + i] = match *op {
                Op::Add(a, b) => get(a) + get(b),
                Op::Sub(a, b) => get(a) - get(b),
                Op::Mul(a, b) => get(a) * get(b),
                Op::Square(a) => get(a).square(),
                Op::Double(a) => get(a).double(),
                Op::Negate(a) => -get(a),
            };
        }
    }
    for (operand, output) in program.outputs().iter().zip(outputs) {
        for (i, out) in output.iter_mut().enumerate() {
            *out = value(results, *operand, i);
        }
    }
}
