//! Recipients in the database.

use super::Error;
use crate::domain::recipient::{PhoneNumber, Recipient, RecipientId, Role};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqlitePool};

/// Someone to add, or to change if their number is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecipient {
    /// What they are called.
    pub name: String,
    /// Their telephone number: by it they are known again.
    pub number: PhoneNumber,
    /// What they do.
    pub role: Role,
    /// Language of their texts.
    pub language: String,
    /// Names of the areas that they are told about.
    pub areas: Vec<String>,
    /// Whether they have agreed to be told.
    pub consent: bool,
}

impl From<Recipient> for NewRecipient {
    fn from(person: Recipient) -> Self {
        let Recipient { id: _, name, number, role, language, areas, consent } = person;
        Self { name, number, role, language, areas, consent }
    }
}

/// What adding came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Were not known before.
    pub new: usize,
    /// Were known, and are different now.
    pub changed: usize,
    /// Were known just so.
    pub same: usize,
}

pub(super) async fn put(
    connection: &mut SqliteConnection,
    people: &[NewRecipient],
) -> Result<Added, sqlx::Error> {
    let mut added = Added::default();
    for person in people {
        let before: Option<i64> = sqlx::query_scalar("select id from recipient where number = ?1")
            .bind(person.number.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        let touched = sqlx::query(
            "insert into recipient (name, number, role, language, areas, consent) values (?1, ?2, ?3, ?4, ?5, ?6) \
             on conflict (number) do update set name = excluded.name, role = excluded.role, \
             language = excluded.language, areas = excluded.areas, consent = excluded.consent \
             where name <> excluded.name or role <> excluded.role or language <> excluded.language \
             or areas <> excluded.areas or consent <> excluded.consent",
        )
        .bind(&person.name)
        .bind(person.number.as_str())
        .bind(&person.role.0)
        .bind(&person.language)
        .bind(person.areas.join(" "))
        .bind(person.consent)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        match (before, touched) {
            (None, _) => added.new += 1,
            (Some(_), 0) => added.same += 1,
            (Some(_), _) => added.changed += 1,
        }
    }
    Ok(added)
}

pub(super) async fn remove(
    connection: &mut SqliteConnection,
    id: RecipientId,
) -> Result<bool, sqlx::Error> {
    let gone =
        sqlx::query("delete from recipient where id = ?1").bind(id.0).execute(connection).await?;
    Ok(gone.rows_affected() > 0)
}

pub(super) async fn all(readers: &SqlitePool) -> Result<Vec<Recipient>, Error> {
    let rows = sqlx::query(
        "select id, name, number, role, language, areas, consent from recipient order by id",
    )
    .fetch_all(readers)
    .await
    .map_err(Error::Read)?;
    rows.iter().map(recipient).collect()
}

pub(super) fn recipient(row: &SqliteRow) -> Result<Recipient, Error> {
    let number: String = row.try_get("number").map_err(Error::Read)?;
    let areas: String = row.try_get("areas").map_err(Error::Read)?;
    Ok(Recipient {
        id: RecipientId(row.try_get("id").map_err(Error::Read)?),
        name: row.try_get("name").map_err(Error::Read)?,
        number: PhoneNumber::parse(&number)
            .map_err(|_| Error::Damaged { what: "telephone number" })?,
        role: Role(row.try_get("role").map_err(Error::Read)?),
        language: row.try_get("language").map_err(Error::Read)?,
        areas: areas.split_whitespace().map(str::to_owned).collect(),
        consent: row.try_get("consent").map_err(Error::Read)?,
    })
}
