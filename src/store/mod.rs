//! SQLite: one file, one writer; a turn commits whole or not at all.
//!
//! [`Store`] is a handle that may be cloned; one writer task behind it owns the only connection that writes. Whatever
//! waits for it when it begins a transaction goes into that transaction, so that one flush to the card serves many.
//! Reading goes over connections of its own and never waits for the writer.

mod blocks;
mod copy;
mod outbox;
mod people;
mod query;
mod reserve;
mod restore;
mod retention;
mod salvage;
mod turn;
mod untold;
mod writer;

pub use blocks::{
    Block, BlockHead, Day, DayRow, HotReading, LookBack, NewBlock, Sealed, Span, Waiting,
};
pub use copy::{Counts, Seen, copy};
pub use outbox::NewDelivery;
pub use people::{Added, NewRecipient};
pub use query::{AlertRow, WarningRow};
pub use reserve::{RESERVE_BYTES, Reserve, ReserveState, ReserveView, free_bytes};
pub use restore::{Forward, RunOnRecord, take_forward};
pub use retention::{Kept, Removal, Run, Size};
pub use salvage::Salvaged;
pub use turn::{Kind, Turn, Undecoded};
pub use untold::{
    Backlog, BlockOrder, LatestReading, Told, UntoldAlert, UntoldBlock, UntoldOutcome,
};
pub use writer::Writer;

use crate::domain::outbox::Change;
use crate::domain::recipient::{Recipient, RecipientId};
use crate::domain::rule::RuleBook;
use crate::domain::time::{Timestamp, WallClock};
use sqlx::SqlitePool;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use writer::Command;

/// The tables, and how those of earlier versions become them.
static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");
/// Commands that may wait for the writer.
const COMMANDS_MAX: usize = 256;
/// Connections that only read.
const READERS_MAX: u32 = 3;
/// The WAL is copied back after so many pages, so that it stays small on a card.
const CHECKPOINT_PAGES: &str = "400";
/// The WAL file is cut back to this after a checkpoint, bytes: not below what it grows to until the next one (400 pages are
/// 1.65 MB), so that it is written over, and takes no new blocks, whose places would have to be written down, too.
const WAL_KEPT_BYTES: &str = "2097152";

/// Why the store could not do what it was asked.
#[derive(Debug, Error)]
pub enum Error {
    /// The file cannot be opened as a database.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// Its tables cannot be made or brought up to date.
    #[error("cannot prepare the tables of the database {}", path.display())]
    Migrate {
        /// Which file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A transaction failed; nothing of it was kept.
    #[error("cannot write to the database")]
    Write(#[source] sqlx::Error),
    /// A query failed.
    #[error("cannot read the database")]
    Read(#[source] sqlx::Error),
    /// A row holds what no version of this program writes.
    #[error("the database holds a {what} that cannot be understood")]
    Damaged {
        /// What it is.
        what: &'static str,
    },
    /// The writer task is gone.
    #[error("the database writer has stopped")]
    Stopped,
}

impl Error {
    /// Returns whether the file is no database, or a damaged one: opening it again will not help.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        // SQLITE_CORRUPT and SQLITE_NOTADB, <https://sqlite.org/rescode.html>.
        let damaged = |error: &sqlx::Error| matches!(code(error), Some(11 | 26));
        match self {
            Self::Open { source, .. } | Self::Write(source) | Self::Read(source) => damaged(source),
            Self::Migrate { source: sqlx::migrate::MigrateError::Execute(source), .. } => {
                damaged(source)
            }
            Self::Damaged { .. } => true,
            Self::Migrate { .. } | Self::Stopped => false,
        }
    }
}

/// A handle to the database.
#[derive(Clone, Debug)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    readers: SqlitePool,
}

/// What is known of the last run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// The kernel's boot id then.
    pub kernel: String,
    /// Time line minus uptime of that kernel, ms.
    pub line_minus_uptime_ms: i64,
    /// The last moment on the time line that is on record.
    pub until: Timestamp,
    /// Until when its engine has lived: before `until` after a restore, which moves the time line and decides nothing.
    pub lived: Timestamp,
    /// Where the time line stood on the calendar.
    pub wall: WallClock,
}

/// What this run starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The kernel's boot id.
    pub kernel: String,
    /// Uptime of the kernel, ms.
    pub uptime_ms: i64,
    /// Where the time line goes on.
    pub at: Timestamp,
    /// Where it stands on the calendar.
    pub wall: WallClock,
}

/// The engine's state as it was kept.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Turn after which it was taken.
    pub turn: i64,
    /// Rule book that it belongs to.
    pub rule_book: String,
    /// What `Engine::save` returned.
    pub state: Vec<u8>,
}

impl Store {
    /// Opens the database, making it if it is not there, and returns a handle and the writer, which must be run.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] and [`Error::Migrate`].
    pub async fn open(path: &Path) -> Result<(Self, Writer), Error> {
        let opening = |source| Error::Open { path: path.to_path_buf(), source };
        let options = options(path);
        let mut connection = writer::connect(&options).await.map_err(opening)?;
        MIGRATIONS
            .run(&mut connection)
            .await
            .map_err(|source| Error::Migrate { path: path.to_path_buf(), source })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .min_connections(0)
            .idle_timeout(Duration::from_mins(1))
            .connect_lazy_with(options.clone().read_only(true));
        let (commands, waiting) = mpsc::channel(COMMANDS_MAX);
        Ok((Self { commands, readers }, Writer::new(connection, options, waiting)))
    }

    /// Writes a turn. When this returns `Ok`, it is on disk.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] when nothing of it was kept, [`Error::Stopped`] when there is no writer.
    ///
    /// # Cancel safety
    ///
    /// A turn that was handed to the writer is written even if the future is dropped.
    pub async fn commit(&self, turn: Turn) -> Result<(), Error> {
        self.ask(|reply| Command::Turn(Box::new(turn), reply)).await
    }

    /// Begins a run: from here on turns belong to it.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn begin(&self, boot: Boot) -> Result<(), Error> {
        self.ask(|reply| Command::Begin(boot, reply)).await
    }

    /// Corrects where this run's time line stands on the calendar.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn set_wall_clock(&self, wall: WallClock) -> Result<(), Error> {
        self.ask(|reply| Command::WallClock(wall, reply)).await
    }

    /// Puts a rule book on record: turns that follow name its nodes by their places in it.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn declare(&self, book: Arc<RuleBook>, sources: String) -> Result<(), Error> {
        self.ask(|reply| Command::Declare(book, sources, reply)).await
    }

    /// Writes down what the outbox has changed, in its order. When this returns `Ok`, it is on disk.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn update_outbox(&self, changes: Vec<Change>) -> Result<(), Error> {
        self.ask(|reply| Command::Outbox(changes, reply)).await
    }

    /// Adds or changes recipients, all or none. Someone with the same number is changed, not added.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn put_recipients(&self, people: Vec<NewRecipient>) -> Result<Added, Error> {
        self.ask(|reply| Command::PutRecipients(people, reply)).await
    }

    /// Removes a recipient. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn remove_recipient(&self, id: RecipientId) -> Result<bool, Error> {
        self.ask(|reply| Command::RemoveRecipient(id, reply)).await
    }

    /// Returns everybody who may be told, by number here.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn recipients(&self) -> Result<Vec<Recipient>, Error> {
        people::all(&self.readers).await
    }

    /// Returns the states of radio nodes, by the node's own identifier.
    ///
    /// # Errors
    ///
    /// [`Error::Read`].
    pub async fn radio_states(&self) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let rows: Result<Vec<(String, Vec<u8>)>, _> =
            sqlx::query_as("select node, state from radio").fetch_all(&self.readers).await;
        Ok(rows.map_err(Error::Read)?.into_iter().collect())
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
    }
}

/// Returns SQLite's primary result code of an error that is SQLite's.
fn code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?.parse::<i32>().ok()?;
    Some(code & 0xff)
}

fn options(path: &Path) -> SqliteConnectOptions {
    // Measured with unflushed writes dropped: WAL with FULL lost nothing that had been acknowledged, NORMAL and the
    // rollback journal did (DESIGN §5).
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .pragma("mmap_size", "0")
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("journal_size_limit", WAL_KEPT_BYTES)
}
