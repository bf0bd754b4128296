//! One face over SQLite and PostgreSQL: statements whose places are `$1`, `$2` …, values in, rows of values out.
//!
//! A transaction that is dropped was never there. SQLite's one writing connection is put back only after a commit that
//! worked: after anything else the file is opened again, because what SQLite thinks of it then cannot be trusted.

use super::Error;
use super::reading::ReadingRow;
use crate::supervise::chain;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow, PgSslMode};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, PgPool, Postgres, QueryBuilder, Row as _, Sqlite,
    SqliteConnection, SqlitePool, TypeInfo, ValueRef,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Connections to a SQLite file that only read.
const READERS_MAX: u32 = 3;
/// Longest wait for a connection, and for SQLite's lock.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);

/// Which database, and how to reach it.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// A server of PostgreSQL.
    Postgres {
        /// As libpq writes it, without the password: `postgres://USER@HOST:PORT/DATABASE`.
        url: String,
        /// The user's password.
        password: Option<Password>,
        /// Certificate authority in PEM; with one, TLS is spoken and the server's name is checked.
        ca_file: Option<PathBuf>,
        /// Connections at the most.
        connections_max: u32,
    },
}

/// A password. It has no readable form.
#[derive(Clone)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A value of a statement or of a row. The types are kept where there is none, because PostgreSQL wants to know.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(Option<i64>),
    Real(Option<f64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! value_from {
    ($($from:ty => $name:ident),*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self { Self::$name(Some(value.into())) }
        }
        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self { Self::$name(value.map(Into::into)) }
        }
    )*};
}
value_from!(i64 => Int, u32 => Int, u8 => Int, f64 => Real, &str => Text, String => Text, &[u8] => Bytes, Vec<u8> => Bytes);

/// A row, by place.
#[derive(Clone, Debug)]
pub(super) struct Row(Vec<Value>);

impl Row {
    fn get(&self, place: usize) -> Result<&Value, Error> {
        self.0.get(place).ok_or(Error::Damaged { what: "row" })
    }

    pub(super) fn maybe_int(&self, place: usize) -> Result<Option<i64>, Error> {
        match self.get(place)? {
            Value::Int(value) => Ok(*value),
            // SQLite's nothing has no type.
            Value::Bytes(None) | Value::Text(None) | Value::Real(None) => Ok(None),
            Value::Real(Some(_)) | Value::Text(Some(_)) | Value::Bytes(Some(_)) => {
                Err(Error::Damaged { what: "number" })
            }
        }
    }

    pub(super) fn int(&self, place: usize) -> Result<i64, Error> {
        self.maybe_int(place)?.ok_or(Error::Damaged { what: "number" })
    }

    /// Returns a number that has no sign.
    pub(super) fn small(&self, place: usize) -> Result<u32, Error> {
        u32::try_from(self.int(place)?).map_err(|_| Error::Damaged { what: "number" })
    }

    pub(super) fn real(&self, place: usize) -> Result<Option<f64>, Error> {
        match self.get(place)? {
            Value::Real(value) => Ok(*value),
            Value::Int(None) | Value::Text(None) | Value::Bytes(None) => Ok(None),
            Value::Int(Some(_)) | Value::Text(Some(_)) | Value::Bytes(Some(_)) => {
                Err(Error::Damaged { what: "value" })
            }
        }
    }

    pub(super) fn maybe_text(&self, place: usize) -> Result<Option<String>, Error> {
        match self.get(place)? {
            Value::Text(value) => Ok(value.clone()),
            Value::Int(None) | Value::Real(None) | Value::Bytes(None) => Ok(None),
            Value::Int(Some(_)) | Value::Real(Some(_)) | Value::Bytes(Some(_)) => {
                Err(Error::Damaged { what: "text" })
            }
        }
    }

    pub(super) fn text(&self, place: usize) -> Result<String, Error> {
        self.maybe_text(place)?.ok_or(Error::Damaged { what: "text" })
    }

    pub(super) fn bytes(&self, place: usize) -> Result<Vec<u8>, Error> {
        match self.get(place)? {
            Value::Bytes(Some(value)) => Ok(value.clone()),
            Value::Bytes(None) | Value::Int(_) | Value::Real(_) | Value::Text(_) => {
                Err(Error::Damaged { what: "bytes" })
            }
        }
    }
}

/// A database.
#[derive(Clone, Debug)]
pub(super) enum Database {
    Sqlite { options: Box<SqliteConnectOptions>, writer: Arc<Mutex<Writer>>, readers: SqlitePool },
    Postgres(PgPool),
}

/// SQLite's one connection that writes; none after a write that failed.
type Writer = Option<SqliteConnection>;

/// A transaction. Dropped without [`Transaction::commit`], it was never there.
pub(super) enum Transaction {
    Sqlite(SqliteConnection, OwnedMutexGuard<Writer>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Database {
    /// Opens the database and brings its tables up to date.
    pub(super) async fn open(place: &Place) -> Result<Self, Error> {
        match place {
            Place::Sqlite(path) => Self::open_sqlite(path.clone()).await,
            Place::Postgres { url, password, ca_file, connections_max } => {
                let opening = |source| Error::Open { what: url.clone(), source };
                let mut options: PgConnectOptions = url.parse().map_err(opening)?;
                options = options.application_name("kengele-hub").disable_statement_logging();
                if let Some(Password(password)) = password {
                    options = options.password(password);
                }
                if let Some(ca_file) = ca_file {
                    options = options.ssl_root_cert(ca_file).ssl_mode(PgSslMode::VerifyFull);
                }
                let pool = PgPoolOptions::new()
                    .max_connections((*connections_max).max(1))
                    .min_connections(0)
                    .acquire_timeout(CONNECTION_WAIT)
                    .after_connect(|connection, _| {
                        Box::pin(async move {
                            sqlx::raw_sql(SESSION).execute(connection).await.map(drop)
                        })
                    })
                    .connect_with(options)
                    .await
                    .map_err(opening)?;
                let migrating = |source| Error::Migrate { what: url.clone(), source };
                sqlx::migrate!("src/hub/storage/migrations/postgres")
                    .run(&pool)
                    .await
                    .map_err(migrating)?;
                Ok(Self::Postgres(pool))
            }
        }
    }

    async fn open_sqlite(path: PathBuf) -> Result<Self, Error> {
        let what = path.display().to_string();
        // As the gateway's store has it, and for the same reasons: DESIGN §5.
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(CONNECTION_WAIT)
            .pragma("mmap_size", "0")
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON")
            .disable_statement_logging();
        let opening = |source| Error::Open { what: what.clone(), source };
        let mut connection = options.connect().await.map_err(opening)?;
        sqlx::migrate!("src/hub/storage/migrations/sqlite")
            .run(&mut connection)
            .await
            .map_err(|source| Error::Migrate { what: what.clone(), source })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .min_connections(0)
            .idle_timeout(Duration::from_mins(1))
            .connect_lazy_with(options.clone().read_only(true));
        Ok(Self::Sqlite {
            options: Box::new(options),
            writer: Arc::new(Mutex::new(Some(connection))),
            readers,
        })
    }

    /// Begins a transaction that may write.
    pub(super) async fn begin(&self) -> Result<Transaction, Error> {
        match self {
            Self::Sqlite { options, writer, .. } => {
                let mut writer = Arc::clone(writer).lock_owned().await;
                let mut connection = match writer.take() {
                    Some(connection) => connection,
                    None => options.connect().await.map_err(Error::Write)?,
                };
                let begun = sqlx::query("begin immediate").execute(&mut connection).await;
                begun.map_err(Error::Write)?;
                Ok(Transaction::Sqlite(connection, writer))
            }
            // Each statement sees what was committed before it: after the wait for a row's lock, the newest.
            Self::Postgres(pool) => {
                let begun = pool.begin_with("begin isolation level read committed").await;
                Ok(Transaction::Postgres(begun.map_err(Error::Write)?))
            }
        }
    }

    /// Reads, outside of any transaction.
    pub(super) async fn fetch(
        &self,
        sql: &'static str,
        values: &[Value],
    ) -> Result<Vec<Row>, Error> {
        match self {
            Self::Sqlite { readers, .. } => {
                let rows =
                    sqlx::query_with(sql, sqlite_arguments(values)?).fetch_all(readers).await;
                rows.map_err(Error::Read)?.iter().map(sqlite_row).collect()
            }
            Self::Postgres(pool) => {
                let rows = sqlx::query_with(sql, pg_arguments(values)?).fetch_all(pool).await;
                rows.map_err(Error::Read)?.iter().map(pg_row).collect()
            }
        }
    }

    /// Closes every connection.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { writer, readers, .. } => {
                readers.close().await;
                if let Some(connection) = writer.lock().await.take()
                    && let Err(error) = sqlx::Connection::close(connection).await
                {
                    tracing::warn!(error = chain(&error), "the database did not close cleanly");
                }
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// What holds for every connection to PostgreSQL: a commit that returns is on disk, whatever the server's own file says,
/// and who hangs in a transaction does not keep others out of a gateway's rows for ever.
const SESSION: &str = "select set_config('synchronous_commit', 'on', false) \
     where current_setting('synchronous_commit') in ('off', 'local', 'remote_write'); \
     set idle_in_transaction_session_timeout = '60s'; set lock_timeout = '20s'; set statement_timeout = '60s'";

impl Transaction {
    /// Carries a statement out and returns how many rows it has touched.
    pub(super) async fn execute(
        &mut self,
        sql: &'static str,
        values: &[Value],
    ) -> Result<u64, Error> {
        match self {
            Self::Sqlite(connection, _) => {
                let done =
                    sqlx::query_with(sql, sqlite_arguments(values)?).execute(connection).await;
                Ok(done.map_err(Error::Write)?.rows_affected())
            }
            Self::Postgres(transaction) => {
                let done =
                    sqlx::query_with(sql, pg_arguments(values)?).execute(&mut **transaction).await;
                Ok(done.map_err(Error::Write)?.rows_affected())
            }
        }
    }

    /// Carries a statement out and returns its rows.
    pub(super) async fn fetch(
        &mut self,
        sql: &'static str,
        values: &[Value],
    ) -> Result<Vec<Row>, Error> {
        match self {
            Self::Sqlite(connection, _) => {
                let rows =
                    sqlx::query_with(sql, sqlite_arguments(values)?).fetch_all(connection).await;
                rows.map_err(Error::Write)?.iter().map(sqlite_row).collect()
            }
            Self::Postgres(transaction) => {
                let rows = sqlx::query_with(sql, pg_arguments(values)?)
                    .fetch_all(&mut **transaction)
                    .await;
                rows.map_err(Error::Write)?.iter().map(pg_row).collect()
            }
        }
    }

    /// Stores readings of a gateway; those that are stored already stay as they are. Returns how many were new.
    pub(super) async fn insert_readings(
        &mut self,
        gateway: i64,
        rows: &[ReadingRow],
    ) -> Result<u64, Error> {
        match self {
            Self::Sqlite(connection, _) => {
                let mut inserted = 0;
                for some in rows.chunks(ROWS_A_STATEMENT) {
                    let mut insert = QueryBuilder::<Sqlite>::new(READING_COLUMNS);
                    insert.push_values(some, |mut values, row| {
                        values.push_bind(gateway).push_bind(row.series).push_bind(row.unix_ms);
                        values.push_bind(row.sequence).push_bind(row.at_ms).push_bind(row.lag_ms);
                        values.push_bind(row.clock).push_bind(row.quality).push_bind(row.value);
                    });
                    insert.push(" on conflict do nothing");
                    let done = insert.build().execute(&mut *connection).await;
                    inserted += done.map_err(Error::Write)?.rows_affected();
                }
                Ok(inserted)
            }
            Self::Postgres(transaction) => {
                let column = |of: fn(&ReadingRow) -> i64| rows.iter().map(of).collect::<Vec<_>>();
                let insert = sqlx::query(UNNEST_READINGS)
                    .bind(gateway)
                    .bind(column(|row| row.series))
                    .bind(column(|row| row.unix_ms))
                    .bind(column(|row| row.sequence))
                    .bind(column(|row| row.at_ms))
                    .bind(rows.iter().map(|row| row.lag_ms).collect::<Vec<_>>())
                    .bind(column(|row| row.clock))
                    .bind(column(|row| row.quality))
                    .bind(rows.iter().map(|row| row.value).collect::<Vec<_>>());
                let done = insert.execute(&mut **transaction).await;
                Ok(done.map_err(Error::Write)?.rows_affected())
            }
        }
    }

    /// Makes the partition of a month's readings, unless it is there.
    pub(super) async fn make_partition(
        &mut self,
        year: i16,
        month: i8,
        from_ms: i64,
        until_ms: i64,
    ) -> Result<(), Error> {
        let Self::Postgres(transaction) = self else { return Ok(()) };
        // Two processes may find the same month missing: the second waits here, and finds it.
        let lock = "select pg_advisory_xact_lock(hashtext('kengele reading partitions'))";
        sqlx::query(lock).execute(&mut **transaction).await.map_err(Error::Write)?;
        // Numbers alone are put together here.
        let make = AssertSqlSafe(format!(
            "create table if not exists reading_{year:04}_{month:02} partition of reading \
             for values from ({from_ms}) to ({until_ms})"
        ));
        sqlx::query(make).execute(&mut **transaction).await.map_err(Error::Write)?;
        Ok(())
    }

    /// Commits. When this returns `Ok`, it is on disk.
    pub(super) async fn commit(self) -> Result<(), Error> {
        match self {
            Self::Sqlite(mut connection, mut writer) => {
                let done = sqlx::query("commit").execute(&mut connection).await;
                done.map_err(Error::Write)?;
                *writer = Some(connection);
                Ok(())
            }
            Self::Postgres(transaction) => transaction.commit().await.map_err(Error::Write),
        }
    }
}

/// Rows of one statement to SQLite: each takes nine of its 32,766 places.
const ROWS_A_STATEMENT: usize = 200;
const READING_COLUMNS: &str = "insert into reading \
     (gateway, series, unix_ms, sequence, at_ms, lag_ms, clock, quality, value) ";
const UNNEST_READINGS: &str = "insert into reading \
     (gateway, series, unix_ms, sequence, at_ms, lag_ms, clock, quality, value) \
     select $1, * from unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
     $8::bigint[], $9::double precision[]) on conflict do nothing";

fn binding(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Write(sqlx::Error::Encode(error))
}

fn sqlite_arguments(values: &[Value]) -> Result<SqliteArguments, Error> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Int(value) => arguments.add(*value),
            Value::Real(value) => arguments.add(*value),
            Value::Text(value) => arguments.add(value.clone()),
            Value::Bytes(value) => arguments.add(value.clone()),
        }
        .map_err(binding)?;
    }
    Ok(arguments)
}

fn pg_arguments(values: &[Value]) -> Result<PgArguments, Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Int(value) => arguments.add(*value),
            Value::Real(value) => arguments.add(*value),
            Value::Text(value) => arguments.add(value.as_deref()),
            Value::Bytes(value) => arguments.add(value.as_deref()),
        }
        .map_err(binding)?;
    }
    Ok(arguments)
}

fn sqlite_row(row: &SqliteRow) -> Result<Row, Error> {
    let value = |place: usize| -> Result<Value, sqlx::Error> {
        let raw = row.try_get_raw(place)?;
        let kind =
            if raw.is_null() { "NULL".to_owned() } else { raw.type_info().name().to_owned() };
        Ok(match kind.as_str() {
            "INTEGER" => Value::Int(row.try_get(place)?),
            "REAL" => Value::Real(row.try_get(place)?),
            "TEXT" => Value::Text(row.try_get(place)?),
            "BLOB" => Value::Bytes(row.try_get(place)?),
            _ => Value::Int(None),
        })
    };
    Ok(Row((0..row.len()).map(value).collect::<Result<_, _>>().map_err(Error::Read)?))
}

fn pg_row(row: &PgRow) -> Result<Row, Error> {
    let value = |place: usize| -> Result<Value, sqlx::Error> {
        let kind = row.try_get_raw(place)?.type_info().name().to_owned();
        Ok(match kind.as_str() {
            "INT8" => Value::Int(row.try_get(place)?),
            "INT4" => Value::Int(row.try_get::<Option<i32>, _>(place)?.map(i64::from)),
            "INT2" => Value::Int(row.try_get::<Option<i16>, _>(place)?.map(i64::from)),
            "FLOAT8" => Value::Real(row.try_get(place)?),
            "BYTEA" => Value::Bytes(row.try_get(place)?),
            _ => Value::Text(row.try_get(place)?),
        })
    };
    Ok(Row((0..row.len()).map(value).collect::<Result<_, _>>().map_err(Error::Read)?))
}
