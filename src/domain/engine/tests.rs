use super::*;
use crate::domain::node::Step;
use crate::domain::reading::NodeName;
use crate::domain::recipient::Role;
use crate::domain::rule::{Function, Leaf, LevelRule, Limit, Rule, Signal, Test};
use crate::domain::warning::{Certainty, Level, MessageType, Reason};
use proptest::prelude::*;

mod village;

const MINUTE: Duration = Duration::from_mins(1);

fn node(name: &str) -> Node {
    let sensor = |quantity: Quantity| Sensor {
        quantity,
        range: quantity.plausible(),
        step: None,
        spike: None,
        stuck_after: None,
        counter: None,
        decimals: 2,
    };
    Node {
        name: NodeName(name.into()),
        heard_as: Box::default(),
        place: name.to_uppercase(),
        interval: MINUTE * 5,
        silent_after: MINUTE * 30,
        late_after: MINUTE * 20,
        sensors: vec![sensor(Quantity::WaterLevel), sensor(Quantity::Rain)],
    }
}

fn signal(node: u32, quantity: Quantity, function: Function) -> Signal {
    Signal { node: NodeIndex(node), quantity, function }
}

fn above(signal: Signal, enter: f64, exit: f64) -> Test {
    Test::Signal(Leaf { signal, limit: Limit::Above { enter, exit }, while_silent: false })
}

fn level(level: Level, test: Test) -> LevelRule {
    LevelRule {
        level,
        test,
        hold: Duration::ZERO,
        clear_hold: Duration::ZERO,
        audience: vec![Role("warden".into())],
        texts: BTreeMap::new(),
        eased: BTreeMap::new(),
    }
}

fn rule(name: &str, levels: Vec<LevelRule>) -> Rule {
    Rule {
        name: name.into(),
        hazard: "flood".into(),
        area: "valley".into(),
        levels,
        valid: MINUTE * 360,
        cool_down: MINUTE * 60,
        all_clear: BTreeMap::new(),
        certainty: Certainty::Observed,
    }
}

fn water(node: u32) -> Signal {
    signal(node, Quantity::WaterLevel, Function::Last)
}

/// Two levels on one gauge: warning from 2 m (until below 1.8 m), danger from 3 m (until below 2.8 m).
fn river() -> RuleBook {
    let levels = vec![
        level(Level::Warning, above(water(0), 2.0, 1.8)),
        level(Level::Danger, above(water(0), 3.0, 2.8)),
    ];
    RuleBook {
        version: "v1".into(),
        nodes: vec![node("a"), node("b")],
        rules: vec![rule("river", levels)],
    }
}

fn minutes(n: i64) -> Timestamp {
    Timestamp::from_millis(n * 60_000)
}

struct Run {
    engine: Engine,
    effects: Vec<Effect>,
}

impl Run {
    fn new(book: RuleBook) -> Self {
        Self { engine: Engine::new(&Arc::new(book), minutes(0)), effects: Vec::new() }
    }

    fn level(&mut self, node: u32, at: i64, value: f64) -> &mut Self {
        self.say(node, at, Quantity::WaterLevel, value, None)
    }

    fn say(
        &mut self,
        node: u32,
        at: i64,
        quantity: Quantity,
        value: f64,
        stamp: Option<Stamp>,
    ) -> &mut Self {
        let measurement = Measurement { quantity, value, stamp };
        let input = Input::Heard {
            node: NodeIndex(node),
            measurements: &[measurement],
            redelivered: false,
        };
        self.engine.handle(input, minutes(at), &mut self.effects);
        self
    }

    fn tick(&mut self, at: i64) -> &mut Self {
        self.engine.handle(Input::Tick, minutes(at), &mut self.effects);
        self
    }

    /// Returns what people were told since the last call.
    fn told(&mut self) -> Vec<(Reason, Level)> {
        let effects = std::mem::take(&mut self.effects);
        effects
            .into_iter()
            .filter_map(|e| if let Effect::Alert(a) = e { Some((a.reason, a.level)) } else { None })
            .collect()
    }

    fn notices(&mut self) -> Vec<NoticeKind> {
        let effects = std::mem::take(&mut self.effects);
        effects
            .into_iter()
            .filter_map(|e| if let Effect::Notice(n) = e { Some(n.kind) } else { None })
            .collect()
    }
}

#[test]
fn a_flood_is_raised_upgraded_downgraded_and_cleared_each_once() {
    let mut run = Run::new(river());
    for (at, value) in [1.0, 2.1, 2.5, 3.1, 2.9, 2.7, 1.9, 1.7].into_iter().enumerate() {
        run.level(0, i64::try_from(at).unwrap() * 5, value);
    }
    assert_eq!(
        run.told(),
        [
            (Reason::Raised, Level::Warning),
            (Reason::Upgraded, Level::Danger),
            (Reason::Downgraded, Level::Warning),
            (Reason::Cleared, Level::Warning),
        ]
    );
}

#[test]
fn a_value_that_swings_within_the_hysteresis_tells_nobody_twice() {
    let mut run = Run::new(river());
    for at in 0..100 {
        run.level(0, at * 5, if at % 2 == 0 { 2.05 } else { 1.85 });
    }
    let raised = run.told().into_iter().filter(|(reason, _)| *reason != Reason::Reissued).count();
    assert_eq!(raised, 1);
}

#[test]
fn a_hold_waits_and_a_gap_in_the_readings_breaks_it() {
    let mut book = river();
    book.rules[0].levels[0].hold = MINUTE * 10;
    let mut run = Run::new(book.clone());
    assert_eq!(run.level(0, 0, 2.2).level(0, 5, 2.2).told(), []);
    assert_eq!(run.level(0, 10, 2.2).told(), [(Reason::Raised, Level::Warning)]);

    let mut run = Run::new(book);
    run.level(0, 0, 2.2).level(0, 60, 2.2).level(0, 65, 2.2);
    assert_eq!(run.told(), [], "an hour without a reading is no proof that it held");
    assert_eq!(run.level(0, 70, 2.2).told(), [(Reason::Raised, Level::Warning)]);
}

#[test]
fn five_gauges_on_one_river_make_one_warning() {
    let mut book = river();
    book.nodes = (0..5).map(|n| node(&format!("g{n}"))).collect();
    book.rules = (0..5)
        .map(|n| rule(&format!("r{n}"), vec![level(Level::Warning, above(water(n), 2.0, 1.8))]))
        .collect();
    let mut run = Run::new(book);
    for n in 0..5 {
        run.level(n, i64::from(n), 2.5);
    }
    assert_eq!(run.told(), [(Reason::Raised, Level::Warning)]);
    for n in 0..4 {
        run.level(n, 10 + i64::from(n), 1.0);
    }
    assert_eq!(run.told(), [], "one gauge is still high");
    assert_eq!(run.level(4, 20, 1.0).told(), [(Reason::Cleared, Level::Warning)]);
}

#[test]
fn what_one_reading_does_to_several_rules_of_an_area_is_told_as_one() {
    let mut book = river();
    let below = Test::Signal(Leaf {
        signal: water(0),
        limit: Limit::Below { enter: 1.0, exit: 1.2 },
        while_silent: false,
    });
    book.rules = vec![
        rule("high", vec![level(Level::Warning, above(water(0), 2.0, 1.8))]),
        rule("higher", vec![level(Level::Danger, above(water(0), 3.0, 2.8))]),
        rule("dry", vec![level(Level::Warning, below)]),
    ];
    let mut run = Run::new(book);
    assert_eq!(run.level(0, 0, 3.5).told(), [(Reason::Raised, Level::Danger)]);
    assert_eq!(run.level(0, 5, 2.5).told(), [(Reason::Downgraded, Level::Warning)]);
    // From too much to too little in one step: neither an all-clear nor a cool-down comes between.
    assert_eq!(run.level(0, 10, 0.5).told(), []);
    assert_eq!(run.engine.open_warnings().count(), 1);
}

#[test]
fn after_an_all_clear_the_same_level_stays_quiet_for_a_while_but_danger_does_not() {
    let mut run = Run::new(river());
    run.level(0, 0, 2.2).level(0, 5, 1.0).told();
    assert_eq!(run.level(0, 10, 2.2).told(), [], "within the cool-down");
    assert_eq!(run.level(0, 20, 3.2).told(), [(Reason::Raised, Level::Danger)]);
    run.level(0, 25, 1.0).told();
    assert_eq!(run.level(0, 30, 2.2).level(0, 55, 2.2).told(), []);
    assert_eq!(run.tick(85).told(), [(Reason::Raised, Level::Warning)], "the cool-down is over");
}

#[test]
fn a_long_flood_is_told_again_before_the_alert_runs_out_and_expires_with_its_gauge() {
    let mut run = Run::new(river());
    for at in (0..=360).step_by(5) {
        run.level(0, at, 2.2);
    }
    assert_eq!(run.told(), [(Reason::Raised, Level::Warning), (Reason::Reissued, Level::Warning)]);
    run.tick(1000);
    let notices = run.notices();
    assert!(
        notices.contains(&NoticeKind::Silent)
            && notices.iter().any(|n| matches!(n, NoticeKind::WarningExpired(_)))
    );
    assert_eq!(run.engine.open_warnings().count(), 0);
    assert_eq!(run.level(0, 1001, 2.2).told(), [(Reason::Raised, Level::Warning)]);
}

#[test]
fn a_suspect_reading_tells_the_technician_and_nobody_else() {
    let mut book = river();
    book.nodes[0].sensors[0].step = Some(Step { change: 0.3, within: MINUTE * 5 });
    let mut run = Run::new(book);
    run.level(0, 0, 1.0)
        .level(0, 5, 5.0)
        .level(0, 10, 1.0)
        .level(0, 15, f64::NAN)
        .level(0, 20, 500.0);
    assert_eq!(run.effects.iter().filter(|e| matches!(e, Effect::Alert(_))).count(), 0);
    assert_eq!(run.notices().len(), 3, "a step, no number, out of range");
    run.level(0, 25, 5.0);
    assert_eq!(run.notices(), [], "the same trouble is told once a day");
}

#[test]
fn a_late_reading_fills_the_window_but_raises_nothing_by_itself() {
    let mut book = river();
    book.rules[0].levels = vec![level(
        Level::Warning,
        above(signal(0, Quantity::Rain, Function::Sum(MINUTE * 120)), 30.0, 20.0),
    )];
    let mut run = Run::new(book);
    let unix = |m: i64| Some(Stamp::Unix(1_700_000_000_000 + m * 60_000));
    run.say(0, 0, Quantity::Rain, 0.0, unix(0)).say(0, 5, Quantity::Rain, 0.0, unix(5));
    // Two readings of 20 mm each come an hour late, in one go.
    run.say(0, 70, Quantity::Rain, 20.0, unix(10)).say(0, 70, Quantity::Rain, 20.0, unix(15));
    assert_eq!(run.told(), []);
    assert_eq!(
        run.say(0, 71, Quantity::Rain, 0.0, unix(71)).told(),
        [(Reason::Raised, Level::Warning)]
    );
}

#[test]
fn a_gauge_that_falls_silent_while_it_rises_is_news() {
    let mut book = river();
    let rising = Test::Signal(Leaf {
        signal: signal(0, Quantity::WaterLevel, Function::Change(MINUTE * 30)),
        limit: Limit::Above { enter: 0.3, exit: 0.1 },
        while_silent: true,
    });
    let silent = Test::Silent(NodeIndex(0), MINUTE * 15);
    book.rules[0].levels = vec![level(Level::Warning, Test::AtLeast(2, vec![rising, silent]))];
    let mut run = Run::new(book);
    for at in 0..5 {
        run.level(0, at * 5, 1.0 + 0.1 * at as f64);
    }
    assert_eq!(run.tick(30).told(), []);
    assert_eq!(run.tick(36).told(), [(Reason::Raised, Level::Warning)]);
    assert_eq!(run.level(0, 40, 1.4).told(), [(Reason::Cleared, Level::Warning)]);
}

#[test]
fn a_warning_of_silence_alone_ends_when_the_node_is_heard_again_whatever_it_says() {
    let mut book = river();
    book.rules[0].levels = vec![level(Level::Warning, Test::Silent(NodeIndex(0), MINUTE * 15))];
    let mut run = Run::new(book);
    run.level(0, 0, 1.0);
    assert_eq!(run.tick(15).told(), [(Reason::Raised, Level::Warning)]);
    let heard = run.say(0, 20, Quantity::Rain, 0.0, None).told();
    assert_eq!(heard, [(Reason::Cleared, Level::Warning)]);
}

#[test]
fn a_second_silence_is_found_in_time_although_a_longer_one_was_waited_for() {
    let mut book = river();
    book.rules[0].levels = vec![
        level(Level::Advisory, Test::Silent(NodeIndex(0), MINUTE * 15)),
        level(Level::Danger, Test::Silent(NodeIndex(0), MINUTE * 180)),
    ];
    book.rules[0].cool_down = Duration::ZERO;
    let mut run = Run::new(book);
    run.level(0, 0, 1.0).tick(31);
    assert_eq!(run.level(0, 32, 1.0).told().len(), 2, "raised and cleared");
    run.engine.handle(Input::Tick, minutes(200), &mut run.effects);
    let raised = run
        .effects
        .iter()
        .find_map(|e| if let Effect::Alert(a) = e { Some((a.reason, a.sent)) } else { None });
    assert_eq!(raised, Some((Reason::Raised, minutes(47))));
}

#[test]
fn what_a_silent_node_said_last_does_not_count_towards_at_least() {
    let mut book = river();
    let both = Test::AtLeast(2, vec![above(water(0), 2.0, 1.8), above(water(1), 2.0, 1.8)]);
    book.rules[0].levels = vec![level(Level::Warning, both)];
    let mut run = Run::new(book);
    run.level(0, 0, 2.5).tick(40);
    assert_eq!(run.level(1, 41, 2.5).told(), []);
    assert_eq!(run.level(0, 42, 2.5).told(), [(Reason::Raised, Level::Warning)]);
}

#[test]
fn a_reading_that_comes_again_is_not_stored_again() {
    let mut run = Run::new(river());
    let stamp = Some(Stamp::Unix(1_700_000_000_000));
    run.say(0, 0, Quantity::WaterLevel, 1.5, stamp).say(0, 1, Quantity::WaterLevel, 1.5, stamp);
    let repeated = |e: &&Effect| matches!(e, Effect::Repeated { .. });
    assert_eq!(run.effects.iter().filter(repeated).count(), 1);
    let again = [Measurement { quantity: Quantity::Rain, value: 0.2, stamp: None }];
    for redelivered in [false, true] {
        let input = Input::Heard { node: NodeIndex(0), measurements: &again, redelivered };
        run.engine.handle(input, minutes(2), &mut run.effects);
    }
    assert_eq!(run.effects.iter().filter(repeated).count(), 2);
    assert_eq!(run.effects.iter().filter(|e| matches!(e, Effect::Reading(_))).count(), 2);
}

#[test]
fn a_reload_keeps_open_warnings_and_withdraws_those_whose_rule_is_gone() {
    let mut run = Run::new(river());
    run.level(0, 0, 2.5).told();
    let mut book = river();
    book.version = "v2".into();
    book.rules[0].levels[0].test = above(water(0), 2.1, 1.9);
    run.engine.reload(&Arc::new(book.clone()), minutes(1), &mut run.effects);
    assert_eq!(run.told(), []);
    assert_eq!(run.engine.open_warnings().count(), 1);
    assert_eq!(run.level(0, 5, 2.5).told(), [], "it is known already");
    book.version = "v3".into();
    book.rules.clear();
    run.engine.reload(&Arc::new(book), minutes(6), &mut run.effects);
    let Some(Effect::Alert(last)) = run.effects.last() else { panic!("{:?}", run.effects) };
    assert_eq!((last.reason, last.message_type), (Reason::Withdrawn, MessageType::Cancel));
}

#[test]
fn a_value_within_the_hysteresis_keeps_its_level_through_a_reload() {
    let mut run = Run::new(river());
    run.level(0, 0, 2.1).level(0, 5, 1.9).told();
    let mut book = river();
    book.version = "v2".into();
    // The gauge stands elsewhere in the file, and another rule is new.
    book.nodes.reverse();
    book.rules[0].levels[0].test = above(water(1), 2.0, 1.8);
    book.rules[0].levels[1].test = above(water(1), 3.0, 2.8);
    run.engine.reload(&Arc::new(book), minutes(6), &mut run.effects);
    assert_eq!(run.level(1, 10, 1.9).told(), []);
    assert_eq!(run.level(1, 15, 1.7).told(), [(Reason::Cleared, Level::Warning)]);
}

#[test]
fn a_silence_that_a_reload_asks_for_may_have_been_reached_already() {
    let mut run = Run::new(river());
    run.level(0, 0, 1.0).tick(20);
    let mut book = river();
    book.version = "v2".into();
    book.nodes[0].silent_after = MINUTE * 15;
    book.rules[0].levels = vec![level(Level::Warning, Test::Silent(NodeIndex(0), MINUTE * 10))];
    run.engine.reload(&Arc::new(book), minutes(20), &mut run.effects);
    let effects = run.tick(20).effects.clone();
    assert_eq!(run.told(), [(Reason::Raised, Level::Warning)]);
    assert!(effects.iter().any(|e| matches!(e, Effect::Notice(n) if n.kind == NoticeKind::Silent)));
}

#[test]
fn nodes_are_not_blamed_for_the_time_in_which_the_gateway_was_down() {
    let mut run = Run::new(river());
    run.level(0, 0, 1.0).level(1, 0, 1.0);
    run.engine.handle(Input::Resumed { down: MINUTE * 600 }, minutes(601), &mut run.effects);
    assert_eq!(run.notices(), []);
    run.tick(640);
    assert_eq!(run.notices(), [NoticeKind::Silent, NoticeKind::Silent]);
}

#[test]
fn damaged_state_is_refused_and_never_panics() {
    let mut run = Run::new(river());
    for at in 0..50 {
        run.level(0, at * 5, f64::from(i32::try_from(at).unwrap() % 4));
    }
    let bytes = run.engine.save();
    let book = run.engine.book().clone();
    for length in 0..bytes.len() {
        assert!(Engine::restore(&book, &bytes[..length]).is_err(), "cut at {length}");
    }
    for place in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[place] ^= 0x55;
        let _ends = Engine::restore(&book, &bad).is_ok();
    }
}

/// A step of a random history.
#[derive(Clone, Debug)]
enum Event {
    Say { node: u32, rain: bool, value: i32, stamp: Option<i64>, redelivered: bool },
    Pass(i64),
    Resume(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let say =
        (0u32..2, any::<bool>(), 0i32..45, prop::option::of(-40i64..3), prop::bool::weighted(0.1))
            .prop_map(|(node, rain, value, stamp, redelivered)| Event::Say {
                node,
                rain,
                value,
                stamp,
                redelivered,
            });
    let event = prop_oneof![8 => say, 3 => (0i64..20).prop_map(Event::Pass), 1 => (1i64..400).prop_map(Event::Pass), 1 => (1i64..500).prop_map(Event::Resume)];
    prop::collection::vec(event, 1..120)
}

fn busy_book() -> RuleBook {
    let mut book = river();
    book.nodes[0].sensors[0].spike = Some(0.9);
    book.nodes[1].sensors[0].step = Some(Step { change: 0.5, within: MINUTE * 5 });
    book.nodes[0].sensors[1].stuck_after = Some(MINUTE * 60);
    book.rules[0].levels[0].hold = MINUTE * 6;
    book.rules[0].levels[1].clear_hold = MINUTE * 6;
    let rate = signal(1, Quantity::WaterLevel, Function::Rate(MINUTE * 60));
    let silent = Test::Silent(NodeIndex(1), MINUTE * 20);
    let rising = Test::Signal(Leaf {
        signal: rate,
        limit: Limit::Above { enter: 1.0, exit: 0.0 },
        while_silent: true,
    });
    let mut second = rule("b", vec![level(Level::Danger, Test::AtLeast(2, vec![silent, rising]))]);
    second.area = "hill".into();
    let rain = signal(0, Quantity::Rain, Function::Sum(MINUTE * 60));
    let third = rule(
        "c",
        vec![level(
            Level::Advisory,
            Test::AtLeast(1, vec![above(rain, 3.0, 2.0), above(water(1), 3.5, 3.0)]),
        )],
    );
    // Two of three see water, or both gauges are mute.
    let water_seen =
        vec![above(water(0), 1.5, 1.2), above(water(1), 1.5, 1.2), above(rain, 2.0, 1.0)];
    let mute = |node: u32, after: u32| Test::Silent(NodeIndex(node), MINUTE * after);
    let both_mute = Test::AtLeast(2, vec![mute(0, 25), mute(1, 45)]);
    let either = Test::AtLeast(1, vec![Test::AtLeast(2, water_seen), both_mute]);
    let mut fourth = rule("d", vec![level(Level::Warning, either)]);
    fourth.area = "ford".into();
    book.rules.extend([second, third, fourth]);
    book
}

fn live(engine: &mut Engine, event: &Event, clock: &mut i64) -> Vec<Effect> {
    let mut effects = Vec::new();
    match *event {
        Event::Say { node, rain, value, stamp, redelivered } => {
            let quantity = if rain { Quantity::Rain } else { Quantity::WaterLevel };
            let stamp = stamp.map(|before| Stamp::Unix((*clock + before) * 60_000));
            let measurement = Measurement { quantity, value: f64::from(value) / 10.0, stamp };
            let input =
                Input::Heard { node: NodeIndex(node), measurements: &[measurement], redelivered };
            engine.handle(input, minutes(*clock), &mut effects);
        }
        Event::Pass(by) => {
            *clock += by;
            engine.handle(Input::Tick, minutes(*clock), &mut effects);
        }
        Event::Resume(by) => {
            *clock += by;
            let down = MINUTE * u32::try_from(by).unwrap();
            engine.handle(Input::Resumed { down }, minutes(*clock), &mut effects);
        }
    }
    effects
}

proptest! {
    #[test]
    fn restore_and_continue_equals_never_having_stopped(list in events(), cut in 0usize..120) {
        let book = Arc::new(busy_book());
        let mut whole = Engine::new(&book, minutes(0));
        let mut clock = 0;
        let mut restored: Option<Engine> = None;
        for (n, event) in list.iter().enumerate() {
            if n == cut {
                restored = Some(Engine::restore(&book, &whole.save()).unwrap());
            }
            let mut again = clock;
            let expected = live(&mut whole, event, &mut clock);
            if let Some(engine) = &mut restored {
                prop_assert_eq!(format!("{:?}", live(engine, event, &mut again)), format!("{:?}", expected));
                prop_assert_eq!(engine.save(), whole.save());
            }
        }
    }

    #[test]
    fn looking_at_what_has_changed_decides_as_looking_at_everything(list in events()) {
        let book = Arc::new(busy_book());
        let mut engine = Engine::new(&book, minutes(0));
        let mut clock = 0;
        for event in &list {
            // One that was just restored looks at everything.
            let mut fresh = Engine::restore(&book, &engine.save()).unwrap();
            let mut again = clock;
            let (decided, expected) = (live(&mut engine, event, &mut clock), live(&mut fresh, event, &mut again));
            prop_assert_eq!(format!("{decided:?}"), format!("{expected:?}"));
            prop_assert_eq!(engine.save(), fresh.save());
        }
    }

    #[test]
    fn it_makes_no_difference_how_often_the_engine_is_woken(list in events()) {
        let book = Arc::new(busy_book());
        let (mut seldom, mut often) = (Engine::new(&book, minutes(0)), Engine::new(&book, minutes(0)));
        let mut clock = 0;
        let (mut from_seldom, mut from_often) = (Vec::new(), Vec::new());
        for event in &list {
            let mut again = clock;
            if let Event::Pass(by) = event {
                for minute in clock..clock + by {
                    often.handle(Input::Tick, minutes(minute), &mut from_often);
                }
            }
            from_seldom.extend(live(&mut seldom, event, &mut clock));
            from_often.extend(live(&mut often, event, &mut again));
        }
        prop_assert_eq!(format!("{from_often:?}"), format!("{from_seldom:?}"));
        prop_assert_eq!(often.save(), seldom.save());
    }

    #[test]
    fn replaying_what_was_stored_gives_the_same_state_and_the_same_alerts(list in events()) {
        let book = Arc::new(busy_book());
        let mut first = Engine::new(&book, minutes(0));
        let mut second = Engine::new(&book, minutes(0));
        let mut clock = 0;
        for event in &list {
            let before = clock;
            let effects = live(&mut first, event, &mut clock);
            let mut again = Vec::new();
            match event {
                Event::Say { .. } => {
                    second.handle(Input::Tick, minutes(before), &mut again);
                    for effect in &effects {
                        if let Effect::Reading(reading) = effect {
                            let input = Input::Heard { node: reading.node, measurements: &[reading.measurement], redelivered: false };
                            second.handle(input, minutes(clock), &mut again);
                        }
                    }
                }
                Event::Pass(_) | Event::Resume(_) => again = live(&mut second, event, &mut before.clone()),
            }
            let stored = |list: &[Effect]| list.iter().filter(|e| !matches!(e, Effect::Repeated { .. })).map(|e| format!("{e:?}")).collect::<Vec<_>>();
            prop_assert_eq!(stored(&again), stored(&effects));
        }
        prop_assert_eq!(first.save(), second.save());
    }
}
