//! Sealed blocks of readings: what is not sealed yet, what is, and what a look back finds of both.
//!
//! A block's bytes mean nothing here; `archive` makes and reads them.

use super::query::get;
use super::turn::stamp_of;
use super::writer::Command;
use super::{Error, Store};
use crate::domain::quantity::Quantity;
use crate::domain::reading::{NodeName, Quality, Stamp};
use crate::domain::time::{ClockQuality, Timestamp, WallClock};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, SqliteConnection, Transaction};
use std::collections::BTreeMap;

/// Turns and readings that are removed in one transaction: who waits for the writer waits for these.
const PRUNED_MAX: i64 = 4096;

/// A stored reading that is in no block yet.
#[derive(Clone, Debug)]
pub struct HotReading {
    /// Its number: its place in the order in which readings were judged.
    pub number: i64,
    /// The run in which it was judged.
    pub boot: i64,
    /// Its series, by number here.
    pub series: i64,
    /// The node that sent it.
    pub node: NodeName,
    /// What was measured.
    pub quantity: Quantity,
    /// When it was judged.
    pub at: Timestamp,
    /// Where the time line of its run stands on the calendar, as best known now.
    pub clock: WallClock,
    /// When it was measured, as far as its node said.
    pub stamp: Option<Stamp>,
    /// The value; NaN where none came.
    pub value: f64,
    /// How far it can be believed.
    pub quality: Quality,
}

/// First and last of some times, both included, ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from_ms: i64,
    /// The last.
    pub until_ms: i64,
}

impl Span {
    /// Returns the span of one time.
    #[must_use]
    pub const fn at(ms: i64) -> Self {
        Self { from_ms: ms, until_ms: ms }
    }

    /// Returns the span that holds both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            from_ms: self.from_ms.min(other.from_ms),
            until_ms: self.until_ms.max(other.until_ms),
        }
    }
}

/// What is known of a block without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// Its place in the chain, from 1.
    pub number: i64,
    /// The run to which its readings belong.
    pub boot: i64,
    /// Numbers of its first and last reading.
    pub sequence: (i64, i64),
    /// How many readings it has.
    pub readings: i64,
    /// When they were judged, on the time line.
    pub at: Span,
    /// The earliest measured of those that have no Unix time of their node, on the time line.
    pub line_from_ms: Option<i64>,
    /// Unix times of those that have one.
    pub stamps: Option<Span>,
    /// Whether it needs no block before it to be read.
    pub alone: bool,
    /// The link of the chain after it.
    pub link: [u8; 32],
}

/// A block to be kept.
#[derive(Clone, Debug)]
pub struct NewBlock {
    /// What is known of it.
    pub head: BlockHead,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What its readings add to the days of their series.
    pub days: BTreeMap<(i64, i64), Day>,
}

/// A block as it is kept.
#[derive(Clone, Debug)]
pub struct Block {
    /// What is known of it.
    pub head: BlockHead,
    /// Where the time line of its run stands on the calendar, as best known now.
    pub clock: WallClock,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What good readings of a day came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Day {
    /// How many there were.
    pub readings: i64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
    /// Their sum: the mean is this divided by how many there were.
    pub total: f64,
}

impl Day {
    /// Returns what one reading comes to.
    #[must_use]
    pub const fn of(value: f64) -> Self {
        Self { readings: 1, low: value, high: value, total: value }
    }

    /// Returns what both come to.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            readings: self.readings + other.readings,
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            total: self.total + other.total,
        }
    }
}

/// A day of a series, to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct DayRow {
    /// Days since 1970-01-01 UTC.
    pub day: i64,
    /// Name of the node.
    pub node: String,
    /// What was measured.
    pub quantity: Quantity,
    /// What its good readings came to.
    pub of: Day,
}

/// How far sealing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Number of the last block, 0 where there is none.
    pub number: i64,
    /// The link after it.
    pub link: [u8; 32],
    /// Number of the last reading that is in a block.
    pub last: i64,
}

/// What is not sealed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many readings.
    pub readings: i64,
    /// When the first of them was judged.
    pub since: Timestamp,
    /// How far the calendar of its run is believed.
    pub clock: ClockQuality,
}

impl Store {
    /// Returns how far sealing has come.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn sealed(&self) -> Result<Sealed, Error> {
        let row = sqlx::query("select number, link, last from block order by number desc limit 1")
            .fetch_optional(&self.readers)
            .await
            .map_err(Error::Read)?;
        let Some(row) = row else { return Ok(Sealed { number: 0, link: [0; 32], last: 0 }) };
        Ok(Sealed { number: get(&row, "number")?, link: link(&row)?, last: get(&row, "last")? })
    }

    /// Returns stored readings after number `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn unsealed(&self, after: i64, limit: i64) -> Result<Vec<HotReading>, Error> {
        let mut connection = self.readers.acquire().await.map_err(Error::Read)?;
        hot(&mut connection, after, limit).await
    }

    /// Returns what is stored after reading `after`; nothing where nothing is.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn waiting(&self, after: i64) -> Result<Option<Waiting>, Error> {
        let row = sqlx::query(
            "select (select max(id) from reading) - ?1 as readings, turn.at_ms as at_ms, boot.quality as clock \
             from turn join boot on boot.id = turn.boot \
             where turn.id = (select turn from reading where id > ?1 order by id limit 1)",
        )
        .bind(after)
        .fetch_optional(&self.readers)
        .await
        .map_err(Error::Read)?;
        row.map(|row| {
            let word: String = get(&row, "clock")?;
            let clock = ClockQuality::from_word(&word);
            Ok(Waiting {
                readings: get(&row, "readings")?,
                since: Timestamp::from_millis(get(&row, "at_ms")?),
                clock: clock.ok_or(Error::Damaged { what: "clock quality" })?,
            })
        })
        .transpose()
    }

    /// Returns the name of this database's chain of blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn chain(&self) -> Result<u32, Error> {
        let name: i64 = sqlx::query_scalar("select name from chain")
            .fetch_one(&self.readers)
            .await
            .map_err(Error::Read)?;
        u32::try_from(name).map_err(|_| Error::Damaged { what: "name of the chain" })
    }

    /// Keeps a block. Its readings stay where they are, too, until [`Store::prune`].
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn seal(&self, block: NewBlock) -> Result<(), Error> {
        self.ask(|reply| Command::Seal(Box::new(block), reply)).await
    }

    /// Removes readings that are in blocks and that no start needs any more, and the turns that decided nothing, a
    /// bounded number of them. Returns how many readings went: none when there is nothing to do.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn prune(&self) -> Result<u64, Error> {
        self.ask(Command::Prune).await
    }

    /// Returns the days of series from day `from` on and before day `until`, counted from 1970-01-01 UTC.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn days(&self, from: i64, until: i64) -> Result<Vec<DayRow>, Error> {
        let rows = sqlx::query(
            "select day, node, quantity, readings, low, high, total from day \
             join series on series.id = day.series where day >= ?1 and day < ?2 \
             order by node, quantity, day",
        )
        .bind(from)
        .bind(until)
        .fetch_all(&self.readers)
        .await
        .map_err(Error::Read)?;
        rows.iter()
            .map(|row| {
                let (readings, total) = (get(row, "readings")?, get(row, "total")?);
                Ok(DayRow {
                    day: get(row, "day")?,
                    node: get(row, "node")?,
                    quantity: quantity(row)?,
                    of: Day { readings, low: get(row, "low")?, high: get(row, "high")?, total },
                })
            })
            .collect()
    }

    /// Begins a look back: what it finds is as things stand now, whatever is written meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn look_back(&self) -> Result<LookBack, Error> {
        Ok(LookBack { at: self.readers.begin().await.map_err(Error::Read)? })
    }
}

/// A look at what is stored, all of it as it stood at one moment. Hold it for as short as can be: the log that the writer
/// writes cannot be cut back meanwhile.
pub struct LookBack {
    at: Transaction<'static, Sqlite>,
}

/// Columns of a block and of the run that it belongs to.
const BLOCK: &str =
    "select block.*, offset_ms, quality as clock from block join boot on boot.id = block.boot";

impl LookBack {
    /// Returns the first block from `number` on.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn block(&mut self, number: i64) -> Result<Option<Block>, Error> {
        let sql = format!("{BLOCK} where number >= ?1 order by number limit 1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(number)
            .fetch_optional(&mut *self.at)
            .await
            .map_err(Error::Read)?;
        row.as_ref().map(block).transpose()
    }

    /// Returns the number of the first block from `number` on that may have what is wanted: readings after number
    /// `after`, in this span of Unix time.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn candidate(
        &mut self,
        number: i64,
        after: i64,
        (from_ms, until_ms): (Option<i64>, Option<i64>),
    ) -> Result<Option<i64>, Error> {
        sqlx::query_scalar(
            "select number from block join boot on boot.id = block.boot \
             where number >= ?1 and last > ?2 and ( \
             line_from_ms is not null and (?3 is null or at_until_ms + offset_ms >= ?3) and (?4 is null or line_from_ms + offset_ms < ?4) or \
             stamp_from_ms is not null and (?3 is null or stamp_until_ms >= ?3) and (?4 is null or stamp_from_ms < ?4)) \
             order by number limit 1",
        )
        .bind(number)
        .bind(after)
        .bind(from_ms)
        .bind(until_ms)
        .fetch_optional(&mut *self.at)
        .await
        .map_err(Error::Read)
    }

    /// Returns the last block up to `number` that stands alone: from there on it can be read.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn beginning(&mut self, number: i64) -> Result<Option<i64>, Error> {
        sqlx::query_scalar("select max(number) from block where alone = 1 and number <= ?1")
            .bind(number)
            .fetch_one(&mut *self.at)
            .await
            .map_err(Error::Read)
    }

    /// Returns the link of the chain after a block, also where that was removed; nothing before the first.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn link_after(&mut self, number: i64) -> Result<Option<[u8; 32]>, Error> {
        let row = sqlx::query(
            "select link from block where number = ?1 \
             union all select link from block_gone where last = ?1",
        )
        .bind(number)
        .fetch_optional(&mut *self.at)
        .await
        .map_err(Error::Read)?;
        row.as_ref().map(link).transpose()
    }

    /// Returns how far sealing had come.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn sealed(&mut self) -> Result<(i64, i64), Error> {
        sqlx::query_as("select coalesce(max(number), 0), coalesce(max(last), 0) from block")
            .fetch_one(&mut *self.at)
            .await
            .map_err(Error::Read)
    }

    /// Returns stored readings after number `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn hot(&mut self, after: i64, limit: i64) -> Result<Vec<HotReading>, Error> {
        hot(&mut self.at, after, limit).await
    }
}

async fn hot(
    connection: &mut SqliteConnection,
    after: i64,
    limit: i64,
) -> Result<Vec<HotReading>, Error> {
    let rows = sqlx::query(
        "select reading.id as number, turn.boot as boot, series, node, quantity, turn.at_ms as at_ms, offset_ms, \
         boot.quality as clock, stamp, value, reading.quality as quality \
         from reading join series on series.id = reading.series join turn on turn.id = reading.turn \
         join boot on boot.id = turn.boot where reading.id > ?1 order by reading.id limit ?2",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(connection)
    .await
    .map_err(Error::Read)?;
    let mut names: BTreeMap<i64, NodeName> = BTreeMap::new();
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let series = get(row, "series")?;
        let node = if let Some(name) = names.get(&series) {
            name.clone()
        } else {
            let name = NodeName(get::<String>(row, "node")?.into());
            names.entry(series).or_insert(name).clone()
        };
        let quality = Quality::from_code(get(row, "quality")?);
        found.push(HotReading {
            number: get(row, "number")?,
            boot: get(row, "boot")?,
            series,
            node,
            quantity: quantity(row)?,
            at: Timestamp::from_millis(get(row, "at_ms")?),
            clock: clock(row)?,
            stamp: get::<Option<i64>>(row, "stamp")?.map(stamp_of),
            value: get::<Option<f64>>(row, "value")?.unwrap_or(f64::NAN),
            quality: quality.ok_or(Error::Damaged { what: "quality" })?,
        });
    }
    Ok(found)
}

fn quantity(row: &SqliteRow) -> Result<Quantity, Error> {
    let name: String = get(row, "quantity")?;
    Quantity::from_name(&name).ok_or(Error::Damaged { what: "quantity" })
}

fn clock(row: &SqliteRow) -> Result<WallClock, Error> {
    let word: String = get(row, "clock")?;
    let quality = ClockQuality::from_word(&word).ok_or(Error::Damaged { what: "clock quality" })?;
    Ok(WallClock { offset_ms: get(row, "offset_ms")?, quality })
}

fn link(row: &SqliteRow) -> Result<[u8; 32], Error> {
    let bytes: Vec<u8> = get(row, "link")?;
    bytes.try_into().map_err(|_| Error::Damaged { what: "link of a block" })
}

fn block(row: &SqliteRow) -> Result<Block, Error> {
    let stamps: (Option<i64>, Option<i64>) =
        (get(row, "stamp_from_ms")?, get(row, "stamp_until_ms")?);
    Ok(Block {
        head: BlockHead {
            number: get(row, "number")?,
            boot: get(row, "boot")?,
            sequence: (get(row, "first")?, get(row, "last")?),
            readings: get(row, "readings")?,
            at: Span { from_ms: get(row, "at_from_ms")?, until_ms: get(row, "at_until_ms")? },
            line_from_ms: get(row, "line_from_ms")?,
            stamps: stamps.0.zip(stamps.1).map(|(from_ms, until_ms)| Span { from_ms, until_ms }),
            alone: get(row, "alone")?,
            link: link(row)?,
        },
        clock: clock(row)?,
        bytes: get(row, "bytes")?,
    })
}

/// Writes a block into the transaction that is open on `connection`.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    block: &NewBlock,
) -> Result<(), sqlx::Error> {
    let head = &block.head;
    sqlx::query(
        "insert into block (number, boot, first, last, readings, at_from_ms, at_until_ms, line_from_ms, \
         stamp_from_ms, stamp_until_ms, alone, link, bytes) values (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)",
    )
    .bind(head.number)
    .bind(head.boot)
    .bind(head.sequence.0)
    .bind(head.sequence.1)
    .bind(head.readings)
    .bind(head.at.from_ms)
    .bind(head.at.until_ms)
    .bind(head.line_from_ms)
    .bind(head.stamps.map(|span| span.from_ms))
    .bind(head.stamps.map(|span| span.until_ms))
    .bind(head.alone)
    .bind(head.link.as_slice())
    .bind(&block.bytes)
    .execute(&mut *connection)
    .await?;
    for ((series, day), of) in &block.days {
        sqlx::query(
            "insert into day (series, day, readings, low, high, total) values (?1,?2,?3,?4,?5,?6) \
             on conflict (series, day) do update set readings = readings + excluded.readings, \
             low = min(low, excluded.low), high = max(high, excluded.high), total = total + excluded.total",
        )
        .bind(series)
        .bind(day)
        .bind(of.readings)
        .bind(of.low)
        .bind(of.high)
        .bind(of.total)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// Removes what [`Store::prune`] says. The last sealed reading stays, so that numbers go on after it, and so do the
/// turns from the snapshot's on, from which a start goes on.
pub(super) async fn prune(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let last: Option<(i64, i64)> = sqlx::query_as(
        "select id, turn from (select id, turn from reading where id < (select max(last) from block) \
         order by id limit ?1) where turn <= (select max(turn) from snapshot) order by id desc limit 1",
    )
    .bind(PRUNED_MAX)
    .fetch_optional(&mut *connection)
    .await?;
    let Some((last, turn)) = last else { return Ok(0) };
    let gone = sqlx::query("delete from reading where id <= ?1")
        .bind(last)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    // The last of these turns may have readings that stay; an alert's turn says in which run it was sent.
    sqlx::query("delete from turn where id < ?1 and id not in (select turn from alert)")
        .bind(turn)
        .execute(&mut *connection)
        .await?;
    Ok(gone)
}
