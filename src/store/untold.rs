//! What the hub has not said that it has: read for a packet, and marked once its answer is there.

use super::query::get;
use super::turn::stamp_of;
use super::writer::Command;
use super::{Error, Store};
use crate::domain::quantity::Quantity;
use crate::domain::reading::{NodeName, Quality, Stamp};
use crate::domain::time::{ClockQuality, Timestamp, WallClock};
use sqlx::SqliteConnection;
use std::ops::RangeInclusive;

/// Blocks that are read at once.
const BLOCKS_MAX: usize = 256;

/// An alert that is to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct UntoldAlert {
    /// Number of the warning.
    pub warning: i64,
    /// Counts the alerts of the warning.
    pub number: i64,
    /// CAP message type, reason, level, and the highest level so far, as words.
    pub words: [String; 4],
    /// What threatens.
    pub hazard: String,
    /// Where.
    pub area: String,
    /// The rule that decided.
    pub rule: String,
    /// Version of the rule book.
    pub rule_book: String,
    /// When it was decided.
    pub sent: Timestamp,
    /// Until when it holds.
    pub expires: Timestamp,
    /// The signals that it rests on, JSON object of signal and value.
    pub observed: String,
}

/// What has become of an alert's deliveries so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntoldOutcome {
    /// Number of the warning.
    pub warning: i64,
    /// Counts the alerts of the warning.
    pub number: i64,
    /// Whom it was for; of those delivered, accepted, failed, expired, still waiting.
    pub figures: [u32; 6],
}

/// A block that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntoldBlock {
    /// Its place in the chain.
    pub number: i64,
    /// The link of the chain before it.
    pub previous: [u8; 32],
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Blocks that wait to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many.
    pub blocks: i64,
    /// Their bytes.
    pub bytes: i64,
    /// When the oldest reading in them was judged, Unix ms, as best known.
    pub oldest_unix_ms: Option<i64>,
}

/// Which of the blocks that wait goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOrder {
    /// The oldest.
    OldestFirst,
    /// Those of the newest run that can be read alone, in their order; then those of the run before.
    NewestFirst,
}

/// What the hub has said that it has, or lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The calendar of a run, as it was told.
    Boot(i64, WallClock),
    /// The dictionary of a rule book.
    Book(String),
    /// It lacks dictionaries.
    NoBooks,
    /// An alert: of that warning, with that number.
    Alert(i64, i64),
    /// These figures of an alert.
    Outcome(UntoldOutcome),
    /// The end of a warning.
    Ending(i64),
    /// A block.
    Block(i64),
    /// It lacks blocks.
    NoBlocks(RangeInclusive<i64>),
    /// Blocks up to this one are gone.
    Gone(i64),
    /// The packet of this number.
    Packet(u64),
}

/// The newest reading of a series that is in no block yet.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestReading {
    /// The node that sent it.
    pub node: NodeName,
    /// What was measured.
    pub quantity: Quantity,
    /// When it was measured, on the time line, as far as that is known.
    pub at: Timestamp,
    /// The value; NaN where none came.
    pub value: f64,
    /// How far it can be believed.
    pub quality: Quality,
}

impl Store {
    /// Returns alerts that are to be told, in the order of their making, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn untold_alerts(&self, limit: i64) -> Result<Vec<UntoldAlert>, Error> {
        let rows = sqlx::query(
            "select alert.*, hazard, area, (select case max(case level when 'danger' then 3 when 'warning' then 2 else 1 end) \
             when 3 then 'danger' when 2 then 'warning' else 'advisory' end from alert earlier \
             where earlier.warning = alert.warning and earlier.number <= alert.number) as level_max \
             from alert join warning on warning.id = alert.warning where alert.told = 0 order by warning, number limit ?1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(Error::Read)?;
        rows.iter()
            .map(|row| {
                Ok(UntoldAlert {
                    warning: get(row, "warning")?,
                    number: get(row, "number")?,
                    words: [
                        get(row, "message_type")?,
                        get(row, "reason")?,
                        get(row, "level")?,
                        get(row, "level_max")?,
                    ],
                    hazard: get(row, "hazard")?,
                    area: get(row, "area")?,
                    rule: get(row, "rule")?,
                    rule_book: get(row, "rule_book")?,
                    sent: Timestamp::from_millis(get(row, "sent_ms")?),
                    expires: Timestamp::from_millis(get(row, "expires_ms")?),
                    observed: get(row, "observed")?,
                })
            })
            .collect()
    }

    /// Returns rule books that alerts name, and whose dictionary the hub does not have: the version, and the texts that it
    /// was read from.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn untold_books(&self, limit: i64) -> Result<Vec<(String, String)>, Error> {
        sqlx::query_as(
            "select version, sources from rule_book where told = 0 \
             and exists (select 1 from alert where alert.rule_book = version) order by version limit ?1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(Error::Read)
    }

    /// Returns warnings whose end is to be told, with when and how they ended, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn untold_endings(&self, limit: i64) -> Result<Vec<(i64, Timestamp, String)>, Error> {
        let rows: Vec<(i64, i64, String)> = sqlx::query_as(
            "select id, ended_ms, coalesce(ending, 'expired') from warning \
             where end_told = 0 and ended_ms is not null order by id limit ?1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(Error::Read)?;
        let ended = |(id, ms, ending)| (id, Timestamp::from_millis(ms), ending);
        Ok(rows.into_iter().map(ended).collect())
    }

    /// Returns alerts of which the hub knows other figures than those that hold now, at most `limit`. Alerts from before
    /// `since` are left as they were told.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn untold_outcomes(
        &self,
        since: Timestamp,
        limit: i64,
    ) -> Result<Vec<UntoldOutcome>, Error> {
        let rows = sqlx::query(
            "select warning, number, recipients, delivered, accepted, failed, expired, waiting from ( \
             select alert.warning as warning, alert.number as number, outcome_told, count(*) as recipients, \
             sum(state = 'delivered') as delivered, sum(state = 'accepted') as accepted, \
             sum(state in ('failed', 'unknown', 'opted out') and ended_ms is not null) as failed, \
             sum(state in ('expired', 'superseded')) as expired, sum(ended_ms is null) as waiting \
             from alert join delivery on delivery.warning = alert.warning and delivery.alert = alert.number \
             where sent_ms >= ?1 group by alert.warning, alert.number) \
             where outcome_told <> format('%d %d %d %d %d %d', recipients, delivered, accepted, failed, expired, waiting) \
             order by warning, number limit ?2",
        )
        .bind(since.as_millis())
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(Error::Read)?;
        let figures = ["recipients", "delivered", "accepted", "failed", "expired", "waiting"];
        rows.iter()
            .map(|row| {
                let mut outcome = UntoldOutcome {
                    warning: get(row, "warning")?,
                    number: get(row, "number")?,
                    figures: [0; 6],
                };
                for (figure, column) in outcome.figures.iter_mut().zip(figures) {
                    *figure = get(row, column)?;
                }
                Ok(outcome)
            })
            .collect()
    }

    /// Returns runs whose calendar the hub does not know as it is known here: number, begin, calendar; the newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn untold_boots(
        &self,
        limit: i64,
    ) -> Result<Vec<(i64, Timestamp, WallClock)>, Error> {
        let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(
            "select id, at_ms, offset_ms, quality from boot \
             where told is null or told <> offset_ms || ' ' || quality order by id desc limit ?1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(Error::Read)?;
        rows.into_iter()
            .map(|(id, at_ms, offset_ms, quality)| {
                let quality = ClockQuality::from_word(&quality)
                    .ok_or(Error::Damaged { what: "clock quality" })?;
                Ok((id, Timestamp::from_millis(at_ms), WallClock { offset_ms, quality }))
            })
            .collect()
    }

    /// Returns stretches of the chain that were removed and are to be told: first and last number.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn untold_gone(&self, limit: i64) -> Result<Vec<(i64, i64)>, Error> {
        sqlx::query_as("select first, last from block_gone where told = 0 order by last limit ?1")
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .map_err(Error::Read)
    }

    /// Returns the next blocks that are to be told, as many as have `bytes_max` bytes together, but one at the least.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn untold_blocks(
        &self,
        order: BlockOrder,
        bytes_max: usize,
    ) -> Result<Vec<UntoldBlock>, Error> {
        let from = match order {
            BlockOrder::OldestFirst => "1",
            BlockOrder::NewestFirst => {
                "(select max(number) from block where alone = 1 and number <= (select max(number) from block where told = 0))"
            }
        };
        let sql = format!(
            "select number, bytes, coalesce((select link from block before where before.number = block.number - 1), \
             (select link from block_gone where last = block.number - 1)) as previous \
             from block where told = 0 and number >= {from} order by number limit 1 offset ?1"
        );
        let (mut found, mut bytes) = (Vec::new(), 0);
        loop {
            let row = sqlx::query(sqlx::AssertSqlSafe(sql.as_str()))
                .bind(i64::try_from(found.len()).unwrap_or(i64::MAX))
                .fetch_optional(&self.readers)
                .await
                .map_err(Error::Read)?;
            let Some(row) = row else { return Ok(found) };
            let previous: Option<Vec<u8>> = get(&row, "previous")?;
            let previous = previous.map_or(Ok([0; 32]), TryInto::try_into);
            let block = UntoldBlock {
                number: get(&row, "number")?,
                previous: previous.map_err(|_| Error::Damaged { what: "link of a block" })?,
                bytes: get(&row, "bytes")?,
            };
            bytes += block.bytes.len();
            if (bytes > bytes_max || found.len() == BLOCKS_MAX) && !found.is_empty() {
                return Ok(found);
            }
            found.push(block);
        }
    }

    /// Returns the newest reading of each series that has readings in no block yet, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn latest(&self, limit: i64) -> Result<Vec<LatestReading>, Error> {
        let rows = sqlx::query(
            "select node, quantity, at_ms, stamp, value, reading.quality as quality from reading \
             join series on series.id = reading.series join turn on turn.id = reading.turn \
             where reading.id in (select max(id) from reading where id > (select coalesce(max(last), 0) from block) \
             group by series) order by reading.id desc limit ?1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(Error::Read)?;
        rows.iter()
            .map(|row| {
                let quantity: String = get(row, "quantity")?;
                let quality = Quality::from_code(get(row, "quality")?);
                let stamp = get::<Option<i64>>(row, "stamp")?.map(stamp_of);
                let age_ms = match stamp {
                    Some(Stamp::Age(ms)) => ms,
                    Some(Stamp::Unix(_)) | None => 0,
                };
                Ok(LatestReading {
                    node: NodeName(get::<String>(row, "node")?.into()),
                    quantity: Quantity::from_name(&quantity)
                        .ok_or(Error::Damaged { what: "quantity" })?,
                    at: Timestamp::from_millis(get::<i64>(row, "at_ms")?.saturating_sub(age_ms)),
                    value: get::<Option<f64>>(row, "value")?.unwrap_or(f64::NAN),
                    quality: quality.ok_or(Error::Damaged { what: "quality" })?,
                })
            })
            .collect()
    }

    /// Returns the number of the last packet that was answered.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn last_packet(&self) -> Result<u64, Error> {
        let number: i64 = sqlx::query_scalar("select packet from uplink")
            .fetch_one(&self.readers)
            .await
            .map_err(Error::Read)?;
        Ok(number.cast_unsigned())
    }

    /// Returns what waits to be told of blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        let (blocks, bytes): (i64, i64) = sqlx::query_as(
            "select count(*), coalesce(sum(length(bytes)), 0) from block where told = 0",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(Error::Read)?;
        let oldest: Option<i64> = sqlx::query_scalar(
            "select at_from_ms + offset_ms from block join boot on boot.id = block.boot where block.told = 0 \
             order by number limit 1",
        )
        .fetch_optional(&self.readers)
        .await
        .map_err(Error::Read)?;
        Ok(Backlog { blocks, bytes, oldest_unix_ms: oldest })
    }

    /// Writes down what the hub has said. When this returns `Ok`, it is on disk.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn told(&self, told: Vec<Told>) -> Result<(), Error> {
        self.ask(|reply| Command::Told(told, reply)).await
    }
}

/// Writes down what the hub has said, in the transaction that is open on `connection`.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    told: &[Told],
) -> Result<(), sqlx::Error> {
    for told in told {
        let query = match told {
            Told::Boot(id, wall) => sqlx::query("update boot set told = ?2 where id = ?1")
                .bind(id)
                .bind(format!("{} {}", wall.offset_ms, wall.quality.as_str())),
            Told::Book(version) => {
                sqlx::query("update rule_book set told = 1 where version = ?1").bind(version)
            }
            Told::NoBooks => sqlx::query("update rule_book set told = 0"),
            Told::Alert(warning, number) => {
                sqlx::query("update alert set told = 1 where warning = ?1 and number = ?2")
                    .bind(warning)
                    .bind(number)
            }
            Told::Outcome(outcome) => {
                sqlx::query("update alert set outcome_told = ?3 where warning = ?1 and number = ?2")
                    .bind(outcome.warning)
                    .bind(outcome.number)
                    .bind(outcome.figures.map(|figure| figure.to_string()).join(" "))
            }
            Told::Ending(warning) => {
                sqlx::query("update warning set end_told = 1 where id = ?1").bind(warning)
            }
            Told::Block(number) => {
                sqlx::query("update block set told = 1 where number = ?1").bind(number)
            }
            Told::NoBlocks(numbers) => {
                sqlx::query("update block_gone set told = 0 where last >= ?1 and first <= ?2")
                    .bind(numbers.start())
                    .bind(numbers.end())
                    .execute(&mut *connection)
                    .await?;
                sqlx::query("update block set told = 0 where number between ?1 and ?2")
                    .bind(numbers.start())
                    .bind(numbers.end())
            }
            Told::Packet(number) => {
                sqlx::query("update uplink set packet = ?1").bind(number.cast_signed())
            }
            Told::Gone(last) => {
                sqlx::query("update block_gone set told = 1 where last = ?1").bind(last)
            }
        };
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
