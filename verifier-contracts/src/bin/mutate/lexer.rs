//! Solidity's tokens, as much as finding checks needs of them.

use std::ops::Range;

/// The longest first.
const OPERATORS: [&str; 24] = [
    "<<=", ">>=", "**", "==", "!=", "<=", ">=", "=>", "&&", "||", "+=", "-=", "*=", "/=", "%=", "|=", "&=",
    "^=", "++", "--", "<<", ">>", "->", ":=",
];

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    /// Its bytes in the source.
    pub(crate) at: Range<usize>,
}

impl Token<'_> {
    /// Whether it is a name or a keyword.
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(starts_word)
    }
}

/// The tokens of a source, without comments.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        if let Some(length) = blank(rest) {
            at += length;
            continue;
        }
        let length = match first {
            '"' | '\'' => quoted(rest, first),
            _ if starts_word(first) || first.is_ascii_digit() => {
                let end = rest.find(|c: char| !starts_word(c) && !c.is_ascii_digit());
                end.unwrap_or(rest.len())
            }
            _ => {
                let operator = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
                operator.map_or(first.len_utf8(), |operator| operator.len())
            }
        };
        tokens.push(Token {
            text: &rest[..length],
            at: at..at + length,
        });
        at += length;
    }
    tokens
}

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == '$'
}

/// How long the white space or comment is that the text begins with.
fn blank(text: &str) -> Option<usize> {
    let spaces = text.len() - text.trim_start().len();
    if spaces > 0 {
        return Some(spaces);
    }
    let end = if text.starts_with("//") {
        text.find('\n')
    } else if text.starts_with("/*") {
        text.find("*/").map(|end| end + 2)
    } else {
        return None;
    };
    Some(end.unwrap_or(text.len()))
}

/// How long the literal is that the text begins with.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn operators_are_whole_and_comments_are_gone() {
        let source = "a<<=b; // a < b\nc >> 3 >= x1_$ /* || \n */ && !d.e[0x1f] ** 2";
        let expected = [
            "a", "<<=", "b", ";", "c", ">>", "3", ">=", "x1_$", "&&", "!", "d", ".", "e", "[", "0x1f", "]",
            "**", "2",
        ];
        assert_eq!(texts(source), expected);
    }

    #[test]
    fn what_is_quoted_is_one_token() {
        assert_eq!(
            texts(r#"f("a \" // b", 'c"')"#),
            ["f", "(", r#""a \" // b""#, ",", r#"'c"'"#, ")"]
        );
    }

    #[test]
    fn nothing_that_is_cut_off_panics() {
        for source in ["\"abc", "/* abc", "// abc", "'\\", "a²", ""] {
            let spans = tokens(source);
            assert!(spans.iter().all(|token| &source[token.at.clone()] == token.text));
        }
    }
}
