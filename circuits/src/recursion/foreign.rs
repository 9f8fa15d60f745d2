//! The one gate of the base field's arithmetic (P-8.9, P-8.10), and what is made with it.

use halo2curves::{
    bn256::{Fq, Fr},
    ff::Field,
};

use super::{
    config::{CHAIN, Gate, add},
    modulus::{self, Bound, Exact, LIMB_DIGITS, LIMBS},
    sheet::{Sheet, Var},
};

/// An element modulo q: five cells, each below `2^51`. Not necessarily reduced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub limbs: [Var; LIMBS],
    pub integers: [i64; LIMBS],
    pub value: Fq,
}

/// An integer that stands for an element modulo q and is too long for limbs: its residue modulo r, and its image `V'`.
#[derive(Clone, Debug)]
pub(super) struct Lazy {
    pub cells: [Var; 2],
    pub exact: Exact,
    pub bound: Bound,
}

/// The slope of an addition: a new element, or an old one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slope<'a> {
    New(Fq),
    Old(&'a Element),
}

/// What the gate [`Gate::Add`] takes: see there.
#[derive(Clone, Debug)]
pub(super) struct Operands<'a> {
    pub x: &'a Element,
    pub y: &'a Lazy,
    pub x2: &'a Element,
    pub y2: &'a Lazy,
    /// Holds 1 or 0, for a sign of + or -. What holds it there is the caller's to say.
    pub sign: Var,
    pub slope: Slope<'a>,
    /// The new element.
    pub x3: Fq,
}

/// What the gate gives.
#[derive(Clone, Debug)]
pub(super) struct Third {
    pub x3: Element,
    pub y3: Lazy,
}

impl Operands<'_> {
    /// What the two identities say is 0 modulo q, and `y3`.
    fn exact(&self) -> ([Exact; 2], Exact) {
        let [x, x2] = [self.x.integers, self.x2.integers];
        let slope = match self.slope {
            Slope::New(value) => modulus::limbs(&value),
            Slope::Old(element) => element.integers,
        };
        let x3 = modulus::limbs(&self.x3);
        let difference =
            |a: &[i64; LIMBS], b: &[i64; LIMBS]| -> [i64; LIMBS] { std::array::from_fn(|i| a[i] - b[i]) };
        let chord = Exact::product(&slope, &difference(&x2, &x)).plus(&self.y.exact);
        let chord = if self.sign.value == Fr::ZERO {
            chord.plus(&self.y2.exact)
        } else {
            chord.minus(&self.y2.exact)
        };
        let elements = [x, x2, x3].map(|limbs| Exact::element(&limbs));
        let square = elements
            .iter()
            .fold(Exact::product(&slope, &slope), |sum, element| sum.minus(element));
        let y3 = Exact::product(&slope, &difference(&x, &x3)).minus(&self.y.exact);
        ([chord, square], y3)
    }
}

impl Sheet {
    /// A new element, held by its ranges alone.
    pub fn element(&mut self, value: Fq) -> Element {
        let heads = [Some(value), None];
        self.elements(heads)[0].expect("an element that was asked for")
    }

    /// Two new elements, side by side.
    pub fn element_pair(&mut self, values: [Fq; 2]) -> [Element; 2] {
        self.elements(values.map(Some))
            .map(|element| element.expect("an element that was asked for"))
    }

    /// One or two new elements.
    fn elements(&mut self, values: [Option<Fq>; 2]) -> [Option<Element>; 2] {
        let mut heads = [None; CHAIN];
        let elements = [0, 1].map(|half| {
            let value = values[half];
            let integers = value.map_or([0; LIMBS], |value| modulus::limbs(&value));
            let limbs = integers.map(|integer| self.witness(Fr::from(integer as u64)));
            value.map(|value| {
                heads[LIMBS * half..][..LIMBS].copy_from_slice(&limbs.map(Some));
                Element {
                    limbs,
                    integers,
                    value,
                }
            })
        });
        self.chains(heads, LIMB_DIGITS);
        elements
    }

    /// A constant element.
    pub fn constant_element(&mut self, value: Fq) -> Element {
        let integers = modulus::limbs(&value);
        Element {
            limbs: integers.map(|integer| self.constant(Fr::from(integer as u64))),
            integers,
            value,
        }
    }

    /// A small constant, as an integer.
    pub fn constant_lazy(&mut self, value: u64) -> Lazy {
        let constant = self.constant(Fr::from(value));
        Lazy {
            cells: [constant; 2],
            exact: Exact::constant(value),
            bound: Bound::constant(value),
        }
    }

    /// An element as an integer.
    pub fn lazy(&mut self, element: &Element) -> Lazy {
        let cells = [0, 1].map(|side| self.combine(&element.limbs, &modulus::powers(side)[..LIMBS]));
        Lazy {
            cells,
            exact: Exact::element(&element.integers),
            bound: Bound::element(),
        }
    }

    /// An element's integer modulo r.
    pub fn scalar_of(&mut self, element: &Element) -> Var {
        self.combine(&element.limbs, &modulus::powers(0)[..LIMBS])
    }

    /// Lays out [`Gate::Add`]: with `s` the sign, `λ (x2 - x) + y - s y2 ≡ 0`, `λ² - x - x2 - x3 ≡ 0`,
    /// `y3 = λ (x - x3) - y`.
    pub fn add_gate(&mut self, operands: &Operands<'_>) -> Third {
        let Operands {
            x, y, x2, y2, sign, ..
        } = operands;
        let element = Bound::element();
        Bound::product().plus(&y.bound).plus(&y2.bound).require_identity();
        Bound::product()
            .plus(&element)
            .plus(&element)
            .plus(&element)
            .require_identity();
        let ([chord, square], exact) = operands.exact();

        self.lead(x, y);
        let row = self.row();
        self.enable(Gate::Add, row);
        x2.limbs.iter().chain(&y2.cells).chain([sign]).for_each(|var| {
            self.copy(var);
        });
        for quotient in chord.quotients().into_iter().chain(square.quotients()) {
            let quotient = self.witness(quotient);
            self.require_quotient(quotient);
        }
        let cells = exact.scalars().map(|value| self.witness(value));
        debug_assert_eq!(self.row(), row + add::SLOPE);
        let x3 = match operands.slope {
            Slope::Old(old) => {
                old.limbs.iter().for_each(|limb| {
                    self.copy(limb);
                });
                self.half(operands.x3)
            }
            Slope::New(slope) => self.element_pair([slope, operands.x3])[1],
        };
        debug_assert_eq!(self.row(), row + add::CELLS);
        Third {
            x3,
            y3: Lazy {
                cells,
                exact,
                bound: Bound::product().plus(&y.bound),
            },
        }
    }

    /// Sees to it that an addition laid out next reads `x` and `y`: they are what the addition before it wrote, or are copied.
    fn lead(&mut self, x: &Element, y: &Lazy) {
        let row = self.row();
        let lie = |vars: &[Var], before: usize| {
            let found = vars.iter().map(|var| var.row + before);
            (row..).zip(found).all(|(expected, found)| expected == found)
        };
        if lie(&x.limbs, add::X_BEFORE) && lie(&y.cells, add::Y_BEFORE) {
            return;
        }
        self.flush_quotients(false);
        y.cells.iter().for_each(|var| {
            self.copy(var);
        });
        self.skip(add::Y_BEFORE - y.cells.len() - add::X_BEFORE);
        x.limbs.iter().for_each(|var| {
            self.copy(var);
        });
        self.skip(add::X_BEFORE - LIMBS);
    }

    /// A new element beside five cells that were laid out last and need no range.
    fn half(&mut self, value: Fq) -> Element {
        let integers = modulus::limbs(&value);
        let limbs = integers.map(|integer| self.witness(Fr::from(integer as u64)));
        let mut heads = [None; CHAIN];
        heads[LIMBS..].copy_from_slice(&limbs.map(Some));
        self.chains(heads, LIMB_DIGITS);
        Element {
            limbs,
            integers,
            value,
        }
    }

    /// An element with the value of `of` modulo q, from its integer: [`Gate::Add`] with `x = x2 = 0` says `y ≡ y2`.
    pub fn reduce(&mut self, of: &Lazy) -> (Element, Lazy) {
        let reduced = self.element(of.exact.to_base());
        let lazy = self.lazy(&reduced);
        let zero = self.constant_element(Fq::ZERO);
        let sign = self.constant(Fr::ONE);
        self.add_gate(&Operands {
            x: &zero,
            y: of,
            x2: &zero,
            y2: &lazy,
            sign,
            slope: Slope::New(Fq::ZERO),
            x3: Fq::ZERO,
        });
        (reduced, lazy)
    }

    /// Requires `y² ≡ x³ + 3`. With `x = x2 = 0`, `y = y2 = 0` and `λ = x`, [`Gate::Add`] gives `x3 ≡ x²` and `y3 = -x·x²`;
    /// then with `λ = x2 = y` and that as `y`, it says `y² - x·x² - 3 ≡ 0`.
    pub fn require_on_curve(&mut self, x: &Element, y: &Element) {
        let zero = self.constant_element(Fq::ZERO);
        let [nothing, three] = [0, 3].map(|value| self.constant_lazy(value));
        let sign = self.constant(Fr::ONE);
        let cubed = self.add_gate(&Operands {
            x: &zero,
            y: &nothing,
            x2: &zero,
            y2: &nothing,
            sign,
            slope: Slope::Old(x),
            x3: x.value.square(),
        });
        self.add_gate(&Operands {
            x: &zero,
            y: &cubed.y3,
            x2: y,
            y2: &three,
            sign,
            slope: Slope::Old(y),
            x3: y.value.square() - y.value,
        });
    }
}
