//! The strings in the text of a Rust file that can reach a user.

/// The content of each string of `text` and the line that it begins in, without comments, docs and the module of tests
/// at the end. Escapes stay as they are written.
pub(crate) fn strings(text: &str) -> Vec<(usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let text = &text[..end];
    let mut strings = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        at += if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with('\'') {
            character(rest)
        } else if let Some((open, close)) = quotes(rest) {
            let content = &rest[open..];
            let len = match close.as_str() {
                "\"" => unescaped_quote(content),
                close => content.find(close),
            };
            let len = len.unwrap_or(content.len());
            let line = text[..at].matches('\n').count() + 1;
            strings.push((line, &content[..len]));
            open + len + close.len()
        } else if rest.starts_with(|first: char| first.is_alphanumeric() || first == '_') {
            let is_inside = |inside: char| inside.is_alphanumeric() || inside == '_';
            rest.find(|inside| !is_inside(inside)).unwrap_or(rest.len())
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
    }
    strings
}

/// The length of what opens a string here, and what closes it; `None` where none begins.
fn quotes(text: &str) -> Option<(usize, String)> {
    let raw = text
        .strip_prefix("br")
        .or_else(|| text.strip_prefix('r'))
        .unwrap_or_default();
    let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
    if raw[hashes..].starts_with('"') {
        let prefix = text.len() - raw.len();
        return Some((prefix + hashes + 1, format!("\"{}", "#".repeat(hashes))));
    }
    let plain = text.strip_prefix('b').unwrap_or(text);
    plain
        .starts_with('"')
        .then(|| (text.len() - plain.len() + 1, "\"".to_owned()))
}

fn unescaped_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })
}

/// The length of a character with its quotes, or of the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut rest = text.char_indices().skip(1);
    match (rest.next(), rest.next()) {
        (Some((_, '\\')), Some((at, _))) => {
            let end = text[at + 1..].find('\'');
            end.map_or(text.len(), |end| at + 2 + end)
        }
        (_, Some((at, '\''))) => at + 1,
        _ => 1,
    }
}
