//! Runs of blocks. A block that stands alone begins one, each of the others continues the one before it; so a block is
//! read when all from the beginning of its run are here, in whatever order they came, and by whom that is noticed first.

use super::database::{Row, Transaction};
use super::reading::{Filing, Month};
use super::{Error, Storage};
use crate::wire::batch::{CONTINUED_MAX, Link, Reading, Stream};
use crate::wire::uplink::Missing;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use tracing::warn;

/// Streams that are kept in memory, so that a block that comes in turn needs no other.
const STREAMS_MAX: usize = 1_024;

/// A block's readings are not stored yet.
pub(super) const WAITS: i64 = 0;
/// They are.
const READ: i64 = 1;
/// It cannot be read.
const UNREADABLE: i64 = 2;
/// Another block has its place in the chain.
pub(super) const MISPLACED: i64 = 3;

/// A gateway's number and its chain's.
type Chain = (i64, i64);

/// How far the blocks of a chain have been read.
#[derive(Clone, Debug)]
pub(super) struct Position {
    number: i64,
    stream: Stream,
}

/// Positions in chains, those that were used last.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Positions>);

#[derive(Debug, Default)]
struct Positions {
    by_chain: BTreeMap<Chain, (u64, Position)>,
    by_use: BTreeMap<u64, Chain>,
    uses: u64,
}

impl Streams {
    fn get(&self, chain: Chain) -> Option<Position> {
        let positions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        positions.by_chain.get(&chain).map(|(_, position)| position.clone())
    }

    /// Keeps a position that a transaction has committed, instead of that which was used longest ago.
    pub(super) fn keep(&self, chain: Chain, position: Position) {
        let mut positions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        positions.uses += 1;
        let used = positions.uses;
        if let Some((before, _)) = positions.by_chain.insert(chain, (used, position)) {
            positions.by_use.remove(&before);
        }
        positions.by_use.insert(used, chain);
        if positions.by_chain.len() > STREAMS_MAX
            && let Some((_, oldest)) = positions.by_use.pop_first()
        {
            positions.by_chain.remove(&oldest);
        }
    }
}

/// A block as its row has it.
struct Kept {
    number: i64,
    id: Vec<u8>,
    previous: Vec<u8>,
    alone: bool,
    state: i64,
    bytes: Vec<u8>,
}

impl Kept {
    fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            number: row.int(0)?,
            id: row.bytes(1)?,
            previous: row.bytes(2)?,
            alone: row.int(3)? != 0,
            state: row.int(4)?,
            bytes: row.bytes(5)?,
        })
    }
}

/// What has been read in one transaction.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// How many readings were new.
    pub(super) stored: u64,
    /// Months that have no partition: nothing is stored then, only looked at.
    pub(super) months: BTreeSet<Month>,
    /// Where the chains stand, once this is committed.
    pub(super) positions: Vec<(Chain, Position)>,
}

/// What a gateway's blocks are read with.
pub(super) struct Reader<'a> {
    storage: &'a Storage,
    gateway: i64,
    filing: Filing,
    /// Whether the gateway has had more than one database: the second may tell what the first has told.
    is_restored: bool,
    readings: Readings,
}

impl<'a> Reader<'a> {
    pub(super) async fn new(
        storage: &'a Storage,
        transaction: &mut Transaction,
        gateway: i64,
    ) -> Result<Self, Error> {
        let filing = Filing::of(transaction, gateway).await?;
        let chains = transaction
            .fetch("select chain from chain where gateway = $1 limit 2", &[gateway.into()])
            .await?;
        let is_restored = chains.len() > 1;
        Ok(Self { storage, gateway, filing, is_restored, readings: Readings::default() })
    }

    pub(super) fn finish(self) -> Readings {
        self.readings
    }

    /// Reads what can be read now that the blocks with these numbers are here.
    pub(super) async fn read(
        &mut self,
        transaction: &mut Transaction,
        chain: i64,
        numbers: &BTreeSet<i64>,
    ) -> Result<(), Error> {
        let mut position = self.storage.streams.get((self.gateway, chain));
        // Up to here the numbers have been seen to: a run is read as far as it goes.
        let mut until = i64::MIN;
        for number in numbers.iter().filter(|number| **number > 0) {
            if *number <= until {
                continue;
            }
            let Some(first) = self.run_of(transaction, chain, *number).await? else { continue };
            let known = position.take().filter(|at| (first..*number).contains(&at.number));
            position = self.read_run(transaction, chain, first, known).await?;
            until = position.as_ref().map_or(until, |position| position.number);
        }
        if let Some(position) = position {
            self.readings.positions.push(((self.gateway, chain), position));
        }
        Ok(())
    }

    /// Returns the number of the block that begins the run of another; `None` where that is not here.
    async fn run_of(
        &self,
        transaction: &mut Transaction,
        chain: i64,
        number: i64,
    ) -> Result<Option<i64>, Error> {
        let rows = transaction
            .fetch(
                "select max(number) from block where gateway = $1 and chain = $2 and number <= $3 \
                 and number >= $4 and alone = 1 and state <> 3",
                &[
                    self.gateway.into(),
                    chain.into(),
                    number.into(),
                    number.saturating_sub(CONTINUED_MAX.into()).into(),
                ],
            )
            .await?;
        rows.first().map_or(Ok(None), |row| row.maybe_int(0))
    }

    /// Reads a run from its beginning, or from after a position in it, up to the first block that is missing. Returns
    /// where it came to.
    async fn read_run(
        &mut self,
        transaction: &mut Transaction,
        chain: i64,
        first: i64,
        known: Option<Position>,
    ) -> Result<Option<Position>, Error> {
        let mut next = known.as_ref().map_or(first, |position| position.number.saturating_add(1));
        let mut stream = known.map(|position| position.stream);
        let rows = transaction
            .fetch(
                "select number, id, previous, alone, state, bytes from block where gateway = $1 and chain = $2 \
                 and number >= $3 and number <= $4 and state <> 3 order by number",
                &[
                    self.gateway.into(),
                    chain.into(),
                    next.into(),
                    first.saturating_add(CONTINUED_MAX.into()).into(),
                ],
            )
            .await?;
        let mut reached = None;
        for row in rows {
            let block = Kept::of(&row)?;
            if block.number != next || (block.alone && block.number != first) {
                break;
            }
            let opened = open(stream.take(), &block);
            let (after, readings) = match opened {
                Ok(opened) => opened,
                Err(reason) => {
                    self.give_up(transaction, chain, &block, &reason).await?;
                    break;
                }
            };
            if block.state == WAITS {
                self.store(transaction, chain, &block, &readings).await?;
            }
            reached = Some(Position { number: block.number, stream: after.clone() });
            stream = Some(after);
            next = next.saturating_add(1);
        }
        Ok(reached)
    }

    async fn store(
        &mut self,
        transaction: &mut Transaction,
        chain: i64,
        block: &Kept,
        readings: &[Reading],
    ) -> Result<(), Error> {
        let mut rows = self.filing.rows(transaction, readings).await?;
        if self.is_restored {
            self.filing.leave_out_known(transaction, &mut rows).await?;
        }
        self.readings.months.extend(self.storage.months_missing(&rows));
        if !self.readings.months.is_empty() {
            return Ok(());
        }
        self.readings.stored += transaction.insert_readings(self.gateway, &rows).await?;
        let count = i64::try_from(readings.len()).unwrap_or(i64::MAX);
        self.settle(transaction, chain, block, READ, Some(count)).await
    }

    async fn give_up(
        &self,
        transaction: &mut Transaction,
        chain: i64,
        block: &Kept,
        reason: &str,
    ) -> Result<(), Error> {
        if block.state != WAITS {
            return Ok(());
        }
        let (gateway, number) = (self.gateway, block.number);
        warn!(gateway, chain, number, reason, "a block cannot be read; its bytes are kept");
        self.settle(transaction, chain, block, UNREADABLE, None).await
    }

    async fn settle(
        &self,
        transaction: &mut Transaction,
        chain: i64,
        block: &Kept,
        state: i64,
        readings: Option<i64>,
    ) -> Result<(), Error> {
        transaction
            .execute(
                "update block set state = $5, readings = $6 \
                 where gateway = $1 and chain = $2 and number = $3 and id = $4",
                &[
                    self.gateway.into(),
                    chain.into(),
                    block.number.into(),
                    block.id.as_slice().into(),
                    state.into(),
                    readings.into(),
                ],
            )
            .await
            .map(drop)
    }
}

/// Reads a block after the stream of those before it. The gateway says by `previous` after which one.
fn open(before: Option<Stream>, block: &Kept) -> Result<(Stream, Vec<Reading>), String> {
    let mut stream = before.unwrap_or(Stream::after(Link::START));
    if let Ok(previous) = block.previous.as_slice().try_into() {
        stream.trust(previous);
    }
    let readings = stream.open(&block.bytes).map_err(|error| error.to_string())?;
    Ok((stream, readings))
}

/// What waits for so long waits for what was lost, not for what is on its way, ms.
const LOST_AFTER_MS: i64 = 3_600_000;
/// Blocks that are asked for at once, and runs that are looked at for that.
const ASKED_AT_ONCE: i64 = 16;

/// Returns the blocks that others have been waiting for too long: they are worth asking for.
pub(super) async fn missing(
    transaction: &mut Transaction,
    gateway: i64,
    now_ms: i64,
) -> Result<Vec<Missing>, Error> {
    // The first of those that wait, each with the nearest one below it that is here: between them something is missing.
    let rows = transaction
        .fetch(
            "select chain, number, (select max(below.number) from block as below where below.gateway = block.gateway \
             and below.chain = block.chain and below.number < block.number and below.state <> 3) \
             from block where gateway = $1 and state = 0 and alone = 0 and received_ms < $2 \
             order by chain, number limit $3",
            &[gateway.into(), now_ms.saturating_sub(LOST_AFTER_MS).into(), ASKED_AT_ONCE.into()],
        )
        .await?;
    let mut missing: BTreeMap<u32, Vec<RangeInclusive<u64>>> = BTreeMap::new();
    for row in rows {
        let (chain, number) = (row.small(0)?, row.int(1)?);
        let lowest = number.saturating_sub(CONTINUED_MAX.into()).max(1);
        let below = row.maybe_int(2)?.map_or(lowest, |below| below.saturating_add(1).max(lowest));
        if below >= number || is_gone(transaction, gateway, chain, below, number - 1).await? {
            continue;
        }
        let run = below.cast_unsigned()..=(number - 1).cast_unsigned();
        missing.entry(chain).or_default().push(run);
    }
    Ok(missing.into_iter().map(|(chain, numbers)| Missing { chain, numbers }).collect())
}

/// Returns whether the gateway has said that it does not have some of these blocks any more.
async fn is_gone(
    transaction: &mut Transaction,
    gateway: i64,
    chain: u32,
    first: i64,
    last: i64,
) -> Result<bool, Error> {
    let rows = transaction
        .fetch(
            "select 1 from gone where gateway = $1 and chain = $2 and first <= $4 and last >= $3 limit 1",
            &[gateway.into(), chain.into(), first.into(), last.into()],
        )
        .await?;
    Ok(!rows.is_empty())
}
