//! Columns by name: from the dotted path that a user writes to the leaf that holds the values.

use std::collections::BTreeSet;

use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::schema::types::{SchemaDescriptor, Type};

use crate::error::Error;

/// What a dotted path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The leaf column with this number.
    Leaf(usize),
    /// A group (a struct with several fields, a map) that holds no values of its own.
    Group,
}

/// Columns of which only one can be meant, since their names differ by case alone; each as it is spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ambiguous(pub Vec<String>);

impl Ambiguous {
    /// The error of looking for the `role` column `name` in the shard at `path`.
    pub fn of(self, path: &str, role: &'static str, name: &str) -> Error {
        Error::AmbiguousColumn {
            path: path.to_owned(),
            role,
            column: name.to_owned(),
            columns: self.0,
        }
    }
}

/// Finds all columns that a dotted path names: two of one name, or a flat column `user.id` beside a struct `user` with
/// a field `id`, are both meant.
///
/// The exact name counts first, else the only one that differs by case alone. A name may itself hold dots. A path to
/// a list means its elements.
///
/// # Errors
/// When no column has the exact name, and several have names that differ from it and from each other by case.
pub fn find(schema: &SchemaDescriptor, path: &str) -> Result<Vec<Found>, Ambiguous> {
    let exact = named(schema, path, |name, wanted| name == wanted);
    let found = if exact.is_empty() {
        named(schema, path, same_but_for_case)
    } else {
        exact
    };
    let spellings: BTreeSet<String> = found.iter().map(|(name, _)| name.clone()).collect();
    if spellings.len() > 1 {
        return Err(Ambiguous(spellings.into_iter().collect()));
    }
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

/// The columns that one of some usual names names: those of the first name that is there exactly, else of the first
/// that is there if case is ignored.
///
/// # Errors
/// Those of [`find`].
pub fn find_usual<'a>(
    schema: &SchemaDescriptor,
    names: &[&'a str],
) -> Result<Option<(&'a str, Vec<Found>)>, Ambiguous> {
    let is_there = |name: &&&str| !named(schema, name, |name, wanted| name == wanted).is_empty();
    if let Some(name) = names.iter().find(is_there) {
        return Ok(Some((name, find(schema, name)?)));
    }
    for name in names {
        let found = find(schema, name)?;
        if !found.is_empty() {
            return Ok(Some((name, found)));
        }
    }
    Ok(None)
}

/// Whether two names are the same if case is ignored.
pub fn same_but_for_case(left: &str, right: &str) -> bool {
    left == right || lower(left) == lower(right)
}

/// A name as it is compared where case makes no difference.
pub fn lower(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).collect()
}

/// The paths of all columns and groups, as users name them and with the names of lists and maps spelled out.
pub fn all_paths(schema: &SchemaDescriptor) -> BTreeSet<String> {
    fn collect(node: &Type, around: [&str; 2], is_named: bool, paths: &mut BTreeSet<String>) {
        let joined = |path: &str| match path {
            "" => node.name().to_owned(),
            path => format!("{path}.{}", node.name()),
        };
        let [physical, short] = around;
        let physical = joined(physical);
        let short = if is_named {
            joined(short)
        } else {
            short.to_owned()
        };
        if node.is_group() {
            // The names below a list or a map are those of the format, down to the elements.
            let is_repeated = node.get_basic_info().has_repetition()
                && node.get_basic_info().repetition() == Repetition::REPEATED;
            let is_named = !is_list(node) && !is_map(node) && (is_named || !is_repeated);
            for field in node.get_fields() {
                collect(field, [&physical, &short], is_named, paths);
            }
        }
        paths.insert(physical);
        paths.insert(short);
    }
    let mut paths = BTreeSet::new();
    for field in schema.root_schema().get_fields() {
        collect(field, ["", ""], true, &mut paths);
    }
    paths
}

/// The columns as a user names them: dotted paths of leaves, lists named by the list itself.
pub fn column_names(schema: &SchemaDescriptor) -> Vec<String> {
    fn collect(node: &Type, prefix: &str, names: &mut Vec<String>) {
        let path = if prefix.is_empty() {
            node.name().to_owned()
        } else {
            format!("{prefix}.{}", node.name())
        };
        if node.is_primitive() || is_list(node) || is_map(node) {
            names.push(path);
        } else {
            for field in node.get_fields() {
                collect(field, &path, names);
            }
        }
    }
    let mut names = Vec::new();
    for field in schema.root_schema().get_fields() {
        collect(field, "", &mut names);
    }
    names
}

/// The columns that `path` names where names are compared by `is_same`, each with its own spelling.
fn named(
    schema: &SchemaDescriptor,
    path: &str,
    is_same: fn(&str, &str) -> bool,
) -> Vec<(String, Found)> {
    let mut search = Search {
        is_same,
        leaf: 0,
        found: Vec::new(),
    };
    for field in schema.root_schema().get_fields() {
        search.node(field, "", Some(path));
    }
    search.found
}

struct Search {
    is_same: fn(&str, &str) -> bool,
    /// The next leaf.
    leaf: usize,
    found: Vec<(String, Found)>,
}

impl Search {
    /// Looks for what is left of a path at `node` and below; with no path it only counts leaves.
    fn node(&mut self, node: &Type, around: &str, path: Option<&str>) {
        let first = self.leaf;
        let spelled = match around {
            "" => node.name().to_owned(),
            around => format!("{around}.{}", node.name()),
        };
        // A name may hold dots, so each of them can be its end.
        let ends = path.into_iter().flat_map(|path| {
            let dots = path.match_indices('.').map(|(at, _)| at);
            dots.chain([path.len()])
                .filter_map(|end| Some((path.get(..end)?, path.get(end..)?)))
        });
        let rest = ends
            .filter(|(name, _)| (self.is_same)(node.name(), name))
            .map(|(_, rest)| rest)
            .next();
        if rest == Some("") {
            let is_leaf = has_only_leaf(node);
            let found = if is_leaf {
                Found::Leaf(first)
            } else {
                Found::Group
            };
            self.found.push((spelled.clone(), found));
        }
        if node.is_primitive() {
            self.leaf += 1;
            return;
        }
        let below = rest.and_then(|rest| rest.strip_prefix('.'));
        for field in node.get_fields() {
            self.node(field, &spelled, below);
        }
    }
}

/// Whether one leaf is all that `node` is made of, through lists.
fn has_only_leaf(mut node: &Type) -> bool {
    while !node.is_primitive() {
        let is_inside_list = is_list(node) || node.get_basic_info().has_repetition();
        if is_map(node) || !is_inside_list {
            return false;
        }
        let [child] = node.get_fields() else {
            return false;
        };
        node = child;
    }
    true
}

pub(super) fn is_list(node: &Type) -> bool {
    let info = node.get_basic_info();
    info.converted_type() == ConvertedType::LIST
        || info.logical_type_ref() == Some(&LogicalType::List)
}

pub(super) fn is_map(node: &Type) -> bool {
    let info = node.get_basic_info();
    matches!(
        info.converted_type(),
        ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE
    ) || info.logical_type_ref() == Some(&LogicalType::Map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::schema::parser::parse_message_type;
    use std::sync::Arc;

    fn schema() -> SchemaDescriptor {
        let text = "message m {
            required binary id (UTF8);
            optional group user { optional int64 id; optional group deep { optional binary x; } }
            optional group ids (LIST) { repeated group list { optional binary element (UTF8); } }
            optional group old (LIST) { repeated binary array; }
            repeated int32 bare;
            optional group map (MAP) { repeated group key_value { required binary key; optional binary value; } }
            optional binary Id;
        }";
        SchemaDescriptor::new(Arc::new(parse_message_type(text).unwrap()))
    }

    #[test]
    fn paths_lead_to_leaves() {
        let schema = schema();
        for (path, found) in [
            ("id", vec![Found::Leaf(0)]),
            ("user.id", vec![Found::Leaf(1)]),
            ("user.deep.x", vec![Found::Leaf(2)]),
            ("ids", vec![Found::Leaf(3)]),
            ("old", vec![Found::Leaf(4)]),
            ("bare", vec![Found::Leaf(5)]),
            ("Id", vec![Found::Leaf(8)]),
            ("user", vec![Found::Group]),
            ("map", vec![Found::Group]),
            ("user.ID", vec![Found::Leaf(1)]),
            ("USER.Deep.X", vec![Found::Leaf(2)]),
            ("user.", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(find(&schema, path), Ok(found), "{path}");
        }
        let both = Ambiguous(vec!["Id".to_owned(), "id".to_owned()]);
        assert_eq!(find(&schema, "ID"), Err(both));
    }

    #[test]
    fn a_path_that_names_several_columns_means_them_all() {
        let text = "message m {
            required binary user.id (UTF8);
            optional group user { optional int64 id; optional group a { optional int32 b; } }
            required binary twice;
            required binary twice;
            optional group User { optional int32 other; }
            optional group user { optional int32 a.b; optional int32 id; }
        }";
        let schema = SchemaDescriptor::new(Arc::new(parse_message_type(text).unwrap()));
        let leaves = |leaves: &[usize]| Ok(leaves.iter().copied().map(Found::Leaf).collect());
        assert_eq!(find(&schema, "user.id"), leaves(&[0, 1, 7]));
        assert_eq!(find(&schema, "twice"), leaves(&[3, 4]));
        assert_eq!(find(&schema, "TWICE"), leaves(&[3, 4]));
        assert_eq!(find(&schema, "user.a.b"), leaves(&[2, 6]));
        assert_eq!(find(&schema, "user.other"), leaves(&[5]));
        assert_eq!(find(&schema, "user"), Ok(vec![Found::Group; 2]));
        assert!(find(&schema, "USER").is_err());
        let usual = find_usual(&schema, &["TWICE", "user.id"]).unwrap();
        assert_eq!(usual.map(|(name, _)| name), Some("user.id"));
    }

    #[test]
    fn columns_are_listed_as_users_name_them() {
        assert_eq!(
            column_names(&schema()),
            [
                "id",
                "user.id",
                "user.deep.x",
                "ids",
                "old",
                "bare",
                "map",
                "Id"
            ]
        );
    }
}
