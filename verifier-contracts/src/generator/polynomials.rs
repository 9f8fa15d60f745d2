//! A key's polynomials as Yul: common subexpressions once, and sums reduced only where they would overflow.
//!
//! A value is kept with a bound, so many times `r`: five times `r` fit a word, and `mulmod` and `addmod` take any word.

use std::collections::HashMap;

use circuits::plonk::{Node, Root, Shape};
use halo2curves::{bn256::Fr, ff::Field};

use super::{
    memory::Memory,
    yul::{Expr, Text, add, addmod, atom, literal, mload, mulmod, sub},
};

/// The largest multiple of `r` below `2^256`.
pub(super) const BOUND_MAX: usize = 5;
/// Words of stack that an expression may take; the rest is for what a function keeps there.
const DEPTH_MAX: usize = 9;

/// A value and its bound: it is at most `bound` times `r`.
pub(super) type Bounded = (Expr, usize);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Op {
    Constant(Fr),
    Load(String),
    Sum(usize, usize),
    Difference(usize, usize),
    Negation(usize),
    Double(usize),
    Product(usize, usize),
}

/// All polynomials of a key as operations on named words.
#[derive(Debug, Default)]
pub(super) struct Polynomials {
    ops: Vec<Op>,
    places: HashMap<Op, usize>,
    /// The operation of each node of the key's program.
    nodes: Vec<usize>,
    /// Reads that are still to come, of each operation.
    readers: Vec<usize>,
    /// Where an operation's value was kept, with its bound.
    kept: HashMap<usize, (usize, usize)>,
    free: Vec<usize>,
    /// Words that expressions which are not written yet still read.
    used: Vec<usize>,
    /// Words of memory for values that are read more than once.
    pub temporaries: usize,
}

/// A polynomial's value, by its operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(usize);

impl Polynomials {
    /// The polynomials of a key, read from the words that `memory` names.
    pub fn new(shape: &Shape, memory: &Memory) -> Self {
        let mut polynomials = Self::default();
        // Nodes come after what they read.
        for node in shape.program.nodes() {
            let at = |place: &usize| polynomials.nodes[*place];
            let place = match node {
                Node::Constant(value) => polynomials.intern(Op::Constant(*value)),
                Node::Query(query) => polynomials.intern(Op::Load(memory.query(shape, *query))),
                Node::Sum(a, b) => polynomials.sum(at(a), at(b)),
                Node::Product(a, b) => polynomials.product(at(a), at(b)),
                Node::Scaled(a, factor) => polynomials.scaled(at(a), *factor),
            };
            polynomials.nodes.push(place);
        }
        polynomials
    }

    /// Where a polynomial's value is.
    pub fn place(&self, root: Root) -> Place {
        Place(self.nodes[root.0])
    }

    fn intern(&mut self, op: Op) -> usize {
        if let Some(place) = self.places.get(&op) {
            return *place;
        }
        self.ops.push(op.clone());
        self.readers.push(0);
        self.places.insert(op, self.ops.len() - 1);
        self.ops.len() - 1
    }

    fn sum(&mut self, a: usize, b: usize) -> usize {
        let op = match (&self.ops[a], &self.ops[b]) {
            (Op::Constant(a), Op::Constant(b)) => Op::Constant(a + b),
            (Op::Constant(zero), _) if *zero == Fr::ZERO => return b,
            (_, Op::Constant(zero)) if *zero == Fr::ZERO => return a,
            (_, Op::Negation(b)) => Op::Difference(a, *b),
            (Op::Negation(a), _) => Op::Difference(b, *a),
            _ => Op::Sum(a.min(b), a.max(b)),
        };
        self.intern(op)
    }

    fn product(&mut self, a: usize, b: usize) -> usize {
        match (&self.ops[a], &self.ops[b]) {
            (Op::Constant(factor), _) => self.scaled(b, *factor),
            (_, Op::Constant(factor)) => self.scaled(a, *factor),
            _ => self.intern(Op::Product(a.min(b), a.max(b))),
        }
    }

    fn scaled(&mut self, a: usize, factor: Fr) -> usize {
        let op = match &self.ops[a] {
            Op::Constant(value) => Op::Constant(factor * value),
            _ if factor == Fr::ONE => return a,
            _ if factor == -Fr::ONE => Op::Negation(a),
            _ if factor == Fr::from(2) => Op::Double(a),
            _ => {
                let constant = self.intern(Op::Constant(factor));
                Op::Product(a.min(constant), a.max(constant))
            }
        };
        self.intern(op)
    }

    /// The factor that all of a gate's polynomials have, and what is left of each.
    pub fn factored(&self, gate: &[Place]) -> (Option<Place>, Vec<Place>) {
        let factors = |place: &Place| match self.ops[place.0] {
            Op::Product(a, b) => vec![a, b],
            _ => vec![],
        };
        let shared = factors(&gate[0])
            .into_iter()
            .find(|factor| gate.iter().all(|other| factors(other).contains(factor)));
        let Some(shared) = shared else {
            return (None, gate.to_vec());
        };
        let rest = gate.iter().map(|place| match self.ops[place.0] {
            Op::Product(a, b) => Place(if a == shared { b } else { a }),
            _ => unreachable!("each polynomial is a product"),
        });
        (Some(Place(shared)), rest.collect())
    }

    /// Counts a read that is to come: each must be announced before the first is written.
    pub fn announce(&mut self, place: Place) {
        self.readers[place.0] += 1;
        if self.readers[place.0] > 1 {
            return;
        }
        for operand in self.operands(place.0) {
            self.announce(Place(operand));
        }
    }

    fn operands(&self, place: usize) -> Vec<usize> {
        match self.ops[place] {
            Op::Constant(_) | Op::Load(_) => vec![],
            Op::Negation(a) | Op::Double(a) => vec![a],
            Op::Sum(a, b) | Op::Difference(a, b) | Op::Product(a, b) => vec![a, b],
        }
    }

    /// The value of a polynomial; what it shares with others is written to `text` first.
    pub fn value(&mut self, text: &mut Text, place: Place) -> Bounded {
        self.read(text, place.0)
    }

    fn read(&mut self, text: &mut Text, place: usize) -> Bounded {
        self.readers[place] -= 1;
        let last = self.readers[place] == 0;
        match &self.ops[place] {
            Op::Constant(value) => return (literal(*value), 1),
            Op::Load(name) => return (mload(name.clone()), 1),
            _ => {}
        }
        if let Some((word, bound)) = self.kept.get(&place).copied() {
            if last {
                self.kept.remove(&place);
                self.used.push(word);
            }
            return (mload(temporary(word)), bound);
        }
        let (value, bound) = self.compute(text, place);
        if last && value.depth() <= DEPTH_MAX {
            return (value, bound);
        }
        let word = self.keep(text, &value);
        if last {
            self.used.push(word);
        } else {
            self.kept.insert(place, (word, bound));
        }
        (mload(temporary(word)), bound)
    }

    /// Says that every value asked for so far is written: the words that they read may be used again.
    pub fn written(&mut self) {
        self.free.append(&mut self.used);
    }

    fn keep(&mut self, text: &mut Text, value: &Expr) -> usize {
        let word = self.free.pop().unwrap_or_else(|| {
            self.temporaries += 1;
            self.temporaries - 1
        });
        text.store(&temporary(word), value);
        word
    }

    fn compute(&mut self, text: &mut Text, place: usize) -> Bounded {
        match self.ops[place] {
            Op::Sum(a, b) => {
                let (a, b) = (self.read(text, a), self.read(text, b));
                sum(a, b)
            }
            Op::Difference(a, b) => {
                let (a, b) = (self.read(text, a), self.read(text, b));
                sum(a, negation(b))
            }
            Op::Negation(a) => negation(self.read(text, a)),
            Op::Double(a) => {
                let (a, bound) = self.read(text, a);
                if 2 * bound <= BOUND_MAX {
                    (Expr::Call("shl", vec![atom("1"), a]), 2 * bound)
                } else {
                    (mulmod(a, atom("2")), 1)
                }
            }
            Op::Product(a, b) => {
                let (a, b) = (self.read(text, a).0, self.read(text, b).0);
                (mulmod(a, b), 1)
            }
            Op::Constant(_) | Op::Load(_) => unreachable!("read without computing"),
        }
    }
}

/// The name of a temporary word.
fn temporary(word: usize) -> String {
    format!("T{word}")
}

/// `a + b`.
pub(super) fn sum((a, a_bound): Bounded, (b, b_bound): Bounded) -> Bounded {
    if a_bound + b_bound <= BOUND_MAX {
        (add(a, b), a_bound + b_bound)
    } else {
        (addmod(a, b), 1)
    }
}

/// `-a`, as a multiple of `r` less `a`.
fn negation((a, bound): Bounded) -> Bounded {
    let multiple = if bound == 1 {
        "r".to_owned()
    } else {
        format!("R{bound}")
    };
    (sub(atom(multiple), a), bound)
}
