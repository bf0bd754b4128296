//! `replay`: history through today's rules.

use super::Failure;
use super::print::{self, Style};
use super::readings;
use anyhow::Context;
use clap::Args;
use kengele::app::control::Question;
use kengele::app::convert;
use kengele::domain::engine::{Effect, Engine, Input};
use kengele::domain::plan::value_words;
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::{Measurement, Stamp};
use kengele::domain::rule::{NodeIndex, RuleBook};
use kengele::domain::time::Timestamp;
use kengele::domain::warning::Alert;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(crate) const HELP: &str = "\
The CSV has a column of times (RFC 3339, or Unix seconds) and columns of values. Lines that begin with # are skipped.
Either it names node and quantity in columns, as `kengele readings` prints them, or you map its columns:

  kengele replay --readings level.csv --map level_m=mto-juu/water_level
  kengele replay --readings day.csv --map temp_c=hewa/air_temperature --map rh_pct=hewa/humidity

Without --readings the readings of the database are replayed.";

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// CSV file of history; without it, the stored readings
    #[arg(long, value_name = "FILE")]
    readings: Option<PathBuf>,
    /// Column of the CSV and the sensor that it belongs to
    #[arg(long, value_name = "COLUMN=NODE/QUANTITY")]
    map: Vec<String>,
    /// Values that mean that there is none
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    missing: Vec<String>,
    /// Print suspect readings and other notices too
    #[arg(long)]
    notices: bool,
}

/// One reading of history.
struct Past {
    unix_ms: i64,
    node: NodeIndex,
    quantity: Quantity,
    value: f64,
}

pub(crate) fn run(config: &Path, replay: &Replay, style: Style) -> Result<(), Failure> {
    let loaded = convert::load(config).map_err(Failure::Wrong)?;
    let book = loaded.config.rules;
    let mut history = match &replay.readings {
        Some(file) => from_csv(file, replay, &book)?,
        None => from_store(config, &book)?,
    };
    history.sort_by_key(|past| past.unix_ms);
    let first = history.first().context("there are no readings to replay")?.unix_ms;
    let bar = progress(history.len(), style);
    let mut engine = Engine::new(&book, Timestamp::from_millis(0));
    let mut effects = Vec::new();
    let mut shown = Shown { book: &book, first, style, replay, alerts: Vec::new(), suspect: 0 };
    for past in &history {
        let now = Timestamp::from_millis(past.unix_ms - first);
        let stamp = Some(Stamp::Unix(past.unix_ms));
        let measurement = Measurement { quantity: past.quantity, value: past.value, stamp };
        let input =
            Input::Heard { node: past.node, measurements: &[measurement], redelivered: false };
        engine.handle(input, now, &mut effects);
        shown.take(&mut effects);
        bar.inc(1);
    }
    bar.finish_and_clear();
    shown.summary(history.len(), history.last().map_or(first, |past| past.unix_ms));
    Ok(())
}

fn progress(length: usize, style: Style) -> indicatif::ProgressBar {
    if style.terminal && !style.json && length > 50_000 {
        indicatif::ProgressBar::new(length as u64)
    } else {
        indicatif::ProgressBar::hidden()
    }
}

struct Shown<'a> {
    book: &'a RuleBook,
    first: i64,
    style: Style,
    replay: &'a Replay,
    alerts: Vec<Value>,
    suspect: usize,
}

impl Shown<'_> {
    fn take(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Reading(reading) => {
                    let quality = reading.quality;
                    self.suspect += usize::from(!quality.is_good());
                }
                Effect::Alert(alert) => self.alert(&alert),
                Effect::Notice(notice) => {
                    if self.replay.notices && !self.style.json {
                        let node = notice.node.and_then(|n| self.book.nodes.get(n.0 as usize));
                        let node = node.map(|n| n.name.to_string()).unwrap_or_default();
                        print::line(&format!(
                            "{}  notice    {node}: {}",
                            self.at(notice.at),
                            notice.kind.words()
                        ));
                    }
                }
                Effect::Repeated { .. } | Effect::Undeclared { .. } => {}
            }
        }
    }

    fn at(&self, at: Timestamp) -> String {
        jiff::Timestamp::from_millisecond(self.first + at.as_millis())
            .map(|t| t.to_string())
            .unwrap_or_default()
    }

    fn alert(&mut self, alert: &Alert) {
        let because: Vec<String> = alert
            .observed
            .iter()
            .map(|seen| {
                format!("{} {}", self.book.words(seen.signal), value_words(self.book, seen))
            })
            .collect();
        if self.style.json {
            self.alerts.push(json!({
                "time": self.at(alert.sent), "warning": alert.warning.0, "number": alert.number,
                "reason": alert.reason.as_str(), "level": alert.level.as_str(), "hazard": alert.hazard,
                "area": alert.area, "rule": alert.rule, "because": because,
            }));
            return;
        }
        self.alerts.push(Value::Null);
        print::line(&format!(
            "{}  {:<10} #{}-{} {} {} in {}: {}",
            self.at(alert.sent),
            alert.reason.as_str(),
            alert.warning.0,
            alert.number,
            self.style.level(alert.level.as_str()),
            alert.hazard,
            alert.area,
            because.join(", ")
        ));
    }

    fn summary(self, readings: usize, last: i64) {
        if self.style.json {
            print::json(
                &json!({ "readings": readings, "suspect": self.suspect, "alerts": self.alerts }),
            );
            return;
        }
        let days = (last - self.first) as f64 / 86_400_000.0;
        print::line(&format!(
            "{readings} readings of {days:.1} days, {} suspect; {} alerts",
            self.suspect,
            self.alerts.len()
        ));
    }
}

fn from_store(config: &Path, book: &RuleBook) -> Result<Vec<Past>, Failure> {
    let question = Question::Readings {
        node: None,
        quantity: None,
        from_ms: None,
        until_ms: None,
        last: None,
        after: 0,
    };
    let mut history = Vec::new();
    let unreadable = readings::each(config, question, |row| {
        history.extend(past(row, book));
        Ok(())
    })?;
    if unreadable > 0 {
        print::note(&format!(
            "kengele: {} cannot be read: the database is damaged there",
            print::count(unreadable, "reading")
        ));
    }
    Ok(history)
}

/// Returns a stored reading, where the configuration still has its sensor.
fn past(row: &Value, book: &RuleBook) -> Option<Past> {
    let (node, quantity) =
        sensor(book, row.get("node")?.as_str()?, row.get("quantity")?.as_str()?).ok()?;
    let value = row.get("value").and_then(Value::as_f64).unwrap_or(f64::NAN);
    Some(Past { unix_ms: row.get("unix_ms")?.as_i64()?, node, quantity, value })
}

fn sensor(book: &RuleBook, node: &str, quantity: &str) -> Result<(NodeIndex, Quantity), Failure> {
    let place = book.nodes.iter().position(|n| *n.name.0 == *node);
    let place = place.and_then(|place| u32::try_from(place).ok());
    let place = place.ok_or_else(|| {
        Failure::Usage(format!("node {node} is not declared in the configuration"))
    })?;
    let quantity = Quantity::from_name(quantity)
        .ok_or_else(|| Failure::Usage(format!("there is no quantity {quantity}")))?;
    Ok((NodeIndex(place), quantity))
}

fn from_csv(file: &Path, replay: &Replay, book: &RuleBook) -> Result<Vec<Past>, Failure> {
    let mut reader = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .flexible(true)
        .trim(csv::Trim::All)
        .from_path(file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let headings = reader.headers()?.clone();
    let place = |name: &str| headings.iter().position(|heading| heading == name);
    let time =
        ["time", "date", "timestamp", "unix_ms"].iter().find_map(|name| place(name)).ok_or_else(
            || Failure::Usage(format!("{} has no column time, date or timestamp", file.display())),
        )?;
    let mut maps = Vec::new();
    for map in &replay.map {
        let parts =
            map.split_once('=').and_then(|(column, to)| Some((column, to.split_once('/')?)));
        let (column, (node, quantity)) = parts.ok_or_else(|| {
            Failure::Usage(format!("--map {map}: write it as COLUMN=NODE/QUANTITY"))
        })?;
        let column = place(column).ok_or_else(|| {
            let known: Vec<&str> = headings.iter().collect();
            Failure::Usage(format!(
                "{} has no column {column}; it has: {}",
                file.display(),
                known.join(", ")
            ))
        })?;
        maps.push((column, sensor(book, node, quantity)?));
    }
    let named = (place("node"), place("quantity"), place("value"));
    let mut history = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let at = record.get(time).unwrap_or_default();
        let unix_ms =
            moment(at).with_context(|| format!("{}:{line}: {at:?} is no time", file.display()))?;
        let mut add = |cell: Option<&str>, (node, quantity): (NodeIndex, Quantity)| {
            let cell = cell.unwrap_or_default();
            if !cell.is_empty() && !replay.missing.iter().any(|missing| missing == cell) {
                history.push(Past {
                    unix_ms,
                    node,
                    quantity,
                    value: cell.parse().unwrap_or(f64::NAN),
                });
            }
        };
        for (column, to) in &maps {
            add(record.get(*column), *to);
        }
        if let ((Some(node), Some(quantity), Some(value)), true) = (named, maps.is_empty()) {
            let to = sensor(
                book,
                record.get(node).unwrap_or_default(),
                record.get(quantity).unwrap_or_default(),
            )?;
            add(record.get(value), to);
        }
    }
    if maps.is_empty() && (named.0.is_none() || named.1.is_none() || named.2.is_none()) {
        return Err(Failure::Usage(format!(
            "say with --map which sensor each column of {} is",
            file.display()
        )));
    }
    Ok(history)
}

/// Reads RFC 3339, a date, `2012/01/31`, or Unix seconds or milliseconds.
fn moment(written: &str) -> Option<i64> {
    if let Ok(at) = written.parse::<jiff::Timestamp>() {
        return Some(at.as_millisecond());
    }
    let dashed = written.replace('/', "-");
    if let Ok(at) = dashed.parse::<jiff::civil::DateTime>() {
        return at.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|at| at.timestamp().as_millisecond());
    }
    let number: i64 = written.parse().ok()?;
    Some(if number.abs() < 100_000_000_000 { number * 1000 } else { number })
}
