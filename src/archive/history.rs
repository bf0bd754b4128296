//! The one query over what is sealed and what is not: readings in the order in which they were judged.

use crate::domain::quantity::Quantity;
use crate::domain::reading::{Quality, Stamp};
use crate::domain::time::{ClockQuality, Timestamp, WallClock};
use crate::store::{Block, Error, HotReading, LookBack, Store};
use crate::wire::batch::{Link, Reading, Stream};

/// Readings of a page, but for what the last block brings more.
const PAGE_READINGS: usize = 16_384;
/// Rows of the table of readings that are looked at at once.
const HOT_ROWS: i64 = 4096;

/// Which readings are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this node only.
    pub node: Option<String>,
    /// Of this quantity only.
    pub quantity: Option<Quantity>,
    /// Not before this, Unix ms.
    pub from_ms: Option<i64>,
    /// Before this, Unix ms.
    pub until_ms: Option<i64>,
    /// The newest so many.
    pub last: Option<u32>,
    /// After the reading of this number only: where the page before ended.
    pub after: i64,
}

/// A stored reading.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadingRow {
    /// Its number: its place in the order in which readings were judged.
    pub number: i64,
    /// When it was measured, Unix ms, as best known.
    pub unix_ms: i64,
    /// How far that time can be believed; a node's own stamp counts as estimated.
    pub clock: ClockQuality,
    /// Name of the node.
    pub node: String,
    /// What was measured.
    pub quantity: Quantity,
    /// The value; NaN where none came.
    pub value: f64,
    /// How far the value can be believed.
    pub quality: Quality,
}

/// Some of the readings that are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In the order in which they were judged.
    pub rows: Vec<ReadingRow>,
    /// After which number the next page goes on; nothing where this is the last.
    pub next: Option<i64>,
    /// Readings that are in blocks that cannot be read: the file is damaged there.
    pub unreadable: i64,
}

/// Returns readings that are wanted, a page at a time.
///
/// # Errors
///
/// [`Error::Read`]; a block that cannot be read is counted, and what follows is found.
pub async fn readings(store: &Store, wanted: &Wanted) -> Result<Page, Error> {
    let mut search = Search { blocks: Blocks::new(store.look_back().await?), wanted };
    let after = match wanted.last {
        Some(last) => search.before_the_last(last as usize).await?.max(wanted.after),
        None => wanted.after,
    };
    // What was met on the way back is met again.
    search.blocks.unreadable = 0;
    search.page(after).await
}

struct Search<'a> {
    blocks: Blocks,
    wanted: &'a Wanted,
}

impl Search<'_> {
    fn is_wanted(&self, row: &ReadingRow) -> bool {
        let wanted = self.wanted;
        wanted.node.as_ref().is_none_or(|node| *node == row.node)
            && wanted.quantity.is_none_or(|quantity| quantity == row.quantity)
            && wanted.from_ms.is_none_or(|from| row.unix_ms >= from)
            && wanted.until_ms.is_none_or(|until| row.unix_ms < until)
    }

    async fn page(&mut self, after: i64) -> Result<Page, Error> {
        let mut page = Page::default();
        let span = (self.wanted.from_ms, self.wanted.until_ms);
        let mut number = 1;
        while let Some(found) = self.blocks.look.candidate(number, after, span).await? {
            number = found + 1;
            let Some((last, rows)) = self.blocks.read(found).await? else { continue };
            page.rows
                .extend(rows.into_iter().filter(|row| row.number > after && self.is_wanted(row)));
            if page.rows.len() >= PAGE_READINGS {
                page.next = Some(last);
                break;
            }
        }
        if page.next.is_none() {
            let (_, sealed) = self.blocks.look.sealed().await?;
            let mut after = after.max(sealed);
            loop {
                let hot = self.blocks.look.hot(after, HOT_ROWS).await?;
                let Some(last) = hot.last() else { break };
                after = last.number;
                page.rows.extend(hot.iter().map(hot_row).filter(|row| self.is_wanted(row)));
                if page.rows.len() >= PAGE_READINGS {
                    page.next = Some(after);
                    break;
                }
            }
        }
        page.unreadable = self.blocks.unreadable;
        Ok(page)
    }

    /// Returns the number of the reading before the newest `count` that are wanted: from the end back, a run of blocks at a
    /// time.
    async fn before_the_last(&mut self, count: usize) -> Result<i64, Error> {
        let (mut until, sealed) = self.blocks.look.sealed().await?;
        let mut numbers = Vec::new();
        let mut after = sealed;
        loop {
            let hot = self.blocks.look.hot(after, HOT_ROWS).await?;
            let Some(last) = hot.last() else { break };
            after = last.number;
            numbers.extend(
                hot.iter().map(hot_row).filter(|row| self.is_wanted(row)).map(|r| r.number),
            );
        }
        let mut found = numbers.len();
        let span = (self.wanted.from_ms, self.wanted.until_ms);
        while found < count {
            let Some(first) = self.blocks.look.beginning(until).await? else { return Ok(0) };
            numbers.clear();
            let mut number = first;
            while let Some(block) = self.blocks.look.candidate(number, 0, span).await? {
                if block > until {
                    break;
                }
                number = block + 1;
                let Some((_, rows)) = self.blocks.read(block).await? else { continue };
                numbers.extend(rows.iter().filter(|row| self.is_wanted(row)).map(|row| row.number));
            }
            found += numbers.len();
            until = first - 1;
        }
        // The first of those that are too many is the one before.
        let surplus = found - count;
        let first = if surplus == 0 {
            numbers.first().map(|n| n - 1)
        } else {
            numbers.get(surplus - 1).copied()
        };
        Ok(first.unwrap_or(after))
    }
}

/// Reads blocks, each after those that it needs.
struct Blocks {
    look: LookBack,
    /// What is known after the block with this number.
    known: Option<(i64, Stream)>,
    /// Readings of blocks that could not be read.
    unreadable: i64,
}

impl Blocks {
    const fn new(look: LookBack) -> Self {
        Self { look, known: None, unreadable: 0 }
    }

    /// Returns the number of the last reading of a block and its readings; nothing where it is gone or cannot be read.
    async fn read(&mut self, number: i64) -> Result<Option<(i64, Vec<ReadingRow>)>, Error> {
        let Some(beginning) = self.look.beginning(number).await? else { return Ok(None) };
        let known = self.known.take().filter(|(at, _)| (beginning..number).contains(at));
        let (mut at, mut stream) = if let Some(known) = known {
            known
        } else {
            let link = self.look.link_after(beginning - 1).await?;
            (beginning - 1, Stream::after(link.map_or(Link::START, Link)))
        };
        while let Some(block) = self.look.block(at + 1).await? {
            let readings = open(&mut stream, &block, at + 1);
            at += 1;
            // Reading a block takes milliseconds: others go on meanwhile.
            tokio::task::yield_now().await;
            match readings {
                Some(readings) if at == number => {
                    self.known = Some((at, stream));
                    let rows = readings.iter().map(|r| sealed_row(r, block.clock)).collect();
                    return Ok(Some((block.head.sequence.1, rows)));
                }
                Some(_) => {}
                None => {
                    let wanted =
                        if at == number { Some(block) } else { self.look.block(number).await? };
                    self.unreadable += wanted.map_or(0, |block| block.head.readings);
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }
}

/// Opens a block that must be the one of this number; nothing where its bytes are not those that were sealed.
fn open(stream: &mut Stream, block: &Block, number: i64) -> Option<Vec<Reading>> {
    let readings = stream.open(&block.bytes).ok()?;
    (block.head.number == number && stream.link().0 == block.head.link).then_some(readings)
}

fn sealed_row(reading: &Reading, clock: WallClock) -> ReadingRow {
    let (unix_ms, clock) = when(reading.at, reading.stamp, clock);
    ReadingRow {
        number: reading.sequence.cast_signed(),
        unix_ms,
        clock,
        node: reading.node.to_string(),
        quantity: reading.quantity,
        value: reading.value,
        quality: reading.quality,
    }
}

fn hot_row(hot: &HotReading) -> ReadingRow {
    let (unix_ms, clock) = when(hot.at, hot.stamp, hot.clock);
    ReadingRow {
        number: hot.number,
        unix_ms,
        clock,
        node: hot.node.to_string(),
        quantity: hot.quantity,
        value: hot.value,
        quality: hot.quality,
    }
}

/// Returns when a reading was measured, Unix ms, and how far that is believed: by its node's stamp where it has one, else
/// by where the time line of its run stands on the calendar as best known now.
fn when(at: Timestamp, stamp: Option<Stamp>, clock: WallClock) -> (i64, ClockQuality) {
    match stamp {
        Some(Stamp::Unix(ms)) => (ms, ClockQuality::Estimated),
        Some(Stamp::Age(ms)) => (clock.unix_ms(at).saturating_sub(ms), clock.quality),
        None => (clock.unix_ms(at), clock.quality),
    }
}
