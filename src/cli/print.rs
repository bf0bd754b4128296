//! What is shown on a terminal, and how.

use kengele::config::{Diagnostic, Severity};
use serde_json::Value;
use std::io::{self, IsTerminal, Write};

/// Colours on a terminal, none elsewhere or where `NO_COLOR` asks for none; JSON where a machine reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub json: bool,
    pub colour: bool,
    pub terminal: bool,
}

impl Style {
    pub(crate) fn of_terminal(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        // <https://no-color.org>: present and not empty.
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colour: terminal && !unwanted, terminal }
    }

    pub(crate) fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    pub(crate) fn level(self, level: &str) -> String {
        match level {
            "danger" => self.paint("1;31", level),
            "warning" => self.paint("1;33", level),
            "advisory" => self.paint("33", level),
            other => self.paint("32", other),
        }
    }
}

/// Returns a number of things: `1 segment`, `2 segments`.
pub(crate) fn count(number: impl TryInto<i64>, thing: &str) -> String {
    let number = number.try_into().unwrap_or(i64::MAX);
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Standard output. Whoever reads it may leave (`| head -1`): the program then ends quietly, for nothing went wrong.
pub(crate) struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_leave(io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        or_leave(io::stdout().flush())
    }
}

fn or_leave<T>(written: io::Result<T>) -> io::Result<T> {
    if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
    written
}

/// Prints a line. Ends the program where it cannot be written: a full disk is told, a reader who left is not.
pub(crate) fn line(text: &str) {
    if let Err(error) = writeln!(Output, "{text}") {
        note(&format!("kengele: cannot write to standard output: {error}"));
        std::process::exit(1);
    }
}

/// Writes a line to standard error; where nobody reads that, there is nobody to tell.
pub(crate) fn note(text: &str) {
    let _written = writeln!(io::stderr(), "{text}").is_ok();
}

pub(crate) fn json(value: &Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

pub(crate) fn error(words: &str, style: Style) {
    let label = if style.colour { "\u{1b}[1;31mkengele:\u{1b}[0m" } else { "kengele:" };
    if style.json {
        line(&serde_json::json!({ "error": words }).to_string());
    }
    note(&format!("{label} {words}"));
}

pub(crate) fn diagnostics(faults: &[Diagnostic], style: Style) {
    if style.json {
        json(&serde_json::to_value(faults).unwrap_or_default());
        return;
    }
    for fault in faults {
        let text = if style.terminal { fault.pretty() } else { fault.to_string() };
        let code = if fault.severity == Severity::Error { "31" } else { "33" };
        line(&match text.split_once('\n') {
            Some((first, rest)) => format!("{}\n{rest}", style.paint(code, first)),
            None => style.paint(code, &text),
        });
    }
    let errors = faults.iter().filter(|f| f.severity == Severity::Error).count();
    let warnings = faults.len() - errors;
    if !faults.is_empty() {
        note(&format!("{}, {}", count(errors, "error"), count(warnings, "warning")));
    }
}

/// Returns a Unix time in milliseconds as local clock time.
pub(crate) fn clock(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(
        |_| "?".to_owned(),
        |moment| {
            moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
        },
    )
}

/// Returns a span of seconds as people say it.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        172_800.. => format!("{} d", seconds / 86_400),
    }
}

/// Returns a number of bytes as people say it.
pub(crate) fn bytes(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        1_000_000_000.. => format!("{} GB", tenths(1_000_000_000)),
    }
}

/// Prints rows under headings, each column as wide as it needs.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| plain_width(cell));
        cells.chain(headings.get(column).map(|h| h.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let row_text = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| {
            format!("{cell}{}", " ".repeat(width.saturating_sub(plain_width(cell))))
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    line(&row_text(&headings.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>()));
    for row in rows {
        line(&row_text(row));
    }
}

/// Counts what is seen of a text with colours.
fn plain_width(text: &str) -> usize {
    let mut escaped = false;
    text.chars()
        .filter(|c| {
            let hidden = escaped || *c == '\u{1b}';
            escaped = hidden && *c != 'm';
            !hidden
        })
        .count()
}
