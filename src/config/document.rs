//! The files as parsed, with the place of everything, and the faults found in them.

use super::diagnostic::{Diagnostic, Severity, Source};
use std::cell::RefCell;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where something stands: bytes of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) source: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Place {
    pub(super) fn new(source: usize, span: Range<usize>) -> Self {
        Self { source, start: span.start, end: span.end }
    }
}

/// A value and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'d> {
    pub(super) value: &'d DeValue<'d>,
    pub(super) place: Place,
}

impl<'d> Written<'d> {
    pub(super) fn new(source: usize, value: &'d Spanned<DeValue<'d>>) -> Self {
        Self { value: value.get_ref(), place: Place::new(source, value.span()) }
    }

    pub(super) fn text(&self) -> Option<&'d str> {
        match self.value {
            DeValue::String(text) => Some(text),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        }
    }

    /// Returns the elements of an array; nothing when it is none.
    pub(super) fn elements(&self) -> impl Iterator<Item = Written<'d>> + use<'d> {
        let source = self.place.source;
        self.value
            .as_array()
            .into_iter()
            .flat_map(|array| array.iter())
            .map(move |element| Written::new(source, element))
    }

    /// Returns the entries of a table as they stand in the file; nothing when it is none.
    pub(super) fn entries(&self) -> Vec<Entry<'d>> {
        let mut entries: Vec<Entry<'d>> = self
            .value
            .as_table()
            .into_iter()
            .flat_map(|table| table.iter())
            .map(|(key, value)| Entry::new(self.place.source, key, value))
            .collect();
        entries.sort_by_key(|entry| entry.key_place);
        entries
    }
}

/// One key of a table with its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'d> {
    pub(super) key: &'d str,
    pub(super) key_place: Place,
    pub(super) written: Written<'d>,
}

impl<'d> Entry<'d> {
    pub(super) fn new(
        source: usize,
        key: &'d Spanned<toml::de::DeString<'d>>,
        value: &'d Spanned<DeValue<'d>>,
    ) -> Self {
        Self {
            key: key.get_ref(),
            key_place: Place::new(source, key.span()),
            written: Written::new(source, value),
        }
    }
}

/// Parses every source; what the language itself forbids becomes a fault.
pub(super) fn parse<'s>(sources: &'s [Source], faults: &Faults<'_>) -> Vec<DeTable<'s>> {
    sources
        .iter()
        .enumerate()
        .map(|(index, source)| {
            let (table, errors) = DeTable::parse_recoverable(&source.text);
            for error in errors {
                let end = source.text.trim_end().len();
                let place = Place::new(index, error.span().unwrap_or(end..end));
                faults.syntax(place, error.message());
            }
            table.into_inner()
        })
        .collect()
}

/// The faults found so far.
pub(super) struct Faults<'s> {
    sources: &'s [Source],
    found: RefCell<Vec<Fault>>,
}

struct Fault {
    place: Place,
    diagnostic: Diagnostic,
    /// The text breaks TOML itself: what was read there says nothing.
    syntax: bool,
    /// It may only be a consequence of something lost to broken TOML.
    depends: bool,
}

impl<'s> Faults<'s> {
    pub(super) fn new(sources: &'s [Source]) -> Self {
        Self { sources, found: RefCell::default() }
    }

    /// Notes what makes the configuration unusable.
    pub(super) fn error(&self, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(at, Severity::Error, message.into(), help.into(), (false, false));
    }

    /// Notes the lack of something that may stand elsewhere: nothing to say when a file could not be read in full.
    pub(super) fn missing(&self, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(at, Severity::Error, message.into(), help.into(), (false, true));
    }

    /// Notes what is probably not meant.
    pub(super) fn warn(&self, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(at, Severity::Warning, message.into(), help.into(), (false, true));
    }

    /// Notes a secret that stands in the file; the line is not shown.
    pub(super) fn secret(&self, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.error(at, message, help);
        if let Some(fault) = self.found.borrow_mut().last_mut() {
            fault.diagnostic.excerpt.clear();
        }
    }

    fn syntax(&self, at: Place, message: &str) {
        let help = "see https://toml.io for how the file is written".to_owned();
        self.push(at, Severity::Error, message.to_owned(), help, (true, false));
    }

    fn push(
        &self,
        place: Place,
        severity: Severity,
        message: String,
        help: String,
        (syntax, depends): (bool, bool),
    ) {
        let help = (!help.is_empty()).then_some(help);
        let diagnostic = match self.sources.get(place.source) {
            Some(source) => Diagnostic::at(source, place.start..place.end, severity, message, help),
            None => Diagnostic::of_file("kengele.toml", severity, message, help),
        };
        self.found.borrow_mut().push(Fault { place, diagnostic, syntax, depends });
    }

    /// Returns whether anything makes the configuration unusable.
    pub(super) fn any_error(&self) -> bool {
        self.found.borrow().iter().any(|fault| fault.diagnostic.severity == Severity::Error)
    }

    /// Returns every fault in the order of the files, without those that only follow from broken TOML.
    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|fault| fault.place);
        let broken: Vec<(String, usize)> = found
            .iter()
            .filter(|fault| fault.syntax)
            .map(|fault| (fault.diagnostic.file.clone(), fault.diagnostic.line))
            .collect();
        let mut diagnostics: Vec<Diagnostic> = found
            .into_iter()
            .filter(|fault| {
                let line = (fault.diagnostic.file.clone(), fault.diagnostic.line);
                fault.syntax || broken.is_empty() || !fault.depends && !broken.contains(&line)
            })
            .map(|fault| fault.diagnostic)
            .collect();
        diagnostics.dedup();
        diagnostics
    }

    /// Returns the place of bytes `span` of the text of the string that stands at `place`.
    pub(super) fn inside(&self, place: Place, span: Range<usize>) -> Place {
        let raw = self
            .sources
            .get(place.source)
            .and_then(|source| source.text.get(place.start..place.end));
        let raw = raw.unwrap_or_default();
        let start = place.start + raw_offset(raw, span.start);
        let end = place.start + raw_offset(raw, span.end);
        Place { source: place.source, start, end: end.max(start) }
    }
}

/// Returns where byte `offset` of a string's value stands in the string as written, quotes and escapes included.
fn raw_offset(raw: &str, offset: usize) -> usize {
    let quote = raw.chars().next().unwrap_or('"');
    let triple: String = std::iter::repeat_n(quote, 3).collect();
    let multiline = raw.starts_with(&triple) && raw.len() >= 6;
    let mut at = if multiline { 3 } else { 1 };
    if multiline {
        let body = raw.get(at..).unwrap_or_default();
        at += if body.starts_with("\r\n") { 2 } else { usize::from(body.starts_with('\n')) };
    }
    let mut value = 0;
    while value < offset {
        let rest = raw.get(at..).unwrap_or_default();
        let Some(first) = rest.chars().next() else { break };
        if quote == '"' && first == '\\' {
            let (written, meant) = escape(rest);
            at += written;
            value += meant;
        } else {
            at += first.len_utf8();
            value += first.len_utf8();
        }
    }
    at.min(raw.len())
}

/// Returns how many bytes the escape at the start of `rest` takes, and how many the character that it means.
fn escape(rest: &str) -> (usize, usize) {
    let digits = match rest.as_bytes().get(1) {
        Some(b'u') => 4,
        Some(b'U') => 8,
        Some(b'x') => 2,
        Some(b' ' | b'\t' | b'\r' | b'\n') => {
            let body = rest.get(1..).unwrap_or_default();
            return (1 + body.len() - body.trim_start().len(), 0);
        }
        Some(_) | None => return (2, 1),
    };
    let code = rest.get(2..2 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    (2 + digits, code.and_then(char::from_u32).map_or(1, char::len_utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_inside_a_string_counts_quotes_and_escapes() {
        assert_eq!(raw_offset("\"ab\"", 1), 2);
        assert_eq!(raw_offset("'a\\b'", 2), 3);
        assert_eq!(raw_offset(r#""é\u00e9x""#, 4), 9);
        assert_eq!(raw_offset("\"\"\"\nab\"\"\"", 1), 5);
        assert_eq!(raw_offset("\"\"\"a\\\n   b\"\"\"", 1), 4);
        assert_eq!(raw_offset("\"a\"", 99), 3);
    }
}
