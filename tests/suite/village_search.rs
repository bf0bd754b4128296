//! The engine under a seeded random village, with a naive judge who keeps everything that was ever heard, and looks at all
//! of it every minute.
//!
//! Each seed draws two to four nodes with gauges and rain counters, and up to four rules for two areas: every condition,
//! function and join, with holds and hysteresis. The world makes the readings, so that it knows which of them lie. There
//! are gaps, backlogs, repetitions, restarts, hours without power, and changed rules. A failure names its seed and the
//! command that tells its story. What a long stream of one gauge does is the business of `engine_search`.

mod book;
mod judge;
pub mod past;
mod world;

use crate::dice::{Dice, asked};
use judge::{Judge, Said};
use kengele::domain::engine::{Effect, Engine, Input};
use kengele::domain::node::Node;
use kengele::domain::reading::{Measurement, Quality};
use kengele::domain::rule::{NodeIndex, RuleBook};
use kengele::domain::time::Timestamp;
use kengele::domain::warning::{Alert, Reason};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use world::{Event, Frame, World};

/// Seeds that every run of the tests lives through; `KENGELE_SEEDS` asks for more.
const SEEDS: u64 = 300;
/// Seeds within which each planted bug must be caught.
#[cfg(feature = "planted")]
const SEEDS_TO_CATCH: u64 = 200;
/// Events of a seed.
const EVENTS: u64 = 150;

/// What the seeds went through.
#[derive(Default)]
struct Tally(BTreeMap<String, u64>);

impl Tally {
    fn count(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

struct Run {
    world: World,
    judge: Judge,
    engine: Engine,
    effects: Vec<Effect>,
    minute: i64,
    visits: u64,
}

impl Run {
    fn seeded(seed: u64) -> Self {
        let mut dice = Dice::seeded(seed);
        let book = Arc::new(book::draw(&mut dice));
        Self {
            world: World::new(&book.nodes, dice),
            judge: Judge::new(&book),
            engine: Engine::new(&book, at(0)),
            effects: Vec::new(),
            minute: 0,
            visits: 0,
        }
    }

    /// Where a node stands in the book that is in force.
    fn index(&self, node: usize) -> NodeIndex {
        let named = |n: &Node| *n.name.0 == *format!("n{node}");
        let place = self.judge.book.nodes.iter().position(named).unwrap();
        NodeIndex(u32::try_from(place).unwrap())
    }

    fn restart(&mut self) {
        let book: Arc<RuleBook> = Arc::clone(&self.judge.book);
        self.engine = Engine::restore(&book, &self.engine.save()).expect("its own bytes");
    }

    /// Lets both live through the next event. Returns what the engine should have said of the readings.
    fn step(&mut self) -> (Event, Vec<Option<Quality>>) {
        let (minute, event) = self.world.next();
        self.minute = minute;
        let mut qualities = Vec::new();
        match &event {
            Event::Down(down) => {
                // Before the power went.
                let before = minute - i64::try_from(*down).unwrap();
                self.judge.live_until(before);
                self.engine.handle(Input::Tick, at(before), &mut self.effects);
                self.restart();
                self.judge.resume(minute);
                let down = Duration::from_mins(*down);
                self.engine.handle(Input::Resumed { down }, at(minute), &mut self.effects);
            }
            Event::Restart => self.restart(),
            Event::Reload => {
                self.visits += 1;
                let book = book::change(&self.judge.book, self.visits, &mut self.world.dice);
                let book = Arc::new(book);
                self.judge.live_until(minute);
                self.judge.reload(&book);
                self.engine.reload(&book, at(minute), &mut self.effects);
            }
            Event::Frame(frame) => {
                self.judge.live_until(minute);
                self.judge.hear(frame);
                qualities = self.hear(frame);
            }
            Event::Tick => {}
        }
        self.judge.live_until(minute);
        self.engine.handle(Input::Tick, at(minute), &mut self.effects);
        (event, qualities)
    }

    fn hear(&mut self, frame: &Frame) -> Vec<Option<Quality>> {
        let measurement = |told: &world::Told| Measurement {
            quantity: told.quantity,
            value: told.raw,
            stamp: told.stamp,
        };
        let measurements: Vec<Measurement> = frame.told.iter().map(measurement).collect();
        let input = Input::Heard {
            node: self.index(frame.node),
            measurements: &measurements,
            redelivered: frame.redelivered,
        };
        self.engine.handle(input, at(self.minute), &mut self.effects);
        let expected = |told: &world::Told| (!frame.again).then_some(told.quality);
        frame.told.iter().map(expected).collect()
    }
}

fn said(alert: &Alert) -> Said {
    let minutes = |at: Timestamp| at.as_millis() / 60_000;
    let ends = matches!(alert.reason, Reason::Cleared | Reason::Withdrawn);
    (
        minutes(alert.sent),
        alert.area.clone(),
        alert.reason,
        alert.level,
        alert.rule.clone(),
        (!ends).then_some(minutes(alert.expires)),
    )
}

/// What happens in one area comes in order; between two areas there is none.
fn by_area(mut list: Vec<Said>) -> Vec<Said> {
    list.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    list
}

fn story_of(book: &RuleBook) -> String {
    let nodes = book.nodes.iter().map(|node| format!("{node:?}\n"));
    let rules = book.rules.iter().flat_map(|rule| {
        let of = format!(
            "{} in {}, valid {:?}, cool-down {:?}",
            rule.name, rule.area, rule.valid, rule.cool_down
        );
        std::iter::once(format!("{of}\n")).chain(rule.levels.iter().map(|level| {
            format!(
                "  {:?} hold {:?} clear {:?}: {:?}\n",
                level.level, level.hold, level.clear_hold, level.test
            )
        }))
    });
    nodes.chain(rules).collect()
}

/// Lives through a seed; says what was wrong, with the story.
fn live(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut run = Run::seeded(seed);
    let mut trace = story_of(&run.judge.book);
    for _ in 0..EVENTS {
        let (event, expected) = run.step();
        let minute = run.minute;
        writeln!(trace, "minute {minute}: {event:?}").unwrap();
        if matches!(event, Event::Reload) {
            trace += &story_of(&run.judge.book);
        }
        tally.count(match &event {
            Event::Frame(frame) if frame.again => "repetitions".to_owned(),
            Event::Frame(_) => "frames".to_owned(),
            Event::Tick | Event::Restart | Event::Reload => format!("{event:?}"),
            Event::Down(_) => "Down".to_owned(),
        });
        let effects = std::mem::take(&mut run.effects);
        let stored: Vec<Quality> = effects
            .iter()
            .filter_map(|e| if let Effect::Reading(r) = e { Some(r.quality) } else { None })
            .collect();
        let expected: Vec<Quality> = expected.into_iter().flatten().collect();
        for quality in &expected {
            tally.count(quality.as_str());
        }
        let decided = effects
            .iter()
            .filter_map(|e| if let Effect::Alert(alert) = e { Some(said(alert)) } else { None });
        let decided = by_area(decided.collect());
        let should = by_area(std::mem::take(&mut run.judge.said));
        for (_, _, reason, ..) in &should {
            tally.count(reason.as_str());
        }
        let open: BTreeMap<String, _> = run
            .engine
            .open_warnings()
            .map(|(_, _, area, level, _)| (area.to_owned(), level))
            .collect();
        let wrong = if stored != expected {
            format!("the engine stored {stored:?}, the world says {expected:?}")
        } else if decided != should {
            format!("the engine decided {decided:#?}, the judge {should:#?}")
        } else if open != run.judge.open() {
            format!("the engine has open {open:?}, the judge {:?}", run.judge.open())
        } else {
            continue;
        };
        return Err(format!("{trace}{wrong}"));
    }
    Ok(())
}

#[test]
fn the_engine_decides_as_a_judge_who_looks_at_a_whole_village_every_minute() {
    let seeds =
        asked("KENGELE_SEED").map_or(0..asked("KENGELE_SEEDS").unwrap_or(SEEDS), |s| s..s + 1);
    let count = seeds.end - seeds.start;
    let mut tally = Tally::default();
    for seed in seeds {
        live(seed, &mut tally).unwrap_or_else(|wrong| {
            panic!("{wrong}\nseed {seed}; replay: KENGELE_SEED={seed} cargo test --test suite village_search")
        });
    }
    println!("{count} seeds: {:?}", tally.0);
    for what in ["raised", "upgraded", "downgraded", "reissued", "cleared", "withdrawn"] {
        let times = tally.0.get(what).copied().unwrap_or(0);
        assert!(count == 1 || times > count / 50, "{what} {times} times: a search of nothing");
    }
}

#[cfg(feature = "planted")]
#[test]
fn every_planted_bug_of_the_village_is_caught() {
    use kengele::domain::planted::{Bug, plant};
    let mut missed = Vec::new();
    for bug in Bug::ENGINE.into_iter().chain(Bug::VILLAGE) {
        plant(Some(bug));
        let caught = (0..SEEDS_TO_CATCH).find(|seed| live(*seed, &mut Tally::default()).is_err());
        plant(None);
        match caught {
            Some(seed) => println!("{bug:?}: seed {seed}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught within {SEEDS_TO_CATCH} seeds: {missed:?}");
}
