//! The one task that writes.

use super::blocks::{self, NewBlock};
use super::outbox;
use super::people::{self, Added, NewRecipient};
use super::reserve::Reserve;
use super::retention::{self, Removal};
use super::turn::{self, Series, Turn};
use super::untold::{self, Told};
use super::{Boot, Error, code};
use crate::domain::outbox::Change;
use crate::domain::recipient::RecipientId;
use crate::domain::rule::RuleBook;
use crate::domain::time::WallClock;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Commands that go into one transaction at the most.
const GROUP_MAX: usize = 64;
/// `SQLITE_FULL`: <https://sqlite.org/rescode.html>.
const FULL: i32 = 13;

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer can be asked for.
pub(super) enum Command {
    Begin(Boot, Reply<()>),
    WallClock(WallClock, Reply<()>),
    Declare(Arc<RuleBook>, String, Reply<()>),
    Turn(Box<Turn>, Reply<()>),
    Outbox(Vec<Change>, Reply<()>),
    PutRecipients(Vec<NewRecipient>, Reply<Added>),
    RemoveRecipient(RecipientId, Reply<bool>),
    Seal(Box<NewBlock>, Reply<()>),
    Told(Vec<Told>, Reply<()>),
    Prune(Reply<u64>),
    Remove(Removal, Reply<u64>),
}

/// A command that has been carried out and waits for the commit before anybody hears of it.
enum Done {
    Unit(Reply<()>),
    Added(Reply<Added>, Added),
    Removed(Reply<bool>, bool),
    Counted(Reply<u64>, u64),
}

/// The one task that writes. Run it with [`Writer::run`].
pub struct Writer {
    connection: SqliteConnection,
    options: SqliteConnectOptions,
    waiting: mpsc::Receiver<Command>,
    boot: i64,
    series: Series,
    reserve: Option<Reserve>,
}

pub(super) async fn connect(
    options: &SqliteConnectOptions,
) -> Result<SqliteConnection, sqlx::Error> {
    options.clone().disable_statement_logging().connect().await
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        waiting: mpsc::Receiver<Command>,
    ) -> Self {
        let series = Series::default();
        Self { connection, options, waiting, boot: 0, series, reserve: None }
    }

    /// Returns the writer with room that it gives up when the disk is full.
    #[must_use]
    pub fn with_reserve(self, reserve: Reserve) -> Self {
        Self { reserve: Some(reserve), ..self }
    }

    /// Writes what the handles ask for, until every handle is gone; then closes the file.
    ///
    /// # Errors
    ///
    /// Never because of a failed write: those are told to who asked.
    pub async fn run(mut self) -> Result<(), Error> {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while self.waiting.recv_many(&mut group, GROUP_MAX).await > 0 {
            self.write(&mut group).await;
            if let Some(reserve) = &mut self.reserve {
                reserve.look_again();
            }
        }
        self.connection.close().await.map_err(Error::Write)
    }

    /// Carries out a group of commands in one transaction; when it fails, each in one of its own, so that only who is to
    /// blame hears of it.
    async fn write(&mut self, group: &mut Vec<Command>) {
        if group.len() == 1 {
            if let Some(command) = group.pop() {
                self.write_alone(command).await;
            }
            return;
        }
        match self.transact(group).await {
            Ok(done) => done.into_iter().for_each(Done::tell),
            Err(error) => {
                tracing::debug!(error = %error, commands = group.len(), "a group of writes failed");
                for command in group.drain(..) {
                    self.write_alone(command).await;
                }
            }
        }
        group.clear();
    }

    async fn write_alone(&mut self, command: Command) {
        let mut one = vec![command];
        let result = match self.transact(&mut one).await {
            Ok(done) => return done.into_iter().for_each(Done::tell),
            Err(error) => error,
        };
        // What SQLite thinks of a file after a failed write or flush cannot be trusted: open it again.
        tracing::warn!(error = %result, "a write to the database failed");
        if let Err(error) = self.reopen().await {
            tracing::warn!(error = %error, "the database cannot be opened again yet");
        }
        for command in one {
            command.refuse(&result);
        }
    }

    async fn reopen(&mut self) -> Result<(), sqlx::Error> {
        let fresh = connect(&self.options).await?;
        let old = std::mem::replace(&mut self.connection, fresh);
        // The old connection's own state is what is not trusted: whether it closes cleanly says nothing.
        if let Err(error) = old.close().await {
            tracing::debug!(error = %error, "the old connection did not close cleanly");
        }
        Ok(())
    }

    /// Carries the commands out and commits. The commands stay in `group` unless the commit succeeds. Where the disk is
    /// full, the reserve makes room for one more try: unlike a failed flush, that leaves the file as it was.
    async fn transact(&mut self, group: &mut Vec<Command>) -> Result<Vec<Done>, sqlx::Error> {
        let result = self.attempt(group).await;
        let is_full = result.as_ref().is_err_and(|error| code(error) == Some(FULL));
        if is_full && self.reserve.as_mut().is_some_and(Reserve::give_up) {
            return self.attempt(group).await;
        }
        result
    }

    async fn attempt(&mut self, group: &mut Vec<Command>) -> Result<Vec<Done>, sqlx::Error> {
        if let [Command::Turn(turn, _)] = group.as_slice()
            && turn.is_small()
        {
            let written =
                turn::write_small(&mut self.connection, turn, self.boot, &self.series).await;
            if let Err(error) = written {
                self.roll_back().await;
                return Err(error);
            }
            return Ok(group.drain(..).map(|command| command.done(Value::Unit)).collect());
        }
        sqlx::query("begin immediate").execute(&mut self.connection).await?;
        let mut results = Vec::with_capacity(group.len());
        for command in group.iter() {
            match self.carry_out(command).await {
                Ok(result) => results.push(result),
                Err(error) => {
                    self.roll_back().await;
                    return Err(error);
                }
            }
        }
        sqlx::query("commit").execute(&mut self.connection).await?;
        Ok(group.drain(..).zip(results).map(|(command, result)| command.done(result)).collect())
    }

    async fn roll_back(&mut self) {
        if let Err(error) = sqlx::query("rollback").execute(&mut self.connection).await {
            tracing::debug!(%error, "nothing was left to roll back");
        }
    }

    async fn carry_out(&mut self, command: &Command) -> Result<Value, sqlx::Error> {
        let connection = &mut self.connection;
        match command {
            Command::Begin(boot, _) => {
                self.boot = sqlx::query_scalar(
                    "insert into boot (kernel, uptime_ms, at_ms, offset_ms, quality) values (?1, ?2, ?3, ?4, ?5) returning id",
                )
                .bind(&boot.kernel)
                .bind(boot.uptime_ms)
                .bind(boot.at.as_millis())
                .bind(boot.wall.offset_ms)
                .bind(boot.wall.quality.as_str())
                .fetch_one(connection)
                .await?;
            }
            Command::WallClock(wall, _) => {
                sqlx::query("update boot set offset_ms = ?2, quality = ?3 where id = ?1")
                    .bind(self.boot)
                    .bind(wall.offset_ms)
                    .bind(wall.quality.as_str())
                    .execute(connection)
                    .await?;
            }
            Command::Declare(book, sources, _) => {
                sqlx::query("insert into rule_book (version, sources) values (?1, ?2) on conflict do nothing")
                    .bind(&book.version)
                    .bind(sources)
                    .execute(&mut *connection)
                    .await?;
                self.series = Series::declare(connection, Arc::clone(book)).await?;
            }
            Command::Turn(turn, _) => {
                turn::write(connection, turn, self.boot, &self.series).await?;
            }
            Command::Outbox(changes, _) => {
                outbox::update(connection, changes).await?;
            }
            Command::PutRecipients(people, _) => {
                return people::put(connection, people).await.map(Value::Added);
            }
            Command::RemoveRecipient(id, _) => {
                return people::remove(connection, *id).await.map(Value::Removed);
            }
            Command::Seal(block, _) => blocks::write(connection, block).await?,
            Command::Told(told, _) => untold::write(connection, told).await?,
            Command::Prune(_) => return blocks::prune(connection).await.map(Value::Counted),
            Command::Remove(removal, _) => {
                return retention::carry_out(connection, removal).await.map(Value::Counted);
            }
        }
        Ok(Value::Unit)
    }
}

/// What a command came to.
enum Value {
    Unit,
    Added(Added),
    Removed(bool),
    Counted(u64),
}

impl Command {
    fn done(self, value: Value) -> Done {
        match (self, value) {
            (
                Self::Begin(_, reply)
                | Self::WallClock(_, reply)
                | Self::Declare(_, _, reply)
                | Self::Outbox(_, reply)
                | Self::Seal(_, reply)
                | Self::Told(_, reply)
                | Self::Turn(_, reply),
                _,
            ) => Done::Unit(reply),
            (Self::PutRecipients(_, reply), Value::Added(added)) => Done::Added(reply, added),
            (Self::PutRecipients(_, reply), _) => Done::Added(reply, Added::default()),
            (Self::RemoveRecipient(_, reply), value) => {
                Done::Removed(reply, matches!(value, Value::Removed(true)))
            }
            (Self::Prune(reply) | Self::Remove(_, reply), Value::Counted(count)) => {
                Done::Counted(reply, count)
            }
            (Self::Prune(reply) | Self::Remove(_, reply), _) => Done::Counted(reply, 0),
        }
    }

    fn refuse(self, error: &sqlx::Error) {
        let error = Error::Write(sqlx::Error::Protocol(error.to_string()));
        // Who does not wait for the answer any more does not need it.
        let _heard = match self {
            Self::Begin(_, reply)
            | Self::WallClock(_, reply)
            | Self::Declare(_, _, reply)
            | Self::Outbox(_, reply)
            | Self::Seal(_, reply)
            | Self::Told(_, reply)
            | Self::Turn(_, reply) => reply.send(Err(error)).is_ok(),
            Self::Prune(reply) | Self::Remove(_, reply) => reply.send(Err(error)).is_ok(),
            Self::PutRecipients(_, reply) => reply.send(Err(error)).is_ok(),
            Self::RemoveRecipient(_, reply) => reply.send(Err(error)).is_ok(),
        };
    }
}

impl Done {
    fn tell(self) {
        // Who does not wait for the answer any more does not need it.
        let _heard = match self {
            Self::Unit(reply) => reply.send(Ok(())).is_ok(),
            Self::Added(reply, added) => reply.send(Ok(added)).is_ok(),
            Self::Removed(reply, removed) => reply.send(Ok(removed)).is_ok(),
            Self::Counted(reply, count) => reply.send(Ok(count)).is_ok(),
        };
    }
}
