//! Tokens and gateways: who may join, who has, and who is kept out.

use super::{Error, Storage};
use crate::wire::uplink::{GatewayNumber, Key};

/// A gateway as the operator sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayRow {
    /// Its number.
    pub number: GatewayNumber,
    /// The name that its token had.
    pub name: String,
    /// When it enrolled, Unix ms.
    pub enrolled_ms: i64,
    /// Since when it is suspended, Unix ms.
    pub suspended_ms: Option<i64>,
    /// When a packet of it last came, Unix ms.
    pub heard_ms: Option<i64>,
    /// Since when it is missed, Unix ms.
    pub missing_ms: Option<i64>,
    /// Packets that it has sent.
    pub packets: i64,
    /// What it last said of itself, JSON.
    pub health: Option<String>,
    /// When that came, Unix ms.
    pub health_ms: Option<i64>,
}

/// A token that nobody has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// The gateway that it is for.
    pub name: String,
    /// Until when it can be used, Unix ms.
    pub expires_ms: i64,
}

/// What came of an enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// The gateway is known by this number and name.
    As(GatewayNumber, String),
    /// There is no such token, or it has been used or has expired. Which, is nobody's business.
    Refused,
}

const GATEWAYS: &str = "select number, name, enrolled_ms, suspended_ms, heard_ms, missing_ms, packets, \
     health, health_ms from gateway order by name";

impl Storage {
    /// Keeps a token, of which the hash alone is known, until it expires or is used.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub async fn add_token(
        &self,
        hash: &[u8; 32],
        name: &str,
        now_ms: i64,
        expires_ms: i64,
    ) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        // What has expired is of no use to anybody.
        transaction
            .execute(
                "delete from token where used_ms is null and expires_ms < $1",
                &[now_ms.into()],
            )
            .await?;
        transaction
            .execute(
                "insert into token (hash, name, made_ms, expires_ms) values ($1, $2, $3, $4)",
                &[hash.as_slice().into(), name.into(), now_ms.into(), expires_ms.into()],
            )
            .await?;
        transaction.commit().await
    }

    /// Lets a gateway in by its token. The same token with the same key does it again, since the answer may have been lost.
    /// A gateway of that name that is known already gets the new key and keeps its number: its computer was replaced.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub async fn enrol(&self, hash: &[u8; 32], key: &Key, now_ms: i64) -> Result<Enrolled, Error> {
        let key = key.secret_bytes().as_slice();
        let mut transaction = self.begin().await?;
        let used = transaction
            .fetch(
                "update token set used_ms = $2 where hash = $1 and used_ms is null and expires_ms > $2 returning name",
                &[hash.as_slice().into(), now_ms.into()],
            )
            .await?;
        let Some(row) = used.first() else {
            let again = transaction
                .fetch(
                    "select number, gateway.name from gateway join token on token.name = gateway.name \
                     where token.hash = $1 and token.used_ms is not null and key = $2",
                    &[hash.as_slice().into(), key.into()],
                )
                .await?;
            return Ok(match again.first() {
                Some(row) => Enrolled::As(GatewayNumber(row.small(0)?), row.text(1)?),
                None => Enrolled::Refused,
            });
        };
        let name = row.text(0)?;
        let rows = transaction
            .fetch(
                "insert into gateway (name, key, enrolled_ms) values ($1, $2, $3) \
                 on conflict (name) do update set key = excluded.key, enrolled_ms = excluded.enrolled_ms returning number",
                &[name.as_str().into(), key.into(), now_ms.into()],
            )
            .await?;
        let number = rows.first().ok_or(Error::Damaged { what: "gateway" })?.small(0)?;
        transaction.commit().await?;
        Ok(Enrolled::As(GatewayNumber(number), name))
    }

    /// Returns the key of a gateway.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn key(&self, gateway: GatewayNumber) -> Result<Option<Key>, Error> {
        let rows = self
            .database
            .fetch("select key from gateway where number = $1", &[gateway.0.into()])
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let bytes = row.bytes(0)?.try_into().map_err(|_| Error::Damaged { what: "key" })?;
        Ok(Some(Key::new(bytes)))
    }

    /// Suspends a gateway, or lets it in again. Returns whether there is one of that name.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub async fn suspend(&self, name: &str, since_ms: Option<i64>) -> Result<bool, Error> {
        let mut transaction = self.begin().await?;
        let touched = transaction
            .execute(
                "update gateway set suspended_ms = $2 where name = $1",
                &[name.into(), since_ms.into()],
            )
            .await?;
        transaction.commit().await?;
        Ok(touched > 0)
    }

    /// Returns every gateway by name.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn gateways(&self) -> Result<Vec<GatewayRow>, Error> {
        let rows = self.database.fetch(GATEWAYS, &[]).await?;
        let gateway = |row: &super::database::Row| {
            Ok(GatewayRow {
                number: GatewayNumber(row.small(0)?),
                name: row.text(1)?,
                enrolled_ms: row.int(2)?,
                suspended_ms: row.maybe_int(3)?,
                heard_ms: row.maybe_int(4)?,
                missing_ms: row.maybe_int(5)?,
                packets: row.int(6)?,
                health: row.maybe_text(7)?,
                health_ms: row.maybe_int(8)?,
            })
        };
        rows.iter().map(gateway).collect()
    }

    /// Returns the tokens that can still be used.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn tokens(&self, now_ms: i64) -> Result<Vec<TokenRow>, Error> {
        let rows = self
            .database
            .fetch(
                "select name, expires_ms from token where used_ms is null and expires_ms > $1 order by name",
                &[now_ms.into()],
            )
            .await?;
        rows.iter()
            .map(|row| Ok(TokenRow { name: row.text(0)?, expires_ms: row.int(1)? }))
            .collect()
    }
}
