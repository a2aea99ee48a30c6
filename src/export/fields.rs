//! The fields of a schema that aren't inside of a list or a map, by their dotted paths.

use arrow::datatypes::{DataType, Field, Fields, Schema};

/// Where the column with this dotted path is.
pub(super) fn column_at(schema: &Schema, path: &str) -> Option<Vec<usize>> {
    let mut found = None;
    layout(
        schema.fields(),
        "",
        false,
        &mut Vec::new(),
        &mut |known, _, place, _| {
            if known == path {
                found = Some(place.to_vec());
            }
            false
        },
    );
    found
}

/// Shows each column that is no struct, with its dotted path, in the order of the leaves.
pub(super) fn walk(fields: &Fields, see: &mut impl FnMut(&str, &Field)) {
    layout(
        fields,
        "",
        false,
        &mut Vec::new(),
        &mut |path, field, _, _| {
            if !matches!(field.data_type(), DataType::Struct(_)) {
                see(path, field);
            }
            false
        },
    );
}

/// Shows every field that isn't inside of a list or a map: its path, where it is, and what was said of the one
/// around it; `see` says something of it to those inside.
pub(super) fn layout(
    fields: &Fields,
    around: &str,
    said: bool,
    place: &mut Vec<usize>,
    see: &mut impl FnMut(&str, &Field, &[usize], bool) -> bool,
) {
    for (number, field) in fields.iter().enumerate() {
        let path = match around {
            "" => field.name().clone(),
            around => format!("{around}.{}", field.name()),
        };
        place.push(number);
        let said = see(&path, field, place, said);
        if let DataType::Struct(fields) = field.data_type() {
            layout(fields, &path, said, place, see);
        }
        place.pop();
    }
}
