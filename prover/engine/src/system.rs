//! What of a constraint system the prover needs, and the programs that its arguments run on the device.

use accel::Operand;
use halo2_proofs::plonk::{Any, Column, ConstraintSystem, Expression, ProvingKey};
use halo2_proofs::poly::EvaluationDomain;
use halo2curves::bn256::{Fr, G1Affine};
use halo2curves::ff::{Field, PrimeField};
use std::collections::HashMap;

use crate::error::EngineError;
use crate::graph::{Compiled, Graph, Poly, Scalar};

/// A constraint system with its sizes and its compiled arguments.
pub(crate) struct System {
    pub cs: ConstraintSystem<Fr>,
    /// What stands for the verifying key in transcripts.
    pub transcript_repr: Fr,
    pub domain: Domain,
    /// Advice columns and challenges by phase.
    pub phases: Vec<PhaseColumns>,
    /// Rows at the end that hold blinding values: `l_blind`.
    pub blinding: usize,
    /// Columns of the permutation, in order.
    pub permuted: Vec<Poly>,
    /// Programs of the permutation's chunks: outputs denominator and numerator of each row's factor.
    pub permutation: Vec<Compiled>,
    /// Programs of the lookups' inputs and tables: outputs both, compressed by `theta`.
    pub compress: Vec<Compiled>,
    /// Programs of the lookups' running products: outputs denominator and numerator of each row's factor.
    pub lookup: Vec<Compiled>,
    /// All constraints on one row, folded by `y`.
    pub quotient: Compiled,
}

/// Columns and challenges of a phase, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct PhaseColumns {
    pub advice: Vec<usize>,
    pub challenges: Vec<usize>,
}

/// Sizes and roots of unity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Domain {
    pub n: usize,
    pub omega: Fr,
    pub omega_inv: Fr,
    /// Pieces of the quotient, and cosets of size `n` that determine it.
    pub pieces: usize,
    shift: Fr,
    extended_omega: Fr,
}

impl Domain {
    fn new(domain: &EvaluationDomain<Fr>) -> Self {
        Self {
            n: 1 << domain.k(),
            omega: domain.get_omega(),
            omega_inv: domain.get_omega_inv(),
            pieces: domain.quotient_poly_degree as usize,
            shift: domain.g_coset,
            extended_omega: domain.get_extended_omega(),
        }
    }

    /// Shift of the coset `part`: halo2's cosets, of which the first [`Domain::pieces`] suffice.
    pub fn coset(&self, part: usize) -> Fr {
        self.shift * self.extended_omega.pow_vartime([part as u64])
    }

    /// `x · omega^rotation`.
    pub fn rotate(&self, x: Fr, rotation: i32) -> Fr {
        let root = if rotation < 0 { self.omega_inv } else { self.omega };
        x * root.pow_vartime([u64::from(rotation.unsigned_abs())])
    }
}

/// A polynomial opened at `x · omega^rotation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Query {
    pub poly: Poly,
    pub rotation: i32,
}

impl Query {
    fn new(poly: Poly, rotation: i32) -> Self {
        Self { poly, rotation }
    }
}

impl System {
    pub fn new(pk: &ProvingKey<G1Affine>) -> Result<Self, EngineError> {
        let vk = pk.get_vk();
        let cs = vk.cs().clone();
        let domain = Domain::new(vk.get_domain());
        // As the key was made: `ConstraintSystem::degree` depends on the environment of the process.
        let degree = domain.pieces + 1;
        check_degrees(&cs, degree)?;
        let permuted: Vec<Poly> = cs.permutation().get_columns().iter().map(column).collect();
        let blinding = cs.blinding_factors();
        let chunk = degree - 2;
        let layout = Layout {
            cs: &cs,
            permuted: &permuted,
            chunk,
            blinding,
        };
        Ok(Self {
            transcript_repr: vk.transcript_repr(),
            phases: phases(&cs),
            permutation: (0..layout.products()).map(|at| layout.permutation(at)).collect(),
            compress: (0..cs.lookups().len()).map(|at| layout.compress(at)).collect(),
            lookup: (0..cs.lookups().len()).map(|at| layout.lookup(at)).collect(),
            quotient: layout.quotient(),
            domain,
            blinding,
            permuted,
            cs,
        })
    }

    /// Rows that a circuit may use; the row after them closes the running products.
    pub fn usable_rows(&self) -> usize {
        self.domain.n - self.blinding - 1
    }

    /// Rotation from a row to the row that closes running products, as seen from row 0.
    pub fn last_rotation(&self) -> i32 {
        -(self.blinding as i32 + 1)
    }

    /// The openings whose values the proof holds, in its order.
    pub fn evaluations(&self) -> Vec<Query> {
        let mut queries = Vec::new();
        queries.extend(self.advice_queries());
        queries.extend(self.fixed_queries());
        queries.push(Query::new(Poly::Random, 0));
        queries.extend((0..self.permuted.len()).map(|at| Query::new(Poly::Sigma(at), 0)));
        let products = self.permutation.len();
        for product in (0..products).map(Poly::PermutationProduct) {
            queries.extend([Query::new(product, 0), Query::new(product, 1)]);
            if product != Poly::PermutationProduct(products - 1) {
                queries.push(Query::new(product, self.last_rotation()));
            }
        }
        for lookup in 0..self.lookup.len() {
            queries.extend([
                Query::new(Poly::LookupProduct(lookup), 0),
                Query::new(Poly::LookupProduct(lookup), 1),
                Query::new(Poly::LookupInput(lookup), 0),
                Query::new(Poly::LookupInput(lookup), -1),
                Query::new(Poly::LookupTable(lookup), 0),
            ]);
        }
        queries
    }

    /// All openings, in the order in which SHPLONK groups them.
    pub fn openings(&self) -> Vec<Query> {
        let mut queries = self.advice_queries();
        let products = self.permutation.len();
        for product in (0..products).map(Poly::PermutationProduct) {
            queries.extend([Query::new(product, 0), Query::new(product, 1)]);
        }
        for product in (0..products).rev().skip(1) {
            queries.push(Query::new(
                Poly::PermutationProduct(product),
                self.last_rotation(),
            ));
        }
        for lookup in 0..self.lookup.len() {
            queries.extend([
                Query::new(Poly::LookupProduct(lookup), 0),
                Query::new(Poly::LookupInput(lookup), 0),
                Query::new(Poly::LookupTable(lookup), 0),
                Query::new(Poly::LookupInput(lookup), -1),
                Query::new(Poly::LookupProduct(lookup), 1),
            ]);
        }
        queries.extend(self.fixed_queries());
        queries.extend((0..self.permuted.len()).map(|at| Query::new(Poly::Sigma(at), 0)));
        queries.extend([Query::new(Poly::Quotient, 0), Query::new(Poly::Random, 0)]);
        queries
    }

    fn advice_queries(&self) -> Vec<Query> {
        let queries = self.cs.advice_queries().iter();
        queries
            .map(|(column, at)| Query::new(Poly::Advice(column.index()), at.0))
            .collect()
    }

    fn fixed_queries(&self) -> Vec<Query> {
        let queries = self.cs.fixed_queries().iter();
        queries
            .map(|(column, at)| Query::new(Poly::Fixed(column.index()), at.0))
            .collect()
    }
}

fn column(column: &Column<Any>) -> Poly {
    match column.column_type() {
        Any::Advice(_) => Poly::Advice(column.index()),
        Any::Fixed => Poly::Fixed(column.index()),
        Any::Instance => Poly::Instance(column.index()),
    }
}

fn phases(cs: &ConstraintSystem<Fr>) -> Vec<PhaseColumns> {
    let columns = cs.advice_column_phase();
    let last = columns.iter().max().copied().unwrap_or(0);
    let mut phases = vec![PhaseColumns::default(); usize::from(last) + 1];
    for (index, phase) in columns.iter().enumerate() {
        phases[usize::from(*phase)].advice.push(index);
    }
    for (index, phase) in cs.challenge_phase().iter().enumerate() {
        phases[usize::from(*phase)].challenges.push(index);
    }
    phases
}

fn check_degrees(cs: &ConstraintSystem<Fr>, allowed: usize) -> Result<(), EngineError> {
    let check = |found: usize, constraint: String| {
        if found <= allowed {
            Ok(())
        } else {
            Err(EngineError::Degree {
                constraint,
                found,
                allowed,
            })
        }
    };
    for gate in cs.gates() {
        for polynomial in gate.polynomials() {
            check(polynomial.degree(), format!("gate {}", gate.name()))?;
        }
    }
    for lookup in cs.lookups() {
        let degree = |expressions: &[Expression<Fr>]| {
            let degrees = expressions.iter().map(Expression::degree);
            degrees.max().unwrap_or(0).max(1)
        };
        let found = 2 + degree(lookup.input_expressions()) + degree(lookup.table_expressions());
        check(found, format!("lookup {}", lookup.name()))?;
    }
    check(3, "the permutation argument".to_owned())
}

/// What the programs are compiled from.
struct Layout<'a> {
    cs: &'a ConstraintSystem<Fr>,
    permuted: &'a [Poly],
    chunk: usize,
    blinding: usize,
}

/// A constraint of the quotient, `factor · value = 0`.
struct Constraint {
    factor: Operand,
    value: Operand,
}

impl Layout<'_> {
    /// Running products of the permutation.
    fn products(&self) -> usize {
        self.permuted.len().div_ceil(self.chunk)
    }

    /// Denominator `Π (v_j + beta·sigma_j + gamma)` and numerator `Π (v_j + beta·delta^j·omega^i + gamma)` of a chunk.
    fn permutation(&self, chunk: usize) -> Compiled {
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
    fn compress(&self, lookup: usize) -> Compiled {
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
    fn lookup(&self, lookup: usize) -> Compiled {
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
    fn quotient(&self) -> Compiled {
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

/// `Σ y^{m-1-i} · constraint_i`, with factors that several constraints share taken out of their sum: a selector or a
/// Lagrange polynomial is multiplied once for all of them.
fn fold(graph: &mut Graph, constraints: &[Constraint]) -> Operand {
    let mut uses: HashMap<Operand, usize> = HashMap::new();
    for constraint in constraints {
        for side in [constraint.factor, constraint.value] {
            *uses.entry(side).or_default() += 1;
        }
    }
    let mut groups: Vec<(Operand, Vec<(usize, Operand)>)> = Vec::new();
    let mut places: HashMap<Operand, usize> = HashMap::new();
    for (index, constraint) in constraints.iter().enumerate() {
        let (mut shared, mut value) = (constraint.factor, constraint.value);
        if uses[&value] > uses[&shared] {
            (shared, value) = (value, shared);
        }
        let place = *places.entry(shared).or_insert(groups.len());
        if place == groups.len() {
            groups.push((shared, Vec::new()));
        }
        groups[place].1.push((constraints.len() - 1 - index, value));
    }
    let mut total = graph.value(Fr::ZERO);
    for (shared, members) in groups {
        let mut sum = graph.value(Fr::ZERO);
        for (power, value) in members {
            let weight = if power == 0 {
                graph.value(Fr::ONE)
            } else {
                graph.scalar(Scalar::Y(power))
            };
            let term = graph.mul(value, weight);
            sum = graph.add(sum, term);
        }
        let term = graph.mul(shared, sum);
        total = graph.add(total, term);
    }
    total
}

/// The challenges of a proof, as far as they are drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Challenges {
    /// Those of the phases, by index.
    pub phases: Vec<Fr>,
    pub theta: Fr,
    pub beta: Fr,
    pub gamma: Fr,
    pub y: Fr,
}

impl Challenges {
    /// The constants of a program that runs on the coset of that shift; 1 for the domain itself.
    pub fn constants(&self, scalars: &[Scalar], shift: Fr) -> Vec<Fr> {
        let constant = |scalar: &Scalar| match *scalar {
            Scalar::Value(value) => value,
            Scalar::Challenge(index) => self.phases[index],
            Scalar::Theta => self.theta,
            Scalar::Beta => self.beta,
            Scalar::Gamma => self.gamma,
            Scalar::BetaDelta(power) => self.beta * Fr::DELTA.pow_vartime([power as u64]) * shift,
            Scalar::Y(power) => self.y.pow_vartime([power as u64]),
        };
        scalars.iter().map(constant).collect()
    }
}
