//! What is wrong with a request.

/// Why a column that a request must clear can't be cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CannotClear {
    /// Its values are names of directories.
    #[error("it is a directory of the shard's path: move its rows to another one")]
    Partition,
    /// It is a subject or a time column.
    #[error("it says whose or when a row is, which stays: take it out of the sources")]
    Role,
    /// It is JSON inside of a map.
    #[error("it is JSON inside of a map, of which only the map's keys can be taken out")]
    Tangled,
    /// Its type has no null; [`RequiredColumns::Default`](crate::request::RequiredColumns::Default) allows another value.
    #[error("its type can't hold null (required_columns = default writes the type's empty value)")]
    Required,
}
