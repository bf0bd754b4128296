//! What a hub keeps: SQLite for one process, PostgreSQL for many.
//!
//! Every packet is one transaction ([`Storage::store`]). Its first statement changes the gateway's own row, so that the
//! packets of one gateway stand in line, whichever process they came to, and those of different gateways do not. What is
//! in a packet is stored by `on conflict`: whether a thing is known is never asked first. Readings of a block are stored
//! once the blocks that it continues are here, by the transaction that brings the last of them.

mod database;
mod packet;
mod alert;
mod run;
mod reading;
mod enrol;
mod watch;
mod query;

pub use database::{Password, Place};
pub use enrol::{Enrolled, GatewayRow, TokenRow};
pub use packet::{Stored, Taken};
pub use query::{Counts, MeasuredRow, MeasuredWanted, WarningRow};
pub use watch::{Notice, NoticeKind};

use database::{Database, Transaction};
use reading::Month;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use thiserror::Error;

/// Why the storage could not do what it was asked.
#[derive(Debug, Error)]
pub enum Error {
    /// It cannot be opened or reached.
    #[error("cannot open the database {what}")]
    Open {
        /// Which, without any password.
        what: String,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// Its tables cannot be made or brought up to date.
    #[error("cannot prepare the tables of the database {what}")]
    Migrate {
        /// Which.
        what: String,
        /// Why.
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
}

impl Error {
    /// Returns whether PostgreSQL had no partition for a row: `check_violation`, as its manual says (§5.12.2, appendix A).
    fn is_partition_missing(&self) -> bool {
        let Self::Write(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| code == "23514")
    }

    /// Returns whether the same transaction may succeed at once: PostgreSQL ended it for the sake of another (deadlock,
    /// serialisation failure).
    fn is_transient(&self) -> bool {
        let Self::Write(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| matches!(&*code, "40P01" | "40001"))
    }
}

/// A handle to the storage.
#[derive(Clone, Debug)]
pub struct Storage {
    database: Database,
    /// Months whose partition is there; `None` where readings are not partitioned, or not by us.
    months: Option<Arc<Mutex<BTreeSet<Month>>>>,
    streams: Arc<run::Streams>,
}

impl Storage {
    /// Opens the storage and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] and [`Error::Migrate`].
    pub async fn open(place: &Place) -> Result<Self, Error> {
        let database = Database::open(place).await?;
        let partitioned = match &database {
            Database::Sqlite { .. } => false,
            // An operator may have made another kind of table of it, which sees to its own pieces.
            Database::Postgres(_) => {
                let kind = "select relkind::text from pg_class where oid = 'reading'::regclass";
                let rows = database.fetch(kind, &[]).await?;
                rows.first().map(|row| row.text(0)).transpose()?.as_deref() == Some("p")
            }
        };
        let months = partitioned.then(Arc::default);
        Ok(Self { database, months, streams: Arc::default() })
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// Returns whether it can be reached.
    pub async fn works(&self) -> bool {
        self.database.fetch("select 1", &[]).await.is_ok()
    }

    async fn begin(&self) -> Result<Transaction, Error> {
        self.database.begin().await
    }
}

/// Returns a text of a gateway as every database takes it: PostgreSQL has no zero byte in a text.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
