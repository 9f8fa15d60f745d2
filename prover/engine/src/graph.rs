//! Expressions as one straight-line program for a device, common subexpressions computed once.

use accel::{Op, Operand, Program};
use halo2_proofs::plonk::Expression;
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use std::collections::{BTreeMap, HashMap};

/// A polynomial of the proof system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Poly {
    Advice(usize),
    Instance(usize),
    Fixed(usize),
    /// The permutation's image of a column, by the column's place in the permutation.
    Sigma(usize),
    /// Running product of a chunk of the permutation's columns.
    PermutationProduct(usize),
    LookupProduct(usize),
    /// `A'` of a lookup.
    LookupInput(usize),
    /// `S'` of a lookup.
    LookupTable(usize),
    /// The compressed input of a lookup, before it is permuted. Values only.
    CompressedInput(usize),
    /// The compressed table of a lookup, before it is permuted. Values only.
    CompressedTable(usize),
    /// `l_0`: 1 in row 0, 0 in all others. By rotation it gives every Lagrange polynomial.
    FirstRow,
    /// The powers of `omega`: the domain itself.
    Identity,
    /// The vanishing argument's random polynomial.
    Random,
    /// The quotient.
    Quotient,
    /// The quotient's values on a coset, as coefficients. Only in its assembly, as the next two.
    Part(usize),
    /// Powers of the inverse of the first coset's shift.
    Shifts,
    /// Powers of the inverse of the step from one coset's shift to the next.
    Steps,
}

/// A scalar that a program reads, some of them known only in the course of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scalar {
    Value(Fr),
    Challenge(usize),
    Theta,
    Beta,
    Gamma,
    /// `beta · delta^j`, times the shift of the coset that the program runs on.
    BetaDelta(usize),
    /// A polynomial in `y`.
    Weight(Weight),
}

/// Coefficients of a polynomial in `y` by power, none of them 0.
pub(crate) type Weight = BTreeMap<usize, Fr>;

impl From<Weight> for Scalar {
    fn from(weight: Weight) -> Self {
        match weight.last_key_value() {
            None => Scalar::Value(Fr::ZERO),
            Some((0, value)) => Scalar::Value(*value),
            Some(_) => Scalar::Weight(weight),
        }
    }
}

/// A program and what its inputs and constants are.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub program: Program,
    pub inputs: Vec<Poly>,
    pub scalars: Vec<Scalar>,
}

impl Compiled {
    /// The program's outputs for one row, given the inputs at their rotations.
    pub fn evaluate(&self, scalars: &[Fr], input: &dyn Fn(Poly, i32) -> Fr) -> Vec<Fr> {
        let mut results: Vec<Fr> = Vec::with_capacity(self.program.ops().len());
        let read = |results: &[Fr], operand: Operand| match operand {
            Operand::Input { column, rotation } => input(self.inputs[column as usize], rotation),
            Operand::Constant(index) => scalars[index as usize],
            Operand::Result(index) => results[index as usize],
        };
        for op in self.program.ops() {
            let result = match *op {
                Op::Add(a, b) => read(&results, a) + read(&results, b),
                Op::Sub(a, b) => read(&results, a) - read(&results, b),
                Op::Mul(a, b) => read(&results, a) * read(&results, b),
                Op::Square(a) => read(&results, a).square(),
                Op::Double(a) => read(&results, a).double(),
                Op::Negate(a) => -read(&results, a),
            };
            results.push(result);
        }
        self.program
            .outputs()
            .iter()
            .map(|output| read(&results, *output))
            .collect()
    }
}

/// A program under construction.
#[derive(Default)]
pub(crate) struct Graph {
    ops: Vec<Op>,
    known: HashMap<Op, u32>,
    inputs: Vec<Poly>,
    columns: HashMap<Poly, u32>,
    scalars: Vec<Scalar>,
    slots: HashMap<Scalar, u32>,
}

impl Graph {
    /// A polynomial's value `rotation` rows further.
    pub fn input(&mut self, poly: Poly, rotation: i32) -> Operand {
        let next = self.inputs.len() as u32;
        let column = *self.columns.entry(poly).or_insert(next);
        if column == next {
            self.inputs.push(poly);
        }
        Operand::Input { column, rotation }
    }

    pub fn scalar(&mut self, scalar: Scalar) -> Operand {
        let next = self.scalars.len() as u32;
        let slot = *self.slots.entry(scalar.clone()).or_insert(next);
        if slot == next {
            self.scalars.push(scalar);
        }
        Operand::Constant(slot)
    }

    pub fn value(&mut self, value: Fr) -> Operand {
        self.scalar(Scalar::Value(value))
    }

    pub fn add(&mut self, a: Operand, b: Operand) -> Operand {
        match (self.known_value(a), self.known_value(b)) {
            (Some(a), Some(b)) => self.value(a + b),
            (Some(zero), None) if zero == Fr::ZERO => b,
            (None, Some(zero)) if zero == Fr::ZERO => a,
            _ if a == b => self.push(Op::Double(a)),
            _ => match (self.negated(a), self.negated(b)) {
                (_, Some(b)) => self.sub(a, b),
                (Some(a), None) => self.sub(b, a),
                (None, None) => {
                    let (a, b) = ordered(a, b);
                    self.push(Op::Add(a, b))
                }
            },
        }
    }

    pub fn sub(&mut self, a: Operand, b: Operand) -> Operand {
        match (self.known_value(a), self.known_value(b)) {
            (Some(a), Some(b)) => self.value(a - b),
            (Some(zero), None) if zero == Fr::ZERO => self.negate(b),
            (None, Some(zero)) if zero == Fr::ZERO => a,
            _ if a == b => self.value(Fr::ZERO),
            _ => match self.negated(b) {
                Some(b) => self.add(a, b),
                None => self.push(Op::Sub(a, b)),
            },
        }
    }

    pub fn mul(&mut self, a: Operand, b: Operand) -> Operand {
        match (self.known_value(a), self.known_value(b)) {
            (Some(a), Some(b)) => self.value(a * b),
            (Some(value), None) => self.scale(b, value),
            (None, Some(value)) => self.scale(a, value),
            (None, None) if a == b => self.push(Op::Square(a)),
            (None, None) => {
                let (a, b) = ordered(a, b);
                self.push(Op::Mul(a, b))
            }
        }
    }

    pub fn negate(&mut self, a: Operand) -> Operand {
        match (self.known_value(a), self.negated(a)) {
            (Some(value), _) => self.value(-value),
            (None, Some(inner)) => inner,
            (None, None) => self.push(Op::Negate(a)),
        }
    }

    /// `values[0] · x^{m-1} + ... + values[m-1]`.
    pub fn horner(&mut self, values: &[Operand], x: Operand) -> Operand {
        let zero = self.value(Fr::ZERO);
        values.iter().fold(zero, |sum, value| {
            let sum = self.mul(sum, x);
            self.add(sum, *value)
        })
    }

    /// An expression without selectors: key generation has turned them into fixed columns.
    pub fn expression(&mut self, expression: &Expression<Fr>) -> Operand {
        match expression {
            Expression::Constant(value) => self.value(*value),
            Expression::Selector(_) => unreachable!("a verifying key's constraint system has no selectors"),
            Expression::Fixed(query) => self.input(Poly::Fixed(query.column_index()), query.rotation().0),
            Expression::Advice(query) => self.input(Poly::Advice(query.column_index()), query.rotation().0),
            Expression::Instance(query) => {
                self.input(Poly::Instance(query.column_index()), query.rotation().0)
            }
            Expression::Challenge(challenge) => self.scalar(Scalar::Challenge(challenge.index())),
            Expression::Negated(a) => {
                let a = self.expression(a);
                self.negate(a)
            }
            Expression::Sum(a, b) => {
                let (a, b) = (self.expression(a), self.expression(b));
                self.add(a, b)
            }
            Expression::Product(a, b) => {
                let (a, b) = (self.expression(a), self.expression(b));
                self.mul(a, b)
            }
            Expression::Scaled(a, factor) => {
                let a = self.expression(a);
                self.scale(a, *factor)
            }
        }
    }

    /// The program of what the outputs need, and no more, in an order that keeps few results alive at a time.
    pub fn compile(self, outputs: &[Operand]) -> Compiled {
        let mut emitted = Emitter::new(&self.ops);
        let outputs: Vec<Operand> = outputs.iter().map(|output| emitted.emit(*output)).collect();
        let ops = emitted.ops;
        // Inputs and scalars that only dropped instructions read would cost a transform each.
        let mut columns = Renumbering::default();
        let mut slots = Renumbering::default();
        let mut renumber = |operand: Operand| match operand {
            Operand::Input { column, rotation } => Operand::Input {
                column: columns.number(column),
                rotation,
            },
            Operand::Constant(slot) => Operand::Constant(slots.number(slot)),
            Operand::Result(index) => Operand::Result(index),
        };
        let ops = ops.into_iter().map(|op| map(op, &mut renumber)).collect();
        let outputs = outputs.into_iter().map(&mut renumber).collect();
        Compiled {
            program: Program::new(ops, outputs).expect("operands are emitted before their readers"),
            inputs: columns.order.iter().map(|c| self.inputs[*c as usize]).collect(),
            scalars: slots
                .order
                .iter()
                .map(|s| self.scalars[*s as usize].clone())
                .collect(),
        }
    }

    fn scale(&mut self, a: Operand, value: Fr) -> Operand {
        if let Some(a) = self.known_value(a) {
            return self.value(a * value);
        }
        if value == Fr::ZERO {
            self.value(Fr::ZERO)
        } else if value == Fr::ONE {
            a
        } else if value == -Fr::ONE {
            self.negate(a)
        } else if value == Fr::from(2) {
            self.push(Op::Double(a))
        } else {
            let value = self.value(value);
            self.push(Op::Mul(a, value))
        }
    }

    fn push(&mut self, op: Op) -> Operand {
        let next = self.ops.len() as u32;
        let index = *self.known.entry(op).or_insert(next);
        if index == next {
            self.ops.push(op);
        }
        Operand::Result(index)
    }

    /// An instruction that was pushed.
    pub fn op(&self, index: u32) -> Op {
        self.ops[index as usize]
    }

    /// How often the roots and what they need read each instruction.
    pub fn uses(&self, roots: impl Iterator<Item = Operand>) -> Vec<usize> {
        let mut uses = vec![0; self.ops.len()];
        let mut count = |operand| match operand {
            Operand::Result(index) => {
                uses[index as usize] += 1;
                (uses[index as usize] == 1).then_some(index)
            }
            _ => None,
        };
        let mut first_met: Vec<u32> = roots.filter_map(&mut count).collect();
        while let Some(index) = first_met.pop() {
            first_met.extend(self.ops[index as usize].operands().filter_map(&mut count));
        }
        uses
    }

    /// The value of an operand that is known before any proof.
    pub fn known_value(&self, operand: Operand) -> Option<Fr> {
        match operand {
            Operand::Constant(slot) => match &self.scalars[slot as usize] {
                Scalar::Value(value) => Some(*value),
                _ => None,
            },
            _ => None,
        }
    }

    fn negated(&self, operand: Operand) -> Option<Operand> {
        match operand {
            Operand::Result(index) => match self.ops[index as usize] {
                Op::Negate(inner) => Some(inner),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Operands of a commutative operation in one order, so that it is found again.
fn ordered(a: Operand, b: Operand) -> (Operand, Operand) {
    let key = |operand| match operand {
        Operand::Input { column, rotation } => (0, column, rotation),
        Operand::Result(index) => (1, index, 0),
        Operand::Constant(slot) => (2, slot, 0),
    };
    if key(a) <= key(b) { (a, b) } else { (b, a) }
}

fn map(op: Op, mut with: impl FnMut(Operand) -> Operand) -> Op {
    match op {
        Op::Add(a, b) => Op::Add(with(a), with(b)),
        Op::Sub(a, b) => Op::Sub(with(a), with(b)),
        Op::Mul(a, b) => Op::Mul(with(a), with(b)),
        Op::Square(a) => Op::Square(with(a)),
        Op::Double(a) => Op::Double(with(a)),
        Op::Negate(a) => Op::Negate(with(a)),
    }
}

/// Numbers in order of first use.
#[derive(Default)]
struct Renumbering {
    order: Vec<u32>,
    numbers: HashMap<u32, u32>,
}

impl Renumbering {
    fn number(&mut self, old: u32) -> u32 {
        let next = self.order.len() as u32;
        let number = *self.numbers.entry(old).or_insert(next);
        if number == next {
            self.order.push(old);
        }
        number
    }
}

/// Orders instructions depth first, at each the operand that keeps more results alive first (Sethi and Ullman, "The
/// Generation of Optimal Code for Arithmetic Expressions", 1970).
struct Emitter<'a> {
    from: &'a [Op],
    live: Vec<u32>,
    placed: Vec<Option<u32>>,
    ops: Vec<Op>,
}

impl<'a> Emitter<'a> {
    fn new(from: &'a [Op]) -> Self {
        let mut live: Vec<u32> = Vec::with_capacity(from.len());
        for op in from {
            let needs = op.operands().filter_map(|operand| match operand {
                Operand::Result(index) => Some(live[index as usize]),
                _ => None,
            });
            let needs: Vec<u32> = needs.collect();
            live.push(match needs[..] {
                [] => 1,
                [need] => need,
                [a, b] if a == b => a + 1,
                [a, b] => a.max(b),
                _ => unreachable!("an instruction reads at most two operands"),
            });
        }
        Self {
            from,
            live,
            placed: vec![None; from.len()],
            ops: Vec::new(),
        }
    }

    /// Iterative, since sums of thousands of constraints nest as deep.
    fn emit(&mut self, output: Operand) -> Operand {
        let Operand::Result(root) = output else {
            return output;
        };
        let mut stack = vec![root];
        while let Some(&at) = stack.last() {
            if self.placed[at as usize].is_some() {
                stack.pop();
                continue;
            }
            let mut open: Vec<u32> = self.from[at as usize]
                .operands()
                .filter_map(|operand| match operand {
                    Operand::Result(index) if self.placed[index as usize].is_none() => Some(index),
                    _ => None,
                })
                .collect();
            if open.is_empty() {
                let op = map(self.from[at as usize], |operand| self.moved(operand));
                self.placed[at as usize] = Some(self.ops.len() as u32);
                self.ops.push(op);
                stack.pop();
            } else {
                open.sort_by_key(|index| self.live[*index as usize]);
                stack.extend(open);
            }
        }
        self.moved(output)
    }

    fn moved(&self, operand: Operand) -> Operand {
        match operand {
            Operand::Result(index) => Operand::Result(
                self.placed[index as usize].expect("operands are placed before their readers"),
            ),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_subexpressions_are_computed_once_and_unused_ones_not_at_all() {
        let mut graph = Graph::default();
        let (a, b) = (graph.input(Poly::Advice(0), 0), graph.input(Poly::Advice(1), 1));
        let unused = graph.input(Poly::Fixed(7), 0);
        let _ = graph.mul(unused, unused);
        let (product, again) = (graph.mul(a, b), graph.mul(b, a));
        assert_eq!(product, again);
        let sum = graph.add(product, again);
        let compiled = graph.compile(&[sum]);
        assert_eq!(compiled.program.ops().len(), 2, "a product and its double");
        assert_eq!(compiled.inputs, [Poly::Advice(0), Poly::Advice(1)]);
        let value = compiled.evaluate(&[], &|poly, rotation| match (poly, rotation) {
            (Poly::Advice(0), 0) => Fr::from(3),
            (Poly::Advice(1), 1) => Fr::from(5),
            _ => panic!("not an input"),
        });
        assert_eq!(value, [Fr::from(30)]);
    }

    #[test]
    fn constants_are_folded() {
        let mut graph = Graph::default();
        let a = graph.input(Poly::Advice(0), 0);
        let (zero, one, two) = (
            graph.value(Fr::ZERO),
            graph.value(Fr::ONE),
            graph.value(Fr::from(2)),
        );
        assert_eq!(graph.mul(a, one), a);
        assert_eq!(graph.mul(zero, a), zero);
        assert_eq!(graph.add(one, one), two);
        assert_eq!(graph.add(a, zero), a);
        assert_eq!(graph.sub(a, a), zero);
        let minus = graph.negate(a);
        assert_eq!(graph.sub(zero, a), minus);
        assert_eq!(graph.negate(minus), a);
        assert_eq!(graph.add(a, minus), zero);
        assert_eq!(graph.add(a, a), graph.mul(two, a));
    }
}
