//! The conditions of a rule, as trees whose truth is kept: what a reading changes is looked at anew, and what follows from
//! that, so that a reading costs the same in a rule over ten nodes as in one over ten thousand.

use super::{NodeState, SensorState};
use crate::domain::planted::{self, Bug};
use crate::domain::rule::{Limit, NodeIndex};
use crate::domain::snapshot::{Reader, SnapshotError, Writer};
use crate::domain::table::Table;
use crate::domain::time::Timestamp;
use std::ops::Range;
use std::time::Duration;

/// What is known of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Holds,
    Fails,
    /// Too little has been heard to say.
    Unknown,
}

/// The conditions of a rule's levels.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    /// Every test of every level in the order in which they are written: what joins tests stands before them.
    tests: Table<TestState>,
    /// The whole condition of each level, in `tests`.
    levels: Vec<usize>,
    /// The limits of all signals; neighbours that have the same share one.
    limits: Vec<Limit>,
    /// Tests whose signal or silence has changed since they were looked at.
    changed: Vec<u32>,
    /// Every test may have changed.
    all_changed: bool,
}

#[derive(Clone, Debug)]
struct TestState {
    /// The test that joins it with others.
    above: Option<u32>,
    truth: Truth,
    /// It stands in the list of those that have changed.
    is_listed: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Signal { place: SignalPlace, limit: u32, while_silent: bool, held: bool },
    Silent { node: u32, after: Duration },
    AtLeast { needed: u32, holding: u32, unknown: u32 },
}

/// Where the value of a signal stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignalPlace {
    pub node: u32,
    pub sensor: u32,
    pub signal: u32,
}

/// What conditions are about.
pub(super) struct Facts<'a> {
    pub sensors: &'a Table<SensorState>,
    pub nodes: &'a Table<NodeState>,
    pub now: Timestamp,
}

impl Facts<'_> {
    /// Returns the value of a signal; `None` when too little has been heard.
    pub(super) fn value(&self, place: SignalPlace) -> Option<f64> {
        self.sensors[place.sensor as usize].signals.get(place.signal as usize)?.value
    }
}

impl Conditions {
    /// Begins the condition of the next level.
    pub(super) fn begin_level(&mut self) {
        self.levels.push(self.tests.len());
        self.all_changed = true;
    }

    /// Adds a signal against a limit, below `above`. Returns its number.
    pub(super) fn add_signal(
        &mut self,
        above: Option<u32>,
        place: SignalPlace,
        limit: Limit,
        while_silent: bool,
    ) -> u32 {
        if self.limits.last() != Some(&limit) {
            self.limits.push(limit);
        }
        let limit = number(self.limits.len() - 1);
        self.add(above, Kind::Signal { place, limit, while_silent, held: false })
    }

    /// Adds the silence of a node.
    pub(super) fn add_silent(
        &mut self,
        above: Option<u32>,
        node: NodeIndex,
        after: Duration,
    ) -> u32 {
        self.add(above, Kind::Silent { node: node.0, after })
    }

    /// Adds what joins the tests that are added below it.
    pub(super) fn add_at_least(&mut self, above: Option<u32>, needed: usize) -> u32 {
        self.add(above, Kind::AtLeast { needed: number(needed), holding: 0, unknown: 0 })
    }

    fn add(&mut self, above: Option<u32>, kind: Kind) -> u32 {
        number(self.tests.push(TestState { above, truth: Truth::Unknown, is_listed: false, kind }))
    }

    /// Ends the list of tests.
    pub(super) fn end(&mut self) {
        self.tests.shrink_to_fit();
    }

    /// Returns whether the condition of a level holds.
    pub(super) fn truth(&self, level: usize) -> Truth {
        self.levels.get(level).map_or(Truth::Unknown, |root| self.tests[*root].truth)
    }

    /// Takes note that the signal or the silence of a test may have changed.
    pub(super) fn note_change(&mut self, test: u32) {
        let state = &mut self.tests[test as usize];
        if !std::mem::replace(&mut state.is_listed, true) {
            self.changed.push(test);
        }
    }

    /// Looks anew at every test that may have changed.
    pub(super) fn bring_up_to_date(&mut self, facts: &Facts<'_>) {
        let mut changed = std::mem::take(&mut self.changed);
        let all_changed = std::mem::take(&mut self.all_changed);
        for test in changed.drain(..) {
            self.tests[test as usize].is_listed = false;
            if !all_changed {
                self.look_at(test as usize, facts);
            }
        }
        self.changed = changed;
        if all_changed {
            self.look_at_all(facts);
        }
    }

    fn look_at_all(&mut self, facts: &Facts<'_>) {
        for test in self.tests.iter_mut() {
            test.truth = Truth::Fails;
            if let Kind::AtLeast { holding, unknown, .. } = &mut test.kind {
                (*holding, *unknown) = (0, 0);
            }
        }
        // Backwards: what is joined comes before what joins it.
        for place in (0..self.tests.len()).rev() {
            self.look_at(place, facts);
        }
    }

    /// Finds the truth of a test, and of those above it as far as it changes.
    fn look_at(&mut self, place: usize, facts: &Facts<'_>) {
        let mut next = Some(place);
        while let Some(place) = next {
            let test = &mut self.tests[place];
            let was = test.truth;
            test.truth = test.kind.truth(&self.limits, facts);
            let (is, above) = (test.truth, test.above.map(|above| above as usize));
            if is == was {
                return;
            }
            if let Some(above) = above
                && let Kind::AtLeast { holding, unknown, .. } = &mut self.tests[above].kind
            {
                *holding -= u32::from(was == Truth::Holds);
                *unknown -= u32::from(was == Truth::Unknown);
                *holding += u32::from(is == Truth::Holds);
                *unknown += u32::from(is == Truth::Unknown);
            }
            next = above;
        }
    }

    /// Returns the signals of a level in order, each with whether its limit holds.
    pub(super) fn signals(&self, level: usize) -> impl Iterator<Item = (SignalPlace, bool)> {
        self.range(level).filter_map(|place| match self.tests[place].kind {
            Kind::Signal { place, held, .. } => Some((place, held)),
            Kind::Silent { .. } | Kind::AtLeast { .. } => None,
        })
    }

    fn range(&self, level: usize) -> Range<usize> {
        let begin = |level: usize| self.levels.get(level).copied().unwrap_or(self.tests.len());
        begin(level)..begin(level + 1)
    }

    /// Takes over which limits of a level held under an earlier rule book, in the order of its signals.
    pub(super) fn take_over(&mut self, level: usize, all_held: impl Iterator<Item = bool>) {
        let mut all_held = all_held;
        for place in self.range(level) {
            if let Kind::Signal { held, .. } = &mut self.tests[place].kind {
                *held = all_held.next().unwrap_or(false);
            }
        }
    }

    /// Forgets which limits held before.
    pub(super) fn forget(&mut self) {
        self.held_mut().for_each(|held| *held = false);
        self.all_changed = true;
    }

    /// Takes note that every test may have changed.
    pub(super) fn note_change_of_all(&mut self) {
        self.all_changed = true;
    }

    fn held_mut(&mut self) -> impl Iterator<Item = &mut bool> {
        self.tests.iter_mut().filter_map(|test| match &mut test.kind {
            Kind::Signal { held, .. } => Some(held),
            Kind::Silent { .. } | Kind::AtLeast { .. } => None,
        })
    }

    pub(super) fn save(&self, to: &mut Writer) {
        for test in self.tests.iter() {
            if let Kind::Signal { held, .. } = test.kind {
                to.flag(held);
            }
        }
    }

    pub(super) fn restore(&mut self, from: &mut Reader<'_>) -> Result<(), SnapshotError> {
        self.all_changed = true;
        self.held_mut().try_for_each(|held| {
            *held = from.flag()?;
            Ok(())
        })
    }
}

impl Kind {
    fn truth(&mut self, limits: &[Limit], facts: &Facts<'_>) -> Truth {
        match self {
            Self::Signal { place, limit, while_silent, held } => {
                let Some(value) = facts.value(*place) else { return Truth::Unknown };
                let counts = *while_silent || planted::is(Bug::SilentCounted);
                if facts.nodes[place.node as usize].silent && !counts {
                    return Truth::Unknown;
                }
                let Some(limit) = limits.get(*limit as usize) else { return Truth::Unknown };
                *held = limit.holds(value, *held && !planted::is(Bug::HysteresisForgotten));
                if *held { Truth::Holds } else { Truth::Fails }
            }
            Self::Silent { node, after } => {
                let unheard = facts.now.since(facts.nodes[*node as usize].last_heard);
                if unheard >= *after { Truth::Holds } else { Truth::Fails }
            }
            Self::AtLeast { needed, holding, unknown } => {
                if *holding >= *needed {
                    Truth::Holds
                } else if *holding + *unknown >= *needed && !planted::is(Bug::UnknownFails) {
                    Truth::Unknown
                } else {
                    Truth::Fails
                }
            }
        }
    }
}

/// Returns a place as the number under which it is kept: a rule book has fewer tests than that.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
