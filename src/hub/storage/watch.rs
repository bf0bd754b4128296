//! Gateways that are missed, and who has been told so.

use super::{Error, Storage};
use crate::wire::uplink::GatewayNumber;

/// Notices that are told in one round.
const NOTICES_AT_ONCE: i64 = 50;
/// What is older is no news, ms.
const NEWS_MS: i64 = 86_400_000;
/// After so long without success a notice may be told by another process, ms.
const CLAIM_MS: i64 = 5 * 60_000;

/// What an operator is told of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// It has not been heard for longer than it should be.
    Missing,
    /// It is heard again.
    HeardAgain,
}

impl NoticeKind {
    /// Returns the word used in the database and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::HeardAgain => "heard_again",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Missing, Self::HeardAgain].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// One thing that an operator is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its number.
    pub id: i64,
    /// Which gateway.
    pub gateway: GatewayNumber,
    /// Its name.
    pub name: String,
    /// What of it.
    pub kind: NoticeKind,
    /// When that was noticed, Unix ms.
    pub at_ms: i64,
    /// When a packet of it last came, Unix ms.
    pub heard_ms: Option<i64>,
    /// When the operator was told, Unix ms.
    pub told_ms: Option<i64>,
}

impl Storage {
    /// Notes which gateways have not been heard since `limit_ms`, and which of those are heard again. Of several processes
    /// one notes it. Returns how many are new.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] and [`Error::Damaged`].
    pub async fn watch(&self, now_ms: i64, limit_ms: i64) -> Result<usize, Error> {
        let mut transaction = self.begin().await?;
        let missing = transaction
            .fetch(
                "update gateway set missing_ms = $1 where suspended_ms is null and missing_ms is null \
                 and coalesce(heard_ms, enrolled_ms) < $2 returning number",
                &[now_ms.into(), limit_ms.into()],
            )
            .await?;
        let heard = transaction
            .fetch(
                "update gateway set missing_ms = null where missing_ms is not null \
                 and (heard_ms >= $1 or suspended_ms is not null) returning number",
                &[limit_ms.into()],
            )
            .await?;
        let missing = missing.iter().map(|row| (row, NoticeKind::Missing));
        let heard = heard.iter().map(|row| (row, NoticeKind::HeardAgain));
        let mut new = 0;
        for (row, kind) in missing.chain(heard) {
            transaction
                .execute(
                    "insert into notice (gateway, kind, at_ms) values ($1, $2, $3)",
                    &[row.int(0)?.into(), kind.as_str().into(), now_ms.into()],
                )
                .await?;
            new += 1;
        }
        transaction.commit().await?;
        Ok(new)
    }

    /// Claims notices that nobody has been told of, for this process alone.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] and [`Error::Damaged`].
    pub async fn claim_notices(&self, now_ms: i64) -> Result<Vec<Notice>, Error> {
        let mut transaction = self.begin().await?;
        let claimed = transaction
            .fetch(
                "update notice set claimed_ms = $1 where told_ms is null and (claimed_ms is null or claimed_ms < $2) \
                 and id in (select id from notice where told_ms is null and (claimed_ms is null or claimed_ms < $2) \
                 and at_ms > $3 order by id limit $4) returning id",
                &[
                    now_ms.into(),
                    now_ms.saturating_sub(CLAIM_MS).into(),
                    now_ms.saturating_sub(NEWS_MS).into(),
                    NOTICES_AT_ONCE.into(),
                ],
            )
            .await?;
        let mut notices = Vec::new();
        for row in claimed {
            let row = transaction.fetch(NOTICE, &[row.int(0)?.into()]).await?;
            notices.extend(row.first().map(notice).transpose()?);
        }
        transaction.commit().await?;
        Ok(notices)
    }

    /// Notes that the operator has been told.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub async fn told(&self, notice: i64, now_ms: i64) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        transaction
            .execute(
                "update notice set told_ms = $2 where id = $1",
                &[notice.into(), now_ms.into()],
            )
            .await?;
        transaction.commit().await
    }

    /// Returns the newest notices, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn notices(&self) -> Result<Vec<Notice>, Error> {
        self.database.fetch(NOTICES, &[]).await?.iter().map(notice).collect()
    }
}

const NOTICE: &str = "select id, number, name, kind, at_ms, heard_ms, told_ms \
     from notice join gateway on number = gateway where id = $1";
const NOTICES: &str = "select id, number, name, kind, at_ms, heard_ms, told_ms \
     from notice join gateway on number = gateway order by id desc limit 50";

fn notice(row: &super::database::Row) -> Result<Notice, Error> {
    Ok(Notice {
        id: row.int(0)?,
        gateway: GatewayNumber(row.small(1)?),
        name: row.text(2)?,
        kind: NoticeKind::from_word(&row.text(3)?).ok_or(Error::Damaged { what: "notice" })?,
        at_ms: row.int(4)?,
        heard_ms: row.maybe_int(5)?,
        told_ms: row.maybe_int(6)?,
    })
}
