//! Levels: which of a rule's conditions hold, for how long, and which level follows from that.

use super::{Engine, SignalState};
use crate::domain::planted::{self, Bug};
use crate::domain::quantity::Quantity;
use crate::domain::rule::{Leaf, LevelRule, NodeIndex, Rule, Signal, Test};
use crate::domain::snapshot::{Reader, SnapshotError, Writer};
use crate::domain::table::Table;
use crate::domain::time::Timestamp;
use crate::domain::warning::Observed;
use crate::domain::window::Aggregate;
use std::collections::BTreeSet;
use std::time::Duration;

/// What is known of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    Holds,
    Fails,
    /// Too little has been heard to say.
    Unknown,
}

/// Where a rule stands.
#[derive(Clone, Debug)]
pub(super) struct RuleState {
    /// In the order of the rule book.
    pub levels: Table<LevelState>,
    /// The leaves of all its conditions, in the order in which they are written.
    leaves: Table<LeafState>,
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

#[derive(Clone, Debug)]
struct LeafState {
    sensor: usize,
    signal: usize,
    held: bool,
}

impl Engine {
    /// Prepares what a rule needs: its signals, its levels, its warning.
    pub(super) fn adopt(&mut self, rule: &Rule) {
        let place = self.rules.len();
        let mut leaves = Table::default();
        let mut nodes = BTreeSet::new();
        for level in &rule.levels {
            self.adopt_test(&level.test, place, &mut leaves, &mut nodes);
        }
        let gap_max = nodes
            .iter()
            .filter_map(|n| self.book.nodes.get(n.0 as usize))
            .map(|n| n.silent_after)
            .max();
        for node in &nodes {
            let watched = &mut self.nodes[node.0 as usize];
            if !watched.rules.contains(&place) {
                watched.rules.push(place);
            }
        }
        let levels = rule.levels.iter().map(|_| LevelState::default()).collect();
        let episode = self.episode_of(rule, place);
        let gap_max = gap_max.unwrap_or(Duration::MAX);
        self.rules.push(RuleState { levels, leaves, episode, nodes, gap_max });
    }

    fn adopt_test(
        &mut self,
        test: &Test,
        rule: usize,
        leaves: &mut Table<LeafState>,
        nodes: &mut BTreeSet<NodeIndex>,
    ) {
        match test {
            Test::Signal(leaf) => {
                nodes.insert(leaf.signal.node);
                let (sensor, signal) = self.adopt_signal(leaf.signal, rule);
                leaves.push(LeafState { sensor, signal, held: false });
            }
            Test::Silent(node, after) => {
                nodes.insert(*node);
                let silences = &mut self.nodes[node.0 as usize].silences;
                if let Err(place) = silences.binary_search(after) {
                    silences.insert(place, *after);
                }
            }
            Test::AtLeast(_, tests) => {
                for test in tests {
                    self.adopt_test(test, rule, leaves, nodes);
                }
            }
        }
    }

    /// Finds or makes a signal of a sensor. A checked rule book names only declared sensors.
    fn adopt_signal(&mut self, signal: Signal, rule: usize) -> (usize, usize) {
        let place = self.sensor_place(signal.node, signal.quantity);
        let sensor = &mut self.sensors[place];
        if !sensor.rules.contains(&rule) {
            sensor.rules.push(rule);
        }
        let found = sensor.signals.iter().position(|s| s.aggregate.function() == signal.function);
        let number = found.unwrap_or_else(|| {
            sensor.window.reach_back(signal.function.window());
            sensor
                .signals
                .push(SignalState { aggregate: Aggregate::new(signal.function), value: None });
            sensor.signals.len() - 1
        });
        (place, number)
    }

    fn sensor_place(&self, node: NodeIndex, quantity: Quantity) -> usize {
        let declared = self.book.nodes.get(node.0 as usize);
        let offset = declared.and_then(|n| n.sensors.iter().position(|s| s.quantity == quantity));
        self.nodes[node.0 as usize].first_sensor
            + offset.expect("a checked rule names declared sensors")
    }

    /// Moves the levels of a rule to where their conditions put them at event time `at`. A level is only reached by
    /// a reading that came in time (`may_raise`).
    pub(super) fn judge(
        &mut self,
        place: usize,
        at: Timestamp,
        may_raise: bool,
        effects: &mut Vec<super::Effect>,
    ) {
        let book = std::sync::Arc::clone(&self.book);
        let Some(rule) = book.rules.get(place) else { return };
        // Event times of different nodes do not compare; what they say together is timed by its arrival.
        let at = if self.rules[place].nodes.len() > 1 { self.now } else { at };
        let mut leaf = 0;
        let mut changed = false;
        for (number, level) in rule.levels.iter().enumerate() {
            let truth = self.truth(&level.test, place, &mut leaf);
            changed |= self.move_level(place, number, level, truth, at, may_raise);
        }
        if changed {
            let episode = self.rules[place].episode;
            self.follow(episode, effects);
        }
    }

    fn truth(&mut self, test: &Test, rule: usize, leaf: &mut usize) -> Truth {
        match test {
            Test::Signal(limits) => {
                let state = &mut self.rules[rule].leaves[*leaf];
                *leaf += 1;
                let Some(value) =
                    self.sensors[state.sensor].signals.get(state.signal).and_then(|s| s.value)
                else {
                    return Truth::Unknown;
                };
                if self.nodes[limits.signal.node.0 as usize].silent && !limits.while_silent {
                    return Truth::Unknown;
                }
                let held = state.held && !planted::is(Bug::HysteresisForgotten);
                state.held = limits.limit.holds(value, held);
                if state.held { Truth::Holds } else { Truth::Fails }
            }
            Test::Silent(node, after) => {
                let unheard = self.now.since(self.nodes[node.0 as usize].last_heard);
                if unheard >= *after { Truth::Holds } else { Truth::Fails }
            }
            Test::AtLeast(needed, tests) => {
                let (mut holding, mut unknown) = (0, 0);
                for test in tests {
                    match self.truth(test, rule, leaf) {
                        Truth::Holds => holding += 1,
                        Truth::Unknown => unknown += 1,
                        Truth::Fails => {}
                    }
                }
                if holding >= *needed {
                    Truth::Holds
                } else if holding + unknown >= *needed {
                    Truth::Unknown
                } else {
                    Truth::Fails
                }
            }
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
        let Some(rule) = self.book.rules.get(place) else { return Vec::new() };
        let mut leaf = rule.levels.iter().take(number).map(|level| leaves_of(&level.test)).sum();
        let Some(level) = rule.levels.get(number) else { return Vec::new() };
        let mut found = Vec::new();
        self.collect_observed(&level.test, place, &mut leaf, &mut found);
        let any_holds = found.iter().any(|(_, holds)| *holds);
        found.into_iter().filter(|(_, holds)| *holds || !any_holds).map(|(seen, _)| seen).collect()
    }

    fn collect_observed(
        &self,
        test: &Test,
        place: usize,
        leaf: &mut usize,
        found: &mut Vec<(Observed, bool)>,
    ) {
        match test {
            Test::Signal(Leaf { signal, .. }) => {
                let state = &self.rules[place].leaves[*leaf];
                *leaf += 1;
                let value =
                    self.sensors[state.sensor].signals.get(state.signal).and_then(|s| s.value);
                if let Some(value) = value
                    && found.iter().all(|(seen, _)| seen.signal != *signal)
                {
                    found.push((Observed { signal: *signal, value }, state.held));
                }
            }
            Test::Silent(..) => {}
            Test::AtLeast(_, tests) => {
                for test in tests {
                    self.collect_observed(test, place, leaf, found);
                }
            }
        }
    }
}

fn leaves_of(test: &Test) -> usize {
    match test {
        Test::Signal(_) => 1,
        Test::Silent(..) => 0,
        Test::AtLeast(_, tests) => tests.iter().map(leaves_of).sum(),
    }
}

impl RuleState {
    /// Forgets that any level was reached or about to be.
    pub(super) fn forget(&mut self) {
        self.levels.iter_mut().for_each(|level| *level = LevelState::default());
        self.leaves.iter_mut().for_each(|leaf| leaf.held = false);
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
        self.leaves.iter().for_each(|leaf| to.flag(leaf.held));
    }

    pub(super) fn restore(&mut self, from: &mut Reader<'_>) -> Result<(), SnapshotError> {
        for level in self.levels.iter_mut() {
            level.on = from.flag()?;
            level.turning_since = from.option(Reader::signed)?.map(Timestamp::from_millis);
            level.turning_seen = Timestamp::from_millis(from.signed()?);
        }
        for leaf in self.leaves.iter_mut() {
            leaf.held = from.flag()?;
        }
        Ok(())
    }
}

fn waits_for_silence(test: &Test) -> bool {
    match test {
        Test::Silent(..) => true,
        Test::Signal(_) => false,
        Test::AtLeast(_, tests) => tests.iter().any(waits_for_silence),
    }
}
