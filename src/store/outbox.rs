//! Deliveries and attempts as rows.

use super::query::get;
use super::{Error, Store};
use crate::domain::message::{DeliveryId, Priority};
use crate::domain::outbox::{
    Attempt, AttemptId, BootId, Change, Delivery, DeliveryState, Outcome, Reference, Route, Stop,
    Stored, Subject, day,
};
use crate::domain::plan::Planned;
use crate::domain::recipient::RecipientId;
use crate::domain::time::Timestamp;
use crate::domain::warning::{MessageType, WarningId};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use std::sync::Arc;

/// A planned delivery and the segments that its text takes.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// What was planned.
    pub planned: Planned,
    /// Segments.
    pub segments: u16,
    /// Somebody asked for it to see whether texts arrive.
    pub test: bool,
    /// It has been told from memory, while the disk failed: only the record of it is wanted.
    pub told_from_memory: bool,
}

impl NewDelivery {
    /// Returns what it is about.
    #[must_use]
    pub const fn subject(&self) -> Subject {
        match self.planned.alert {
            Some((warning, number)) => {
                Subject::Alert { warning, number, message_type: self.planned.message_type }
            }
            None if self.test => Subject::Test,
            None => Subject::Notice,
        }
    }

    /// Returns its way before the first attempt.
    #[must_use]
    pub fn routes(&self, at: Timestamp) -> Vec<Route> {
        let route = |step: u8, channel: &String| Route {
            channel: channel.as_str().into(),
            step,
            tries: 0,
            not_before: at,
            rejected: None,
        };
        let steps = (0..=u8::MAX).zip(&self.planned.channels);
        steps.flat_map(|(step, names)| names.iter().map(move |name| route(step, name))).collect()
    }
}

const PRIORITIES: [Priority; 3] = [Priority::Danger, Priority::Warning, Priority::Advice];

const fn subject_word(subject: Subject) -> &'static str {
    match subject {
        Subject::Alert { .. } => "alert",
        Subject::Notice => "notice",
        Subject::Test => "test",
    }
}

fn routes_json(routes: &[Route]) -> String {
    let route =
        |r: &Route| json!([&*r.channel, r.step, r.tries, r.not_before.as_millis(), r.rejected]);
    Value::Array(routes.iter().map(route).collect()).to_string()
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    delivery: &NewDelivery,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let planned = &delivery.planned;
    let ended = delivery.told_from_memory;
    sqlx::query(
        "insert into delivery (subject, warning, alert, message_type, recipient, number, body, segments, priority, rank, \
         routes, created_ms, expires_ms, state, reached, last_error, ended_ms) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )
    .bind(subject_word(delivery.subject()))
    .bind(planned.alert.map(|(warning, _)| warning.0.cast_signed()))
    .bind(planned.alert.map(|(_, number)| i64::from(number)))
    .bind(planned.alert.map(|_| planned.message_type.as_str()))
    .bind(planned.recipient.0)
    .bind(planned.number.as_str())
    .bind(&planned.text)
    .bind(i64::from(delivery.segments))
    .bind(planned.priority as i64)
    .bind(i64::from(planned.rank.min(u8::MAX.into())))
    .bind(routes_json(&delivery.routes(at)))
    .bind(at.as_millis())
    .bind(planned.expires.as_millis())
    .bind(if ended { "unknown" } else { "queued" })
    .bind(ended)
    .bind(ended.then_some("told from memory while the disk failed"))
    .bind(ended.then_some(at.as_millis()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down what has changed.
pub(super) async fn update(
    connection: &mut SqliteConnection,
    changes: &[Change],
) -> Result<(), sqlx::Error> {
    for change in changes {
        match change {
            Change::Delivery(delivery) => update_delivery(connection, delivery).await?,
            Change::Attempt(attempt) => put_attempt(connection, attempt).await?,
        }
    }
    Ok(())
}

async fn update_delivery(
    connection: &mut SqliteConnection,
    delivery: &Delivery,
) -> Result<(), sqlx::Error> {
    let (attempt, decide_at) = match &delivery.state {
        DeliveryState::Armed { attempt }
        | DeliveryState::Writing { attempt }
        | DeliveryState::Submitted { attempt } => (Some(attempt.0), None),
        DeliveryState::Unknown { attempt, decide_at } => {
            (Some(attempt.0), decide_at.map(Timestamp::as_millis))
        }
        DeliveryState::Queued
        | DeliveryState::Delivered
        | DeliveryState::Accepted
        | DeliveryState::Failed { .. }
        | DeliveryState::Expired
        | DeliveryState::Superseded
        | DeliveryState::OptedOut => (None, None),
    };
    let last_error = match &delivery.state {
        DeliveryState::Failed { reason } => Some(reason),
        DeliveryState::Queued
        | DeliveryState::Armed { .. }
        | DeliveryState::Writing { .. }
        | DeliveryState::Submitted { .. }
        | DeliveryState::Unknown { .. }
        | DeliveryState::Delivered
        | DeliveryState::Accepted
        | DeliveryState::Expired
        | DeliveryState::Superseded
        | DeliveryState::OptedOut => delivery.last_error.as_ref(),
    };
    sqlx::query(
        "update delivery set routes = ?2, state = ?3, attempt = ?4, decide_at_ms = ?5, stop = ?6, attempts = ?7, \
         channel = ?8, reached = ?9, possible_duplicate = ?10, last_error = ?11, ended_ms = ?12 where id = ?1",
    )
    .bind(delivery.id.0)
    .bind(routes_json(&delivery.routes))
    .bind(delivery.state.as_str())
    .bind(attempt)
    .bind(decide_at)
    .bind(delivery.stop.map(Stop::as_str))
    .bind(i64::from(delivery.attempts))
    .bind(delivery.channel.as_deref())
    .bind(delivery.reached)
    .bind(delivery.possible_duplicate)
    .bind(last_error)
    .bind(delivery.ended.map(Timestamp::as_millis))
    .execute(connection)
    .await?;
    Ok(())
}

async fn put_attempt(
    connection: &mut SqliteConnection,
    attempt: &Attempt,
) -> Result<(), sqlx::Error> {
    let references: Vec<(&str, bool)> =
        attempt.references.iter().map(|r| (r.reference.as_str(), r.delivered)).collect();
    sqlx::query(
        "insert into attempt (id, delivery, channel, boot, started_ms, segments, reference_before, outcome, reason, \
         ended_ms, segment_references) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
         on conflict (id) do update set outcome = ?8, reason = ?9, ended_ms = ?10, segment_references = ?11",
    )
    .bind(attempt.id.0)
    .bind(attempt.delivery.0)
    .bind(&*attempt.channel)
    .bind(attempt.boot.0)
    .bind(attempt.started.as_millis())
    .bind(i64::from(attempt.segments))
    .bind(attempt.reference_before.map(i64::from))
    .bind(attempt.outcome.as_str())
    .bind(attempt.outcome.reason())
    .bind(attempt.ended.map(Timestamp::as_millis))
    .bind(json!(references).to_string())
    .execute(connection)
    .await?;
    Ok(())
}

/// Of warnings that are open, or about which something has yet to end.
const CURRENT: &str = "(select id from warning where ended_ms is null \
                       union select warning from delivery where ended_ms is null and warning is not null)";

impl Store {
    /// Returns what the outbox starts with, at `now`, the beginning of a run; and the number of this run.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn outbox_start(&self, now: Timestamp) -> Result<(Stored, BootId), Error> {
        let attempts = self
            .rows(
                "select * from attempt where outcome in ('open', 'accepted', 'unknown') \
                 and delivery in (select id from delivery where ended_ms is null) order by id",
            )
            .await?;
        let newest = self
            .rows(&format!(
                "select warning, max(number) as number, message_type from alert where warning in {CURRENT} group by warning"
            ))
            .await?;
        let newest = newest.iter().map(|row| {
            let warning = WarningId(get::<i64>(row, "warning")?.cast_unsigned());
            Ok((warning, get(row, "number")?, message_type(&get::<String>(row, "message_type")?)?))
        });
        let told = self
            .rows(&format!(
                "select distinct warning, recipient from delivery where warning in {CURRENT} and reached \
                 and message_type <> 'cancel'"
            ))
            .await?;
        let told = told.iter().map(|row| {
            let warning = WarningId(get::<i64>(row, "warning")?.cast_unsigned());
            Ok((warning, RecipientId(get(row, "recipient")?)))
        });
        let stored = Stored {
            deliveries: self.open_deliveries(0).await?,
            attempts: attempts.iter().map(attempt).collect::<Result<_, Error>>()?,
            attempt_last: AttemptId(self.number("select coalesce(max(id), 0) from attempt").await?),
            newest: newest.collect::<Result<_, Error>>()?,
            told: told.collect::<Result<_, Error>>()?,
            spent: self.spent(now).await?,
        };
        let boot = self.number("select coalesce(max(id), 0) from boot").await?;
        Ok((stored, BootId(boot)))
    }

    /// Returns the segments that may have left on the day of `now`.
    async fn spent(&self, now: Timestamp) -> Result<u32, Error> {
        let begins = day(now) * crate::domain::outbox::DAY_MS;
        let segments: i64 = sqlx::query_scalar(
            "select coalesce(sum(segments), 0) from attempt where started_ms >= ?1 \
             and outcome not in ('called off', 'retry', 'rejected', 'channel down')",
        )
        .bind(begins)
        .fetch_one(&self.readers)
        .await
        .map_err(Error::Read)?;
        Ok(u32::try_from(segments).unwrap_or(u32::MAX))
    }

    /// Returns the deliveries with numbers above `after` that have not reached their end.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn open_deliveries(&self, after: i64) -> Result<Vec<Delivery>, Error> {
        let rows =
            sqlx::query("select * from delivery where ended_ms is null and id > ?1 order by id")
                .bind(after)
                .fetch_all(&self.readers)
                .await
                .map_err(Error::Read)?;
        rows.iter().map(delivery).collect()
    }

    /// Returns the number of the delivery that was planned last, zero before the first.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn last_delivery(&self) -> Result<i64, Error> {
        self.number("select coalesce(max(id), 0) from delivery").await
    }

    /// Returns the deliveries of a warning, all of them without one, in the order in which they were planned.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn deliveries(&self, warning: Option<i64>) -> Result<Vec<Delivery>, Error> {
        let rows =
            sqlx::query("select * from delivery where ?1 is null or warning = ?1 order by id")
                .bind(warning)
                .fetch_all(&self.readers)
                .await
                .map_err(Error::Read)?;
        rows.iter().map(delivery).collect()
    }

    async fn rows(&self, query: &str) -> Result<Vec<SqliteRow>, Error> {
        let query = sqlx::query(AssertSqlSafe(query.to_owned()));
        query.fetch_all(&self.readers).await.map_err(Error::Read)
    }

    async fn number(&self, query: &'static str) -> Result<i64, Error> {
        sqlx::query_scalar(query).fetch_one(&self.readers).await.map_err(Error::Read)
    }
}

fn message_type(word: &str) -> Result<MessageType, Error> {
    MessageType::from_word(word).ok_or(Error::Damaged { what: "message type" })
}

fn at(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_millis))
}

fn delivery(row: &SqliteRow) -> Result<Delivery, Error> {
    let damaged = |what| Error::Damaged { what };
    let priority: i64 = get(row, "priority")?;
    let priority = PRIORITIES.into_iter().find(|p| *p as i64 == priority);
    let stop: Option<String> = get(row, "stop")?;
    let stop = stop.map(|word| {
        Stop::ALL.into_iter().find(|s| s.as_str() == word).ok_or_else(|| damaged("stop"))
    });
    let text = |column| Ok::<Arc<str>, Error>(get::<String>(row, column)?.into());
    let moment = |column| at(row, column)?.ok_or_else(|| damaged("time of a delivery"));
    Ok(Delivery {
        id: DeliveryId(get(row, "id")?),
        subject: subject(row)?,
        recipient: RecipientId(get(row, "recipient")?),
        number: text("number")?,
        text: text("body")?,
        segments: get(row, "segments")?,
        priority: priority.ok_or_else(|| damaged("priority"))?,
        rank: get(row, "rank")?,
        flash: false,
        idempotency_key: text("idempotency_key")?,
        routes: routes(&get::<String>(row, "routes")?).ok_or_else(|| damaged("route"))?,
        created: moment("created_ms")?,
        expires: moment("expires_ms")?,
        state: state(row)?,
        stop: stop.transpose()?,
        attempts: get(row, "attempts")?,
        channel: get::<Option<String>>(row, "channel")?.map(Arc::from),
        reached: get(row, "reached")?,
        possible_duplicate: get(row, "possible_duplicate")?,
        last_error: get(row, "last_error")?,
        ended: at(row, "ended_ms")?,
    })
}

fn subject(row: &SqliteRow) -> Result<Subject, Error> {
    let damaged = || Error::Damaged { what: "subject of a delivery" };
    let word: String = get(row, "subject")?;
    match word.as_str() {
        "notice" => Ok(Subject::Notice),
        "test" => Ok(Subject::Test),
        "alert" => {
            let warning: i64 = get::<Option<i64>>(row, "warning")?.ok_or_else(damaged)?;
            let number = get::<Option<u32>>(row, "alert")?.ok_or_else(damaged)?;
            let word: String = get::<Option<String>>(row, "message_type")?.ok_or_else(damaged)?;
            let message_type = message_type(&word)?;
            Ok(Subject::Alert { warning: WarningId(warning.cast_unsigned()), number, message_type })
        }
        _ => Err(damaged()),
    }
}

fn routes(written: &str) -> Option<Vec<Route>> {
    let rows: Vec<(String, u8, u32, i64, Option<String>)> = serde_json::from_str(written).ok()?;
    let route = |(channel, step, tries, not_before, rejected): (String, _, _, _, _)| Route {
        channel: channel.into(),
        step,
        tries,
        not_before: Timestamp::from_millis(not_before),
        rejected,
    };
    Some(rows.into_iter().map(route).collect())
}

fn state(row: &SqliteRow) -> Result<DeliveryState, Error> {
    let damaged = || Error::Damaged { what: "delivery state" };
    let word: String = row.try_get("state").map_err(Error::Read)?;
    let attempt = get::<Option<i64>>(row, "attempt")?.map(AttemptId);
    let known = || attempt.ok_or_else(damaged);
    Ok(match word.as_str() {
        "queued" => DeliveryState::Queued,
        "writing" => DeliveryState::Writing { attempt: known()? },
        "submitted" => DeliveryState::Submitted { attempt: known()? },
        // What was told from memory has no attempt.
        "unknown" => DeliveryState::Unknown {
            attempt: attempt.unwrap_or_default(),
            decide_at: at(row, "decide_at_ms")?,
        },
        "delivered" => DeliveryState::Delivered,
        "accepted" => DeliveryState::Accepted,
        "failed" => {
            let reason: Option<String> = get(row, "last_error")?;
            DeliveryState::Failed { reason: reason.unwrap_or_default() }
        }
        "expired" => DeliveryState::Expired,
        "superseded" => DeliveryState::Superseded,
        "opted out" => DeliveryState::OptedOut,
        _ => return Err(damaged()),
    })
}

fn attempt(row: &SqliteRow) -> Result<Attempt, Error> {
    let damaged = |what| Error::Damaged { what };
    let references: Vec<(String, bool)> =
        serde_json::from_str(&get::<String>(row, "segment_references")?)
            .map_err(|_| damaged("segment reference"))?;
    let word: String = get(row, "outcome")?;
    let reason = get::<Option<String>>(row, "reason")?.unwrap_or_default();
    Ok(Attempt {
        id: AttemptId(get(row, "id")?),
        delivery: DeliveryId(get(row, "delivery")?),
        channel: get::<String>(row, "channel")?.into(),
        boot: BootId(get(row, "boot")?),
        started: at(row, "started_ms")?.ok_or_else(|| damaged("time of an attempt"))?,
        segments: get(row, "segments")?,
        reference_before: get(row, "reference_before")?,
        // The others need no memory: nothing of them may have left.
        outcome: match word.as_str() {
            "open" => Outcome::Open,
            "accepted" => Outcome::Accepted,
            "unknown" => Outcome::Unknown { reason },
            _ => return Err(damaged("outcome of an attempt")),
        },
        ended: at(row, "ended_ms")?,
        references: references
            .into_iter()
            .map(|(reference, delivered)| Reference { reference, delivered })
            .collect(),
    })
}
