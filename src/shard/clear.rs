//! Which values of a shard are cleared, and how each column can lose them.
//!
//! ```text
//!   schema ── what stays (subject, time) and what goes ──> per leaf: nothing, or an Action
//!     the highest node that holds nothing that stays becomes null (empty, if it repeats): Null
//!     a leaf that has no such node above it can't be null: it gets its type's empty value: Empty
//!     a map that holds other keys as well loses elements: Keys
//!     a JSON object in a string loses members: Members
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::schema::types::{ColumnDescriptor, Type};

use super::Shard;
use super::chunk::erasure::Replaced;
use super::json::{is_object, without_members};
use super::schema::{is_list, is_map};
use super::sources::{Sources, looks_like_source};

/// What takes the place of a value.
type Edit = Arc<dyn Fn(&[u8]) -> Option<Replaced> + Send + Sync>;

/// What is cleared in the rows that a request matches.
#[derive(Debug, Clone, Copy)]
pub enum Cleared<'a> {
    /// Every column but those that stay.
    All,
    /// The source columns, and the source keys in maps and in these leaves of JSON objects.
    Sources(&'a Sources, &'a BTreeSet<usize>),
}

/// How a leaf loses its values.
#[derive(Clone)]
pub enum Action {
    /// Each instance of a node becomes null.
    Null {
        /// The largest repetition level outside of the node.
        repetition: u32,
        /// The definition level at which the node is the first that is not there.
        definition: u32,
    },
    /// Elements of a map go, by their keys.
    Keys {
        /// The leaf of the keys.
        key: usize,
        /// The repetition and definition level of an element.
        levels: (u32, u32),
        /// The keys that go.
        sources: Arc<Sources>,
        /// The map's path.
        path: String,
    },
    /// JSON objects lose members.
    Members(Edit),
    /// Values become the empty one of their type.
    Empty(Edit),
}

/// How each leaf of a shard loses its values.
#[derive(Debug, Clone, Default)]
pub struct Clearing {
    actions: Vec<Option<Action>>,
    /// Columns that can't be null, and get their type's empty value.
    required: Vec<String>,
    /// Configured names that are those of columns here.
    known: BTreeSet<String>,
    /// Columns that are configured to go but stay.
    kept: Vec<String>,
    /// Columns inside of a map that loses keys, which would have to lose something of their own.
    tangled: Vec<String>,
    /// Columns that have the name of a usual source, and stay.
    left: Vec<String>,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null { .. } => "Null",
            Self::Keys { .. } => "Keys",
            Self::Members(_) => "Members",
            Self::Empty(_) => "Empty",
        })
    }
}

impl Clearing {
    /// How the leaves of `shard` lose what is `cleared`; those in `stay` keep everything.
    pub fn of(shard: &Shard, cleared: Cleared<'_>, stay: &BTreeSet<usize>) -> Self {
        let schema = shard.footer.schema();
        let mut walk = Walk {
            cleared,
            stay,
            leaves: schema.columns().iter().map(AsRef::as_ref).collect(),
            done: Self::default(),
        };
        for field in schema.root_schema().get_fields() {
            walk.node(field, &Place::default());
        }
        walk.done
    }

    /// Columns that can't be null, and get their type's empty value.
    pub fn required(&self) -> &[String] {
        &self.required
    }

    /// Configured sources that say whose or when a row is.
    pub fn kept(&self) -> &[String] {
        &self.kept
    }

    /// Columns that have the name of a usual source, and stay.
    pub fn left(&self) -> &[String] {
        &self.left
    }

    /// Columns inside of a map that loses keys, which would have to lose something of their own: JSON objects, other
    /// maps, configured sources.
    pub fn tangled(&self) -> &[String] {
        &self.tangled
    }

    /// Whether a configured name is that of a column, or may be that of a key.
    pub fn knows(&self, name: &str) -> bool {
        let is_keyed = |action: &Option<Action>| {
            matches!(action, Some(Action::Keys { .. } | Action::Members(_)))
        };
        self.known.contains(name) || self.actions.iter().any(is_keyed)
    }

    /// How a leaf loses its values, if it loses some.
    pub fn action(&self, leaf: usize) -> Option<&Action> {
        self.actions.get(leaf)?.as_ref()
    }
}

/// What the children of a node are: fields, which users name, or nodes that lists and maps are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Fields,
    /// Up to the elements, whose children are fields again.
    List,
    Map,
}

/// Where a node of the schema stands.
#[derive(Debug, Clone, Default)]
struct Place {
    /// The path that users write, with lists and maps named by themselves.
    path: String,
    /// The path with all names.
    physical: String,
    /// The largest levels outside of it.
    repetition: u32,
    definition: u32,
    /// What its children are.
    inside: Inside,
    /// Its own name or one around it is that of a usual source.
    looks_like_source: bool,
    /// All of it goes, because something around it does.
    is_gone: bool,
    /// The levels at which the highest node around it that holds nothing that stays is null.
    null: Option<(u32, u32)>,
    /// The map around it, of which only some elements go.
    map: Option<Action>,
}

struct Walk<'a> {
    cleared: Cleared<'a>,
    stay: &'a BTreeSet<usize>,
    leaves: Vec<&'a ColumnDescriptor>,
    done: Clearing,
}

impl Walk<'_> {
    fn node(&mut self, node: &Type, around: &Place) {
        let info = node.get_basic_info();
        let (is_optional, is_repeated) = match info.has_repetition().then(|| info.repetition()) {
            Some(parquet::basic::Repetition::OPTIONAL) => (true, false),
            Some(parquet::basic::Repetition::REPEATED) => (false, true),
            _ => (false, false),
        };
        let mut place = around.clone();
        let joined = |path: &str| match path {
            "" => node.name().to_owned(),
            path => format!("{path}.{}", node.name()),
        };
        place.physical = joined(&around.physical);
        if around.inside == Inside::Fields {
            place.path = joined(&around.path);
        }
        let first = self.done.actions.len();
        let leaves = first..first + leaf_count(node);
        if let Cleared::Sources(sources, _) = self.cleared {
            // Other nodes are named by writers, not by users.
            let name = match around.inside {
                Inside::Fields => node.name(),
                Inside::List | Inside::Map => "",
            };
            place.looks_like_source |= looks_like_source(node.name());
            let by_path = |path: &str| sources.column(path, name);
            if let Some(known) = by_path(&place.physical).or_else(|| by_path(&place.path)) {
                place.is_gone = true;
                self.done.known.insert(known.to_owned());
                if around.map.is_some() {
                    self.done.tangled.push(place.physical.clone());
                }
            }
        }
        let is_all = matches!(self.cleared, Cleared::All) || place.is_gone;
        let holds_nothing = is_all && leaves.clone().all(|leaf| !self.stay.contains(&leaf));
        place.definition += u32::from(is_optional || is_repeated);
        place.repetition += u32::from(is_repeated);
        if holds_nothing && (is_optional || is_repeated) && place.null.is_none() {
            place.null = Some((around.repetition, around.definition));
        }
        if node.is_primitive() {
            let action = self.leaf(first, is_all, &place);
            self.done.actions.push(action);
            return;
        }
        if let Cleared::Sources(sources, _) = self.cleared
            && !is_all
            && is_map(node)
        {
            match (keys(node, first, &place, sources), &place.map) {
                (Some(_), Some(_)) => self.done.tangled.push(place.physical.clone()),
                (keys, None) => place.map = keys,
                (None, Some(_)) => {}
            }
        }
        place.inside = match around.inside {
            _ if is_map(node) => Inside::Map,
            _ if is_list(node) => Inside::List,
            Inside::List if !is_repeated || is_element(node) => Inside::Fields,
            // What the elements of a map lose besides can't be told apart from what they lose by their keys.
            Inside::Map if !is_repeated && around.map.is_none() => Inside::Fields,
            inside => inside,
        };
        for field in node.get_fields() {
            self.node(field, &place);
        }
    }

    fn leaf(&mut self, leaf: usize, is_gone: bool, place: &Place) -> Option<Action> {
        let descriptor = *self.leaves.get(leaf)?;
        if self.stay.contains(&leaf) {
            if let Cleared::Sources(sources, _) = self.cleared {
                if sources.names(&place.path) {
                    self.done.kept.push(place.path.clone());
                } else if place.looks_like_source {
                    self.done.left.push(place.path.clone());
                }
            }
            return None;
        }
        match (self.cleared, place.null) {
            (Cleared::Sources(sources, json), _) if !is_gone => {
                if place.looks_like_source {
                    let is_in_map = place.map.is_some();
                    let path = if is_in_map {
                        &place.physical
                    } else {
                        &place.path
                    };
                    self.done.left.push(path.clone());
                }
                if place.map.is_some() {
                    if json.contains(&leaf) {
                        self.done.tangled.push(place.physical.clone());
                    }
                    return place.map.clone();
                }
                json.contains(&leaf).then(|| {
                    let (sources, path) = (sources.clone(), place.path.clone());
                    Action::Members(Arc::new(move |value: &[u8]| {
                        let is_gone =
                            |inside: &str, key: &str| sources.name_key(&path, inside, key);
                        let value_left = without_members(value, is_gone)?;
                        Some(Replaced {
                            is_whole: value_left == b"{}" && !is_object(value),
                            value: value_left,
                        })
                    }))
                })
            }
            (_, Some((repetition, definition))) => Some(Action::Null {
                repetition,
                definition,
            }),
            (_, None) => {
                self.done.required.push(place.path.clone());
                let empty = empty_value(descriptor);
                Some(Action::Empty(Arc::new(move |value: &[u8]| {
                    (value != empty).then(|| Replaced {
                        value: empty.clone(),
                        is_whole: false,
                    })
                })))
            }
        }
    }
}

/// How the leaves of a map lose elements; `None` if its keys are no text.
fn keys(node: &Type, first: usize, place: &Place, sources: &Sources) -> Option<Action> {
    let [elements] = node.get_fields() else {
        return None;
    };
    let key = elements
        .is_group()
        .then(|| elements.get_fields().first())??;
    if !key.is_primitive() || key.get_physical_type() != Physical::BYTE_ARRAY {
        return None;
    }
    Some(Action::Keys {
        key: first,
        levels: (place.repetition + 1, place.definition + 1),
        sources: Arc::new(sources.clone()),
        path: place.path.clone(),
    })
}

/// Whether a repeated node of a list is an element itself, rather than the place of one: so old writers had it.
fn is_element(node: &Type) -> bool {
    node.is_group()
        && (node.get_fields().len() > 1
            || node.name() == "array"
            || node.name().ends_with("_tuple"))
}

fn leaf_count(node: &Type) -> usize {
    if node.is_primitive() {
        return 1;
    }
    node.get_fields()
        .iter()
        .map(|field| leaf_count(field))
        .sum()
}

/// What stands for nothing in a column that can't be null.
fn empty_value(descriptor: &ColumnDescriptor) -> Vec<u8> {
    let is = |logical: &LogicalType, converted| {
        descriptor.logical_type_ref() == Some(logical) || descriptor.converted_type() == converted
    };
    match descriptor.physical_type() {
        Physical::BOOLEAN => vec![0],
        Physical::INT32 | Physical::FLOAT => vec![0; 4],
        Physical::INT64 | Physical::DOUBLE => vec![0; 8],
        Physical::INT96 => vec![0; 12],
        Physical::FIXED_LEN_BYTE_ARRAY => {
            vec![0; usize::try_from(descriptor.type_length()).unwrap_or(0)]
        }
        // No text and no document is neither JSON nor BSON.
        Physical::BYTE_ARRAY if is(&LogicalType::Json, ConvertedType::JSON) => b"null".to_vec(),
        Physical::BYTE_ARRAY if is(&LogicalType::Bson, ConvertedType::BSON) => vec![5, 0, 0, 0, 0],
        // A decimal of no bytes is none.
        Physical::BYTE_ARRAY if descriptor.type_precision() > 0 => vec![0],
        Physical::BYTE_ARRAY => Vec::new(),
    }
}
