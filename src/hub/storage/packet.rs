//! One packet, one transaction.

use super::database::{Transaction, Value};
use super::reading::{self, Month, Run, bounded, clock_code};
use super::run::{self, Reader};
use super::{Error, Storage, alert};
use crate::domain::time::ClockQuality;
use crate::wire::batch;
use crate::wire::uplink::{
    Block, BookId, Boot, Gone, Health, Latest, Missing, Outcome, Packet, Refusal, Refused, Up,
};
use std::collections::{BTreeMap, BTreeSet};
use tracing::warn;

/// Tries at one packet: months are made between them, and a deadlock is one's own fault only once.
const ATTEMPTS_MAX: u32 = 5;
/// What was received so long ago gives way to whatever comes, ms: a gateway that was set up anew counts its packets from one.
const OLD_MS: i64 = 86_400_000;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// It is on disk, what was known already included.
    Stored(Stored),
    /// Its gateway is suspended: nothing of it was kept.
    Suspended,
    /// There is no such gateway any more.
    Unknown,
}

/// What was in a packet that is on disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Readings that are new.
    pub readings: u64,
    /// Blocks that are new.
    pub blocks: u32,
    /// Blocks that had come before.
    pub blocks_known: u32,
    /// Alerts that are new.
    pub alerts: u32,
    /// Items that were not kept.
    pub refused: Vec<Refused>,
    /// Dictionaries that alerts need.
    pub lacks: BTreeSet<BookId>,
    /// Blocks that others wait for.
    pub missing: Vec<Missing>,
    /// The gateway's clock is not synchronised.
    pub wants_clock: bool,
}

enum Attempt {
    Done(Box<Taken>),
    /// Partitions that must be there first.
    Months(BTreeSet<Month>),
}

/// A packet on its way into the tables.
struct Filer<'a> {
    storage: &'a Storage,
    transaction: Transaction,
    gateway: i64,
    packet: i64,
    now_ms: i64,
    stored: Stored,
    /// Blocks that are new, by chain.
    blocks: BTreeMap<i64, BTreeSet<i64>>,
    boots: Vec<Boot>,
    has_health: bool,
}

impl Storage {
    /// Stores what is in an authentic packet. When this returns [`Taken::Stored`], all of it is on disk, once, and may be
    /// answered.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] and [`Error::Damaged`]: nothing of it was kept.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has stored all or nothing.
    pub async fn store(&self, packet: &Packet<Up>, now_ms: i64) -> Result<Taken, Error> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.attempt(packet, now_ms).await {
                Ok(Attempt::Done(taken)) => return Ok(*taken),
                Ok(Attempt::Months(_)) if attempts == ATTEMPTS_MAX => {
                    return Err(Error::Damaged { what: "partition of a month" });
                }
                Ok(Attempt::Months(months)) => self.make_months(&months).await?,
                Err(error) if attempts == ATTEMPTS_MAX => return Err(error),
                Err(error) if error.is_partition_missing() => self.forget_months(),
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, packet: &Packet<Up>, now_ms: i64) -> Result<Attempt, Error> {
        let mut transaction = self.begin().await?;
        let gateway = i64::from(packet.gateway.0);
        // It writes, so that the next packet of this gateway waits here until this one is done.
        let rows = transaction
            .fetch(
                "update gateway set packets = packets + 1, \
                 heard_ms = case when heard_ms is null or heard_ms < $2 then $2 else heard_ms end \
                 where number = $1 returning suspended_ms",
                &[gateway.into(), now_ms.into()],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(Attempt::Done(Box::new(Taken::Unknown))) };
        if row.maybe_int(0)?.is_some() {
            transaction.commit().await?;
            return Ok(Attempt::Done(Box::new(Taken::Suspended)));
        }
        let mut filer = Filer {
            storage: self,
            transaction,
            gateway,
            packet: packet.number.cast_signed(),
            now_ms,
            stored: Stored::default(),
            blocks: BTreeMap::new(),
            boots: Vec::new(),
            has_health: false,
        };
        for (index, item) in (0..).zip(&packet.items) {
            filer.item(index, item).await?;
        }
        filer.finish().await
    }
}

impl Filer<'_> {
    async fn item(&mut self, index: u32, item: &Up) -> Result<(), Error> {
        match item {
            Up::Health(health) => self.health(health).await,
            Up::Boot(boot) => self.boot(boot).await,
            Up::Book(book) => {
                alert::keep_book(&mut self.transaction, self.gateway, book, self.now_ms).await
            }
            Up::Alert(short) => {
                let (is_new, lacks) =
                    alert::keep(&mut self.transaction, self.gateway, short, self.now_ms).await?;
                self.stored.alerts += u32::from(is_new);
                self.stored.lacks.extend(lacks);
                Ok(())
            }
            Up::Outcome(outcome) => self.outcome(outcome).await,
            Up::Ended(ended) => {
                let values: [Value; 4] = [
                    self.gateway.into(),
                    ended.warning.0.cast_signed().into(),
                    bounded(ended.at.as_millis()).into(),
                    ended.ending.as_str().into(),
                ];
                self.put(
                    "insert into ended (gateway, warning, at_ms, ending) values ($1, $2, $3, $4) on conflict do nothing",
                    &values,
                )
                .await
            }
            Up::Latest(readings) => self.latest(readings).await,
            Up::Block(block) => self.block(block).await,
            Up::Gone(gone) => self.gone(gone).await,
            // Whoever joins text messages has seen to it.
            Up::Repair(_) => Ok(()),
            Up::Other(_) => {
                self.stored.refused.push(Refused { index, reason: Refusal::Unreadable });
                Ok(())
            }
        }
    }

    async fn put(&mut self, sql: &'static str, values: &[Value]) -> Result<(), Error> {
        self.transaction.execute(sql, values).await.map(drop)
    }

    async fn health(&mut self, health: &Health) -> Result<(), Error> {
        self.has_health = true;
        self.stored.wants_clock |= health.clock != ClockQuality::Synchronised;
        let said = serde_json::json!({
            "sent_unix_ms": health.sent_unix_ms,
            "clock": health.clock.as_str(),
            "uptime_s": health.uptime_s,
            "version": health.version.replace('\0', ""),
            "nodes_heard": health.nodes_heard,
            "nodes_declared": health.nodes_declared,
            "open_warnings": health.open_warnings,
            "backlog_blocks": health.backlog_blocks,
            "backlog_bytes": health.backlog_bytes,
            "backlog_oldest_unix_ms": health.backlog_oldest_unix_ms,
            "budget_used_bytes": health.budget_used_bytes,
            "budget_left_bytes": health.budget_left_bytes,
            "outbox_waiting": health.outbox_waiting,
            "disk_free_bytes": health.disk_free_bytes,
            "faults": super::query::fault_words(health.faults),
        });
        let values: [Value; 5] = [
            self.gateway.into(),
            said.to_string().into(),
            self.packet.into(),
            self.now_ms.into(),
            self.now_ms.saturating_sub(OLD_MS).into(),
        ];
        self.put(
            "update gateway set health = $2, health_packet = $3, health_ms = $4 where number = $1 \
             and (health_packet is null or health_packet <= $3 or health_ms < $5)",
            &values,
        )
        .await
    }

    async fn boot(&mut self, boot: &Boot) -> Result<(), Error> {
        let values: [Value; 8] = [
            self.gateway.into(),
            boot.boot.cast_signed().into(),
            bounded(boot.at.as_millis()).into(),
            bounded(boot.clock.offset_ms).into(),
            clock_code(boot.clock.quality).into(),
            self.packet.into(),
            self.now_ms.into(),
            self.now_ms.saturating_sub(OLD_MS).into(),
        ];
        let changed = self
            .transaction
            .execute(
                "insert into boot (gateway, boot, at_ms, offset_ms, quality, packet, received_ms) \
                 values ($1, $2, $3, $4, $5, $6, $7) on conflict (gateway, boot, at_ms) do update \
                 set offset_ms = excluded.offset_ms, quality = excluded.quality, packet = excluded.packet, \
                 received_ms = excluded.received_ms where boot.packet <= excluded.packet or boot.received_ms < $8",
                &values,
            )
            .await?;
        if changed > 0 {
            self.boots.push(*boot);
        }
        Ok(())
    }

    async fn outcome(&mut self, outcome: &Outcome) -> Result<(), Error> {
        let values: [Value; 13] = [
            self.gateway.into(),
            outcome.warning.0.cast_signed().into(),
            outcome.alert.into(),
            outcome.recipients.into(),
            outcome.delivered.into(),
            outcome.accepted.into(),
            outcome.failed.into(),
            outcome.expired.into(),
            outcome.waiting.into(),
            outcome.acknowledged.into(),
            self.packet.into(),
            self.now_ms.into(),
            self.now_ms.saturating_sub(OLD_MS).into(),
        ];
        self.put(
            "insert into outcome (gateway, warning, alert, recipients, delivered, accepted, failed, expired, waiting, \
             acknowledged, packet, received_ms) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             on conflict (gateway, warning, alert) do update set recipients = excluded.recipients, \
             delivered = excluded.delivered, accepted = excluded.accepted, failed = excluded.failed, \
             expired = excluded.expired, waiting = excluded.waiting, acknowledged = excluded.acknowledged, \
             packet = excluded.packet, received_ms = excluded.received_ms \
             where outcome.packet <= excluded.packet or outcome.received_ms < $13",
            &values,
        )
        .await
    }

    async fn latest(&mut self, readings: &[Latest]) -> Result<(), Error> {
        for reading in readings {
            let values: [Value; 8] = [
                self.gateway.into(),
                super::plain(&reading.node.0).into(),
                reading.quantity.name().into(),
                bounded(reading.at.as_millis()).into(),
                self.now_ms.into(),
                Some(reading.value).filter(|value| !value.is_nan()).into(),
                i64::from(reading.quality.code()).into(),
                self.now_ms.saturating_sub(OLD_MS).into(),
            ];
            self.put(
                "insert into latest (gateway, node, quantity, at_ms, received_ms, value, quality) \
                 values ($1, $2, $3, $4, $5, $6, $7) on conflict (gateway, node, quantity) do update \
                 set at_ms = excluded.at_ms, received_ms = excluded.received_ms, value = excluded.value, \
                 quality = excluded.quality where latest.at_ms < excluded.at_ms or latest.received_ms < $8",
                &values,
            )
            .await?;
        }
        Ok(())
    }

    async fn block(&mut self, block: &Block) -> Result<(), Error> {
        let (chain, number) = (i64::from(block.chain), block.number.cast_signed());
        let values: [Value; 8] = [
            self.gateway.into(),
            chain.into(),
            number.into(),
            block.id().0.as_slice().into(),
            block.previous.as_slice().into(),
            i64::from(batch::stands_alone(&block.bytes)).into(),
            self.now_ms.into(),
            block.bytes.as_slice().into(),
        ];
        let rows = self
            .transaction
            .fetch(
                "insert into block (gateway, chain, number, id, previous, alone, state, received_ms, bytes) \
                 values ($1, $2, $3, $4, $5, $6, \
                 case when exists (select 1 from block where gateway = $1 and chain = $2 and number = $3 and id <> $4) \
                 then 3 else 0 end, $7, $8) on conflict do nothing returning state",
                &values,
            )
            .await?;
        let Some(row) = rows.first() else {
            self.stored.blocks_known += 1;
            return Ok(());
        };
        self.stored.blocks += 1;
        if row.int(0)? == run::MISPLACED {
            let (gateway, chain, number) = (self.gateway, block.chain, block.number);
            warn!(gateway, chain, number, "another block has this one's place; its bytes are kept");
            return Ok(());
        }
        if let std::collections::btree_map::Entry::Vacant(new) = self.blocks.entry(chain) {
            new.insert(BTreeSet::new());
            let values: [Value; 3] = [self.gateway.into(), chain.into(), self.now_ms.into()];
            self.put(
                "insert into chain (gateway, chain, first_ms) values ($1, $2, $3) on conflict do nothing",
                &values,
            )
            .await?;
        }
        self.blocks.entry(chain).or_default().insert(number);
        Ok(())
    }

    async fn gone(&mut self, gone: &Gone) -> Result<(), Error> {
        let values: [Value; 4] = [
            self.gateway.into(),
            i64::from(gone.chain).into(),
            gone.first.cast_signed().into(),
            gone.last.cast_signed().into(),
        ];
        self.put(
            "insert into gone (gateway, chain, first, last) values ($1, $2, $3, $4) on conflict do nothing",
            &values,
        )
        .await
    }

    /// Reads the blocks that can be read now, puts times right that are known better now, and commits.
    async fn finish(mut self) -> Result<Attempt, Error> {
        let mut months = self.correct().await?;
        let mut positions = Vec::new();
        if !self.blocks.is_empty() {
            let transaction = &mut self.transaction;
            let mut reader = Reader::new(self.storage, transaction, self.gateway).await?;
            for (chain, numbers) in &self.blocks {
                reader.read(transaction, *chain, numbers).await?;
            }
            let readings = reader.finish();
            self.stored.readings = readings.stored;
            months.extend(readings.months);
            positions = readings.positions;
        }
        if !months.is_empty() {
            return Ok(Attempt::Months(months));
        }
        if self.has_health {
            self.stored.missing =
                run::missing(&mut self.transaction, self.gateway, self.now_ms).await?;
        }
        self.transaction.commit().await?;
        for (chain, position) in positions {
            self.storage.streams.keep(chain, position);
        }
        Ok(Attempt::Done(Box::new(Taken::Stored(self.stored))))
    }

    /// Puts the times of readings right whose run is known better now. Returns the months that have no partition.
    async fn correct(&mut self) -> Result<BTreeSet<Month>, Error> {
        let mut months = BTreeSet::new();
        for boot in std::mem::take(&mut self.boots) {
            let run = Run {
                at_ms: bounded(boot.at.as_millis()),
                offset_ms: bounded(boot.clock.offset_ms),
                clock: clock_code(boot.clock.quality),
            };
            let next = self
                .transaction
                .fetch(
                    "select min(at_ms) from boot where gateway = $1 and at_ms > $2",
                    &[self.gateway.into(), run.at_ms.into()],
                )
                .await?;
            let until_ms = next.first().map_or(Ok(None), |row| row.maybe_int(0))?;
            let until_ms = until_ms.unwrap_or(i64::MAX);
            loop {
                let corrected =
                    reading::to_correct(&mut self.transaction, self.gateway, run, until_ms).await?;
                months.extend(self.storage.months_missing(&corrected.new));
                if corrected.new.is_empty() || !months.is_empty() {
                    break;
                }
                reading::remove(&mut self.transaction, self.gateway, &corrected.old).await?;
                self.transaction.insert_readings(self.gateway, &corrected.new).await?;
            }
        }
        Ok(months)
    }
}
