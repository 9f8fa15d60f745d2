//! What a verifying key fixes about the verification of its proofs: the order of a proof's elements, the polynomials,
//! and the sets of points at which commitments are opened.

use halo2_proofs::{
    plonk::{Any, Column, ConstraintSystem, Expression, VerifyingKey},
    poly::Rotation,
};
use halo2curves::{
    bn256::{Fr, G1Affine},
    ff::{Field, PrimeField},
};

use super::program::{Program, Query, Root};

/// What is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A point of the proof, by its place.
    Proof(usize),
    /// A commitment of the key, by its place in [`Shape::commitments`].
    Key(usize),
    /// The quotient, which the verifier puts together from its pieces: `Σ x^(n i) piece_i`.
    Quotient,
}

/// An opened value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A scalar of the proof, by its place.
    Proof(usize),
    /// The quotient's, which follows from the others: every constraint folded by `y`, divided by `x^n - 1`.
    Quotient,
}

/// Commitments opened at the same rotations of `x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpeningSet {
    /// In ascending order.
    pub rotations: Vec<i32>,
    /// Each commitment with its values, in the order of the rotations.
    pub members: Vec<(Base, Vec<Value>)>,
}

/// Places of one lookup argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The expressions looked up, folded by `θ`, the first with its highest power.
    pub inputs: Vec<Root>,
    /// The table's expressions, folded in the same way.
    pub table: Vec<Root>,
    /// Scalars of the proof: product, next product, permuted input, the input before, permuted table.
    pub scalars: [usize; 5],
}

/// Places of one set of the permutation argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermutationSet {
    /// Each column's value, and the scalar of the proof that is its permutation's value.
    pub columns: Vec<(Query, usize)>,
    /// The scalar that is the product at `x`.
    pub product: usize,
    /// The product one row on.
    pub next: usize,
    /// The product at the last usable row; the last set has none.
    pub last: Option<usize>,
}

/// How many points a proof has, in the order in which it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Points {
    /// One for each advice column; then `θ` is drawn.
    pub advice: usize,
    /// Two for each lookup: input, table; then `β` and `γ`.
    pub permuted: usize,
    /// Of permutation sets, then of lookups, then the random polynomial's; then `y`.
    pub products: usize,
    /// Pieces of the quotient; then `x`. The scalars follow.
    pub quotient: usize,
    /// SHPLONK's two, after the scalars.
    pub opening: usize,
}

impl Points {
    /// All points.
    pub fn total(&self) -> usize {
        self.advice + self.permuted + self.products + self.quotient + self.opening
    }

    /// Place of the quotient's first piece.
    pub fn first_quotient(&self) -> usize {
        self.advice + self.permuted + self.products
    }
}

/// What a shape follows from.
pub(crate) struct Parts {
    pub k: u32,
    pub digest: Fr,
    pub commitments: Vec<G1Affine>,
    pub instances: usize,
    pub blinding: i32,
    pub advice_columns: usize,
    /// One less than the constraints' degree; one more than a set of the permutation has columns.
    pub quotient_pieces: usize,
    pub advice_queries: Vec<(usize, i32)>,
    pub fixed_queries: Vec<(usize, i32)>,
    pub instance_rotations: Vec<i32>,
    pub permuted: Vec<Query>,
    pub program: Program,
    pub gates: Vec<Root>,
    /// Inputs and table.
    pub lookups: Vec<[Vec<Root>; 2]>,
}

/// Everything that a key fixes about its proofs.
///
/// Scalars of a proof, in order: advice values, fixed values (from [`Self::first_fixed`]), the random polynomial's value, the
/// permutation's values (one for each of its columns), each permutation set's products, each lookup's five.
/// Constraints are folded by `y` in this order, the first with its highest power: gates, permutation, lookups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Log2 of the rows.
    pub k: u32,
    /// The root of unity that generates the rows' domain.
    pub omega: Fr,
    /// The key's digest, the first thing that a transcript absorbs.
    pub digest: Fr,
    /// The key's commitments: fixed columns, then permutations. One may be the identity.
    pub commitments: Vec<G1Affine>,
    /// Values in the instance column.
    pub instances: usize,
    /// At which rotations the instance column is read, in the order of [`Query::Instance`].
    pub instance_rotations: Vec<i32>,
    /// Rows at the end that are blinding, but for the one before them, which is the last usable.
    pub blinding: i32,
    /// The proof's points.
    pub points: Points,
    /// The proof's scalars.
    pub scalars: usize,
    /// Place among the scalars of the first fixed value; advice values come before.
    pub first_fixed: usize,
    /// The advice columns that are read and at which rotation, in the order of [`Query::Advice`].
    pub advice_queries: Vec<(usize, i32)>,
    /// The fixed columns that are read and at which rotation, in the order of [`Query::Fixed`].
    pub fixed_queries: Vec<(usize, i32)>,
    /// All polynomials of gates and lookups.
    pub program: Program,
    /// The gates' polynomials, in the constraint system's order.
    pub gates: Vec<Root>,
    /// The permutation argument.
    pub permutation: Vec<PermutationSet>,
    /// The lookup arguments.
    pub lookups: Vec<Lookup>,
    /// What is opened where, in the order in which SHPLONK folds it.
    pub sets: Vec<OpeningSet>,
}

impl Shape {
    /// The shape of proofs under `vk` with `instances` values in one instance column.
    ///
    /// Panics on a constraint system with challenges, or with another number of instance columns: none is ours.
    pub fn new(vk: &VerifyingKey<G1Affine>, instances: usize) -> Self {
        let cs = vk.cs();
        assert_eq!(cs.num_challenges(), 0, "a circuit of one phase");
        assert_eq!(cs.num_instance_columns(), 1, "one instance column");
        let mut program = Program::default();
        let find = |expression: &Expression<Fr>| find(cs, expression);
        let gates = cs.gates().iter().flat_map(|gate| gate.polynomials());
        let gates = gates.map(|polynomial| program.add(polynomial, &find)).collect();
        let mut lookups = vec![];
        for lookup in cs.lookups() {
            let mut add = |of: &[Expression<Fr>]| of.iter().map(|of| program.add(of, &find)).collect();
            lookups.push([add(lookup.input_expressions()), add(lookup.table_expressions())]);
        }
        let queries = |(index, rotation): (usize, Rotation)| (index, rotation.0);
        let advice = cs
            .advice_queries()
            .iter()
            .map(|(column, at)| (column.index(), *at));
        let fixed = cs
            .fixed_queries()
            .iter()
            .map(|(column, at)| (column.index(), *at));
        Self::of(Parts {
            k: vk.get_domain().k(),
            digest: vk.transcript_repr(),
            commitments: [&vk.fixed_commitments()[..], &vk.permutation().commitments()[..]].concat(),
            instances,
            blinding: cs.blinding_factors() as i32,
            advice_columns: cs.num_advice_columns(),
            quotient_pieces: vk.get_domain().get_quotient_poly_degree(),
            advice_queries: advice.map(queries).collect(),
            fixed_queries: fixed.map(queries).collect(),
            instance_rotations: cs
                .instance_queries()
                .iter()
                .map(|(_, rotation)| rotation.0)
                .collect(),
            permuted: cs
                .permutation()
                .get_columns()
                .iter()
                .map(|column| permuted(cs, column))
                .collect(),
            program,
            gates,
            lookups,
        })
    }

    /// The shape that follows from its parts.
    pub(crate) fn of(parts: Parts) -> Self {
        let first_fixed = parts.advice_queries.len();
        let random = first_fixed + parts.fixed_queries.len();
        let (permutation, mut scalars) = permutation(&parts.permuted, parts.quotient_pieces, random + 1);
        let mut lookups = vec![];
        for [inputs, table] in parts.lookups {
            lookups.push(Lookup {
                inputs,
                table,
                scalars: std::array::from_fn(|i| scalars + i),
            });
            scalars += 5;
        }
        let points = Points {
            advice: parts.advice_columns,
            permuted: 2 * lookups.len(),
            products: permutation.len() + lookups.len() + 1,
            quotient: parts.quotient_pieces,
            opening: 2,
        };
        let omega = (parts.k..Fr::S).fold(Fr::ROOT_OF_UNITY, |omega, _| omega.square());
        let mut shape = Self {
            k: parts.k,
            omega,
            digest: parts.digest,
            commitments: parts.commitments,
            instances: parts.instances,
            instance_rotations: parts.instance_rotations,
            blinding: parts.blinding,
            points,
            scalars,
            first_fixed,
            advice_queries: parts.advice_queries,
            fixed_queries: parts.fixed_queries,
            program: parts.program,
            gates: parts.gates,
            permutation,
            lookups,
            sets: vec![],
        };
        shape.sets = sets(shape.claims(random));
        shape
    }

    /// The rotation of the last usable row.
    pub fn last_rotation(&self) -> i32 {
        -(self.blinding + 1)
    }

    /// `ω^rotation`.
    pub fn omega_to(&self, rotation: i32) -> Fr {
        let power = self.omega.pow_vartime([u64::from(rotation.unsigned_abs())]);
        if rotation < 0 {
            power.invert().expect("a root of unity is not 0")
        } else {
            power
        }
    }

    /// Columns of the permutation argument.
    pub(crate) fn permuted(&self) -> impl Iterator<Item = Query> {
        let columns = self.permutation.iter().flat_map(|set| &set.columns);
        columns.map(|(column, _)| *column)
    }

    /// Every opened value in the order in which the argument of the openings takes them.
    fn claims(&self, random: usize) -> Vec<(Base, i32, Value)> {
        let mut claims = vec![];
        let mut claim = |base, rotation, value| claims.push((base, rotation, Value::Proof(value)));
        for (value, (column, rotation)) in self.advice_queries.iter().enumerate() {
            claim(Base::Proof(*column), *rotation, value);
        }
        let products = self.points.advice + self.points.permuted;
        for (i, set) in self.permutation.iter().enumerate() {
            claim(Base::Proof(products + i), 0, set.product);
            claim(Base::Proof(products + i), 1, set.next);
        }
        for (i, set) in self.permutation.iter().enumerate().rev() {
            if let Some(last) = set.last {
                claim(Base::Proof(products + i), self.last_rotation(), last);
            }
        }
        for (i, lookup) in self.lookups.iter().enumerate() {
            let product = Base::Proof(products + self.permutation.len() + i);
            let input = self.points.advice + 2 * i;
            let [value, next, permuted, before, table] = lookup.scalars;
            claim(product, 0, value);
            claim(Base::Proof(input), 0, permuted);
            claim(Base::Proof(input + 1), 0, table);
            claim(Base::Proof(input), -1, before);
            claim(product, 1, next);
        }
        for (i, (column, rotation)) in self.fixed_queries.iter().enumerate() {
            claim(Base::Key(*column), *rotation, self.first_fixed + i);
        }
        let permuted = self.permuted().count();
        for i in 0..permuted {
            let first = self.commitments.len() - permuted;
            claim(Base::Key(first + i), 0, random + 1 + i);
        }
        claims.push((Base::Quotient, 0, Value::Quotient));
        let random_point = self.points.first_quotient() - 1;
        claims.push((Base::Proof(random_point), 0, Value::Proof(random)));
        claims
    }
}

fn find(cs: &ConstraintSystem<Fr>, expression: &Expression<Fr>) -> Query {
    let place = match expression {
        Expression::Fixed(query) => cs
            .fixed_queries()
            .iter()
            .position(|(column, at)| (column.index(), *at) == (query.column_index(), query.rotation()))
            .map(Query::Fixed),
        Expression::Advice(query) => cs
            .advice_queries()
            .iter()
            .position(|(column, at)| (column.index(), *at) == (query.column_index(), query.rotation()))
            .map(Query::Advice),
        Expression::Instance(query) => cs
            .instance_queries()
            .iter()
            .position(|(column, at)| (column.index(), *at) == (query.column_index(), query.rotation()))
            .map(Query::Instance),
        _ => None,
    };
    place.expect("a constraint system lists every query of its polynomials")
}

/// A permuted column's value at its own row.
fn permuted(cs: &ConstraintSystem<Fr>, column: &Column<Any>) -> Query {
    let here = |place: Option<usize>| place.expect("a permuted column is queried at its own row");
    let is = |index: usize, rotation: i32| index == column.index() && rotation == 0;
    match column.column_type() {
        Any::Fixed => Query::Fixed(here(
            cs.fixed_queries().iter().position(|(c, at)| is(c.index(), at.0)),
        )),
        Any::Advice(_) => Query::Advice(here(
            cs.advice_queries().iter().position(|(c, at)| is(c.index(), at.0)),
        )),
        Any::Instance => Query::Instance(here(
            cs.instance_queries()
                .iter()
                .position(|(c, at)| is(c.index(), at.0)),
        )),
    }
}

/// The permutation's sets; `first` is the place of the first permutation's value. Returns the place after the last.
fn permutation(columns: &[Query], quotient_pieces: usize, first: usize) -> (Vec<PermutationSet>, usize) {
    let with_places: Vec<(Query, usize)> = columns.iter().copied().zip(first..).collect();
    let chunks: Vec<_> = with_places.chunks((quotient_pieces - 1).max(1)).collect();
    let mut place = first + columns.len();
    let mut sets = vec![];
    for (i, columns) in chunks.iter().enumerate() {
        let is_last = i + 1 == chunks.len();
        sets.push(PermutationSet {
            columns: columns.to_vec(),
            product: place,
            next: place + 1,
            last: (!is_last).then_some(place + 2),
        });
        place += if is_last { 2 } else { 3 };
    }
    (sets, place)
}

/// Groups claims: commitments in order of their first claim, sets in order of their first commitment.
fn sets(claims: Vec<(Base, i32, Value)>) -> Vec<OpeningSet> {
    let mut commitments: Vec<(Base, Vec<(i32, Value)>)> = vec![];
    for (base, rotation, value) in claims {
        match commitments.iter_mut().find(|(other, _)| *other == base) {
            Some((_, values)) => values.push((rotation, value)),
            None => commitments.push((base, vec![(rotation, value)])),
        }
    }
    let mut sets: Vec<OpeningSet> = vec![];
    for (base, mut values) in commitments {
        values.sort_by_key(|(rotation, _)| *rotation);
        let rotations: Vec<i32> = values.iter().map(|(rotation, _)| *rotation).collect();
        assert!(rotations.is_sorted_by(|a, b| a < b), "no value is claimed twice");
        let member = (base, values.into_iter().map(|(_, value)| value).collect());
        match sets.iter_mut().find(|set| set.rotations == rotations) {
            Some(set) => set.members.push(member),
            None => sets.push(OpeningSet {
                rotations,
                members: vec![member],
            }),
        }
    }
    sets
}
