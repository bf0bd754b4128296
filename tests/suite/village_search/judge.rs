//! The judge: the whole past, and the rules as `docs/configuration.md` and DESIGN tell them. Minute by minute it looks at
//! everything. It knows nothing of deadlines, running sums, trees that are kept up to date, or snapshots.

use super::past::Past;
use super::world::Frame;
use kengele::domain::rule::{Leaf, LevelRule, Limit, NodeIndex, Rule, RuleBook, Test};
use kengele::domain::time::millis;
use kengele::domain::warning::{Level, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

/// An alert: minute, area, reason, level, the rule that speaks, and when it runs out (not of an all-clear).
pub type Said = (i64, String, Reason, Level, String, Option<i64>);

/// A level of a rule, by its name: a book may change where it stands.
type LevelName = (String, Level);

#[derive(Clone, Copy, PartialEq)]
enum Truth {
    Holds,
    Fails,
    Unknown,
}

#[derive(Clone, Copy, Default)]
struct Standing {
    on: bool,
    /// Since when the condition is the opposite of `on`, and when that was seen last.
    turning: Option<(i64, i64)>,
}

#[derive(Clone)]
struct Open {
    level: Level,
    most: Level,
    rule: String,
    expires: i64,
}

#[derive(Clone, Copy)]
struct Hearing {
    heard: i64,
    silent: bool,
}

pub struct Judge {
    pub book: Arc<RuleBook>,
    pub said: Vec<Said>,
    now: i64,
    past: Past,
    hearing: BTreeMap<String, Hearing>,
    standing: BTreeMap<LevelName, Standing>,
    /// Limits that hold, and have not yet come back by their hysteresis: level, and which of its limits.
    held: BTreeSet<(LevelName, usize)>,
    open: BTreeMap<String, Open>,
    cleared: BTreeMap<String, (i64, Level)>,
}

fn whole_minutes(duration: Duration) -> i64 {
    millis(duration) / 60_000
}

impl Judge {
    pub fn new(book: &Arc<RuleBook>) -> Self {
        let hearing = |node: &kengele::domain::node::Node| {
            (node.name.0.to_string(), Hearing { heard: 0, silent: false })
        };
        Self {
            hearing: book.nodes.iter().map(hearing).collect(),
            book: Arc::clone(book),
            said: Vec::new(),
            now: 0,
            past: Past::default(),
            standing: BTreeMap::new(),
            held: BTreeSet::new(),
            open: BTreeMap::new(),
            cleared: BTreeMap::new(),
        }
    }

    /// Returns the warnings that are open: area and level.
    pub fn open(&self) -> BTreeMap<String, Level> {
        self.open.iter().map(|(area, open)| (area.clone(), open.level)).collect()
    }

    fn name(&self, node: NodeIndex) -> String {
        self.book.nodes[node.0 as usize].name.0.to_string()
    }

    /// Lets time pass, minute by minute.
    pub fn live_until(&mut self, minute: i64) {
        while self.now < minute {
            self.now += 1;
            self.look_for_silence(true, |unheard, silences| silences.contains(&unheard));
            self.look_at_warnings();
        }
    }

    /// Hears a frame.
    pub fn hear(&mut self, frame: &Frame) {
        if frame.again {
            return;
        }
        let name = format!("n{}", frame.node);
        for told in &frame.told {
            self.past.hear(&name, told, self.now);
            self.hearing.insert(name.clone(), Hearing { heard: self.now, silent: false });
            let book = Arc::clone(&self.book);
            for rule in &book.rules {
                if !self.looks_at(rule, &name, told.quantity) {
                    continue;
                }
                let at = self.time_of(rule);
                self.weigh(rule, at, told.may_raise);
            }
            self.follow_all();
        }
        self.look_at_warnings();
    }

    /// The gateway was away: nobody is blamed for that time.
    pub fn resume(&mut self, minute: i64) {
        let down = minute - self.now;
        self.now = minute;
        self.hearing.values_mut().for_each(|h| h.heard += down);
        // No silence is new, and an old one has had its say.
        self.look_for_silence(false, |unheard, silences| silences.iter().any(|s| *s <= unheard));
        self.look_at_warnings();
    }

    /// Another book is in force.
    pub fn reload(&mut self, book: &Arc<RuleBook>) {
        let old = std::mem::replace(&mut self.book, Arc::clone(book));
        for node in &book.nodes {
            let hearing = self.hearing.get_mut(&*node.name.0).unwrap();
            hearing.silent &= self.now - hearing.heard >= whole_minutes(node.silent_after);
        }
        let before = std::mem::take(&mut self.standing);
        let held = std::mem::take(&mut self.held);
        for rule in &book.rules {
            for level in &rule.levels {
                let name = (rule.name.clone(), level.level);
                if let Some(standing) = before.get(&name) {
                    self.standing.insert(name.clone(), *standing);
                }
                let was = old.rules.iter().find(|r| r.name == rule.name);
                let was = was.and_then(|r| r.levels.iter().find(|l| l.level == level.level));
                for (number, leaf) in level.test.leaves().enumerate() {
                    let same = |(_, other): &(usize, &Leaf)| {
                        old.words(other.signal) == book.words(leaf.signal)
                            && discriminant(&other.limit) == discriminant(&leaf.limit)
                    };
                    let known = was.iter().flat_map(|l| l.test.leaves().enumerate()).filter(same);
                    if known.into_iter().any(|(n, _)| held.contains(&(name.clone(), n))) {
                        self.held.insert((name.clone(), number));
                    }
                }
            }
        }
        for (area, open) in std::mem::take(&mut self.open) {
            let speaker = self.highest(&area).map(|(_, rule)| rule.name.clone());
            let first = book.rules.iter().find(|rule| rule.area == area).map(|r| r.name.clone());
            if let Some(rule) = speaker.or(first) {
                self.open.insert(area, Open { rule, ..open });
            } else {
                self.said.push((self.now, area, Reason::Withdrawn, open.level, open.rule, None));
            }
        }
        self.cleared.retain(|area, _| book.rules.iter().any(|rule| rule.area == *area));
        self.follow_all();
        self.look_for_silence(true, |unheard, silences| silences.iter().any(|s| *s <= unheard));
        self.look_at_warnings();
    }

    /// Judges the rules that look at a node which is unheard for one of the times that matter.
    fn look_for_silence(&mut self, may_raise: bool, matters: impl Fn(i64, &[i64]) -> bool) {
        let book = self.book.clone();
        let mut reached = Vec::new();
        for (index, node) in (0..).zip(&book.nodes) {
            let mut silences = vec![whole_minutes(node.silent_after)];
            let tests =
                book.rules.iter().flat_map(|r| &r.levels).flat_map(|l| silences_of(&l.test));
            silences.extend(tests.filter(|(n, _)| *n == NodeIndex(index)).map(|(_, after)| after));
            let hearing = self.hearing.get_mut(&*node.name.0).unwrap();
            let unheard = self.now - hearing.heard;
            if matters(unheard, &silences) {
                hearing.silent |= unheard >= silences[0];
                reached.push((NodeIndex(index), node));
            }
        }
        for (index, node) in reached {
            for rule in book.rules.iter().filter(|r| nodes_of(r).contains(&index)) {
                let at = if nodes_of(rule).len() > 1 {
                    self.now
                } else {
                    self.past.node_time(&node.name.0, self.now)
                };
                self.weigh(rule, at, may_raise);
            }
        }
        self.follow_all();
    }

    /// Whether a rule is judged when this is heard: it looks at it, or at whether its node is silent.
    fn looks_at(
        &self,
        rule: &Rule,
        node: &str,
        quantity: kengele::domain::quantity::Quantity,
    ) -> bool {
        rule.levels.iter().any(|level| {
            level
                .test
                .leaves()
                .any(|leaf| leaf.signal.quantity == quantity && self.name(leaf.signal.node) == node)
                || silences_of(&level.test).iter().any(|(silent, _)| self.name(*silent) == node)
        })
    }

    /// The time of what a rule looks at: that of its newest reading, where all are of one node; else that of arrival.
    fn time_of(&self, rule: &Rule) -> i64 {
        let nodes = nodes_of(rule);
        if nodes.len() > 1 {
            return self.now;
        }
        let node = self.name(*nodes.first().unwrap());
        let newest = self.past.newest(&node, |quantity| self.looks_at(rule, &node, quantity));
        newest.unwrap()
    }

    fn weigh(&mut self, rule: &Rule, at: i64, may_raise: bool) {
        let patience =
            nodes_of(rule).into_iter().map(|n| self.book.nodes[n.0 as usize].silent_after);
        let patience = whole_minutes(patience.max().unwrap());
        for level in &rule.levels {
            let name = (rule.name.clone(), level.level);
            let truth = self.truth(&level.test, &name, &mut 0);
            let mut standing = self.standing.get(&name).copied().unwrap_or_default();
            match truth {
                Truth::Unknown => continue,
                Truth::Holds | Truth::Fails if (truth == Truth::Holds) == standing.on => {
                    standing.turning = None;
                }
                Truth::Holds | Truth::Fails => {
                    let goes_on = standing.turning.filter(|(_, seen)| at - seen <= patience);
                    let since = goes_on.map_or(at, |(since, _)| since);
                    standing.turning = Some((since, at));
                    let long_enough = (at - since).max(0) >= hold_of(level, standing.on);
                    if long_enough && (standing.on || may_raise) {
                        standing = Standing { on: !standing.on, turning: None };
                    }
                }
            }
            self.standing.insert(name, standing);
        }
    }

    /// Returns whether a condition holds; `number` counts its limits.
    fn truth(&mut self, test: &Test, name: &LevelName, number: &mut usize) -> Truth {
        match test {
            Test::Silent(node, after) => {
                let unheard = self.now - self.hearing[&self.name(*node)].heard;
                if unheard >= whole_minutes(*after) { Truth::Holds } else { Truth::Fails }
            }
            Test::Signal(leaf) => {
                *number += 1;
                self.limit(leaf, &(name.clone(), *number - 1))
            }
            Test::AtLeast(needed, tests) => {
                let truths: Vec<Truth> =
                    tests.iter().map(|test| self.truth(test, name, number)).collect();
                let count = |truth| truths.iter().filter(|t| **t == truth).count();
                if count(Truth::Holds) >= *needed {
                    Truth::Holds
                } else if tests.len() - count(Truth::Fails) >= *needed {
                    Truth::Unknown
                } else {
                    Truth::Fails
                }
            }
        }
    }

    fn limit(&mut self, leaf: &Leaf, key: &(LevelName, usize)) -> Truth {
        let node = self.name(leaf.signal.node);
        let value = self.past.value(&node, leaf.signal.quantity, leaf.signal.function);
        let Some(value) = value else { return Truth::Unknown };
        if self.hearing[&node].silent && !leaf.while_silent {
            return Truth::Unknown;
        }
        let held = self.held.contains(key);
        let begins = match leaf.limit {
            Limit::Above { enter, .. } => value >= enter,
            Limit::Below { enter, .. } => value <= enter,
            Limit::Outside { low, high, .. } => value < low || value > high,
            Limit::Inside { low, high, .. } => value >= low && value <= high,
        };
        let is_back = match leaf.limit {
            Limit::Above { exit, .. } => value < exit,
            Limit::Below { exit, .. } => value > exit,
            Limit::Outside { low, high, margin } => value >= low + margin && value <= high - margin,
            Limit::Inside { low, high, margin } => value < low - margin || value > high + margin,
        };
        if begins || held && !is_back {
            self.held.insert(key.clone());
            Truth::Holds
        } else {
            self.held.remove(key);
            Truth::Fails
        }
    }

    /// Returns the highest level that a rule of the area has reached, and which rule: the first, where several have.
    fn highest(&self, area: &str) -> Option<(Level, &Rule)> {
        let rules = self.book.rules.iter().filter(|rule| rule.area == area);
        let reached = rules.filter_map(|rule| Some((self.reached(rule)?, rule)));
        reached.reduce(|best, next| if next.0 > best.0 { next } else { best })
    }

    fn reached(&self, rule: &Rule) -> Option<Level> {
        let on = |level: &Level| {
            self.standing.get(&(rule.name.clone(), *level)).is_some_and(|standing| standing.on)
        };
        rule.levels.iter().map(|level| level.level).filter(on).max()
    }

    fn follow_all(&mut self) {
        let areas: BTreeSet<String> =
            self.book.rules.iter().map(|rule| rule.area.clone()).collect();
        for area in areas {
            let highest = self.highest(&area).map(|(level, rule)| (level, rule.clone()));
            match (self.open.get(&area).cloned(), highest) {
                (None, Some((level, rule))) if !self.is_quiet(&area, level, &rule) => {
                    self.tell(&area, Reason::Raised, level, &rule);
                }
                (Some(open), Some((level, rule))) if level > open.level => {
                    self.tell(&area, Reason::Upgraded, level, &rule);
                }
                (Some(open), Some((level, rule))) if level < open.level => {
                    self.tell(&area, Reason::Downgraded, level, &rule);
                }
                (Some(open), None) => {
                    self.said.push((
                        self.now,
                        area.clone(),
                        Reason::Cleared,
                        open.level,
                        open.rule,
                        None,
                    ));
                    self.open.remove(&area);
                    self.cleared.insert(area, (self.now, open.most));
                }
                (_, _) => {}
            }
        }
    }

    /// Whether a level stays quiet so soon after an all-clear.
    fn is_quiet(&self, area: &str, level: Level, rule: &Rule) -> bool {
        self.cleared.get(area).is_some_and(|(at, most)| {
            let soon = self.now < at + whole_minutes(rule.cool_down);
            soon && level <= *most && level != Level::Danger
        })
    }

    fn tell(&mut self, area: &str, reason: Reason, level: Level, rule: &Rule) {
        let expires = self.now + whole_minutes(rule.valid);
        let most = self.open.get(area).map_or(level, |open| open.most.max(level));
        let (area, rule) = (area.to_owned(), rule.name.clone());
        self.said.push((self.now, area.clone(), reason, level, rule.clone(), Some(expires)));
        self.open.insert(area, Open { level, most, rule, expires });
    }

    /// What is open is issued anew before it runs out while somebody is heard who sees it; else it runs out.
    fn look_at_warnings(&mut self) {
        self.follow_all();
        for (area, open) in self.open.clone() {
            let valid = self.book.rules.iter().find(|r| r.name == open.rule).unwrap().valid;
            if self.now < open.expires - whole_minutes(valid / 4).min(30) {
                continue;
            }
            let of_area: Vec<Rule> =
                self.book.rules.iter().filter(|rule| rule.area == area).cloned().collect();
            let sees = |r: &&Rule| self.is_heard(r) && self.reached(r) == Some(open.level);
            if let Some(rule) = of_area.iter().find(sees) {
                self.tell(&area, Reason::Reissued, open.level, rule);
            } else if self.now >= open.expires {
                for rule in of_area.iter().filter(|rule| !self.is_heard(rule)).collect::<Vec<_>>() {
                    self.standing.retain(|(name, _), _| *name != rule.name);
                    self.held.retain(|((name, _), _)| *name != rule.name);
                }
                if self.highest(&area).is_none() {
                    self.open.remove(&area);
                }
                self.follow_all();
            }
        }
    }

    fn is_heard(&self, rule: &Rule) -> bool {
        nodes_of(rule).iter().any(|node| !self.hearing[&self.name(*node)].silent)
    }
}

/// How long a condition must last. One that asks for a silence has waited already.
fn hold_of(level: &LevelRule, on: bool) -> i64 {
    if on {
        whole_minutes(level.clear_hold)
    } else if silences_of(&level.test).is_empty() {
        whole_minutes(level.hold)
    } else {
        0
    }
}

fn silences_of(test: &Test) -> Vec<(NodeIndex, i64)> {
    match test {
        Test::Signal(_) => Vec::new(),
        Test::Silent(node, after) => vec![(*node, whole_minutes(*after))],
        Test::AtLeast(_, tests) => tests.iter().flat_map(silences_of).collect(),
    }
}

fn nodes_of(rule: &Rule) -> BTreeSet<NodeIndex> {
    let leaves = rule.levels.iter().flat_map(|l| l.test.leaves()).map(|leaf| leaf.signal.node);
    let silent = rule.levels.iter().flat_map(|l| silences_of(&l.test)).map(|(node, _)| node);
    leaves.chain(silent).collect()
}
