//! Copies of the database: made while it is written to, and looked at without being touched.

use super::{COMMANDS_MAX, Error, MIGRATIONS, Store, options, writer};
use sqlx::SqliteConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use std::path::Path;
use tokio::sync::mpsc;

/// How much a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Readings.
    pub readings: i64,
    /// Warnings.
    pub warnings: i64,
    /// Recipients.
    pub recipients: i64,
}

/// What one transaction saw of a database a moment before it was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    reading_last: i64,
    warning_last: i64,
    counts: Counts,
    /// Recipients change in place: so many there were when the copy was made.
    recipients_after: i64,
}

/// Copies the database at `path` into the file `to`, which must be empty or absent, while others write to it. The copy has
/// no free pages, and needs no other file.
///
/// While it is made, what is written meanwhile cannot be moved from the WAL into the database: the WAL grows by what all
/// that takes, and shrinks again with the next checkpoint (`docs/backup.md` has it measured).
///
/// # Errors
///
/// [`Error::Open`], and [`Error::Read`] also where the copy cannot be written.
pub async fn copy(path: &Path, to: &Path) -> Result<Seen, Error> {
    let opening = |source| Error::Open { path: path.to_path_buf(), source };
    let options = options(path).create_if_missing(false).read_only(true);
    let mut pinned = writer::connect(&options).await.map_err(opening)?;
    let mut copier = writer::connect(&options).await.map_err(opening)?;
    copy_by(&mut pinned, &mut copier, to).await.map_err(Error::Read)
}

async fn copy_by(
    pinned: &mut SqliteConnection,
    copier: &mut SqliteConnection,
    to: &Path,
) -> Result<Seen, sqlx::Error> {
    sqlx::query("begin").execute(&mut *pinned).await?;
    let (reading_last, warning_last) = sqlx::query_as(
        "select max(coalesce((select max(id) from reading), 0), coalesce((select max(last) from block), 0)), coalesce((select max(id) from warning), 0)",
    )
    .fetch_one(&mut *pinned)
    .await?;
    // It sees what was committed until a moment after what is pinned: that what is pinned is in it can be checked.
    let to = to.to_string_lossy().into_owned();
    sqlx::query("vacuum into ?1").bind(to).execute(&mut *copier).await?;
    let counts = counts(pinned, reading_last, warning_last).await?;
    let recipients_after =
        sqlx::query_scalar("select count(*) from recipient").fetch_one(copier).await?;
    sqlx::query("rollback").execute(pinned).await?;
    Ok(Seen { reading_last, warning_last, counts, recipients_after })
}

/// Counts what is there up to these numbers.
async fn counts(
    from: &mut SqliteConnection,
    reading_last: i64,
    warning_last: i64,
) -> Result<Counts, sqlx::Error> {
    let (readings, warnings, recipients) = sqlx::query_as(
        "select (select coalesce(sum(readings), 0) from block where last <= ?1) + (select count(*) from reading \
         where id <= ?1 and id > (select coalesce(max(last), 0) from block where last <= ?1)), (select count(*) from warning where id <= ?2), \
         (select count(*) from recipient)",
    )
    .bind(reading_last)
    .bind(warning_last)
    .fetch_one(from)
    .await?;
    Ok(Counts { readings, warnings, recipients })
}

impl Store {
    /// Returns a handle that reads a file which nobody writes to, and neither locks it nor leaves anything beside it.
    /// Whatever would write is told that there is no writer.
    #[must_use]
    pub fn look_at(path: &Path) -> Self {
        Self::reading(SqliteConnectOptions::new().filename(path).immutable(true).read_only(true))
    }

    /// Returns a handle that reads a database with its WAL, and leaves the writing to others.
    #[must_use]
    pub fn read_only(path: &Path) -> Self {
        Self::reading(options(path).create_if_missing(false).read_only(true))
    }

    fn reading(options: SqliteConnectOptions) -> Self {
        let readers = SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options);
        let (commands, _no_writer) = mpsc::channel(COMMANDS_MAX);
        Self { commands, readers }
    }

    /// Closes the file: after this nothing of it is open here.
    pub async fn close(self) {
        self.readers.close().await;
    }

    /// Looks through the whole file, indexes included. Returns what is wrong with it, in SQLite's words and at most eight of
    /// them.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] when it cannot be read as a database.
    pub async fn integrity(&self) -> Result<Vec<String>, Error> {
        let told: Vec<String> = sqlx::query_scalar("pragma integrity_check(8)")
            .fetch_all(&self.readers)
            .await
            .map_err(Error::Read)?;
        Ok(told.into_iter().filter(|line| line != "ok").collect())
    }

    /// Returns whether this program knows every version of the tables that the file has been through; `None` where the
    /// file is no database of this program.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn is_understood(&self) -> Result<Option<bool>, Error> {
        let tables: i64 = sqlx::query_scalar(
            "select count(*) from sqlite_schema where type = 'table' and name in ('_sqlx_migrations', 'turn', 'recipient', 'radio')",
        )
        .fetch_one(&self.readers)
        .await
        .map_err(Error::Read)?;
        if tables < 4 {
            return Ok(None);
        }
        let versions: Vec<i64> = sqlx::query_scalar("select version from _sqlx_migrations")
            .fetch_all(&self.readers)
            .await
            .map_err(Error::Read)?;
        Ok(Some(versions.into_iter().all(|version| MIGRATIONS.version_exists(version))))
    }

    /// Returns how much the database holds.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn counts(&self) -> Result<Counts, Error> {
        let mut reader = self.readers.acquire().await.map_err(Error::Read)?;
        counts(&mut reader, i64::MAX, i64::MAX).await.map_err(Error::Read)
    }

    /// Returns whether this copy has all that was seen when it was made.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn agrees(&self, seen: &Seen) -> Result<bool, Error> {
        let mut reader = self.readers.acquire().await.map_err(Error::Read)?;
        let found = counts(&mut reader, seen.reading_last, seen.warning_last).await;
        let found = found.map_err(Error::Read)?;
        let recipients = [seen.counts.recipients, seen.recipients_after];
        Ok(found.readings == seen.counts.readings
            && found.warnings == seen.counts.warnings
            && recipients.contains(&found.recipients))
    }
}
