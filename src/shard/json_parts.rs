//! An object of JSON without some of its members, or with only these, at any depth; all else stays byte for byte.
//!
//! ```text
//!   segment of a member: from the end of the one before to its own: comma, blanks, key, colon, value
//!   without: a segment that matches is left out          {"a":1, "$b":2}         -> {"a":1}
//!   only:    others are, unless something in them does   {"a":{"$b":2}, "c":3}   -> {"a":{"$b":2}}
//! ```
//!
//! The text was parsed before, so it is well formed here. Nothing recurses: nesting may be as deep as the text is long.

use std::borrow::Cow;
use std::ops::Range;

/// What is wanted of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the members that match.
    Without,
    /// The members that match, and what stands around them.
    Only,
}

/// An object or an array that is being read.
struct Frame {
    is_object: bool,
    /// Where the next segment begins.
    from: usize,
    /// Nothing of it was written yet.
    is_empty: bool,
    /// Something of it was left out.
    is_cut: bool,
    /// How long the output was before its own segment.
    before: usize,
    /// The keys around its members, each with a dot behind it.
    path: String,
}

/// The wanted part of the object in `text`, and whether it is another text. `known` is the text as JSON, of the same
/// length.
pub(super) fn part_of(
    text: &[u8],
    known: &[u8],
    matches: &dyn Fn(&str, &str) -> bool,
    part: Part,
) -> Option<(Vec<u8>, bool)> {
    let open = known.iter().position(|byte| *byte == b'{')?;
    let mut out = text.get(..=open)?.to_vec();
    let mut stack = vec![Frame::new(true, open + 1, 0, String::new())];
    let mut is_cut = false;
    let mut at = open + 1;
    while let Some(frame) = stack.last_mut() {
        at = behind_blanks(known, at);
        match known.get(at)? {
            b',' => at += 1,
            b'}' | b']' => {
                let frame = stack.pop()?;
                let rest = text.get(frame.from..at)?;
                out.extend_from_slice(if frame.is_empty && frame.is_cut {
                    rest.trim_ascii_start()
                } else {
                    rest
                });
                out.push(*known.get(at)?);
                at += 1;
                if let Some(around) = stack.last_mut() {
                    around.from = at;
                    if part == Part::Only && frame.is_empty {
                        out.truncate(frame.before);
                        (around.is_cut, is_cut) = (true, true);
                    } else {
                        around.is_empty = false;
                    }
                }
            }
            _ => {
                let mut key: Cow<'_, str> = Cow::Borrowed("");
                let mut value = at;
                if frame.is_object {
                    let end = end_of(known, at)?;
                    key = serde_json::from_slice::<Key<'_>>(known.get(at..end)?)
                        .ok()?
                        .0;
                    value = behind_blanks(known, behind_blanks(known, end) + 1);
                }
                let is_match = frame.is_object && matches(&format!("{}{key}", frame.path), &key);
                let byte = *known.get(value)?;
                if !is_match && matches!(byte, b'{' | b'[') {
                    let before = out.len();
                    frame.write(text, value + 1, &mut out)?;
                    let path = if frame.is_object {
                        format!("{}{key}.", frame.path)
                    } else {
                        frame.path.clone()
                    };
                    stack.push(Frame::new(byte == b'{', value + 1, before, path));
                    at = value + 1;
                    continue;
                }
                let end = end_of(known, value)?;
                if is_match == (part == Part::Only) {
                    frame.write(text, end, &mut out)?;
                    frame.is_empty = false;
                } else {
                    (frame.is_cut, is_cut) = (true, true);
                }
                frame.from = end;
                at = end;
            }
        }
    }
    out.extend_from_slice(text.get(at..)?);
    Some((out, is_cut))
}

/// A key, borrowed where it holds no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl Frame {
    fn new(is_object: bool, from: usize, before: usize, path: String) -> Self {
        Self {
            is_object,
            from,
            is_empty: true,
            is_cut: false,
            before,
            path,
        }
    }

    /// Writes the segment as far as `end`, without the comma of one that was left out.
    fn write(&self, text: &[u8], end: usize, out: &mut Vec<u8>) -> Option<()> {
        let segment = text.get(self.from..end)?;
        match segment.trim_ascii_start().strip_prefix(b",") {
            Some(bare) if self.is_empty => out.extend_from_slice(bare.trim_ascii_start()),
            _ => out.extend_from_slice(segment),
        }
        Some(())
    }
}

fn behind_blanks(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.len() - rest.trim_ascii_start().len()
}

/// Where the value ends that begins at `at`.
fn end_of(text: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut bytes: Range<usize> = at..text.len();
    while let Some(place) = bytes.next() {
        match text.get(place)? {
            b'"' => {
                while let Some(inside) = bytes.next() {
                    match text.get(inside)? {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
                if depth == 0 {
                    return Some(bytes.start);
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(place),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(place + 1);
                }
            }
            b',' if depth == 0 => return Some(place),
            byte if depth == 0 && byte.is_ascii_whitespace() => return Some(place),
            _ => {}
        }
    }
    Some(text.len())
}
