//! A copy of the database becomes the database again: what must never go back is taken forward in it.

use super::query::get;
use super::{Boot, Error, MIGRATIONS, Store, options, writer};
use crate::domain::time::Timestamp;
use crate::domain::warning::WarningId;
use sqlx::sqlite::SqliteJournalMode;
use sqlx::{Connection, SqliteConnection};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The last run on record, as what it is known again by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOnRecord {
    /// Its number.
    pub id: i64,
    kernel: String,
    uptime_ms: i64,
    at_ms: i64,
}

/// What a restored database must not fall behind.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Where the time line stands now, and on the calendar: a run of its own, so that the next one goes on from there.
    pub boot: Boot,
    /// Its number: above those of all runs that may have been.
    pub run: i64,
    /// The highest number of a warning that may have been given.
    pub warning_last: WarningId,
    /// States of radio nodes and sirens, in the place of those in the copy.
    pub radio: BTreeMap<String, Vec<u8>>,
    /// The engine begins anew, and what was open has run out: the copy is too old to say anything about now.
    pub begins_anew: bool,
    /// The database that lived on after the copy was made, where it can be believed: it knows what became of the texts.
    pub newer: Option<PathBuf>,
}

/// Takes a copy forward, in one transaction. Nobody else may have it open.
///
/// Every table is here that holds what another end remembers, too. Recipients, readings and rule books are what they were.
///
/// # Errors
///
/// [`Error::Open`], [`Error::Migrate`] and [`Error::Write`].
pub async fn take_forward(path: &Path, forward: &Forward) -> Result<(), Error> {
    let opening = |source| Error::Open { path: path.to_path_buf(), source };
    // Without a WAL, what is written stands in one file, which can be given its name as a whole.
    let options = options(path).create_if_missing(false).journal_mode(SqliteJournalMode::Delete);
    let mut connection = writer::connect(&options).await.map_err(opening)?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|source| Error::Migrate { path: path.to_path_buf(), source })?;
    let taken = take(&mut connection, forward).await;
    let closed = connection.close().await;
    taken.and(closed).map_err(Error::Write)
}

async fn take(connection: &mut SqliteConnection, forward: &Forward) -> Result<(), sqlx::Error> {
    if let Some(newer) = &forward.newer {
        sqlx::query("attach ?1 as newer")
            .bind(read_only_uri(newer))
            .execute(&mut *connection)
            .await?;
    }
    let mut transaction = connection.begin().await?;
    let run = &forward.boot;
    sqlx::query(
        "insert into boot (id, kernel, uptime_ms, at_ms, offset_ms, quality) values (?1, ?2, ?3, ?4, ?5, ?6)",
    )
    .bind(forward.run)
    .bind(&run.kernel)
    .bind(run.uptime_ms)
    .bind(run.at.as_millis())
    .bind(run.wall.offset_ms)
    .bind(run.wall.quality.as_str())
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "insert into mark (name, value) values ('warning', ?1) on conflict (name) do update set value = max(value, ?1)",
    )
    .bind(forward.warning_last.0.cast_signed())
    .execute(&mut *transaction)
    .await?;
    // What the chain goes on with from here is not what it went on with before.
    sqlx::query("update chain set name = random() & 4294967295").execute(&mut *transaction).await?;
    sqlx::query("delete from radio").execute(&mut *transaction).await?;
    for (node, state) in &forward.radio {
        sqlx::query("insert into radio (node, state) values (?1, ?2)")
            .bind(node)
            .bind(state)
            .execute(&mut *transaction)
            .await?;
    }
    if forward.begins_anew {
        begin_anew(&mut transaction, run.at).await?;
    }
    if forward.newer.is_some() {
        learn_fates(&mut transaction).await?;
    } else {
        doubt(&mut transaction, forward).await?;
    }
    transaction.commit().await
}

/// Ends what is open, and has the engine begin behind the last turn.
async fn begin_anew(connection: &mut SqliteConnection, at: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query("update warning set ended_ms = ?1, ending = 'expired' where ended_ms is null")
        .bind(at.as_millis())
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "insert or replace into mark (name, value) values ('engine turn', (select coalesce(max(id), 0) from turn)), \
         ('engine ms', ?1)",
    )
    .bind(at.as_millis())
    .execute(connection)
    .await?;
    Ok(())
}

/// Learns from the database that lived on what became of the texts that were open.
async fn learn_fates(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    // Numbers may be given twice, keys never.
    sqlx::query(
        "create temp table lived_on as select d.id as id from main.delivery d join newer.delivery n \
         on n.id = d.id and n.idempotency_key = d.idempotency_key where d.ended_ms is null",
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "update main.delivery set \
         (routes, state, attempt, decide_at_ms, stop, attempts, channel, reached, possible_duplicate, last_error, ended_ms) = \
         (select routes, state, attempt, decide_at_ms, stop, attempts, channel, reached, possible_duplicate, last_error, ended_ms \
          from newer.delivery n where n.id = main.delivery.id) where id in (select id from lived_on)",
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "insert or replace into main.attempt select * from newer.attempt where delivery in (select id from lived_on)",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Doubts what was open when the copy was made: the gateway lived on, so that a text which waited has probably left. What
/// may have left is treated as after a power cut in the middle of it: danger goes once more, marked, while it holds. Where
/// the warnings have run out, so have the texts about them.
async fn doubt(connection: &mut SqliteConnection, forward: &Forward) -> Result<(), sqlx::Error> {
    if forward.begins_anew {
        sqlx::query(
            "update delivery set ended_ms = ?1, last_error = coalesce(last_error, 'the backup was too old'), state = iif(exists \
             (select 1 from attempt where attempt.delivery = delivery.id and outcome in ('open', 'unknown')), 'unknown', 'expired') \
             where ended_ms is null and subject = 'alert' and state in ('queued', 'writing', 'unknown')",
        )
        .bind(forward.boot.at.as_millis())
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "insert into attempt (id, delivery, channel, boot, started_ms, segments, outcome, segment_references) \
         select (select coalesce(max(id), 0) from attempt) + row_number() over (order by id), id, \
         coalesce(json_extract(routes, '$[0][0]'), ''), ?1, created_ms, segments, 'open', '[]' \
         from delivery where ended_ms is null and state = 'queued'",
    )
    .bind(forward.run)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "update delivery set state = 'writing', attempts = attempts + 1, \
         attempt = (select max(id) from attempt where attempt.delivery = delivery.id), \
         channel = (select channel from attempt where attempt.delivery = delivery.id order by attempt.id desc limit 1) \
         where ended_ms is null and state = 'queued'",
    )
    .execute(&mut *connection)
    .await?;
    // A modem counts references from 0 to 255: a report that comes now may be about another text.
    sqlx::query(
        "update delivery set state = 'accepted', ended_ms = ?1 where ended_ms is null and state = 'submitted'",
    )
    .bind(forward.boot.at.as_millis())
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the name by which SQLite opens a file that it must not change: <https://sqlite.org/uri.html>.
fn read_only_uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02x}").expect("a String takes all that is written");
        }
    }
    uri + "?mode=ro"
}

impl Store {
    /// Returns the highest number of a warning that somebody may know.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn last_warning(&self) -> Result<WarningId, Error> {
        let number: i64 = sqlx::query_scalar(
            "select max(coalesce((select max(id) from warning), 0), \
             coalesce((select value from mark where name = 'warning'), 0))",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(Error::Read)?;
        Ok(WarningId(number.max(0).cast_unsigned()))
    }

    /// Returns where the engine begins that has no state on record: behind which turn, and when.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn engine_begins(&self) -> Result<(i64, Option<Timestamp>), Error> {
        let (turn, at_ms): (i64, Option<i64>) = sqlx::query_as(
            "select coalesce((select value from mark where name = 'engine turn'), 0), \
             coalesce((select value from mark where name = 'engine ms'), (select at_ms from boot order by id limit 1))",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(Error::Read)?;
        Ok((turn, at_ms.map(Timestamp::from_millis)))
    }

    /// Returns the last run on record.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn run_on_record(&self) -> Result<Option<RunOnRecord>, Error> {
        let row =
            sqlx::query("select id, kernel, uptime_ms, at_ms from boot order by id desc limit 1")
                .fetch_optional(&self.readers)
                .await
                .map_err(Error::Read)?;
        row.map(|row| {
            Ok(RunOnRecord {
                id: get(&row, "id")?,
                kernel: get(&row, "kernel")?,
                uptime_ms: get(&row, "uptime_ms")?,
                at_ms: get(&row, "at_ms")?,
            })
        })
        .transpose()
    }

    /// Returns whether this database knows that run: then it has lived through all that another one has that ends with it.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn has_run(&self, run: &RunOnRecord) -> Result<bool, Error> {
        let count: i64 = sqlx::query_scalar(
            "select count(*) from boot where id = ?1 and kernel = ?2 and uptime_ms = ?3 and at_ms = ?4",
        )
        .bind(run.id)
        .bind(&run.kernel)
        .bind(run.uptime_ms)
        .bind(run.at_ms)
        .fetch_one(&self.readers)
        .await
        .map_err(Error::Read)?;
        Ok(count > 0)
    }

    /// Returns until when anything holds that is on record: alerts, and texts about them.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn holds_until(&self) -> Result<Timestamp, Error> {
        let until: i64 = sqlx::query_scalar(
            "select max(coalesce((select max(expires_ms) from alert), 0), coalesce((select max(expires_ms) from delivery), 0))",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(Error::Read)?;
        Ok(Timestamp::from_millis(until))
    }
}
