//! What becomes of readings after they were judged: sealed into blocks, summed up by day, kept for years, found again.
//!
//! One task works at its own pace beside the pipeline: it makes blocks (`wire/batch`) of what the pipeline has stored,
//! takes from the table of readings what no start needs any more, and removes what is too old or too much. It is never
//! in the way of a warning: what it does fails by itself, and is tried again.

mod sealer;
mod retention;
mod history;

pub use history::{Page, ReadingRow, Wanted, readings};

use crate::config::Storage;
use crate::domain::time::{ClockQuality, Timestamp};
use crate::store::{Error, Kept, Sealed, Size, Store, Waiting};
use crate::supervise::{Stop, chain};
use crate::telemetry::Clock;
use crate::wire::batch::{Link, Stream};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often it looks whether there is something to seal.
const ROUND: Duration = Duration::from_mins(1);
/// How often it looks whether there is something to remove.
const RETENTION_ROUND: Duration = Duration::from_hours(1);
/// Readings of a block: so many are sealed without waiting any longer.
const BLOCK_READINGS: i64 = 4096;
/// What a block has besides its readings takes some 90 bytes: fewer readings wait for company, so that each takes little …
const BLOCK_READINGS_MIN: i64 = 128;
/// … but not for longer than this.
const COMPANY_AWAITED: Duration = Duration::from_hours(24);
/// While the calendar is not known, a block waits for it: its readings would say times of which nobody knows anything.
/// But for so many readings at the most …
const CALENDAR_AWAITED_READINGS: i64 = 4 * BLOCK_READINGS;
/// … and so long.
const CALENDAR_AWAITED: Duration = Duration::from_hours(24);

/// How things stand in the archive, as its task last saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What the readings take.
    pub kept: Kept,
    /// What the whole database takes.
    pub size: Size,
    /// Whether what is left is more than allowed, and may not be removed.
    pub over: bool,
}

/// Lets others see how things stand.
#[derive(Clone, Debug, Default)]
pub struct Report(Arc<Mutex<Option<Standing>>>);

impl Report {
    /// Returns how things stood last; nothing before the first look.
    #[must_use]
    pub fn standing(&self) -> Option<Standing> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, standing: Standing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing);
    }
}

/// The task that seals and removes.
pub struct Archive {
    store: Store,
    settings: Storage,
    /// Whether a hub is to have everything.
    has_hub: bool,
    /// The end of the chain, and what a block that continues it would know.
    end: Option<(Sealed, Stream)>,
    /// When it last looked whether something is to be removed.
    looked_at: Option<Timestamp>,
    report: Report,
}

impl Archive {
    /// Makes the task. Where `has_hub` says so, readings that the hub does not have yet are not too old.
    #[must_use]
    pub fn new(store: Store, settings: Storage, has_hub: bool) -> Self {
        let report = Report::default();
        Self { store, settings, has_hub, end: None, looked_at: None, report }
    }

    /// Returns what lets others see how things stand.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.clone()
    }

    /// Works until it is told to stop.
    ///
    /// # Errors
    ///
    /// Never: what fails is logged, and tried again in the next round.
    pub async fn run(mut self, clock: Clock, mut stop: Stop) -> Result<(), Infallible> {
        loop {
            let round = async {
                if let Err(error) = self.round(clock.now()).await {
                    tracing::warn!(error = %chain(&error), "readings could not be sealed, or old ones removed");
                }
                tokio::time::sleep(clock.real(ROUND)).await;
            };
            tokio::select! {
                () = stop.wait() => return Ok(()),
                () = round => {}
            }
        }
    }

    /// Seals what is due and, once an hour, removes what is to go.
    ///
    /// # Errors
    ///
    /// As [`Store::seal`] and [`Store::remove`]; the next round goes on.
    pub async fn round(&mut self, now: Timestamp) -> Result<(), Error> {
        if let Err(error) = self.seal_what_is_due(now).await {
            // The chain's end is read anew: whether the block was kept is not known.
            self.end = None;
            return Err(error);
        }
        if self.looked_at.is_none_or(|looked| now.since(looked) >= RETENTION_ROUND) {
            let over =
                retention::keep_within_bounds(&self.store, now, &self.settings, self.has_hub)
                    .await?;
            let (kept, size) = (self.store.kept().await?, self.store.size().await?);
            self.report.set(Standing { kept, size, over });
            self.looked_at = Some(now);
        }
        Ok(())
    }

    async fn seal_what_is_due(&mut self, now: Timestamp) -> Result<(), Error> {
        loop {
            let (sealed, _) = self.end().await?;
            let waiting = self.store.waiting(sealed.last).await?;
            if !waiting.is_some_and(|waiting| self.is_due(&waiting, now)) {
                return Ok(());
            }
            self.seal_next().await?;
            while self.store.prune().await? > 0 {}
            tokio::task::yield_now().await;
        }
    }

    fn is_due(&self, waiting: &Waiting, now: Timestamp) -> bool {
        let age = now.since(waiting.since);
        if waiting.clock == ClockQuality::Unset {
            waiting.readings >= CALENDAR_AWAITED_READINGS || age >= CALENDAR_AWAITED
        } else {
            waiting.readings >= BLOCK_READINGS
                || age >= self.settings.seal_every && waiting.readings >= BLOCK_READINGS_MIN
                || age >= COMPANY_AWAITED
        }
    }

    /// Makes the next block of what waits.
    async fn seal_next(&mut self) -> Result<(), Error> {
        let (sealed, mut stream) = self.end().await?;
        let hot = self.store.unsealed(sealed.last, BLOCK_READINGS).await?;
        let readings = sealer::first_block(&hot);
        let block = match sealer::seal(&mut stream, sealed.number + 1, readings) {
            Ok(block) => block,
            Err(error) => {
                tracing::error!(error = %error, "readings cannot be sealed; they stay where they are");
                return Err(Error::Damaged { what: "reading" });
            }
        };
        let head = &block.head;
        tracing::debug!(
            number = head.number,
            readings = head.readings,
            bytes = block.bytes.len(),
            "a block is sealed"
        );
        let sealed = Sealed { number: head.number, link: head.link, last: head.sequence.1 };
        self.store.seal(block).await?;
        self.end = Some((sealed, stream));
        Ok(())
    }

    /// Returns the end of the chain. After a start its next block stands alone.
    async fn end(&mut self) -> Result<(Sealed, Stream), Error> {
        if let Some(end) = &self.end {
            return Ok(end.clone());
        }
        let sealed = self.store.sealed().await?;
        let end = (sealed, Stream::after(Link(sealed.link)));
        self.end = Some(end.clone());
        Ok(end)
    }
}
