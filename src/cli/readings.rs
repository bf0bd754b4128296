//! `readings`: what is stored, as CSV or JSON, a page at a time, however much it is.

use super::Failure;
use super::ask::{ask, number, text};
use super::print::{self, Style};
use anyhow::Context;
use clap::Args;
use kengele::app::control::Question;
use serde_json::Value;
use std::io::Write;
use std::path::Path;

pub(crate) const HELP: &str = "\
Examples:
  kengele readings --node mto-juu --quantity water_level --last 100
  kengele readings --from 2026-11-01 --until 2026-12-01 > november.csv
  kengele readings --daily --from 2026-01-01              lowest, mean and highest of each day

Days are those of UTC. They are kept for longer than readings, and summed up when readings are sealed, hourly.";

/// A day, ms.
const DAY_MS: i64 = 86_400_000;

#[derive(Debug, Args)]
pub(crate) struct Readings {
    /// Of this node only
    #[arg(long)]
    node: Option<String>,
    /// Of this quantity only
    #[arg(long)]
    quantity: Option<String>,
    /// Not before, such as 2026-11-01 or 2026-11-01T06:00:00Z
    #[arg(long)]
    from: Option<String>,
    /// Before
    #[arg(long)]
    until: Option<String>,
    /// The newest so many
    #[arg(long)]
    last: Option<u32>,
    /// Lowest, mean and highest value of each day instead
    #[arg(long, conflicts_with = "last")]
    daily: bool,
}

pub(crate) fn run(config: &Path, wanted: &Readings, style: Style) -> Result<(), Failure> {
    if wanted.daily {
        return days(config, wanted, style);
    }
    let mut out =
        Rows::begin(style, &["time", "node", "quantity", "value", "unit", "quality", "clock"])?;
    let (from_ms, until_ms) = wanted.span()?;
    let question = Question::Readings {
        node: wanted.node.clone(),
        quantity: wanted.quantity.clone(),
        from_ms,
        until_ms,
        last: wanted.last,
        after: 0,
    };
    let unreadable = each(config, question, |reading| {
        let at = jiff::Timestamp::from_millisecond(number(reading, "unix_ms"))
            .map_or_else(|_| "?".to_owned(), |at| at.to_string());
        let value = figure(reading, "value");
        let fields = [
            &at,
            text(reading, "node"),
            text(reading, "quantity"),
            &value,
            text(reading, "unit"),
            text(reading, "quality"),
            text(reading, "clock"),
        ];
        out.row(reading, &fields)
    })?;
    out.end()?;
    if unreadable > 0 {
        return Err(Failure::from(anyhow::anyhow!(
            "{} more cannot be read: the database is damaged there; all others are above",
            print::count(unreadable, "reading")
        )));
    }
    Ok(())
}

/// Asks for stored readings, page by page, and hands each on. Returns how many cannot be read.
pub(crate) fn each(
    config: &Path,
    mut question: Question,
    mut take: impl FnMut(&Value) -> Result<(), Failure>,
) -> Result<i64, Failure> {
    let mut unreadable = 0;
    loop {
        let page = ask(config, question.clone())?;
        let rows = page.get("readings").and_then(Value::as_array);
        let rows =
            rows.context("the gateway's answer is not understood: is it of another version?")?;
        rows.iter().try_for_each(&mut take)?;
        unreadable += number(&page, "unreadable");
        let Some(next) = page.get("next").and_then(Value::as_i64) else { return Ok(unreadable) };
        if let Question::Readings { after, last, .. } = &mut question {
            (*after, *last) = (next, None);
        }
    }
}

fn days(config: &Path, wanted: &Readings, style: Style) -> Result<(), Failure> {
    let mut out = Rows::begin(
        style,
        &["day", "node", "quantity", "low", "mean", "high", "unit", "readings"],
    )?;
    let (from, until) = wanted.span()?;
    let question = Question::Days {
        from: from.map_or(0, |ms| ms.div_euclid(DAY_MS)),
        // A day that has begun counts.
        until: until.map_or(i64::MAX, |ms| (ms - 1).div_euclid(DAY_MS) + 1),
    };
    let answer = ask(config, question)?;
    let is_wanted = |wanted: Option<&str>, is: &str| wanted.is_none_or(|wanted| wanted == is);
    for row in answer.as_array().into_iter().flatten() {
        let (node, quantity) = (text(row, "node"), text(row, "quantity"));
        if is_wanted(wanted.node.as_deref(), node)
            && is_wanted(wanted.quantity.as_deref(), quantity)
        {
            let day = jiff::Timestamp::from_millisecond(number(row, "day").saturating_mul(DAY_MS))
                .map_or_else(|_| "?".to_owned(), |at| at.strftime("%F").to_string());
            let (low, mean, high) = (figure(row, "low"), figure(row, "mean"), figure(row, "high"));
            let readings = figure(row, "readings");
            let unit = text(row, "unit");
            out.row(row, &[&day, node, quantity, &low, &mean, &high, unit, &readings])?;
        }
    }
    out.end()
}

impl Readings {
    /// Returns from when and until when, Unix ms.
    fn span(&self) -> Result<(Option<i64>, Option<i64>), Failure> {
        let read = |written: &Option<String>| written.as_deref().map(moment).transpose();
        Ok((read(&self.from)?, read(&self.until)?))
    }
}

fn figure(row: &Value, key: &str) -> String {
    row.get(key).filter(|value| value.is_number()).map_or_else(String::new, Value::to_string)
}

/// Rows as they come: CSV, or one JSON array.
enum Rows {
    Csv(Box<csv::Writer<print::Output>>),
    Json { first: bool },
}

impl Rows {
    fn begin(style: Style, headings: &[&str]) -> Result<Self, Failure> {
        if style.json {
            return Ok(Self::Json { first: true });
        }
        let mut writer = csv::Writer::from_writer(print::Output);
        writer.write_record(headings)?;
        Ok(Self::Csv(Box::new(writer)))
    }

    fn row(&mut self, row: &Value, fields: &[&str]) -> Result<(), Failure> {
        match self {
            Self::Csv(writer) => writer.write_record(fields)?,
            Self::Json { first } => {
                let before = if std::mem::take(first) { "[\n  " } else { ",\n  " };
                write!(print::Output, "{before}{row}")?;
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        match self {
            Self::Csv(mut writer) => writer.flush()?,
            Self::Json { first: true } => print::line("[]"),
            Self::Json { first: false } => print::line("\n]"),
        }
        Ok(())
    }
}

/// Reads a moment as people write it: a date, or a date and time in UTC.
pub(super) fn moment(written: &str) -> Result<i64, Failure> {
    if let Ok(moment) = written.parse::<jiff::Timestamp>() {
        return Ok(moment.as_millisecond());
    }
    let civil: Result<jiff::civil::DateTime, _> = written.parse();
    civil
        .and_then(|at| at.to_zoned(jiff::tz::TimeZone::system()))
        .map(|at| at.timestamp().as_millisecond())
        .map_err(|_| {
            Failure::Usage(format!(
                "{written:?} is no time: write 2026-11-01 or 2026-11-01T06:00:00Z"
            ))
        })
}
