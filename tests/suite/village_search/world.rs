//! The world by chance: gauges and rain counters that drift, jump, stick, lie, fall silent and send their backlog, and a
//! gateway that is restarted, reloaded and without power. It knows what is true of every reading, for it made them.

use super::book::{INCREMENT_MAX, LATE_AFTER, TOP};
use crate::dice::Dice;
use kengele::domain::node::{Counter, Node, Sensor};
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::{Quality, Stamp};
use std::collections::VecDeque;

/// A node's own clock is wrong by this.
const CLOCK_OFF_MS: i64 = 123_456_789_000;
/// Shortest time between two frames of a node, minutes.
const PAUSE: i64 = 3;
/// How much longer than `late_after` a reading may be on its way before it is late for certain: a node's clock is
/// believed to drift by 1 % of the longest time in which nothing comes.
const DRIFT: i64 = 10;
/// Longest time without power, minutes.
pub const DOWN_MAX: u64 = 300;
/// Frames of a node that may come again.
const AGAIN_MAX: usize = 60;
/// Values of a sensor that may come again without a time: they are known by being among its last.
const AGAIN_WITHOUT_TIME_MAX: usize = 14;

/// One value as it comes, and what is true of it.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub quantity: Quantity,
    pub raw: f64,
    /// Minute in which it was measured.
    pub measured: i64,
    /// What the frame says of that.
    pub stamp: Option<Stamp>,
    pub quality: Quality,
    /// What rules may look at.
    pub value: Option<f64>,
    /// It was on its way for so long that it tells of the past only, or came after newer ones.
    pub may_raise: bool,
}

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub node: usize,
    /// It has been heard before.
    pub again: bool,
    /// The source says that it may have been.
    pub redelivered: bool,
    pub told: Vec<Told>,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum Event {
    Frame(Frame),
    /// Somebody wakes the engine.
    Tick,
    /// The gateway is restarted, and loses no time by it.
    Restart,
    /// The gateway was without power for so many minutes.
    Down(u64),
    /// The technician changes the rules.
    Reload,
}

/// How a node says when it measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Time,
    Age,
    Nothing,
}

struct Mote {
    says: Says,
    gauges: Vec<Gauge>,
    spoke: Option<i64>,
    /// Out of reach until then.
    away: i64,
    /// What it could not send: minute, and the raw values.
    backlog: Vec<(i64, Vec<f64>)>,
    sent: VecDeque<Frame>,
}

struct Gauge {
    declared: Sensor,
    truth: f64,
    slot: i64,
    frozen: i64,
    /// Minute of the newest reading that was told.
    newest: Option<i64>,
    /// Readings in order since the last fault.
    good: u32,
    /// What an instrument that hangs would show, and since when.
    same: Option<(f64, i64)>,
    total: Option<f64>,
}

pub struct World {
    pub dice: Dice,
    pub minute: i64,
    motes: Vec<Mote>,
    reloads: bool,
    ahead: VecDeque<(i64, Event)>,
}

impl World {
    pub fn new(nodes: &[Node], mut dice: Dice) -> Self {
        let motes = nodes.iter().map(|node| Mote::new(node, &mut dice)).collect();
        let reloads = dice.chance(500);
        Self { dice, minute: 0, motes, reloads, ahead: VecDeque::new() }
    }

    /// Returns what happens next, and in which minute.
    pub fn next(&mut self) -> (i64, Event) {
        loop {
            if let Some(next) = self.ahead.pop_front() {
                return next;
            }
            self.think();
        }
    }

    fn later(&mut self, event: Event) {
        self.ahead.push_back((self.minute, event));
    }

    fn think(&mut self) {
        self.minute += i64::try_from(self.dice.below(4)).unwrap();
        match self.dice.below(100) {
            0..=2 => self.later(Event::Restart),
            3 => {
                let down = self.dice.between(5, DOWN_MAX);
                self.minute += i64::try_from(down).unwrap();
                self.later(Event::Down(down));
            }
            4..=6 if self.reloads => self.later(Event::Reload),
            7..=11 => self.later(Event::Tick),
            12 | 13 => self.minute += i64::try_from(self.dice.between(10, 200)).unwrap(),
            14..=19 => self.say_again(),
            20..=24 => self.spoil(),
            _ => self.report(),
        }
    }

    /// One node's moment to report has come.
    fn report(&mut self) {
        let (node, minute) = (self.dice.index(self.motes.len()), self.minute);
        let mote = &mut self.motes[node];
        if mote.spoke.is_some_and(|spoke| minute - spoke < PAUSE) {
            return;
        }
        if mote.spoke.is_some() && mote.away < minute && self.dice.chance(40) {
            mote.away = minute + i64::try_from(self.dice.between(5, 120)).unwrap();
        }
        mote.spoke = Some(minute);
        let away = minute < mote.away;
        let values: Vec<f64> =
            mote.gauges.iter_mut().map(|g| g.measure(minute, away, &mut self.dice)).collect();
        if away {
            let room = match mote.says {
                Says::Time => 12,
                Says::Age => 6,
                Says::Nothing => 0,
            };
            if mote.backlog.len() < room {
                mote.backlog.push((minute, values));
            }
            return;
        }
        let backlog = mote.fit_to_send(minute);
        match self.dice.below(4) {
            0 => self.send(node, vec![(minute, values)]),
            1 => {
                self.send(node, vec![(minute, values)]);
                for old in backlog {
                    self.send(node, vec![old]);
                }
            }
            2 => {
                let all = backlog.into_iter().chain([(minute, values)]).collect();
                self.send(node, all);
            }
            _ => {
                for old in backlog {
                    self.send(node, vec![old]);
                }
                self.send(node, vec![(minute, values)]);
            }
        }
    }

    /// Sends one frame with these measurements, the oldest first.
    fn send(&mut self, node: usize, measurements: Vec<(i64, Vec<f64>)>) {
        let minute = self.minute;
        let mote = &mut self.motes[node];
        let mut told = Vec::new();
        for (measured, values) in measurements {
            for (gauge, raw) in mote.gauges.iter_mut().zip(values) {
                told.push(gauge.tell(raw, measured, minute, None));
            }
        }
        let frame = Frame { node, again: false, redelivered: false, told };
        self.deliver(frame);
    }

    fn deliver(&mut self, mut frame: Frame) {
        for told in &mut frame.told {
            told.stamp = self.stamp(frame.node, told.measured);
        }
        let mote = &mut self.motes[frame.node];
        mote.sent.push_back(frame.clone());
        if mote.sent.len() > AGAIN_MAX {
            mote.sent.pop_front();
        }
        let values = |sent: &VecDeque<Frame>| sent.iter().map(|f| f.told.len()).sum::<usize>();
        while mote.says != Says::Time
            && values(&mote.sent) > AGAIN_WITHOUT_TIME_MAX * mote.gauges.len()
        {
            mote.sent.pop_front();
        }
        self.later(Event::Frame(frame));
    }

    /// A frame comes that has come before.
    fn say_again(&mut self) {
        let node = self.dice.index(self.motes.len());
        let mote = &self.motes[node];
        if mote.sent.is_empty() {
            return;
        }
        let redelivered = mote.says != Says::Time || self.dice.chance(500);
        let frame = mote.sent[self.dice.index(mote.sent.len())].clone();
        self.later(Event::Frame(Frame { again: true, redelivered, ..frame }));
    }

    /// An instrument lies once or twice, or what it measures truly jumps.
    fn spoil(&mut self) {
        let node = self.dice.index(self.motes.len());
        let mote = &self.motes[node];
        let ready = self.minute >= mote.away
            && mote.spoke.is_some_and(|spoke| self.minute - spoke >= PAUSE)
            && mote.backlog.is_empty();
        let number = self.dice.index(mote.gauges.len());
        if !ready || mote.gauges[number].good < 6 {
            return;
        }
        self.honest(node);
        let gauge = &self.motes[node].gauges[number];
        let declared = gauge.declared.clone();
        let truth = gauge.truth;
        let far = if truth > TOP / 2.0 { truth - 3.0 } else { truth + 3.0 };
        let doubted = match (&declared.step, &declared.spike) {
            (Some(_), _) => Some(Quality::Step),
            (None, Some(_)) => Some(Quality::Spike),
            (None, None) => None,
        };
        let times = self.dice.between(1, 2);
        match (self.dice.below(4), doubted, &declared.counter) {
            (0, ..) => self.lie(node, number, times, f64::NAN, Quality::NotANumber),
            (1, _, None) => {
                self.lie(node, number, times, declared.range.1 + 7.0, Quality::OutOfRange);
            }
            (2, Some(quality), _) => self.lie(node, number, times, far, quality),
            (3, Some(quality), _) => {
                // A dam has broken: believed at the third time.
                let gauge = &mut self.motes[node].gauges[number];
                gauge.truth = far;
                self.lie(node, number, 2, far, quality);
                self.honest(node);
            }
            (2, None, Some(counter)) if counter.wraps_at.is_none() => {
                self.motes[node].gauges[number].truth += INCREMENT_MAX + 10.0;
                self.honest(node);
            }
            (3, None, Some(counter)) => self.reset(node, number, counter),
            _ => {}
        }
    }

    /// A counter has begun again from nothing.
    fn reset(&mut self, node: usize, number: usize, counter: &Counter) {
        let gauge = &mut self.motes[node].gauges[number];
        if counter.wraps_at.is_some() || gauge.total.is_none_or(|total| total <= 10.0) {
            return;
        }
        gauge.truth = 0.0;
        gauge.total = Some(0.0);
        self.honest(node);
    }

    /// A frame that is right in all, a little later.
    fn honest(&mut self, node: usize) {
        self.minute += 2;
        let minute = self.minute;
        let mote = &mut self.motes[node];
        mote.spoke = Some(minute);
        let values =
            mote.gauges.iter_mut().map(|g| g.measure(minute, false, &mut self.dice)).collect();
        self.send(node, vec![(minute, values)]);
    }

    /// A frame whose instrument `number` says `raw`, so many times.
    fn lie(&mut self, node: usize, number: usize, times: u64, raw: f64, quality: Quality) {
        for _ in 0..times {
            self.minute += 2;
            let minute = self.minute;
            let mote = &mut self.motes[node];
            mote.spoke = Some(minute);
            let mut told = Vec::new();
            for (place, gauge) in mote.gauges.iter_mut().enumerate() {
                if place == number {
                    told.push(gauge.tell(raw, minute, minute, Some(quality)));
                } else {
                    let raw = gauge.measure(minute, false, &mut self.dice);
                    told.push(gauge.tell(raw, minute, minute, None));
                }
            }
            self.deliver(Frame { node, again: false, redelivered: false, told });
        }
    }

    /// Returns the time that a frame carries for a value that it tells now.
    fn stamp(&self, node: usize, measured: i64) -> Option<Stamp> {
        match self.motes[node].says {
            Says::Time => Some(Stamp::Unix(CLOCK_OFF_MS + measured * 60_000)),
            Says::Age => Some(Stamp::Age((self.minute - measured) * 60_000)),
            Says::Nothing => None,
        }
    }
}

impl Mote {
    fn new(node: &Node, dice: &mut Dice) -> Self {
        let gauges = node.sensors.iter().map(|sensor| Gauge {
            declared: sensor.clone(),
            truth: if sensor.counter.is_some() { 40.0 } else { 2.0 },
            slot: 0,
            frozen: 0,
            newest: None,
            good: 0,
            same: None,
            total: None,
        });
        let gauges = gauges.collect();
        let says = [Says::Time, Says::Time, Says::Age, Says::Nothing][dice.index(4)];
        Self { says, gauges, spoke: None, away: 0, backlog: Vec::new(), sent: VecDeque::new() }
    }

    /// Takes out of the backlog what is on time, or late beyond doubt.
    fn fit_to_send(&mut self, now: i64) -> Vec<(i64, Vec<f64>)> {
        let mut backlog = std::mem::take(&mut self.backlog);
        backlog.retain(|(at, _)| {
            let late = now - at;
            late > 0 && !(LATE_AFTER + 1..=LATE_AFTER + DRIFT).contains(&late)
        });
        backlog
    }
}

impl Gauge {
    /// Returns what the instrument shows.
    fn measure(&mut self, minute: i64, away: bool, dice: &mut Dice) -> f64 {
        let slots = (minute / 5 - self.slot).clamp(0, 40);
        self.slot = minute / 5;
        if let Some(counter) = &self.declared.counter {
            // Dry while it is away: how often a counter has wrapped meanwhile, nobody knows.
            if !away {
                self.truth += [0.0, 0.0, 0.25, 0.5, 1.0, 2.0][dice.index(6)];
            }
            return counter.wraps_at.map_or(self.truth, |wrap| self.truth % wrap);
        }
        let steady = self.declared.step.is_some() || self.declared.spike.is_some();
        if self.declared.stuck_after.is_some() && dice.chance(20) {
            self.frozen = minute + 70;
        }
        if minute < self.frozen || self.declared.spike.is_some() && away {
            return self.truth;
        }
        let moves = if self.declared.spike.is_some() { slots.min(1) } else { slots };
        for _ in 0..moves {
            let step = if steady {
                (dice.between(0, 2) as f64 - 1.0) / 4.0
            } else {
                (dice.between(0, 6) as f64 - 3.0) / 4.0
            };
            self.truth = (self.truth + step).clamp(0.25, TOP - 0.25);
        }
        self.truth
    }

    /// Says what is true of a value that is told now; `lie` is what is wrong with it.
    fn tell(&mut self, raw: f64, measured: i64, now: i64, lie: Option<Quality>) -> Told {
        let in_order = self.newest.is_none_or(|newest| measured >= newest);
        let on_time = now - measured <= LATE_AFTER;
        let mut told = Told {
            quantity: self.declared.quantity,
            raw,
            measured,
            stamp: None,
            quality: Quality::Late,
            value: Some(raw),
            may_raise: false,
        };
        if !in_order {
            if self.declared.counter.is_some() {
                // The newer total holds what this one counted.
                told.value = None;
            }
            return told;
        }
        self.newest = Some(measured);
        let (mut quality, mut value) = (lie, Some(raw));
        if let Some(counter) = &self.declared.counter
            && raw.is_finite()
        {
            let grown = self.total.replace(raw).map(|before| raw - before);
            value = grown.map(|grown| match counter.wraps_at {
                Some(wrap) if grown < 0.0 => grown + wrap,
                Some(_) | None => grown,
            });
            if value.is_some_and(|value| value > INCREMENT_MAX) {
                quality = quality.or(Some(Quality::Step));
            }
        }
        let seen = !matches!(lie, Some(Quality::NotANumber | Quality::OutOfRange));
        if let (true, Some(limit), None) = (seen, self.declared.stuck_after, &self.declared.counter)
        {
            let since = match self.same {
                Some((same, since)) if same.to_bits() == raw.to_bits() => since,
                Some(_) | None => measured,
            };
            self.same = Some((raw, since));
            let minutes = u64::try_from(measured - since).unwrap();
            if minutes * 60 > limit.as_secs() {
                quality = quality.or(Some(Quality::Stuck));
            }
        }
        self.good = if quality.is_none() { self.good + 1 } else { 0 };
        told.value = value.filter(|_| quality.is_none());
        told.may_raise = on_time && told.value.is_some();
        told.quality = quality.unwrap_or(if on_time { Quality::Good } else { Quality::Late });
        told
    }
}
