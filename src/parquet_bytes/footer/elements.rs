//! What the schema's list of elements claims, before the `parquet` crate makes room for it.
//!
//! ```text
//!   elements:  root(2)  a  b(1)  c          depth first; in brackets how many children each claims
//! ```
//! The crate reserves memory for the children that an element claims and for the columns that each row group has by
//! the schema, and calls itself for each level. A claim of a few bytes could take all memory or the whole stack, and
//! both end the process.

use super::Result;
use super::{file, row_group};
use crate::error::FormatError;
use crate::limits::{FIXED_BYTES_MAX, SCHEMA_DEPTH_MAX};
use crate::parquet_bytes::thrift::{List, Struct};

/// Field ids of `FileMetaData` and `SchemaElement`.
const SCHEMA: i16 = 2;
const TYPE_LENGTH: i16 = 2;
const NUM_CHILDREN: i16 = 5;

/// Checks the claims of a footer's schema.
///
/// # Errors
/// Names the first that can't be true, or that nothing is made for.
pub(super) fn check(tree: &Struct, offset: u64) -> Result<()> {
    let invalid = |found: String, expected| FormatError::Invalid {
        structure: "schema",
        offset,
        found,
        expected,
    };
    let Some(schema) = tree.list(SCHEMA) else {
        return Ok(());
    };
    let (mut columns, mut left) = (0, schema.items.len());
    // How many children are still to come, of each element around the next one.
    let mut open: Vec<usize> = Vec::new();
    for element in schema.structs() {
        left -= 1;
        while open.pop_if(|children| *children == 0).is_some() {}
        if let Some(children) = open.last_mut() {
            *children -= 1;
        }
        let length = element.i32(TYPE_LENGTH).unwrap_or(0);
        if u64::try_from(length).is_ok_and(|length| length > FIXED_BYTES_MAX) {
            return Err(FormatError::Unsupported {
                feature: format!("a column of values of {length} bytes each"),
            });
        }
        match element.i32(NUM_CHILDREN).unwrap_or(0) {
            0 => columns += 1,
            claimed => match usize::try_from(claimed) {
                Ok(children) if children <= left => open.push(children),
                _ => {
                    return Err(invalid(
                        format!("an element that claims {claimed} children"),
                        "no more than there are elements behind it",
                    ));
                }
            },
        }
        if open.len() > SCHEMA_DEPTH_MAX {
            return Err(invalid(
                format!("elements nested {} levels deep", open.len()),
                "at most 100 levels",
            ));
        }
    }
    let groups = tree.list(file::ROW_GROUPS).into_iter();
    for group in groups.flat_map(List::structs) {
        let chunks = group.list(row_group::COLUMNS);
        let counted = chunks.map_or(0, |chunks| chunks.items.len());
        if counted != columns {
            return Err(FormatError::Contradiction {
                what: "columns of a row group (against the schema's leaves)".into(),
                claimed: columns as u64,
                counted: counted as u64,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parquet_bytes::thrift::Value;

    fn element(children: i32) -> Struct {
        Struct::default().with(NUM_CHILDREN, Value::I32(children))
    }

    fn checked(elements: impl IntoIterator<Item = Struct>) -> Result<()> {
        let schema = Value::List(List::of_structs(elements));
        check(&Struct::default().with(SCHEMA, schema), 0)
    }

    #[test]
    fn an_element_has_no_more_children_than_there_are_elements() {
        let leaf = Struct::default;
        checked([element(2), leaf(), element(1), leaf()]).unwrap();
        for claimed in [2, 3, i32::MAX, -1] {
            let error = checked([element(claimed), leaf()]).unwrap_err().to_string();
            assert!(error.contains(&format!("{claimed} children")), "{error}");
        }
        assert!(checked([element(1), element(i32::MAX), leaf()]).is_err());
    }

    #[test]
    fn elements_are_nested_only_so_deep() {
        let nested = |depth: usize| {
            let groups = std::iter::repeat_n(element(1), depth);
            checked(groups.chain([Struct::default()]))
        };
        nested(SCHEMA_DEPTH_MAX).unwrap();
        for depth in [SCHEMA_DEPTH_MAX + 1, 100_000] {
            let error = nested(depth).unwrap_err().to_string();
            assert!(error.contains("levels deep"), "{error}");
        }
    }

    #[test]
    fn a_value_has_no_length_of_gigabytes() {
        let fixed = |length| Struct::default().with(TYPE_LENGTH, Value::I32(length));
        checked([element(1), fixed(16)]).unwrap();
        let error = checked([element(1), fixed(i32::MAX)]).unwrap_err();
        assert!(error.to_string().contains("2147483647 bytes"), "{error}");
    }

    #[test]
    fn a_row_group_has_as_many_columns_as_the_schema() {
        let schema = Value::List(List::of_structs([element(1), Struct::default()]));
        let with = |columns| {
            let chunks = List::of_structs(std::iter::repeat_n(Struct::default(), columns));
            let group = Struct::default().with(row_group::COLUMNS, Value::List(chunks));
            let groups = Value::List(List::of_structs([group]));
            let tree = Struct::default().with(SCHEMA, schema.clone());
            check(&tree.with(file::ROW_GROUPS, groups), 0)
        };
        with(1).unwrap();
        assert!(with(0).is_err());
        assert!(with(2).is_err());
    }
}
