//! What is removed, so that a card never fills: old readings, days and texts, but never what explains a warning.

use super::writer::Command;
use super::{Error, Store};
use sqlx::SqliteConnection;

/// Readings are kept for ever that were judged in this time before an alert, ms: the longest that a rule can look back
/// upon counts, and a week holds all that a technician would ask.
const BEFORE_AN_ALERT_MS: i64 = 7 * 86_400_000;
/// And in this time after it, ms.
const AFTER_AN_ALERT_MS: i64 = 86_400_000;
/// Rows that are removed in one transaction: who waits for the writer waits for these.
const ROWS_MAX: i64 = 4096;

/// What is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The blocks with these numbers, first and last included; the chain's link after them stays.
    Blocks(i64, i64),
    /// Days before this one, counted from 1970-01-01 UTC.
    Days(i64),
    /// Texts that told of no warning, notices and undecoded payloads from before this moment of the time line, ms.
    Records(i64),
}

/// Blocks that can be read without any other: one that stands alone and those that continue it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Number of the first block.
    pub first: i64,
    /// Number of the last block.
    pub last: i64,
    /// When its last reading was judged, on the time line, ms.
    pub until_ms: i64,
}

/// What the database takes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes of the file, without its log.
    pub file_bytes: u64,
    /// Bytes in it that are free for what comes next.
    pub free_bytes: u64,
}

impl Size {
    /// Returns the bytes that hold something.
    #[must_use]
    pub const fn used_bytes(self) -> u64 {
        self.file_bytes.saturating_sub(self.free_bytes)
    }
}

/// What the readings take on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Blocks that are kept.
    pub blocks: i64,
    /// Readings in them.
    pub readings: i64,
    /// Their bytes.
    pub bytes: i64,
    /// Readings that are in no block yet.
    pub unsealed: i64,
    /// Readings of blocks that were removed.
    pub removed: i64,
}

impl Store {
    /// Returns what the database takes on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn size(&self) -> Result<Size, Error> {
        let sql = "select page_size * page_count, page_size * freelist_count \
                   from pragma_page_size, pragma_page_count, pragma_freelist_count";
        let (file, free): (i64, i64) =
            sqlx::query_as(sql).fetch_one(&self.readers).await.map_err(Error::Read)?;
        Ok(Size {
            file_bytes: u64::try_from(file).unwrap_or(0),
            free_bytes: u64::try_from(free).unwrap_or(0),
        })
    }

    /// Returns what the readings take. It looks at every block's place, not into it.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn kept(&self) -> Result<Kept, Error> {
        let sql = "select count(*), coalesce(sum(readings), 0), coalesce(sum(length(bytes)), 0), \
                   (select coalesce(sum(readings), 0) from block_gone), \
                   (select count(*) from reading where id > (select coalesce(max(last), 0) from block)) from block";
        let (blocks, readings, bytes, removed, unsealed): (i64, i64, i64, i64, i64) =
            sqlx::query_as(sql).fetch_one(&self.readers).await.map_err(Error::Read)?;
        Ok(Kept { blocks, readings, bytes, unsealed, removed })
    }

    /// Returns the oldest run of blocks that explains no warning, if there is one besides the run that is being written;
    /// where `told` says so, one that the hub has whole.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn oldest_run(&self, told: bool) -> Result<Option<Run>, Error> {
        let found: Option<(i64, i64, i64)> = sqlx::query_as(
            "select run_first, run_last, until_ms from (select run.number as run_first, run.at_from_ms as from_ms, \
             (select max(number) from block where number < next.number) as run_last, \
             (select max(at_until_ms) from block where number >= run.number and number < next.number) as until_ms \
             from block run join block next on next.number = \
             (select min(number) from block where alone = 1 and number > run.number) \
             where run.alone = 1 order by run.number) \
             where not exists (select 1 from alert where sent_ms >= from_ms - ?2 and sent_ms <= until_ms + ?1) \
             and not (?3 and exists (select 1 from block part where part.told = 0 and part.number between run_first and run_last)) \
             limit 1",
        )
        .bind(BEFORE_AN_ALERT_MS)
        .bind(AFTER_AN_ALERT_MS)
        .bind(told)
        .fetch_optional(&self.readers)
        .await
        .map_err(Error::Read)?;
        Ok(found.map(|(first, last, until_ms)| Run { first, last, until_ms }))
    }

    /// Returns the first day of which anything is kept, counted from 1970-01-01 UTC.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn oldest_day(&self) -> Result<Option<i64>, Error> {
        sqlx::query_scalar("select min(day) from day")
            .fetch_one(&self.readers)
            .await
            .map_err(Error::Read)
    }

    /// Returns the moment of the oldest text that told of no warning, notice or undecoded payload, on the time line, ms.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn oldest_record(&self) -> Result<Option<i64>, Error> {
        sqlx::query_scalar(
            "select min(at) from (select min(ended_ms) as at from delivery where warning is null \
             union all select min(at_ms) from notice union all select min(at_ms) from undecoded)",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(Error::Read)
    }

    /// Removes that, or a bounded part of it. Returns how many rows went: none when there is nothing left to do.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn remove(&self, removal: Removal) -> Result<u64, Error> {
        self.ask(|reply| Command::Remove(removal, reply)).await
    }
}

/// Removes that, in the transaction that is open on `connection`.
pub(super) async fn carry_out(
    connection: &mut SqliteConnection,
    removal: &Removal,
) -> Result<u64, sqlx::Error> {
    match *removal {
        Removal::Blocks(first, last) => blocks(connection, first, last).await,
        Removal::Days(before) => Ok(sqlx::query(
            "delete from day where (series, day) in (select series, day from day where day < ?1 limit ?2)",
        )
        .bind(before)
        .bind(ROWS_MAX)
        .execute(connection)
        .await?
        .rows_affected()),
        Removal::Records(before_ms) => records(connection, before_ms).await,
    }
}

/// Removes blocks, and makes the stretch that is gone one with the stretch before it.
async fn blocks(
    connection: &mut SqliteConnection,
    first: i64,
    last: i64,
) -> Result<u64, sqlx::Error> {
    sqlx::query(
        "insert into block_gone (last, first, readings, link) select ?2, coalesce(max(before.first), ?1), \
         coalesce(max(before.readings), 0) + (select sum(readings) from block where number between ?1 and ?2), \
         (select link from block where number = ?2) \
         from (select 1) left join block_gone before on before.last = ?1 - 1 \
         where exists (select 1 from block where number = ?2)",
    )
    .bind(first)
    .bind(last)
    .execute(&mut *connection)
    .await?;
    sqlx::query("delete from block_gone where last = ?1 - 1")
        .bind(first)
        .execute(&mut *connection)
        .await?;
    let gone = sqlx::query("delete from block where number between ?1 and ?2");
    Ok(gone.bind(first).bind(last).execute(connection).await?.rows_affected())
}

async fn records(connection: &mut SqliteConnection, before_ms: i64) -> Result<u64, sqlx::Error> {
    let mut gone = 0;
    for sql in [
        "delete from attempt where delivery in (select id from delivery where warning is null and ended_ms < ?1 and id < (select max(id) from delivery) order by id limit ?2)",
        "delete from delivery where id in (select id from delivery where warning is null and ended_ms < ?1 and id < (select max(id) from delivery) order by id limit ?2)",
        "delete from notice where id in (select id from notice where at_ms < ?1 order by id limit ?2)",
        "delete from undecoded where id in (select id from undecoded where at_ms < ?1 order by id limit ?2)",
    ] {
        gone += sqlx::query(sql)
            .bind(before_ms)
            .bind(ROWS_MAX)
            .execute(&mut *connection)
            .await?
            .rows_affected();
    }
    Ok(gone)
}
