//! Yul expressions and the text that they are written as.

use halo2curves::{bn256::Fr, ff::PrimeField};

/// Columns of a line of generated text.
const LINE: usize = 110;

/// An expression.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    /// A name or a literal.
    Atom(String),
    /// A built-in function of its arguments.
    Call(&'static str, Vec<Expr>),
}

/// A name or a literal.
pub(super) fn atom(text: impl Into<String>) -> Expr {
    Expr::Atom(text.into())
}

/// A field element's canonical literal.
pub(super) fn literal(value: Fr) -> Expr {
    atom(hex(value.to_repr().as_ref()))
}

/// A number's hexadecimal from little-endian bytes, without leading zeros.
pub(super) fn hex(little_endian: &[u8]) -> String {
    let digits: String = little_endian
        .iter()
        .rev()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        short if short.len() <= 2 => {
            u8::from_str_radix(short, 16).map_or_else(|_| short.to_owned(), |n| n.to_string())
        }
        short => format!("0x{short}"),
    }
}

/// A memory word by its name.
pub(super) fn mload(name: impl Into<String>) -> Expr {
    Expr::Call("mload", vec![atom(name)])
}

/// `a b`, reduced. The operand that is deeper is evaluated first, so that the stack stays low.
pub(super) fn mulmod(a: Expr, b: Expr) -> Expr {
    let (a, b) = shallow_first(a, b);
    Expr::Call("mulmod", vec![a, b, atom("r")])
}

/// `a + b`, not reduced: the caller knows that it does not overflow.
pub(super) fn add(a: Expr, b: Expr) -> Expr {
    let (a, b) = shallow_first(a, b);
    Expr::Call("add", vec![a, b])
}

/// `a + b`, reduced.
pub(super) fn addmod(a: Expr, b: Expr) -> Expr {
    let (a, b) = shallow_first(a, b);
    Expr::Call("addmod", vec![a, b, atom("r")])
}

/// `a - b` for a `b` that is not larger.
pub(super) fn sub(a: Expr, b: Expr) -> Expr {
    Expr::Call("sub", vec![a, b])
}

/// `a - b` for canonical values, as `a + (r - b)`.
pub(super) fn minus(a: Expr, b: Expr) -> Expr {
    add(a, sub(atom("r"), b))
}

fn shallow_first(a: Expr, b: Expr) -> (Expr, Expr) {
    if a.depth() > b.depth() { (b, a) } else { (a, b) }
}

impl Expr {
    /// Words of stack that its evaluation takes. Arguments are evaluated from the last to the first.
    pub fn depth(&self) -> usize {
        match self {
            Self::Atom(_) => 1,
            Self::Call(_, arguments) => arguments
                .iter()
                .rev()
                .enumerate()
                .map(|(before, argument)| before + argument.depth())
                .max()
                .unwrap_or(1),
        }
    }

    fn inline(&self) -> String {
        match self {
            Self::Atom(text) => text.clone(),
            Self::Call(name, arguments) => {
                let arguments: Vec<String> = arguments.iter().map(Self::inline).collect();
                format!("{name}({})", arguments.join(", "))
            }
        }
    }

    /// Appends the expression to the last line, broken into several lines where one is too short.
    fn write(&self, lines: &mut Vec<String>, indent: usize, tail: &str) {
        let inline = self.inline();
        let last = lines.last_mut().expect("an expression continues a line");
        match self {
            Self::Call(name, arguments) if last.len() + inline.len() + tail.len() > LINE => {
                last.push_str(name);
                last.push('(');
                let inner = " ".repeat(indent + 4);
                for (i, argument) in arguments.iter().enumerate() {
                    lines.push(inner.clone());
                    argument.write(lines, indent + 4, if i + 1 < arguments.len() { "," } else { "" });
                }
                lines.push(format!("{})", " ".repeat(indent)) + tail);
            }
            _ => {
                last.push_str(&inline);
                last.push_str(tail);
            }
        }
    }
}

/// Text under construction.
#[derive(Debug, Default)]
pub(super) struct Text {
    lines: Vec<String>,
    indent: usize,
}

impl Text {
    /// A line, or an empty one.
    pub fn line(&mut self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let indent = if text.is_empty() { 0 } else { self.indent };
        self.lines.push(format!("{}{text}", " ".repeat(indent)));
    }

    /// A comment under the given mark, broken into lines.
    pub fn comment(&mut self, mark: &str, text: impl AsRef<str>) {
        let mut line = mark.to_owned();
        for word in text.as_ref().split_whitespace() {
            if self.indent + line.len() + 1 + word.len() > LINE && line.len() > mark.len() {
                self.line(std::mem::replace(&mut line, mark.to_owned()));
            }
            line.push(' ');
            line.push_str(word);
        }
        self.line(line);
    }

    /// A line that opens a block.
    pub fn open(&mut self, text: impl AsRef<str>) {
        self.line(text);
        self.indent += 4;
    }

    /// Closes the innermost block.
    pub fn close(&mut self) {
        self.indent -= 4;
        self.line("}");
    }

    /// `name := value`.
    pub fn assign(&mut self, name: &str, value: &Expr) {
        self.statement(&format!("{name} := "), value, "");
    }

    /// Writes a value into the memory word of that name.
    pub fn store(&mut self, name: &str, value: &Expr) {
        self.statement(&format!("mstore({name}, "), value, ")");
    }

    fn statement(&mut self, head: &str, value: &Expr, tail: &str) {
        self.line(head);
        value.write(&mut self.lines, self.indent, tail);
    }

    /// Opens an internal function on memory alone, with `r` on the stack.
    pub fn step(&mut self, name: &str) {
        self.open(format!("function {name}(uint256 r) private pure {{"));
        self.open("assembly {");
    }

    /// Closes a function of [`Self::step`].
    pub fn end_step(&mut self) {
        self.close();
        self.close();
        self.line("");
    }

    /// Takes in another text's lines, at this one's indent.
    pub fn append(&mut self, other: Self) {
        other.lines.into_iter().for_each(|line| self.line(line));
    }

    /// Drops empty lines at the end.
    pub fn trim(&mut self) {
        while self.lines.last().is_some_and(|line| line.is_empty()) {
            self.lines.pop();
        }
    }

    /// Everything written.
    pub fn finish(self) -> String {
        self.lines.join("\n") + "\n"
    }
}
