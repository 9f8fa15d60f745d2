//! What is known of the rows once `x` is: `x^n`, Lagrange polynomials, the instance column. And the one inversion.

use circuits::plonk::Shape;
use halo2curves::{
    bn256::Fr,
    ff::{Field, PrimeField},
};

use super::{
    memory::Memory,
    yul::{Expr, Text, add, atom, hex, literal, mload, mulmod, sub},
};

/// Names the words of these steps. `opening` names what the opening wants inverted.
pub(super) fn allocate(memory: &mut Memory, shape: &Shape, opening: &[String]) -> Vec<String> {
    const INVERSES: &str = "Denominators; after _invert their inverses";
    const ROWS: &str = "What the rows are at x";
    let mut inverses = vec![];
    let mut inverse = |memory: &mut Memory, name: String, meaning: &str| {
        memory.allocate(INVERSES, name.clone(), 1, meaning);
        inverses.push(name);
    };
    inverse(memory, "INV_VANISHING".to_owned(), "x^n - 1");
    inverse(memory, "INV_FIRST".to_owned(), "x - 1");
    inverse(
        memory,
        "INV_LAST".to_owned(),
        "x less the last usable row's root of unity",
    );
    inverse(
        memory,
        "INV_BLIND".to_owned(),
        "product of x less each blinding row's root",
    );
    for i in 0..shape.instance_rotations.len() {
        inverse(
            memory,
            format!("INV_INSTANCES_{i}"),
            "product of x less each instance row's root",
        );
    }
    for name in opening {
        inverse(memory, name.clone(), "");
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
        "BLIND",
        1,
        "sum over the blinding rows of 1 / (x - root), times INV_BLIND's denominator",
    );
    for i in 0..shape.instance_rotations.len() {
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
    inverses
}

/// The denominators, and the sums whose denominators they are.
pub(super) fn denominators(text: &mut Text, shape: &Shape) {
    text.comment(
        "///",
        "@dev x^n, and sums over rows of s / (x - root) as fractions: with each row a fraction N/D becomes (N (x - root) + s D) / (D (x - \
         root)). Constants are R less a root.",
    );
    text.step("_denominators");
    text.line("let x := mload(X)");
    text.line(format!("// x^n, n = 2^{}", shape.k));
    text.line("let xn := x");
    (0..shape.k).for_each(|_| text.line("xn := mulmod(xn, xn, r)"));
    text.line("mstore(X_TO_N, xn)");
    text.line("mstore(INV_VANISHING, add(xn, sub(r, 1)))");
    text.line("mstore(INV_FIRST, add(x, sub(r, 1)))");
    text.store(
        "INV_LAST",
        &add(atom("x"), literal(-shape.omega_to(shape.last_rotation()))),
    );
    text.line("// The blinding rows: s = 1.");
    text.line("let d");
    text.line("let numerator := 0");
    text.line("let denominator := 1");
    for row in shape.last_rotation() + 1..0 {
        accumulate(text, shape, row, None);
    }
    text.line("mstore(BLIND, numerator)");
    text.line("mstore(INV_BLIND, denominator)");
    for (i, rotation) in shape.instance_rotations.iter().enumerate() {
        text.line(format!(
            "// The instance column at rotation {rotation}: s = instance · root."
        ));
        text.line("numerator := 0");
        text.line("denominator := 1");
        for (instance, row) in (0..shape.instances).zip(-rotation..) {
            let root = shape.omega_to(row);
            let instance = mload(format!("I{instance}"));
            let term = if root == Fr::ONE {
                instance
            } else {
                mulmod(instance, literal(root))
            };
            accumulate(text, shape, row, Some(term));
        }
        text.line(format!("mstore(INSTANCE_AT_X_{i}, numerator)"));
        text.line(format!("mstore(INV_INSTANCES_{i}, denominator)"));
    }
    text.end_step();
}

/// Adds `s / (x - root)` to the fraction; without `s`, `1 / (x - root)`.
fn accumulate(text: &mut Text, shape: &Shape, row: i32, s: Option<Expr>) {
    text.assign("d", &add(atom("x"), literal(-shape.omega_to(row))));
    let term = match s {
        None => atom("denominator"),
        Some(s) => mulmod(atom("denominator"), s),
    };
    text.assign("numerator", &add(mulmod(atom("numerator"), atom("d")), term));
    text.assign("denominator", &mulmod(atom("denominator"), atom("d")));
}

/// Inverts all denominators with one inversion of their product.
pub(super) fn invert(text: &mut Text, inverses: &[String]) {
    text.comment(
        "///",
        "@dev Inverts every denominator, by one power of their product: products of the first ones are kept, and taken off again from \
         the last down. A product of 0 has no inverse: then a challenge has met a row, and the proof is refused.",
    );
    text.open("function _invert(uint256 r) private view returns (bool ok) {");
    text.open("assembly (\"memory-safe\") {");
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
        "@dev The row with the root w has the Lagrange polynomial (x^n - 1) w / (n (x - w)). Over the blinding rows, w / (x - w) = x / (x - w) - \
         1.",
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
    text.line("mstore(L_FIRST, mulmod(scaled, mload(INV_FIRST), r))");
    let root = shape.omega_to(shape.last_rotation());
    text.assign(
        "let last",
        &mulmod(mulmod(atom("scaled"), mload("INV_LAST")), literal(root)),
    );
    text.line("mstore(L_LAST, last)");
    let sum = mulmod(mulmod(mload("X"), mload("BLIND")), mload("INV_BLIND"));
    let rows = atom(shape.blinding.to_string());
    text.assign(
        "let blind",
        &mulmod(atom("scaled"), add(sum, sub(atom("r"), rows))),
    );
    text.line("mstore(L_ACTIVE, add(1, sub(R2, add(last, blind))))");
    for i in 0..shape.instance_rotations.len() {
        let name = format!("INSTANCE_AT_X_{i}");
        let value = mulmod(mload(name.clone()), mload(format!("INV_INSTANCES_{i}")));
        text.store(&name, &mulmod(atom("scaled"), value));
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
