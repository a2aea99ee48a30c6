//! The columns that the directories of a shard's path stand for: `day=2024-01-01` is data held about its rows.

use arrow::datatypes::Schema;

use crate::subject::names::percent_decoded;

/// What Hive writes for a partition whose value is null.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A column that a shard's path holds, and its value in every row of the shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) name: String,
    pub(super) value: Option<String>,
}

/// The columns that the directories of `path` stand for and that `schema` doesn't have.
pub(super) fn partitions(path: &str, schema: &Schema) -> Vec<Partition> {
    let directories = path
        .rsplit_once('/')
        .map_or("", |(directories, _)| directories);
    let mut found: Vec<Partition> = Vec::new();
    for component in directories.split('/') {
        let Some((name, value)) = component.split_once('=') else {
            continue;
        };
        let name = percent_decoded(name).into_owned();
        let known = found.iter().any(|partition| partition.name == name);
        if name.is_empty() || known || schema.column_with_name(&name).is_some() {
            continue;
        }
        let value = (value != HIVE_NULL).then(|| percent_decoded(value).into_owned());
        found.push(Partition { name, value });
    }
    found
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn directories_are_columns_unless_the_file_has_them() {
        let schema = Schema::new(vec![Field::new("day", DataType::Utf8, true)]);
        let found = partitions(
            "a/day=1/country=C%C3%B4te%20d/x=__HIVE_DEFAULT_PARTITION__/z=1.parquet",
            &schema,
        );
        assert_eq!(
            found,
            [
                Partition {
                    name: "country".into(),
                    value: Some("Côte d".into())
                },
                Partition {
                    name: "x".into(),
                    value: None
                },
            ]
        );
    }
}
