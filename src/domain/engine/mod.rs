//! The engine: readings in, decisions out. Pure and deterministic: the same inputs in the same order give the same
//! state and the same decisions, on every machine and after every restart.
//!
//! A reading takes this way: it is laid on the time line (`placement`), checked (`quality`), put into its sensor's
//! window, the signals that rest on it are brought up to date (`window`), the rules that look at them move their
//! levels (`judge`), and the warning of their hazard and area follows the highest level (`episode`).
//!
//! What the engine has to do by itself when nothing arrives (a node falls silent, an alert runs out) stands in a
//! list of deadlines. [`Engine::handle`] first lives through those that are due, each at its own moment, so that it
//! makes no difference when or how often it is woken.

mod condition;
mod episode;
mod judge;
mod state;
#[cfg(test)]
mod tests;

use crate::domain::node::{Node, Sensor};
use crate::domain::placement::NodeClock;
use crate::domain::planted::{self, Bug};
use crate::domain::quality::{Checked, Control};
use crate::domain::quantity::Quantity;
use crate::domain::reading::{Measurement, Quality, Stamp};
use crate::domain::rule::{Function, NodeIndex, RuleBook};
use crate::domain::table::Table;
use crate::domain::time::Timestamp;
use crate::domain::warning::{Alert, Notice, NoticeKind};
use crate::domain::window::{Aggregate, Sample, Window};
use episode::Episode;
use judge::RuleState;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

/// A technician hears of the same trouble of the same node once in this time.
const NOTICE_PAUSE: Duration = Duration::from_hours(24);

/// What happens to the engine.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A declared node was heard, and this is what it said.
    Heard {
        /// Which node.
        node: NodeIndex,
        /// What it said.
        measurements: &'a [Measurement],
        /// It may have been said before (MQTT DUP).
        redelivered: bool,
    },
    /// Nothing but the passing of time.
    Tick,
    /// The gateway is back after it was down: what was not heard meanwhile is not the nodes' fault.
    Resumed {
        /// For how long it was down.
        down: Duration,
    },
}

/// What the engine wants to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A reading is to be stored.
    Reading(Reading),
    /// A reading came again and is not to be stored.
    Repeated {
        /// Of which node.
        node: NodeIndex,
    },
    /// A declared node sent a quantity that it does not declare.
    Undeclared {
        /// Which node.
        node: NodeIndex,
        /// Which quantity.
        quantity: Quantity,
    },
    /// People are to be told.
    Alert(Alert),
    /// The technician is to be told.
    Notice(Notice),
}

/// A reading as it is stored: what came, and how far it can be believed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Of which node.
    pub node: NodeIndex,
    /// What came. Not finite means NaN; a negative zero is zero.
    pub measurement: Measurement,
    /// How far it can be believed.
    pub quality: Quality,
}

/// Judges readings by one rule book.
#[derive(Clone, Debug)]
pub struct Engine {
    book: Arc<RuleBook>,
    now: Timestamp,
    nodes: Table<NodeState>,
    sensors: Table<SensorState>,
    rules: Table<RuleState>,
    episodes: Table<Episode>,
    warnings_so_far: u64,
    told: BTreeMap<(Option<NodeIndex>, NoticeKind), Timestamp>,
    /// Moments at which something may be due; an entry may be too early, never too late.
    deadlines: BinaryHeap<Reverse<(Timestamp, Due)>>,
}

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Node(usize),
    Episode(usize),
}

#[derive(Clone, Debug)]
struct NodeState {
    clock: NodeClock,
    last_heard: Timestamp,
    silent: bool,
    /// Its first sensor in [`Engine::sensors`]; the others follow in the order of the rule book.
    first_sensor: usize,
    /// Silences that matter, shortest first.
    silences: Vec<Duration>,
    /// Rules that look at its silence or at whether it is heard at all.
    rules: Vec<usize>,
    /// Tests of its silence: rule, and number in its conditions.
    silence_tests: Vec<(usize, u32)>,
    /// Its entry in the list of deadlines.
    queued: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct SensorState {
    /// Tests of its signals: rule, and number in its conditions.
    tests: Vec<(usize, u32)>,
    control: Control,
    window: Window,
    signals: Vec<SignalState>,
    /// Rules that look at any of its signals, or at the silence of its node.
    rules: Vec<usize>,
}

#[derive(Clone, Debug)]
struct SignalState {
    aggregate: Aggregate,
    value: Option<f64>,
}

impl Engine {
    /// Makes an engine that has heard nothing yet. Silence counts from `now`.
    #[must_use]
    pub fn new(book: &Arc<RuleBook>, now: Timestamp) -> Self {
        let mut engine = Self {
            now,
            nodes: Table::with_capacity(book.nodes.len()),
            sensors: Table::with_capacity(book.nodes.iter().map(|node| node.sensors.len()).sum()),
            rules: Table::with_capacity(book.rules.len()),
            episodes: Table::default(),
            warnings_so_far: 0,
            told: BTreeMap::new(),
            deadlines: BinaryHeap::new(),
            book: Arc::clone(book),
        };
        for node in &book.nodes {
            engine.declare(node, now);
        }
        for rule in &book.rules {
            engine.adopt(rule);
        }
        for node in 0..engine.nodes.len() {
            engine.watch(node);
        }
        engine
    }

    fn declare(&mut self, node: &Node, now: Timestamp) {
        let first_sensor = self.sensors.len();
        for _ in &node.sensors {
            self.sensors.push(SensorState {
                control: Control::default(),
                window: Window::new(Duration::ZERO),
                signals: Vec::new(),
                rules: Vec::new(),
                tests: Vec::new(),
            });
        }
        self.nodes.push(NodeState {
            clock: NodeClock::default(),
            last_heard: now,
            silent: false,
            first_sensor,
            silences: vec![node.silent_after],
            rules: Vec::new(),
            silence_tests: Vec::new(),
            queued: None,
        });
    }

    /// Returns the rule book in force.
    #[must_use]
    pub const fn book(&self) -> &Arc<RuleBook> {
        &self.book
    }

    /// Returns the moment up to which the engine has lived.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the moment at which the engine should be woken with [`Input::Tick`], unless something comes before. It may be
    /// early.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one input in, at `now`, and appends what is to be done to `effects`. Returns whether the state has changed
    /// in a way that must be kept.
    ///
    /// Time never goes back: an earlier `now` counts as the latest.
    pub fn handle(&mut self, input: Input<'_>, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
        let now = now.max(self.now);
        match input {
            Input::Heard { node, measurements, redelivered } => {
                let fired = self.live_until(now, effects);
                self.hear(node, measurements, redelivered, effects) || fired
            }
            Input::Tick => self.live_until(now, effects),
            Input::Resumed { down } => {
                let before = std::mem::replace(&mut self.now, now);
                let down = if planted::is(Bug::OutageBlamed) { Duration::ZERO } else { down };
                let mut places = Vec::with_capacity(self.nodes.len());
                for (place, node) in self.nodes.iter_mut().enumerate() {
                    let known = node.silences_reached(before);
                    node.last_heard = (node.last_heard + down).min(now);
                    node.queued = None;
                    // A silence that is old has had its say: a warning that ran out does not come back with it.
                    places.push((place, node.silences_reached(now) > known));
                }
                self.rules.iter_mut().for_each(|rule| rule.conditions.note_change_of_all());
                // Before warnings run out: what ends with one is not to begin again.
                self.nodes_due(&places, effects);
                self.live_until(now, effects);
                true
            }
        }
    }

    /// Returns when each node was last heard, `None` before the first time, and whether it is silent.
    pub fn nodes(&self) -> impl Iterator<Item = (&Node, Option<Timestamp>, bool)> {
        let heard = |state: &NodeState| state.clock.has_begun().then_some(state.last_heard);
        self.book
            .nodes
            .iter()
            .zip(self.nodes.iter())
            .map(move |(node, s)| (node, heard(s), s.silent))
    }

    /// Lives through every deadline up to `now`, in order, each at its own moment.
    fn live_until(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
        let mut fired = false;
        while self.next_deadline().is_some_and(|at| at <= now) {
            let Some(Reverse((at, due))) = self.deadlines.pop() else { break };
            let before = self.now;
            self.now = at.max(before);
            let happened = match due {
                Due::Node(place) => {
                    let places: Vec<_> =
                        self.due_with(place, at).into_iter().map(|place| (place, true)).collect();
                    self.nodes_due(&places, effects)
                }
                Due::Episode(place) => {
                    let counts =
                        self.episodes[place].queued.take_if(|queued| *queued == at).is_some();
                    counts && self.episode_due(place, effects)
                }
            };
            if !happened {
                self.now = before;
            }
            fired |= happened;
        }
        self.now = now;
        fired
    }

    /// Takes the nodes out of the list of deadlines that are due at the same moment as `place`.
    fn due_with(&mut self, place: usize, at: Timestamp) -> Vec<usize> {
        let mut places = vec![place];
        while let Some(Reverse((then, Due::Node(next)))) = self.deadlines.peek().copied()
            && then == at
        {
            self.deadlines.pop();
            places.push(next);
        }
        // An entry that an earlier one has replaced says nothing.
        places.retain(|place| self.nodes[*place].queued.take_if(|queued| *queued == at).is_some());
        places
    }

    fn hear(
        &mut self,
        node: NodeIndex,
        measurements: &[Measurement],
        redelivered: bool,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(declared) = self.book.nodes.get(node.0 as usize) else { return false };
        let place = node.0 as usize;
        if redelivered && self.is_repetition(place, declared, measurements) {
            effects.push(Effect::Repeated { node });
            return false;
        }
        let book = Arc::clone(&self.book);
        let Some(declared) = book.nodes.get(place) else { return false };
        let mut changed = false;
        for measurement in in_order_of_stamps(measurements).iter() {
            let found = declared.sensors.iter().position(|s| s.quantity == measurement.quantity);
            let Some((offset, sensor)) = found.and_then(|n| Some((n, declared.sensors.get(n)?)))
            else {
                effects.push(Effect::Undeclared { node, quantity: measurement.quantity });
                continue;
            };
            let measurement = canonical(*measurement);
            changed |= self.take_in(place, offset, declared, sensor, measurement, effects);
        }
        changed
    }

    /// Returns whether a frame that may come again does: all that it says has been said lately. An age does not tell, for
    /// it counts from an arrival; a time does, and is looked at with each reading.
    fn is_repetition(&self, place: usize, declared: &Node, measurements: &[Measurement]) -> bool {
        let state = &self.nodes[place];
        !measurements.is_empty()
            && measurements.iter().all(|measurement| {
                let found =
                    declared.sensors.iter().position(|s| s.quantity == measurement.quantity);
                let raw = canonical(*measurement).value;
                found.is_some_and(|n| {
                    let window = &self.sensors[state.first_sensor + n].window;
                    !matches!(measurement.stamp, Some(Stamp::Unix(_))) && window.holds_lately(raw)
                })
            })
    }

    /// Takes one reading of a declared sensor in. Returns whether it was new.
    fn take_in(
        &mut self,
        place: usize,
        offset: usize,
        declared: &Node,
        sensor: &Sensor,
        measurement: Measurement,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let node = NodeIndex(u32::try_from(place).unwrap_or(u32::MAX));
        let now = self.now;
        let state = &mut self.nodes[place];
        let sensor_place = state.first_sensor + offset;
        let known = &mut self.sensors[sensor_place];
        if let Some(Stamp::Unix(stamp_ms)) = measurement.stamp
            && state
                .clock
                .position(stamp_ms)
                .is_some_and(|at| known.window.holds(at, measurement.value))
            && !planted::is(Bug::RepetitionTaken)
        {
            effects.push(Effect::Repeated { node });
            return false;
        }
        let placed = state.clock.place(measurement.stamp, now, declared.interval);
        let on_time = placed.late_by <= declared.late_after;
        let in_order = known.window.newest().is_none_or(|newest| placed.at >= newest);
        let Checked { mut quality, value } = if in_order {
            known.control.check(sensor, measurement.value, placed.at)
        } else {
            Control::check_out_of_order(sensor, measurement.value)
        };
        if quality.is_good() && !on_time {
            quality = Quality::Late;
        }
        let believed = planted::is(Bug::SuspectJudged).then_some(measurement.value).or(value);
        known.window.insert(Sample { at: placed.at, value: believed, raw: measurement.value });
        known.bring_up_to_date(in_order);
        effects.push(Effect::Reading(Reading { node, measurement, quality }));
        self.was_heard(place, effects);
        if placed.stepped {
            self.notice(Some(node), NoticeKind::ClockStepped, effects);
        }
        if !matches!(quality, Quality::Good | Quality::Late) {
            self.notice(Some(node), NoticeKind::Suspect(sensor.quantity, quality), effects);
        }
        self.sensor_changed(sensor_place);
        let rules = std::mem::take(&mut self.sensors[sensor_place].rules);
        // Nor does a reading that cannot be believed complete a hold.
        let in_time = on_time && in_order || planted::is(Bug::LateRaises);
        let may_raise = in_time && believed.is_some();
        // What comes after newer readings changes what is so now: a hold neither began nor stopped in its time.
        let newest = self.nodes[place].clock.newest();
        let at = if planted::is(Bug::HoldAtOldTime) { placed.at } else { placed.at.max(newest) };
        self.judge_all(&rules, at, may_raise, effects);
        self.sensors[sensor_place].rules = rules;
        true
    }

    fn was_heard(&mut self, place: usize, effects: &mut Vec<Effect>) {
        let node = &mut self.nodes[place];
        node.last_heard = self.now;
        let was_silent = std::mem::take(&mut node.silent);
        self.silence_changed(place, was_silent);
        if was_silent {
            // A warning that waited for it can be issued anew.
            for rule in self.nodes[place].rules.clone() {
                self.watch_episode(self.rules[rule].episode, self.now);
            }
            self.notice(
                Some(NodeIndex(u32::try_from(place).unwrap_or(u32::MAX))),
                NoticeKind::HeardAgain,
                effects,
            );
        }
        self.watch(place);
    }

    /// Puts a node's next silence into the list of deadlines, unless an entry stands there that is not later.
    fn watch(&mut self, place: usize) {
        let now = self.now;
        let node = &self.nodes[place];
        let next = node.silences.iter().map(|s| node.last_heard + *s).find(|at| *at > now);
        if let Some(at) = next {
            self.watch_node(place, at);
        }
    }

    /// Has a node looked at again at `at`, or earlier.
    fn watch_node(&mut self, place: usize, at: Timestamp) {
        let queued = &mut self.nodes[place].queued;
        if queued.is_none_or(|queued| at < queued && !planted::is(Bug::LaterSilenceWaited)) {
            *queued = Some(at);
            self.deadlines.push(Reverse((at, Due::Node(place))));
        }
    }

    /// Nodes may have been unheard for one of the times that matter, all at this moment, and each may raise a level by that or
    /// not. Returns whether any has.
    fn nodes_due(&mut self, places: &[(usize, bool)], effects: &mut Vec<Effect>) -> bool {
        let now = self.now;
        for (place, _) in places {
            self.find_silence(*place, effects);
        }
        let (mut reached, mut changed) = (false, Vec::new());
        for (place, may_raise) in places {
            let node = &mut self.nodes[*place];
            let unheard = now.since(node.last_heard);
            if node.silences.iter().any(|s| *s <= unheard) {
                reached = true;
                let at = node.clock.at(now);
                let rules = std::mem::take(&mut node.rules);
                self.judge_each(&rules, at, *may_raise, &mut changed);
                self.nodes[*place].rules = rules;
            }
            self.watch(*place);
        }
        for episode in changed {
            self.follow(episode, effects);
        }
        reached
    }

    /// Takes note of a node's silence, and of its tests.
    fn find_silence(&mut self, place: usize, effects: &mut Vec<Effect>) {
        let Some(silent_after) = self.book.nodes.get(place).map(|node| node.silent_after) else {
            return;
        };
        let node = &mut self.nodes[place];
        let fell_silent = !node.silent && self.now.since(node.last_heard) >= silent_after;
        node.silent |= fell_silent;
        self.silence_changed(place, fell_silent);
        if fell_silent {
            let index = NodeIndex(u32::try_from(place).unwrap_or(u32::MAX));
            self.notice(Some(index), NoticeKind::Silent, effects);
        }
    }

    /// Tells the technician, unless they have been told of the same lately.
    fn notice(&mut self, node: Option<NodeIndex>, kind: NoticeKind, effects: &mut Vec<Effect>) {
        let now = self.now;
        let told = self.told.get(&(node, kind)).is_some_and(|at| now.since(*at) < NOTICE_PAUSE);
        let worth_it = match kind {
            // Only who heard of the silence wants to hear of its end.
            NoticeKind::HeardAgain => self.told.remove(&(node, NoticeKind::Silent)).is_some(),
            NoticeKind::Silent
            | NoticeKind::Suspect(..)
            | NoticeKind::ClockStepped
            | NoticeKind::WarningExpired(_) => !told,
        };
        if worth_it {
            self.told.retain(|_, at| now.since(*at) < NOTICE_PAUSE);
            if kind != NoticeKind::HeardAgain {
                self.told.insert((node, kind), now);
            }
            effects.push(Effect::Notice(Notice { node, kind, at: now }));
        }
    }
}

impl NodeState {
    /// Returns for how many of the times that matter the node is unheard at `now`.
    fn silences_reached(&self, now: Timestamp) -> usize {
        let unheard = now.since(self.last_heard);
        self.silences.iter().filter(|silence| **silence <= unheard).count()
    }
}

impl SensorState {
    /// Brings every signal up to date with the window.
    fn bring_up_to_date(&mut self, in_order: bool) {
        let mut whole = in_order;
        loop {
            for signal in &mut self.signals {
                if !whole {
                    signal.aggregate.restart();
                }
                signal.value = signal.aggregate.update(&self.window);
            }
            if !self.window.trim() {
                break;
            }
            whole = false;
        }
        // The last value that could be believed may just have been dropped: a restart would not find it.
        if self.window.ends_in_doubt() {
            for signal in &mut self.signals {
                if signal.aggregate.function() == Function::Last {
                    signal.value = signal.aggregate.update(&self.window);
                }
            }
        }
    }
}

/// A measurement in the one form in which it is stored and read back.
fn canonical(measurement: Measurement) -> Measurement {
    let value = if measurement.value.is_finite() { measurement.value + 0.0 } else { f64::NAN };
    let stamp = measurement.stamp.map(|stamp| match stamp {
        Stamp::Unix(ms) => Stamp::Unix(ms.max(0)),
        Stamp::Age(ms) => Stamp::Age(ms.clamp(0, i64::MAX - 1)),
    });
    Measurement { value, stamp, ..measurement }
}

/// Returns the measurements from the oldest to the newest, as far as they say.
fn in_order_of_stamps(measurements: &[Measurement]) -> std::borrow::Cow<'_, [Measurement]> {
    fn key(measurement: &Measurement) -> i64 {
        match measurement.stamp {
            Some(Stamp::Unix(ms)) => ms,
            Some(Stamp::Age(ms)) => -ms,
            None => 0,
        }
    }
    if measurements.is_sorted_by_key(key) {
        return measurements.into();
    }
    let mut sorted = measurements.to_vec();
    sorted.sort_by_key(key);
    sorted.into()
}
