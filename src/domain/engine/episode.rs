//! Warnings: one for a hazard in an area, however many gauges see it. It follows the highest level that any rule has
//! reached, is issued anew before its last alert runs out, and ends with an all-clear.

use super::{Due, Effect, Engine};
use crate::domain::planted::{self, Bug};
use crate::domain::rule::Rule;
use crate::domain::snapshot::{Reader, SnapshotError, Writer};
use crate::domain::time::Timestamp;
use crate::domain::warning::{Alert, Level, MessageType, NoticeKind, Reason, WarningId};
use std::cmp::Reverse;
use std::time::Duration;

/// An alert is issued anew this long before it runs out, or a quarter of its validity if that is shorter.
const REISSUE_BEFORE_MAX: Duration = Duration::from_mins(30);

/// The warning of one hazard in one area.
#[derive(Clone, Debug)]
pub(super) struct Episode {
    pub hazard: String,
    pub area: String,
    /// Rules that can raise it, in [`Engine::rules`].
    pub rules: Vec<usize>,
    pub open: Option<Open>,
    /// When it was last cleared, and the highest level it had had.
    pub cleared: Option<(Timestamp, Level)>,
    /// Its entry in the list of deadlines.
    pub queued: Option<Timestamp>,
}

/// A warning that has been raised and not yet ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Open {
    pub warning: WarningId,
    pub number: u32,
    pub level: Level,
    pub level_max: Level,
    pub rule: usize,
    pub expires: Timestamp,
}

impl Open {
    fn reissue_at(&self, rule: &Rule) -> Timestamp {
        self.expires - REISSUE_BEFORE_MAX.min(rule.valid / 4)
    }
}

impl Engine {
    /// Finds or makes the warning that a rule can raise.
    pub(super) fn episode_of(&mut self, rule: &Rule, place: usize) -> usize {
        let same = |e: &Episode| e.hazard == rule.hazard && e.area == rule.area;
        let found = self.episodes.iter().position(same);
        let episode = found.unwrap_or_else(|| {
            self.episodes.push(Episode {
                hazard: rule.hazard.clone(),
                area: rule.area.clone(),
                rules: Vec::new(),
                open: None,
                cleared: None,
                queued: None,
            })
        });
        self.episodes[episode].rules.push(place);
        episode
    }

    /// Returns the warnings that are open: number, hazard, area, level, and when the last alert runs out.
    pub fn open_warnings(&self) -> impl Iterator<Item = (WarningId, &str, &str, Level, Timestamp)> {
        self.episodes.iter().filter_map(|episode| {
            let open = episode.open?;
            Some((
                open.warning,
                episode.hazard.as_str(),
                episode.area.as_str(),
                open.level,
                open.expires,
            ))
        })
    }

    /// Returns the highest level that any rule of a warning has reached, and which rule that is.
    pub(super) fn highest(&self, place: usize) -> Option<(Level, usize)> {
        let mut best: Option<(Level, usize)> = None;
        for number in &self.episodes[place].rules {
            let reached = self.reached(*number);
            if let Some(level) = reached
                && best.is_none_or(|(most, _)| level > most)
            {
                best = Some((level, *number));
            }
        }
        best
    }

    /// Returns the highest level that a rule has reached.
    fn reached(&self, place: usize) -> Option<Level> {
        let rule = self.book.rules.get(place)?;
        let states = self.rules[place].levels.iter();
        let mut on = rule.levels.iter().zip(states).filter(|(_, s)| s.on).map(|(r, _)| r.level);
        if planted::is(Bug::HighestIgnored) { on.next() } else { on.max() }
    }

    /// Makes a warning follow its rules.
    pub(super) fn follow(&mut self, place: usize, effects: &mut Vec<Effect>) {
        let highest = self.highest(place);
        let episode = &self.episodes[place];
        match (episode.open, highest) {
            (None, Some((level, rule))) => {
                if let Some(until) = self.quiet_until(place, level, rule) {
                    self.watch_episode(place, until);
                } else {
                    self.raise(place, level, rule, effects);
                }
            }
            (Some(open), Some((level, rule))) if level != open.level => {
                let reason = if level > open.level { Reason::Upgraded } else { Reason::Downgraded };
                self.update(place, open, level, rule, reason, effects);
            }
            // Another rule may see now what the one that spoke last is not heard to see any more.
            (Some(open), Some(_)) => {
                let due = self.book.rules.get(open.rule).map(|rule| open.reissue_at(rule));
                if due.is_some_and(|at| self.now >= at) {
                    self.watch_episode(place, self.now);
                }
            }
            (None, None) => {}
            (Some(open), None) => self.end(place, open, Reason::Cleared, effects),
        }
    }

    /// Returns until when a level stays quiet after the last all-clear, if it does. Danger never does.
    fn quiet_until(&self, place: usize, level: Level, rule: usize) -> Option<Timestamp> {
        let (cleared, before) = self.episodes[place].cleared?;
        let until = cleared + self.book.rules.get(rule)?.cool_down;
        let soon = self.now < until && !planted::is(Bug::CoolDownIgnored);
        (level < Level::Danger && level <= before && soon).then_some(until)
    }

    fn raise(&mut self, place: usize, level: Level, rule: usize, effects: &mut Vec<Effect>) {
        self.warnings_so_far += 1;
        let warning = WarningId(self.warnings_so_far);
        let open = Open { warning, number: 0, level, level_max: level, rule, expires: self.now };
        self.update(place, open, level, rule, Reason::Raised, effects);
    }

    /// Sends the next alert of a warning.
    fn update(
        &mut self,
        place: usize,
        before: Open,
        level: Level,
        rule: usize,
        reason: Reason,
        effects: &mut Vec<Effect>,
    ) {
        let Some(valid) = self.book.rules.get(rule).map(|rule| rule.valid) else { return };
        let open = Open {
            number: before.number + 1,
            level,
            level_max: before.level_max.max(level),
            rule,
            expires: self.now + valid,
            ..before
        };
        self.episodes[place].open = Some(open);
        let message_type = if open.number == 1 { MessageType::Alert } else { MessageType::Update };
        let alert = self.alert(place, open, message_type, reason);
        effects.push(Effect::Alert(alert));
        if let Some(rule) = self.book.rules.get(rule) {
            self.watch_episode(place, open.reissue_at(rule));
        }
    }

    /// Has a warning looked at again at `at`, or earlier.
    pub(super) fn watch_episode(&mut self, place: usize, at: Timestamp) {
        let queued = &mut self.episodes[place].queued;
        if queued.is_none_or(|queued| at < queued) {
            *queued = Some(at);
            self.deadlines.push(Reverse((at, Due::Episode(place))));
        }
    }

    /// Ends a warning with an all-clear.
    pub(super) fn end(
        &mut self,
        place: usize,
        open: Open,
        reason: Reason,
        effects: &mut Vec<Effect>,
    ) {
        let valid =
            self.book.rules.get(open.rule).map_or(Duration::from_hours(6), |rule| rule.valid);
        let last = Open { number: open.number + 1, expires: self.now + valid, ..open };
        effects.push(Effect::Alert(self.alert(place, last, MessageType::Cancel, reason)));
        self.episodes[place].open = None;
        self.episodes[place].cleared = Some((self.now, open.level_max));
    }

    fn alert(&self, place: usize, open: Open, message_type: MessageType, reason: Reason) -> Alert {
        let episode = &self.episodes[place];
        let rule = self.book.rules.get(open.rule);
        let number = rule.and_then(|rule| rule.levels.iter().position(|l| l.level == open.level));
        Alert {
            warning: open.warning,
            number: open.number,
            message_type,
            reason,
            level: open.level,
            level_max: open.level_max,
            hazard: episode.hazard.clone(),
            area: episode.area.clone(),
            rule: rule.map(|rule| rule.name.clone()).unwrap_or_default(),
            rule_version: self.book.version.clone(),
            sent: self.now,
            expires: open.expires,
            observed: number.map_or_else(Vec::new, |number| self.observed(open.rule, number)),
        }
    }

    /// A warning's moment has come: it is issued anew, or runs out, or its quiet time is over. Returns whether any of
    /// that was so.
    pub(super) fn episode_due(&mut self, place: usize, effects: &mut Vec<Effect>) -> bool {
        let Some(open) = self.episodes[place].open else {
            let before = effects.len();
            if self.highest(place).is_some() {
                self.follow(place, effects);
            }
            return effects.len() > before;
        };
        let Some(reissue_at) = self.book.rules.get(open.rule).map(|rule| open.reissue_at(rule))
        else {
            return false;
        };
        if self.now < reissue_at {
            self.watch_episode(place, reissue_at);
            return false;
        }
        if let Some(rule) = self.witness(place, open.level) {
            self.update(place, open, open.level, rule, Reason::Reissued, effects);
            return true;
        }
        if self.now < open.expires {
            self.watch_episode(place, open.expires);
            return false;
        }
        // Nobody is heard any more who sees it.
        for rule in self.episodes[place].rules.clone() {
            if !self.is_heard(rule) {
                self.rules[rule].forget();
            }
        }
        if self.highest(place).is_some() {
            self.follow(place, effects);
        } else {
            self.episodes[place].open = None;
            self.notice(None, NoticeKind::WarningExpired(open.warning), effects);
        }
        true
    }

    /// Returns the first rule of a warning that has reached `level` and is heard.
    fn witness(&self, place: usize, level: Level) -> Option<usize> {
        let heard = |rule| self.is_heard(rule) || planted::is(Bug::ReissuedUnheard);
        let sees = |rule: &usize| heard(*rule) && self.reached(*rule) == Some(level);
        self.episodes[place].rules.iter().copied().find(sees)
    }

    /// Returns whether any node that a rule looks at is heard.
    fn is_heard(&self, rule: usize) -> bool {
        self.rules[rule].nodes.iter().any(|node| !self.nodes[node.0 as usize].silent)
    }
}

impl Episode {
    pub(super) fn save(&self, to: &mut Writer) {
        to.option(self.open, |to, open| {
            to.unsigned(open.warning.0);
            to.unsigned(u64::from(open.number));
            to.unsigned(open.level as u64);
            to.unsigned(open.level_max as u64);
            to.unsigned(open.rule as u64);
            to.signed(open.expires.as_millis());
        });
        to.option(self.cleared, |to, (at, level)| {
            to.signed(at.as_millis());
            to.unsigned(level as u64);
        });
        to.option(self.queued, |to, at| to.signed(at.as_millis()));
    }

    pub(super) fn restore(
        &mut self,
        from: &mut Reader<'_>,
        rules: usize,
    ) -> Result<(), SnapshotError> {
        self.open = from.option(|from| {
            let warning = WarningId(from.unsigned()?);
            let number = u32::try_from(from.unsigned()?).map_err(|_| SnapshotError::Damaged)?;
            let (level, level_max) = (read_level(from)?, read_level(from)?);
            let rule = usize::try_from(from.unsigned()?).map_err(|_| SnapshotError::Damaged)?;
            if rule >= rules {
                return Err(SnapshotError::Damaged);
            }
            let expires = Timestamp::from_millis(from.signed()?);
            Ok(Open { warning, number, level, level_max, rule, expires })
        })?;
        self.cleared =
            from.option(|from| Ok((Timestamp::from_millis(from.signed()?), read_level(from)?)))?;
        self.queued = from.option(Reader::signed)?.map(Timestamp::from_millis);
        Ok(())
    }
}

fn read_level(from: &mut Reader<'_>) -> Result<Level, SnapshotError> {
    let number = usize::try_from(from.unsigned()?).map_err(|_| SnapshotError::Damaged)?;
    Level::ALL.get(number).copied().ok_or(SnapshotError::Damaged)
}
