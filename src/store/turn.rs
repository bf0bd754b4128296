//! A turn: everything that one round of the pipeline decided, as rows.

use super::outbox::{self, NewDelivery};
use crate::domain::engine::Reading;
use crate::domain::quantity::Quantity;
use crate::domain::reading::Stamp;
use crate::domain::rule::RuleBook;
use crate::domain::time::{Timestamp, millis};
use crate::domain::warning::{Alert, MessageType, Notice, NoticeKind};
use sqlx::{AssertSqlSafe, SqliteConnection};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Rows of one statement, most first: a statement of one of these lengths is prepared once and used again.
const ROWS: [usize; 3] = [256, 16, 1];
/// Readings of a turn that is written in one go, at the most.
const SMALL_MAX: usize = 16;
/// Frames that could not be read are kept up to this number.
const UNDECODED_MAX: i64 = 1000;

/// Everything that one round of the pipeline decided.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// When.
    pub at: Timestamp,
    /// What the engine was given besides readings.
    pub kind: Kind,
    /// Readings, in the order in which they were judged.
    pub readings: Vec<Reading>,
    /// Alerts that people are told.
    pub alerts: Vec<Alert>,
    /// Notices to the technician.
    pub notices: Vec<Notice>,
    /// Texts to be sent about them.
    pub deliveries: Vec<NewDelivery>,
    /// Frames that could not be read.
    pub undecoded: Vec<Undecoded>,
    /// States of radio nodes that have changed: counters and keys of their sessions, by the node's own identifier.
    pub radio: Vec<(String, Vec<u8>)>,
    /// The engine's state after this turn, when it is time to keep it.
    pub snapshot: Option<Vec<u8>>,
}

/// What the engine was given besides readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: the readings, or the passing of time.
    #[default]
    Plain,
    /// The gateway came back after it was down for so long.
    Resumed(Duration),
}

/// A frame that could not be read.
#[derive(Clone, Debug)]
pub struct Undecoded {
    /// Where it came from, in words.
    pub origin: String,
    /// Why it could not be read.
    pub reason: String,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// The series of each node, by place in the rule book in force.
#[derive(Debug, Default)]
pub(super) struct Series {
    book: Arc<RuleBook>,
    ids: Vec<Vec<(Quantity, i64)>>,
}

impl Series {
    /// Finds or makes the series of every sensor of `book`.
    pub(super) async fn declare(
        connection: &mut SqliteConnection,
        book: Arc<RuleBook>,
    ) -> Result<Self, sqlx::Error> {
        let mut ids = Vec::with_capacity(book.nodes.len());
        for node in &book.nodes {
            let mut of_node = Vec::with_capacity(node.sensors.len());
            for sensor in &node.sensors {
                let name = sensor.quantity.name();
                sqlx::query(
                    "insert into series (node, quantity) values (?1, ?2) on conflict do nothing",
                )
                .bind(&*node.name.0)
                .bind(name)
                .execute(&mut *connection)
                .await?;
                let id: i64 =
                    sqlx::query_scalar("select id from series where node = ?1 and quantity = ?2")
                        .bind(&*node.name.0)
                        .bind(name)
                        .fetch_one(&mut *connection)
                        .await?;
                of_node.push((sensor.quantity, id));
            }
            ids.push(of_node);
        }
        Ok(Self { book, ids })
    }

    fn id(&self, reading: &Reading) -> Option<i64> {
        let of_node = self.ids.get(reading.node.0 as usize)?;
        of_node.iter().find(|(q, _)| *q == reading.measurement.quantity).map(|(_, id)| *id)
    }
}

impl Turn {
    /// Returns whether it is nothing but a few readings: what a gateway at rest commits, again and again.
    pub(super) fn is_small(&self) -> bool {
        self.kind == Kind::Plain
            && (1..=SMALL_MAX).contains(&self.readings.len())
            && self.alerts.is_empty()
            && self.notices.is_empty()
            && self.deliveries.is_empty()
            && self.undecoded.is_empty()
            && self.radio.is_empty()
            && self.snapshot.is_none()
    }
}

/// Writes a small turn as a transaction of its own, in one go: each statement by itself would wake SQLite's thread and
/// this one again, which costs more than all of them.
pub(super) async fn write_small(
    connection: &mut SqliteConnection,
    turn: &Turn,
    boot: i64,
    series: &Series,
) -> Result<(), sqlx::Error> {
    let mut sql = String::from(
        "begin immediate; insert into turn (boot, at_ms) values (?, ?); \
         insert into reading (turn, series, stamp, value, quality) values ",
    );
    for row in 0..turn.readings.len() {
        let separator = if row == 0 { "" } else { "," };
        write!(sql, "{separator}((select max(id) from turn),?,?,?,?)")
            .expect("a String takes all that is written");
    }
    sql.push_str("; commit");
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(boot).bind(turn.at.as_millis());
    for reading in &turn.readings {
        let value = reading.measurement.value;
        query = query
            .bind(series.id(reading))
            .bind(reading.measurement.stamp.map(stamp_number))
            .bind((!value.is_nan()).then_some(value))
            .bind(i64::from(reading.quality.code()));
    }
    query.execute(&mut *connection).await?;
    Ok(())
}

/// Writes a turn into the transaction that is open on `connection`.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    turn: &Turn,
    boot: i64,
    series: &Series,
) -> Result<(), sqlx::Error> {
    let down_ms = match turn.kind {
        Kind::Plain => None,
        Kind::Resumed(down) => Some(millis(down)),
    };
    let id: i64 = sqlx::query_scalar(
        "insert into turn (boot, at_ms, down_ms) values (?1, ?2, ?3) returning id",
    )
    .bind(boot)
    .bind(turn.at.as_millis())
    .bind(down_ms)
    .fetch_one(&mut *connection)
    .await?;
    write_readings(connection, &turn.readings, id, series).await?;
    for alert in &turn.alerts {
        write_alert(connection, alert, id, &series.book).await?;
    }
    for notice in &turn.notices {
        write_notice(connection, notice, &series.book).await?;
    }
    for delivery in &turn.deliveries {
        outbox::insert(connection, delivery, turn.at).await?;
    }
    if !turn.undecoded.is_empty() {
        write_undecoded(connection, turn).await?;
    }
    for (node, state) in &turn.radio {
        sqlx::query(
            "insert into radio (node, state) values (?1, ?2) on conflict (node) do update set state = excluded.state",
        )
        .bind(node)
        .bind(state)
        .execute(&mut *connection)
        .await?;
    }
    if let Some(state) = &turn.snapshot {
        sqlx::query("delete from snapshot").execute(&mut *connection).await?;
        sqlx::query("insert into snapshot (turn, rule_book, state) values (?1, ?2, ?3)")
            .bind(id)
            .bind(&series.book.version)
            .bind(state)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn write_readings(
    connection: &mut SqliteConnection,
    readings: &[Reading],
    turn: i64,
    series: &Series,
) -> Result<(), sqlx::Error> {
    let mut rest = readings;
    while let Some(length) = ROWS.into_iter().find(|rows| *rows <= rest.len()) {
        let (these, others) = rest.split_at(length);
        rest = others;
        let mut query = sqlx::query(AssertSqlSafe(insert_readings(length)));
        for reading in these {
            let value = reading.measurement.value;
            query = query
                .bind(turn)
                .bind(series.id(reading))
                .bind(reading.measurement.stamp.map(stamp_number))
                .bind((!value.is_nan()).then_some(value))
                .bind(i64::from(reading.quality.code()));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

fn insert_readings(rows: usize) -> String {
    let mut sql = String::from("insert into reading (turn, series, stamp, value, quality) values ");
    for row in 0..rows {
        let separator = if row == 0 { "" } else { "," };
        write!(sql, "{separator}(?,?,?,?,?)").expect("a String takes all that is written");
    }
    sql
}

/// A stamp as a number of the `stamp` column.
fn stamp_number(stamp: Stamp) -> i64 {
    match stamp {
        Stamp::Unix(ms) => ms,
        Stamp::Age(ms) => -1 - ms,
    }
}

/// The stamp that a number of the `stamp` column means.
pub(super) fn stamp_of(number: i64) -> Stamp {
    if number >= 0 { Stamp::Unix(number) } else { Stamp::Age(-1 - number) }
}

async fn write_alert(
    connection: &mut SqliteConnection,
    alert: &Alert,
    turn: i64,
    book: &RuleBook,
) -> Result<(), sqlx::Error> {
    let warning = alert.warning.0.cast_signed();
    sqlx::query(
        "insert into warning (id, hazard, area, level_max, opened_ms) values (?1, ?2, ?3, ?4, ?5) \
         on conflict (id) do update set level_max = excluded.level_max",
    )
    .bind(warning)
    .bind(&alert.hazard)
    .bind(&alert.area)
    .bind(alert.level_max.as_str())
    .bind(alert.sent.as_millis())
    .execute(&mut *connection)
    .await?;
    if alert.message_type == MessageType::Cancel {
        end_warning(connection, warning, alert.sent, alert.reason.as_str()).await?;
    }
    let observed: BTreeMap<String, f64> =
        alert.observed.iter().map(|seen| (book.words(seen.signal), seen.value)).collect();
    sqlx::query(
        "insert into alert (warning, number, turn, message_type, reason, level, rule, rule_book, sent_ms, expires_ms, observed) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )
    .bind(warning)
    .bind(i64::from(alert.number))
    .bind(turn)
    .bind(alert.message_type.as_str())
    .bind(alert.reason.as_str())
    .bind(alert.level.as_str())
    .bind(&alert.rule)
    .bind(&alert.rule_version)
    .bind(alert.sent.as_millis())
    .bind(alert.expires.as_millis())
    .bind(serde_json::to_string(&observed).unwrap_or_default())
    .execute(&mut *connection)
    .await?;
    Ok(())
}

async fn end_warning(
    connection: &mut SqliteConnection,
    warning: i64,
    at: Timestamp,
    ending: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("update warning set ended_ms = ?2, ending = ?3 where id = ?1")
        .bind(warning)
        .bind(at.as_millis())
        .bind(ending)
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_notice(
    connection: &mut SqliteConnection,
    notice: &Notice,
    book: &RuleBook,
) -> Result<(), sqlx::Error> {
    if let NoticeKind::WarningExpired(warning) = notice.kind {
        end_warning(connection, warning.0.cast_signed(), notice.at, "expired").await?;
    }
    let node = notice.node.and_then(|node| book.nodes.get(node.0 as usize));
    sqlx::query("insert into notice (at_ms, node, words) values (?1, ?2, ?3)")
        .bind(notice.at.as_millis())
        .bind(node.map(|node| &*node.name.0))
        .bind(notice.kind.words())
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_undecoded(
    connection: &mut SqliteConnection,
    turn: &Turn,
) -> Result<(), sqlx::Error> {
    for frame in &turn.undecoded {
        sqlx::query(
            "insert into undecoded (at_ms, origin, reason, payload) values (?1, ?2, ?3, ?4)",
        )
        .bind(turn.at.as_millis())
        .bind(&frame.origin)
        .bind(&frame.reason)
        .bind(&frame.payload)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query("delete from undecoded where id <= (select max(id) from undecoded) - ?1")
        .bind(UNDECODED_MAX)
        .execute(connection)
        .await?;
    Ok(())
}
