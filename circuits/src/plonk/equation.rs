//! The equation of a proof's verification, down to what is left for points: two sums.
//!
//! A proof verifies when `e(lhs, g₂) = e(rhs, s·g₂)`. Here `lhs` and `rhs` are lists of scalars, one for each point of the
//! proof and each commitment of the key; several proofs are folded by challenges before any point is multiplied, so that
//! the key's commitments, which all share, are multiplied once.
//!
//! Written over [`Arithmetic`], the same text is the plain verifier and a circuit's. Source: halo2's
//! `plonk::verify_proof` and its SHPLONK verifier, which the tests hold it to.

use std::collections::BTreeMap;

use halo2curves::{
    bn256::Fr,
    ff::{Field, PrimeField},
};

use super::{
    arithmetic::{Arithmetic, Sponge},
    program::{Evaluation, Query},
    proof::ProofScalars,
    shape::{Base, OpeningSet, Shape, Value},
};

/// A proof's `lhs` as scalars; its `rhs` is the last point of its proof.
#[derive(Clone, Debug)]
pub(crate) struct Terms<S> {
    /// One for each commitment of the key, then the generator's.
    pub key: Vec<S>,
    /// One for each point of the proof.
    pub proof: Vec<S>,
    /// A challenge that depends on everything in the proof.
    pub digest: S,
}

/// Proofs folded.
#[derive(Clone, Debug)]
pub(crate) struct Folded<S> {
    /// `lhs`: one for each commitment of the key, then the generator's.
    pub key: Vec<S>,
    /// `lhs`: one for each point of each proof.
    pub proofs: Vec<Vec<S>>,
    /// `rhs`: the weight of each proof's last point but the first's, whose weight is 1.
    pub weights: Vec<S>,
    /// The weight of each accumulator, on both sides.
    pub accumulators: Vec<S>,
    /// A challenge that depends on everything in every proof.
    pub seed: S,
}

/// The challenges of a proof's transcript, named as in halo2's verifier.
pub(crate) struct Challenges<S> {
    theta: S,
    beta: S,
    gamma: S,
    y: S,
    x: S,
    /// Folds the commitments of a set.
    fold: S,
    /// Folds the sets.
    v: S,
    u: S,
    digest: S,
}

/// What is known once `x` is: powers and Lagrange polynomials at `x`.
struct AtX<S> {
    /// `x^n`.
    xn: S,
    /// `1 / (x^n - 1)`.
    vanishing_inverse: S,
    first: S,
    last: S,
    /// 1 at the rows that are neither last nor blinding.
    active: S,
    /// The instance column's values at the queried rotations.
    instances: Vec<S>,
}

/// Reads one proof whose transcript is hashed with Poseidon.
pub(crate) fn terms<A: Arithmetic>(
    shape: &Shape,
    a: &mut A,
    proof: &ProofScalars<A::Scalar>,
) -> Terms<A::Scalar> {
    let transcript = Poseidon {
        sponge: Sponge::new(a),
        points: proof.points.iter(),
        a,
        proof,
    };
    let challenges = challenges(shape, transcript);
    terms_at(shape, a, proof, challenges)
}

/// Reads one proof whose challenges are known.
pub(crate) fn terms_at<A: Arithmetic>(
    shape: &Shape,
    a: &mut A,
    proof: &ProofScalars<A::Scalar>,
    challenges: Challenges<A::Scalar>,
) -> Terms<A::Scalar> {
    assert_eq!(proof.instances.len(), shape.instances);
    assert_eq!(proof.points.len(), shape.points.total());
    assert_eq!(proof.scalars.len(), shape.scalars);
    let at_x = at_x(shape, a, proof, &challenges.x);
    let quotient = quotient(shape, a, proof, &challenges, &at_x);
    openings(shape, a, proof, challenges, &at_x.xn, &quotient)
}

/// Folds proofs, and accumulators that are among their instances: `lhs = Σ wᵢ lhsᵢ`, `rhs = Σ wᵢ rhsᵢ` with `w₀ = 1` and each
/// other weight made of a challenge of its own, drawn from what depends on every word and instance of every proof.
///
/// If one pairing fails, the folded pairing holds with probability at most `2^(n - 128)` for `n` weights (P-10.6). Panics without
/// a proof.
pub(crate) fn fold<A: Arithmetic>(
    a: &mut A,
    read: Vec<Terms<A::Scalar>>,
    accumulators: usize,
) -> Folded<A::Scalar> {
    let mut sponge = Sponge::new(a);
    let tag = a.constant(tag());
    sponge.absorb(&[tag]);
    for terms in &read {
        sponge.absorb(std::slice::from_ref(&terms.digest));
    }
    let mut weight = || {
        let challenge = sponge.squeeze(a);
        a.weight(&challenge)
    };
    let weights: Vec<A::Scalar> = read[1..].iter().map(|_| weight()).collect();
    let accumulators = (0..accumulators).map(|_| weight()).collect();
    let seed = sponge.squeeze(a);
    let mut read = read.into_iter();
    let first = read.next().expect("there is a proof to fold");
    let mut folded = Folded {
        key: first.key,
        proofs: vec![first.proof],
        weights: vec![],
        accumulators,
        seed,
    };
    for (terms, weight) in read.zip(&weights) {
        for (sum, scalar) in folded.key.iter_mut().zip(&terms.key) {
            *sum = a.mul_add(sum, scalar, weight);
        }
        folded
            .proofs
            .push(terms.proof.iter().map(|scalar| a.mul(scalar, weight)).collect());
    }
    folded.weights = weights;
    folded
}

/// The first thing that the fold's sponge absorbs: no proof's transcript begins so.
fn tag() -> Fr {
    let name = b"recursion/fold";
    Fr::from_u128(name.iter().fold(0, |value, byte| value << 8 | u128::from(*byte)))
}

/// What a transcript's hash takes in of one proof, in the order in which it is told to.
pub(crate) trait Absorb {
    /// A challenge.
    type Scalar;

    /// Takes the key's digest in.
    fn key(&mut self, digest: Fr);

    /// Takes the instances in.
    fn instances(&mut self);

    /// Takes the next points of the proof in.
    fn points(&mut self, count: usize);

    /// Takes all scalars of the proof in.
    fn scalars(&mut self);

    /// A challenge that depends on everything taken in so far.
    fn squeeze(&mut self) -> Self::Scalar;
}

/// The transcript that a circuit reads.
struct Poseidon<'a, A: Arithmetic> {
    sponge: Sponge<A::Scalar>,
    points: std::slice::Iter<'a, [A::Scalar; 2]>,
    a: &'a mut A,
    proof: &'a ProofScalars<A::Scalar>,
}

impl<A: Arithmetic> Absorb for Poseidon<'_, A> {
    type Scalar = A::Scalar;

    fn key(&mut self, digest: Fr) {
        let digest = self.a.constant(digest);
        self.sponge.absorb(&[digest]);
    }

    fn instances(&mut self) {
        self.sponge.absorb(&self.proof.instances);
    }

    fn points(&mut self, count: usize) {
        let points = self.points.by_ref().take(count);
        points.for_each(|point| self.sponge.absorb(point));
    }

    fn scalars(&mut self) {
        self.sponge.absorb(&self.proof.scalars);
    }

    fn squeeze(&mut self) -> A::Scalar {
        self.sponge.squeeze(self.a)
    }
}

/// The order of every transcript.
pub(crate) fn challenges<T: Absorb>(shape: &Shape, mut transcript: T) -> Challenges<T::Scalar> {
    let t = &mut transcript;
    t.key(shape.digest);
    t.instances();
    t.points(shape.points.advice);
    let theta = t.squeeze();
    t.points(shape.points.permuted);
    let beta = t.squeeze();
    let gamma = t.squeeze();
    t.points(shape.points.products);
    let y = t.squeeze();
    t.points(shape.points.quotient);
    let x = t.squeeze();
    t.scalars();
    let fold = t.squeeze();
    let v = t.squeeze();
    t.points(1);
    let u = t.squeeze();
    t.points(1);
    let digest = t.squeeze();
    Challenges {
        theta,
        beta,
        gamma,
        y,
        x,
        fold,
        v,
        u,
        digest,
    }
}

fn at_x<A: Arithmetic>(
    shape: &Shape,
    a: &mut A,
    proof: &ProofScalars<A::Scalar>,
    x: &A::Scalar,
) -> AtX<A::Scalar> {
    let mut xn = x.clone();
    for _ in 0..shape.k {
        xn = a.mul(&xn, &xn);
    }
    let one = a.constant(Fr::ONE);
    let vanishing = a.sub(&xn, &one);
    let vanishing_inverse = a.invert(&vanishing);
    let n = Fr::from(1 << shape.k);
    let scaled = a.scale(&vanishing, n.invert().expect("n is not 0"));
    // lᵢ(x) = (xⁿ - 1) ωⁱ / (n (x - ωⁱ)), kept without its factor ωⁱ.
    let mut known = BTreeMap::new();
    let mut lagrange = |a: &mut A, i: i32| {
        let root = shape.omega_to(i);
        let value = known.entry(i).or_insert_with(|| {
            let root = a.constant(root);
            let difference = a.sub(x, &root);
            let inverse = a.invert(&difference);
            a.mul(&scaled, &inverse)
        });
        (value.clone(), root)
    };
    let first = lagrange(a, 0).0;
    let (last, root) = lagrange(a, shape.last_rotation());
    let last = a.scale(&last, root);
    let mut active = a.sub(&one, &last);
    for i in shape.last_rotation() + 1..0 {
        let (blind, root) = lagrange(a, i);
        active = a.add_scaled(&active, &blind, -root);
    }
    let mut instances = vec![];
    for rotation in &shape.instance_rotations {
        let mut sum = a.constant(Fr::ZERO);
        for (i, instance) in (0..).zip(&proof.instances) {
            let (value, root) = lagrange(a, i - rotation);
            let value = a.scale(&value, root);
            sum = a.mul_add(&sum, instance, &value);
        }
        instances.push(sum);
    }
    AtX {
        xn,
        vanishing_inverse,
        first,
        last,
        active,
        instances,
    }
}

/// The quotient's value at `x`: all constraints folded by `y`, divided by `x^n - 1`.
fn quotient<A: Arithmetic>(
    shape: &Shape,
    a: &mut A,
    proof: &ProofScalars<A::Scalar>,
    challenges: &Challenges<A::Scalar>,
    at_x: &AtX<A::Scalar>,
) -> A::Scalar {
    let value = |query: Query| match query {
        Query::Advice(i) => proof.scalars[i].clone(),
        Query::Fixed(i) => proof.scalars[shape.first_fixed + i].clone(),
        Query::Instance(i) => at_x.instances[i].clone(),
    };
    let mut evaluation = shape.program.at(&value);
    let mut constraints: Vec<A::Scalar> = shape
        .gates
        .iter()
        .map(|gate| evaluation.value(a, *gate))
        .collect();
    constraints.extend(permutation(shape, a, proof, challenges, at_x, &value));
    constraints.extend(lookups(shape, a, proof, challenges, at_x, &mut evaluation));
    // The first constraint has the highest power of y.
    constraints.reverse();
    let folded = a.horner(&constraints, &challenges.y);
    a.mul(&folded, &at_x.vanishing_inverse)
}

fn permutation<A: Arithmetic>(
    shape: &Shape,
    a: &mut A,
    proof: &ProofScalars<A::Scalar>,
    challenges: &Challenges<A::Scalar>,
    at_x: &AtX<A::Scalar>,
    value: &dyn Fn(Query) -> A::Scalar,
) -> Vec<A::Scalar> {
    let scalar = |place: usize| &proof.scalars[place];
    let sets = &shape.permutation;
    let mut constraints = vec![];
    if let (Some(first), Some(last)) = (sets.first(), sets.last()) {
        // l₀ (1 - z₀) and l_last (z² - z).
        let [z, z_last] = [first.product, last.product].map(scalar);
        constraints.push(starts_at_one(a, at_x, z));
        constraints.push(ends_in_a_bit(a, at_x, z_last));
    }
    for pair in sets.windows(2) {
        let last = pair[0]
            .last
            .expect("every set but the last is read at the last row");
        let difference = a.sub(scalar(pair[1].product), scalar(last));
        constraints.push(a.mul(&difference, &at_x.first));
    }
    let beta_x = a.mul(&challenges.beta, &challenges.x);
    let mut delta = Fr::ONE;
    for set in sets {
        let (mut left, mut right) = (scalar(set.next).clone(), scalar(set.product).clone());
        for (column, permuted) in &set.columns {
            let shifted = a.add(&value(*column), &challenges.gamma);
            let factor = a.mul_add(&shifted, &challenges.beta, scalar(*permuted));
            left = a.mul(&left, &factor);
            let factor = a.add_scaled(&shifted, &beta_x, delta);
            right = a.mul(&right, &factor);
            delta *= Fr::DELTA;
        }
        let difference = a.sub(&left, &right);
        constraints.push(a.mul(&difference, &at_x.active));
    }
    constraints
}

fn lookups<A: Arithmetic>(
    shape: &Shape,
    a: &mut A,
    proof: &ProofScalars<A::Scalar>,
    challenges: &Challenges<A::Scalar>,
    at_x: &AtX<A::Scalar>,
    evaluation: &mut Evaluation<'_, A::Scalar>,
) -> Vec<A::Scalar> {
    let mut constraints = vec![];
    for lookup in &shape.lookups {
        let [z, next, input, before, table] = lookup.scalars.map(|place| proof.scalars[place].clone());
        constraints.push(starts_at_one(a, at_x, &z));
        constraints.push(ends_in_a_bit(a, at_x, &z));
        let product = |a: &mut A, z: &A::Scalar, [input, table]: [&A::Scalar; 2]| {
            let input = a.add(input, &challenges.beta);
            let table = a.add(table, &challenges.gamma);
            let product = a.mul(&input, &table);
            a.mul(z, &product)
        };
        let left = product(a, &next, [&input, &table]);
        let mut compressed = [&lookup.inputs, &lookup.table].map(|roots| {
            let mut values: Vec<A::Scalar> = roots.iter().map(|root| evaluation.value(a, *root)).collect();
            // The first expression has the highest power of θ.
            values.reverse();
            a.horner(&values, &challenges.theta)
        });
        let [all_inputs, all_table] = &mut compressed;
        let right = product(a, &z, [all_inputs, all_table]);
        let difference = a.sub(&left, &right);
        constraints.push(a.mul(&difference, &at_x.active));
        let unlike = a.sub(&input, &table);
        constraints.push(a.mul(&unlike, &at_x.first));
        let moved = a.sub(&input, &before);
        let either = a.mul(&unlike, &moved);
        constraints.push(a.mul(&either, &at_x.active));
    }
    constraints
}

/// `l₀ (1 - z)`.
fn starts_at_one<A: Arithmetic>(a: &mut A, at_x: &AtX<A::Scalar>, z: &A::Scalar) -> A::Scalar {
    let one = a.constant(Fr::ONE);
    let difference = a.sub(&one, z);
    a.mul(&difference, &at_x.first)
}

/// `l_last (z² - z)`.
fn ends_in_a_bit<A: Arithmetic>(a: &mut A, at_x: &AtX<A::Scalar>, z: &A::Scalar) -> A::Scalar {
    let minus = a.scale(z, -Fr::ONE);
    let product = a.mul_add(&minus, z, z);
    a.mul(&product, &at_x.last)
}

/// SHPLONK: with `Z_S` the polynomial that vanishes at a set's points, `κ_S = v^S Z_{S₀}(u) / Z_S(u)`, the sum over sets and
/// their commitments of `κ_S fold^j (C_j - r_j(u))`, less `Z_{S₀}(u) W`, more `u W'`.
fn openings<A: Arithmetic>(
    shape: &Shape,
    a: &mut A,
    proof: &ProofScalars<A::Scalar>,
    challenges: Challenges<A::Scalar>,
    xn: &A::Scalar,
    quotient: &A::Scalar,
) -> Terms<A::Scalar> {
    let mut at = AtU::new(shape, a, &challenges);
    let mut sums = Sums::new(shape);
    let sets_powers = a.powers(&challenges.v, shape.sets.len());
    let members = shape.sets.iter().map(|set| set.members.len()).max().unwrap_or(0);
    let fold_powers = a.powers(&challenges.fold, members);
    let mut values = a.constant(Fr::ZERO);
    for (i, (set, v)) in shape.sets.iter().zip(&sets_powers).enumerate() {
        let shifted = a.mul(v, &at.first_set);
        let weights = at.interpolation(a, set, &shifted);
        for (place, weight) in weights.iter().enumerate() {
            let column = set.members.iter().map(|(_, values)| match values[place] {
                Value::Proof(scalar) => proof.scalars[scalar].clone(),
                Value::Quotient => quotient.clone(),
            });
            let folded = a.horner(&column.collect::<Vec<_>>(), &challenges.fold);
            values = a.mul_add(&values, &folded, weight);
        }
        // The first set's κ is 1.
        let kappa = (i > 0).then(|| at.over(a, set, &shifted));
        for ((base, _), power) in set.members.iter().zip(&fold_powers) {
            let scalar = match &kappa {
                None => power.clone(),
                Some(kappa) => a.mul(kappa, power),
            };
            sums.put(shape, a, *base, scalar, xn);
        }
    }
    let opening = shape.points.total() - shape.points.opening;
    sums.proof[opening] = Some(a.scale(&at.first_set, -Fr::ONE));
    sums.proof[opening + 1] = Some(challenges.u);
    let every = |of: Vec<Option<A::Scalar>>| of.into_iter().map(|of| of.expect("every commitment is opened"));
    let generator = a.scale(&values, -Fr::ONE);
    Terms {
        key: every(sums.key).chain([generator]).collect(),
        proof: every(sums.proof).collect(),
        digest: challenges.digest,
    }
}

/// A proof's scalars as far as they are known.
struct Sums<S> {
    key: Vec<Option<S>>,
    proof: Vec<Option<S>>,
}

impl<S: Clone> Sums<S> {
    fn new(shape: &Shape) -> Self {
        Self {
            key: vec![None; shape.commitments.len()],
            proof: vec![None; shape.points.total()],
        }
    }

    /// A commitment's scalar; the quotient is its pieces, by powers of `x^n`.
    fn put<A: Arithmetic<Scalar = S>>(&mut self, shape: &Shape, a: &mut A, base: Base, scalar: S, xn: &S) {
        match base {
            Base::Key(place) => self.key[place] = Some(scalar),
            Base::Proof(place) => self.proof[place] = Some(scalar),
            Base::Quotient => {
                let pieces = shape.points.first_quotient()..;
                let mut scalar = scalar;
                for (piece, place) in pieces.take(shape.points.quotient).enumerate() {
                    if piece > 0 {
                        scalar = a.mul(&scalar, xn);
                    }
                    self.proof[place] = Some(scalar.clone());
                }
            }
        }
    }
}

/// What is known once `u` is.
struct AtU<'a, S> {
    shape: &'a Shape,
    x_inverse: S,
    /// `Z_{S₀}(u)`.
    first_set: S,
    /// `1 / (u - ω^rotation x)`.
    inverses: BTreeMap<i32, S>,
}

impl<'a, S: Clone> AtU<'a, S> {
    fn new<A: Arithmetic<Scalar = S>>(shape: &'a Shape, a: &mut A, challenges: &Challenges<S>) -> Self {
        let x_inverse = a.invert(&challenges.x);
        let mut differences = BTreeMap::new();
        for rotation in shape.sets.iter().flat_map(|set| &set.rotations) {
            let root = shape.omega_to(*rotation);
            differences
                .entry(*rotation)
                .or_insert_with(|| a.add_scaled(&challenges.u, &challenges.x, -root));
        }
        let first = shape.sets[0]
            .rotations
            .iter()
            .map(|rotation| &differences[rotation]);
        let first_set = first
            .cloned()
            .reduce(|product, difference| a.mul(&product, &difference))
            .expect("a set has a point");
        let inverses = differences
            .iter()
            .map(|(rotation, difference)| (*rotation, a.invert(difference)))
            .collect();
        Self {
            shape,
            x_inverse,
            first_set,
            inverses,
        }
    }

    /// For each point of a set, the weight of a value there in `factor · r(u) / Z_S(u)`:
    /// `factor / ((u - p) Π (p - p'))`, the product over the set's other points.
    fn interpolation<A: Arithmetic<Scalar = S>>(
        &mut self,
        a: &mut A,
        set: &OpeningSet,
        factor: &S,
    ) -> Vec<S> {
        let mut common = factor.clone();
        for _ in 1..set.rotations.len() {
            common = a.mul(&common, &self.x_inverse);
        }
        set.rotations
            .iter()
            .map(|point| {
                let here = self.shape.omega_to(*point);
                let others = set.rotations.iter().filter(|other| *other != point);
                let product: Fr = others.map(|other| here - self.shape.omega_to(*other)).product();
                let constant = product.invert().expect("rotations are distinct rows");
                let weight = a.mul(&common, &self.inverses[point]);
                a.scale(&weight, constant)
            })
            .collect()
    }

    /// `factor / Z_S(u)`.
    fn over<A: Arithmetic<Scalar = S>>(&self, a: &mut A, set: &OpeningSet, factor: &S) -> S {
        set.rotations.iter().fold(factor.clone(), |product, rotation| {
            a.mul(&product, &self.inverses[rotation])
        })
    }
}
