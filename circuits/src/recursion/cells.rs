//! The equation's scalars (P-8.7) as cells.

use halo2curves::{bn256::Fr, ff::Field};

use super::{
    config::Gate,
    sheet::{Sheet, Var},
};
use crate::plonk::arithmetic::{Arithmetic, WIDTH};

impl Arithmetic for Sheet {
    type Scalar = Var;

    fn constant(&mut self, value: Fr) -> Var {
        Sheet::constant(self, value)
    }

    /// What constants alone decide takes no cells.
    fn mul_add(&mut self, a: &Var, b: &Var, c: &Var) -> Var {
        let known = |var: &Var| var.is_constant.then_some(var.value);
        let value = a.value + b.value * c.value;
        match [a, b, c].map(known) {
            [Some(_), Some(_), Some(_)] => Sheet::constant(self, value),
            [_, Some(Fr::ZERO), _] | [_, _, Some(Fr::ZERO)] => *a,
            [Some(Fr::ZERO), Some(Fr::ONE), _] => *c,
            [Some(Fr::ZERO), _, Some(Fr::ONE)] => *b,
            _ => Sheet::mul_add(self, a, b, c),
        }
    }

    fn invert(&mut self, a: &Var) -> Var {
        let [zero, one] = [Fr::ZERO, Fr::ONE].map(|value| Sheet::constant(self, value));
        self.enable(Gate::Arith, self.row());
        self.copy(&zero);
        self.copy(a);
        let inverse = self.witness(a.value.invert().unwrap_or(Fr::ZERO));
        self.copy(&one);
        inverse
    }

    fn weight(&mut self, challenge: &Var) -> Var {
        self.weight_of(challenge)
    }

    fn permute(&mut self, state: [Var; WIDTH]) -> [Var; WIDTH] {
        self.permutation(&state)
    }
}
