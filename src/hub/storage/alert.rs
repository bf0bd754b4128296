//! Alerts, and the dictionaries that give them their names.

use super::database::{Transaction, Value};
use super::reading::bounded;
use super::{Error, plain};
use crate::domain::warning::Alert;
use crate::wire::uplink::{About, Book, BookId, ShortAlert, Up};
use std::collections::BTreeMap;
use tracing::warn;

/// Stores an alert. Returns whether it is new, and the dictionary that it needs where that is not here.
pub(super) async fn keep(
    transaction: &mut Transaction,
    gateway: i64,
    short: &ShortAlert,
    now_ms: i64,
) -> Result<(bool, Option<BookId>), Error> {
    let id = match &short.about {
        About::Places { book, .. } => Some(*book),
        About::Words { .. } => None,
    };
    // It was read out of a packet, so that it fits into one.
    let item = Up::Alert(short.clone()).to_bytes().map_err(|_| Error::Damaged { what: "alert" })?;
    let values: [Value; 12] = [
        gateway.into(),
        short.warning.0.cast_signed().into(),
        short.number.into(),
        bounded(short.sent.as_millis()).into(),
        bounded(short.expires.as_millis()).into(),
        now_ms.into(),
        short.message_type.as_str().into(),
        short.reason.as_str().into(),
        short.level.as_str().into(),
        short.level_max.as_str().into(),
        id.map(|id| id.0.to_vec()).into(),
        item.into(),
    ];
    let new = transaction
        .execute(
            "insert into alert (gateway, warning, number, sent_ms, expires_ms, received_ms, message_type, reason, level, \
             level_max, book, item) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing",
            &values,
        )
        .await?;
    let book = match id {
        None => None,
        Some(id) => match book(transaction, gateway, id).await? {
            None => return Ok((new > 0, Some(id))),
            known => known,
        },
    };
    if new > 0 {
        name(transaction, gateway, short, book.as_ref()).await?;
    }
    Ok((new > 0, None))
}

async fn book(
    transaction: &mut Transaction,
    gateway: i64,
    id: BookId,
) -> Result<Option<Book>, Error> {
    let rows = transaction
        .fetch(
            "select bytes from book where gateway = $1 and id = $2",
            &[gateway.into(), id.0.as_slice().into()],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Book::from_bytes(&row.bytes(0)?).map(Some).ok_or(Error::Damaged { what: "dictionary" })
}

/// Stores a dictionary, and gives their names to the alerts that have waited for it.
pub(super) async fn keep_book(
    transaction: &mut Transaction,
    gateway: i64,
    book: &Book,
    now_ms: i64,
) -> Result<(), Error> {
    let id = book.id();
    transaction
        .execute(
            "insert into book (gateway, id, received_ms, bytes) values ($1, $2, $3, $4) on conflict do nothing",
            &[gateway.into(), id.0.as_slice().into(), now_ms.into(), book.as_bytes().into()],
        )
        .await?;
    let waiting = transaction
        .fetch(
            "select item from alert where gateway = $1 and book = $2 and hazard is null",
            &[gateway.into(), id.0.as_slice().into()],
        )
        .await?;
    for row in waiting {
        let Ok(Up::Alert(short)) = Up::from_bytes(&row.bytes(0)?) else {
            return Err(Error::Damaged { what: "alert" });
        };
        name(transaction, gateway, &short, Some(book)).await?;
    }
    Ok(())
}

/// Gives an alert its names.
async fn name(
    transaction: &mut Transaction,
    gateway: i64,
    short: &ShortAlert,
    book: Option<&Book>,
) -> Result<(), Error> {
    let alert = match short.expand(book) {
        Ok(alert) => alert,
        Err(error) => {
            let warning = short.warning.0;
            warn!(gateway, warning, %error, "an alert has no names; it is kept as it came");
            return Ok(());
        }
    };
    let values: [Value; 9] = [
        gateway.into(),
        alert.warning.0.cast_signed().into(),
        alert.number.into(),
        bounded(alert.sent.as_millis()).into(),
        plain(&alert.hazard).into(),
        plain(&alert.area).into(),
        plain(&alert.rule).into(),
        plain(&alert.rule_version).into(),
        observed(&alert, book).into(),
    ];
    transaction
        .execute(
            "update alert set hazard = $5, area = $6, rule = $7, rule_version = $8, observed = $9 \
             where gateway = $1 and warning = $2 and number = $3 and sent_ms = $4",
            &values,
        )
        .await
        .map(drop)
}

/// Returns what was seen as a JSON object of signals and values. Without a dictionary nodes have numbers only.
fn observed(alert: &Alert, book: Option<&Book>) -> String {
    let seen = alert.observed.iter().map(|seen| {
        let node = book.and_then(|book| book.node(seen.signal.node));
        let node = node.map_or_else(|| format!("#{}", seen.signal.node.0), |name| plain(&name.0));
        (seen.signal.words(&node), seen.value)
    });
    let seen: BTreeMap<String, f64> = seen.collect();
    serde_json::to_string(&seen).unwrap_or_default()
}
