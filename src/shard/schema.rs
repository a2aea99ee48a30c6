//! Columns by name: from the dotted path that a user writes to the leaf that holds the values.

use parquet::basic::{ConvertedType, LogicalType};
use parquet::schema::types::{SchemaDescriptor, Type};

/// What a dotted path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The leaf column with this number.
    Leaf(usize),
    /// A group (a struct with several fields, a map) that holds no values of its own.
    Group,
}

/// Finds a column by its dotted path; names are compared exactly, case included.
///
/// A name may itself hold dots. A path to a list means its elements.
pub fn find(schema: &SchemaDescriptor, path: &str) -> Option<Found> {
    let mut names = Vec::new();
    let node = descend(schema.root_schema(), path, &mut names)?;
    let Some(leaf_names) = only_leaf(node, names) else {
        return Some(Found::Group);
    };
    schema
        .columns()
        .iter()
        .position(|column| column.path().parts() == leaf_names)
        .map(Found::Leaf)
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

fn descend<'a>(node: &'a Type, path: &str, names: &mut Vec<String>) -> Option<&'a Type> {
    if node.is_primitive() {
        return None;
    }
    for field in node.get_fields() {
        let Some(rest) = path.strip_prefix(field.name()) else {
            continue;
        };
        names.push(field.name().to_owned());
        if rest.is_empty() {
            return Some(field);
        }
        if let Some(rest) = rest.strip_prefix('.')
            && let Some(found) = descend(field, rest, names)
        {
            return Some(found);
        }
        names.pop();
    }
    None
}

/// The names down to the one leaf below `node`, through lists.
fn only_leaf(mut node: &Type, mut names: Vec<String>) -> Option<Vec<String>> {
    while !node.is_primitive() {
        let is_inside_list = is_list(node) || node.get_basic_info().has_repetition();
        if is_map(node) || !is_inside_list {
            return None;
        }
        let [child] = node.get_fields() else {
            return None;
        };
        names.push(child.name().to_owned());
        node = child;
    }
    Some(names)
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
            ("id", Some(Found::Leaf(0))),
            ("user.id", Some(Found::Leaf(1))),
            ("user.deep.x", Some(Found::Leaf(2))),
            ("ids", Some(Found::Leaf(3))),
            ("old", Some(Found::Leaf(4))),
            ("bare", Some(Found::Leaf(5))),
            ("Id", Some(Found::Leaf(8))),
            ("user", Some(Found::Group)),
            ("map", Some(Found::Group)),
            ("ID", None),
            ("user.ID", None),
            ("user.", None),
            ("", None),
        ] {
            assert_eq!(find(&schema, path), found, "{path}");
        }
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
