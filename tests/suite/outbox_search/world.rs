//! The random world of one seed: alerts, people, two channels, a store that forgets what was not committed, and crashes.

use super::network::{HTTP, Known, MODEM, Network};
use super::oracle::{Lane, Oracle, Store};
use super::plan::{self, Plan};
use crate::dice::Dice;
use kengele::domain::message::{DeliveryId, ReceiptState};
use kengele::domain::outbox::{AttemptId, Budget, Outbox, Settings};
use kengele::domain::recipient::RecipientId;
use kengele::domain::time::Timestamp;
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
pub(super) enum Halt {
    Crash,
    Wrong(String),
}

impl From<String> for Halt {
    fn from(wrong: String) -> Self {
        Self::Wrong(wrong)
    }
}

pub(super) type Step = Result<(), Halt>;

#[derive(Clone, Debug)]
pub(super) enum Event {
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
    pub(super) dice: Dice,
    pub(super) now: Timestamp,
    pub(super) sequence: u64,
    pub(super) events: BTreeMap<(Timestamp, u64), Event>,
    pub(super) wake: Option<Timestamp>,
    pub(super) boot: i64,
    pub(super) settings: Settings,
    pub(super) outbox: Option<Outbox>,
    pub(super) store: Store,
    pub(super) network: Network,
    pub(super) oracle: Oracle,
    pub(super) lanes: BTreeMap<&'static str, Lane>,
    pub(super) plan: Plan,
    pub(super) crash_rate: u64,
    pub(super) slow_commit_rate: u64,
    pub(super) look_rate: u64,
    pub(super) healed: bool,
    /// What becomes known of a submission with the next commit.
    pub(super) pending: Option<(usize, Known)>,
    /// What was looked for and found not to have left becomes known with the next commit.
    pub(super) pending_not_left: Vec<(DeliveryId, AttemptId)>,
    pub(super) trace: Option<Vec<String>>,
    pub(super) story: Story,
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
            let lane = Lane {
                interval: settings.segment_interval,
                up: true,
                width: settings.width,
                busy: BTreeSet::new(),
                free_at: Timestamp::from_millis(i64::MIN),
            };
            (name, lane)
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
            Event::ChannelDown(channel) if !self.healed => self.channel_down(channel),
            Event::Begin { .. }
            | Event::Answer { .. }
            | Event::Look { .. }
            | Event::ChannelDown(_) => {}
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

    pub(super) fn outbox(&mut self) -> &mut Outbox {
        self.outbox.as_mut().expect("events that need the outbox wait while there is none")
    }

    pub(super) fn at(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.events.insert((at.max(self.now), self.sequence), event);
    }

    /// Notes a fact: the hash of all facts is the seed's story.
    pub(super) fn note(&mut self, fact: impl FnOnce() -> String) {
        let fact = format!("{:>10} {}", self.now.as_millis(), fact());
        for byte in fact.bytes() {
            // FNV-1a.
            self.story.hash = (self.story.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(trace) = &mut self.trace {
            trace.push(fact);
        }
    }

    pub(super) fn saw(&mut self, boundary: Boundary) {
        *self.story.seen.entry(format!("crash {boundary:?}")).or_default() += 1;
    }

    pub(super) fn boundary(&mut self, boundary: Boundary) -> Step {
        if !self.healed && self.dice.chance(self.crash_rate) {
            self.saw(boundary);
            self.note(|| format!("crash at {boundary:?}"));
            return Err(Halt::Crash);
        }
        Ok(())
    }
}
