//! Deliveries as rows.

use super::query::get;
use super::{Error, Store};
use crate::domain::message::{DeliveryId, Priority};
use crate::domain::outbox::{Delivery, End, Reference, State};
use crate::domain::plan::Planned;
use crate::domain::recipient::{PhoneNumber, RecipientId};
use crate::domain::time::Timestamp;
use crate::domain::warning::{MessageType, WarningId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

/// A planned delivery and the segments that its text takes.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// What was planned.
    pub planned: Planned,
    /// Segments.
    pub segments: u32,
    /// It has been told from memory, while the disk failed: only the record of it is wanted.
    pub told_from_memory: bool,
}

const PRIORITIES: [Priority; 3] = [Priority::Danger, Priority::Warning, Priority::Advice];
const MESSAGE_TYPES: [MessageType; 3] =
    [MessageType::Alert, MessageType::Update, MessageType::Cancel];

/// What the outbox starts with.
#[derive(Debug, Default)]
pub struct OutboxStart {
    /// Deliveries that have not reached their end.
    pub open: Vec<Delivery>,
    /// Who has, or may have, been told of which warning that has not ended.
    pub told: Vec<(WarningId, RecipientId)>,
    /// Segments handed over since the beginning of the day.
    pub segments_today: u32,
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    delivery: &NewDelivery,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let planned = &delivery.planned;
    sqlx::query(
        "insert into delivery (warning, alert, message_type, recipient, number, body, segments, priority, rank, channels, \
         channel, refused, created_ms, expires_ms, due_ms, attempts, possible_duplicate, state, segment_references, reason, ended_ms) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 0, '', ?11, ?12, ?11, 0, 0, ?13, '[]', ?14, ?15)",
    )
    .bind(planned.alert.map(|(warning, _)| warning.0.cast_signed()))
    .bind(planned.alert.map(|(_, number)| i64::from(number)))
    .bind(planned.message_type.as_str())
    .bind(planned.recipient.0)
    .bind(planned.number.as_str())
    .bind(&planned.text)
    .bind(i64::from(delivery.segments))
    .bind(planned.priority as i64)
    .bind(i64::from(planned.rank))
    .bind(planned.channels.join(" "))
    .bind(at.as_millis())
    .bind(planned.expires.as_millis())
    .bind(if delivery.told_from_memory { "unknown" } else { "queued" })
    .bind(delivery.told_from_memory.then_some("told from memory while the disk failed"))
    .bind(delivery.told_from_memory.then_some(at.as_millis()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down where deliveries stand; one that is being written gets the record of its attempt.
pub(super) async fn update(
    connection: &mut SqliteConnection,
    deliveries: &[Delivery],
    boot: i64,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    for delivery in deliveries {
        let references: Vec<(&str, bool)> =
            delivery.references().iter().map(|r| (r.reference.as_str(), r.delivered)).collect();
        let since = match &delivery.state {
            State::Submitted { since, .. } | State::Unknown { since, .. } => {
                Some(since.as_millis())
            }
            State::Queued | State::Writing | State::Ended(_) => None,
        };
        let refused: Vec<String> = delivery.refused.iter().map(ToString::to_string).collect();
        sqlx::query(
            "update delivery set channel = ?2, refused = ?3, due_ms = ?4, attempts = ?5, possible_duplicate = ?6, \
             state = ?7, since_ms = ?8, \
             segment_references = case when ?9 = '[]' then segment_references else ?9 end, \
             reason = ?10, ended_ms = ?11 where id = ?1",
        )
        .bind(delivery.id.0)
        .bind(i64::try_from(delivery.channel_number).unwrap_or(0))
        .bind(refused.join(" "))
        .bind(delivery.due.as_millis())
        .bind(i64::from(delivery.attempts))
        .bind(delivery.possible_duplicate)
        .bind(delivery.state.as_str())
        .bind(since)
        .bind(serde_json::to_string(&references).unwrap_or_default())
        .bind(&delivery.reason)
        .bind(delivery.ended.map(Timestamp::as_millis))
        .execute(&mut *connection)
        .await?;
        if matches!(delivery.state, State::Writing) {
            sqlx::query(
                "insert into attempt (delivery, channel, boot, at_ms) values (?1, ?2, ?3, ?4)",
            )
            .bind(delivery.id.0)
            .bind(delivery.channel().unwrap_or_default())
            .bind(boot)
            .bind(now.as_millis())
            .execute(&mut *connection)
            .await?;
        }
    }
    Ok(())
}

impl Store {
    /// Returns what the outbox starts with: at `now`, the beginning of a run.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn outbox_start(&self, now: Timestamp) -> Result<OutboxStart, Error> {
        let told = sqlx::query(
            "select distinct warning, recipient from delivery join warning on warning.id = delivery.warning \
             where warning.ended_ms is null and state in ('writing', 'submitted', 'unknown', 'delivered', 'accepted') \
             or warning in (select warning from delivery where ended_ms is null) \
             and state in ('writing', 'submitted', 'unknown', 'delivered', 'accepted')",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(Error::Read)?;
        let told = told.iter().map(|row| {
            let warning: i64 = get(row, "warning")?;
            Ok((WarningId(warning.cast_unsigned()), RecipientId(get(row, "recipient")?)))
        });
        let day = now.as_millis().div_euclid(86_400_000) * 86_400_000;
        let segments: i64 = sqlx::query_scalar(
            "select coalesce(sum(segments), 0) from attempt join delivery on delivery.id = attempt.delivery where at_ms >= ?1",
        )
        .bind(day)
        .fetch_one(&self.readers)
        .await
        .map_err(Error::Read)?;
        Ok(OutboxStart {
            open: self.open_deliveries(0).await?,
            told: told.collect::<Result<_, Error>>()?,
            segments_today: u32::try_from(segments).unwrap_or(u32::MAX),
        })
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
        sqlx::query_scalar("select coalesce(max(id), 0) from delivery")
            .fetch_one(&self.readers)
            .await
            .map_err(Error::Read)
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
}

fn delivery(row: &SqliteRow) -> Result<Delivery, Error> {
    let damaged = |what| Error::Damaged { what };
    let number: String = get(row, "number")?;
    let message_type: String = get(row, "message_type")?;
    let message_type = MESSAGE_TYPES.into_iter().find(|m| m.as_str() == message_type);
    let priority: i64 = get(row, "priority")?;
    let priority = PRIORITIES.into_iter().find(|p| *p as i64 == priority);
    let warning: Option<i64> = get(row, "warning")?;
    let words =
        |text: String| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let at = |column| -> Result<Timestamp, Error> { Ok(Timestamp::from_millis(get(row, column)?)) };
    let ended: Option<i64> = get(row, "ended_ms")?;
    Ok(Delivery {
        id: DeliveryId(get(row, "id")?),
        alert: warning.map(|w| WarningId(w.cast_unsigned())).zip(get::<Option<u32>>(row, "alert")?),
        message_type: message_type.ok_or_else(|| damaged("message type"))?,
        recipient: RecipientId(get(row, "recipient")?),
        number: PhoneNumber::parse(&number).map_err(|_| damaged("telephone number"))?,
        text: get(row, "body")?,
        segments: get(row, "segments")?,
        priority: priority.ok_or_else(|| damaged("priority"))?,
        rank: get(row, "rank")?,
        channels: words(get(row, "channels")?),
        channel_number: usize::try_from(get::<i64>(row, "channel")?).unwrap_or(0),
        refused: words(get(row, "refused")?)
            .iter()
            .filter_map(|place| place.parse().ok())
            .collect(),
        created: at("created_ms")?,
        expires: at("expires_ms")?,
        due: at("due_ms")?,
        attempts: get(row, "attempts")?,
        possible_duplicate: get(row, "possible_duplicate")?,
        state: state(row, ended.is_some())?,
        reason: get(row, "reason")?,
        ended: ended.map(Timestamp::from_millis),
    })
}

fn state(row: &SqliteRow, ended: bool) -> Result<State, Error> {
    let word: String = row.try_get("state").map_err(Error::Read)?;
    let since = Timestamp::from_millis(get::<Option<i64>>(row, "since_ms")?.unwrap_or(0));
    let written: String = get(row, "segment_references")?;
    let references = || -> Vec<Reference> {
        let pairs: Vec<(String, bool)> = serde_json::from_str(&written).unwrap_or_default();
        pairs.into_iter().map(|(reference, delivered)| Reference { reference, delivered }).collect()
    };
    let reason: Option<String> = get(row, "reason")?;
    Ok(match (word.as_str(), ended) {
        ("queued", false) => State::Queued,
        ("writing", false) => State::Writing,
        ("submitted", false) => State::Submitted { references: references(), since },
        ("unknown", false) => State::Unknown { references: references(), since },
        ("unknown", true) => State::Ended(End::Unknown),
        ("delivered", true) => State::Ended(End::Delivered),
        ("accepted", true) => State::Ended(End::Accepted),
        ("failed", true) => State::Ended(End::Failed { reason: reason.unwrap_or_default() }),
        ("expired", true) => State::Ended(End::Expired),
        ("superseded", true) => State::Ended(End::Superseded),
        ("opted_out", true) => State::Ended(End::OptedOut),
        (_, true | false) => return Err(Error::Damaged { what: "delivery state" }),
    })
}
