//! What can still be read of a damaged database.

use super::people::{self, NewRecipient};
use super::{LastRun, options, query};
use crate::domain::warning::WarningId;
use sqlx::sqlite::{SqlitePoolOptions, SqliteRow};
use sqlx::{Row, SqlitePool};
use std::collections::BTreeMap;
use std::path::Path;

/// What could be read of a damaged database: without it nobody is told, and no radio node is understood.
#[derive(Debug, Default)]
pub struct Salvaged {
    /// Where its last run stood.
    pub last_run: Option<LastRun>,
    /// Who is to be told.
    pub recipients: Vec<NewRecipient>,
    /// States of radio nodes and sirens, by the node's own identifier.
    pub radio: BTreeMap<String, Vec<u8>>,
    /// The highest number of a warning that can be read anywhere.
    pub warning_last: WarningId,
}

/// Where numbers of warnings stand.
const WARNING_NUMBERS: [&str; 4] = [
    "select max(id) from warning",
    "select max(warning) from alert",
    "select max(warning) from delivery",
    "select value from mark where name = 'warning'",
];

impl Salvaged {
    /// Reads what can be read, row by row; what cannot is left out.
    pub async fn read(path: &Path) -> Self {
        let readers = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_lazy_with(options(path).create_if_missing(false).read_only(true));
        let mut recipients = BTreeMap::new();
        let orders = [
            "select * from recipient order by id limit 1 offset ?1",
            "select * from recipient order by id desc limit 1 offset ?1",
        ];
        rows(&readers, orders, |row| {
            if let Ok(person) = people::recipient(row) {
                recipients.insert(person.id, NewRecipient::from(person));
            }
        })
        .await;
        let mut radio = BTreeMap::new();
        let orders = [
            "select * from radio order by node limit 1 offset ?1",
            "select * from radio order by node desc limit 1 offset ?1",
        ];
        rows(&readers, orders, |row| {
            if let (Ok(node), Ok(state)) = (row.try_get("node"), row.try_get("state")) {
                radio.insert(node, state);
            }
        })
        .await;
        let last_run = query::last_run(&readers).await.ok().flatten();
        let mut warning_last = 0;
        for numbers in WARNING_NUMBERS {
            let found =
                sqlx::query_scalar::<_, Option<i64>>(numbers).fetch_optional(&readers).await;
            warning_last = warning_last.max(found.ok().flatten().flatten().unwrap_or(0));
        }
        let warning_last = WarningId(warning_last.cast_unsigned());
        readers.close().await;
        Self { last_run, recipients: recipients.into_values().collect(), radio, warning_last }
    }
}

/// Reads a table from its beginning; and where that does not come to the end, from the end back.
async fn rows(readers: &SqlitePool, orders: [&'static str; 2], mut keep: impl FnMut(&SqliteRow)) {
    for order in orders {
        let mut number = 0i64;
        loop {
            match sqlx::query(order).bind(number).fetch_optional(readers).await {
                Ok(Some(row)) => keep(&row),
                Ok(None) => return,
                Err(_) => break,
            }
            number += 1;
        }
    }
}
