//! The engine's state as bytes, and its way from one rule book to the next.

use super::{Due, Effect, Engine, NodeState};
use crate::domain::placement::NodeClock;
use crate::domain::planted::{self, Bug};
use crate::domain::quality::Control;
use crate::domain::quantity::Quantity;
use crate::domain::reading::Quality;
use crate::domain::rule::{Leaf, NodeIndex, RuleBook};
use crate::domain::snapshot::{Reader, SnapshotError, Writer};
use crate::domain::time::Timestamp;
use crate::domain::warning::{NoticeKind, Reason, WarningId};
use crate::domain::window::Window;
use std::cmp::Reverse;
use std::mem::discriminant;
use std::sync::Arc;

/// Counts up with every change of the form below.
const FORMAT: u64 = 1;

impl Engine {
    /// Returns the whole state as bytes. [`Engine::restore`] with the same rule book gives an engine that goes on
    /// exactly as this one does.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.unsigned(FORMAT);
        to.text(&self.book.version);
        to.signed(self.now.as_millis());
        to.unsigned(self.warnings_so_far);
        for node in self.nodes.iter() {
            node.clock.save(&mut to);
            to.signed(node.last_heard.as_millis());
            to.flag(node.silent);
            to.option(node.queued, |to, at| to.signed(at.as_millis()));
        }
        for sensor in self.sensors.iter() {
            sensor.control.save(&mut to);
            sensor.window.save(&mut to);
        }
        self.rules.iter().for_each(|rule| rule.save(&mut to));
        self.episodes.iter().for_each(|episode| episode.save(&mut to));
        to.count(self.told.len());
        for ((node, kind), at) in &self.told {
            to.option(*node, |to, node| to.unsigned(u64::from(node.0)));
            save_kind(*kind, &mut to);
            to.signed(at.as_millis());
        }
        to.finish()
    }

    /// Makes an engine from what [`Engine::save`] returned.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Foreign`] when it was saved under another rule book, and the other variants when the bytes are damaged.
    pub fn restore(book: &Arc<RuleBook>, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut from = Reader::new(bytes);
        if from.unsigned()? != FORMAT || from.text()? != book.version {
            return Err(SnapshotError::Foreign);
        }
        let now = Timestamp::from_millis(from.signed()?);
        let mut engine = Self::new(book, now);
        engine.deadlines.clear();
        engine.warnings_so_far = from.unsigned()?;
        for node in engine.nodes.iter_mut() {
            node.clock = NodeClock::restore(&mut from)?;
            node.last_heard = Timestamp::from_millis(from.signed()?);
            node.silent = from.flag()?;
            node.queued = from.option(Reader::signed)?.map(Timestamp::from_millis);
        }
        for sensor in engine.sensors.iter_mut() {
            sensor.control = Control::restore(&mut from)?;
            sensor.window = Window::restore(sensor.window.reach(), &mut from)?;
            sensor.bring_up_to_date(false);
        }
        for rule in engine.rules.iter_mut() {
            rule.restore(&mut from)?;
        }
        let rules = engine.rules.len();
        for episode in engine.episodes.iter_mut() {
            episode.restore(&mut from, rules)?;
        }
        for _ in 0..from.count()? {
            let node = from.option(Reader::unsigned)?;
            let node = node.map(u32::try_from).transpose().map_err(|_| SnapshotError::Damaged)?;
            let kind = restore_kind(&mut from)?;
            engine.told.insert((node.map(NodeIndex), kind), Timestamp::from_millis(from.signed()?));
        }
        from.end()?;
        let nodes = engine.nodes.iter().map(|node| node.queued).enumerate();
        let episodes = engine.episodes.iter().map(|episode| episode.queued).enumerate();
        engine.deadlines = nodes
            .map(|(place, at)| (at, Due::Node(place)))
            .chain(episodes.map(|(place, at)| (at, Due::Episode(place))))
            .filter_map(|(at, due)| Some(Reverse((at?, due))))
            .collect();
        Ok(engine)
    }

    /// Returns the number of the warning that was raised last, by this engine or before it.
    #[must_use]
    pub const fn last_warning(&self) -> WarningId {
        WarningId(self.warnings_so_far)
    }

    /// Numbers the warnings that follow above `last`, which somebody may know already: people by their texts, sirens, a hub.
    pub fn number_above(&mut self, last: WarningId) {
        self.warnings_so_far = self.warnings_so_far.max(last.0);
    }

    /// Fills the list of deadlines under a new rule book. Entries may be early, so that one now for every node and warning
    /// will do; and a node may already be unheard for a time that matters from now on.
    fn queue_everything(&mut self) {
        for place in 0..self.nodes.len() {
            self.watch_node(place, self.now);
        }
        for place in 0..self.episodes.len() {
            self.watch_episode(place, self.now);
        }
    }

    /// Puts another rule book in force, at `now`. What has been heard stays; levels and warnings of rules that still
    /// exist go on; a warning that no rule can raise any more is withdrawn.
    pub fn reload(&mut self, book: &Arc<RuleBook>, now: Timestamp, effects: &mut Vec<Effect>) {
        self.live_until(now.max(self.now), effects);
        let mut old = std::mem::replace(self, Self::new(book, now.max(self.now)));
        self.warnings_so_far = old.warnings_so_far;
        self.deadlines.clear();
        self.nodes.iter_mut().for_each(|node| node.queued = None);
        let new_book = Arc::clone(&self.book);
        for (place, node) in new_book.nodes.iter().enumerate() {
            let Some(before) = old.book.nodes.iter().position(|n| n.name == node.name) else {
                continue;
            };
            let from = &mut old.nodes[before];
            let first_before = from.first_sensor;
            let state: &mut NodeState = &mut self.nodes[place];
            state.clock = std::mem::take(&mut from.clock);
            state.last_heard = from.last_heard;
            state.silent = from.silent && self.now.since(from.last_heard) >= node.silent_after;
            let first = state.first_sensor;
            for (offset, sensor) in node.sensors.iter().enumerate() {
                let known = old.book.nodes.get(before).map_or(&[][..], |n| &n.sensors);
                let Some(same) = known.iter().position(|s| s.quantity == sensor.quantity) else {
                    continue;
                };
                let (to, from) =
                    (&mut self.sensors[first + offset], &mut old.sensors[first_before + same]);
                to.control = std::mem::take(&mut from.control);
                to.window = std::mem::take(&mut from.window).with_reach(to.window.reach());
                to.bring_up_to_date(false);
            }
        }
        self.take_over_rules(&old);
        self.take_over_episodes(&mut old, effects);
        self.told = std::mem::take(&mut old.told);
        self.told.retain(|(node, _), _| node.is_none());
        self.queue_everything();
    }

    fn take_over_rules(&mut self, old: &Self) {
        let new_book = Arc::clone(&self.book);
        for (place, rule) in new_book.rules.iter().enumerate() {
            let Some(before) = old.book.rules.iter().position(|r| r.name == rule.name) else {
                continue;
            };
            let known = old.book.rules.get(before).map_or(&[][..], |r| &r.levels);
            for (number, level) in rule.levels.iter().enumerate() {
                let Some(same) = known.iter().position(|l| l.level == level.level) else {
                    continue;
                };
                let from = &old.rules[before];
                self.rules[place].take_over(number, from.levels[same]);
                let Some(known) = known.get(same) else { continue };
                // A limit goes on if it is of the same signal and kind, so that hysteresis outlives the reload.
                let held: Vec<&Leaf> = known
                    .test
                    .leaves()
                    .zip(from.conditions.signals(same))
                    .filter_map(|(leaf, (_, held))| held.then_some(leaf))
                    .collect();
                let same_limit = |a: &Leaf, b: &Leaf| {
                    old.book.is_same(a.signal, b.signal, &new_book)
                        && discriminant(&a.limit) == discriminant(&b.limit)
                };
                let known = !planted::is(Bug::HysteresisForgottenAtReload);
                let goes_on =
                    level.test.leaves().map(|l| known && held.iter().any(|h| same_limit(h, l)));
                self.rules[place].conditions.take_over(number, goes_on);
            }
        }
    }

    fn take_over_episodes(&mut self, old: &mut Self, effects: &mut Vec<Effect>) {
        old.now = self.now;
        for before in 0..old.episodes.len() {
            let (hazard, area) =
                (old.episodes[before].hazard.clone(), old.episodes[before].area.clone());
            let same = self.episodes.iter().position(|e| e.hazard == hazard && e.area == area);
            let open = old.episodes[before].open;
            if let Some(place) = same {
                self.episodes[place].cleared = old.episodes[before].cleared;
                let rule = self.highest_rule(place);
                self.episodes[place].open = open.map(|open| super::episode::Open { rule, ..open });
                self.follow(place, effects);
            } else if let Some(open) = open {
                old.end(before, open, Reason::Withdrawn, effects);
            }
        }
    }

    /// Returns the rule that speaks for a warning: the one that has reached most, else the first.
    fn highest_rule(&self, place: usize) -> usize {
        let first = self.episodes[place].rules.first().copied().unwrap_or(0);
        self.highest(place).map_or(first, |(_, rule)| rule)
    }
}

fn save_kind(kind: NoticeKind, to: &mut Writer) {
    match kind {
        NoticeKind::Silent => to.unsigned(0),
        NoticeKind::HeardAgain => to.unsigned(1),
        NoticeKind::Suspect(quantity, quality) => {
            to.unsigned(2);
            to.text(quantity.name());
            to.unsigned(u64::from(quality.code()));
        }
        NoticeKind::ClockStepped => to.unsigned(3),
        NoticeKind::WarningExpired(warning) => {
            to.unsigned(4);
            to.unsigned(warning.0);
        }
    }
}

fn restore_kind(from: &mut Reader<'_>) -> Result<NoticeKind, SnapshotError> {
    Ok(match from.unsigned()? {
        0 => NoticeKind::Silent,
        1 => NoticeKind::HeardAgain,
        2 => {
            let quantity = Quantity::from_name(&from.text()?).ok_or(SnapshotError::Damaged)?;
            let code = u8::try_from(from.unsigned()?).map_err(|_| SnapshotError::Damaged)?;
            NoticeKind::Suspect(quantity, Quality::from_code(code).ok_or(SnapshotError::Damaged)?)
        }
        3 => NoticeKind::ClockStepped,
        4 => NoticeKind::WarningExpired(WarningId(from.unsigned()?)),
        5.. => return Err(SnapshotError::Damaged),
    })
}
