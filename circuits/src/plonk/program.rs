//! A constraint system's polynomials as one list of operations, in which equal subexpressions occur once.
//!
//! A Poseidon gate repeats the same S-box outputs in every row of a matrix; evaluated as trees they cost an order of
//! magnitude more.

use std::collections::HashMap;

use halo2_proofs::plonk::Expression;
use halo2curves::{bn256::Fr, ff::Field};

use super::arithmetic::Arithmetic;

/// How many operations may stand on each other: an evaluation goes as deep.
pub(crate) const DEPTH_MAX: usize = 512;

/// A queried column, by its kind and place among the constraint system's queries of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// Of the fixed columns: value `first_fixed + place` of the proof's scalars.
    Fixed(usize),
    /// Of the advice columns: value `place` of the proof's scalars.
    Advice(usize),
    /// Of the instance column: the verifier computes it, at rotation `instance_rotations[place]`.
    Instance(usize),
}

/// One operation; operands are places of nodes that come before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// A constant.
    Constant(Fr),
    /// A column's value.
    Query(Query),
    /// `a + b`.
    Sum(usize, usize),
    /// `a b`.
    Product(usize, usize),
    /// `c a`.
    Scaled(usize, Fr),
}

impl Node {
    fn operands(&self) -> [Option<usize>; 2] {
        match *self {
            Self::Constant(_) | Self::Query(_) => [None, None],
            Self::Sum(a, b) | Self::Product(a, b) => [Some(a), Some(b)],
            Self::Scaled(a, _) => [Some(a), None],
        }
    }
}

/// The node at which a polynomial's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root(pub usize);

/// The polynomials of a constraint system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    nodes: Vec<Node>,
    /// How many nodes and roots read each node.
    readers: Vec<usize>,
    places: HashMap<Node, usize>,
}

impl Program {
    /// The operations, each after what it reads.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many nodes and polynomials read a node.
    pub fn readers(&self, place: usize) -> usize {
        self.readers[place]
    }

    /// Adds a polynomial; `query` finds a queried column and rotation.
    pub(crate) fn add(
        &mut self,
        polynomial: &Expression<Fr>,
        query: &impl Fn(&Expression<Fr>) -> Query,
    ) -> Root {
        let place = self.place(polynomial, query);
        self.readers[place] += 1;
        Root(place)
    }

    fn place(&mut self, polynomial: &Expression<Fr>, query: &impl Fn(&Expression<Fr>) -> Query) -> usize {
        let node = match polynomial {
            Expression::Constant(value) => Node::Constant(*value),
            Expression::Fixed(_) | Expression::Advice(_) | Expression::Instance(_) => {
                Node::Query(query(polynomial))
            }
            Expression::Negated(a) => Node::Scaled(self.place(a, query), -Fr::ONE),
            Expression::Scaled(a, factor) => Node::Scaled(self.place(a, query), *factor),
            Expression::Sum(a, b) => Node::Sum(self.place(a, query), self.place(b, query)),
            Expression::Product(a, b) => Node::Product(self.place(a, query), self.place(b, query)),
            Expression::Selector(_) => unreachable!("a verifying key's selectors are fixed columns"),
            Expression::Challenge(_) => unreachable!("a circuit of one phase has no challenges"),
        };
        match self.places.get(&node) {
            Some(place) => *place,
            None => self.push(node),
        }
    }

    /// Adds a node that is not there yet; its operands are.
    fn push(&mut self, node: Node) -> usize {
        let place = self.nodes.len();
        for operand in node.operands().into_iter().flatten() {
            self.readers[operand] += 1;
        }
        self.nodes.push(node);
        self.readers.push(0);
        self.places.insert(node, place);
        place
    }

    /// A program of these nodes, which polynomials at `roots` read; nothing if a node reads one that does not come before it,
    /// is there twice, is read by none, or stands deeper than an evaluation goes.
    pub(crate) fn of(nodes: Vec<Node>, roots: impl Iterator<Item = Root>) -> Option<Self> {
        let mut program = Self::default();
        let mut depths: Vec<usize> = Vec::with_capacity(nodes.len());
        for node in nodes {
            let mut depth = 0;
            for operand in node.operands().into_iter().flatten() {
                depth = depth.max(depths.get(operand)? + 1);
            }
            if depth > DEPTH_MAX || program.places.contains_key(&node) {
                return None;
            }
            depths.push(depth);
            program.push(node);
        }
        for Root(place) in roots {
            *program.readers.get_mut(place)? += 1;
        }
        program
            .readers
            .iter()
            .all(|readers| *readers > 0)
            .then_some(program)
    }

    /// Begins an evaluation at given values of the queries.
    pub(crate) fn at<'a, S>(&'a self, queries: &'a dyn Fn(Query) -> S) -> Evaluation<'a, S> {
        Evaluation {
            program: self,
            queries,
            values: std::iter::repeat_with(|| None).take(self.nodes.len()).collect(),
        }
    }
}

/// The values of a program's nodes that were asked for.
pub(crate) struct Evaluation<'a, S> {
    program: &'a Program,
    queries: &'a dyn Fn(Query) -> S,
    values: Vec<Option<S>>,
}

impl<S: Clone> Evaluation<'_, S> {
    /// The value of a polynomial.
    pub fn value<A: Arithmetic<Scalar = S>>(&mut self, a: &mut A, root: Root) -> S {
        self.node(a, root.0)
    }

    fn node<A: Arithmetic<Scalar = S>>(&mut self, a: &mut A, place: usize) -> S {
        if let Some(value) = &self.values[place] {
            return value.clone();
        }
        let value = match self.program.nodes[place] {
            Node::Constant(value) => a.constant(value),
            Node::Query(query) => (self.queries)(query),
            Node::Sum(left, right) => self.sum(a, left, right),
            Node::Product(left, right) => {
                let (left, right) = (self.node(a, left), self.node(a, right));
                a.mul(&left, &right)
            }
            Node::Scaled(of, factor) => {
                let of = self.node(a, of);
                a.scale(&of, factor)
            }
        };
        self.values[place] = Some(value.clone());
        value
    }

    /// A sum; a product that nothing else reads joins it in one operation.
    fn sum<A: Arithmetic<Scalar = S>>(&mut self, a: &mut A, left: usize, right: usize) -> S {
        for (term, other) in [(right, left), (left, right)] {
            if self.program.readers[term] > 1 || self.values[term].is_some() {
                continue;
            }
            match self.program.nodes[term] {
                Node::Product(b, c) => {
                    let (b, c) = (self.node(a, b), self.node(a, c));
                    let other = self.node(a, other);
                    return a.mul_add(&other, &b, &c);
                }
                Node::Scaled(b, factor) => {
                    let b = self.node(a, b);
                    let other = self.node(a, other);
                    return a.add_scaled(&other, &b, factor);
                }
                _ => {}
            }
        }
        let (left, right) = (self.node(a, left), self.node(a, right));
        a.add(&left, &right)
    }
}
