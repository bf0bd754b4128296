//! What this gateway tells its hub: alerts first and at once, then how it is, then what it has read.
//!
//! A level-triggered loop over the store, as `dispatch` is: it asks what the hub has not said that it has (`pending`),
//! makes a packet of it, hands it to the carrier ([`https`]), and marks as told what the answer acknowledges. Only the tag
//! of an answer is believed. What is not acknowledged is told again, for months if need be; the hub takes nothing twice.

mod pending;
pub mod https;

pub use pending::BookOf;

use crate::backoff::Backoff;
use crate::domain::time::{ClockQuality, Timestamp};
use crate::store::{self, BlockOrder, Store, Told};
use crate::supervise::{Stop, chain};
use crate::telemetry::{Clock, Counter};
use crate::wire::uplink::{
    Answers, Down, EncodeError, Faults, GatewayNumber, Health, Key, Mark, Packet, Refusal, Tag, Up,
    open_down, seal_up,
};
use https::Https;
use pending::Pending;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;

/// How often it looks whether an alert waits.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// However fast the clock runs, as in a demonstration, it does not look more often.
const WAIT_MIN: Duration = Duration::from_millis(20);
/// First wait after a failure, at the most. It doubles …
const RETRY_FIRST: Duration = Duration::from_secs(10);
/// … up to this: an alert must not wait longer for a link that is back.
const RETRY_MAX: Duration = Duration::from_mins(10);
/// How long a suspended gateway is silent before it asks whether it still is.
const SUSPENDED_FOR: Duration = Duration::from_hours(1);
/// Bytes of blocks in a packet: the least, with which it begins, and the most. A packet that fails is sent again whole, so
/// that packets grow on a good link and shrink on a bad one.
const BLOCK_BYTES: (usize, usize) = (4 * 1024, 128 * 1024);
/// A packet that was answered faster than this may be twice as long next time.
const FAST: Duration = Duration::from_secs(10);

/// What the uplink is told at start.
#[derive(Debug)]
pub struct Settings {
    /// The number that the hub gave this gateway.
    pub gateway: GatewayNumber,
    /// What this gateway and its hub share.
    pub key: Key,
    /// How often the hub is told how the gateway is, and what it has read.
    pub report_every: Duration,
    /// Which blocks go first.
    pub order: BlockOrder,
    /// Different on every gateway and at every start: they must not all come at once.
    pub seed: u64,
}

/// How the gateway is, as far as the store does not know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Vitals {
    /// How long it has been running.
    pub uptime: Duration,
    /// Nodes that are not silent.
    pub nodes_heard: u32,
    /// Nodes of the configuration.
    pub nodes_declared: u32,
    /// Warnings that have not ended.
    pub open_warnings: u32,
    /// Text messages that wait.
    pub outbox_waiting: u32,
    /// Free bytes on the disk.
    pub disk_free_bytes: Option<u64>,
    /// What is wrong.
    pub faults: Faults,
}

/// Whoever knows how the gateway is.
pub trait Physician: Send + 'static {
    /// Returns how it is now.
    fn vitals(&self) -> impl Future<Output = Vitals> + Send;
}

/// What the uplink has counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Packets that were sent.
    pub packets: Counter,
    /// Packets that were answered.
    pub answered: Counter,
    /// Packets without an answer that could be believed.
    pub failed: Counter,
    /// Items that the hub will never take.
    pub refused: Counter,
}

/// How things stand between this gateway and its hub.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// When the hub answered last.
    pub answered: Option<Timestamp>,
    /// Why it did not answer the last packet.
    pub trouble: Option<String>,
    /// Whether it has suspended this gateway.
    pub suspended: bool,
}

/// Lets others see how things stand.
#[derive(Clone, Debug, Default)]
pub struct Report {
    standing: Arc<Mutex<Standing>>,
    /// What was counted.
    pub counters: Arc<Counters>,
}

impl Report {
    /// Returns how things stand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Why a packet was not acknowledged.
#[derive(Debug, Error)]
pub enum Error {
    /// The store cannot be read or written.
    #[error("the database fails")]
    Store(#[from] store::Error),
    /// The carrier did not bring it, or brought no answer.
    #[error("the hub cannot be reached")]
    Carrier(#[from] https::Error),
    /// What came back is not the hub's: a login page of a network, a proxy's.
    #[error("the answer is not by this gateway's hub: does the network ask for a login?")]
    NotTheHub,
    /// An item cannot be put into a packet.
    #[error("a packet cannot be made")]
    Encode(#[from] EncodeError),
}

/// The task that tells the hub.
pub struct Uplink<P> {
    settings: Settings,
    store: Store,
    clock: Clock,
    carrier: Https,
    physician: P,
    book_of: BookOf,
    report: Report,
    backoff: Backoff,
    /// Number of the last packet.
    packet: u64,
    block_bytes: usize,
}

/// What came of a packet.
enum Sent {
    /// There was nothing to tell.
    Nothing,
    /// It was acknowledged; there may be more.
    Acknowledged,
    /// The hub keeps nothing of this gateway.
    Suspended,
}

impl<P: Physician> Uplink<P> {
    /// Makes the task. `book_of` reads a rule book from the texts that the store has of it.
    #[must_use]
    pub fn new(
        settings: Settings,
        (store, clock): (Store, Clock),
        carrier: Https,
        physician: P,
        book_of: BookOf,
    ) -> Self {
        let backoff = Backoff::seeded(RETRY_FIRST, RETRY_MAX, settings.seed);
        let report = Report::default();
        let block_bytes = BLOCK_BYTES.0;
        Self {
            settings,
            store,
            clock,
            carrier,
            physician,
            book_of,
            report,
            backoff,
            packet: 0,
            block_bytes,
        }
    }

    /// Returns what lets others see how things stand.
    #[must_use]
    pub fn report(&self) -> Report {
        self.report.clone()
    }

    /// Tells the hub until it is told to stop.
    ///
    /// # Errors
    ///
    /// Never: what fails is logged once, and tried again.
    pub async fn run(mut self, mut stop: Stop) -> Result<(), Infallible> {
        tokio::select! {
            () = stop.wait() => {}
            () = self.tell_for_ever() => {}
        }
        Ok(())
    }

    async fn tell_for_ever(&mut self) {
        // After a power cut in the district, its gateways come one after the other.
        let mut report_at = self.clock.now() + self.backoff.scatter(RETRY_FIRST);
        loop {
            let is_due = self.clock.now() >= report_at;
            let wait = match self.tell(is_due).await {
                Ok(Sent::Suspended) => SUSPENDED_FOR,
                Ok(Sent::Nothing | Sent::Acknowledged) => {
                    if is_due {
                        let every = self.settings.report_every;
                        report_at = self.clock.now() + self.backoff.scatter(every);
                    }
                    LOOK_EVERY
                }
                Err(error) => {
                    self.fail(&error);
                    self.backoff.draw()
                }
            };
            tokio::time::sleep(self.clock.real(wait).max(WAIT_MIN)).await;
        }
    }

    fn fail(&mut self, error: &Error) {
        self.report.counters.failed.add(1);
        self.block_bytes = (self.block_bytes / 2).max(BLOCK_BYTES.0);
        let words = chain(error);
        if self.report.standing().trouble.as_ref() != Some(&words) {
            tracing::warn!(error = words, "the hub has not acknowledged; it is told again");
        }
        self.report.change(|standing| standing.trouble = Some(words));
    }

    /// Tells everything that waits: alerts, and where a report is due, the rest as well.
    async fn tell(&mut self, is_report: bool) -> Result<Sent, Error> {
        let mut health = is_report;
        loop {
            match self.tell_once(is_report, health).await? {
                Sent::Acknowledged => health = false,
                Sent::Nothing => return Ok(Sent::Nothing),
                Sent::Suspended => return Ok(Sent::Suspended),
            }
        }
    }

    /// Tells one packet of what waits.
    async fn tell_once(&mut self, is_report: bool, health: bool) -> Result<Sent, Error> {
        let now = self.clock.now();
        let mut pending = Pending::default();
        pending.alerts(&self.store, self.book_of).await?;
        if is_report {
            if health {
                pending.add(Up::Health(self.health(now).await?), None);
                pending.latest(&self.store).await?;
            }
            pending.news(&self.store, now).await?;
            pending.blocks(&self.store, self.settings.order, self.block_bytes).await?;
        }
        if pending.is_empty() {
            return Ok(Sent::Nothing);
        }
        let (items, told) = pending.into_parts();
        self.exchange(items, told).await
    }

    async fn exchange(&mut self, items: Vec<Up>, told: Vec<Option<Told>>) -> Result<Sent, Error> {
        let number = self.next_number().await?;
        let packet = Packet { gateway: self.settings.gateway, number, items };
        let bytes = seal_up(&packet, &self.settings.key, Tag::Long)?;
        let mark = Mark::of(&bytes);
        self.report.counters.packets.add(1);
        let began = tokio::time::Instant::now();
        let answer = self.carrier.exchange(bytes).await?;
        let answer = open_down(&answer, &self.settings.key).map_err(|_| Error::NotTheHub)?;
        if answer.items.contains(&Down::Suspended) {
            self.suspend();
            return Ok(Sent::Suspended);
        }
        let ours = |item: &Down| {
            let Down::Answers(answers) = item else { return None };
            let is_ours = answers.packet == number && Some(answers.mark) == mark;
            is_ours.then(|| answers.clone())
        };
        let answers = answer.items.iter().find_map(ours).ok_or(Error::NotTheHub)?;
        if began.elapsed() < FAST {
            self.block_bytes = (self.block_bytes * 2).min(BLOCK_BYTES.1);
        }
        self.take(&answers, told, &answer.items).await?;
        // What it cannot keep now, it cannot keep a moment later.
        let later = answers.refused.iter().any(|refused| refused.reason == Refusal::Later);
        Ok(if later { Sent::Nothing } else { Sent::Acknowledged })
    }

    /// Marks as told what the hub says that it has, and as untold what it lacks.
    async fn take(
        &mut self,
        answers: &Answers,
        told: Vec<Option<Told>>,
        items: &[Down],
    ) -> Result<(), Error> {
        let refusal = |place: usize| {
            let refused = answers.refused.iter().find(|r| r.index as usize == place);
            refused.map(|refused| refused.reason)
        };
        let mut marks = vec![Told::Packet(answers.packet)];
        for (place, told) in told.into_iter().enumerate() {
            match refusal(place) {
                Some(Refusal::Later) => continue,
                // It would be refused again, and again.
                Some(reason) => {
                    self.report.counters.refused.add(1);
                    tracing::warn!(?reason, ?told, "the hub will not take something");
                }
                None => {}
            }
            marks.extend(told);
        }
        let chain = self.store.chain().await?;
        for item in items {
            if let Down::Missing(missing) = item
                && missing.chain == chain
            {
                marks.extend(missing.numbers.iter().map(|numbers| {
                    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                    Told::NoBlocks(number(*numbers.start())..=number(*numbers.end()))
                }));
            } else if matches!(item, Down::Lacks(_)) {
                marks.push(Told::NoBooks);
            }
        }
        self.store.told(marks).await?;
        self.report.counters.answered.add(1);
        self.backoff.reset();
        let now = self.clock.now();
        self.report.change(|standing| {
            *standing = Standing { answered: Some(now), trouble: None, suspended: false };
        });
        Ok(())
    }

    fn suspend(&mut self) {
        if !self.report.standing().suspended {
            tracing::error!(
                "the hub has suspended this gateway: it keeps nothing of what it is told"
            );
        }
        let now = self.clock.now();
        self.report.change(|standing| {
            *standing = Standing { answered: Some(now), trouble: None, suspended: true };
        });
    }

    /// Returns a number that no packet has had: the newest word about the gateway has the highest, also after a restart.
    async fn next_number(&mut self) -> Result<u64, Error> {
        if self.packet == 0 {
            self.packet = self.store.last_packet().await?;
        }
        let now_ms = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        self.packet = (self.packet + 1).max(now_ms);
        Ok(self.packet)
    }

    async fn health(&self, now: Timestamp) -> Result<Health, Error> {
        let vitals = self.physician.vitals().await;
        let backlog = self.store.backlog().await?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let clock = self.clock.wall().quality;
        let unset =
            if clock == ClockQuality::Unset { Faults::CLOCK_UNSET } else { Faults::default() };
        Ok(Health {
            sent_unix_ms: self.clock.calendar_ms(now),
            clock,
            uptime_s: vitals.uptime.as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nodes_heard: vitals.nodes_heard,
            nodes_declared: vitals.nodes_declared,
            open_warnings: vitals.open_warnings,
            backlog_blocks: count(backlog.blocks),
            backlog_bytes: count(backlog.bytes),
            backlog_oldest_unix_ms: backlog.oldest_unix_ms,
            // No budget bounds the link yet.
            budget_used_bytes: 0,
            budget_left_bytes: None,
            outbox_waiting: vitals.outbox_waiting,
            disk_free_bytes: vitals.disk_free_bytes,
            faults: vitals.faults.and(unset),
        })
    }
}
