//! Text that somebody else wrote, as it is kept, logged and shown.

/// The text on one line, with at most so many characters. What would begin another line, move a terminal's cursor or colour it, or
/// turn the order of letters round, is a space instead: nobody writes log lines in another's name.
pub fn one_line(text: &str, chars_max: usize) -> String {
    let visible = |letter: char| if is_layout(letter) { ' ' } else { letter };
    text.chars().take(chars_max).map(visible).collect()
}

/// Whether a character is seen by what it does to others alone.
fn is_layout(letter: char) -> bool {
    let of_direction_or_line =
        matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    letter.is_control() || of_direction_or_line || matches!(letter, '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_begin_a_line_or_steer_a_terminal_is_a_space() {
        assert_eq!(
            one_line("bad\n2026-01-01 INFO \x1b[31mfake\r\u{9b}\u{202e}\u{2028}x", 100),
            "bad 2026-01-01 INFO  [31mfake    x"
        );
        assert_eq!(
            one_line("größer: 木", 100),
            "größer: 木",
            "letters of any script stay"
        );
    }

    #[test]
    fn characters_are_counted_and_not_bytes() {
        assert_eq!(one_line("ääää", 3), "äää");
        assert_eq!(one_line("\n\n\n", 2), "  ");
        assert_eq!(one_line("", 5), "");
    }
}
