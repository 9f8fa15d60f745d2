//! The protocol once more, row by row and without any device: what the engine's proofs are compared with byte by byte.
//!
//! Witness, blinding and commitments up to the phases' challenges are halo2's own `synthesize_witness`; the rest is
//! transcribed from halo2-axiom 0.5.3, but for the two places where halo2 draws on randomness of its own: the order of
//! a permuted lookup, and the random polynomial.

use halo2_proofs::arithmetic::{
    eval_polynomial, evaluate_vanishing_polynomial, kate_division, lagrange_interpolate,
};
use halo2_proofs::plonk::{Any, Circuit, Column, Expression, ProvingKey, synthesize_witness};
use halo2_proofs::poly::commitment::{Blind, Params, ParamsProver};
use halo2_proofs::poly::kzg::commitment::{KZGCommitmentScheme, ParamsKZG};
use halo2_proofs::poly::kzg::multiopen::ProverSHPLONK;
use halo2_proofs::poly::{Coeff, LagrangeCoeff, Polynomial, Rotation};
use halo2_proofs::transcript::{EncodedChallenge, TranscriptWrite};
use halo2curves::bn256::{Bn256, Fr, G1Affine};
use halo2curves::ff::{Field, PrimeField};
use halo2curves::group::Curve;
use rand::{CryptoRng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;

type Values = Polynomial<Fr, LagrangeCoeff>;
type Coefficients = Polynomial<Fr, Coeff>;

struct Lookup {
    input: Values,
    table: Values,
    permuted_input: Values,
    permuted_table: Values,
}

/// What a rotation set is opened at, and its polynomials with their values there.
type RotationSet = (Vec<Fr>, Vec<(Coefficients, Vec<Fr>)>);

struct Prover<'a, T, E> {
    params: &'a ParamsKZG<Bn256>,
    pk: &'a ProvingKey<G1Affine>,
    rng: &'a mut dyn RngCore,
    transcript: &'a mut T,
    challenges: Vec<Fr>,
    advice: Vec<Values>,
    instance: Vec<Values>,
    advice_polys: Vec<Coefficients>,
    instance_polys: Vec<Coefficients>,
    encoding: std::marker::PhantomData<E>,
}

pub fn prove<C, E, R, T>(
    params: &ParamsKZG<Bn256>,
    pk: &ProvingKey<G1Affine>,
    circuit: &C,
    instances: &[&[Fr]],
    rng: &mut R,
    transcript: &mut T,
) where
    C: Circuit<Fr> + Clone,
    E: EncodedChallenge<G1Affine>,
    R: RngCore + CryptoRng,
    T: TranscriptWrite<G1Affine, E>,
{
    let (mut instance, mut advice, challenges) =
        synthesize_witness::<KZGCommitmentScheme<Bn256>, ProverSHPLONK<'_, Bn256>, E, _, T, C>(
            params,
            pk,
            std::slice::from_ref(circuit),
            &[instances],
            &mut *rng,
            transcript,
        )
        .expect("a witness");
    let (instance, advice) = (instance.remove(0), advice.remove(0));
    let prover = Prover::<T, E> {
        params,
        pk,
        rng,
        transcript,
        challenges,
        advice: advice.advice_values,
        instance: instance.instance_values,
        advice_polys: advice.advice_polys,
        instance_polys: instance.instance_polys,
        encoding: std::marker::PhantomData,
    };
    prover.finish();
}

impl<E: EncodedChallenge<G1Affine>, T: TranscriptWrite<G1Affine, E>> Prover<'_, T, E> {
    fn n(&self) -> usize {
        self.params.n() as usize
    }

    fn usable(&self) -> usize {
        self.n() - self.pk.get_vk().cs().blinding_factors() - 1
    }

    fn challenge(&mut self) -> Fr {
        self.transcript.squeeze_challenge().get_scalar()
    }

    fn random(&mut self, count: usize) -> Vec<Fr> {
        (0..count).map(|_| Fr::random(&mut *self.rng)).collect()
    }

    fn values(&self, values: Vec<Fr>) -> Values {
        self.pk.get_vk().get_domain().lagrange_from_vec(values)
    }

    fn coefficients(&self, values: &Values) -> Coefficients {
        self.pk.get_vk().get_domain().lagrange_to_coeff(values.clone())
    }

    fn commit_values(&mut self, values: &Values) {
        let point = self.params.commit_lagrange(values, Blind::default()).to_affine();
        self.transcript.write_point(point).expect("a point");
    }

    fn commit(&mut self, coefficients: &Coefficients) {
        let point = self.params.commit(coefficients, Blind::default()).to_affine();
        self.transcript.write_point(point).expect("a point");
    }

    fn column<'a, P>(column: &Column<Any>, advice: &'a [P], fixed: &'a [P], instance: &'a [P]) -> &'a P {
        match column.column_type() {
            Any::Advice(_) => &advice[column.index()],
            Any::Fixed => &fixed[column.index()],
            Any::Instance => &instance[column.index()],
        }
    }

    fn finish(mut self) {
        let theta = self.challenge();
        let lookups: Vec<Lookup> = (0..self.pk.get_vk().cs().lookups().len())
            .map(|at| self.permute(at, theta))
            .collect();
        let (beta, gamma) = (self.challenge(), self.challenge());
        let products = self.permutation_products(beta, gamma);
        let lookup_products: Vec<Values> = lookups
            .iter()
            .map(|lookup| self.lookup_product(lookup, beta, gamma))
            .collect();
        let random = self.random_polynomial();
        let y = self.challenge();
        let products: Vec<Coefficients> = products.iter().map(|z| self.coefficients(z)).collect();
        let lookups: Vec<[Coefficients; 3]> = lookups
            .iter()
            .zip(&lookup_products)
            .map(|(l, z)| [z, &l.permuted_input, &l.permuted_table].map(|values| self.coefficients(values)))
            .collect();
        let pieces = self.quotient(&products, &lookups, [theta, beta, gamma, y]);
        self.random(pieces.len());
        for piece in &pieces {
            self.commit(piece);
        }
        let x = self.challenge();
        self.write_evaluations(&products, &lookups, &random, x);
        let xn = x.pow_vartime([self.n() as u64]);
        let mut joined = self.pk.get_vk().get_domain().empty_coeff();
        for piece in pieces.iter().rev() {
            joined = joined * xn + piece;
        }
        self.open(&products, &lookups, &random, &joined, x);
    }

    /// An expression on a row, over columns of `size` values, `scale` of them from row to row.
    #[allow(clippy::too_many_arguments)] // The columns of halo2's own evaluation.
    fn evaluate(
        &self,
        expression: &Expression<Fr>,
        row: usize,
        scale: i32,
        advice: &[impl AsRef<[Fr]>],
        fixed: &[impl AsRef<[Fr]>],
        instance: &[impl AsRef<[Fr]>],
    ) -> Fr {
        let at = |column: &[Fr], rotation: Rotation| {
            column[(row as i32 + rotation.0 * scale).rem_euclid(column.len() as i32) as usize]
        };
        expression.evaluate(
            &|value| value,
            &|_| panic!("selectors are fixed columns"),
            &|query| at(fixed[query.column_index()].as_ref(), query.rotation()),
            &|query| at(advice[query.column_index()].as_ref(), query.rotation()),
            &|query| at(instance[query.column_index()].as_ref(), query.rotation()),
            &|challenge| self.challenges[challenge.index()],
            &|a| -a,
            &|a, b| a + b,
            &|a, b| a * b,
            &|a, factor| a * factor,
        )
    }

    fn permute(&mut self, lookup: usize, theta: Fr) -> Lookup {
        let pk = self.pk;
        let argument = &pk.get_vk().cs().lookups()[lookup];
        let slices = |columns: &[Values]| columns.iter().map(|c| c.values().to_vec()).collect::<Vec<_>>();
        let (advice, fixed, instance) = (
            slices(&self.advice),
            slices(pk.fixed_values()),
            slices(&self.instance),
        );
        let compress = |expressions: &[Expression<Fr>]| -> Vec<Fr> {
            let row = |row| {
                expressions.iter().fold(Fr::ZERO, |sum, expression| {
                    sum * theta + self.evaluate(expression, row, 1, &advice, &fixed, &instance)
                })
            };
            (0..self.n()).map(row).collect()
        };
        let (input, table) = (
            compress(argument.input_expressions()),
            compress(argument.table_expressions()),
        );
        let usable = self.usable();
        let mut distinct: Vec<Fr> = Vec::new();
        for value in &table[..usable] {
            if !distinct.contains(value) {
                distinct.push(*value);
            }
        }
        let count = |values: &[Fr], value: &Fr| values[..usable].iter().filter(|v| *v == value).count();
        let mut spare = Vec::new();
        for value in &distinct {
            let copies = count(&table, value) - usize::from(count(&input, value) > 0);
            spare.extend(std::iter::repeat_n(*value, copies));
        }
        let mut spare = spare.into_iter();
        let (mut permuted_input, mut permuted_table) = (Vec::new(), Vec::new());
        for value in distinct {
            let uses = count(&input, &value);
            if uses > 0 {
                permuted_input.extend(std::iter::repeat_n(value, uses));
                permuted_table.push(value);
                permuted_table.extend(spare.by_ref().take(uses - 1));
            }
        }
        let blinding = self.n() - usable;
        permuted_input.extend(self.random(blinding));
        permuted_table.extend(self.random(blinding));
        self.random(2);
        let lookup = Lookup {
            input: self.values(input),
            table: self.values(table),
            permuted_input: self.values(permuted_input),
            permuted_table: self.values(permuted_table),
        };
        self.commit_values(&lookup.permuted_input);
        self.commit_values(&lookup.permuted_table);
        lookup
    }

    /// Blinds, commits to, and gives the running product of the factors, and its last value.
    fn running_product(&mut self, factors: Vec<Fr>, first: Fr) -> (Values, Fr) {
        let mut z = vec![first];
        for factor in &factors[..self.usable()] {
            z.push(z[z.len() - 1] * factor);
        }
        let last = z[self.usable()];
        let blinding = self.n() - z.len();
        z.extend(self.random(blinding));
        self.random(1);
        let z = self.values(z);
        self.commit_values(&z);
        (z, last)
    }

    fn permutation_products(&mut self, beta: Fr, gamma: Fr) -> Vec<Values> {
        let pk = self.pk;
        let vk = pk.get_vk();
        let columns = vk.cs().permutation().get_columns();
        let chunk = vk.cs().degree() - 2;
        let omega = vk.get_domain().get_omega();
        let mut products = Vec::new();
        let (mut last, mut delta) = (Fr::ONE, Fr::ONE);
        for (columns, sigmas) in columns
            .chunks(chunk)
            .zip(pk.permutation().permutations().chunks(chunk))
        {
            let mut factors = vec![Fr::ONE; self.n()];
            for (column, sigma) in columns.iter().zip(sigmas) {
                let values = Self::column(column, &self.advice, pk.fixed_values(), &self.instance);
                let mut power = delta;
                for ((factor, value), sigma) in factors.iter_mut().zip(values.iter()).zip(sigma.iter()) {
                    let denominator = value + beta * sigma + gamma;
                    *factor *= (value + beta * power + gamma) * denominator.invert().expect("not zero");
                    power *= omega;
                }
                delta *= Fr::DELTA;
            }
            let (z, end) = self.running_product(factors, last);
            last = end;
            products.push(z);
        }
        products
    }

    fn lookup_product(&mut self, lookup: &Lookup, beta: Fr, gamma: Fr) -> Values {
        let factor = |row: usize| {
            let numerator = (lookup.input[row] + beta) * (lookup.table[row] + gamma);
            let denominator = (lookup.permuted_input[row] + beta) * (lookup.permuted_table[row] + gamma);
            numerator * denominator.invert().expect("not zero")
        };
        let factors = (0..self.n()).map(factor).collect();
        self.running_product(factors, Fr::ONE).0
    }

    fn random_polynomial(&mut self) -> Coefficients {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let mut coefficients = Vec::new();
        for stream in 0..self.n().div_ceil(4096) {
            let mut rng = ChaCha20Rng::from_seed(seed);
            rng.set_stream(stream as u64);
            coefficients.extend((0..self.n().min(4096)).map(|_| Fr::random(&mut rng)));
        }
        self.random(1);
        let random = self.pk.get_vk().get_domain().coeff_from_vec(coefficients);
        self.commit(&random);
        random
    }

    fn quotient(
        &self,
        products: &[Coefficients],
        lookups: &[[Coefficients; 3]],
        [theta, beta, gamma, y]: [Fr; 4],
    ) -> Vec<Coefficients> {
        let pk = self.pk;
        let (vk, cs, domain) = (pk.get_vk(), pk.get_vk().cs(), pk.get_vk().get_domain());
        let extend = |polys: &[Coefficients]| -> Vec<Vec<Fr>> {
            polys
                .iter()
                .map(|poly| domain.coeff_to_extended(poly).values().to_vec())
                .collect()
        };
        let (advice, fixed, instance) = (
            extend(&self.advice_polys),
            extend(pk.fixed_polys()),
            extend(&self.instance_polys),
        );
        let rows = extend(&[pk.l0().clone(), pk.l_last().clone(), pk.l_active_row().clone()]);
        let (sigma, products) = (extend(pk.permutation().polys()), extend(products));
        let lookups: Vec<Vec<Vec<Fr>>> = lookups.iter().map(|polys| extend(polys)).collect();
        let size = domain.extended_len();
        let scale = size / self.n();
        let last = (size - scale * (cs.blinding_factors() + 1)) % size;
        let columns = cs.permutation().get_columns();
        let chunk = cs.degree() - 2;
        let mut values = domain.empty_extended();
        let mut x = domain.g_coset;
        for row in 0..size {
            let (l0, l_last, active) = (rows[0][row], rows[1][row], rows[2][row]);
            let (next, previous) = ((row + scale) % size, (row + size - scale) % size);
            let evaluate =
                |e: &Expression<Fr>| self.evaluate(e, row, scale as i32, &advice, &fixed, &instance);
            let mut constraints: Vec<Fr> = cs
                .gates()
                .iter()
                .flat_map(|gate| gate.polynomials())
                .map(evaluate)
                .collect();
            if let (Some(first_z), Some(last_z)) = (products.first(), products.last()) {
                constraints.push((Fr::ONE - first_z[row]) * l0);
                constraints.push((last_z[row].square() - last_z[row]) * l_last);
                for pair in products.windows(2) {
                    constraints.push((pair[1][row] - pair[0][(row + last) % size]) * l0);
                }
            }
            let mut delta = Fr::ONE;
            for ((columns, sigma), z) in columns.chunks(chunk).zip(sigma.chunks(chunk)).zip(&products) {
                let (mut left, mut right) = (z[next], z[row]);
                for (column, sigma) in columns.iter().zip(sigma) {
                    let value = Self::column(column, &advice, &fixed, &instance)[row];
                    left *= value + beta * sigma[row] + gamma;
                    right *= value + beta * delta * x + gamma;
                    delta *= Fr::DELTA;
                }
                constraints.push((left - right) * active);
            }
            for (argument, polys) in cs.lookups().iter().zip(&lookups) {
                let [z, input, table] = [&polys[0], &polys[1], &polys[2]];
                let compress = |expressions: &[Expression<Fr>]| {
                    expressions
                        .iter()
                        .fold(Fr::ZERO, |sum, e| sum * theta + evaluate(e))
                };
                let compressed = (compress(argument.input_expressions()) + beta)
                    * (compress(argument.table_expressions()) + gamma);
                let permuted = (input[row] + beta) * (table[row] + gamma);
                constraints.push((Fr::ONE - z[row]) * l0);
                constraints.push((z[row].square() - z[row]) * l_last);
                constraints.push((z[next] * permuted - z[row] * compressed) * active);
                constraints.push((input[row] - table[row]) * l0);
                constraints.push((input[row] - table[row]) * (input[row] - input[previous]) * active);
            }
            values.values_mut()[row] = constraints.iter().fold(Fr::ZERO, |sum, c| sum * y + c);
            x *= domain.get_extended_omega();
        }
        let quotient = vk
            .get_domain()
            .extended_to_coeff(domain.divide_by_vanishing_poly(values));
        quotient
            .chunks(self.n())
            .map(|piece| domain.coeff_from_vec(piece.to_vec()))
            .collect()
    }

    fn rotate(&self, x: Fr, rotation: i32) -> Fr {
        self.pk.get_vk().get_domain().rotate_omega(x, Rotation(rotation))
    }

    fn last_rotation(&self) -> i32 {
        -(self.pk.get_vk().cs().blinding_factors() as i32 + 1)
    }

    fn write_evaluations(
        &mut self,
        products: &[Coefficients],
        lookups: &[[Coefficients; 3]],
        random: &Coefficients,
        x: Fr,
    ) {
        let cs = self.pk.get_vk().cs();
        let mut opened: Vec<(&Coefficients, i32)> = Vec::new();
        let advice_polys = self.advice_polys.clone();
        opened.extend(
            cs.advice_queries()
                .iter()
                .map(|(column, at)| (&advice_polys[column.index()], at.0)),
        );
        opened.extend(
            cs.fixed_queries()
                .iter()
                .map(|(column, at)| (&self.pk.fixed_polys()[column.index()], at.0)),
        );
        opened.push((random, 0));
        opened.extend(self.pk.permutation().polys().iter().map(|poly| (poly, 0)));
        for (at, z) in products.iter().enumerate() {
            opened.extend([(z, 0), (z, 1)]);
            if at + 1 < products.len() {
                opened.push((z, self.last_rotation()));
            }
        }
        for [z, input, table] in lookups {
            opened.extend([(z, 0), (z, 1), (input, 0), (input, -1), (table, 0)]);
        }
        for (poly, rotation) in opened {
            let value = eval_polynomial(poly.values(), self.rotate(x, rotation));
            self.transcript.write_scalar(value).expect("a scalar");
        }
    }

    fn open(
        &mut self,
        products: &[Coefficients],
        lookups: &[[Coefficients; 3]],
        random: &Coefficients,
        quotient: &Coefficients,
        x: Fr,
    ) {
        let (pk, last) = (self.pk, self.last_rotation());
        let cs = pk.get_vk().cs();
        let advice_polys = self.advice_polys.clone();
        let mut queries: Vec<(&Coefficients, i32)> = Vec::new();
        queries.extend(
            cs.advice_queries()
                .iter()
                .map(|(column, at)| (&advice_polys[column.index()], at.0)),
        );
        queries.extend(products.iter().flat_map(|z| [(z, 0), (z, 1)]));
        queries.extend(products.iter().rev().skip(1).map(|z| (z, last)));
        for [z, input, table] in lookups {
            queries.extend([(z, 0), (input, 0), (table, 0), (input, -1), (z, 1)]);
        }
        queries.extend(
            cs.fixed_queries()
                .iter()
                .map(|(column, at)| (&pk.fixed_polys()[column.index()], at.0)),
        );
        queries.extend(pk.permutation().polys().iter().map(|poly| (poly, 0)));
        queries.extend([(quotient, 0), (random, 0)]);
        let sets = self.rotation_sets(&queries, x);
        self.shplonk(&sets);
    }

    fn rotation_sets(&self, queries: &[(&Coefficients, i32)], x: Fr) -> Vec<RotationSet> {
        let mut opened: Vec<(&Coefficients, Vec<Fr>)> = Vec::new();
        for (poly, rotation) in queries {
            let point = self.rotate(x, *rotation);
            match opened.iter_mut().find(|(known, _)| std::ptr::eq(*known, *poly)) {
                Some((_, points)) => points.push(point),
                None => opened.push((poly, vec![point])),
            }
        }
        let mut sets: Vec<RotationSet> = Vec::new();
        for (poly, mut points) in opened {
            points.sort();
            let values = points
                .iter()
                .map(|point| eval_polynomial(poly.values(), *point))
                .collect();
            match sets.iter_mut().find(|(known, _)| *known == points) {
                Some((_, polys)) => polys.push((poly.clone(), values)),
                None => sets.push((points, vec![(poly.clone(), values)])),
            }
        }
        sets
    }

    fn shplonk(&mut self, sets: &[RotationSet]) {
        let domain = self.pk.get_vk().get_domain();
        let y = self.challenge();
        let v = self.challenge();
        let mut h = domain.empty_coeff();
        let mut v_power = Fr::ONE;
        for (points, polys) in sets {
            let mut numerator = domain.empty_coeff();
            for (poly, values) in polys.iter().rev() {
                let mut difference = poly.clone();
                for (slot, low) in difference.iter_mut().zip(lagrange_interpolate(points, values)) {
                    *slot -= low;
                }
                numerator = numerator * y + &difference;
            }
            let mut quotient = numerator.values().to_vec();
            for point in points {
                quotient = kate_division(&quotient, *point);
            }
            quotient.resize(self.n(), Fr::ZERO);
            h = h + &(domain.coeff_from_vec(quotient) * v_power);
            v_power *= v;
        }
        self.commit(&h);
        let u = self.challenge();
        let mut all: Vec<Fr> = sets.iter().flat_map(|(points, _)| points.clone()).collect();
        all.sort();
        all.dedup();
        let mut linear = domain.empty_coeff();
        let mut v_power = Fr::ONE;
        let mut first_difference = None;
        for (points, polys) in sets {
            let others: Vec<Fr> = all
                .iter()
                .filter(|point| !points.contains(point))
                .copied()
                .collect();
            let z = evaluate_vanishing_polynomial(&others, u);
            first_difference.get_or_insert(z);
            let mut combined = domain.empty_coeff();
            for (poly, values) in polys.iter().rev() {
                let r = eval_polynomial(&lagrange_interpolate(points, values), u);
                combined = combined * y + &(poly - r);
            }
            linear = linear + &(combined * (z * v_power));
            v_power *= v;
        }
        linear = linear - &(h * evaluate_vanishing_polynomial(&all, u));
        assert_eq!(eval_polynomial(linear.values(), u), Fr::ZERO);
        let scale = first_difference
            .expect("a set")
            .invert()
            .expect("u is off the points");
        let mut quotient = kate_division(linear.values(), u);
        quotient.resize(self.n(), Fr::ZERO);
        self.commit(&(domain.coeff_from_vec(quotient) * scale));
    }
}
