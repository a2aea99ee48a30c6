//! The files of a crate, and which import which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::code::{Import, Module, imports};

/// The files of a crate by their paths below `src/`.
pub(crate) struct House {
    files: BTreeMap<String, Source>,
    /// The file of each module.
    modules: BTreeMap<Module, String>,
}

/// What is imported where.
struct Source {
    module: Module,
    paths: Vec<Import>,
}

/// A file, one that it imports from, and the path that says so.
type Arrow = (String, String, String);

impl House {
    /// The `.rs` files below `src`, without those of tests.
    pub(crate) fn at(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![src.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let below = path.strip_prefix(src).unwrap().to_str().unwrap();
                    files.insert(below.to_owned(), fs::read_to_string(&path).unwrap());
                }
            }
        }
        Self::of(
            files
                .iter()
                .map(|(path, text)| (path.as_str(), text.as_str())),
        )
    }

    /// Files by their paths below `src`, without those of tests.
    pub(crate) fn of<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let is_test = |path: &str| path.split(['/', '.']).any(|part| part == "tests");
        let texts: Vec<(&str, &str)> = texts
            .into_iter()
            .filter(|(path, _)| !is_test(path))
            .collect();
        let modules: BTreeMap<Module, String> = texts
            .iter()
            .map(|(path, _)| (module_of(path), (*path).to_owned()))
            .collect();
        let source = |(path, text): &(&str, &str)| {
            let module = module_of(path);
            let paths = imports(text, &module, &modules);
            ((*path).to_owned(), Source { module, paths })
        };
        Self {
            files: texts.iter().map(source).collect(),
            modules,
        }
    }

    /// The modules directly below the crate's root, and the root.
    fn top_of(&self, file: &str) -> &str {
        self.files[file]
            .module
            .first()
            .map_or("lib", String::as_str)
    }

    /// The imports of every file, those of itself left out.
    fn arrows(&self) -> BTreeSet<Arrow> {
        let mut names: BTreeMap<(&[String], &str), &Module> = BTreeMap::new();
        for import in self.files.values().flat_map(|source| &source.paths) {
            if let Some((module, name)) = &import.named {
                names.insert((module, name), &import.path);
            }
        }
        let mut arrows = BTreeSet::new();
        for (from, source) in &self.files {
            for import in &source.paths {
                let mut path = import.path.clone();
                // A name that was taken from elsewhere leads on; names that lead in a circle are no Rust.
                for _ in 0..8 {
                    let (len, to) = self.module_in(&path);
                    if to != from {
                        let shown = import.path.join("::");
                        arrows.insert((from.clone(), to.to_owned(), shown));
                    }
                    let (module, rest) = path.split_at(len);
                    let Some((first, rest)) = rest.split_first() else {
                        break;
                    };
                    let Some(target) = names.get(&(module, first.as_str())) else {
                        break;
                    };
                    path = target.iter().chain(rest).cloned().collect();
                }
            }
        }
        arrows
    }

    /// The file whose module is the longest part of `path`, and the length of that part.
    fn module_in(&self, path: &[String]) -> (usize, &str) {
        (0..=path.len())
            .rev()
            .find_map(|len| Some((len, self.modules.get(&path[..len])?.as_str())))
            .expect("a crate has a root")
    }

    /// Imports that point upwards by `floors` (names, from the ground up), modules that have no floor, and floors that
    /// have no module.
    pub(crate) fn upward(&self, floors: &[(&str, &str)]) -> Vec<String> {
        let floor = |top: &str| floors.iter().position(|(name, _)| *name == top);
        let mut faults = Vec::new();
        let tops: BTreeSet<&str> = self.files.keys().map(|file| self.top_of(file)).collect();
        for top in &tops {
            if floor(top).is_none() {
                faults.push(format!("module {top} has no floor: add it to FLOORS"));
            }
        }
        for (name, _) in floors {
            if !tops.contains(name) {
                faults.push(format!("FLOORS has {name}, which is no module any more"));
            }
        }
        for (from, to, path) in self.arrows() {
            let (of, below) = (self.top_of(&from), self.top_of(&to));
            if of != "lib" && floor(of) < floor(below) {
                faults.push(format!("{from} -> {to} points upwards: {path}"));
            }
        }
        faults
    }

    /// The circles, each with the imports that tie it.
    pub(crate) fn circles(&self) -> Vec<String> {
        let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let arrows = self.arrows();
        for (from, to, _) in &arrows {
            let (above, below) = (&self.files[from].module, &self.files[to].module);
            if !below.starts_with(above) {
                next.entry(from).or_default().insert(to);
            }
        }
        let mut reach: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for file in next.keys() {
            let mut left = vec![*file];
            let reached = reach.entry(file).or_default();
            while let Some(file) = left.pop() {
                let more = next.get(file).into_iter().flatten();
                left.extend(more.filter(|file| reached.insert(file)));
            }
        }
        let is_met = |from: &str, to: &str| reach.get(from).is_some_and(|met| met.contains(to));
        let mut circles: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
        for file in next.keys().filter(|file| is_met(file, file)) {
            let others = next
                .keys()
                .filter(|other| is_met(file, other) && is_met(other, file));
            circles.insert(others.copied().collect());
        }
        circles
            .iter()
            .map(|circle| {
                let tied = arrows.iter().filter(|(from, to, _)| {
                    let is_arrow = next
                        .get(from.as_str())
                        .is_some_and(|next| next.contains(to.as_str()));
                    is_arrow && circle.contains(from.as_str()) && circle.contains(to.as_str())
                });
                let lines = tied.map(|(from, to, path)| format!("\n  {from} -> {to}: {path}"));
                format!(
                    "a circle of {} files:{}",
                    circle.len(),
                    lines.collect::<String>()
                )
            })
            .collect()
    }
}

fn module_of(path: &str) -> Module {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut names: Module = path.split('/').map(str::to_owned).collect();
    if names.len() > 1 {
        names.pop_if(|last| last == "mod");
    } else {
        names.pop_if(|only| only == "lib" || only == "main");
    }
    names
}
