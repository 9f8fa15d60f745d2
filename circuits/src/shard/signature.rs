//! EdDSA-Poseidon (section 5): `S·B + h·T = R8` with `T = -(8·A)`, both scalars in one pass.

use super::config::{Gate, STEP_ROWS, Z, step};
use super::sheet::{ONE, Sheet, Term, Var, ZERO};
use halo2_proofs::arithmetic::Field;
use rules::Fr;
use rules::babyjub::{self, BASE8, Point};
use rules::field;

/// Bits of each scalar in the pass: those of the challenge.
const SCALAR_BITS: usize = 254;
/// Bits of `S` (P-5.4): the subgroup's order is below `2^251`.
const S_BITS: usize = 251;
/// Bits of the lower half of the challenge, where its comparison with `r` is split.
const LOW_BITS: usize = 127;

/// A point in projective coordinates; divisions wait until the end.
#[derive(Clone, Copy)]
struct Projective {
    x: Fr,
    y: Fr,
    z: Fr,
}

impl Projective {
    const IDENTITY: Self = Self {
        x: Fr::zero(),
        y: Fr::one(),
        z: Fr::one(),
    };

    /// Bernstein and Lange, add-2008-bbjlp for twisted Edwards curves, with `z2 = 1`.
    fn add(&self, other: &Point) -> Self {
        let (a, d) = (Fr::from(babyjub::A), Fr::from(babyjub::D));
        let b = self.z.square();
        let (c, dd) = (self.x * other.x, self.y * other.y);
        let e = d * c * dd;
        let (f, g) = (b - e, b + e);
        Self {
            x: self.z * f * ((self.x + self.y) * (other.x + other.y) - c - dd),
            y: self.z * g * (dd - a * c),
            z: f * g,
        }
    }

    /// Bernstein and Lange, dbl-2008-bbjlp.
    fn double(&self) -> Self {
        let b = (self.x + self.y).square();
        let (c, d) = (self.x.square(), self.y.square());
        let e = c * Fr::from(babyjub::A);
        let f = e + d;
        let j = f - self.z.square().double();
        Self {
            x: (b - c - d) * j,
            y: f * (e - d),
            z: f * j,
        }
    }
}

fn to_affine(points: &[Projective]) -> Vec<Point> {
    // Montgomery's trick; a zero denominator (only ever in a forged witness) gives zeros.
    let mut products = Vec::with_capacity(points.len());
    let mut product = Fr::ONE;
    for point in points {
        products.push(product);
        if point.z != Fr::ZERO {
            product *= point.z;
        }
    }
    let mut inverse = product.invert().unwrap_or(Fr::ZERO);
    let mut affine = vec![Point::IDENTITY; points.len()];
    for (i, point) in points.iter().enumerate().rev() {
        if point.z == Fr::ZERO {
            affine[i] = Point {
                x: Fr::ZERO,
                y: Fr::ZERO,
            };
            continue;
        }
        let z = inverse * products[i];
        inverse *= point.z;
        affine[i] = Point {
            x: point.x * z,
            y: point.y * z,
        };
    }
    affine
}

/// Bits of a big-endian integer, most significant first, the last `count` of them.
fn bits(be: &[u8; 32], count: usize) -> Vec<bool> {
    (0..count)
        .rev()
        .map(|i| be[31 - i / 8] >> (i % 8) & 1 == 1)
        .collect()
}

/// Cells of the pass that the checks around it need.
struct Pass {
    /// `S` after its first three bits, which must be 0.
    s_top: Var,
    s: Var,
    h_high: Var,
    h: Var,
    sum: [Var; 2],
}

impl Sheet {
    /// P-5.4: the signature `(R8, S)` over `message` verifies under the key. `r8` and `s` are what the prover claims.
    pub fn signature(&mut self, key: [Var; 2], message: Var, r8: &Point, s: &[u8; 32]) {
        self.signature_with(key, message, r8, s, field::to_be);
    }

    /// [`Self::signature`] with the integer, big endian, that the prover takes the challenge for.
    pub(super) fn signature_with(
        &mut self,
        key: [Var; 2],
        message: Var,
        r8: &Point,
        s: &[u8; 32],
        integer: fn(&Fr) -> [u8; 32],
    ) {
        self.label("P-5.1: the key is on the curve and not of small order");
        let table = self.key_table(key);
        self.label("P-5.3: challenge");
        let inputs = [r8.x, r8.y, key[0].value, key[1].value, message.value];
        let ([r8_x, r8_y, key_x, key_y, signed], h) = self.block6(inputs);
        self.equal(key_x, key[0]);
        self.equal(key_y, key[1]);
        self.equal(signed, message);

        self.label("P-5.4: double-scalar multiplication");
        let pass = self.pass(s, &integer(&h.value), table);
        self.label("P-5.4: the sum is R8, and R8.x is not 0");
        self.equal(pass.sum[0], r8_x);
        self.equal(pass.sum[1], r8_y);
        self.require_nonzero(r8_x);
        self.label("P-5.4: S is below the subgroup's order");
        self.equal_constant(pass.s_top, Fr::ZERO);
        let order_less_one = field::reduce(&(babyjub::suborder() - 1u32));
        let room = self.sub(Term::Constant(order_less_one), pass.s);
        self.range(room, S_BITS.div_ceil(2));
        self.label("P-5.3: the challenge's bits are its canonical integer");
        self.equal(pass.h, h);
        self.canonical(pass.h, pass.h_high);
    }

    /// P-5.1: the key is on the curve; returns the cells of `T = -(8·A)` and `U = B + T`, `T` not the identity.
    fn key_table(&mut self, key: [Var; 2]) -> [Var; 4] {
        let (a, d) = (Fr::from(babyjub::A), Fr::from(babyjub::D));
        let [x, y] = key;
        let xx = self.mul(x, x);
        let yy = self.mul(y, y);
        let left = self.mul_add(yy, Term::Constant(a), xx);
        let product = self.mul(xx, yy);
        self.arith([ONE, Term::Constant(d), product.into(), left.into()]);

        let mut point = key;
        for _ in 0..3 {
            point = self.double(point);
        }
        self.require_nonzero(point[0]);
        let t_x = self.sub(ZERO, point[0]);
        let t_y = point[1];
        // U = B + T by the complete addition, B constant.
        let tau = self.mul(t_x, t_y);
        let tau_d = self.mul(tau, Term::Constant(d * BASE8.x * BASE8.y));
        let by_tx = self.mul(t_x, Term::Constant(BASE8.y));
        let x_numerator = self.mul_add(by_tx, Term::Constant(BASE8.x), t_y);
        let x_denominator = self.add(ONE, tau_d);
        let u_x = self.quotient(x_numerator, x_denominator);
        let abx_tx = self.mul(t_x, Term::Constant(a * BASE8.x));
        let by_ty = self.mul(t_y, Term::Constant(BASE8.y));
        let y_numerator = self.sub(by_ty, abx_tx);
        let y_denominator = self.sub(ONE, tau_d);
        let u_y = self.quotient(y_numerator, y_denominator);
        [t_x, t_y, u_x, u_y]
    }

    /// The double of a point on the curve.
    fn double(&mut self, [x, y]: [Var; 2]) -> [Var; 2] {
        let xx = self.mul(x, x);
        let yy = self.mul(y, y);
        let xy = self.mul(x, y);
        let axx = self.mul(xx, Term::Constant(Fr::from(babyjub::A)));
        let sum = self.add(yy, axx);
        let twice = self.add(xy, xy);
        let double_x = self.quotient(twice, sum);
        let rest = self.sub(Term::Constant(Fr::from(2)), sum);
        let difference = self.sub(yy, axx);
        [double_x, self.quotient(difference, rest)]
    }

    /// The cell `a / b`. On the curve no denominator is 0 (P-10.4), so this fixes the cell.
    fn quotient(&mut self, a: Var, b: Var) -> Var {
        let value = a.value * b.value.invert().unwrap_or(Fr::ZERO);
        self.arith([ZERO, Term::Witness(value), b.into(), a.into()])[1]
    }

    fn pass(&mut self, s: &[u8; 32], h: &[u8; 32], table: [Var; 4]) -> Pass {
        let (s_bits, h_bits) = (bits(s, SCALAR_BITS), bits(h, SCALAR_BITS));
        let point = |x: Var, y: Var| Point {
            x: x.value,
            y: y.value,
        };
        let addends = [
            Point::IDENTITY,
            BASE8,
            point(table[0], table[1]),
            point(table[2], table[3]),
        ];
        let chosen: Vec<Point> = s_bits
            .iter()
            .zip(&h_bits)
            .map(|(&s, &h)| addends[usize::from(s) + 2 * usize::from(h)])
            .collect();
        let mut sum = Projective::IDENTITY;
        let mut points = Vec::with_capacity(2 * SCALAR_BITS);
        for addend in &chosen {
            let double = sum.double();
            sum = double.add(addend);
            points.extend([double, sum]);
        }
        let points = to_affine(&points);

        let first = self.begin_pass(table);
        let carried = [[table[0], table[1]], [table[2], table[3]]];
        let (mut s_prefix, mut h_prefix) = (Fr::ZERO, Fr::ZERO);
        for i in 0..SCALAR_BITS {
            let row = first + STEP_ROWS * (i + 1);
            self.enable([Gate::StepT, Gate::StepU][i % 2], row);
            s_prefix = s_prefix.double() + Fr::from(u64::from(s_bits[i]));
            h_prefix = h_prefix.double() + Fr::from(u64::from(h_bits[i]));
            let (double, addend, sum) = (points[2 * i], chosen[i], points[2 * i + 1]);
            let tau = double.x * double.y * addend.x * addend.y;
            let cells = [
                s_prefix, h_prefix, double.x, double.y, addend.x, addend.y, tau, sum.x, sum.y,
            ];
            let table = carried[i % 2].map(|var| var.value);
            for (offset, value) in cells.into_iter().chain(table).enumerate() {
                self.set(Z, row + offset, value);
            }
        }
        let cell =
            |sheet: &Self, steps: usize, offset: usize| sheet.var(Z, first + STEP_ROWS * steps + offset);
        Pass {
            s_top: cell(self, SCALAR_BITS - S_BITS, step::S),
            s: cell(self, SCALAR_BITS, step::S),
            h_high: cell(self, SCALAR_BITS - LOW_BITS, step::H),
            h: cell(self, SCALAR_BITS, step::H),
            sum: [
                cell(self, SCALAR_BITS, step::SUM),
                cell(self, SCALAR_BITS, step::SUM + 1),
            ],
        }
    }

    /// Takes the rows of the pass, and fills the cells that the first two steps find behind them: prefixes 0, the identity,
    /// and `U`, where a step before the first would stand; before it, `T`. Returns the row of that step.
    fn begin_pass(&mut self, table: [Var; 4]) -> usize {
        let row = self.z_row + 2;
        self.z_row = row + STEP_ROWS * (SCALAR_BITS + 1);
        for (offset, value) in [
            (step::S, Fr::ZERO),
            (step::H, Fr::ZERO),
            (step::SUM, Fr::ZERO),
            (step::SUM + 1, Fr::ONE),
        ] {
            let cell = self.set(Z, row + offset, value);
            self.equal_constant(cell, value);
        }
        let before = row - STEP_ROWS + step::TABLE;
        for (at, entry) in [before, before + 1, row + step::TABLE, row + step::TABLE + 1]
            .into_iter()
            .zip(table)
        {
            let cell = self.set(Z, at, entry.value);
            self.equal(cell, entry);
        }
        row
    }

    /// P-5.3: `high · 2^127 + low`, both below `2^127` by their bits, is below `r`: `r - 1` less it, with a borrow
    /// between the halves, has no negative half.
    fn canonical(&mut self, h: Var, high: Var) {
        let two = Fr::from(2).pow([LOW_BITS as u64]);
        let most = field::modulus() - 1u32;
        let most_high = field::reduce(&(&most >> LOW_BITS));
        let most_low = field::reduce(&(&most % (num_bigint::BigUint::from(1u32) << LOW_BITS)));
        let low_value = h.value - high.value * two;
        let low = self.arith([
            Term::Witness(low_value),
            Term::Constant(two),
            high.into(),
            h.into(),
        ])[0];
        let borrow = self.boolean(field::to_be(&low_value) > field::to_be(&most_low));
        let available = self.mul_add(Term::Constant(most_low), Term::Constant(two), borrow);
        let rest_low = self.sub(available, low);
        self.range(rest_low, LOW_BITS.div_ceil(2));
        let taken = self.add(high, borrow);
        let rest_high = self.sub(Term::Constant(most_high), taken);
        self.range(rest_high, LOW_BITS.div_ceil(2));
    }
}
