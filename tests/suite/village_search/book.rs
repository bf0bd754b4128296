//! Rule books by chance: rules of several levels over several gauges, and what a technician changes in them.

use crate::dice::Dice;
use kengele::domain::node::{Counter, Node, Sensor, Step};
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::NodeName;
use kengele::domain::recipient::Role;
use kengele::domain::rule::{
    Function, Leaf, LevelRule, Limit, NodeIndex, Rule, RuleBook, Signal, Test,
};
use kengele::domain::warning::{Certainty, Level};
use std::collections::BTreeMap;
use std::time::Duration;

/// Highest value that a gauge can truly report.
pub const TOP: f64 = 8.0;
/// Most rain that can truly fall from one reading to the next.
pub const INCREMENT_MAX: f64 = 20.0;
/// Minutes after which a reading is late.
pub const LATE_AFTER: i64 = 20;
/// Longest window, minutes. One rule that never holds has it on every sensor, so that a reload changes no window.
pub const WINDOW_MAX: i64 = 120;
/// Longest window of a rate, minutes: what fits in has no more points than the engine takes without thinning.
const RATE_WINDOW_MAX: u64 = 45;

fn minutes(count: u64) -> Duration {
    Duration::from_mins(count)
}

/// Returns `low` to `high` in quarters, which sums of floating point numbers keep exactly.
fn quarter(dice: &mut Dice, low: f64, high: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few dozens")]
    let quarters = ((high - low) * 4.0) as u64;
    low + dice.between(0, quarters) as f64 / 4.0
}

/// Draws the first book of a seed.
pub fn draw(dice: &mut Dice) -> RuleBook {
    let nodes: Vec<Node> = (0..dice.between(2, 4)).map(|n| draw_node(n, dice)).collect();
    let mut book = RuleBook { version: "v0".into(), nodes, rules: Vec::new() };
    for number in 0..dice.between(1, 4) {
        let rule = draw_rule(&format!("r{number}"), &book, dice);
        book.rules.push(rule);
    }
    book.rules.push(keeper(&book));
    book
}

/// Returns the book after a visit of the technician.
pub fn change(book: &RuleBook, visit: u64, dice: &mut Dice) -> RuleBook {
    let mut new = RuleBook { version: format!("v{visit}"), ..book.clone() };
    new.rules.pop();
    new.rules.retain(|_| !dice.chance(150));
    for rule in &mut new.rules {
        if dice.chance(400) {
            change_rule(rule, book, dice);
        }
    }
    if dice.chance(400) {
        let rule = draw_rule(&format!("r{visit}-new"), &new, dice);
        new.rules.insert(dice.index(new.rules.len() + 1), rule);
    }
    for node in &mut new.nodes {
        if dice.chance(100) {
            node.silent_after = minutes(dice.between(3, 6) * 5);
        }
    }
    if dice.chance(300) {
        // Another node stands first in the file.
        let last = new.nodes.len() - 1;
        new.nodes.swap(0, last);
        let swapped = |node: NodeIndex| match node.0 as usize {
            0 => NodeIndex(u32::try_from(last).unwrap()),
            n if n == last => NodeIndex(0),
            _ => node,
        };
        new.rules
            .iter_mut()
            .flat_map(|r| &mut r.levels)
            .for_each(|l| rename(&mut l.test, &swapped));
    }
    new.rules.push(keeper(&new));
    new
}

fn rename(test: &mut Test, name: &impl Fn(NodeIndex) -> NodeIndex) {
    match test {
        Test::Signal(leaf) => leaf.signal.node = name(leaf.signal.node),
        Test::Silent(node, _) => *node = name(*node),
        Test::AtLeast(_, tests) => tests.iter_mut().for_each(|test| rename(test, name)),
    }
}

fn change_rule(rule: &mut Rule, book: &RuleBook, dice: &mut Dice) {
    if dice.chance(300) {
        let place = dice.index(rule.levels.len());
        rule.levels[place].test = draw_test(book, 2, dice);
    }
    if rule.levels.len() > 1 && dice.chance(200) {
        rule.levels.remove(dice.index(rule.levels.len()));
    }
    for level in &mut rule.levels {
        level.hold = draw_hold(dice);
        move_limits(&mut level.test, dice);
    }
    rule.cool_down = minutes(dice.below(3) * 30);
}

fn move_limits(test: &mut Test, dice: &mut Dice) {
    let by = dice.between(0, 2) as f64 / 4.0;
    match test {
        Test::Signal(leaf) => match &mut leaf.limit {
            Limit::Above { enter, exit } | Limit::Below { enter, exit } => {
                (*enter, *exit) = (*enter + by, *exit + by);
            }
            Limit::Outside { low, high, .. } | Limit::Inside { low, high, .. } => {
                (*low, *high) = (*low + by, *high + by);
            }
        },
        Test::Silent(..) => {}
        Test::AtLeast(_, tests) => tests.iter_mut().for_each(|test| move_limits(test, dice)),
    }
}

fn draw_node(number: u64, dice: &mut Dice) -> Node {
    let mut level = sensor(Quantity::WaterLevel, TOP);
    match dice.below(6) {
        0 | 1 => level.step = Some(Step { change: 0.5, within: minutes(5) }),
        2 => level.spike = Some(1.0),
        _ => {}
    }
    if dice.chance(300) {
        level.stuck_after = Some(minutes(40));
    }
    let mut sensors = vec![level];
    if dice.chance(500) {
        let mut rain = sensor(Quantity::Rain, 50.0);
        let wraps_at = dice.chance(500).then_some(50.0);
        rain.counter =
            dice.chance(800).then_some(Counter { wraps_at, increment_max: INCREMENT_MAX });
        sensors.push(rain);
    }
    Node {
        name: NodeName(format!("n{number}").into()),
        heard_as: Box::default(),
        place: "Bridge".into(),
        interval: minutes(5),
        silent_after: minutes(dice.between(3, 6) * 5),
        late_after: minutes(LATE_AFTER.unsigned_abs()),
        sensors,
    }
}

fn sensor(quantity: Quantity, top: f64) -> Sensor {
    Sensor {
        quantity,
        range: (0.0, top),
        step: None,
        spike: None,
        stuck_after: None,
        counter: None,
        decimals: 2,
    }
}

fn draw_rule(name: &str, book: &RuleBook, dice: &mut Dice) -> Rule {
    let mut levels = vec![Level::Advisory, Level::Warning, Level::Danger];
    while levels.len() > 1 && dice.chance(500) {
        levels.remove(dice.index(levels.len()));
    }
    let levels = levels.into_iter().map(|level| LevelRule {
        level,
        test: draw_test(book, 2, dice),
        hold: draw_hold(dice),
        clear_hold: draw_hold(dice),
        audience: vec![Role("warden".into())],
        texts: BTreeMap::new(),
        eased: BTreeMap::new(),
    });
    let levels = levels.collect();
    Rule {
        name: name.to_owned(),
        hazard: "flood".into(),
        area: if dice.chance(700) { "valley" } else { "hill" }.into(),
        levels,
        valid: minutes([40, 120, 480][dice.index(3)]),
        cool_down: minutes(dice.below(3) * 30),
        all_clear: BTreeMap::new(),
        certainty: Certainty::Observed,
    }
}

fn draw_hold(dice: &mut Dice) -> Duration {
    minutes([0, 0, 5, 10, 15][dice.index(5)])
}

fn draw_test(book: &RuleBook, depth: u32, dice: &mut Dice) -> Test {
    match dice.below(10) {
        0..=3 if depth > 0 => {
            let parts = dice.between(2, 3);
            let tests = (0..parts).map(|_| draw_test(book, depth - 1, dice)).collect();
            Test::AtLeast(1 + dice.index(usize::try_from(parts).unwrap()), tests)
        }
        4 => {
            let node = NodeIndex(u32::try_from(dice.index(book.nodes.len())).unwrap());
            Test::Silent(node, minutes([10, 15, 20, 25, 40, 90][dice.index(6)]))
        }
        _ => Test::Signal(draw_leaf(book, dice)),
    }
}

fn draw_leaf(book: &RuleBook, dice: &mut Dice) -> Leaf {
    let node = dice.index(book.nodes.len());
    let sensors = &book.nodes[node].sensors;
    let quantity = sensors[dice.index(sensors.len())].quantity;
    let window = minutes(dice.between(2, WINDOW_MAX.unsigned_abs() / 5) * 5);
    let is_rain = quantity == Quantity::Rain;
    let value = |dice: &mut Dice| {
        if is_rain { quarter(dice, 0.25, 1.5) } else { quarter(dice, 1.5, 6.0) }
    };
    let (function, at) = match dice.below(12) {
        0..=2 => (Function::Last, value(dice)),
        3 => (Function::Min(window), value(dice)),
        4 => (Function::Max(window), value(dice)),
        5 => (Function::Mean(window), value(dice)),
        6 | 7 if is_rain => (Function::Sum(window), quarter(dice, 1.0, 9.0)),
        6 => (Function::Sum(window), quarter(dice, 5.0, 40.0)),
        7 | 8 => (Function::Count(window), dice.between(1, 8) as f64),
        9 | 10 => (Function::Change(window), quarter(dice, -1.5, 1.5)),
        _ => {
            let window = minutes(dice.between(3, RATE_WINDOW_MAX / 5) * 5);
            (Function::Rate(window), quarter(dice, -4.0, 4.0))
        }
    };
    let margin = quarter(dice, 0.0, 1.0);
    let width = 2.0 + quarter(dice, 0.0, 2.0);
    let limit = match dice.below(6) {
        0..=2 => Limit::Above { enter: at, exit: at - margin },
        3 => Limit::Below { enter: at, exit: at + margin },
        4 => Limit::Outside { low: at - width, high: at, margin },
        _ => Limit::Inside { low: at, high: at + width, margin },
    };
    let signal = Signal { node: NodeIndex(u32::try_from(node).unwrap()), quantity, function };
    Leaf { signal, limit, while_silent: dice.chance(150) }
}

/// A rule that never holds, and looks at the longest window of every sensor.
fn keeper(book: &RuleBook) -> Rule {
    let mut tests = Vec::new();
    for (node, declared) in (0..).zip(&book.nodes) {
        for sensor in &declared.sensors {
            let function = Function::Count(minutes(WINDOW_MAX.unsigned_abs()));
            let signal = Signal { node: NodeIndex(node), quantity: sensor.quantity, function };
            let limit = Limit::Above { enter: 1e9, exit: 1e9 };
            tests.push(Test::Signal(Leaf { signal, limit, while_silent: false }));
        }
    }
    Rule {
        name: "keeper".into(),
        hazard: "none".into(),
        area: "nowhere".into(),
        levels: vec![LevelRule {
            level: Level::Danger,
            test: Test::AtLeast(tests.len(), tests),
            hold: Duration::ZERO,
            clear_hold: Duration::ZERO,
            audience: Vec::new(),
            texts: BTreeMap::new(),
            eased: BTreeMap::new(),
        }],
        valid: minutes(40),
        cool_down: Duration::ZERO,
        all_clear: BTreeMap::new(),
        certainty: Certainty::Observed,
    }
}
