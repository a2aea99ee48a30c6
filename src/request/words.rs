//! The choices of a request, spelled the same everywhere: in files, in messages and by whoever reads them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

macro_rules! choice {
    (
        $(#[$meta:meta])*
        $name:ident ($field:literal) {
            $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// All that there are.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// How it is spelled.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(word: &str) -> Result<Self> {
                Self::ALL
                    .iter()
                    .find(|choice| choice.as_str() == word)
                    .copied()
                    .ok_or_else(|| Error::Choice {
                        field: $field,
                        found: word.to_owned(),
                        choices: &[$($word),+],
                    })
            }
        }
    };
}

choice! {
    /// What is to be done.
    Kind ("kind") {
        /// Stream out the rows.
        Export = "export",
        /// Rewrite the shards without them.
        Delete = "delete",
    }
}

choice! {
    /// The law that a request is made under.
    #[derive(Default)]
    Regulation ("regulation") {
        /// Everything that is held.
        #[default]
        Gdpr = "gdpr",
        /// An export covers the previous year only.
        Ccpa = "ccpa",
    }
}

choice! {
    /// How much of the matching rows a request is about.
    #[derive(Default)]
    Disclosure ("disclosure") {
        /// The rows.
        #[default]
        Data = "data",
        /// Which columns hold anything.
        Categories = "categories",
        /// How the data was collected.
        Sources = "sources",
    }
}

choice! {
    /// Which ids a submitted id covers beyond itself.
    #[derive(Default)]
    Identity ("identity") {
        /// Those that it maps to, transitively.
        #[default]
        Forward = "forward",
        /// Those of its whole connected component.
        Cluster = "cluster",
        /// None.
        Exact = "exact",
    }
}

choice! {
    /// What becomes of a request with ids that are nowhere in the dataset.
    #[derive(Default)]
    Unknown ("unknown") {
        /// It is refused whole.
        #[default]
        Refuse = "refuse",
        /// The rest is carried out, and they are reported.
        Report = "report",
    }
}

choice! {
    /// What becomes of a column that must be cleared but can't hold null.
    #[derive(Default)]
    RequiredColumns ("required_columns") {
        /// The request is refused.
        #[default]
        Refuse = "refuse",
        /// It gets the empty value of its type: 0, false, no text, bytes of 0.
        Default = "default",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back<T>(all: &[T])
    where
        T: Copy + PartialEq + fmt::Debug + fmt::Display + FromStr<Err = Error>,
        T: Serialize + for<'de> Deserialize<'de>,
    {
        for choice in all {
            let word = choice.to_string();
            assert_eq!(word.parse::<T>().unwrap(), *choice);
            let json = serde_json::to_string(choice).unwrap();
            assert_eq!(json, format!("\"{word}\""));
            assert_eq!(serde_json::from_str::<T>(&json).unwrap(), *choice);
        }
    }

    #[test]
    fn every_choice_reads_back_as_itself() {
        read_back(Kind::ALL);
        read_back(Regulation::ALL);
        read_back(Disclosure::ALL);
        read_back(Identity::ALL);
        read_back(Unknown::ALL);
        read_back(RequiredColumns::ALL);
    }

    #[test]
    fn an_unknown_word_is_told_with_the_known_ones() {
        let error = "GDPR".parse::<Regulation>().unwrap_err().to_string();
        assert_eq!(error, "regulation: \"GDPR\" is none of gdpr, ccpa");
    }
}
