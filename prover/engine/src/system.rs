//! What of a constraint system the prover needs, and the programs that its arguments run on the device.

use halo2_proofs::plonk::{Any, Column, ConstraintSystem, Expression, VerifyingKey};
use halo2_proofs::poly::EvaluationDomain;
use halo2curves::bn256::{Fr, G1Affine};
use halo2curves::ff::{Field, PrimeField};

use crate::constraints::Layout;
use crate::error::EngineError;
use crate::graph::{Compiled, Poly, Scalar};

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

    /// What the shift of one coset is multiplied by for the next.
    pub fn coset_step(&self) -> Fr {
        self.extended_omega
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
    pub fn new(vk: &VerifyingKey<G1Affine>) -> Result<Self, EngineError> {
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

    /// Lookups whose table is one fixed column, with the column: compressing leaves such a table as it is.
    pub fn fixed_tables(&self) -> impl Iterator<Item = (usize, usize)> {
        let lookups = self.cs.lookups().iter().enumerate();
        lookups.filter_map(|(index, lookup)| match &lookup.table_expressions()[..] {
            [Expression::Fixed(query)] if query.rotation().0 == 0 => Some((index, query.column_index())),
            _ => None,
        })
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
        let constant = |scalar: &Scalar| match scalar {
            Scalar::Value(value) => *value,
            Scalar::Challenge(index) => self.phases[*index],
            Scalar::Theta => self.theta,
            Scalar::Beta => self.beta,
            Scalar::Gamma => self.gamma,
            Scalar::BetaDelta(power) => self.beta * Fr::DELTA.pow_vartime([*power as u64]) * shift,
            Scalar::Weight(weight) => {
                let terms = weight.iter();
                terms
                    .map(|(power, factor)| factor * self.y.pow_vartime([*power as u64]))
                    .sum()
            }
        };
        scalars.iter().map(constant).collect()
    }
}
