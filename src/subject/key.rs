//! The secret key of a dataset, under which receipts and the suppression list hash subject ids.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Form, SubjectId};

/// What [`KeyId`] hashes under a key.
const ID_OF: &[u8] = b"efface: the id of a key";

/// A dataset's secret key: without it nobody can try whether an id is among the hashes of receipts and of the
/// suppression list. Keys that it took the place of stay with it, so that older hashes are still found. `Debug` prints
/// nothing of any of them.
#[derive(Clone)]
pub struct SubjectKey {
    bytes: [u8; 32],
    /// The latest first.
    earlier: Vec<[u8; 32]>,
}

/// Tells keys apart: the front of a hash of a constant under the key, of which nobody learns the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 8]);

/// BLAKE3 of the canonical bytes of an id in one form, under a [`SubjectKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyedHash([u8; 32]);

impl SubjectKey {
    /// A key from its bytes, which should be random.
    pub fn new(bytes: [u8; 32]) -> Self {
        let earlier = Vec::new();
        Self { bytes, earlier }
    }

    /// A key that nobody knows: drawn from the randomness with which the standard library seeds its hash maps.
    pub fn random() -> Self {
        let mut hasher = blake3::Hasher::new();
        for number in 0_u64..8 {
            let drawn = RandomState::new().hash_one(number);
            hasher.update(&drawn.to_le_bytes());
        }
        Self::new(*hasher.finalize().as_bytes())
    }

    /// The key of its text form: 64 hexadecimal digits. Earlier keys follow in lines of their own.
    pub fn from_hex(text: &str) -> Option<Self> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines.map(|line| Some(*blake3::Hash::from_hex(line).ok()?.as_bytes()));
        let mut keys = keys.collect::<Option<Vec<[u8; 32]>>>()?.into_iter();
        Some(Self {
            bytes: keys.next()?,
            earlier: keys.collect(),
        })
    }

    /// Its text form. It must not reach a message or a log.
    pub fn to_hex(&self) -> String {
        let lines = self.all().map(|bytes| blake3::Hash::from_bytes(*bytes));
        let lines: Vec<String> = lines.map(|hash| hash.to_hex().to_string()).collect();
        lines.join("\n")
    }

    /// What tells it from other keys.
    pub fn id(&self) -> KeyId {
        id_of(&self.bytes)
    }

    /// How many keys it took the place of.
    pub fn earlier(&self) -> usize {
        self.earlier.len()
    }

    /// Whether this is the key `id`, or one of the earlier ones is.
    pub fn knows(&self, id: KeyId) -> bool {
        self.all().any(|bytes| id_of(bytes) == id)
    }

    /// The key `id`, with all others as earlier ones; `None` if it is none of them.
    #[must_use]
    pub fn as_of(&self, id: KeyId) -> Option<Self> {
        let bytes = self.all().find(|bytes| id_of(bytes) == id)?;
        let earlier = self.all().filter(|other| *other != bytes);
        Some(Self {
            bytes: *bytes,
            earlier: earlier.copied().collect(),
        })
    }

    /// `new` in the place of this key, which becomes an earlier one.
    #[must_use]
    pub fn replaced_by(&self, new: &Self) -> Self {
        let earlier = self.all().filter(|bytes| **bytes != new.bytes);
        Self {
            bytes: new.bytes,
            earlier: earlier.copied().collect(),
        }
    }

    /// The hash of canonical bytes; equal bytes in different forms have different hashes.
    pub fn hash(&self, form: Form, canonical: &[u8]) -> KeyedHash {
        hash(&self.bytes, form, canonical)
    }

    /// The hash of an id as it was submitted, which receipts hold.
    pub fn hash_of(&self, id: &SubjectId) -> KeyedHash {
        self.hash(Form::Text, id.reveal().as_bytes())
    }

    /// The hashes of an id in each of its forms, under this key and under the earlier ones: two ids that mean the same
    /// anywhere have one in common.
    pub fn hashes_of<'a>(&'a self, id: &'a SubjectId) -> impl Iterator<Item = KeyedHash> + 'a {
        let forms = Form::ALL.into_iter();
        let forms = forms.filter_map(|form| Some((form, id.canonical(form)?)));
        forms.flat_map(|(form, canonical)| {
            let hashes: Vec<KeyedHash> = self.hashes(form, &canonical).collect();
            hashes
        })
    }

    /// The hashes of canonical bytes under this key and under the earlier ones.
    pub fn hashes<'a>(
        &'a self,
        form: Form,
        canonical: &'a [u8],
    ) -> impl Iterator<Item = KeyedHash> + 'a {
        self.all().map(move |bytes| hash(bytes, form, canonical))
    }

    fn all(&self) -> impl Iterator<Item = &[u8; 32]> {
        std::iter::once(&self.bytes).chain(&self.earlier)
    }
}

fn id_of(key: &[u8; 32]) -> KeyId {
    let hash = blake3::keyed_hash(key, ID_OF);
    // A hash is longer.
    let front = hash.as_bytes().first_chunk();
    KeyId(front.copied().unwrap_or_default())
}

fn hash(key: &[u8; 32], form: Form, canonical: &[u8]) -> KeyedHash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&[match form {
        Form::Text => 0,
        Form::Number => 1,
        Form::Uuid => 2,
    }]);
    hasher.update(canonical);
    KeyedHash(*hasher.finalize().as_bytes())
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(..)")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let number = u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl Serialize for KeyedHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyedHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let hash = blake3::Hash::from_hex(text.as_bytes()).map_err(serde::de::Error::custom)?;
        Ok(Self(*hash.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_hashes_depend_on_key_form_and_bytes_and_read_back() {
        let key = SubjectKey::new([7; 32]);
        let hash = key.hash(Form::Text, b"7");
        assert_eq!(hash, key.hash_of(&SubjectId::new("7")));
        assert_ne!(hash, key.hash(Form::Number, b"7"));
        assert_ne!(hash, key.hash(Form::Text, b"8"));
        assert_ne!(hash, SubjectKey::random().hash(Form::Text, b"7"));
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<KeyedHash>(&json).unwrap(), hash);
        let again = SubjectKey::from_hex(&key.to_hex()).unwrap();
        assert_eq!(again.hash(Form::Text, b"7"), hash);
        assert_eq!(format!("{key:?}"), "SubjectKey(..)");
    }

    #[test]
    fn a_key_that_was_replaced_is_still_known_and_reads_back() {
        let [first, second, other] = [1, 2, 3].map(|byte| SubjectKey::new([byte; 32]));
        let key = first.replaced_by(&second);
        assert_eq!(key.id(), second.id());
        assert!(key.knows(first.id()) && key.knows(second.id()) && !key.knows(other.id()));
        let hashes: Vec<KeyedHash> = key.hashes(Form::Text, b"7").collect();
        assert_eq!(
            hashes,
            [&second, &first].map(|key| key.hash(Form::Text, b"7"))
        );
        let again = SubjectKey::from_hex(&key.to_hex()).unwrap();
        assert_eq!(again.to_hex(), key.to_hex());
        let back = key.as_of(first.id()).unwrap();
        assert_eq!(back.hash(Form::Text, b"7"), first.hash(Form::Text, b"7"));
        assert!(back.knows(second.id()) && key.as_of(other.id()).is_none());
        assert_eq!(key.replaced_by(&second).to_hex(), key.to_hex());
        let json = serde_json::to_string(&key.id()).unwrap();
        assert_eq!(serde_json::from_str::<KeyId>(&json).unwrap(), second.id());
        for wrong in ["", "\n", "12", &format!("{}\nxyz", first.to_hex())] {
            assert!(SubjectKey::from_hex(wrong).is_none(), "{wrong:?}");
        }
    }
}
