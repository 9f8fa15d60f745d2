//! Element-wise programs.

use super::sample::edges;
use super::{Case, Extent, Failure, Sampler, sizes};
use crate::{Device, Op, Operand, Program};
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;

pub(super) fn check<D: Device>(device: &D, extent: Extent) -> Result<(), Failure> {
    let mut sampler = Sampler::new(extent.seed);
    edge_pairs(device)?;
    for n in sizes(extent.k_max) {
        let case = Case::new(device, format!("drawn program over {n}"));
        drawn(&case, &mut sampler, n)?;
    }
    growth(device, &mut sampler)?;
    long_sums(device, &mut sampler)?;
    for n in [1, 2, 7, 8, 9, 300] {
        rotations(device, &mut sampler, n)?;
    }
    bare_outputs(device, &mut sampler)?;
    refusals(device, &mut sampler)
}

fn input(column: u32, rotation: i32) -> Operand {
    Operand::Input { column, rotation }
}

/// A program whose instructions are known to be in order.
fn program<D: Device>(case: &Case<D>, ops: Vec<Op>, outputs: Vec<Operand>) -> Result<Program, Failure> {
    let program = Program::new(ops, outputs);
    program.map_err(|error| Failure::Accepted {
        case: case.name.clone(),
        found: error.to_string(),
    })
}

/// The program's results, element by element, by halo2curves' arithmetic.
fn interpret(program: &Program, inputs: &[Vec<Fr>], constants: &[Fr], n: usize) -> Vec<Vec<Fr>> {
    let mut outputs = vec![Vec::with_capacity(n); program.outputs().len()];
    for i in 0..n as i64 {
        let mut results: Vec<Fr> = Vec::with_capacity(program.ops().len());
        let value = |results: &[Fr], operand: Operand| match operand {
            Operand::Input { column, rotation } => {
                inputs[column as usize][(i + i64::from(rotation)).rem_euclid(n as i64) as usize]
            }
            Operand::Constant(index) => constants[index as usize],
            Operand::Result(at) => results[at as usize],
        };
        for op in program.ops() {
            let get = |operand| value(&results, operand);
            let result = match *op {
                Op::Add(a, b) => get(a) + get(b),
                Op::Sub(a, b) => get(a) - get(b),
                Op::Mul(a, b) => get(a) * get(b),
                Op::Square(a) => get(a).square(),
                Op::Double(a) => get(a).double(),
                Op::Negate(a) => -get(a),
            };
            results.push(result);
        }
        for (operand, output) in program.outputs().iter().zip(&mut outputs) {
            output.push(value(&results, *operand));
        }
    }
    outputs
}

/// Runs a program on the device and compares all its outputs.
fn compare<D: Device>(
    case: &Case<D>,
    program: &Program,
    inputs: &[Vec<Fr>],
    constants: &[Fr],
    n: usize,
) -> Result<(), Failure> {
    let on_device = inputs.iter().map(|input| case.upload(input));
    let on_device: Vec<D::Vector> = on_device.collect::<Result<_, _>>()?;
    let vectors: Vec<&D::Vector> = on_device.iter().collect();
    let stale = vec![Fr::from(77); n];
    let outputs = program.outputs().iter().map(|_| case.upload(&stale));
    let mut outputs: Vec<D::Vector> = outputs.collect::<Result<_, _>>()?;
    let mut all: Vec<&mut D::Vector> = outputs.iter_mut().collect();
    case.call(case.device.run(program, &vectors, constants, &mut all))?;
    for (output, expected) in outputs.iter().zip(interpret(program, inputs, constants, n)) {
        case.holds(output, &expected)?;
    }
    for (vector, input) in on_device.iter().zip(inputs) {
        case.holds(vector, input)?;
    }
    Ok(())
}

/// Every operation on every pair of edge values, of inputs and of constants.
fn edge_pairs<D: Device>(device: &D) -> Result<(), Failure> {
    let case = Case::new(device, "operations on edge values".to_string());
    let edges = edges();
    let pairs = edges.iter().flat_map(|a| edges.iter().map(move |b| (*a, *b)));
    let (left, right): (Vec<Fr>, Vec<Fr>) = pairs.unzip();
    let n = left.len();
    let (a, b) = (input(0, 0), input(1, 0));
    let ops = vec![
        Op::Add(a, b),
        Op::Sub(a, b),
        Op::Mul(a, b),
        Op::Square(a),
        Op::Double(a),
        Op::Negate(a),
    ];
    let outputs = (0..ops.len() as u32).map(Operand::Result).collect();
    let each = program(&case, ops, outputs)?;
    compare(&case, &each, &[left.clone(), right], &[], n)?;
    for constant in edges {
        let (c, d) = (Operand::Constant(0), Operand::Constant(1));
        let ops = vec![
            Op::Add(a, c),
            Op::Sub(c, a),
            Op::Mul(a, c),
            Op::Square(c),
            Op::Double(c),
            Op::Negate(c),
            Op::Sub(c, d),
            Op::Mul(d, c),
        ];
        let outputs = (0..ops.len() as u32).map(Operand::Result).collect();
        let with_constant = program(&case, ops, outputs)?;
        compare(
            &case,
            &with_constant,
            std::slice::from_ref(&left),
            &[constant, Fr::from(5)],
            n,
        )?;
    }
    Ok(())
}

/// A random program with random rotations over random and edge values.
fn drawn<D: Device>(case: &Case<D>, sampler: &mut Sampler, n: usize) -> Result<(), Failure> {
    let (columns, constants) = (1 + sampler.below(4), 1 + sampler.below(3));
    let operand =
        |sampler: &mut Sampler, results: usize| match sampler.below(if results == 0 { 2 } else { 5 }) {
            0 => {
                let rotation = sampler.below(7) as i32 - 3;
                input(sampler.below(columns) as u32, rotation)
            }
            1 => Operand::Constant(sampler.below(constants) as u32),
            _ => Operand::Result(sampler.below(results) as u32),
        };
    let mut ops = Vec::new();
    for at in 0..1 + sampler.below(40) {
        let (a, b) = (operand(sampler, at), operand(sampler, at));
        ops.push(match sampler.below(8) {
            0 | 1 => Op::Add(a, b),
            2 => Op::Sub(a, b),
            3 | 4 => Op::Mul(a, b),
            5 => Op::Square(a),
            6 => Op::Double(a),
            _ => Op::Negate(a),
        });
    }
    let results = ops.len();
    let outputs = (0..1 + sampler.below(3))
        .map(|_| operand(sampler, results))
        .collect();
    let program = program(case, ops, outputs)?;
    let inputs: Vec<Vec<Fr>> = (0..columns).map(|_| sampler.mixed(n)).collect();
    let constants = sampler.mixed(constants);
    compare(case, &program, &inputs, &constants, n)
}

/// Long chains of one operation, where a lazy reduction must not overflow.
fn growth<D: Device>(device: &D, sampler: &mut Sampler) -> Result<(), Failure> {
    let case = Case::new(device, "chains of one operation".to_string());
    let (a, b, last) = (input(0, 0), input(1, 0), |at: u32| Operand::Result(at));
    let chains: [&dyn Fn(u32) -> Op; 7] = [
        &|at| Op::Double(last(at)),
        &|at| Op::Add(last(at), last(at)),
        &|at| Op::Sub(last(at), b),
        &|at| Op::Sub(b, last(at)),
        &|at| Op::Negate(last(at)),
        &|at| Op::Square(last(at)),
        &|at| Op::Mul(last(at), last(at / 2)),
    ];
    let inputs = [vec![-Fr::ONE; 40], sampler.mixed(40)];
    for chain in chains {
        let ops = (0..100).map(|at| if at == 0 { Op::Add(a, b) } else { chain(at - 1) });
        let program = program(&case, ops.collect(), vec![last(99), last(50)])?;
        compare(&case, &program, &inputs, &[], 40)?;
    }
    Ok(())
}

/// Sums and differences of many products and addends, as long as a gate's and longer, over values with large residues.
fn long_sums<D: Device>(device: &D, sampler: &mut Sampler) -> Result<(), Failure> {
    let radix = |exponent: u64| Fr::from(2).pow_vartime([exponent]).invert().unwrap_or(Fr::ONE);
    let inputs = [vec![-radix(256); 24], vec![-radix(260); 24], sampler.mixed(24)];
    for terms in [2u32, 5, 12, 13, 40] {
        for pattern in 0..6 {
            let case = Case::new(device, format!("sum of {terms} products of pattern {pattern}"));
            let (mut ops, mut sum) = (Vec::new(), input(0, 0));
            for term in 0..terms {
                let (a, b) = (input(term % 3, 0), input(pattern % 3, 1));
                ops.push(if pattern < 4 { Op::Mul(a, b) } else { Op::Negate(a) });
                let product = Operand::Result(ops.len() as u32 - 1);
                ops.push(match pattern {
                    0 | 4 => Op::Add(sum, product),
                    1 | 5 => Op::Sub(sum, product),
                    2 => Op::Sub(product, sum),
                    _ if term % 2 == 0 => Op::Add(product, sum),
                    _ => Op::Sub(sum, product),
                });
                sum = Operand::Result(ops.len() as u32 - 1);
            }
            let program = program(&case, ops, vec![sum])?;
            compare(&case, &program, &inputs, &[], 24)?;
        }
    }
    Ok(())
}

/// Rotations up to several times around.
fn rotations<D: Device>(device: &D, sampler: &mut Sampler, n: usize) -> Result<(), Failure> {
    let case = Case::new(device, format!("rotations over {n}"));
    let around = n as i32;
    for rotation in [1, -1, 5, -6, around, -around, around + 3, -2 * around - 1] {
        let ops = vec![
            Op::Add(input(0, rotation), input(0, 0)),
            Op::Mul(Operand::Result(0), input(1, -rotation)),
        ];
        let outputs = vec![Operand::Result(1), input(0, rotation)];
        let program = program(&case, ops, outputs)?;
        compare(&case, &program, &[sampler.mixed(n), sampler.mixed(n)], &[], n)?;
    }
    Ok(())
}

/// Outputs that no instruction computes, and one result for two outputs.
fn bare_outputs<D: Device>(device: &D, sampler: &mut Sampler) -> Result<(), Failure> {
    let case = Case::new(device, "outputs without instructions".to_string());
    let outputs = vec![
        input(0, 2),
        Operand::Constant(0),
        Operand::Result(0),
        Operand::Result(0),
    ];
    let copied = program(&case, vec![Op::Double(input(1, 0))], outputs)?;
    let inputs = [sampler.mixed(11), sampler.mixed(11)];
    compare(&case, &copied, &inputs, &[sampler.scalar()], 11)?;
    compare(&case, &program(&case, vec![], vec![])?, &inputs, &[], 11)
}

fn refusals<D: Device>(device: &D, sampler: &mut Sampler) -> Result<(), Failure> {
    let case = Case::new(device, "program that does not fit".to_string());
    let sum = vec![Op::Mul(input(1, 1), Operand::Constant(1))];
    let program = program(&case, sum, vec![Operand::Result(0)])?;
    let values = sampler.scalars(8);
    let (a, b, short) = (
        case.upload(&values)?,
        case.upload(&values)?,
        case.upload(&values[1..])?,
    );
    let mut out = case.upload(&values)?;
    let mut extra = case.upload(&values)?;
    let mut short_out = case.upload(&values[1..])?;
    let two = [Fr::ONE; 2];
    case.refused(device.run(&program, &[&a], &two, &mut [&mut out]))?;
    case.refused(device.run(&program, &[&a, &b], &two[1..], &mut [&mut out]))?;
    case.refused(device.run(&program, &[&a, &b], &two, &mut []))?;
    case.refused(device.run(&program, &[&a, &b], &two, &mut [&mut out, &mut extra]))?;
    case.refused(device.run(&program, &[&a, &short], &two, &mut [&mut out]))?;
    case.refused(device.run(&program, &[&a, &b], &two, &mut [&mut short_out]))?;
    case.holds(&out, &values)
}
