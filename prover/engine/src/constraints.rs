//! The constraints of a system, and the values that its arguments need on the way, as programs.

use accel::Operand;
use halo2_proofs::plonk::{ConstraintSystem, Expression};
use halo2curves::bn256::Fr;
use halo2curves::ff::Field;

use crate::fold::{Constraint, fold};
use crate::graph::{Compiled, Graph, Poly, Scalar};

/// What the programs are compiled from.
pub(crate) struct Layout<'a> {
    pub cs: &'a ConstraintSystem<Fr>,
    pub permuted: &'a [Poly],
    /// Columns per running product of the permutation.
    pub chunk: usize,
    pub blinding: usize,
}

impl Layout<'_> {
    /// Running products of the permutation.
    pub fn products(&self) -> usize {
        self.permuted.len().div_ceil(self.chunk)
    }

    /// Denominator `Π (v_j + beta·sigma_j + gamma)` and numerator `Π (v_j + beta·delta^j·omega^i + gamma)` of a chunk.
    pub fn permutation(&self, chunk: usize) -> Compiled {
        let mut graph = Graph::default();
        let (denominator, numerator) = self.permutation_factors(&mut graph, chunk);
        graph.compile(&[denominator, numerator])
    }

    fn permutation_factors(&self, graph: &mut Graph, chunk: usize) -> (Operand, Operand) {
        let (beta, gamma) = (graph.scalar(Scalar::Beta), graph.scalar(Scalar::Gamma));
        let identity = graph.input(Poly::Identity, 0);
        let one = graph.value(Fr::ONE);
        let (mut denominator, mut numerator) = (one, one);
        let columns = self.permuted.iter().enumerate();
        for (at, column) in columns.skip(chunk * self.chunk).take(self.chunk) {
            let value = graph.input(*column, 0);
            let value = graph.add(value, gamma);
            let sigma = graph.input(Poly::Sigma(at), 0);
            let image = graph.mul(beta, sigma);
            let image = graph.add(value, image);
            denominator = graph.mul(denominator, image);
            let delta = graph.scalar(Scalar::BetaDelta(at));
            let own = graph.mul(delta, identity);
            let own = graph.add(value, own);
            numerator = graph.mul(numerator, own);
        }
        (denominator, numerator)
    }

    /// The lookup's input and table, each compressed by `theta`.
    pub fn compress(&self, lookup: usize) -> Compiled {
        let mut graph = Graph::default();
        let (input, table) = self.compressed(&mut graph, lookup);
        graph.compile(&[input, table])
    }

    fn compressed(&self, graph: &mut Graph, lookup: usize) -> (Operand, Operand) {
        let theta = graph.scalar(Scalar::Theta);
        let argument = &self.cs.lookups()[lookup];
        let mut compress = |expressions: &[Expression<Fr>]| {
            let values: Vec<Operand> = expressions.iter().map(|e| graph.expression(e)).collect();
            graph.horner(&values, theta)
        };
        (
            compress(argument.input_expressions()),
            compress(argument.table_expressions()),
        )
    }

    /// Denominator `(A' + beta)(S' + gamma)` and numerator `(A + beta)(S + gamma)` of a lookup.
    pub fn lookup(&self, lookup: usize) -> Compiled {
        let mut graph = Graph::default();
        let denominator = [Poly::LookupInput(lookup), Poly::LookupTable(lookup)];
        let numerator = [Poly::CompressedInput(lookup), Poly::CompressedTable(lookup)];
        let [denominator, numerator] = [denominator, numerator].map(|[input, table]| {
            let (input, table) = (graph.input(input, 0), graph.input(table, 0));
            lookup_factor(&mut graph, input, table)
        });
        graph.compile(&[denominator, numerator])
    }

    /// All constraints in the verifier's order, `Σ y^{m-1-i} · constraint_i`.
    pub fn quotient(&self) -> Compiled {
        let mut graph = Graph::default();
        let mut constraints = self.gates(&mut graph);
        constraints.extend(self.permutation_constraints(&mut graph));
        for lookup in 0..self.cs.lookups().len() {
            constraints.extend(self.lookup_constraints(&mut graph, lookup));
        }
        let sum = fold(&mut graph, &constraints);
        graph.compile(&[sum])
    }

    fn gates(&self, graph: &mut Graph) -> Vec<Constraint> {
        let polynomials = self.cs.gates().iter().flat_map(|gate| gate.polynomials());
        let one = graph.value(Fr::ONE);
        let constraint = |polynomial: &Expression<Fr>| match polynomial {
            Expression::Product(factor, value) => Constraint {
                factor: graph.expression(factor),
                value: graph.expression(value),
            },
            other => Constraint {
                factor: one,
                value: graph.expression(other),
            },
        };
        polynomials.map(constraint).collect()
    }

    /// `l_0`, `l_last` and `1 - l_last - l_blind`. The Lagrange polynomial of row `i` is `l_0` rotated by `-i`.
    fn rows(&self, graph: &mut Graph) -> [Operand; 3] {
        let first = graph.input(Poly::FirstRow, 0);
        let last = graph.input(Poly::FirstRow, self.blinding as i32 + 1);
        let inactive = (1..=self.blinding as i32).fold(last, |sum, rotation| {
            let row = graph.input(Poly::FirstRow, rotation);
            graph.add(sum, row)
        });
        let one = graph.value(Fr::ONE);
        [first, last, graph.sub(one, inactive)]
    }

    fn permutation_constraints(&self, graph: &mut Graph) -> Vec<Constraint> {
        let products = self.products();
        if products == 0 {
            return Vec::new();
        }
        let [first, last, active] = self.rows(graph);
        let one = graph.value(Fr::ONE);
        let z_first = graph.input(Poly::PermutationProduct(0), 0);
        let z_last = graph.input(Poly::PermutationProduct(products - 1), 0);
        let mut constraints = vec![
            Constraint {
                factor: first,
                value: graph.sub(one, z_first),
            },
            boolean(graph, last, z_last),
        ];
        for product in 1..products {
            let z = graph.input(Poly::PermutationProduct(product), 0);
            let before = graph.input(Poly::PermutationProduct(product - 1), -(self.blinding as i32 + 1));
            constraints.push(Constraint {
                factor: first,
                value: graph.sub(z, before),
            });
        }
        for product in 0..products {
            let (denominator, numerator) = self.permutation_factors(graph, product);
            let z = Poly::PermutationProduct(product);
            constraints.push(running(graph, active, z, denominator, numerator));
        }
        constraints
    }

    fn lookup_constraints(&self, graph: &mut Graph, lookup: usize) -> Vec<Constraint> {
        let [first, last, active] = self.rows(graph);
        let one = graph.value(Fr::ONE);
        let product = Poly::LookupProduct(lookup);
        let z = graph.input(product, 0);
        let input = graph.input(Poly::LookupInput(lookup), 0);
        let before = graph.input(Poly::LookupInput(lookup), -1);
        let table = graph.input(Poly::LookupTable(lookup), 0);
        let (compressed_input, compressed_table) = self.compressed(graph, lookup);
        let denominator = lookup_factor(graph, input, table);
        let numerator = lookup_factor(graph, compressed_input, compressed_table);
        let difference = graph.sub(input, table);
        let step = graph.sub(input, before);
        vec![
            Constraint {
                factor: first,
                value: graph.sub(one, z),
            },
            boolean(graph, last, z),
            running(graph, active, product, denominator, numerator),
            Constraint {
                factor: first,
                value: difference,
            },
            Constraint {
                factor: active,
                value: graph.mul(difference, step),
            },
        ]
    }
}

/// `(input + beta)(table + gamma)`.
fn lookup_factor(graph: &mut Graph, input: Operand, table: Operand) -> Operand {
    let (beta, gamma) = (graph.scalar(Scalar::Beta), graph.scalar(Scalar::Gamma));
    let (input, table) = (graph.add(input, beta), graph.add(table, gamma));
    graph.mul(input, table)
}

/// `factor · (z² - z) = 0`.
fn boolean(graph: &mut Graph, factor: Operand, z: Operand) -> Constraint {
    let square = graph.mul(z, z);
    Constraint {
        factor,
        value: graph.sub(square, z),
    }
}

/// `factor · (z(omega X) · denominator - z(X) · numerator) = 0`.
fn running(
    graph: &mut Graph,
    factor: Operand,
    product: Poly,
    denominator: Operand,
    numerator: Operand,
) -> Constraint {
    let (z, next) = (graph.input(product, 0), graph.input(product, 1));
    let left = graph.mul(next, denominator);
    let right = graph.mul(z, numerator);
    Constraint {
        factor,
        value: graph.sub(left, right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use accel::Op;
    use circuits::recursion::RecursionCircuit;
    use halo2_proofs::plonk::Circuit;

    /// What the quotient computes for each row of each coset.
    #[test]
    fn the_recursions_quotient_has_so_many_products() {
        let mut cs = ConstraintSystem::default();
        RecursionCircuit::configure(&mut cs);
        let permuted = [Poly::Advice(0)];
        let layout = Layout {
            cs: &cs,
            permuted: &permuted,
            chunk: cs.degree() - 2,
            blinding: cs.blinding_factors(),
        };
        let quotient = layout.quotient();
        let ops = quotient.program.ops();
        let is_product = |op: &&Op| matches!(op, Op::Mul(..) | Op::Square(..));
        let products = ops.iter().filter(is_product).count();
        let costs = serde_json::json!({
            "cosets": cs.degree() - 1,
            "fixed_columns": cs.num_fixed_columns(),
            "rotations_of_advice": cs.advice_queries().len(),
            "products": products,
            "sums": ops.len() - products,
        });
        golden::check_json(env!("CARGO_MANIFEST_DIR"), "costs/recursion.json", &costs);
        let quoted = format!("{products} products and {} sums", ops.len() - products);
        golden::quotes("ARCHITECTURE.md", [quoted]);
    }
}
