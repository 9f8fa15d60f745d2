//! What is known of the rows once `x` is: `x^n`, Lagrange polynomials, the instance column. And the one inversion.

use circuits::plonk::Shape;
use halo2curves::{
    bn256::Fr,
    ff::{Field, PrimeField},
};

use super::{
    memory::Memory,
    shplonk,
    yul::{Text, add, atom, hex, literal, mload, mulmod, sub},
};

/// Names the words of these steps. `opening` is what the opening wants inverted. Returns all that is.
pub(super) fn allocate(memory: &mut Memory, shape: &Shape, opening: Vec<(String, String)>) -> Vec<String> {
    const INVERSES: &str = "Denominators; after _invert their inverses";
    const ROWS: &str = "What the rows are at x";
    let own = [
        ("INV_VANISHING", "x^n - 1"),
        ("INV_FIRST", "x - 1"),
        (
            "INV_PASSIVE",
            "what is 0 at the last usable and the blinding rows alone",
        ),
    ];
    let mut inverses: Vec<(String, String)> = own.map(|(name, of)| (name.to_owned(), of.to_owned())).to_vec();
    let rotations = 0..shape.instance_rotations.len();
    inverses.extend(rotations.clone().map(|i| {
        (
            format!("INV_INSTANCES_{i}"),
            "product of ωx less each instance row's root times ω".to_owned(),
        )
    }));
    inverses.extend(opening);
    for (name, meaning) in &inverses {
        memory.allocate(INVERSES, name.clone(), 1, meaning);
    }
    memory.allocate(
        "For _invert",
        "PRODUCTS",
        inverses.len() - 1,
        "products of the first denominators",
    );
    memory.allocate(
        "For _invert",
        "MODEXP",
        6,
        "the precompile's input: three lengths, base, exponent, modulus",
    );
    memory.allocate(ROWS, "X_TO_N", 1, "x^n");
    memory.allocate(
        ROWS,
        "BLINDING",
        1,
        "INV_PASSIVE's denominator without the last usable row's factor",
    );
    memory.allocate(
        ROWS,
        "PASSIVE",
        1,
        "sum over those rows of root / (x - root) and 1 for each pair, times INV_PASSIVE's denominator",
    );
    for i in rotations {
        memory.allocate(
            ROWS,
            format!("INSTANCE_AT_X_{i}"),
            1,
            "the instance column; before _evaluateRows without factors that all rows have",
        );
    }
    memory.allocate(ROWS, "L_FIRST", 1, "1 at the first row, 0 at the others");
    memory.allocate(ROWS, "L_LAST", 1, "1 at the last usable row");
    memory.allocate(ROWS, "L_ACTIVE", 1, "1 at the rows before it, 0 at the others");
    inverses.into_iter().map(|(name, _)| name).collect()
}

/// The denominators, and the sums whose denominators they are.
pub(super) fn denominators(text: &mut Text, shape: &Shape) {
    text.comment(
        "///",
        "@dev x^n, and sums over rows as fractions. A row's term s / (x - root) makes N/D to (N d + s D) / (D d) with d = x - root. Constants are R less a \
         root.",
    );
    text.step("_denominators");
    text.line("let x := mload(X)");
    text.line(format!("// x^n, n = 2^{}", shape.k));
    text.line("let xn := x");
    (0..shape.k).for_each(|_| text.line("xn := mulmod(xn, xn, r)"));
    text.line("mstore(X_TO_N, xn)");
    text.line("mstore(INV_VANISHING, add(xn, sub(r, 1)))");
    text.line("mstore(INV_FIRST, add(x, sub(r, 1)))");
    passive_rows(text, shape);
    for (i, rotation) in shape.instance_rotations.iter().enumerate() {
        instance_rows(text, shape, i, *rotation);
    }
    shplonk::denominators(text, shape);
    text.end_step();
}

/// Blinding rows as many before as after a row in the middle, and those that are left over.
struct Blinding {
    middle: i32,
    pairs: i32,
    left: Vec<i32>,
}

impl Blinding {
    fn of(shape: &Shape) -> Self {
        let pairs = (shape.blinding - 1) / 2;
        let middle = -1 - pairs;
        Self {
            middle,
            pairs,
            left: (-shape.blinding..middle - pairs).collect(),
        }
    }
}

/// The blinding rows, then the last usable one.
fn passive_rows(text: &mut Text, shape: &Shape) {
    let Blinding { middle, pairs, left } = Blinding::of(shape);
    text.comment(
        "//",
        format!(
            "The blinding rows and the last usable one: s = root. With t = x / ω^m for the row m = {middle} in the middle, the rows m + j and m - j \
             have root / (x - root) = (t² - 1) / d - 1 together, d = t² + 1 - t (ω^j + ω^-j)."
        ),
    );
    text.assign("let t", &mulmod(atom("x"), literal(shape.omega_to(-middle))));
    text.line("let square := mulmod(t, t, r)");
    text.line("let next := add(square, 1)");
    text.line("let d");
    text.line("let numerator := 0");
    text.line("let denominator := 1");
    for j in 1..=pairs {
        let factor = -(shape.omega_to(j) + shape.omega_to(-j));
        text.assign("d", &add(atom("next"), mulmod(atom("t"), literal(factor))));
        text.line("numerator := add(denominator, mulmod(numerator, d, r))");
        text.line("denominator := mulmod(denominator, d, r)");
    }
    text.line("numerator := mulmod(numerator, add(square, sub(r, 1)), r)");
    text.line("// The row in the middle: 1 / (t - 1).");
    text.line("d := add(t, sub(r, 1))");
    text.line("numerator := add(denominator, mulmod(numerator, d, r))");
    text.line("denominator := mulmod(denominator, d, r)");
    for row in left {
        text.line("// A row that is left over.");
        add_row(text, shape, row);
    }
    text.line("// The last usable row.");
    text.line("mstore(BLINDING, denominator)");
    add_row(text, shape, shape.last_rotation());
    text.line("mstore(PASSIVE, numerator)");
    text.line("mstore(INV_PASSIVE, denominator)");
}

/// Adds `root / (x - root)`.
fn add_row(text: &mut Text, shape: &Shape, row: i32) {
    let root = shape.omega_to(row);
    text.assign("d", &add(atom("x"), literal(-root)));
    let term = mulmod(atom("denominator"), literal(root));
    text.assign("numerator", &add(mulmod(atom("numerator"), atom("d")), term));
    text.line("denominator := mulmod(denominator, d, r)");
}

/// The instance column at a rotation.
fn instance_rows(text: &mut Text, shape: &Shape, place: usize, rotation: i32) {
    text.comment(
        "//",
        format!(
            "The instance column at rotation {rotation}: s = instance · root. D is kept times ω to the number of its factors, which is \
             s's root but for the first row's."
        ),
    );
    if place == 0 {
        text.line("let wx := mulmod(x, OMEGA, r)");
    }
    let first = -rotation;
    for (instance, row) in (0..shape.instances).zip(first..) {
        let value = mload(format!("I{instance}"));
        let scaled = add(atom("wx"), literal(-shape.omega_to(row + 1)));
        if instance == 0 {
            text.assign("numerator", &value);
            text.assign("denominator", &scaled);
            continue;
        }
        let d = add(atom("x"), literal(-shape.omega_to(row)));
        let sum = add(mulmod(atom("numerator"), d), mulmod(atom("denominator"), value));
        text.assign("numerator", &sum);
        text.assign("denominator", &mulmod(atom("denominator"), scaled));
    }
    text.line(format!("mstore(INSTANCE_AT_X_{place}, numerator)"));
    text.line(format!("mstore(INV_INSTANCES_{place}, denominator)"));
}

/// Inverts all denominators with one inversion of their product.
pub(super) fn invert(text: &mut Text, inverses: &[String]) {
    text.comment(
        "///",
        "@dev Inverts every denominator, by one power of their product: products of the first ones are kept, and taken off again from \
         the last down. A product of 0 has no inverse: then a challenge has met a row, and the proof is refused.",
    );
    text.open("function _invert(uint256 r) private view returns (bool ok) {");
    text.open("assembly {");
    text.line(format!("let product := mload({})", inverses[0]));
    for (i, name) in inverses.iter().enumerate().skip(1) {
        text.line(format!("mstore({}, product)", product(i)));
        text.line(format!("product := mulmod(product, mload({name}), r)"));
    }
    text.line("// product^(R - 2)");
    text.line("mstore(MODEXP, 0x20)");
    text.line("mstore(add(MODEXP, 0x20), 0x20)");
    text.line("mstore(add(MODEXP, 0x40), 0x20)");
    text.line("mstore(add(MODEXP, 0x60), product)");
    text.line("mstore(add(MODEXP, 0x80), sub(r, 2))");
    text.line("mstore(add(MODEXP, 0xa0), r)");
    text.line("ok := and(iszero(iszero(product)), staticcall(gas(), 0x05, MODEXP, 0xc0, MODEXP, 0x20))");
    text.line("let inverse := mload(MODEXP)");
    text.line("let before");
    for (i, name) in inverses.iter().enumerate().skip(1).rev() {
        text.line(format!("before := mload({name})"));
        text.line(format!(
            "mstore({name}, mulmod(inverse, mload({}), r))",
            product(i)
        ));
        text.line("inverse := mulmod(inverse, before, r)");
    }
    text.line(format!("mstore({}, inverse)", inverses[0]));
    text.end_step();
}

fn product(i: usize) -> String {
    match i {
        1 => "PRODUCTS".to_owned(),
        _ => format!("add(PRODUCTS, {:#x})", 32 * (i - 1)),
    }
}

/// Lagrange polynomials and the instance column at `x`.
pub(super) fn rows(text: &mut Text, shape: &Shape) {
    text.comment(
        "///",
        "@dev The row with the root w has the Lagrange polynomial (x^n - 1) w / (n (x - w)).",
    );
    text.step("_evaluateRows");
    let n = Fr::from(2).pow([u64::from(shape.k)]);
    let n_inverse = n.invert().expect("n is a power of 2");
    text.line("// (x^n - 1) / n");
    text.assign(
        "let scaled",
        &mulmod(
            add(mload("X_TO_N"), sub(atom("r"), atom("1"))),
            literal(n_inverse),
        ),
    );
    text.line("let passive := mload(INV_PASSIVE)");
    text.line("mstore(L_FIRST, mulmod(scaled, mload(INV_FIRST), r))");
    let root = shape.omega_to(shape.last_rotation());
    let last = mulmod(mulmod(mload("BLINDING"), atom("passive")), literal(root));
    text.store("L_LAST", &mulmod(atom("scaled"), last));
    let pairs = atom(Blinding::of(shape).pairs.to_string());
    let sum = add(mulmod(mload("PASSIVE"), atom("passive")), sub(atom("r"), pairs));
    let sum = mulmod(atom("scaled"), sum);
    text.store("L_ACTIVE", &add(atom("1"), sub(atom("r"), sum)));
    for (i, rotation) in shape.instance_rotations.iter().enumerate() {
        let name = format!("INSTANCE_AT_X_{i}");
        let value = mulmod(mload(name.clone()), mload(format!("INV_INSTANCES_{i}")));
        // The numerator's first term has root ω^-rotation, and each later one that times a power of ω; the denominator has ω in each factor.
        let scale = shape.omega_to(shape.instances as i32 - rotation);
        text.store(&name, &mulmod(mulmod(atom("scaled"), value), literal(scale)));
    }
    text.end_step();
}

/// `base^exponent` in the variable `name`, for an exponent of 1 or more.
pub(super) fn power(text: &mut Text, name: &str, base: &str, exponent: usize) {
    text.line(format!("{name} := {base}"));
    for bit in (0..exponent.ilog2()).rev() {
        text.assign(name, &mulmod(atom(name), atom(name)));
        if exponent >> bit & 1 == 1 {
            text.assign(name, &mulmod(atom(name), atom(base)));
        }
    }
}

/// The modulus of the scalars, as a literal times `multiple`.
pub(super) fn modulus_times(multiple: u8) -> String {
    let mut carry = 0u16;
    let mut bytes = [0u8; 32];
    let less_one = (-Fr::ONE).to_repr();
    for (to, from) in bytes.iter_mut().zip(less_one.as_ref()) {
        let value = u16::from(*from) * u16::from(multiple) + carry;
        *to = value as u8;
        carry = value >> 8;
    }
    // multiple · (r - 1) + multiple: the lowest byte of r is 1, so nothing carries.
    bytes[0] += multiple;
    hex(&bytes)
}
