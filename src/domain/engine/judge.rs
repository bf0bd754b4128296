//! Levels: which of a rule's conditions hold, for how long, and which level follows from that.

use super::condition::{Conditions, Facts, SignalPlace, Truth};
use super::{Engine, SignalState};
use crate::domain::planted::{self, Bug};
use crate::domain::quantity::Quantity;
use crate::domain::rule::{LevelRule, NodeIndex, Rule, Signal, Test};
use crate::domain::snapshot::{Reader, SnapshotError, Writer};
use crate::domain::table::Table;
use crate::domain::time::Timestamp;
use crate::domain::warning::Observed;
use crate::domain::window::Aggregate;
use std::collections::BTreeSet;
use std::time::Duration;

/// Where a rule stands.
#[derive(Clone, Debug)]
pub(super) struct RuleState {
    /// In the order of the rule book.
    pub levels: Table<LevelState>,
    pub conditions: Conditions,
    /// Its warning, in [`Engine::episodes`].
    pub episode: usize,
    /// Every node that it looks at.
    pub nodes: BTreeSet<NodeIndex>,
    /// A gap in time longer than this breaks a hold.
    gap_max: Duration,
}

/// Where a level stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct LevelState {
    /// It is reached.
    pub on: bool,
    /// Since when the condition has been the opposite of `on`, without a gap.
    turning_since: Option<Timestamp>,
    /// When that was last confirmed.
    turning_seen: Timestamp,
}

impl Engine {
    /// Prepares what a rule needs: its signals, its levels, its warning.
    pub(super) fn adopt(&mut self, rule: &Rule) {
        let place = self.rules.len();
        let mut conditions = Conditions::default();
        let mut nodes = BTreeSet::new();
        for level in &rule.levels {
            conditions.begin_level();
            self.adopt_test(&level.test, place, None, &mut conditions, &mut nodes);
        }
        conditions.end();
        let gap_max = nodes
            .iter()
            .filter_map(|n| self.book.nodes.get(n.0 as usize))
            .map(|n| n.silent_after)
            .max();
        for node in &nodes {
            let watched = &mut self.nodes[node.0 as usize];
            if !watched.rules.contains(&place) {
                watched.rules.reserve_exact(1);
                watched.rules.push(place);
            }
        }
        let levels = rule.levels.iter().map(|_| LevelState::default()).collect();
        let episode = self.episode_of(rule, place);
        let gap_max = gap_max.unwrap_or(Duration::MAX);
        self.rules.push(RuleState { levels, conditions, episode, nodes, gap_max });
    }

    fn adopt_test(
        &mut self,
        test: &Test,
        rule: usize,
        above: Option<u32>,
        conditions: &mut Conditions,
        nodes: &mut BTreeSet<NodeIndex>,
    ) {
        match test {
            Test::Signal(leaf) => {
                nodes.insert(leaf.signal.node);
                let place = self.adopt_signal(leaf.signal, rule);
                let test = conditions.add_signal(above, place, leaf.limit, leaf.while_silent);
                let tests = &mut self.sensors[place.sensor as usize].tests;
                tests.reserve_exact(1);
                tests.push((rule, test));
            }
            Test::Silent(node, after) => {
                nodes.insert(*node);
                let test = conditions.add_silent(above, *node, *after);
                self.adopt_sensors(*node, rule);
                let state = &mut self.nodes[node.0 as usize];
                state.silence_tests.push((rule, test));
                if let Err(place) = state.silences.binary_search(after) {
                    state.silences.insert(place, *after);
                }
            }
            Test::AtLeast(needed, tests) => {
                let joint = conditions.add_at_least(above, *needed);
                for test in tests {
                    self.adopt_test(test, rule, Some(joint), conditions, nodes);
                }
            }
        }
    }

    /// Has a rule judged whatever a node is heard to say: its silence has ended then.
    fn adopt_sensors(&mut self, node: NodeIndex, rule: usize) {
        if planted::is(Bug::SilenceUnended) {
            return;
        }
        let first = self.nodes[node.0 as usize].first_sensor;
        let count = self.book.nodes.get(node.0 as usize).map_or(0, |node| node.sensors.len());
        for sensor in first..first + count {
            self.adopt_sensor(sensor, rule);
        }
    }

    fn adopt_sensor(&mut self, sensor: usize, rule: usize) {
        let sensor = &mut self.sensors[sensor];
        if !sensor.rules.contains(&rule) {
            sensor.rules.reserve_exact(1);
            sensor.rules.push(rule);
        }
    }

    /// Finds or makes a signal of a sensor. A checked rule book names only declared sensors.
    fn adopt_signal(&mut self, signal: Signal, rule: usize) -> SignalPlace {
        let place = self.sensor_place(signal.node, signal.quantity);
        self.adopt_sensor(place, rule);
        let sensor = &mut self.sensors[place];
        let found = sensor.signals.iter().position(|s| s.aggregate.function() == signal.function);
        let number = found.unwrap_or_else(|| {
            sensor.window.reach_back(signal.function.window());
            // There are few signals of a sensor, and many sensors.
            sensor.signals.reserve_exact(1);
            sensor
                .signals
                .push(SignalState { aggregate: Aggregate::new(signal.function), value: None });
            sensor.signals.len() - 1
        });
        let small = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        SignalPlace { node: signal.node.0, sensor: small(place), signal: small(number) }
    }

    fn sensor_place(&self, node: NodeIndex, quantity: Quantity) -> usize {
        let declared = self.book.nodes.get(node.0 as usize);
        let offset = declared.and_then(|n| n.sensors.iter().position(|s| s.quantity == quantity));
        self.nodes[node.0 as usize].first_sensor
            + offset.expect("a checked rule names declared sensors")
    }

    /// Judges rules at event time `at`, then has their warnings follow: what one reading does to several rules of an area is
    /// told as one. A level is only reached by a reading that came in time (`may_raise`).
    pub(super) fn judge_all(
        &mut self,
        rules: &[usize],
        at: Timestamp,
        may_raise: bool,
        effects: &mut Vec<super::Effect>,
    ) {
        let mut changed: Vec<usize> = Vec::new();
        if planted::is(Bug::RulesFollowedApart) {
            for rule in rules {
                self.judge_each(&[*rule], at, may_raise, &mut changed);
                changed.drain(..).for_each(|episode| self.follow(episode, effects));
            }
        }
        self.judge_each(rules, at, may_raise, &mut changed);
        for episode in changed {
            self.follow(episode, effects);
        }
    }

    /// Judges rules at event time `at`, and adds the warnings that have to follow to `changed`.
    pub(super) fn judge_each(
        &mut self,
        rules: &[usize],
        at: Timestamp,
        may_raise: bool,
        changed: &mut Vec<usize>,
    ) {
        for rule in rules {
            let episode = self.rules[*rule].episode;
            if self.judge(*rule, at, may_raise) && !changed.contains(&episode) {
                changed.push(episode);
            }
        }
    }

    /// Moves the levels of a rule to where their conditions put them. Returns whether any has moved.
    fn judge(&mut self, place: usize, at: Timestamp, may_raise: bool) -> bool {
        let book = std::sync::Arc::clone(&self.book);
        let Some(rule) = book.rules.get(place) else { return false };
        // Event times of different nodes do not compare; what they say together is timed by its arrival.
        let at = if self.rules[place].nodes.len() > 1 { self.now } else { at };
        let mut changed = false;
        let facts = Facts { sensors: &self.sensors, nodes: &self.nodes, now: self.now };
        self.rules[place].conditions.bring_up_to_date(&facts);
        for (number, level) in rule.levels.iter().enumerate() {
            let truth = self.rules[place].conditions.truth(number);
            changed |= self.move_level(place, number, level, truth, at, may_raise);
        }
        changed
    }

    /// Has the tests of a sensor's signals looked at anew, when their rules are judged next.
    pub(super) fn sensor_changed(&mut self, sensor: usize) {
        for (rule, test) in &self.sensors[sensor].tests {
            self.rules[*rule].conditions.note_change(*test);
        }
    }

    /// Has the tests of a node's silence looked at anew; and when it fell silent or is heard again, those of its signals,
    /// which count or do not count from now on.
    pub(super) fn silence_changed(&mut self, node: usize, signals_too: bool) {
        for (rule, test) in &self.nodes[node].silence_tests {
            self.rules[*rule].conditions.note_change(*test);
        }
        if signals_too {
            let first = self.nodes[node].first_sensor;
            let count = self.book.nodes.get(node).map_or(0, |node| node.sensors.len());
            (first..first + count).for_each(|sensor| self.sensor_changed(sensor));
        }
    }

    fn move_level(
        &mut self,
        place: usize,
        number: usize,
        rule: &LevelRule,
        truth: Truth,
        at: Timestamp,
        may_raise: bool,
    ) -> bool {
        let gap_max = self.rules[place].gap_max;
        let level = &mut self.rules[place].levels[number];
        let turning = match truth {
            Truth::Unknown => return false,
            Truth::Holds => !level.on,
            Truth::Fails => level.on,
        };
        if !turning {
            level.turning_since = None;
            return false;
        }
        let has_gap = at.since(level.turning_seen) > gap_max && !planted::is(Bug::HoldOverGap);
        let unbroken = level.turning_since.filter(|_| !has_gap);
        let since = *level.turning_since.insert(unbroken.unwrap_or(at));
        level.turning_seen = at;
        let hold = if level.on {
            rule.clear_hold
        } else if waits_for_silence(&rule.test) {
            // The silence has been waited for already, and nothing more will come.
            Duration::ZERO
        } else {
            rule.hold
        };
        if at.since(since) < hold || !level.on && !may_raise {
            return false;
        }
        level.on = !level.on;
        level.turning_since = None;
        true
    }

    /// Returns the values that a level's condition rests on: those that hold; where none does, all that it looks at.
    pub(super) fn observed(&self, place: usize, number: usize) -> Vec<Observed> {
        let rule = self.book.rules.get(place);
        let Some(level) = rule.and_then(|rule| rule.levels.get(number)) else { return Vec::new() };
        let facts = Facts { sensors: &self.sensors, nodes: &self.nodes, now: self.now };
        let mut found: Vec<(Observed, bool)> = Vec::new();
        let states = self.rules[place].conditions.signals(number);
        for (leaf, (place, holds)) in level.test.leaves().zip(states) {
            if let Some(value) = facts.value(place)
                && found.iter().all(|(seen, _)| seen.signal != leaf.signal)
            {
                found.push((Observed { signal: leaf.signal, value }, holds));
            }
        }
        let any_holds = found.iter().any(|(_, holds)| *holds);
        found.into_iter().filter(|(_, holds)| *holds || !any_holds).map(|(seen, _)| seen).collect()
    }
}

impl RuleState {
    /// Forgets that any level was reached or about to be.
    pub(super) fn forget(&mut self) {
        self.levels.iter_mut().for_each(|level| *level = LevelState::default());
        self.conditions.forget();
    }

    /// Takes over where a level stood under an earlier rule book.
    pub(super) fn take_over(&mut self, number: usize, level: LevelState) {
        self.levels[number] = level;
    }

    pub(super) fn save(&self, to: &mut Writer) {
        for level in self.levels.iter() {
            to.flag(level.on);
            let since = level.turning_since.filter(|_| !planted::is(Bug::HoldForgottenAtRestart));
            to.option(since, |to, at| to.signed(at.as_millis()));
            to.signed(level.turning_seen.as_millis());
        }
        self.conditions.save(to);
    }

    pub(super) fn restore(&mut self, from: &mut Reader<'_>) -> Result<(), SnapshotError> {
        for level in self.levels.iter_mut() {
            level.on = from.flag()?;
            level.turning_since = from.option(Reader::signed)?.map(Timestamp::from_millis);
            level.turning_seen = Timestamp::from_millis(from.signed()?);
        }
        self.conditions.restore(from)
    }
}

fn waits_for_silence(test: &Test) -> bool {
    match test {
        Test::Silent(..) => true,
        Test::Signal(_) => false,
        Test::AtLeast(_, tests) => tests.iter().any(waits_for_silence),
    }
}
