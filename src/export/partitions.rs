//! The columns that the directories of a shard's path stand for: `day=2024-01-01` is data held about its rows.

use arrow::datatypes::Schema;

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
        let name = percent_decoded(name);
        let known = found.iter().any(|partition| partition.name == name);
        if name.is_empty() || known || schema.column_with_name(&name).is_some() {
            continue;
        }
        let value = (value != HIVE_NULL).then(|| percent_decoded(value));
        found.push(Partition { name, value });
    }
    found
}

/// `text` with its `%XX` decoded, or as it is when that isn't UTF-8.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%'
            && let Some(([high, low], after)) = after
                .split_first_chunk::<2>()
                .map(|(pair, rest)| (*pair, rest))
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
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

    #[test]
    fn a_broken_percent_escape_stays_as_it_is() {
        assert_eq!(percent_decoded("100%"), "100%");
        assert_eq!(percent_decoded("%zz%4"), "%zz%4");
        assert_eq!(percent_decoded("%ff"), "%ff");
    }
}
