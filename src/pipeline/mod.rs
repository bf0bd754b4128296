//! The loop: frames in, one transaction, then the word to whoever waits for it.
//!
//! It works at its own pace: it drains what is there up to a bound, reads the clock once, decides, commits once, and
//! only then lets acknowledgements leave. Where the disk fails it goes on from memory: nothing is acknowledged, but
//! whoever must be told is told.

mod decode;
mod hearings;
mod link;
mod radio;
pub mod rollback;
mod siren;
mod status;

pub use decode::{Decoded, Decoder, Heard, Route};
pub use hearings::NodeHearing;
pub use link::{Chance, Link, LinkAnswer, LinkCommand, LinkError, LinkNode, LinkStatus};
pub use radio::{Lorawan, LorawanNode};
pub use siren::{Payloads, Publisher, SirenNode, SirenStatus, Way};
pub use status::Status;

use crate::domain::engine::{Effect, Engine, Input};
use crate::domain::frame::{Envelope, Origin, Outcome, Receipt};
use crate::domain::plan::{self, Wording};
use crate::domain::radio::{Downlink, SyncWord};
use crate::domain::reading::{Measurement, Quality};
use crate::domain::recipient::Recipient;
use crate::domain::rule::{NodeIndex, RuleBook};
use crate::domain::time::Timestamp;
use crate::domain::warning::{Alert, NoticeKind, WarningId};
use crate::store::{self, Kind, NewDelivery, Store, Turn, Undecoded};
use crate::supervise::Stop;
use crate::telemetry::{News, Telemetry};
use crate::wire::segment;
use hearings::Hearings;
use link::Links;
use radio::Radio;
use siren::{Outgoing, Sirens};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Frames of one turn at the most.
pub const FRAMES_MAX: usize = 2048;
/// Turns that wait in memory for a disk that fails; beyond that their readings are dropped, oldest first, and counted.
const UNSAVED_MAX: usize = 1024;
/// How often a failing disk is tried.
const DISK_RETRY: Duration = Duration::from_secs(2);
/// The engine's state is kept after so many readings at the least, so that a restart replays no more than that …
const SNAPSHOT_READINGS_MIN: u64 = 20_000;
/// … and only when it is at most a tenth of the bytes that the readings since have cost: about 30 bytes each.
const READINGS_PER_SNAPSHOT_BYTE: f64 = 10.0 / 30.0;
/// Frames for which nobody waits for an acknowledgement may wait this long for company.
const LINGER: Duration = Duration::from_millis(250);
/// Under load, those that are waited for may wait this long for each sender that was heard of late, so that one flush
/// serves many: a sender that waits for its acknowledgement before it goes on must not wait for company that never comes.
const LINGER_A_SENDER: Duration = Duration::from_micros(20);
/// But never longer than this.
const LINGER_AWAITED_MAX: Duration = Duration::from_millis(10);
/// How long senders are counted before they are counted anew.
const SENDERS_COUNTED_FOR: Duration = Duration::from_secs(1);

/// Why the pipeline ended.
#[derive(Debug, Error)]
pub enum Error {
    /// Every source is gone.
    #[error("every source of frames has stopped")]
    NoSources,
}

/// What the pipeline can be asked while it runs.
#[derive(Debug)]
pub enum Command {
    /// Put another rule book in force.
    Reload(Box<Rules>, oneshot::Sender<Result<(), store::Error>>),
    /// The list of recipients has changed.
    Recipients(Vec<Recipient>),
    /// Say how things stand.
    Status(oneshot::Sender<Status>),
    /// Do that with the siren of that name; the answer is why not, in words.
    Siren(String, crate::domain::siren::Command, oneshot::Sender<Result<(), String>>),
    /// Say what was heard by radio of the node of that name behind that number; nothing if there is no such node.
    Hearings(String, u64, oneshot::Sender<Option<Vec<NodeHearing>>>),
    /// Do that with a node of our own link.
    Link(LinkCommand, oneshot::Sender<Result<LinkAnswer, LinkError>>),
}

/// A rule book and how this gateway speaks by it.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What readings are judged by.
    pub book: Arc<RuleBook>,
    /// The texts it was read from, for the record.
    pub sources: String,
    /// How topics and payloads become readings.
    pub routes: Vec<Route>,
    /// How this gateway speaks.
    pub wording: Wording,
    /// Its LoRaWAN devices, if it is their network server.
    pub lorawan: Option<Lorawan>,
    /// Its nodes of our own link.
    pub link: Link,
    /// Its sirens.
    pub sirens: Vec<SirenNode>,
}

/// Something that changes what is shown of warnings.
#[derive(Clone, Debug)]
pub enum Shown {
    /// An alert was told.
    Alert(Alert),
    /// A warning ran out while none of its nodes was heard: nobody knows whether it still holds.
    Expired(WarningId),
}

/// Where the pipeline hands things on.
#[derive(Debug)]
pub struct Outlets {
    /// Says that new deliveries stand in the store.
    pub nudge: Arc<tokio::sync::Notify>,
    /// Takes deliveries that could not be stored.
    pub from_memory: mpsc::Sender<NewDelivery>,
    /// Takes what changes the state of warnings, after it is stored, for whoever shows that state.
    pub shown: mpsc::Sender<Shown>,
    /// Takes answers to radio nodes, after what they acknowledge is stored.
    pub downlinks: mpsc::Sender<Downlink>,
    /// Takes what is said on brokers that others run, by the broker's name.
    pub publishers: BTreeMap<String, Publisher>,
}

/// The loop and what it owns.
pub struct Pipeline {
    engine: Engine,
    decoder: Decoder,
    radio: Radio,
    links: Links,
    hearings: Hearings,
    sirens: Sirens,
    rules: Rules,
    people: Vec<Recipient>,
    store: Store,
    telemetry: Telemetry,
    outlets: Outlets,
    unsaved: VecDeque<Turn>,
    retry_disk_at: Option<Timestamp>,
    readings_since_snapshot: u64,
    snapshot_bytes: usize,
    senders: Senders,
    /// By the kind of fault, of which there are only so many.
    undecoded: BTreeMap<&'static str, u64>,
}

/// How many senders wait for acknowledgements of late.
struct Senders {
    seen: HashSet<usize>,
    since: Instant,
    count: u32,
}

impl Senders {
    /// Takes note of a sender.
    fn note(&mut self, sender: usize) {
        self.seen.insert(sender);
        if self.since.elapsed() >= SENDERS_COUNTED_FOR {
            self.count = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
            self.seen.clear();
            self.since = Instant::now();
        }
    }

    /// Returns how long a turn may wait for company.
    fn linger(&self) -> Duration {
        LINGER_A_SENDER.saturating_mul(self.count).min(LINGER_AWAITED_MAX)
    }
}

/// Whether something waits until the turn is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// It does, or it never leaves.
    AfterTheCommit,
    /// It warns of danger and acknowledges nothing: it leaves when the disk fails, too.
    Anyhow,
}

/// A turn that is being put together.
#[derive(Default)]
struct Round {
    turn: Turn,
    frames: usize,
    receipts: Vec<(Receipt, Outcome)>,
    downlinks: Vec<(Downlink, Leaves)>,
    publications: Vec<Outgoing>,
    changed: bool,
}

impl Pipeline {
    /// Makes the loop around an engine that stands where the store does.
    #[must_use]
    pub fn new(
        engine: Engine,
        rules: Rules,
        people: Vec<Recipient>,
        radio_states: &BTreeMap<String, Vec<u8>>,
        store: Store,
        telemetry: Telemetry,
        outlets: Outlets,
    ) -> Self {
        let decoder = Decoder::new(rules.routes.clone(), &rules.book);
        let radio = Radio::new(rules.lorawan.as_ref(), radio_states);
        let links = Links::new(&rules.link, radio_states);
        let sirens = Sirens::new(&rules.sirens, radio_states);
        Self {
            engine,
            decoder,
            radio,
            links,
            hearings: Hearings::from(telemetry.clock.wall().unix_ms(telemetry.clock.now())),
            sirens,
            rules,
            people,
            store,
            telemetry,
            outlets,
            unsaved: VecDeque::new(),
            retry_disk_at: None,
            readings_since_snapshot: 0,
            snapshot_bytes: 0,
            senders: Senders { seen: HashSet::new(), since: Instant::now(), count: 0 },
            undecoded: BTreeMap::new(),
        }
    }

    /// Goes on after the gateway was down for so long, as far as it can be known. Before [`Pipeline::run`].
    pub async fn resume(&mut self, down: Duration, is_certain: bool) {
        self.links.restarted(!is_certain);
        if down.is_zero() {
            return;
        }
        let mut round = self.round();
        round.turn.kind = Kind::Resumed(down);
        self.engage(Input::Resumed { down }, &mut round);
        round.changed = true;
        self.finish(round).await;
    }

    /// Runs until it is told to stop; then keeps the engine's state, so that the next start replays nothing.
    ///
    /// # Errors
    ///
    /// [`Error::NoSources`].
    pub async fn run(
        mut self,
        mut frames: mpsc::Receiver<Envelope>,
        mut commands: mpsc::Receiver<Command>,
        mut stop: Stop,
    ) -> Result<(), Error> {
        let mut batch: Vec<Envelope> = Vec::with_capacity(FRAMES_MAX);
        let mut measurements = Vec::new();
        let mut last_commit = Instant::now();
        loop {
            let clock = self.telemetry.clock.clone();
            let sirens = self.sirens.next_deadline(clock.now());
            let links = self.links.next_deadline();
            let wake = [self.engine.next_deadline(), self.retry_disk_at, sirens, links];
            let wake = wake.into_iter().flatten().min();
            tokio::select! {
                biased;
                () = stop.wait() => break,
                Some(command) = commands.recv() => {
                    self.obey(command).await;
                    continue;
                }
                count = frames.recv_many(&mut batch, FRAMES_MAX) => if count == 0 {
                    return Err(Error::NoSources);
                },
                () = clock.sleep_until(wake) => {}
            }
            let mut round = self.round();
            if batch.is_empty() {
                self.engage(Input::Tick, &mut round);
            }
            let begun = Instant::now();
            self.take_all(&mut batch, &mut measurements, &mut round);
            while round.frames < FRAMES_MAX
                && let Some(wait) = self.company_wait(&round, begun, last_commit)
            {
                let room = FRAMES_MAX - round.frames;
                let more = tokio::time::timeout_at(wait, frames.recv_many(&mut batch, room));
                if !more.await.is_ok_and(|count| count > 0) {
                    break;
                }
                self.take_all(&mut batch, &mut measurements, &mut round);
            }
            self.finish(round).await;
            last_commit = Instant::now();
        }
        self.keep_state().await;
        Ok(())
    }

    /// Returns until when a turn may wait for company, so that one flush serves more; `None` when it may not. A turn
    /// that tells somebody something never waits. One that senders wait for does so under load only, when the last
    /// flush has just ended: then most of its senders would have waited for a flush anyway.
    fn company_wait(&self, round: &Round, begun: Instant, last_commit: Instant) -> Option<Instant> {
        let is_urgent = !round.turn.alerts.is_empty() || !round.turn.deliveries.is_empty();
        let is_awaited = !round.receipts.is_empty();
        let linger = if is_awaited { self.senders.linger() } else { LINGER };
        let is_alone = is_awaited && begun.duration_since(last_commit) > linger;
        let until = begun + self.telemetry.clock.real(linger);
        (!is_urgent && !is_alone && round.frames > 0 && Instant::now() < until).then_some(until)
    }

    fn take_all(
        &mut self,
        batch: &mut Vec<Envelope>,
        measurements: &mut Vec<Measurement>,
        round: &mut Round,
    ) {
        round.frames += batch.len();
        for envelope in batch.drain(..) {
            self.take(envelope, measurements, round);
        }
    }

    fn round(&self) -> Round {
        let at = self.telemetry.clock.now().max(self.engine.now());
        Round { turn: Turn { at, ..Turn::default() }, ..Round::default() }
    }

    fn take(&mut self, envelope: Envelope, measurements: &mut Vec<Measurement>, round: &mut Round) {
        let Envelope { frame, receipt } = envelope;
        let sender = frame.origin.sender();
        let decoded = match &frame.origin {
            Origin::Mqtt { .. } => {
                let unix_ms = self.telemetry.clock.calendar_ms(round.turn.at);
                self.decoder.decode(&frame, unix_ms, measurements)
            }
            Origin::Radio(hearing) => {
                measurements.clear();
                let phy = &frame.payload;
                match hearing.sync_word {
                    SyncWord::Public => self.open_lorawan(phy, hearing, measurements, round),
                    SyncWord::Private => self.open_link(phy, hearing, measurements, round),
                }
            }
        };
        let counters = &self.telemetry.counters;
        counters.frames.add(1);
        let outcome = match decoded {
            Decoded::Heard { node, troubles } => {
                if !troubles.is_empty() {
                    tracing::debug!(
                        troubles = troubles.len(),
                        "some values of a payload could not be read"
                    );
                }
                let redelivered = frame.redelivered;
                self.engage(Input::Heard { node, measurements, redelivered }, round);
                Outcome::Committed
            }
            Decoded::Nothing => Outcome::Committed,
            Decoded::Downlink { node, id, fate } => {
                self.downlink_fate(node, &id, fate, round.turn.at);
                Outcome::Committed
            }
            Decoded::NoTemplate => {
                counters.no_template.add(1);
                Outcome::Committed
            }
            Decoded::Undeclared => {
                counters.undeclared_nodes.add(1);
                Outcome::Refused
            }
            Decoded::Unreadable(error) => {
                counters.undecoded.add(1);
                *self.undecoded.entry(error.reason()).or_default() += 1;
                round.turn.undecoded.push(Undecoded {
                    origin: frame.origin.to_string(),
                    reason: error.to_string(),
                    payload: frame.payload.to_vec(),
                });
                round.changed = true;
                Outcome::Refused
            }
        };
        if let Some(receipt) = receipt {
            self.senders.note(sender);
            round.receipts.push((receipt, outcome));
        }
    }

    /// Gives the engine an input, and puts what it decides into the round.
    fn engage(&mut self, input: Input<'_>, round: &mut Round) {
        let mut effects = Vec::new();
        round.changed |= self.engine.handle(input, round.turn.at, &mut effects);
        self.sort_in(effects, round);
    }

    fn sort_in(&mut self, effects: Vec<Effect>, round: &mut Round) {
        let counters = &self.telemetry.counters;
        for effect in effects {
            match effect {
                Effect::Reading(reading) => {
                    if !matches!(reading.quality, Quality::Good | Quality::Late) {
                        counters.suspect.add(1);
                    }
                    round.turn.readings.push(reading);
                }
                Effect::Repeated { .. } => counters.repeated.add(1),
                Effect::Undeclared { .. } => counters.undeclared_quantities.add(1),
                Effect::Alert(alert) => {
                    let wall = self.telemetry.clock.wall();
                    let wording = &self.rules.wording;
                    let planned =
                        plan::plan_alert(&alert, &self.rules.book, &self.people, wording, wall);
                    round.turn.deliveries.extend(planned.into_iter().map(counted));
                    round.turn.alerts.push(alert);
                }
                Effect::Notice(notice) => {
                    let wording = &self.rules.wording;
                    let planned =
                        plan::plan_notice(&notice, &self.rules.book, &self.people, wording);
                    round.turn.deliveries.extend(planned.into_iter().map(counted));
                    round.turn.notices.push(notice);
                }
            }
        }
    }

    /// Commits a round and says what became of it.
    async fn finish(&mut self, mut round: Round) {
        self.sound(&mut round);
        self.step_links(&mut round);
        let turn = &mut round.turn;
        self.readings_since_snapshot += turn.readings.len() as u64;
        let nothing = !round.changed
            && turn.readings.is_empty()
            && turn.alerts.is_empty()
            && turn.notices.is_empty()
            && turn.undecoded.is_empty();
        if nothing && (self.unsaved.is_empty() || self.retry_disk_at.is_some_and(|at| turn.at < at))
        {
            let settled = if self.unsaved.is_empty() { None } else { Some(Outcome::NotStored) };
            settle(round.receipts, settled);
            return;
        }
        if self.is_time_for_a_snapshot() {
            let state = self.engine.save();
            self.snapshot_bytes = state.len();
            turn.snapshot = Some(state);
        }
        let turn = std::mem::take(&mut round.turn);
        let saved = self.save(turn.clone()).await;
        if saved {
            settle(std::mem::take(&mut round.receipts), None);
            self.outlets.nudge.notify_one();
        } else {
            self.telemetry.counters.not_stored.add(round.receipts.len() as u64);
            settle(std::mem::take(&mut round.receipts), Some(Outcome::NotStored));
            self.tell_from_memory(&turn);
        }
        self.let_go(round, saved);
        self.announce(turn, saved);
    }

    /// Writes a turn, after those that wait. Returns whether all are on disk now.
    async fn save(&mut self, turn: Turn) -> bool {
        let at = turn.at;
        self.unsaved.push_back(turn);
        if self.retry_disk_at.is_some_and(|retry_at| at < retry_at) {
            self.bound_unsaved();
            return false;
        }
        while let Some(turn) = self.unsaved.pop_front() {
            let readings = turn.readings.len() as u64;
            let had_snapshot = turn.snapshot.is_some();
            match self.store.commit(turn.clone()).await {
                Ok(()) => {
                    let counters = &self.telemetry.counters;
                    counters.turns.add(1);
                    counters.readings.add(readings);
                    if had_snapshot {
                        self.readings_since_snapshot = 0;
                    }
                }
                Err(error) => {
                    self.disk_failed(&error, at);
                    self.unsaved.push_front(turn);
                    self.bound_unsaved();
                    return false;
                }
            }
        }
        if self.retry_disk_at.take().is_some() {
            tracing::info!("the database can be written again");
            self.telemetry.tell(|| News::Disk { works: true });
        }
        true
    }

    fn disk_failed(&mut self, error: &store::Error, at: Timestamp) {
        self.telemetry.counters.write_failures.add(1);
        if self.retry_disk_at.is_none() {
            tracing::error!(error = %crate::supervise::chain(error), "the database cannot be written: going on from memory, nothing is acknowledged");
            self.telemetry.tell(|| News::Disk { works: false });
        }
        self.retry_disk_at = Some(at + DISK_RETRY);
    }

    fn bound_unsaved(&mut self) {
        while self.unsaved.len() > UNSAVED_MAX {
            if let Some(turn) = self.unsaved.pop_front() {
                self.telemetry.counters.readings_dropped.add(turn.readings.len() as u64);
            }
        }
    }

    /// Hands what must be told on although it could not be stored, and marks it, so that it is not told again when
    /// the disk comes back.
    fn tell_from_memory(&mut self, turn: &Turn) {
        for delivery in &turn.deliveries {
            if self.outlets.from_memory.try_send(delivery.clone()).is_err() {
                tracing::error!("too many texts wait in memory: one is lost");
            }
        }
        if let Some(waiting) = self.unsaved.back_mut() {
            for delivery in &mut waiting.deliveries {
                delivery.told_from_memory = true;
            }
        }
    }

    fn announce(&self, turn: Turn, saved: bool) {
        let telemetry = &self.telemetry;
        telemetry.counters.alerts.add(turn.alerts.len() as u64);
        telemetry.counters.deliveries.add(turn.deliveries.len() as u64);
        if saved && !turn.readings.is_empty() {
            telemetry.tell(|| News::Readings { count: turn.readings.len() });
        }
        for notice in turn.notices {
            let node = notice.node.and_then(|n| self.rules.book.nodes.get(n.0 as usize));
            let node = node.map(|node| node.name.to_string());
            tracing::info!(node, notice = notice.kind.words(), "the technician is told");
            telemetry.tell(|| News::Notice { node, words: notice.kind.words(), at: notice.at });
            if let NoticeKind::WarningExpired(warning) = notice.kind {
                self.show(Shown::Expired(warning));
            }
        }
        for alert in turn.alerts {
            tracing::info!(
                warning = alert.warning.0,
                number = alert.number,
                reason = alert.reason.as_str(),
                level = alert.level.as_str(),
                hazard = alert.hazard,
                area = alert.area,
                "an alert is told"
            );
            telemetry.tell(|| News::Alert(Arc::new(alert.clone())));
            self.show(Shown::Alert(alert));
        }
    }

    fn show(&self, change: Shown) {
        if self.outlets.shown.try_send(change).is_err() {
            self.telemetry.counters.shown_missed.add(1);
            tracing::warn!("the display of warnings is behind: it misses one");
        }
    }

    fn is_time_for_a_snapshot(&self) -> bool {
        let paid = self.snapshot_bytes as f64 * READINGS_PER_SNAPSHOT_BYTE;
        self.readings_since_snapshot >= SNAPSHOT_READINGS_MIN
            && self.readings_since_snapshot as f64 >= paid
    }

    async fn keep_state(&mut self) {
        let mut round = self.round();
        round.turn.at = self.engine.now();
        round.turn.snapshot = Some(self.engine.save());
        if !self.save(round.turn).await {
            tracing::warn!("the engine's state could not be kept: the next start replays more");
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Recipients(people) => self.people = people,
            Command::Status(reply) => {
                // Who asked may have gone.
                let _heard = reply.send(self.status()).is_ok();
            }
            Command::Siren(name, command, reply) => {
                let _heard = reply.send(self.command_siren(&name, command).await).is_ok();
            }
            Command::Hearings(name, behind, reply) => {
                let mut nodes = self.rules.book.nodes.iter().zip((0..).map(NodeIndex));
                let node = nodes.find(|(node, _)| *node.name.0 == *name).map(|(_, node)| node);
                let _heard = reply.send(node.map(|node| self.hearings.of(node, behind))).is_ok();
            }
            Command::Link(command, reply) => {
                let _heard = reply.send(self.command_link(command).await).is_ok();
            }
            Command::Reload(rules, reply) => {
                let _heard = reply.send(self.reload(*rules).await).is_ok();
            }
        }
    }

    /// Puts another rule book in force: first on record, then in the engine.
    async fn reload(&mut self, rules: Rules) -> Result<(), store::Error> {
        // What a vanished rule withdraws is told in the words that it had.
        let mut round = self.round();
        let mut effects = Vec::new();
        let mut engine = self.engine.clone();
        engine.reload(&rules.book, round.turn.at, &mut effects);
        let (withdrawn, others): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| {
            matches!(effect, Effect::Alert(alert) if alert.rule_version != rules.book.version)
        });
        self.sort_in(withdrawn, &mut round);
        self.store.declare(Arc::clone(&rules.book), rules.sources.clone()).await?;
        tracing::info!(version = rules.book.version, "a rule book is in force");
        self.engine = engine;
        self.decoder = Decoder::new(rules.routes.clone(), &rules.book);
        self.radio = Radio::new(rules.lorawan.as_ref(), &self.radio.states());
        self.links = self.links.reloaded(&rules.link);
        self.hearings = self.hearings.reloaded();
        self.sirens = Sirens::new(&rules.sirens, &self.sirens.states());
        self.rules = rules;
        self.sort_in(others, &mut round);
        round.turn.snapshot = Some(self.engine.save());
        round.changed = true;
        self.finish(round).await;
        Ok(())
    }
}

fn counted(planned: plan::Planned) -> NewDelivery {
    let segments = segment::count(&planned.text, &segment::Options::default()).segments;
    NewDelivery {
        planned,
        segments: u16::try_from(segments).unwrap_or(u16::MAX),
        test: false,
        told_from_memory: false,
    }
}

/// Says to every sender what became of its frame: its own outcome, or the one of all.
fn settle(receipts: Vec<(Receipt, Outcome)>, of_all: Option<Outcome>) {
    for (receipt, outcome) in receipts {
        receipt.settle(of_all.unwrap_or(outcome));
    }
}
