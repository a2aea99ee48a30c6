//! The path that an error is about. It may hold an id.

use super::Error;
use crate::subject::names::Names;

impl Error {
    /// The error with `*` in the place of names of its path that hold an id.
    #[must_use]
    pub(crate) fn shown(mut self, names: &Names) -> Self {
        if let Self::SchemaConflict {
            left_path,
            right_path,
            ..
        } = &mut self
        {
            for path in [left_path, right_path] {
                *path = names.shown(path).into_owned();
            }
        } else if let Some(path) = self.path_mut() {
            *path = names.shown(path).into_owned();
        }
        self
    }

    /// What it says, with `*` in the place of names of its path that hold an id.
    pub(crate) fn told(&self, names: &Names) -> String {
        let text = self.to_string();
        match self.path() {
            Some(path) => text.replace(path, &names.shown(path)),
            None => text,
        }
    }

    fn path(&self) -> Option<&str> {
        match self {
            Self::Held { source, .. } => source.path(),
            Self::Io { path, .. }
            | Self::Shard { path, .. }
            | Self::State { path, .. }
            | Self::MissingColumn { path, .. }
            | Self::AmbiguousColumn { path, .. }
            | Self::ColumnType { path, .. }
            | Self::NoTimeUnit { path, .. }
            | Self::NoSuchRow { path, .. }
            | Self::NoSuchRowGroup { path, .. }
            | Self::NoTimeColumn { path, .. }
            | Self::CannotBeNull { path, .. }
            | Self::Place { path, .. }
            | Self::ShardChanged { path, .. }
            | Self::CheckFailed { path, .. }
            | Self::Internal { path, .. } => Some(path),
            _ => None,
        }
    }

    fn path_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Held { source, .. } => source.path_mut(),
            Self::Io { path, .. }
            | Self::Shard { path, .. }
            | Self::State { path, .. }
            | Self::MissingColumn { path, .. }
            | Self::AmbiguousColumn { path, .. }
            | Self::ColumnType { path, .. }
            | Self::NoTimeUnit { path, .. }
            | Self::NoSuchRow { path, .. }
            | Self::NoSuchRowGroup { path, .. }
            | Self::NoTimeColumn { path, .. }
            | Self::CannotBeNull { path, .. }
            | Self::Place { path, .. }
            | Self::ShardChanged { path, .. }
            | Self::CheckFailed { path, .. }
            | Self::Internal { path, .. } => Some(path),
            _ => None,
        }
    }
}
