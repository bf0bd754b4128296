//! Every table and key of the configuration, once: what unknown keys are told by, where defaults come from, and what
//! `docs/configuration.md` is made of.

mod channels;
mod gateway;
mod hub;
mod link;
mod lora;
mod mqtt;
mod radio;
mod rules;
mod siren;
mod storage;
mod uplink;

pub(super) use gateway::ROOT;
pub(super) use hub::HUB;
pub(super) use mqtt::{ENCODINGS, FORMATS};

/// A table of the configuration.
#[derive(Debug)]
pub(super) struct Table {
    /// How its header is written, such as `[node.NAME]`.
    pub(super) header: &'static str,
    /// What it is for.
    pub(super) doc: &'static str,
    /// Its keys.
    pub(super) keys: &'static [Key],
    /// A table whose keys it has as well.
    pub(super) also: Option<&'static Table>,
}

impl Table {
    /// Returns every key, in the order of the reference.
    pub(super) fn all_keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().chain(self.also.into_iter().flat_map(|also| also.keys))
    }

    /// Returns the key of that name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.all_keys().find(|key| key.name == name)
    }
}

/// One key of a table.
#[derive(Debug)]
pub(super) struct Key {
    /// As written.
    pub(super) name: &'static str,
    /// What its value is.
    pub(super) kind: Kind,
    /// What holds when it is not written.
    pub(super) otherwise: Otherwise,
    /// What it means, in one or two sentences.
    pub(super) doc: &'static str,
}

/// What holds when a key is not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// It must be written.
    Required,
    /// Then there is none.
    Absent,
    /// This value, as it would be written.
    Default(&'static str),
    /// What is worked out from other keys, in words.
    Derived(&'static str),
}

/// What the value of a key is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Text for people, not empty.
    Text,
    /// A name: lower-case letters, digits, `-` and `_`.
    Name,
    /// A BCP 47 language tag, such as `sw`.
    Language,
    /// A file or folder.
    Path,
    /// `true` or `false`.
    Bool,
    /// A whole number between these.
    Whole(u32, u32),
    /// A number, perhaps with a fraction.
    Number,
    /// A time such as `"15 min"`; may be zero.
    Duration,
    /// A time longer than zero.
    Span,
    /// How many in what time, such as `"10 per min"`.
    Rate,
    /// Bytes, such as `"64 KiB"`.
    Size,
    /// An IP address and a port.
    Address,
    /// A number with a unit of the quantity.
    Amount,
    /// The lower and the upper end of a band, each a number with a unit.
    Band,
    /// An amount and a currency, such as `"22 TZS"`.
    Price,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Several of those.
    List(&'static Kind),
    /// A text for each language.
    Texts,
    /// Names with texts.
    Settings,
    /// Names with files.
    Paths,
    /// A table.
    Table(&'static Table),
    /// Tables, each with a name.
    Named(&'static Table),
    /// A list of tables.
    Tables(&'static Table),
}

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, otherwise: Otherwise::Required, doc }
}

const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, otherwise: Otherwise::Absent, doc }
}

const fn default(name: &'static str, kind: Kind, written: &'static str, doc: &'static str) -> Key {
    Key { name, kind, otherwise: Otherwise::Default(written), doc }
}

const fn derived(name: &'static str, kind: Kind, words: &'static str, doc: &'static str) -> Key {
    Key { name, kind, otherwise: Otherwise::Derived(words), doc }
}
