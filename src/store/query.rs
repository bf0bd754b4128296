//! What can be read back.

use super::turn::{Kind, stamp_of};
use super::{Error, LastRun, Snapshot, Store};
use crate::domain::engine::Input;
use crate::domain::engine::{Effect, Engine};
use crate::domain::quantity::Quantity;
use crate::domain::reading::Measurement;
use crate::domain::rule::{NodeIndex, RuleBook};
use crate::domain::time::{ClockQuality, Timestamp, WallClock};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows that are in memory at once while history is read.
const PAGE_ROWS: i64 = 4096;

/// A warning on record.
#[derive(Clone, Debug, PartialEq)]
pub struct WarningRow {
    /// Its number.
    pub id: i64,
    /// What threatened.
    pub hazard: String,
    /// Where.
    pub area: String,
    /// The highest level that it had.
    pub level_max: String,
    /// When it was raised, Unix ms.
    pub opened_unix_ms: i64,
    /// When and how it ended, Unix ms.
    pub ended: Option<(i64, String)>,
    /// What was said.
    pub alerts: Vec<AlertRow>,
}

/// An alert on record.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRow {
    /// Counts the alerts of a warning.
    pub number: i64,
    /// CAP message type.
    pub message_type: String,
    /// Why it was made.
    pub reason: String,
    /// The level.
    pub level: String,
    /// The rule that decided.
    pub rule: String,
    /// Version of the rule book.
    pub rule_book: String,
    /// When it was decided, Unix ms.
    pub sent_unix_ms: i64,
    /// Until when it holds, Unix ms.
    pub expires_unix_ms: i64,
    /// How far these times can be believed, as they were recorded.
    pub clock: ClockQuality,
    /// The signals that it rests on, JSON object of signal and value.
    pub observed: String,
}

pub(super) async fn last_run(readers: &SqlitePool) -> Result<Option<LastRun>, Error> {
    let row = sqlx::query(
        "select kernel, at_ms - uptime_ms as line_minus_uptime_ms, offset_ms, quality, \
         max(at_ms, coalesce((select at_ms from turn order by id desc limit 1), at_ms)) as until_ms, \
         coalesce((select at_ms from turn order by id desc limit 1), at_ms) as lived_ms \
         from boot order by id desc limit 1",
    )
    .fetch_optional(readers)
    .await
    .map_err(Error::Read)?;
    row.map(|row| {
        let quality: String = get(&row, "quality")?;
        let quality =
            ClockQuality::from_word(&quality).ok_or(Error::Damaged { what: "clock quality" })?;
        Ok(LastRun {
            kernel: get(&row, "kernel")?,
            line_minus_uptime_ms: get(&row, "line_minus_uptime_ms")?,
            until: Timestamp::from_millis(get(&row, "until_ms")?),
            lived: Timestamp::from_millis(get(&row, "lived_ms")?),
            wall: WallClock { offset_ms: get(&row, "offset_ms")?, quality },
        })
    })
    .transpose()
}

impl Store {
    /// Looks through the whole file, while the writer goes on. Returns what is wrong with it, in SQLite's words and at most
    /// eight of them; nothing where it is whole.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] when the file cannot be read.
    pub async fn faults(&self) -> Result<Vec<String>, Error> {
        // All but the agreement of indexes with their tables, which takes many times as long: <https://sqlite.org/pragma.html>.
        let told = sqlx::query_scalar("pragma quick_check(8)").fetch_all(&self.readers).await;
        match told {
            Ok(told) => Ok(told.into_iter().filter(|line: &String| line != "ok").collect()),
            Err(source) => {
                let words = source.to_string();
                let error = Error::Read(source);
                if error.is_damage() { Ok(vec![words]) } else { Err(error) }
            }
        }
    }

    /// Returns what is known of the last run, if there was one.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn last_run(&self) -> Result<Option<LastRun>, Error> {
        last_run(&self.readers).await
    }

    /// Returns the engine's state as it was last kept.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn snapshot(&self) -> Result<Option<Snapshot>, Error> {
        let row =
            sqlx::query("select turn, rule_book, state from snapshot order by turn desc limit 1")
                .fetch_optional(&self.readers)
                .await
                .map_err(Error::Read)?;
        row.map(|row| {
            Ok(Snapshot {
                turn: get(&row, "turn")?,
                rule_book: get(&row, "rule_book")?,
                state: get(&row, "state")?,
            })
        })
        .transpose()
    }

    /// Returns the sources of a rule book on record.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn rule_book(&self, version: &str) -> Result<Option<String>, Error> {
        sqlx::query_scalar("select sources from rule_book where version = ?1")
            .bind(version)
            .fetch_optional(&self.readers)
            .await
            .map_err(Error::Read)
    }

    /// Gives `engine` every input that came after turn `after`, so that it stands where it stood then. What it decides
    /// has been carried out already, and is dropped. Returns how many readings it was given.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn replay(&self, engine: &mut Engine, after: i64) -> Result<u64, Error> {
        let places = places(engine.book());
        let (mut turn, mut reading, mut count) = (after, 0i64, 0u64);
        let mut dropped: Vec<Effect> = Vec::new();
        // Years of readings lie before this one: none of them is looked at.
        let before = self.last_reading_until(after).await?;
        loop {
            let rows = sqlx::query(
                "with late as materialized (select * from reading where id > ?4) \
                 select turn.id as turn, at_ms, down_ms, late.id as reading, node, quantity, stamp, value \
                 from turn left join late on late.turn = turn.id left join series on series.id = late.series \
                 where turn.id > ?1 or turn.id = ?1 and late.id > ?2 order by turn.id, late.id limit ?3",
            )
            .bind(turn)
            .bind(reading)
            .bind(PAGE_ROWS)
            .bind(before.max(reading))
            .fetch_all(&self.readers)
            .await
            .map_err(Error::Read)?;
            for row in &rows {
                let at = Timestamp::from_millis(get(row, "at_ms")?);
                let this: i64 = get(row, "turn")?;
                if this != turn {
                    (turn, reading) = (this, 0);
                    let down_ms: Option<i64> = get(row, "down_ms")?;
                    let down = |ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
                    let input = down_ms.map_or(Input::Tick, |ms| Input::Resumed { down: down(ms) });
                    engine.handle(input, at, &mut dropped);
                }
                if let Some(id) = get::<Option<i64>>(row, "reading")? {
                    reading = id;
                    count += 1;
                    if let Some((node, measurement)) = measurement(row, &places)? {
                        let measurements = &[measurement];
                        let input = Input::Heard { node, measurements, redelivered: false };
                        engine.handle(input, at, &mut dropped);
                    }
                }
                dropped.clear();
            }
            if i64::try_from(rows.len()).is_ok_and(|rows| rows < PAGE_ROWS) {
                return Ok(count);
            }
        }
    }

    /// Returns the number of the last reading that turns up to this one have: readings are numbered in the order of their
    /// turns, and have no index by them.
    async fn last_reading_until(&self, turn: i64) -> Result<i64, Error> {
        let last = "select coalesce(max(id), 0) from reading";
        let mut high: i64 =
            sqlx::query_scalar(last).fetch_one(&self.readers).await.map_err(Error::Read)?;
        let mut low = 0;
        while low < high {
            let middle = high - (high - low) / 2;
            let of: Option<i64> = sqlx::query_scalar(
                "select turn from reading where id <= ?1 order by id desc limit 1",
            )
            .bind(middle)
            .fetch_optional(&self.readers)
            .await
            .map_err(Error::Read)?;
            if of.is_none_or(|of| of <= turn) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    /// Returns how many readings are stored.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn reading_count(&self) -> Result<i64, Error> {
        let kept = self.kept().await?;
        Ok(kept.readings + kept.unsealed)
    }

    /// Returns the last warning of each area and hazard, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn last_warnings(&self) -> Result<Vec<WarningRow>, Error> {
        let ids: Vec<i64> =
            sqlx::query_scalar("select max(id) from warning group by area, hazard order by 1 desc")
                .fetch_all(&self.readers)
                .await
                .map_err(Error::Read)?;
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.append(&mut self.warnings(Some(id)).await?);
        }
        Ok(found)
    }

    /// Returns warnings, newest first: all, or that one.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn warnings(&self, id: Option<i64>) -> Result<Vec<WarningRow>, Error> {
        let rows = sqlx::query(
            "select w.*, opened_ms + coalesce((select offset_ms from alert join turn on turn.id = alert.turn join boot on boot.id = turn.boot where alert.warning = w.id and alert.number = 1), 0) as opened_unix_ms, \
             ended_ms - opened_ms as lasted_ms from warning w where ?1 is null or id = ?1 order by id desc",
        )
        .bind(id)
        .fetch_all(&self.readers)
        .await
        .map_err(Error::Read)?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let id = get(row, "id")?;
            let opened_unix_ms: i64 = get(row, "opened_unix_ms")?;
            let lasted_ms: Option<i64> = get(row, "lasted_ms")?;
            let ending: Option<String> = get(row, "ending")?;
            found.push(WarningRow {
                id,
                hazard: get(row, "hazard")?,
                area: get(row, "area")?,
                level_max: get(row, "level_max")?,
                opened_unix_ms,
                ended: lasted_ms.zip(ending).map(|(lasted, how)| (opened_unix_ms + lasted, how)),
                alerts: self.alerts(id).await?,
            });
        }
        Ok(found)
    }

    async fn alerts(&self, warning: i64) -> Result<Vec<AlertRow>, Error> {
        let rows = sqlx::query(
            "select alert.*, sent_ms + offset_ms as sent_unix_ms, expires_ms + offset_ms as expires_unix_ms, boot.quality \
             from alert join turn on turn.id = alert.turn join boot on boot.id = turn.boot \
             where warning = ?1 order by number",
        )
        .bind(warning)
        .fetch_all(&self.readers)
        .await
        .map_err(Error::Read)?;
        rows.iter()
            .map(|row| {
                let clock: String = get(row, "quality")?;
                Ok(AlertRow {
                    number: get(row, "number")?,
                    message_type: get(row, "message_type")?,
                    reason: get(row, "reason")?,
                    level: get(row, "level")?,
                    rule: get(row, "rule")?,
                    rule_book: get(row, "rule_book")?,
                    sent_unix_ms: get(row, "sent_unix_ms")?,
                    expires_unix_ms: get(row, "expires_unix_ms")?,
                    clock: ClockQuality::from_word(&clock)
                        .ok_or(Error::Damaged { what: "clock quality" })?,
                    observed: get(row, "observed")?,
                })
            })
            .collect()
    }
}

pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &str) -> Result<T, Error>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(Error::Read)
}

fn places(book: &RuleBook) -> BTreeMap<String, NodeIndex> {
    let names = book.nodes.iter().map(|node| node.name.0.to_string());
    names.zip((0..).map(NodeIndex)).collect()
}

fn measurement(
    row: &SqliteRow,
    places: &BTreeMap<String, NodeIndex>,
) -> Result<Option<(NodeIndex, Measurement)>, Error> {
    let (node, quantity): (String, String) = (get(row, "node")?, get(row, "quantity")?);
    let quantity = Quantity::from_name(&quantity).ok_or(Error::Damaged { what: "quantity" })?;
    let stamp: Option<i64> = get(row, "stamp")?;
    let value: Option<f64> = get(row, "value")?;
    let measurement =
        Measurement { quantity, value: value.unwrap_or(f64::NAN), stamp: stamp.map(stamp_of) };
    Ok(places.get(&node).map(|place| (*place, measurement)))
}

impl Kind {
    /// Returns the engine input that this was.
    #[must_use]
    pub const fn input(self) -> Input<'static> {
        match self {
            Self::Plain => Input::Tick,
            Self::Resumed(down) => Input::Resumed { down },
        }
    }
}
