//! What is wrong with a configuration: where, what, and what to do.

use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// One file as text: what diagnostics point into, and what the store keeps of each version of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name as shown, such as `kengele.toml` or `rules.d/flood.toml`.
    pub name: String,
    /// Its whole text.
    pub text: String,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, and is probably not what was meant.
    Warning,
}

impl Severity {
    /// Returns the word shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Name of the file.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 when the whole file is meant.
    pub column: usize,
    /// Characters from there that are meant, on that line.
    pub length: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// The line as written; empty when it is about the whole file, or holds a secret.
    pub excerpt: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}: {}", self.severity.as_str(), self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl Diagnostic {
    /// Makes the diagnostic of bytes `span` of `source`.
    pub(super) fn at(
        source: &Source,
        span: Range<usize>,
        severity: Severity,
        message: String,
        help: Option<String>,
    ) -> Self {
        let text = source.text.as_str();
        let start = floor_char(text, span.start);
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let excerpt = text.get(line_start..).and_then(|rest| rest.lines().next());
        let excerpt = excerpt.unwrap_or_default().to_owned();
        let end = floor_char(text, span.end.max(start));
        let meant = text.get(start..end).and_then(|meant| meant.lines().next());
        Self {
            file: source.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            length: meant.unwrap_or_default().chars().count().max(1),
            severity,
            message,
            help,
            excerpt,
        }
    }

    /// Makes the diagnostic of a file as a whole.
    pub(super) fn of_file(
        file: &str,
        severity: Severity,
        message: String,
        help: Option<String>,
    ) -> Self {
        let (line, column, length, excerpt) = (0, 0, 0, String::new());
        Self { file: file.to_owned(), line, column, length, severity, message, help, excerpt }
    }

    /// Returns the diagnostic with the line it is about and a mark under what is meant, for a screen.
    #[must_use]
    pub fn pretty(&self) -> String {
        if self.excerpt.is_empty() {
            return self.to_string();
        }
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        // A tab is as wide as a terminal likes; a space keeps the mark under its character.
        let excerpt = self.excerpt.replace('\t', " ");
        let blank = " ".repeat(self.column - 1);
        let mark = "^".repeat(self.length);
        format!("{self}\n {gutter} |\n {number} | {excerpt}\n {gutter} | {blank}{mark}")
    }
}

/// Returns the start of the character that byte `offset` is part of; the end of the text when it lies beyond.
fn floor_char(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(text: &str, span: Range<usize>) -> Diagnostic {
        let source = Source { name: "kengele.toml".into(), text: text.into() };
        Diagnostic::at(&source, span, Severity::Error, "fault".into(), Some("help".into()))
    }

    #[test]
    fn a_column_counts_characters_from_one() {
        let found = diagnostic("a = 1\nä = \"°C\"\n", 11..16);
        assert_eq!(found.to_string(), "kengele.toml:2:5: error: fault; help");
        assert_eq!(
            found.pretty(),
            "kengele.toml:2:5: error: fault; help\n   |\n 2 | ä = \"°C\"\n   |     ^^^^"
        );
    }

    #[test]
    fn a_place_beyond_the_text_or_across_lines_is_still_shown() {
        assert_eq!(diagnostic("ab", 9..12).column, 3);
        assert_eq!(diagnostic("a = [\n1]", 4..8).length, 1);
        assert_eq!(diagnostic("", 0..0).line, 1);
    }
}
