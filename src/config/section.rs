//! Reads the tables of the files by the tables of [`keys`](super::keys): every key is checked once, where it is met.

use super::amount::{self, Complaint, complain, list_text, nearest};
use super::document::{Entry, Faults, Place, Written};
use super::keys::{Kind, Otherwise, Table};
use super::settings::{Price, Rate};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// A table as written. Making it reports what is wrong with its keys and their values; reading it afterwards gives
/// stand-ins where something was wrong, so that the rest is looked at in the same run.
#[derive(Clone)]
pub(super) struct Section<'d> {
    /// Its name when it is one of several, else empty.
    pub(super) name: &'d str,
    /// Where it is named.
    pub(super) place: Place,
    table: &'static Table,
    entries: Vec<Entry<'d>>,
    faults: &'d Faults<'d>,
}

impl<'d> Section<'d> {
    /// Reads the entries of one table of the files and checks each.
    pub(super) fn new(
        name: &'d str,
        place: Place,
        entries: Vec<Entry<'d>>,
        table: &'static Table,
        faults: &'d Faults<'d>,
    ) -> Self {
        let section = Self { name, place, table, entries, faults };
        for entry in &section.entries {
            match table.key(entry.key) {
                Some(key) => check(&key.kind, &entry.written, faults),
                None => section.unknown(entry),
            }
        }
        for key in table.all_keys() {
            if key.otherwise == Otherwise::Required && section.written(key.name).is_none() {
                let what = if table.header.is_empty() { "the file" } else { table.header };
                faults.missing(
                    place,
                    format!("{what} has no `{}`", key.name),
                    format!("add it: {}", key.doc),
                );
            }
        }
        section
    }

    /// Says that the table has no such key, and what was probably meant.
    fn unknown(&self, entry: &Entry<'d>) {
        let names: Vec<&str> = self.table.all_keys().map(|key| key.name).collect();
        let as_file = format!("{}_file", entry.key);
        if names.contains(&as_file.as_str()) {
            self.faults.secret(
                entry.key_place,
                format!("`{}` is a secret, and no secret stands in the configuration", entry.key),
                format!("put it into a file that only the gateway can read, and name that with `{as_file}`"),
            );
            return;
        }
        let help = match nearest(entry.key, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the keys here are {}", list_text(&names, "and")),
        };
        self.faults.error(entry.key_place, format!("unknown key `{}`", entry.key), help);
    }

    /// Returns what is written for `key`.
    pub(super) fn written(&self, key: &str) -> Option<Written<'d>> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.written)
    }

    /// Returns where `key` has its value, else where the table is named.
    pub(super) fn place_of(&self, key: &str) -> Place {
        self.written(key).map_or(self.place, |written| written.place)
    }

    /// Returns where `key` itself stands, else where the table is named.
    pub(super) fn key_place(&self, key: &str) -> Place {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.map_or(self.place, |entry| entry.key_place)
    }

    /// Returns the value of `key`, else its default, else a stand-in.
    pub(super) fn get<T: Read + Default>(&self, key: &str) -> T {
        if let Some(written) = self.written(key) {
            return T::read(written.value).unwrap_or_default();
        }
        match self.table.key(key).map(|key| &key.otherwise) {
            Some(Otherwise::Default(text)) => DeValue::parse(text)
                .ok()
                .and_then(|value| T::read(value.get_ref()).ok())
                .unwrap_or_default(),
            Some(Otherwise::Required | Otherwise::Absent | Otherwise::Derived(_)) | None => {
                T::default()
            }
        }
    }

    /// Returns the value of `key` when it is written and sound.
    pub(super) fn opt<T: Read>(&self, key: &str) -> Option<T> {
        self.written(key).and_then(|written| T::read(written.value).ok())
    }

    /// Returns the small number at `key`, else its default.
    pub(super) fn small(&self, key: &str) -> u8 {
        u8::try_from(self.get::<u32>(key)).unwrap_or(u8::MAX)
    }

    /// Returns the names of the tables at `key`, each with its place.
    pub(super) fn named_places(&self, key: &str) -> Vec<(&'d str, Place)> {
        let all = self.entries.iter().filter(|entry| entry.key == key);
        all.flat_map(|entry| entry.written.entries()).map(|e| (e.key, e.key_place)).collect()
    }

    /// Returns the sound elements of the list at `key`, each with its place.
    pub(super) fn list<T: Read>(&self, key: &str) -> Vec<(T, Place)> {
        let elements = self.written(key).into_iter().flat_map(|written| written.elements());
        elements.filter_map(|e| Some((T::read(e.value).ok()?, e.place))).collect()
    }

    /// Returns the texts of the table at `key`, by language.
    pub(super) fn texts(&self, key: &str) -> Vec<(&'d str, &'d str, Place)> {
        let entries = self.written(key).map(|written| written.entries()).unwrap_or_default();
        entries.iter().filter_map(|e| Some((e.key, e.written.text()?, e.written.place))).collect()
    }

    /// Returns the table at `key`; an empty one, whose keys have their defaults, when it is not written.
    pub(super) fn child_or_empty(&self, key: &str) -> Section<'d> {
        self.child(key).unwrap_or_else(|| {
            let table = match self.table.key(key).map(|key| &key.kind) {
                Some(Kind::Table(table)) => table,
                Some(_) | None => self.table,
            };
            Section { name: "", place: self.place, table, entries: Vec::new(), faults: self.faults }
        })
    }

    /// Returns the table at `key`.
    pub(super) fn child(&self, key: &str) -> Option<Section<'d>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let Some(Kind::Table(table)) = self.table.key(key).map(|key| &key.kind) else {
            return None;
        };
        entry.written.value.as_table()?;
        let entries = entry.written.entries();
        Some(Section::new("", entry.key_place, entries, table, self.faults))
    }

    /// Returns the named tables at `key`, as they stand in the file.
    pub(super) fn named(&self, key: &str) -> Vec<Section<'d>> {
        let Some(Kind::Named(table)) = self.table.key(key).map(|key| &key.kind) else {
            return Vec::new();
        };
        let all = self.entries.iter().filter(|entry| entry.key == key);
        all.flat_map(|entry| entry.written.entries())
            .filter(|entry| entry.written.value.is_table())
            .map(|e| Section::new(e.key, e.key_place, e.written.entries(), table, self.faults))
            .collect()
    }

    /// Returns the tables of the list at `key`, as they stand in the file.
    pub(super) fn tables(&self, key: &str) -> Vec<Section<'d>> {
        let Some(Kind::Tables(table)) = self.table.key(key).map(|key| &key.kind) else {
            return Vec::new();
        };
        let all = self.entries.iter().filter(|entry| entry.key == key);
        all.flat_map(|entry| entry.written.elements())
            .filter(|element| element.value.is_table())
            .map(|e| Section::new("", e.place, e.entries(), table, self.faults))
            .collect()
    }
}

/// Reports what is wrong with a value of that kind. What stands in tables is checked by the section made of them.
fn check(kind: &Kind, written: &Written<'_>, faults: &Faults<'_>) {
    let error =
        |complaint: Complaint, place| faults.error(place, complaint.message, complaint.help);
    if let Err(complaint) = check_value(kind, written.value) {
        error(complaint, written.place);
        return;
    }
    match kind {
        Kind::List(of) => written.elements().for_each(|element| check(of, &element, faults)),
        Kind::Band => written.elements().for_each(|end| check(&Kind::Amount, &end, faults)),
        Kind::Texts => {
            for entry in written.entries() {
                if let Err(complaint) = language(entry.key) {
                    error(complaint, entry.key_place);
                }
                check(&Kind::Text, &entry.written, faults);
            }
        }
        Kind::Settings | Kind::Paths => {
            written.entries().iter().for_each(|entry| check(&Kind::Text, &entry.written, faults));
        }
        Kind::Named(_) => {
            for entry in written.entries() {
                if !entry.written.value.is_table() {
                    let help = "write `NAME = { … }`, or a table header of its own";
                    faults.error(entry.written.place, format!("`{}` is no table", entry.key), help);
                }
            }
        }
        Kind::Tables(_) => {
            for element in written.elements().filter(|element| !element.value.is_table()) {
                faults.error(element.place, "this is no table", "write `{ … }`");
            }
        }
        Kind::Text
        | Kind::Name
        | Kind::Language
        | Kind::Path
        | Kind::Bool
        | Kind::Whole(..)
        | Kind::Number
        | Kind::Duration
        | Kind::Span
        | Kind::Rate
        | Kind::Size
        | Kind::Address
        | Kind::Amount
        | Kind::Price
        | Kind::OneOf(_)
        | Kind::Table(_) => {}
    }
}

/// Checks one value by itself.
fn check_value(kind: &Kind, value: &DeValue<'_>) -> Result<(), Complaint> {
    match kind {
        Kind::Text | Kind::Path => String::read(value).map(drop),
        Kind::Name => name(&String::read(value)?),
        Kind::Language => language(&String::read(value)?),
        Kind::Bool => bool::read(value).map(drop),
        Kind::Whole(low, high) => match u32::read(value) {
            Ok(number) if (low..=high).contains(&&number) => Ok(()),
            Ok(_) | Err(_) => complain(
                format!("{} is no whole number from {low} to {high}", shown(value)),
                if value.is_str() { "write it without quotes" } else { "choose one between them" },
            ),
        },
        Kind::Number => f64::read(value).map(drop),
        Kind::Duration => Duration::read(value).map(drop),
        Kind::Span if Duration::read(value)?.is_zero() => {
            complain("this must be longer than zero", "write such as \"15 min\"")
        }
        Kind::Rate => Rate::read(value).map(drop),
        Kind::Size => Bytes::read(value).map(drop),
        Kind::Address => SocketAddr::read(value).map(drop),
        // Which units are right depends on the quantity: whoever knows it looks closer.
        Kind::Amount => match value {
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) => Ok(()),
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                wrong_type(value, "a number with a unit", "write such as \"2.4 m\"")
            }
        },
        Kind::Band => match value.as_array() {
            Some(ends) if ends.len() == 2 => Ok(()),
            Some(_) | None => complain(
                "a band has a lower and an upper end",
                "write such as [\"10 °C\", \"30 °C\"]",
            ),
        },
        Kind::Price => Price::read(value).map(drop),
        Kind::OneOf(words) => one_of(words, value).map(drop),
        Kind::List(_) | Kind::Tables(_) if !value.is_array() => {
            wrong_type(value, "a list", "write it in [ and ]")
        }
        Kind::Table(_) | Kind::Named(_) | Kind::Texts | Kind::Settings | Kind::Paths
            if !value.is_table() =>
        {
            wrong_type(value, "a table", "write `NAME = …` lines under a header, or { NAME = … }")
        }
        Kind::Span
        | Kind::List(_)
        | Kind::Tables(_)
        | Kind::Table(_)
        | Kind::Named(_)
        | Kind::Texts
        | Kind::Settings
        | Kind::Paths => Ok(()),
    }
}

/// Returns which of `words` is written.
pub(super) fn one_of(
    words: &[&'static str],
    value: &DeValue<'_>,
) -> Result<&'static str, Complaint> {
    let written = String::read(value)?;
    if let Some(word) = words.iter().find(|word| **word == written) {
        return Ok(word);
    }
    let choices = list_text(words, "or");
    let help = match nearest(&written, words.iter().copied()) {
        Some(near) => format!("did you mean \"{near}\"? It is one of {choices}"),
        None => format!("write {choices}"),
    };
    complain(format!("\"{written}\" cannot stand here"), help)
}

/// Checks a name: what stands in topics, texts and file names without quoting.
pub(super) fn name(written: &str) -> Result<(), Complaint> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if !written.is_empty() && written.len() <= NAME_BYTES_MAX && written.chars().all(sound) {
        return Ok(());
    }
    complain(
        format!("\"{written}\" is no name"),
        format!("use lower-case letters, digits, - and _, at most {NAME_BYTES_MAX} of them"),
    )
}

/// Longest name: fits a topic level, a host name and a column on screen.
const NAME_BYTES_MAX: usize = 63;

/// Checks the form of a language tag: RFC 5646 §2.1, primary subtag of two or three letters, then others.
fn language(written: &str) -> Result<(), Complaint> {
    let mut parts = written.split('-');
    let primary = parts.next().unwrap_or_default();
    let sound = (2..=3).contains(&primary.len())
        && primary.bytes().all(|b| b.is_ascii_lowercase())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        });
    if sound {
        return Ok(());
    }
    complain(
        format!("\"{written}\" is no language tag"),
        "write two or three lower-case letters, such as \"sw\" or \"en\"",
    )
}

/// A value of the file that becomes one of ours.
pub(super) trait Read: Sized {
    /// Reads it, or says what is wrong with it.
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint>;
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(at) => at.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn wrong_type<T>(value: &DeValue<'_>, wanted: &str, help: &str) -> Result<T, Complaint> {
    complain(format!("{} stands where {wanted} belongs", shown(value)), help)
}

impl Read for String {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        match value.as_str() {
            Some(text) if text.trim().is_empty() => {
                complain("there is nothing between the quotes", "write a text, or remove the key")
            }
            Some(text) => Ok(text.to_owned()),
            None => wrong_type(value, "a text", "write it in double quotes"),
        }
    }
}

impl Read for PathBuf {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        String::read(value).map(PathBuf::from)
    }
}

impl Read for bool {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        match value.as_bool() {
            Some(value) => Ok(value),
            None => wrong_type(value, "true or false", "write true or false, without quotes"),
        }
    }
}

impl Read for u32 {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        let integer = value.as_integer();
        match integer.and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok()) {
            Some(number) => Ok(number),
            None => wrong_type(value, "a whole number", "write it without quotes"),
        }
    }
}

impl Read for f64 {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        let written = match value {
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => String::new(),
        };
        match written.replace('_', "").parse() {
            Ok(number) if Self::is_finite(number) => Ok(number),
            Ok(_) | Err(_) => wrong_type(value, "a number", "write such as 0.1, without quotes"),
        }
    }
}

impl Read for Duration {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        match value.as_str() {
            Some(text) => amount::duration(text),
            None => wrong_type(value, "a duration", "write it with a unit, such as \"15 min\""),
        }
    }
}

impl Read for Rate {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        match value.as_str() {
            Some(text) => amount::rate(text),
            None => wrong_type(value, "a rate", "write such as \"10 per min\""),
        }
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

impl Read for Bytes {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        match value.as_str() {
            Some(text) => amount::size(text).map(Self),
            None => wrong_type(value, "a size", "write it with a unit, such as \"64 KiB\""),
        }
    }
}

impl Read for SocketAddr {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        let text = String::read(value)?;
        text.parse().or_else(|_| {
            complain(
                format!("\"{text}\" is no address"),
                "write an IP address and a port, such as \"127.0.0.1:1883\" or \"[::1]:1883\"",
            )
        })
    }
}

impl Read for Price {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        let text = String::read(value)?;
        match amount::split_number(&text) {
            Some((amount, currency))
                if amount >= 0.0
                    && currency.len() == 3
                    && currency.bytes().all(|b| b.is_ascii_uppercase()) =>
            {
                Ok(Self { amount, currency: currency.to_owned() })
            }
            Some(_) | None => complain(
                format!("\"{text}\" is no price"),
                "write an amount and the code of a currency, such as \"22 TZS\"",
            ),
        }
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        match value.as_array() {
            Some(array) => array.iter().map(|element| T::read(element.get_ref())).collect(),
            None => wrong_type(value, "a list", "write it in [ and ]"),
        }
    }
}

impl<T: Read> Read for BTreeMap<String, T> {
    fn read(value: &DeValue<'_>) -> Result<Self, Complaint> {
        match value.as_table() {
            Some(table) => table
                .iter()
                .map(|(key, value)| Ok((key.get_ref().to_string(), T::read(value.get_ref())?)))
                .collect(),
            None => wrong_type(value, "a table", "write { NAME = … }"),
        }
    }
}

/// Makes sure that a key is one of its table: only for tests of the tables themselves.
#[cfg(test)]
pub(super) fn default_is_sound(key: &super::keys::Key) -> bool {
    match &key.otherwise {
        Otherwise::Default(text) => {
            DeValue::parse(text).is_ok_and(|value| check_value(&key.kind, value.get_ref()).is_ok())
        }
        Otherwise::Required | Otherwise::Absent | Otherwise::Derived(_) => true,
    }
}
