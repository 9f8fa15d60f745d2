//! Folds constraints by powers of `y` into one value, with few multiplications.

use accel::{Op, Operand};
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::graph::{Graph, Scalar, Weight};

/// A constraint of the quotient, `factor · value = 0`.
pub(crate) struct Constraint {
    pub factor: Operand,
    pub value: Operand,
}

/// Constraints with a factor in common, each by its power of `y` and the other factor.
struct Group {
    shared: Operand,
    members: Vec<(usize, Operand)>,
}

/// `Σ y^{m-1-i} · constraint_i`.
///
/// Factors that several constraints share, selectors and Lagrange polynomials, are multiplied with their sum. What is
/// linear within such a sum is folded on the host: `Σ_i y^i Σ_j c_ij v_j = Σ_j (Σ_i y^i c_ij) v_j`, so that a gate that
/// applies a matrix costs its columns, not its entries.
pub(crate) fn fold(graph: &mut Graph, constraints: &[Constraint]) -> Operand {
    let groups = groups(constraints);
    let roots = groups.iter().flat_map(|group| {
        let values = group.members.iter().map(|(_, value)| *value);
        values.chain([group.shared])
    });
    let uses = graph.uses(roots);
    let mut total = graph.value(Fr::ZERO);
    for group in groups {
        let sum = linear_sum(graph, &group.members, &uses);
        let term = graph.mul(group.shared, sum);
        total = graph.add(total, term);
    }
    total
}

fn groups(constraints: &[Constraint]) -> Vec<Group> {
    let mut uses: HashMap<Operand, usize> = HashMap::new();
    for constraint in constraints {
        for side in [constraint.factor, constraint.value] {
            *uses.entry(side).or_default() += 1;
        }
    }
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<Operand, usize> = HashMap::new();
    for (index, constraint) in constraints.iter().enumerate() {
        let (mut shared, mut value) = (constraint.factor, constraint.value);
        if uses[&value] > uses[&shared] {
            (shared, value) = (value, shared);
        }
        let place = *places.entry(shared).or_insert(groups.len());
        if place == groups.len() {
            let members = Vec::new();
            groups.push(Group { shared, members });
        }
        groups[place].members.push((constraints.len() - 1 - index, value));
    }
    groups
}

/// The members' sum, weighted by their powers of `y`. `uses` counts how often each instruction is read in all.
fn linear_sum(graph: &mut Graph, members: &[(usize, Operand)], uses: &[usize]) -> Operand {
    let mut terms = Terms::default();
    for (power, value) in members {
        terms.add(graph, *value, &Weight::from([(*power, Fr::ONE)]));
    }
    // Instructions read earlier ones only, so that all readers of the last one left have been taken apart.
    while let Some((index, (reads, weight))) = terms.open.pop_last() {
        // One that is read elsewhere too is computed anyway.
        let op = (reads == uses[index as usize]).then(|| graph.op(index));
        let mut add = |operand, weight: &Weight| terms.add(graph, operand, weight);
        match op {
            Some(Op::Add(a, b)) => [a, b].into_iter().for_each(|operand| add(operand, &weight)),
            Some(Op::Sub(a, b)) => {
                add(a, &weight);
                add(b, &times(&weight, -Fr::ONE));
            }
            Some(Op::Double(a)) => add(a, &times(&weight, Fr::from(2))),
            Some(Op::Negate(a)) => add(a, &times(&weight, -Fr::ONE)),
            Some(Op::Mul(a, b)) if graph.known_value(b).is_some() => {
                let factor = graph.known_value(b).expect("just seen");
                add(a, &times(&weight, factor));
            }
            Some(Op::Mul(a, b)) => terms.products.push(([a, b], Operand::Result(index), weight)),
            Some(Op::Square(a)) => terms.products.push(([a, a], Operand::Result(index), weight)),
            None => terms.leaves.push((Operand::Result(index), weight)),
        }
    }
    terms.sum(graph)
}

/// A linear combination that is being taken apart.
#[derive(Default)]
struct Terms {
    /// Instructions by number, with how often they were met and the weight that they have so far.
    open: BTreeMap<u32, (usize, Weight)>,
    /// Inputs and scalars, by their places among the leaves.
    places: HashMap<Operand, usize>,
    leaves: Vec<(Operand, Weight)>,
    /// Products that nothing else reads.
    products: Vec<Product>,
    constant: Weight,
}

/// Both factors, the product and its weight.
type Product = ([Operand; 2], Operand, Weight);

/// A factor, and products that have it.
type Factored = (Operand, Vec<Product>);

impl Terms {
    fn add(&mut self, graph: &Graph, operand: Operand, weight: &Weight) {
        let sum = match (operand, graph.known_value(operand)) {
            (_, Some(value)) => return accumulate(&mut self.constant, &times(weight, value)),
            (Operand::Result(index), None) => {
                let (reads, sum) = self.open.entry(index).or_default();
                *reads += 1;
                sum
            }
            (_, None) => {
                let place = *self.places.entry(operand).or_insert(self.leaves.len());
                if place == self.leaves.len() {
                    self.leaves.push((operand, Weight::new()));
                }
                &mut self.leaves[place].1
            }
        };
        accumulate(sum, weight);
    }

    /// The sum, in the cheapest of some ways: products with a factor in common may be that factor times one sum, so that
    /// `Σ_ij w_ij u_i v_j` takes a product for each `w_ij` and each `u_i`, or each product is a leaf.
    fn sum(mut self, graph: &mut Graph) -> Operand {
        let (groups, single) = factored(std::mem::take(&mut self.products));
        let cost = |grouped: &usize| self.cost(&groups[..*grouped], &groups[*grouped..], &single);
        let grouped = (0..=groups.len()).min_by_key(cost).unwrap_or(0);
        let (groups, others) = groups.split_at(grouped);
        let rest = others.iter().flat_map(|(_, products)| products).chain(&single);
        let rest = rest.map(|(_, product, weight)| (*product, weight.clone()));
        self.leaves.extend(rest);
        for (factor, products) in groups {
            let others = products.iter().map(|([a, b], _, weight)| {
                let other = if a == factor { b } else { a };
                (*other, weight.clone())
            });
            let others = weighted(graph, others.collect());
            let product = graph.mul(*factor, others);
            self.leaves.push((product, Weight::from([(0, Fr::ONE)])));
        }
        let constant = graph.scalar(Scalar::from(self.constant));
        let sum = weighted(graph, self.leaves);
        graph.add(constant, sum)
    }

    /// Multiplications that it takes where some factors are taken out and others are not.
    fn cost(&self, groups: &[Factored], others: &[Factored], single: &[Product]) -> usize {
        let taken_out = groups.iter().map(|(_, products)| {
            let weights = products.iter().map(|(.., weight)| weight);
            1 + distinct(weights)
        });
        let rest = others.iter().flat_map(|(_, products)| products).chain(single);
        let rest: Vec<&Weight> = rest.map(|(.., weight)| weight).collect();
        let leaves = self.leaves.iter().map(|(_, weight)| weight);
        taken_out.sum::<usize>() + rest.len() + distinct(leaves.chain(rest))
    }
}

/// Products by the factors that most of them have, the most frequent first, and those that share none.
fn factored(products: Vec<Product>) -> (Vec<Factored>, Vec<Product>) {
    let (mut groups, mut rest) = (Vec::new(), products);
    loop {
        let mut counts: HashMap<Operand, usize> = HashMap::new();
        let factors = |[a, b]: [Operand; 2]| [Some(a), (a != b).then_some(b)].into_iter().flatten();
        let all = rest.iter().flat_map(|(both, ..)| factors(*both));
        all.clone()
            .for_each(|factor| *counts.entry(factor).or_default() += 1);
        let most = counts.values().max().copied().unwrap_or(0);
        // The first one, so that the program is the same each time.
        let Some(factor) = all
            .clone()
            .find(|factor| counts[factor] == most)
            .filter(|_| most > 1)
        else {
            return (groups, rest);
        };
        let (taken, left) = rest.into_iter().partition(|(both, ..)| both.contains(&factor));
        groups.push((factor, taken));
        rest = left;
    }
}

/// How many weights take a multiplication: all but 1 and -1, a weight and its negative once.
fn distinct<'a>(weights: impl Iterator<Item = &'a Weight>) -> usize {
    let mut seen: HashSet<Weight> = HashSet::new();
    for weight in weights {
        if !seen.contains(&times(weight, -Fr::ONE)) {
            seen.insert(weight.clone());
        }
    }
    let free = |weight: &&Weight| {
        let value = weight.get(&0).filter(|_| weight.len() == 1);
        value.is_some_and(|value| *value == Fr::ONE || *value == -Fr::ONE)
    };
    seen.iter().filter(|weight| !free(weight)).count()
}

/// `Σ weight · leaf`. Leaves of one weight, or of its negative, are added up before they are multiplied.
fn weighted(graph: &mut Graph, leaves: Vec<(Operand, Weight)>) -> Operand {
    let mut weights: HashMap<Weight, usize> = HashMap::new();
    let mut sums: Vec<(Weight, Operand)> = Vec::new();
    let zero = graph.value(Fr::ZERO);
    for (leaf, weight) in leaves.into_iter().filter(|(_, weight)| !weight.is_empty()) {
        if let Some(place) = weights.get(&times(&weight, -Fr::ONE)) {
            sums[*place].1 = graph.sub(sums[*place].1, leaf);
            continue;
        }
        let place = *weights.entry(weight.clone()).or_insert(sums.len());
        if place == sums.len() {
            sums.push((weight, zero));
        }
        sums[place].1 = graph.add(sums[place].1, leaf);
    }
    let mut total = zero;
    for (weight, sum) in sums {
        let weight = graph.scalar(Scalar::from(weight));
        let term = graph.mul(sum, weight);
        total = graph.add(total, term);
    }
    total
}

fn times(weight: &Weight, factor: Fr) -> Weight {
    weight
        .iter()
        .map(|(power, value)| (*power, value * factor))
        .collect()
}

fn accumulate(sum: &mut Weight, weight: &Weight) {
    for (power, value) in weight {
        let slot = sum.entry(*power).or_default();
        *slot += value;
        if *slot == Fr::ZERO {
            sum.remove(power);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Compiled, Poly};
    use crate::system::Challenges;

    fn value(compiled: &Compiled, y: Fr, inputs: &[Fr]) -> Fr {
        let challenges = Challenges {
            y,
            ..Challenges::default()
        };
        let constants = challenges.constants(&compiled.scalars, Fr::ONE);
        compiled.evaluate(&constants, &|poly, _| match poly {
            Poly::Advice(index) => inputs[index],
            _ => unreachable!("all inputs are advice"),
        })[0]
    }

    #[test]
    fn a_matrix_costs_its_columns() {
        let mut graph = Graph::default();
        let selector = graph.input(Poly::Advice(0), 0);
        let powers: Vec<Operand> = (1..4)
            .map(|column| {
                let x = graph.input(Poly::Advice(column), 0);
                graph.mul(x, x)
            })
            .collect();
        let entry = |row: u64, column: u64| Fr::from(100 * row + 7 * column + 3);
        let mut constraints = Vec::new();
        for row in 0..5 {
            let mut sum = graph.value(Fr::from(row));
            for (column, power) in (0..).zip(&powers) {
                let entry = graph.value(entry(row, column));
                let term = graph.mul(*power, entry);
                sum = graph.add(sum, term);
            }
            let factor = selector;
            constraints.push(Constraint { factor, value: sum });
        }
        let folded = fold(&mut graph, &constraints);
        let compiled = graph.compile(&[folded]);
        let products = compiled.program.ops().iter();
        let products = products
            .filter(|op| matches!(op, Op::Mul(..) | Op::Square(..)))
            .count();
        assert_eq!(products, 3 + 3 + 1, "squares, columns, selector");

        let inputs: Vec<Fr> = [2, 5, 7, 11].map(Fr::from).to_vec();
        let y = Fr::from(1_000);
        let expected = (0..5).fold(Fr::ZERO, |sum, row| {
            let columns = (0..)
                .zip(&inputs[1..])
                .map(|(column, x)| entry(row, column) * x.square());
            sum * y + (columns.sum::<Fr>() + Fr::from(row)) * inputs[0]
        });
        assert_eq!(value(&compiled, y, &inputs), expected);
    }

    /// `Σ_ij w_ij u_i v_j` with weights that all differ: a product for each of them and for each `u_i`, and no more.
    #[test]
    fn a_bilinear_form_costs_its_weights_and_one_side() {
        let mut graph = Graph::default();
        let [u, v] = [0, 3].map(|first| [0, 1, 2].map(|at| graph.input(Poly::Advice(first + at), 0)));
        let weight = |i: usize, j: usize| Fr::from((3 + 10 * i + j * j) as u64);
        let mut sum = graph.value(Fr::ZERO);
        for (i, j) in (0..9).map(|at| (at / 3, at % 3)) {
            let product = graph.mul(u[i], v[j]);
            let weight = graph.value(weight(i, j));
            let term = graph.mul(product, weight);
            sum = graph.add(sum, term);
        }
        let square = graph.mul(u[0], u[0]);
        let value = graph.sub(sum, square);
        let factor = graph.value(Fr::ONE);
        let folded = fold(&mut graph, &[Constraint { factor, value }]);
        let compiled = graph.compile(&[folded]);
        let ops = compiled.program.ops().iter();
        let products = ops.filter(|op| matches!(op, Op::Mul(..) | Op::Square(..)));
        assert_eq!(products.count(), 9 + 3, "-1 is no weight");
        let inputs: Vec<Fr> = [2, 3, 5, 7, 11, 13].map(Fr::from).to_vec();
        let terms = (0..9).map(|at| weight(at / 3, at % 3) * inputs[at / 3] * inputs[3 + at % 3]);
        let expected = terms.sum::<Fr>() - inputs[0].square();
        assert_eq!(self::value(&compiled, Fr::ONE, &inputs), expected);
    }

    #[test]
    fn what_cancels_is_gone_and_what_is_shared_is_computed_once() {
        let mut graph = Graph::default();
        let [a, b, c] = [0, 1, 2].map(|column| graph.input(Poly::Advice(column), 0));
        let sum = graph.add(a, b);
        let square = graph.mul(sum, sum);
        let one = graph.value(Fr::ONE);
        let difference = graph.sub(sum, c);
        let negative = graph.negate(difference);
        let factor = one;
        let constraints = [square, difference, negative].map(|value| Constraint { factor, value });
        let folded = fold(&mut graph, &constraints);
        let compiled = graph.compile(&[folded]);
        let inputs = [3, 4, 5].map(Fr::from);
        // (49 y + 2) y - 2
        assert_eq!(value(&compiled, Fr::from(10), &inputs), Fr::from(4_918));
        assert_eq!(value(&compiled, Fr::ONE, &inputs), Fr::from(49));
    }
}
