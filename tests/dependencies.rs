//! What efface is built from: under which licences, from where, and with which Rust.

use std::process::Command;

use serde_json::Value;

/// Each lets a closed product ship what is under it, if it says so. Of a choice (`OR`) one is enough.
const LICENCES: [&str; 11] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The packages that are in a build for this machine, as `cargo metadata` tells.
fn packages() -> Vec<Value> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let about = Command::new(rustc).arg("-vV").output().unwrap().stdout;
    let about = String::from_utf8(about).unwrap();
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--all-features", "--filter-platform", host.unwrap()])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let mut told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = told["resolve"]["nodes"].as_array().unwrap();
    let built: Vec<String> = nodes
        .iter()
        .map(|node| node["id"].as_str().unwrap().to_owned())
        .collect();
    let Value::Array(mut packages) = told["packages"].take() else {
        panic!("no packages");
    };
    packages.retain(|package| built.iter().any(|id| package["id"] == id.as_str()));
    assert!(packages.len() > 100, "{} packages", packages.len());
    packages
}

/// Whether one may be used under an SPDX expression, in which `AND` binds closer than `OR`.
fn is_allowed(expression: &str) -> bool {
    // Old manifests separate a choice by a slash.
    let expression = expression.replace('/', " OR ");
    let expression = expression.trim();
    let any = outside_of_brackets(expression, " OR ");
    if any.len() > 1 {
        return any.into_iter().any(is_allowed);
    }
    let all = outside_of_brackets(expression, " AND ");
    if all.len() > 1 {
        return all.into_iter().all(is_allowed);
    }
    let inside = expression
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'));
    inside.map_or_else(|| LICENCES.contains(&expression), is_allowed)
}

/// The parts between the `separator`s that are in no brackets.
fn outside_of_brackets<'a>(expression: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, byte) in expression.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ if depth == 0 && at >= from && expression[at..].starts_with(separator) => {
                parts.push(&expression[from..at]);
                from = at + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&expression[from..]);
    parts
}

fn named(package: &Value) -> String {
    format!("{} {}", package["name"], package["version"])
}

#[test]
fn a_choice_needs_one_licence_that_is_allowed_and_a_sum_all_of_them() {
    for allowed in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0-only OR MIT",
        "GPL-2.0-only OR (GPL-3.0-only OR MIT)",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
        "BSD-3-Clause AND MIT",
        "MIT OR GPL-2.0-only AND GPL-3.0-only",
    ] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "(GPL-3.0-only OR AGPL-3.0-only) AND MIT",
    ] {
        assert!(!is_allowed(refused), "{refused}");
    }
}

#[test]
fn every_dependency_comes_from_the_registry_under_a_licence_that_is_allowed() {
    for package in packages() {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(
            is_allowed(licence),
            "{} is under {licence:?}",
            named(&package)
        );
        let source = package["source"].as_str();
        let is_efface = package["name"].as_str().unwrap().starts_with("efface") && source.is_none();
        let is_from_registry = source.is_some_and(|source| source.starts_with("registry+"));
        assert!(
            is_efface || is_from_registry,
            "{} comes from {source:?}",
            named(&package)
        );
    }
}

#[test]
fn no_dependency_needs_a_newer_rust_than_efface_states() {
    let number = |version: &Value| -> Option<[u32; 3]> {
        let mut parts = version.as_str()?.split('.');
        Some([0; 3].map(|none| parts.next().map_or(none, |part| part.parse().unwrap())))
    };
    let packages = packages();
    let own = packages
        .iter()
        .find(|package| package["name"] == "efface")
        .unwrap();
    let own = number(&own["rust_version"]).expect("efface states one");
    let mut stated = 0;
    for package in &packages {
        if let Some(needed) = number(&package["rust_version"]) {
            assert!(needed <= own, "{} needs Rust {needed:?}", named(package));
            stated += 1;
        }
    }
    assert!(stated > 50, "only {stated} packages state one");
}

#[test]
fn the_library_has_no_async_runtime_and_knows_no_network() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "efface"])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"parquet"), "{names:?}");
    for banned in [
        "tokio",
        "futures",
        "hyper",
        "reqwest",
        "object_store",
        "rustls",
    ] {
        assert!(!names.contains(&banned), "{banned} is in the library");
    }
}
