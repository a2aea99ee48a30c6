//! The imports in the text of a Rust file, without a parser of the whole language.

use std::collections::BTreeMap;

/// The names that lead from the crate's root to a module or item.
pub(crate) type Module = Vec<String>;

/// A path in the code, from the crate's root, and the name that a `use` gives it in a module.
pub(crate) struct Import {
    pub(crate) path: Module,
    pub(crate) named: Option<(Module, String)>,
}

/// The paths in the code of `module` that stay in the crate, which has `modules`.
pub(crate) fn imports(
    text: &str,
    module: &[String],
    modules: &BTreeMap<Module, String>,
) -> Vec<Import> {
    let tokens = without_tests(&tokens(text));
    let mut imports = Vec::new();
    // Modules that are written inside of the file, and how deep in braces.
    let mut around: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let here = || -> Module {
            let inside = around.iter().map(|(name, _)| name);
            module.iter().chain(inside).cloned().collect()
        };
        match tokens[at..] {
            ["use", next, ..] if next != "<" => {
                let len = tokens[at..].iter().position(|token| *token == ";");
                let end = len.map_or(tokens.len(), |len| at + len);
                for (path, name) in used(&tokens[at + 1..end]) {
                    if let Some(path) = absolute(&path, &here(), Some(modules)) {
                        let named = name.map(|name| (here(), name));
                        imports.push(Import { path, named });
                    }
                }
                at = end;
            }
            // Who may see an item is no import.
            ["pub", "(", "in", ..] => at += group(&tokens[at + 1..]),
            ["mod", name, "{", ..] => {
                around.push((name.to_owned(), depth));
                depth += 1;
                at += 2;
            }
            ["{", ..] => depth += 1,
            ["}", ..] => {
                depth -= 1;
                around.pop_if(|(_, begun)| *begun == depth);
            }
            ["crate" | "self" | "super", "::", ..] => {
                let len = 1 + tokens[at + 1..]
                    .chunks(2)
                    .take_while(|pair| {
                        pair[0] == "::" && pair.get(1).is_some_and(|next| is_name(next))
                    })
                    .count();
                let path: Module = tokens[at..]
                    .iter()
                    .step_by(2)
                    .take(len)
                    .map(|part| (*part).to_owned())
                    .collect();
                if let Some(path) = absolute(&path, &here(), None) {
                    imports.push(Import { path, named: None });
                }
                at += 2 * len - 2;
            }
            _ => {}
        }
        at += 1;
    }
    imports
}

/// The words and signs of Rust code, without comments, strings, characters and numbers.
fn tokens(text: &str) -> Vec<&str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let byte = bytes[at];
        at += if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if byte == b'"' {
            string(rest)
        } else if byte == b'\'' {
            character(rest)
        } else if is_word(byte) {
            let len = rest
                .bytes()
                .position(|byte| !is_word(byte))
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(len);
            let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
            let is_raw = matches!(word, "r" | "br" | "cr");
            if is_raw && after[hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let open = len + hashes + 1;
                rest[open..]
                    .find(&end)
                    .map_or(rest.len(), |close| open + close + end.len())
            } else if is_raw && hashes == 1 {
                // A keyword as a name.
                len + 1
            } else {
                if !byte.is_ascii_digit() {
                    tokens.push(word);
                }
                len
            }
        } else if rest.starts_with("::") {
            tokens.push(&rest[..2]);
            2
        } else {
            if !byte.is_ascii_whitespace() {
                tokens.push(&rest[..1]);
            }
            1
        };
    }
    tokens
}

/// The length of a block comment, which may hold others.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text.as_bytes()[at..];
        match rest {
            [] => return at,
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
}

/// The length of a string with its quotes.
fn string(text: &str) -> usize {
    let mut is_escaped = true;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |end| end + 1)
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

/// Leaves out the items that only tests have.
fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    let mut left = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let ["#", "[", "cfg", "(", "test" | "doctest", ")", "]", ..] = tokens[at..] {
            at += 7;
            while tokens[at..].starts_with(&["#", "["]) {
                at += 1 + group(&tokens[at + 1..]);
            }
            at += item(&tokens[at..]);
        } else {
            left.push(tokens[at]);
            at += 1;
        }
    }
    left
}

/// The length of what the first token opens, to the token that closes it.
fn group(tokens: &[&str]) -> usize {
    let mut depth = 0;
    let end = tokens.iter().position(|token| {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.map_or(tokens.len(), |end| end + 1)
}

/// The length of an item: to its semicolon, or the end of its braces.
fn item(tokens: &[&str]) -> usize {
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at] {
            ";" => return at + 1,
            "{" => return at + group(&tokens[at..]),
            "(" | "[" => at += group(&tokens[at..]),
            _ => at += 1,
        }
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The paths of a `use`, with the names that they get.
fn used(tree: &[&str]) -> Vec<(Module, Option<String>)> {
    let mut found = Vec::new();
    let mut path: Module = Vec::new();
    let mut at = 0;
    while at < tree.len() {
        match tree[at] {
            "{" => {
                let len = group(&tree[at..]);
                let mut parts = &tree[at + 1..at + len - 1];
                while !parts.is_empty() {
                    let mut end = 0;
                    while end < parts.len() && parts[end] != "," {
                        end += if parts[end] == "{" {
                            group(&parts[end..])
                        } else {
                            1
                        };
                    }
                    let (part, rest) = parts.split_at(end);
                    for (below, name) in used(part) {
                        found.push((path.iter().cloned().chain(below).collect(), name));
                    }
                    parts = rest.get(1..).unwrap_or_default();
                }
                return found;
            }
            "as" => {
                path.pop_if(|only| only == "self");
                return vec![(path, tree.get(at + 1).map(|name| (*name).to_owned()))];
            }
            "*" => return vec![(path, None)],
            "self" if tree.len() == 1 => return vec![(Vec::new(), None)],
            token if is_name(token) => path.push(token.to_owned()),
            _ => {}
        }
        at += 1;
    }
    let name = path.last().cloned();
    if path.is_empty() {
        found
    } else {
        vec![(path, name)]
    }
}

/// A path from the crate's root; `None` for one that leads out of the crate. In a `use` it may also begin with a
/// module of this one.
fn absolute(
    path: &[String],
    module: &[String],
    below: Option<&BTreeMap<Module, String>>,
) -> Option<Module> {
    let (first, rest) = path.split_first()?;
    let mut base = module.to_vec();
    let mut rest = rest;
    match first.as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
        }
        name => {
            base.push(name.to_owned());
            below?.get(&base)?;
        }
    }
    while let Some(("super", more)) = rest.split_first().map(|(name, more)| (name.as_str(), more)) {
        base.pop();
        rest = more;
    }
    base.extend(rest.iter().cloned());
    Some(base)
}
