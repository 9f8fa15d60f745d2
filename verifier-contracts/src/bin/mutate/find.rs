//! Finds the mutants of a contract: each is the source with one check, one bound or one effect taken away.

use std::ops::Range;

use crate::lexer::{Token, tokens};

/// What is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A `revert`, or a call of what reverts: `require(…)`, `_require…(…)`, `requireKey(…)`.
    Check,
    /// A modifier of a function, such as the lock.
    Modifier,
    /// One operand of `||` or `&&`.
    Operand,
    /// The equality in `<=` or `>=`, which a `<` or `>` gets.
    Bound,
    /// A `return` under a condition.
    Return,
    /// The condition of what is no check.
    Condition,
    /// An assignment.
    Effect,
    /// Any other call.
    Call,
    /// The gas or the value of a call.
    Option,
    /// An event.
    Event,
}

impl Kind {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Modifier => "modifier",
            Self::Operand => "operand",
            Self::Bound => "bound",
            Self::Return => "return",
            Self::Condition => "condition",
            Self::Effect => "effect",
            Self::Call => "call",
            Self::Option => "option",
            Self::Event => "event",
        }
    }
}

/// One change of a contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mutant {
    /// The contract's file, as its name in `contracts`.
    pub(crate) file: String,
    /// Where the change is, from 1.
    pub(crate) line: usize,
    /// The function that is changed.
    pub(crate) function: String,
    pub(crate) kind: Kind,
    /// The statement, or its beginning up to a block, on one line.
    pub(crate) before: String,
    /// The same with the change; empty where the statement is gone.
    pub(crate) after: String,
    /// The bytes that are replaced.
    at: Range<usize>,
    by: &'static str,
}

impl Mutant {
    /// The source that it makes of its contract's.
    pub(crate) fn apply(&self, source: &str) -> String {
        [&source[..self.at.start], self.by, &source[self.at.end..]].concat()
    }
}

/// Whether nobody wrote the source by hand.
pub(crate) fn is_generated(source: &str) -> bool {
    source.lines().take(3).any(|line| line.contains("Do not edit."))
}

/// The mutants of a source, in its order.
pub(crate) fn mutants(file: &str, source: &str) -> Vec<Mutant> {
    let mut finder = Finder {
        file,
        source,
        tokens: tokens(source),
        function: String::new(),
        found: Vec::new(),
    };
    finder.functions();
    finder
        .found
        .sort_by_key(|mutant| (mutant.at.start, mutant.at.end));
    finder.found
}

struct Finder<'a> {
    file: &'a str,
    source: &'a str,
    tokens: Vec<Token<'a>>,
    function: String,
    found: Vec<Mutant>,
}

/// A range of tokens.
type Span = Range<usize>;

impl<'a> Finder<'a> {
    fn functions(&mut self) {
        let mut i = 0;
        while i < self.tokens.len() {
            let (word, name) = (self.text(i), self.text(i + 1));
            let parameters = match (word, name) {
                ("constructor" | "receive" | "fallback", "(") => i + 1,
                // Not a type of functions.
                ("function" | "modifier", _) if name != "(" => i + 2,
                _ => {
                    i += 1;
                    continue;
                }
            };
            self.function = if parameters == i + 1 { word } else { name }.to_owned();
            i = self.function(i, parameters);
        }
    }

    /// Goes through a function that begins at `start`; returns what follows it.
    fn function(&mut self, start: usize, parameters: usize) -> usize {
        let mut i = if self.text(parameters) == "(" {
            self.closing(parameters) + 1
        } else {
            parameters
        };
        while !matches!(self.text(i), "{" | ";" | "") {
            let word = i;
            i += 1;
            if self.text(i) == "(" {
                i = self.closing(i) + 1;
            }
            // What follows a constructor's parameters are its bases.
            let modifies = self.text(start) == "function" && !is_keyword(self.text(word));
            if modifies {
                let (header, gone) = (start..i, word..i);
                self.add(Kind::Modifier, &header, self.bytes(&gone), "");
            }
        }
        if self.text(i) == "{" {
            self.statement(i, false)
        } else {
            i + 1
        }
    }

    /// Goes through a statement; returns what follows it.
    fn statement(&mut self, i: usize, conditional: bool) -> usize {
        match self.text(i) {
            "{" => self.block(i, conditional),
            "unchecked" => self.statement(i + 1, conditional),
            // No check of ours stands there.
            "assembly" => self.closing(self.next(i, "{")) + 1,
            "if" => self.branch(i),
            "for" | "while" => self.statement(self.closing(i + 1) + 1, conditional),
            "try" => self.attempt(i),
            _ => {
                let end = self.next(i, ";");
                self.simple(&(i..end), conditional);
                end + 1
            }
        }
    }

    fn block(&mut self, open: usize, conditional: bool) -> usize {
        let close = self.closing(open);
        let mut i = open + 1;
        while i < close {
            i = self.statement(i, conditional);
        }
        close + 1
    }

    fn branch(&mut self, i: usize) -> usize {
        let close = self.closing(i + 1);
        let condition = i + 2..close;
        self.expression(&condition, &(i..close + 1));
        let follows = self.statement(close + 1, true);
        if self.text(follows) == "else" {
            return self.statement(follows + 1, true);
        }
        // A check that always fails is no contract's; one with an early return says in what case there is nothing to do.
        let inside = if self.text(close + 1) == "{" {
            close + 2
        } else {
            close + 1
        };
        if !matches!(self.text(inside), "revert" | "return") {
            self.add(Kind::Condition, &(i..close + 1), self.bytes(&condition), "true");
        }
        follows
    }

    fn attempt(&mut self, i: usize) -> usize {
        let mut open = i + 1;
        while self.text(open) != "{" || self.text(open + 2) == ":" {
            open = if self.opens(open) {
                self.closing(open) + 1
            } else {
                open + 1
            };
        }
        self.options(&(i..open));
        let mut follows = self.block(open, true);
        while self.text(follows) == "catch" {
            follows = self.block(self.next(follows, "{"), true);
        }
        follows
    }

    /// A statement that ends with a semicolon, which `span` is without.
    fn simple(&mut self, span: &Span, conditional: bool) {
        let whole = span.start..span.end + 1;
        if let Some(kind) = self.kind(span, conditional) {
            self.add(kind, &whole, self.bytes(&whole), "{}");
        }
        self.options(span);
        self.expression(span, &whole);
    }

    /// What taking the statement away takes away; none where nothing would be.
    fn kind(&self, span: &Span, conditional: bool) -> Option<Kind> {
        match self.text(span.start) {
            "revert" => return Some(Kind::Check),
            "return" => return conditional.then_some(Kind::Return),
            "emit" => return Some(Kind::Event),
            "delete" => return Some(Kind::Effect),
            _ => {}
        }
        let outer = self.outer(span);
        if let Some(assigned) = outer.iter().find(|&&i| is_assignment(self.text(i))) {
            return (!self.declares(&(span.start..*assigned))).then_some(Kind::Effect);
        }
        // The call's name is the last word before its arguments.
        let arguments = outer.iter().rev().find(|&&i| self.text(i) == "(")?;
        let name = self.tokens[span.start..*arguments]
            .iter()
            .rev()
            .find(|token| token.is_word())?;
        let checks = name.text.trim_start_matches('_').starts_with("require");
        Some(if checks { Kind::Check } else { Kind::Call })
    }

    /// Whether variables are declared, not only assigned: a type stands before a name.
    fn declares(&self, span: &Span) -> bool {
        let pairs = self.tokens[span.clone()].windows(2);
        pairs
            .into_iter()
            .any(|pair| (pair[0].is_word() || pair[0].text == "]") && pair[1].is_word())
    }

    /// Bounds and operands of an expression, which `statement` has in it.
    fn expression(&mut self, span: &Span, statement: &Span) {
        for i in span.clone() {
            let other = match self.text(i) {
                "<" => "<=",
                "<=" => "<",
                ">" => ">=",
                ">=" => ">",
                _ => continue,
            };
            self.add(Kind::Bound, statement, self.bytes(&(i..i + 1)), other);
        }
        self.logic(span, statement);
    }

    fn logic(&mut self, span: &Span, statement: &Span) {
        let ends = |text: &str| is_assignment(text) || matches!(text, "return" | "," | "?" | ":");
        for part in self.split(span, ends) {
            for either in self.operands(&part, "||", statement) {
                self.operands(&either, "&&", statement);
            }
        }
        for open in self.outer(span) {
            if self.opens(open) {
                self.logic(&(open + 1..self.closing(open)), statement);
            }
        }
    }

    /// Takes each operand of `operator` away, of several. Returns them.
    fn operands(&mut self, span: &Span, operator: &str, statement: &Span) -> Vec<Span> {
        let parts = self.split(span, |text| text == operator);
        for (number, part) in parts.iter().enumerate().filter(|_| parts.len() > 1) {
            let own = self.bytes(part);
            // With the operator before it, or behind the first.
            let gone = match number {
                0 => own.start..self.bytes(&parts[1]).start,
                _ => self.bytes(&parts[number - 1]).end..own.end,
            };
            self.add(Kind::Operand, statement, gone, "");
        }
        parts
    }

    /// The gas and value that calls are given, which stand in braces.
    fn options(&mut self, span: &Span) {
        for open in span.clone() {
            if self.text(open) == "{" && self.text(open + 2) == ":" {
                let gone = open..self.closing(open) + 1;
                self.add(Kind::Option, span, self.bytes(&gone), "");
            }
        }
    }

    fn add(&mut self, kind: Kind, statement: &Span, at: Range<usize>, by: &'static str) {
        let statement = self.bytes(statement);
        let line = 1 + self.source[..at.start].matches('\n').count();
        let before = &self.source[statement.clone()];
        let after = [
            &self.source[statement.start..at.start],
            by,
            &self.source[at.end..statement.end],
        ];
        let after = if at == statement {
            String::new()
        } else {
            one_line(&after.concat())
        };
        self.found.push(Mutant {
            file: self.file.to_owned(),
            line,
            function: self.function.clone(),
            kind,
            before: one_line(before),
            after,
            at,
            by,
        });
    }

    fn text(&self, i: usize) -> &'a str {
        self.tokens.get(i).map_or("", |token| token.text)
    }

    fn bytes(&self, span: &Span) -> Range<usize> {
        self.tokens[span.start].at.start..self.tokens[span.end - 1].at.end
    }

    fn opens(&self, i: usize) -> bool {
        matches!(self.text(i), "(" | "[" | "{")
    }

    /// The bracket that closes the one at `open`.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0;
        for i in open..self.tokens.len() {
            match self.text(i) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return i;
            }
        }
        panic!(
            "{}: nothing closes the bracket of byte {}",
            self.file, self.tokens[open].at.start
        );
    }

    /// The next such token that is in no bracket that opens on the way.
    fn next(&self, start: usize, text: &str) -> usize {
        let mut i = start;
        while self.text(i) != text {
            assert!(
                i < self.tokens.len(),
                "{}: no {text} ends {}",
                self.file,
                self.text(start)
            );
            i = if self.opens(i) { self.closing(i) + 1 } else { i + 1 };
        }
        i
    }

    /// The tokens of a span that are in no bracket, opening ones among them.
    fn outer(&self, span: &Span) -> Vec<usize> {
        let mut found = Vec::new();
        let mut i = span.start;
        while i < span.end {
            found.push(i);
            i = if self.opens(i) { self.closing(i) + 1 } else { i + 1 };
        }
        found
    }

    /// What stands between the tokens at which `ends` says yes.
    fn split(&self, span: &Span, ends: impl Fn(&str) -> bool) -> Vec<Span> {
        let mut parts = Vec::new();
        let mut start = span.start;
        for i in self.outer(span) {
            if ends(self.text(i)) {
                parts.push(start..i);
                start = i + 1;
            }
        }
        parts.push(start..span.end);
        parts
    }
}

fn is_keyword(word: &str) -> bool {
    let words = [
        "external", "public", "internal", "private", "view", "pure", "payable", "virtual", "override",
        "returns",
    ];
    words.contains(&word)
}

fn is_assignment(text: &str) -> bool {
    let comparison = matches!(text, "==" | "!=" | "<=" | ">=");
    matches!(text, "++" | "--") || (text.ends_with('=') && !comparison)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, line, and what stands in the place of what; of the body of one function.
    fn found(body: &str) -> Vec<(Kind, usize, String)> {
        let source = format!("contract C {{\nfunction f(uint256 x) external {{\n{body}\n}}\n}}");
        let all = mutants("C.sol", &source);
        for mutant in &all {
            assert_eq!(mutant.function, "f");
            assert_ne!(mutant.apply(&source), source);
        }
        let shown = |mutant: Mutant| {
            let after = if mutant.after.is_empty() {
                "-"
            } else {
                &mutant.after
            };
            (mutant.kind, mutant.line, format!("{} => {after}", mutant.before))
        };
        all.into_iter().map(shown).collect()
    }

    fn kinds(body: &str) -> Vec<Kind> {
        found(body).into_iter().map(|(kind, ..)| kind).collect()
    }

    #[test]
    fn a_check_loses_its_revert_its_operands_and_its_bound() {
        let expected = [
            (Kind::Operand, "if (a < 1 || b) => if (b)"),
            (Kind::Bound, "if (a < 1 || b) => if (a <= 1 || b)"),
            (Kind::Operand, "if (a < 1 || b) => if (a < 1)"),
            (Kind::Check, "revert X(a, b); => -"),
        ];
        let expected = expected.map(|(kind, change)| (kind, 4, change.to_owned()));
        assert_eq!(
            found("// if (c) revert Y();\nif (a < 1 || b) revert X(a, b);"),
            expected
        );
    }

    #[test]
    fn a_check_with_an_effect_in_its_condition_keeps_it() {
        let source = "contract C { function f() external { if (!set(x)) revert Y(); } }";
        let all = mutants("C.sol", source);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].apply(source), source.replace("revert Y();", "{}"));
    }

    #[test]
    fn calls_that_check_are_checks() {
        for call in [
            "require(a == b, \"no\");",
            "_requireRole(owner);",
            "BabyJubJub.requireKey(x, y);",
            "_queue.requireWaiting(f(x));",
        ] {
            assert_eq!(kinds(call), [Kind::Check], "{call}");
        }
        assert_eq!(kinds("_pay(required, amount);"), [Kind::Call]);
    }

    #[test]
    fn operands_are_taken_by_precedence_and_within_brackets() {
        let changes = found("bool c = a && b || !(d || e);")
            .into_iter()
            .map(|(.., change)| change);
        let whole = "bool c = a && b || !(d || e);";
        let expected = [
            "bool c = b || !(d || e);",
            "bool c = !(d || e);",
            "bool c = a || !(d || e);",
            "bool c = a && b;",
            "bool c = a && b || !(e);",
            "bool c = a && b || !(d);",
        ];
        let expected = expected.map(|after| format!("{whole} => {after}"));
        let mut changes: Vec<String> = changes.collect();
        changes.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(changes, expected);
    }

    #[test]
    fn effects_are_assignments_and_not_declarations() {
        for effect in [
            "x = 1;",
            "(a.b, c[i]) = (1, 2);",
            "e[id] -= amount;",
            "bits[n / 256] |= 1 << n;",
            "n++;",
            "delete q;",
        ] {
            assert_eq!(kinds(effect), [Kind::Effect], "{effect}");
        }
        for declaration in [
            "uint256 x = 1;",
            "(uint40 a, uint40 b) = (c.d, c.e);",
            "uint256[4] memory e = f(x);",
            "(bool ok,) = g(x);",
            "uint256 y;",
        ] {
            assert_eq!(kinds(declaration), [], "{declaration}");
        }
    }

    #[test]
    fn calls_lose_gas_and_value() {
        let changes = found("(bool ok,) = to.call{value: v}(\"\");");
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].0, Kind::Option);
        assert!(changes[0].2.ends_with("=> (bool ok,) = to.call(\"\")"));
    }

    #[test]
    fn both_ways_out_of_a_call_are_gone_through() {
        let body = "try v.verify{gas: cap}(proof) returns (uint256 a) { if (a != 1) revert X(); }\ncatch { revert Y(); }";
        assert_eq!(kinds(body), [Kind::Option, Kind::Check, Kind::Check]);
    }

    #[test]
    fn conditions_of_effects_hold_always_and_those_of_checks_never() {
        let expected = [
            (Kind::Condition, "if (c) => if (true)"),
            (Kind::Effect, "n = 1; => -"),
        ];
        let expected = expected.map(|(kind, change)| (kind, 3, change.to_owned()));
        assert_eq!(found("if (c) n = 1;"), expected);
        assert_eq!(kinds("if (c) { revert X(); }"), [Kind::Check]);
        assert_eq!(kinds("if (c) return 1;\nreturn 2;"), [Kind::Return]);
        assert_eq!(
            kinds("if (c) n = 1; else revert X();"),
            [Kind::Effect, Kind::Check]
        );
    }

    #[test]
    fn loops_and_assembly_are_no_checks_but_their_bodies_are_read() {
        let body = "for (uint256 i = 0; i < n; i++) { if (i > m) revert X(); }\nassembly (\"memory-safe\") { x := lt(a, b) }\nwhile (a >= b) { unchecked { a--; } }";
        assert_eq!(kinds(body), [Kind::Bound, Kind::Check, Kind::Effect]);
    }

    #[test]
    fn modifiers_are_taken_and_bases_are_not() {
        let source = "contract C is B {\nconstructor(uint256 x) B(x) { y = x; }\n\
                      function f(uint256 x) external override(A) onlyRole(x) nonReentrant returns (uint256) { return x; }\n\
                      function g() external view virtual;\nfunction (uint256) external h;\n}";
        let all = mutants("C.sol", source);
        let functions: Vec<_> = all
            .iter()
            .map(|mutant| (mutant.kind, mutant.function.as_str()))
            .collect();
        let expected = [
            (Kind::Effect, "constructor"),
            (Kind::Modifier, "f"),
            (Kind::Modifier, "f"),
        ];
        assert_eq!(functions, expected);
        assert!(all[1].apply(source).contains("override(A)  nonReentrant"));
        assert!(all[2].apply(source).contains("onlyRole(x)  returns"));
    }

    /// Every `revert` and every modifier that the contracts have is some mutant's, however it is written.
    #[test]
    fn no_check_of_the_contracts_is_missed() {
        let contracts = crate::project::contracts().expect("the contracts");
        assert!(contracts.len() > 10);
        let mut checks = 0;
        for (file, source) in &contracts {
            let all = mutants(file, source);
            let of = |kind: Kind| all.iter().filter(|mutant| mutant.kind == kind).count();
            let words = tokens(source);
            let count = |wanted: &str| words.iter().filter(|token| token.text == wanted).count();
            let reverts = all
                .iter()
                .filter(|mutant| mutant.before.starts_with("revert"))
                .count();
            assert_eq!(reverts, count("revert"), "{file}");
            let mut named = all.clone();
            named.dedup_by_key(|mutant| (mutant.at.clone(), mutant.by));
            assert_eq!(named.len(), all.len(), "{file}");
            let modifiers = ["nonReentrant", "nonReentrantView", "onlyOwner"].map(count);
            assert_eq!(of(Kind::Modifier), modifiers.iter().sum::<usize>(), "{file}");
            checks += of(Kind::Check);
        }
        assert!(checks > 60, "{checks}");
    }
}
