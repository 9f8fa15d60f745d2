//! The scalar arithmetic that the equation is written in, and its plain interpreter.

use halo2curves::{
    bn256::Fr,
    ff::{Field, PrimeField},
};

use num_bigint::{BigInt, Sign};

use rules::{field, poseidon};

/// Elements of a transcript's Poseidon state.
pub(crate) const WIDTH: usize = 3;

/// A weight's bits, its sign aside (P-8.5).
const WEIGHT_BITS: usize = 128;

/// An interpreter of the equation's scalars: field elements, or cells of a circuit.
pub(crate) trait Arithmetic {
    /// A scalar.
    type Scalar: Clone;

    /// A constant of the equation.
    fn constant(&mut self, value: Fr) -> Self::Scalar;

    /// `a + b c`.
    fn mul_add(&mut self, a: &Self::Scalar, b: &Self::Scalar, c: &Self::Scalar) -> Self::Scalar;

    /// `1 / a`. An interpreter refuses the whole equation when `a` is 0.
    fn invert(&mut self, a: &Self::Scalar) -> Self::Scalar;

    /// The weight that a challenge is (P-8.5), an odd number between `±2^128`: of an odd integer that the challenge is modulo r, what
    /// its lowest 32 signed odd digits to the base 16 are together.
    fn weight(&mut self, challenge: &Self::Scalar) -> Self::Scalar;

    /// The Poseidon permutation of a transcript, between states to which the first round's constants are added.
    fn permute(&mut self, state: [Self::Scalar; WIDTH]) -> [Self::Scalar; WIDTH];

    /// `a b`.
    fn mul(&mut self, a: &Self::Scalar, b: &Self::Scalar) -> Self::Scalar {
        let zero = self.constant(Fr::ZERO);
        self.mul_add(&zero, a, b)
    }

    /// `a + c b`.
    fn add_scaled(&mut self, a: &Self::Scalar, b: &Self::Scalar, c: Fr) -> Self::Scalar {
        let c = self.constant(c);
        self.mul_add(a, b, &c)
    }

    /// `c a`.
    fn scale(&mut self, a: &Self::Scalar, c: Fr) -> Self::Scalar {
        let zero = self.constant(Fr::ZERO);
        self.add_scaled(&zero, a, c)
    }

    /// `a + b`.
    fn add(&mut self, a: &Self::Scalar, b: &Self::Scalar) -> Self::Scalar {
        self.add_scaled(a, b, Fr::ONE)
    }

    /// `a - b`.
    fn sub(&mut self, a: &Self::Scalar, b: &Self::Scalar) -> Self::Scalar {
        self.add_scaled(a, b, -Fr::ONE)
    }

    /// `1, a, a², …`, `count` of them.
    fn powers(&mut self, a: &Self::Scalar, count: usize) -> Vec<Self::Scalar> {
        let mut powers = vec![self.constant(Fr::ONE)];
        while powers.len() < count {
            let next = match powers.len() {
                1 => a.clone(),
                last => self.mul(&powers[last - 1], a),
            };
            powers.push(next);
        }
        powers.truncate(count);
        powers
    }

    /// `Σ terms[i] · point^i`, by Horner's rule.
    fn horner(&mut self, terms: &[Self::Scalar], point: &Self::Scalar) -> Self::Scalar {
        let mut terms = terms.iter().rev();
        let first = terms.next().cloned();
        let first = first.unwrap_or_else(|| self.constant(Fr::ZERO));
        terms.fold(first, |sum, term| self.mul_add(term, &sum, point))
    }
}

/// The plain reading.
#[derive(Debug, Default)]
pub(crate) struct Native {
    /// Whether a 0 was to be inverted: the equation is then refused.
    pub inverted_zero: bool,
}

impl Arithmetic for Native {
    type Scalar = Fr;

    fn constant(&mut self, value: Fr) -> Fr {
        value
    }

    fn mul_add(&mut self, a: &Fr, b: &Fr, c: &Fr) -> Fr {
        a + b * c
    }

    fn invert(&mut self, a: &Fr) -> Fr {
        let inverse = a.invert();
        self.inverted_zero |= bool::from(inverse.is_none());
        inverse.unwrap_or(Fr::ZERO)
    }

    fn weight(&mut self, challenge: &Fr) -> Fr {
        let integer = BigInt::from(field::to_integer(challenge));
        let odd = if integer.bit(0) {
            integer
        } else {
            integer - BigInt::from(field::modulus())
        };
        // The digits' sum is less than 2^128 in size, and what is above it an odd multiple of 2^128.
        let half: BigInt = BigInt::from(1) << WEIGHT_BITS;
        let turn: BigInt = &half << 1;
        let low: BigInt = ((odd % &turn) + &turn) % turn - half;
        let size = field::reduce(low.magnitude());
        if low.sign() == Sign::Minus { -size } else { size }
    }

    fn permute(&mut self, state: [Fr; WIDTH]) -> [Fr; WIDTH] {
        let constants = &poseidon::spec3().round_constants[0];
        let mut state = std::array::from_fn(|i| state[i] - constants[i]);
        poseidon::permute(poseidon::spec3(), &mut state);
        std::array::from_fn(|i| state[i] + constants[i])
    }
}

/// The sponge of a shard proof's transcript (P-8.6): `snark-verifier`'s Poseidon, rate 2. What is absorbed between two challenges
/// is padded with a 1, so that no two sequences have one image.
#[derive(Clone, Debug)]
pub(crate) struct Sponge<S> {
    /// With the next permutation's first constants added.
    state: [S; WIDTH],
    buffer: Vec<S>,
}

impl<S: Clone> Sponge<S> {
    const RATE: usize = WIDTH - 1;

    /// An empty sponge: capacity `2^64`, as the Poseidon paper has it for inputs of any length and one output.
    pub fn new<A: Arithmetic<Scalar = S>>(a: &mut A) -> Self {
        let start = [Fr::from_u128(1 << 64), Fr::ZERO, Fr::ZERO];
        let constants = &poseidon::spec3().round_constants[0];
        Self {
            state: std::array::from_fn(|i| a.constant(start[i] + constants[i])),
            buffer: vec![],
        }
    }

    /// Takes scalars in.
    pub fn absorb(&mut self, scalars: &[S]) {
        self.buffer.extend_from_slice(scalars);
    }

    /// A challenge that depends on everything absorbed so far.
    pub fn squeeze<A: Arithmetic<Scalar = S>>(&mut self, a: &mut A) -> S {
        let buffer = std::mem::take(&mut self.buffer);
        for chunk in buffer.chunks(Self::RATE) {
            self.round(a, chunk);
        }
        if buffer.len().is_multiple_of(Self::RATE) {
            self.round(a, &[]);
        }
        let one = a.constant(Fr::ONE);
        a.add_scaled(&self.state[1], &one, -poseidon::spec3().round_constants[0][1])
    }

    fn round<A: Arithmetic<Scalar = S>>(&mut self, a: &mut A, inputs: &[S]) {
        for (element, input) in self.state[1..].iter_mut().zip(inputs) {
            *element = a.add(element, input);
        }
        if let Some(element) = self.state[1..].get_mut(inputs.len()) {
            let one = a.constant(Fr::ONE);
            *element = a.add(element, &one);
        }
        self.state = a.permute(self.state.clone());
    }
}
