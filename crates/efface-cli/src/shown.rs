//! Text as people may see it. Names of shards, columns and partitions come from whoever writes the dataset: what would
//! change a terminal, begin a line or turn the order of letters is shown as its number instead. JSON stays exact.

use std::borrow::Cow;
use std::io::{self, Write};

/// `text` on one line, with nothing in it that a terminal obeys.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_obeyed(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// Control characters, the separators of lines and paragraphs, and those that set the direction of text.
fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Standard error for the log: each line is written by one call.
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let told = format!("{}\n", shown(text));
        // Nobody is left to be told when standard error itself is gone.
        let _ignored = io::stderr().write_all(told.as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for (text, expected) in [
            ("a b/ä=😀.parquet", "a b/ä=😀.parquet"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\nb\r\t", "a\\nb\\r\\t"),
            ("\u{9b}1m\u{7f}\0", "\\u{9b}1m\\u{7f}\\u{0}"),
            (
                "x\u{202e}y\u{2066}\u{2028}",
                "x\\u{202e}y\\u{2066}\\u{2028}",
            ),
        ] {
            assert_eq!(shown(text), expected);
        }
    }
}
