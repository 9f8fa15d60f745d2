//! The constraints at `x`, folded by `y`: gates, permutation, lookups. The first has the highest power.

use circuits::plonk::{Lookup, Root, Shape};
use halo2curves::{
    bn256::Fr,
    ff::{Field, PrimeField},
};

use super::{
    GateNames,
    memory::Memory,
    polynomials::{BOUND_MAX, Bounded, Place, Polynomials, sum},
    yul::{Expr, Text, add, addmod, atom, literal, minus, mload, mulmod, sub},
};

/// A gate with its polynomials, each under its name.
#[derive(Debug)]
pub(super) struct NamedGate {
    pub name: String,
    pub constraints: Vec<(String, Root)>,
}

impl NamedGate {
    /// Gives the key's polynomials the names of its constraint system's gates.
    pub fn all(shape: &Shape, names: &[GateNames]) -> Vec<Self> {
        let mut roots = shape.gates.iter();
        let gates = names.iter().map(|gate| Self {
            name: gate.name.clone(),
            constraints: gate
                .constraints
                .iter()
                .cloned()
                .zip(roots.by_ref().copied())
                .collect(),
        });
        let gates: Vec<Self> = gates.collect();
        let named: usize = gates.iter().map(|gate| gate.constraints.len()).sum();
        assert_eq!(named, shape.gates.len(), "each polynomial belongs to a gate");
        gates
    }
}

/// One function of the contract.
#[derive(Debug)]
pub(super) struct Step {
    pub name: String,
    pub text: Text,
}

/// Names the words of these steps.
pub(super) fn allocate(memory: &mut Memory, gates: &[NamedGate]) {
    const FOLDED: &str = "The constraints folded so far";
    memory.allocate(FOLDED, "FOLDED", 1, "");
    memory.allocate(FOLDED, "QUOTIENT", 1, "all of them, divided by x^n - 1");
    for power in y_powers(gates) {
        memory.allocate(FOLDED, format!("Y_{power}"), 1, "y to that power");
    }
}

/// Powers of y by which gates are joined.
fn y_powers(gates: &[NamedGate]) -> std::ops::RangeInclusive<usize> {
    2..=gates.iter().map(|gate| gate.constraints.len()).max().unwrap_or(1)
}

/// A step that folds constraints.
struct Fold {
    text: Text,
    begun: bool,
}

impl Fold {
    fn new(begun: bool) -> Self {
        Self {
            text: Text::default(),
            begun,
        }
    }

    /// Opens the function.
    fn open(&mut self, name: &str) {
        self.text.step(name);
        self.text.line("let y := mload(Y)");
        match self.begun {
            true => self.text.line("let folded := mload(FOLDED)"),
            false => self.text.line("let folded := 0"),
        }
    }

    /// One more constraint.
    fn push(&mut self, meaning: &str, (value, bound): Bounded) {
        self.text.comment("//", meaning);
        let folded = match self.begun {
            true => sum((mulmod(atom("folded"), atom("y")), 1), (value, bound)).0,
            false => value,
        };
        self.begun = true;
        self.text.assign("folded", &folded);
    }

    /// Closes the function.
    fn close(mut self, name: String) -> Step {
        self.text.line("mstore(FOLDED, folded)");
        self.text.end_step();
        Step {
            name,
            text: self.text,
        }
    }
}

/// All steps, in order.
pub(super) fn steps(shape: &Shape, named: &[NamedGate], memory: &Memory) -> (Vec<Step>, usize) {
    let mut polynomials = Polynomials::new(shape, memory);
    let gates: Vec<(Option<Place>, Vec<Place>)> = named
        .iter()
        .map(|gate| {
            let places: Vec<Place> = gate
                .constraints
                .iter()
                .map(|(_, root)| polynomials.place(*root))
                .collect();
            polynomials.factored(&places)
        })
        .collect();
    let in_gates = gates.iter().flat_map(|(factor, rest)| factor.iter().chain(rest));
    in_gates.for_each(|place| polynomials.announce(*place));
    for lookup in &shape.lookups {
        for root in lookup.inputs.iter().chain(&lookup.table) {
            let place = polynomials.place(*root);
            polynomials.announce(place);
        }
    }
    let mut steps: Vec<Step> = vec![];
    if !y_powers(named).is_empty() {
        steps.push(powers(named));
    }
    let mut begun = false;
    for (i, (gate, (factor, rest))) in named.iter().zip(gates).enumerate() {
        let mut text = Text::default();
        let count = rest.len();
        let what = if factor.is_some() {
            ", times the gate's selector"
        } else {
            ""
        };
        let plural = if count == 1 { "" } else { "s" };
        text.comment(
            "///",
            format!("@dev Gate \"{}\": {count} constraint{plural}{what}.", gate.name),
        );
        let mut fold = Fold { text, begun };
        let name = format!("_gate{i}");
        let names = gate.constraints.iter().map(|(name, _)| match name.as_str() {
            "" => gate.name.as_str(),
            name => name,
        });
        let constraints: Vec<(&str, Place)> = names.zip(rest).collect();
        match factor {
            Some(factor) => selected(&mut fold, &name, &mut polynomials, factor, &constraints),
            None => {
                fold.open(&name);
                for (meaning, place) in constraints {
                    let value = polynomials.value(&mut fold.text, place);
                    fold.push(meaning, value);
                    polynomials.written();
                }
            }
        }
        begun = true;
        steps.push(fold.close(name));
    }
    if !shape.permutation.is_empty() {
        steps.push(permutation(shape, memory, begun));
        begun = true;
    }
    for (i, argument) in shape.lookups.iter().enumerate() {
        steps.push(lookup(memory, &mut polynomials, i, argument, begun));
        begun = true;
    }
    steps.push(quotient());
    (steps, polynomials.temporaries)
}

fn powers(gates: &[NamedGate]) -> Step {
    let mut text = Text::default();
    text.comment("///", "@dev Powers of y.");
    text.step("_powersOfY");
    text.line("let y := mload(Y)");
    text.line("let power := y");
    for power in y_powers(gates) {
        text.line("power := mulmod(power, y, r)");
        text.line(format!("mstore(Y_{power}, power)"));
    }
    text.end_step();
    let name = "_powersOfY".to_owned();
    Step { name, text }
}

/// A gate whose constraints share a factor: they are folded, and multiplied by it once.
fn selected(
    fold: &mut Fold,
    name: &str,
    polynomials: &mut Polynomials,
    factor: Place,
    constraints: &[(&str, Place)],
) {
    fold.text.step(name);
    fold.text.line("let y := mload(Y)");
    for (i, (meaning, place)) in constraints.iter().enumerate() {
        let (value, bound) = polynomials.value(&mut fold.text, *place);
        fold.text.comment("//", meaning);
        match i {
            0 => fold.text.assign("let folded", &value),
            _ => {
                let before = mulmod(atom("folded"), atom("y"));
                fold.text.assign("folded", &sum((before, 1), (value, bound)).0);
            }
        }
        polynomials.written();
    }
    let selector = polynomials.value(&mut fold.text, factor).0;
    let gate = mulmod(atom("folded"), selector);
    let all = match fold.begun {
        true => {
            let power = match constraints.len() {
                1 => atom("y"),
                count => mload(format!("Y_{count}")),
            };
            add(mulmod(mload("FOLDED"), power), gate)
        }
        false => gate,
    };
    fold.text.assign("folded", &all);
    polynomials.written();
}

/// `l_first (1 - z)`.
fn starts_at_one(z: &str) -> Bounded {
    (mulmod(mload("L_FIRST"), minus(atom("1"), mload(z))), 1)
}

/// `l_last (z² - z)`, as `l_last z (z - 1)`.
fn ends_in_a_bit(z: &str) -> Bounded {
    let product = mulmod(mload(z), add(mload(z), sub(atom("r"), atom("1"))));
    (mulmod(mload("L_LAST"), product), 1)
}

fn permutation(shape: &Shape, memory: &Memory, begun: bool) -> Step {
    let mut fold = Fold::new(begun);
    fold.text.comment(
        "///",
        "@dev The permutation argument: the running product z starts at 1, is 0 or 1 at the end, and grows over the active rows by \
         (v + β δ^j x + γ) / (v + β σ + γ) for each column j with its value v and its permutation's value σ.",
    );
    fold.open("_permutation");
    let scalar = |place: usize| memory.scalars[place].as_str();
    let sets = &shape.permutation;
    let (first, last) = (&sets[0], &sets[sets.len() - 1]);
    fold.push("l_first (1 - z)", starts_at_one(scalar(first.product)));
    fold.push("l_last (z² - z)", ends_in_a_bit(scalar(last.product)));
    for pair in sets.windows(2) {
        let end = pair[0]
            .last
            .expect("every set but the last is read at the last row");
        let difference = minus(mload(scalar(pair[1].product)), mload(scalar(end)));
        fold.push(
            "l_first (z of this set - z at the end of the set before)",
            (mulmod(mload("L_FIRST"), difference), 1),
        );
    }
    fold.text.line("let gamma := mload(GAMMA)");
    fold.text.line("let beta := mload(BETA)");
    fold.text.line("let betaX := mulmod(beta, mload(X), r)");
    let mut delta = Fr::ONE;
    for (i, set) in sets.iter().enumerate() {
        let declare = if i == 0 { "let " } else { "" };
        fold.text
            .assign(&format!("{declare}left"), &mload(scalar(set.next)));
        fold.text
            .assign(&format!("{declare}right"), &mload(scalar(set.product)));
        for (column, permuted) in &set.columns {
            let shifted = || add(mload(memory.query(shape, *column)), atom("gamma"));
            let factor = add(shifted(), mulmod(atom("beta"), mload(scalar(*permuted))));
            fold.text.assign("left", &mulmod(atom("left"), factor));
            let beta_x = match delta == Fr::ONE {
                true => atom("betaX"),
                false => mulmod(atom("betaX"), literal(delta)),
            };
            fold.text
                .assign("right", &mulmod(atom("right"), add(shifted(), beta_x)));
            delta *= Fr::DELTA;
        }
        let difference = minus(atom("left"), atom("right"));
        fold.push(
            "l_active (z(ωx) Π (v + β σ + γ) - z Π (v + β δ^j x + γ))",
            (mulmod(mload("L_ACTIVE"), difference), 1),
        );
    }
    fold.close("_permutation".to_owned())
}

fn lookup(
    memory: &Memory,
    polynomials: &mut Polynomials,
    place: usize,
    lookup: &Lookup,
    begun: bool,
) -> Step {
    let name = format!("_lookup{place}");
    let mut fold = Fold::new(begun);
    fold.text.comment(
        "///",
        format!(
            "@dev Lookup {place}: input a and table s are permuted to a' and s', such that a' is s' or the a' before; the running product z \
             starts at 1, is 0 or 1 at the end, and grows over the active rows by (a + β)(s + γ) / ((a' + β)(s' + γ))."
        ),
    );
    fold.open(&name);
    let [z, next, input, before, table] = lookup.scalars.map(|place| memory.scalars[place].as_str());
    fold.push("l_first (1 - z)", starts_at_one(z));
    fold.push("l_last (z² - z)", ends_in_a_bit(z));
    fold.text.line("let beta := mload(BETA)");
    fold.text.line("let gamma := mload(GAMMA)");
    let product = |z: Expr, input: Expr, table: Expr| {
        mulmod(z, mulmod(add(input, atom("beta")), add(table, atom("gamma"))))
    };
    let left = product(mload(next), mload(input), mload(table));
    fold.text.assign("let left", &left);
    for (variable, roots) in [("a", &lookup.inputs), ("s", &lookup.table)] {
        for (i, root) in roots.iter().enumerate() {
            let at = polynomials.place(*root);
            let (value, bound) = polynomials.value(&mut fold.text, at);
            // β or γ is added to it yet.
            let value = if bound < BOUND_MAX {
                value
            } else {
                addmod(value, atom("0"))
            };
            match i {
                0 => fold.text.assign(&format!("let {variable}"), &value),
                _ => {
                    let folded = mulmod(atom(variable), mload("THETA"));
                    fold.text.assign(variable, &addmod(folded, value));
                }
            }
            polynomials.written();
        }
    }
    let difference = minus(atom("left"), product(mload(z), atom("a"), atom("s")));
    fold.push(
        "l_active (z(ωx) (a' + β)(s' + γ) - z (a + β)(s + γ))",
        (mulmod(mload("L_ACTIVE"), difference), 1),
    );
    let unlike = || minus(mload(input), mload(table));
    fold.push("l_first (a' - s')", (mulmod(mload("L_FIRST"), unlike()), 1));
    let moved = minus(mload(input), mload(before));
    fold.push(
        "l_active (a' - s')(a' - a' before)",
        (mulmod(mload("L_ACTIVE"), mulmod(unlike(), moved)), 1),
    );
    fold.close(name)
}

/// The quotient's value: what the proof's pieces must open to.
fn quotient() -> Step {
    let name = "_quotient".to_owned();
    let mut text = Text::default();
    text.comment(
        "///",
        "@dev The quotient's value at x: all constraints, divided by x^n - 1.",
    );
    text.step(&name);
    text.line("mstore(QUOTIENT, mulmod(mload(FOLDED), mload(INV_VANISHING), r))");
    text.end_step();
    Step { name, text }
}
