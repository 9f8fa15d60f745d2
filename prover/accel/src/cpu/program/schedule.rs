//! From a program to nodes over a few slots: sums of products that are reduced once, and what they may grow to.

use crate::{Op, Operand, Program};
use std::collections::HashMap;

/// Bounds are multiples of the modulus `p`, rounded up. A lazily reduced element may be up to this, where five limbs of 52
/// bits hold 84.
const BOUND_MAX: u64 = 80;

/// Elements above this bound are reduced, so that any sum, difference or product of two others stays below `BOUND_MAX`:
/// `16 · 20² / 84 + 2 < 79`.
const BOUND_KEPT: u64 = 20;

/// What a reduction leaves.
const BOUND_REDUCED: u64 = 2;

/// Products of one node: a column takes 9 of `2^52` from each, times 16, and must stay below `2^63` with what a reduction
/// adds.
const PRODUCTS_MAX: usize = 12;

/// Terms of one node that are no products.
const ADDENDS_MAX: usize = 24;

/// Uses from which on an input is kept in a slot rather than read again.
const KEPT_USES: usize = 3;

/// Where a node finds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::cpu) enum Source {
    /// The result of an earlier node.
    Slot(usize),
    /// An input under a rotation, by its place in [`Schedule::reads`].
    Read(usize),
    /// A constant.
    Constant(usize),
}

/// A term that is a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cpu) struct Product {
    pub(in crate::cpu) a: Source,
    pub(in crate::cpu) b: Source,
    /// Whether it is subtracted.
    pub(in crate::cpu) negative: bool,
    /// A multiple of `p` that `a` does not exceed.
    pub(in crate::cpu) a_bound: u64,
}

/// `Σ products + Σ plus - Σ minus`, into a slot, which may be one that the node reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cpu) struct Node {
    pub(in crate::cpu) products: Vec<Product>,
    pub(in crate::cpu) plus: Vec<Source>,
    pub(in crate::cpu) minus: Vec<Source>,
    pub(in crate::cpu) slot: usize,
    /// A multiple of `p` that `minus` does not exceed.
    pub(in crate::cpu) offset: u64,
    /// Whether the result is to be reduced before it is stored.
    pub(in crate::cpu) reduce: bool,
}

/// A program made ready.
pub(in crate::cpu) struct Schedule {
    pub(in crate::cpu) nodes: Vec<Node>,
    /// Slots that the nodes need.
    pub(in crate::cpu) slots: usize,
    /// Inputs with rotations.
    pub(in crate::cpu) reads: Vec<(usize, i32)>,
    pub(in crate::cpu) outputs: Vec<Source>,
}

impl Schedule {
    pub(in crate::cpu) fn new(program: &Program) -> Self {
        let mut builder = Builder::new(program);
        for (at, op) in program.ops().iter().enumerate() {
            if builder.uses[at] > 0 {
                let sum = builder.sum(op);
                builder.pending[at] = Some(sum);
            }
        }
        let outputs = program.outputs().iter();
        let outputs = outputs.map(|operand| builder.value(*operand).0).collect();
        let mut schedule = Self {
            nodes: builder.nodes,
            slots: 0,
            reads: builder.reads,
            outputs,
        };
        schedule.keep_frequent_reads();
        schedule.assign_slots();
        schedule
    }

    fn sources(node: &mut Node) -> impl Iterator<Item = &mut Source> {
        let products = node
            .products
            .iter_mut()
            .flat_map(|product| [&mut product.a, &mut product.b]);
        products.chain(&mut node.plus).chain(&mut node.minus)
    }

    /// Puts a node that copies before the first use of each input that is used often.
    ///
    /// Until slots are assigned, [`Source::Slot`] is the number of a node, counted before this insertion.
    fn keep_frequent_reads(&mut self) {
        let mut uses = vec![0; self.reads.len()];
        for node in &mut self.nodes {
            for source in Self::sources(node) {
                if let Source::Read(read) = source {
                    uses[*read] += 1;
                }
            }
        }
        let mut copies: Vec<Option<usize>> = vec![None; self.reads.len()];
        let mut places = Vec::with_capacity(self.nodes.len());
        let mut nodes: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for mut node in std::mem::take(&mut self.nodes) {
            for source in Self::sources(&mut node) {
                match *source {
                    Source::Slot(at) => *source = Source::Slot(places[at]),
                    Source::Read(read) if uses[read] >= KEPT_USES => {
                        let copy = *copies[read].get_or_insert_with(|| {
                            nodes.push(Node {
                                plus: vec![*source],
                                ..Node::default()
                            });
                            nodes.len() - 1
                        });
                        *source = Source::Slot(copy);
                    }
                    _ => {}
                }
            }
            places.push(nodes.len());
            nodes.push(node);
        }
        for source in &mut self.outputs {
            if let Source::Slot(at) = source {
                *at = places[*at];
            }
        }
        self.nodes = nodes;
    }

    /// Replaces nodes' numbers by slots, which are free again after the last use of what they hold.
    fn assign_slots(&mut self) {
        let mut last = vec![0; self.nodes.len()];
        for (at, node) in self.nodes.iter_mut().enumerate() {
            for source in Self::sources(node) {
                if let Source::Slot(of) = source {
                    last[*of] = at;
                }
            }
        }
        for source in &self.outputs {
            if let Source::Slot(of) = source {
                last[*of] = self.nodes.len();
            }
        }
        let mut slots = Vec::with_capacity(self.nodes.len());
        let mut free = Vec::new();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let mut ended = Vec::new();
            for source in Self::sources(node) {
                if let Source::Slot(of) = *source {
                    *source = Source::Slot(slots[of]);
                    if last[of] == at {
                        ended.push(slots[of]);
                    }
                }
            }
            // A value may be read twice by its last reader.
            ended.sort_unstable();
            ended.dedup();
            free.extend(ended);
            node.slot = free.pop().unwrap_or_else(|| {
                self.slots += 1;
                self.slots - 1
            });
            slots.push(node.slot);
        }
        for source in &mut self.outputs {
            if let Source::Slot(of) = source {
                *of = slots[*of];
            }
        }
    }
}

/// A node that is not placed yet, with what its terms may add up to.
#[derive(Default)]
struct Sum {
    node: Node,
    /// Sum of the products of bounds.
    products: u64,
    plus: u64,
    minus: u64,
}

impl Sum {
    fn addends(&self) -> usize {
        self.node.plus.len() + self.node.minus.len()
    }

    /// What the sum may reach. Products are scaled by 16 and divided by `2^260 > 84 p`, with at most `2 p` added.
    fn bound(&self) -> u64 {
        let products = match self.node.products.len() {
            0 => 0,
            _ => (16 * self.products).div_ceil(84) + 2,
        };
        products + self.plus + self.minus
    }

    /// Whether this sum and another one can be one node.
    fn fits(&self, other: &Self) -> bool {
        let products = self.node.products.len() + other.node.products.len();
        let addends = self.addends() + other.addends();
        // The bound of the sum is at most the sum of the bounds.
        self.bound() + other.bound() <= BOUND_MAX && products <= PRODUCTS_MAX && addends <= ADDENDS_MAX
    }

    fn join(mut self, other: Self) -> Self {
        self.node.products.extend(other.node.products);
        self.node.plus.extend(other.node.plus);
        self.node.minus.extend(other.node.minus);
        self.products += other.products;
        self.plus += other.plus;
        self.minus += other.minus;
        self
    }

    fn negated(mut self) -> Self {
        for product in &mut self.node.products {
            product.negative = !product.negative;
        }
        std::mem::swap(&mut self.node.plus, &mut self.node.minus);
        std::mem::swap(&mut self.plus, &mut self.minus);
        self
    }
}

struct Builder<'a> {
    program: &'a Program,
    /// Times that each instruction's result is read by what is needed.
    uses: Vec<usize>,
    /// Sums that no node computes yet.
    pending: Vec<Option<Sum>>,
    /// Nodes of instructions, with the bounds of their results.
    placed: Vec<Option<(usize, u64)>>,
    nodes: Vec<Node>,
    reads: Vec<(usize, i32)>,
    read_numbers: HashMap<(usize, i32), usize>,
}

impl<'a> Builder<'a> {
    fn new(program: &'a Program) -> Self {
        let ops = program.ops();
        let mut uses = vec![0; ops.len()];
        let count = |uses: &mut Vec<usize>, operand| {
            if let Operand::Result(at) = operand {
                uses[at as usize] += 1;
            }
        };
        program
            .outputs()
            .iter()
            .for_each(|operand| count(&mut uses, *operand));
        for (at, op) in ops.iter().enumerate().rev() {
            if uses[at] > 0 {
                op.operands().for_each(|operand| count(&mut uses, operand));
            }
        }
        Self {
            program,
            uses,
            pending: ops.iter().map(|_| None).collect(),
            placed: vec![None; ops.len()],
            nodes: Vec::new(),
            reads: Vec::new(),
            read_numbers: HashMap::new(),
        }
    }

    /// The sum that an instruction computes. Terms of a sum that only it reads become its own.
    fn sum(&mut self, op: &Op) -> Sum {
        match *op {
            Op::Add(a, b) => {
                let (a, b) = (self.term(a), self.term(b));
                self.joined(a, b)
            }
            Op::Sub(a, b) => {
                let (a, b) = (self.term(a), self.term(b).negated());
                self.joined(a, b)
            }
            Op::Mul(a, b) => self.product(a, b),
            Op::Square(a) => self.product(a, a),
            Op::Double(a) => {
                let (source, bound) = self.value(a);
                let node = Node {
                    plus: vec![source; 2],
                    ..Node::default()
                };
                Sum {
                    node,
                    plus: 2 * bound,
                    ..Sum::default()
                }
            }
            Op::Negate(a) => self.term(a).negated(),
        }
    }

    fn product(&mut self, a: Operand, b: Operand) -> Sum {
        let (a, a_bound) = self.value(a);
        let (b, b_bound) = self.value(b);
        let product = Product {
            a,
            b,
            negative: false,
            a_bound,
        };
        let node = Node {
            products: vec![product],
            ..Node::default()
        };
        Sum {
            node,
            products: a_bound * b_bound,
            ..Sum::default()
        }
    }

    /// An operand as a sum: the one that computes it, where nothing else reads that, or a single term.
    fn term(&mut self, operand: Operand) -> Sum {
        if let Operand::Result(at) = operand
            && self.uses[at as usize] == 1
            && let Some(sum) = self.pending[at as usize].take()
        {
            return sum;
        }
        let (source, bound) = self.value(operand);
        Self::single(source, bound)
    }

    fn single(source: Source, bound: u64) -> Sum {
        let node = Node {
            plus: vec![source],
            ..Node::default()
        };
        Sum {
            node,
            plus: bound,
            ..Sum::default()
        }
    }

    /// Two sums as one, of their values if they are too large together.
    fn joined(&mut self, a: Sum, b: Sum) -> Sum {
        if a.fits(&b) {
            return a.join(b);
        }
        self.settled(a).join(self.settled(b))
    }

    /// The value of a sum as a single term.
    fn settled(&mut self, sum: Sum) -> Sum {
        if sum.addends() == 1 && sum.node.products.is_empty() {
            return sum;
        }
        let (node, bound) = self.place(sum);
        Self::single(Source::Slot(node), bound)
    }

    /// The value of an operand, computed by a node where it is a result.
    fn value(&mut self, operand: Operand) -> (Source, u64) {
        match operand {
            Operand::Input { column, rotation } => {
                let key = (column as usize, rotation);
                let next = self.reads.len();
                let number = *self.read_numbers.entry(key).or_insert(next);
                if number == next {
                    self.reads.push(key);
                }
                (Source::Read(number), 1)
            }
            Operand::Constant(index) => (Source::Constant(index as usize), 1),
            Operand::Result(at) => {
                let at = at as usize;
                if let Some(sum) = self.pending[at].take() {
                    self.placed[at] = Some(self.place(sum));
                }
                let Some((node, bound)) = self.placed[at] else {
                    unreachable!(
                        "instruction {at} of {} is read before it is computed, or twice with one use counted",
                        self.program.ops().len()
                    );
                };
                (Source::Slot(node), bound)
            }
        }
    }

    /// Makes a sum a node; its number and its bound.
    fn place(&mut self, sum: Sum) -> (usize, u64) {
        let bound = sum.bound();
        let reduce = bound > BOUND_KEPT;
        self.nodes.push(Node {
            offset: sum.minus,
            reduce,
            ..sum.node
        });
        let bound = if reduce { BOUND_REDUCED } else { bound };
        (self.nodes.len() - 1, bound)
    }
}
