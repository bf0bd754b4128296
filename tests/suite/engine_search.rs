//! The engine under a seeded random gauge, with a naive judge who keeps every reading and looks at all of them each time.
//!
//! Each seed draws a rule of one to three levels over values and windows, with holds and hysteresis, and a stream of
//! readings with gaps, repetitions, readings out of range, restarts and idle wake-ups. The judge knows nothing of rings,
//! running sums, deadlines or snapshots. A failure names its seed and the command that tells its story.

use crate::dice::Dice;
use crate::village_search::past::of_window;
use kengele::domain::engine::{Effect, Engine, Input};
use kengele::domain::node::{Node, Sensor};
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::{Measurement, NodeName, Stamp};
use kengele::domain::recipient::Role;
use kengele::domain::rule::{
    Function, Leaf, LevelRule, Limit, NodeIndex, Rule, RuleBook, Signal, Test,
};
use kengele::domain::time::Timestamp;
use kengele::domain::warning::{Certainty, Level, Reason};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Seeds that every run of the tests lives through; `KENGELE_SEEDS` asks for more.
const SEEDS: u64 = 3000;
/// Seeds within which each planted bug must be caught.
#[cfg(feature = "planted")]
const SEEDS_TO_CATCH: u64 = 1000;
const READINGS: u64 = 200;
const SILENT_AFTER_MIN: i64 = 30;
/// Highest value that the gauge can truly report.
const TOP: f64 = 8.0;
/// The gauge's own clock is wrong by this.
const CLOCK_OFF_MS: i64 = 123_456_789_000;

fn minutes(count: u64) -> Duration {
    Duration::from_mins(count)
}

/// A decision: at which minute, why, and to which level.
type Decision = (i64, Reason, Level);

#[derive(Clone, Copy)]
struct Reading {
    minute: i64,
    value: f64,
}

/// What a seed draws.
struct World {
    book: Arc<RuleBook>,
    dice: Dice,
}

impl World {
    fn seeded(seed: u64) -> Self {
        let mut dice = Dice::seeded(seed);
        let mut levels = vec![Level::Advisory, Level::Warning, Level::Danger];
        while levels.len() > 1 && dice.chance(400) {
            levels.remove(dice.index(levels.len()));
        }
        let levels = levels.into_iter().map(|level| draw_level(level, &mut dice)).collect();
        let sensor = Sensor {
            quantity: Quantity::WaterLevel,
            range: (0.0, TOP),
            step: None,
            spike: None,
            stuck_after: None,
            counter: None,
            decimals: 2,
        };
        let node = Node {
            name: NodeName("gauge".into()),
            heard_as: Box::default(),
            place: "Bridge".into(),
            interval: minutes(5),
            silent_after: minutes(SILENT_AFTER_MIN.unsigned_abs()),
            late_after: minutes(20),
            sensors: vec![sensor],
        };
        let rule = Rule {
            name: "river".into(),
            hazard: "flood".into(),
            area: "valley".into(),
            levels,
            // Nothing runs out here: what is said again in time is another test's business.
            valid: Duration::from_hours(10_000),
            cool_down: Duration::ZERO,
            all_clear: BTreeMap::new(),
            certainty: Certainty::Observed,
        };
        let book = RuleBook { version: "v".into(), nodes: vec![node], rules: vec![rule] };
        Self { book: Arc::new(book), dice }
    }
}

fn draw_level(level: Level, dice: &mut Dice) -> LevelRule {
    let window = minutes(dice.between(2, 12) * 5);
    let quarter =
        |dice: &mut Dice, low: u64, high: u64| dice.between(low * 4, high * 4) as f64 / 4.0;
    let (function, enter) = match dice.below(8) {
        0 | 1 => (Function::Last, quarter(dice, 2, 6)),
        2 => (Function::Min(window), quarter(dice, 1, 5)),
        3 => (Function::Max(window), quarter(dice, 3, 7)),
        4 => (Function::Mean(window), quarter(dice, 2, 5)),
        5 => (Function::Sum(window), quarter(dice, 5, 40)),
        6 => (Function::Count(window), quarter(dice, 2, 9)),
        _ => (Function::Change(window), quarter(dice, 0, 3)),
    };
    let exit = enter - dice.below(5) as f64 / 4.0;
    let signal = Signal { node: NodeIndex(0), quantity: Quantity::WaterLevel, function };
    LevelRule {
        level,
        test: Test::Signal(Leaf {
            signal,
            limit: Limit::Above { enter, exit },
            while_silent: false,
        }),
        hold: minutes(dice.below(4) * 5),
        clear_hold: minutes(dice.below(4) * 5),
        audience: vec![Role("warden".into())],
        texts: BTreeMap::new(),
        eased: BTreeMap::new(),
    }
}

/// The judge: the whole past, and what is so now.
struct Judge<'a> {
    rule: &'a Rule,
    /// Minute and value; none where it cannot be believed.
    past: Vec<(i64, Option<f64>)>,
    known: BTreeSet<(i64, u64)>,
    levels: Vec<Standing>,
    open: Option<Level>,
    decisions: Vec<Decision>,
}

#[derive(Clone, Copy, Default)]
struct Standing {
    held: bool,
    on: bool,
    /// Since when the condition is the opposite of `on`, and when that was seen last.
    turning: Option<(i64, i64)>,
}

impl<'a> Judge<'a> {
    fn new(rule: &'a Rule) -> Self {
        Self {
            rule,
            past: Vec::new(),
            known: BTreeSet::new(),
            levels: vec![Standing::default(); rule.levels.len()],
            open: None,
            decisions: Vec::new(),
        }
    }

    /// Takes a reading in, unless it is known; returns whether it was new.
    fn hear(&mut self, reading: Reading) -> bool {
        if !self.known.insert((reading.minute, reading.value.to_bits())) {
            return false;
        }
        let believed = (0.0..=TOP).contains(&reading.value);
        self.past.push((reading.minute, believed.then_some(reading.value)));
        for number in 0..self.levels.len() {
            self.weigh(number, reading.minute, believed);
        }
        let standing = self.rule.levels.iter().zip(&self.levels);
        let highest = standing.filter(|(_, s)| s.on).map(|(rule, _)| rule.level).max();
        let reason = match (self.open, highest) {
            (None, Some(_)) => Some(Reason::Raised),
            (Some(old), Some(new)) if new > old => Some(Reason::Upgraded),
            (Some(old), Some(new)) if new < old => Some(Reason::Downgraded),
            (Some(_), None) => Some(Reason::Cleared),
            (None, None) | (Some(_), Some(_)) => None,
        };
        if let Some(reason) = reason {
            // An all-clear names the level that ended.
            let level = highest.or(self.open).unwrap();
            self.decisions.push((reading.minute, reason, level));
        }
        self.open = highest;
        true
    }

    fn weigh(&mut self, number: usize, now: i64, believed: bool) {
        let rule = &self.rule.levels[number];
        let Test::Signal(leaf) = &rule.test else { panic!("one signal a level") };
        let Limit::Above { enter, exit } = leaf.limit else { panic!("from below") };
        let Some(value) = self.value(leaf.signal.function, now) else { return };
        let standing = &mut self.levels[number];
        standing.held = value >= enter || standing.held && value >= exit;
        if standing.held == standing.on {
            standing.turning = None;
            return;
        }
        let since = match standing.turning {
            Some((since, seen)) if now - seen <= SILENT_AFTER_MIN => since,
            Some(_) | None => now,
        };
        standing.turning = Some((since, now));
        let hold = if standing.on { rule.clear_hold } else { rule.hold };
        let long_enough = u64::try_from(now - since).unwrap() * 60 >= hold.as_secs();
        if long_enough && (standing.on || believed) {
            *standing = Standing { on: !standing.on, turning: None, ..*standing };
        }
    }

    fn value(&self, function: Function, now: i64) -> Option<f64> {
        let window = i64::try_from(function.window().as_secs() / 60).unwrap();
        let inside: Vec<(i64, f64)> = self
            .past
            .iter()
            .filter(|(minute, _)| now - minute < window)
            .filter_map(|(minute, value)| Some((*minute, (*value)?)))
            .collect();
        if function == Function::Last {
            return self.past.iter().rev().find_map(|(_, value)| *value);
        }
        of_window(function, &inside)
    }
}

/// What a seed went through, for the tally.
#[derive(Default)]
struct Story {
    decisions: usize,
    repeated: usize,
    suspect: usize,
    restarts: usize,
}

/// Lives through a seed; says what was wrong, with the story.
fn live(seed: u64) -> Result<Story, String> {
    let World { book, mut dice } = World::seeded(seed);
    let mut judge = Judge::new(&book.rules[0]);
    let mut engine = Engine::new(&book, Timestamp::from_millis(0));
    let (mut story, mut trace) = (Story::default(), String::new());
    let (mut minute, mut value) = (0_i64, 2.0_f64);
    let mut said: Vec<Reading> = Vec::new();
    let mut decisions: Vec<Decision> = Vec::new();
    for _ in 0..READINGS {
        let again = !said.is_empty() && dice.chance(80);
        minute += i64::try_from(match dice.below(20) {
            0 => dice.between(31, 70),
            1..=4 => dice.between(1, 4),
            _ => 5,
        })
        .unwrap();
        let step = (dice.between(0, 6) as f64 - 3.0) / 4.0;
        value = (value + step).clamp(0.25, 7.5);
        // Never two in a row: what is said again and again is believed in the end.
        let suspect = said.last().is_some_and(|r| r.value <= TOP) && dice.chance(60);
        let reading = if again {
            story.repeated += 1;
            said[said.len() - 1 - dice.index(said.len().min(100))]
        } else if suspect {
            story.suspect += 1;
            Reading { minute, value: TOP + dice.between(1, 40) as f64 }
        } else {
            Reading { minute, value }
        };
        if dice.chance(50) {
            story.restarts += 1;
            engine = Engine::restore(&book, &engine.save()).map_err(|e| e.to_string())?;
        }
        let now = Timestamp::from_millis(minute * 60_000);
        let mut effects = Vec::new();
        if dice.chance(200) {
            let early = Timestamp::from_millis(minute * 60_000 - 30_000);
            engine.handle(Input::Tick, early, &mut effects);
        }
        let measurement = Measurement {
            quantity: Quantity::WaterLevel,
            value: reading.value,
            stamp: Some(Stamp::Unix(CLOCK_OFF_MS + reading.minute * 60_000)),
        };
        let measurements = [measurement];
        let input =
            Input::Heard { node: NodeIndex(0), measurements: &measurements, redelivered: again };
        engine.handle(input, now, &mut effects);
        let new = judge.hear(reading);
        if !again {
            said.push(reading);
        }
        writeln!(trace, "minute {minute}: {} of minute {}", reading.value, reading.minute).unwrap();
        let stored = effects.iter().filter(|e| matches!(e, Effect::Reading(_))).count();
        decisions.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::Alert(alert) if alert.reason != Reason::Reissued => {
                Some((alert.sent.as_millis() / 60_000, alert.reason, alert.level))
            }
            Effect::Alert(_)
            | Effect::Notice(_)
            | Effect::Reading(_)
            | Effect::Repeated { .. }
            | Effect::Undeclared { .. } => None,
        }));
        let wrong = if stored != usize::from(new) {
            format!("{stored} readings stored where the judge says {new}")
        } else if decisions != judge.decisions {
            let (is, should) = (decisions.last(), judge.decisions.last());
            format!("the engine decided {is:?}, the judge {should:?}")
        } else {
            continue;
        };
        return Err(format!("{trace}{:#?}\n{wrong}", book.rules[0].levels));
    }
    story.decisions = decisions.len();
    Ok(story)
}

#[test]
fn the_engine_decides_as_a_judge_who_looks_at_everything() {
    let asked = crate::dice::asked;
    let seeds =
        asked("KENGELE_SEED").map_or(0..asked("KENGELE_SEEDS").unwrap_or(SEEDS), |s| s..s + 1);
    let mut total = Story::default();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let story = live(seed).unwrap_or_else(|wrong| {
            panic!("{wrong}\nseed {seed}; replay: KENGELE_SEED={seed} cargo test --test suite engine_search")
        });
        total.decisions += story.decisions;
        total.repeated += story.repeated;
        total.suspect += story.suspect;
        total.restarts += story.restarts;
    }
    println!(
        "{count} seeds, {} decisions, {} repetitions, {} suspect readings, {} restarts",
        total.decisions, total.repeated, total.suspect, total.restarts
    );
    assert!(total.decisions as u64 > count, "a search in which nothing happens finds nothing");
}

#[cfg(feature = "planted")]
#[test]
fn every_planted_bug_of_the_engine_is_caught() {
    use kengele::domain::planted::{Bug, plant};
    let mut missed = Vec::new();
    for bug in Bug::ENGINE {
        plant(Some(bug));
        let caught = (0..SEEDS_TO_CATCH).find(|seed| live(*seed).is_err());
        plant(None);
        match caught {
            Some(seed) => println!("{bug:?}: seed {seed}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught within {SEEDS_TO_CATCH} seeds: {missed:?}");
}
