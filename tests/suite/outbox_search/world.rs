//! The random world of one seed: alerts, people, two channels, a store that forgets what was not committed, and crashes.

use super::dice::Dice;
use super::network::{Fate, HTTP, Known, MODEM, Network, Truth};
use super::oracle::{Lane, Oracle, Store};
use super::plan::{self, Plan};
use kengele::domain::message::{DeliveryId, ReceiptState, Submission, Submitted};
use kengele::domain::outbox::{
    AttemptId, Begin, BootId, Budget, Change, Delivery, DeliveryState, Evidence, Outbox, Outcome,
    Settings, Stored, day,
};
use kengele::domain::recipient::RecipientId;
use kengele::domain::time::Timestamp;
use kengele::domain::warning::{MessageType, WarningId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Moments at which the gateway may die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Boundary {
    BeforeCommit,
    AfterCommit,
    StoredButNotFed,
    ArmedNotBegun,
    BytesOut,
    DuringRecovery,
    AnyTime,
}

/// Why a step of the world did not finish.
enum Halt {
    Crash,
    Wrong(String),
}

impl From<String> for Halt {
    fn from(wrong: String) -> Self {
        Self::Wrong(wrong)
    }
}

type Step = Result<(), Halt>;

#[derive(Clone, Debug)]
enum Event {
    Wake,
    Alert(usize),
    OptOut(RecipientId),
    Begin { channel: &'static str, delivery: DeliveryId, boot: i64 },
    Take(usize),
    Answer { truth: usize, boot: i64 },
    Arrive { truth: usize, segment: usize },
    Receipt { truth: usize, segment: usize, state: ReceiptState },
    Look { delivery: DeliveryId, boot: i64 },
    ChannelDown(&'static str),
    ChannelUp(&'static str),
    ModemRestarts,
    Crash,
    Start,
    Heal,
}

/// What a seed came to.
#[derive(Debug, Default)]
pub struct Story {
    pub hash: u64,
    pub submissions: usize,
    pub rows: u32,
    pub seen: BTreeMap<String, u32>,
}

/// What a seed did wrong.
#[derive(Debug)]
pub struct Wrong {
    pub what: String,
    pub trace: Vec<String>,
}

pub struct World {
    dice: Dice,
    now: Timestamp,
    sequence: u64,
    events: BTreeMap<(Timestamp, u64), Event>,
    wake: Option<Timestamp>,
    boot: i64,
    settings: Settings,
    outbox: Option<Outbox>,
    store: Store,
    network: Network,
    oracle: Oracle,
    lanes: BTreeMap<&'static str, Lane>,
    plan: Plan,
    crash_rate: u64,
    slow_commit_rate: u64,
    look_rate: u64,
    healed: bool,
    /// What becomes known of a submission with the next commit.
    pending: Option<(usize, Known)>,
    /// What was looked for and found not to have left becomes known with the next commit.
    pending_not_left: Vec<(DeliveryId, AttemptId)>,
    trace: Option<Vec<String>>,
    story: Story,
}

/// Steps after which a world that has not come to rest is called restless.
const STEPS_MAX: u32 = 100_000;

impl World {
    pub fn seeded(seed: u64, traced: bool) -> Self {
        let mut dice = Dice::seeded(seed);
        let plan = Plan::drawn(&mut dice);
        let network = Network::drawn(&mut dice);
        let budget = dice.chance(500).then(|| Budget {
            segments_per_day: u32::try_from(dice.between(2, 20)).unwrap(),
            warning_reserve: u32::try_from(dice.between(0, 6)).unwrap(),
        });
        let settings = Settings {
            lanes: plan::lanes(&mut dice),
            budget,
            deliveries_max: if dice.chance(100) { 6 } else { 1000 },
        };
        let lane = |settings: &kengele::domain::outbox::LaneSettings| {
            let name = if settings.name.as_ref() == MODEM { MODEM } else { HTTP };
            let (up, busy, interval) = (true, None, settings.segment_interval);
            (name, Lane { interval, up, busy, free_at: Timestamp::from_millis(i64::MIN) })
        };
        let lanes = settings.lanes.iter().map(lane).collect();
        let mut world = Self {
            crash_rate: if dice.chance(700) { dice.between(1, 25) } else { 0 },
            slow_commit_rate: dice.rate(300),
            look_rate: dice.rate(700),
            dice,
            now: plan.start,
            sequence: 0,
            events: BTreeMap::new(),
            wake: None,
            boot: 0,
            oracle: Oracle { budget, ..Oracle::default() },
            settings,
            outbox: None,
            store: Store::default(),
            network,
            lanes,
            plan,
            healed: false,
            pending: None,
            pending_not_left: Vec::new(),
            trace: traced.then(Vec::new),
            story: Story::default(),
        };
        world.lay_out();
        world
    }

    /// Puts the plan and the faults of this seed on the calendar.
    fn lay_out(&mut self) {
        self.at(self.plan.start, Event::Start);
        for index in 0..self.plan.alerts.len() {
            self.at(self.plan.alerts[index].at, Event::Alert(index));
        }
        for (at, recipient) in self.plan.opt_outs.clone() {
            self.at(at, Event::OptOut(recipient));
        }
        let span = self.plan.heal.since(self.plan.start).as_secs();
        for _ in 0..self.dice.below(5) {
            let channel = if self.dice.chance(500) { MODEM } else { HTTP };
            let at = self.plan.start + Duration::from_secs(self.dice.below(span));
            let lasts = Duration::from_secs(self.dice.between(1, 3600));
            self.at(at, Event::ChannelDown(channel));
            self.at(at + lasts, Event::ChannelUp(channel));
        }
        for _ in 0..self.dice.below(3) {
            let at = self.plan.start + Duration::from_secs(self.dice.below(span));
            self.at(at, Event::ModemRestarts);
        }
        if self.crash_rate > 0 {
            for _ in 0..self.dice.below(4) {
                let at = self.plan.start + Duration::from_secs(self.dice.below(span));
                self.at(at, Event::Crash);
            }
        }
        self.at(self.plan.heal, Event::Heal);
    }

    /// Lives through the seed.
    pub fn run(mut self) -> Result<Story, Wrong> {
        for _ in 0..STEPS_MAX {
            let Some(((at, _), event)) = self.events.pop_first() else {
                let judged = self.oracle.judge_story(&self.store, &self.network, self.plan.heal);
                return match judged {
                    Ok(()) => Ok(self.finish()),
                    Err(what) => Err(self.wrong(what)),
                };
            };
            if self.outbox.is_some() && at > self.now {
                let before = at - Duration::from_millis(1);
                if let Err(what) = Oracle::judge_idle(&self.store, &self.lanes, before) {
                    return Err(self.wrong(format!("overslept: {what}")));
                }
            }
            self.now = at;
            self.note(|| format!("{event:?}"));
            match self.step(event) {
                Ok(()) => {}
                Err(Halt::Crash) => self.crash(),
                Err(Halt::Wrong(what)) => return Err(self.wrong(what)),
            }
        }
        Err(self.wrong("P7: the world never comes to rest".to_owned()))
    }

    fn finish(mut self) -> Story {
        self.story.submissions = self.network.truths.len();
        for row in self.store.deliveries.values() {
            self.story.rows += 1;
            let end = row.end().map_or("none", |end| end.as_str());
            *self.story.seen.entry(format!("end {end}")).or_default() += 1;
            if row.possible_duplicate {
                *self.story.seen.entry("possible duplicate".to_owned()).or_default() += 1;
            }
            if super::oracle::is_muddled(&self.store, &self.network, row.id) {
                *self.story.seen.entry("muddled".to_owned()).or_default() += 1;
            }
        }
        for attempt in self.store.attempts.values() {
            let step = attempt.references.first().and_then(|r| r.reference.parse::<u8>().ok());
            if step == Some(0) {
                *self.story.seen.entry("reference wrapped".to_owned()).or_default() += 1;
            }
        }
        self.story
    }

    fn wrong(self, what: String) -> Wrong {
        Wrong { what, trace: self.trace.unwrap_or_default() }
    }

    fn step(&mut self, event: Event) -> Step {
        if self.outbox.is_none() && self.waits_for_start(&event) {
            return Ok(());
        }
        match event {
            Event::Wake => self.wake = None,
            Event::Start => self.start()?,
            Event::Crash => {
                self.saw(Boundary::AnyTime);
                return Err(Halt::Crash);
            }
            Event::Heal => self.heal(),
            Event::Alert(index) => self.alert(index)?,
            Event::OptOut(recipient) => {
                self.store.opted_out.insert(recipient);
                let now = self.now;
                let changes = self.outbox().opt_out(recipient, now);
                self.commit(&changes)?;
            }
            Event::Begin { channel, delivery, boot } if boot == self.boot => {
                self.begin(channel, delivery)?;
            }
            Event::Take(truth) => self.take(truth),
            Event::Answer { truth, boot } if boot == self.boot => self.answer(truth)?,
            Event::Arrive { truth, segment } => self.network.truths[truth].arrived[segment] = true,
            Event::Receipt { truth, segment, state } => self.receipt(truth, segment, state)?,
            Event::Look { delivery, boot } if boot == self.boot => self.look(delivery)?,
            Event::Begin { .. } | Event::Answer { .. } | Event::Look { .. } => {}
            Event::ChannelDown(channel) if !self.healed => self.channel_down(channel),
            Event::ChannelDown(_) => {}
            Event::ChannelUp(channel) => self.channel_up(channel),
            Event::ModemRestarts => self.modem_restarts(),
        }
        self.pump()
    }

    /// Puts off what cannot happen while the gateway is down; drops what is lost then.
    fn waits_for_start(&mut self, event: &Event) -> bool {
        match event {
            Event::Alert(_) | Event::OptOut(_) => {}
            Event::Receipt { truth, .. } => {
                if self.network.truths[*truth].channel == MODEM && self.dice.chance(300) {
                    return true;
                }
            }
            Event::Wake | Event::Begin { .. } | Event::Answer { .. } | Event::Look { .. } => {
                return true;
            }
            Event::Crash => return true,
            Event::ChannelDown(channel) => {
                if let Some(lane) = self.lanes.get_mut(channel) {
                    lane.up = self.healed;
                }
                return true;
            }
            Event::ChannelUp(channel) => {
                if let Some(lane) = self.lanes.get_mut(channel) {
                    lane.up = true;
                }
                return true;
            }
            Event::Take(truth) => {
                self.take(*truth);
                return true;
            }
            Event::Arrive { truth, segment } => {
                self.network.truths[*truth].arrived[*segment] = true;
                return true;
            }
            Event::ModemRestarts => {
                self.network.modem_restarts();
                return true;
            }
            Event::Heal => {
                self.heal();
                return true;
            }
            Event::Start => return false,
        }
        let start = self.events.iter().find(|(_, event)| matches!(event, Event::Start));
        let at = start.map_or(self.now, |((at, _), _)| *at);
        self.at(at + Duration::from_millis(1), event.clone());
        true
    }

    fn outbox(&mut self) -> &mut Outbox {
        self.outbox.as_mut().expect("events that need the outbox wait while there is none")
    }

    fn at(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.events.insert((at.max(self.now), self.sequence), event);
    }

    /// Notes a fact: the hash of all facts is the seed's story.
    fn note(&mut self, fact: impl FnOnce() -> String) {
        let fact = format!("{:>10} {}", self.now.as_millis(), fact());
        for byte in fact.bytes() {
            // FNV-1a.
            self.story.hash = (self.story.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(trace) = &mut self.trace {
            trace.push(fact);
        }
    }

    fn saw(&mut self, boundary: Boundary) {
        *self.story.seen.entry(format!("crash {boundary:?}")).or_default() += 1;
    }

    fn boundary(&mut self, boundary: Boundary) -> Step {
        if !self.healed && self.dice.chance(self.crash_rate) {
            self.saw(boundary);
            self.note(|| format!("crash at {boundary:?}"));
            return Err(Halt::Crash);
        }
        Ok(())
    }

    fn commit(&mut self, changes: &[Change]) -> Step {
        if changes.is_empty() {
            self.apply_pending();
            return Ok(());
        }
        self.boundary(Boundary::BeforeCommit)?;
        for change in changes {
            self.oracle.judge_change(&self.store, &self.network, change)?;
            self.note(|| match change {
                Change::Delivery(d) => format!("  {:?} {:?}", d.id, d.state),
                Change::Attempt(a) => format!("  {:?} of {:?} {:?}", a.id, a.delivery, a.outcome),
            });
            match change {
                Change::Delivery(row) => {
                    self.store.deliveries.insert(row.id, row.clone());
                    self.oracle.note_end(&self.store, &self.network, row);
                }
                Change::Attempt(attempt) => {
                    self.store.attempts.insert(attempt.id.0, attempt.clone());
                }
            }
        }
        self.apply_pending();
        self.boundary(Boundary::AfterCommit)?;
        self.outbox().stored(changes);
        Ok(())
    }

    fn apply_pending(&mut self) {
        if let Some((truth, known)) = self.pending.take() {
            let truth = &mut self.network.truths[truth];
            truth.known = known;
            if let Fate::Retry { after: Some(after) } = truth.fate {
                self.oracle.asked.insert((truth.delivery, truth.channel), self.now + after);
            }
        }
        for (delivery, attempt) in std::mem::take(&mut self.pending_not_left) {
            self.oracle.hidden.remove(&(delivery, attempt));
            let chosen = self.store.attempts[&attempt.0].started;
            let shown = |t: &&mut Truth| t.delivery == delivery && t.chosen == chosen;
            for truth in self.network.truths.iter_mut().filter(shown) {
                truth.shown_not_left = true;
            }
        }
    }

    /// Does what the dispatch task does after each event: what is due, then every lane that is free.
    fn pump(&mut self) -> Step {
        if self.outbox.is_none() {
            return Ok(());
        }
        let now = self.now;
        loop {
            let changes = self.outbox().tick(now);
            self.commit(&changes)?;
            let mut moved = false;
            for channel in [MODEM, HTTP] {
                let Some(claim) = self.outbox().claim(channel, now) else { continue };
                moved = true;
                let (store, network, lanes) = (&self.store, &self.network, &self.lanes);
                self.oracle.judge_claim(store, network, lanes, channel, claim.delivery, now)?;
                let lane = self.lanes.get_mut(channel).expect("a claim names a lane that exists");
                lane.busy = Some(claim.delivery);
                let segments = u32::from(self.store.deliveries[&claim.delivery].segments);
                lane.free_at = now + lane.interval * segments;
                if !self.healed && self.dice.chance(15) {
                    self.store_fails(channel, claim.delivery, &claim.changes)?;
                    continue;
                }
                self.commit(&claim.changes)?;
                self.boundary(Boundary::ArmedNotBegun)?;
                if self.dice.chance(self.slow_commit_rate) {
                    let at = now + Duration::from_secs(self.dice.between(1, 120));
                    let (delivery, boot) = (claim.delivery, self.boot);
                    self.at(at, Event::Begin { channel, delivery, boot });
                } else {
                    self.begin(channel, claim.delivery)?;
                }
            }
            if !moved {
                break;
            }
        }
        Oracle::judge_idle(&self.store, &self.lanes, now)?;
        self.set_alarm()
    }

    fn set_alarm(&mut self) -> Step {
        let now = self.now;
        let Some(next) = self.outbox().next_deadline(now) else { return Ok(()) };
        if next <= now {
            return Err(Halt::Wrong(format!("{next:?} is no deadline after {now:?}")));
        }
        if self.wake.is_none_or(|at| next < at) {
            self.wake = Some(next);
            self.at(next, Event::Wake);
        }
        Ok(())
    }

    /// The rows of a claim cannot be stored; nobody knows whether they were, all the same.
    fn store_fails(
        &mut self,
        channel: &'static str,
        delivery: DeliveryId,
        changes: &[Change],
    ) -> Step {
        let now = self.now;
        if self.dice.chance(500) {
            self.commit(changes)?;
        }
        let undo = self.outbox().disarm(delivery, now);
        self.free(channel, Some(now));
        self.commit(&undo)
    }

    fn free(&mut self, channel: &'static str, free_at: Option<Timestamp>) {
        let lane = self.lanes.get_mut(channel).expect("only lanes that exist are freed");
        lane.busy = None;
        lane.free_at = free_at.unwrap_or(lane.free_at);
    }

    fn begin(&mut self, channel: &'static str, delivery: DeliveryId) -> Step {
        let now = self.now;
        match self.outbox().begin(delivery, now) {
            Begin::Send(submission) => self.submit(channel, &submission),
            Begin::CalledOff(changes) => {
                self.free(channel, Some(now));
                self.commit(&changes)
            }
        }
    }

    fn submit(&mut self, channel: &'static str, submission: &Submission) -> Step {
        let now = self.now;
        let (store, network, lanes) = (&self.store, &self.network, &self.lanes);
        self.oracle.judge_submission(store, network, lanes, channel, submission, now)?;
        let row = &self.store.deliveries[&submission.delivery];
        let segments = row.segments;
        let truth = self.network.submit(channel, submission, segments, now, &mut self.dice);
        let before = self.store.attempts.values().filter(|a| a.delivery == submission.delivery);
        if let Some(attempt) = before.last() {
            self.network.truths[truth].reference_before = attempt.reference_before;
            self.network.truths[truth].chosen = attempt.started;
        }
        let fate = self.network.truths[truth].fate.clone();
        self.note(|| format!("  out by {channel}: {:?}, {fate:?}", submission.delivery));
        let taken = now + Duration::from_millis(self.dice.between(1, 4000));
        let answered = taken + Duration::from_millis(self.dice.between(1, 60_000));
        self.at(taken, Event::Take(truth));
        self.at(answered, Event::Answer { truth, boot: self.boot });
        self.boundary(Boundary::BytesOut)
    }

    fn take(&mut self, truth: usize) {
        let fresh = self.network.take(truth);
        for segment in 0..fresh {
            let (at, state) = self.network.journey(truth, self.now, &mut self.dice);
            if state == ReceiptState::Delivered {
                self.at(at, Event::Arrive { truth, segment });
            }
            for late in self.network.receipts(&mut self.dice) {
                let state = state.clone();
                self.at(at + late, Event::Receipt { truth, segment, state });
            }
        }
    }

    fn answer(&mut self, truth: usize) -> Step {
        let now = self.now;
        let (delivery, channel) =
            (self.network.truths[truth].delivery, self.network.truths[truth].channel);
        let answer = self.network.answer(truth, &mut self.dice);
        let known = match &answer {
            Some(Submitted::Accepted { .. }) => Known::Accepted,
            Some(Submitted::Unknown { references, .. })
                if references.len() == usize::from(self.network.truths[truth].segments) =>
            {
                Known::Accepted
            }
            Some(Submitted::Unknown { .. }) | None => Known::Unknown,
            Some(
                Submitted::Retry { .. }
                | Submitted::Rejected { .. }
                | Submitted::ChannelDown { .. },
            ) => Known::NotLeft,
        };
        self.free(channel, None);
        if let Some(Submitted::ChannelDown { .. }) = &answer {
            self.lanes.get_mut(channel).expect("an answer names a lane that exists").up = false;
            let mended = now + Duration::from_secs(self.dice.between(1, 1800));
            self.at(mended, Event::ChannelUp(channel));
        }
        let changes = match answer {
            Some(answer) => self.outbox().on_submitted(delivery, channel, answer, now),
            None => self.outbox().on_lane_lost(channel, now),
        };
        self.pending = Some((truth, known));
        self.commit(&changes)?;
        if known == Known::Unknown {
            self.plan_look(delivery);
        }
        Ok(())
    }

    /// The channel may look for a text of unknown fate in the modem's memory, or ask the provider.
    fn plan_look(&mut self, delivery: DeliveryId) {
        if self.dice.chance(self.look_rate) {
            let at = self.now + Duration::from_secs(self.dice.between(5, 120));
            self.at(at, Event::Look { delivery, boot: self.boot });
        }
    }

    fn look(&mut self, delivery: DeliveryId) -> Step {
        let now = self.now;
        let doubtful = |o: &Outcome| matches!(o, Outcome::Unknown { .. });
        let attempts = self.outbox().attempts();
        let ours = attempts.filter(|a| a.delivery == delivery && doubtful(&a.outcome)).last();
        let Some(attempt) = ours.cloned() else { return Ok(()) };
        let begun = |t: &Truth| t.delivery == delivery && t.at >= attempt.started;
        let index = self.network.truths.iter().rposition(begun);
        let evidence = match index.map(|index| &self.network.truths[index]) {
            Some(truth) if truth.open => return Ok(()),
            Some(truth) if truth.references.len() == usize::from(truth.segments) => {
                Evidence::Left { references: truth.references.clone() }
            }
            Some(truth) if !truth.references.is_empty() => return Ok(()),
            Some(_) | None => Evidence::NeverLeft,
        };
        self.note(|| format!("  {evidence:?}"));
        let left = evidence != Evidence::NeverLeft;
        let changes = self.outbox().on_evidence(delivery, evidence, now);
        if !changes.is_empty() {
            match index {
                Some(index) if left => self.pending = Some((index, Known::Accepted)),
                Some(_) | None => self.pending_not_left.push((delivery, attempt.id)),
            }
        }
        self.commit(&changes)
    }

    fn receipt(&mut self, truth: usize, segment: usize, state: ReceiptState) -> Step {
        let now = self.now;
        let channel = self.network.truths[truth].channel;
        if matches!(state, ReceiptState::Failed { .. } | ReceiptState::Expired) {
            self.network.give_up(truth, segment);
        }
        let receipt = self.network.receipt(truth, segment, state, &mut self.dice);
        let changes = self.outbox().on_receipt(channel, &receipt, now);
        self.commit(&changes)
    }

    fn alert(&mut self, index: usize) -> Step {
        let now = self.now;
        let rows = self.plan.rows(index, now, &self.store.opted_out);
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            self.store.deliveries.insert(row.id, row.clone());
        }
        self.boundary(Boundary::StoredButNotFed)?;
        let changes = self.outbox().insert(rows, now);
        self.commit(&changes)
    }

    fn channel_down(&mut self, channel: &'static str) {
        if let Some(lane) = self.lanes.get_mut(channel) {
            lane.up = false;
        }
        self.outbox().on_channel_down(channel, "simulated");
    }

    fn channel_up(&mut self, channel: &'static str) {
        if let Some(lane) = self.lanes.get_mut(channel) {
            lane.up = true;
        }
        self.outbox().on_channel_up(channel);
    }

    /// The modem counts its references anew; whether the gateway notices is chance.
    fn modem_restarts(&mut self) {
        self.network.modem_restarts();
        if self.dice.chance(500) && self.lanes.contains_key(MODEM) && !self.healed {
            self.channel_down(MODEM);
            let at = self.now + Duration::from_secs(self.dice.between(5, 60));
            self.at(at, Event::ChannelUp(MODEM));
        }
    }

    fn heal(&mut self) {
        self.healed = true;
        self.network.healthy = true;
        self.crash_rate = 0;
        self.slow_commit_rate = 0;
        for channel in [MODEM, HTTP] {
            if self.outbox.is_some() {
                self.channel_up(channel);
            } else if let Some(lane) = self.lanes.get_mut(channel) {
                lane.up = true;
            }
        }
    }

    fn crash(&mut self) {
        self.outbox = None;
        self.pending = None;
        self.pending_not_left.clear();
        self.wake = None;
        for lane in self.lanes.values_mut() {
            lane.busy = None;
            lane.free_at = Timestamp::from_millis(i64::MIN);
        }
        for row in self.store.deliveries.values() {
            let DeliveryState::Writing { attempt } = row.state else { continue };
            let Some(stored) = self.store.attempts.get(&attempt.0) else { continue };
            let started = stored.started;
            let begun = |t: &Truth| t.delivery == row.id && t.at >= started;
            if !self.network.truths.iter().any(begun) {
                self.oracle.hidden.insert((row.id, attempt));
                self.oracle.ever_hidden.insert(row.id);
            }
        }
        let down = if self.dice.chance(800) { 30 } else { 3600 };
        let at = self.now + Duration::from_secs(self.dice.between(1, down));
        self.at(at, Event::Start);
    }

    fn start(&mut self) -> Step {
        if self.outbox.is_some() {
            return Ok(());
        }
        self.boot += 1;
        let now = self.now;
        let boot = BootId(self.boot);
        let (mut outbox, changes) = Outbox::recover(self.settings.clone(), self.load(), boot, now);
        let (_, again) = Outbox::recover(self.settings.clone(), self.load(), boot, now);
        if changes != again {
            return Err(Halt::Wrong("P2: two starts from one store differ".to_owned()));
        }
        for (channel, lane) in &self.lanes {
            if !lane.up {
                outbox.on_channel_down(channel, "simulated");
            }
        }
        self.outbox = Some(outbox);
        self.boundary(Boundary::DuringRecovery)?;
        self.commit(&changes)?;
        let (_, more) = Outbox::recover(self.settings.clone(), self.load(), boot, now);
        if !more.is_empty() {
            return Err(Halt::Wrong(format!("P2: a second start goes on: {more:?}")));
        }
        for recipient in self.store.opted_out.clone() {
            let changes = self.outbox().opt_out(recipient, now);
            self.commit(&changes)?;
        }
        let doubtful: Vec<DeliveryId> = self
            .outbox()
            .deliveries()
            .filter(|d| matches!(d.state, DeliveryState::Unknown { .. }))
            .map(|d| d.id)
            .collect();
        doubtful.into_iter().for_each(|delivery| self.plan_look(delivery));
        Ok(())
    }

    /// Reads what the store's own queries would give.
    fn load(&self) -> Stored {
        let rows = || self.store.deliveries.values();
        let live: BTreeSet<DeliveryId> =
            rows().filter(|row| row.end().is_none()).map(|row| row.id).collect();
        let mut newest: BTreeMap<WarningId, (u32, MessageType)> = BTreeMap::new();
        let mut told = BTreeSet::new();
        for row in rows() {
            let Some((warning, number)) = row.alert() else { continue };
            let kind =
                if row.clears().is_some() { MessageType::Cancel } else { MessageType::Update };
            let entry = newest.entry(warning).or_insert((number, kind));
            *entry = (*entry).max((number, kind));
            if row.reached && row.clears().is_none() {
                told.insert((warning, row.recipient));
            }
        }
        let today = |a: &&kengele::domain::outbox::Attempt| day(a.started) == day(self.now);
        let attempts = self.store.attempts.values();
        let open =
            |o: &Outcome| matches!(o, Outcome::Open | Outcome::Accepted | Outcome::Unknown { .. });
        Stored {
            deliveries: rows()
                .filter(|row| live.contains(&row.id))
                .cloned()
                .collect::<Vec<Delivery>>(),
            attempts: attempts
                .clone()
                .filter(|a| live.contains(&a.delivery) && open(&a.outcome))
                .cloned()
                .collect(),
            attempt_last: AttemptId(self.store.attempts.keys().last().copied().unwrap_or(0)),
            newest: newest
                .into_iter()
                .map(|(warning, (number, kind))| (warning, number, kind))
                .collect(),
            told: told.into_iter().collect(),
            spent: attempts
                .filter(today)
                .filter(|a| a.outcome.may_have_left())
                .map(|a| u32::from(a.segments))
                .sum(),
        }
    }
}
