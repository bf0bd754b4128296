//! Several gauges and rules, backlogs and outages: what the village search found.

use super::*;

/// A river with a gauge at either end, each with a rule of its own.
fn two_gauges() -> RuleBook {
    let mut book = river();
    let lower = vec![level(Level::Warning, above(water(1), 2.0, 1.8))];
    book.rules.push(rule("lower", lower));
    book
}

#[test]
fn a_warning_is_issued_anew_by_whoever_sees_it_and_is_still_heard() {
    let mut run = Run::new(two_gauges());
    run.level(0, 0, 2.5).level(1, 1, 2.5).told();
    for at in (5..=355).step_by(10) {
        run.level(1, at, 2.5);
    }
    assert_eq!(run.told(), [(Reason::Reissued, Level::Warning)], "gauge a is silent");
    let open = run.engine.open_warnings().next().unwrap();
    assert_eq!(open.4, minutes(330 + 360));
}

#[test]
fn what_nobody_sees_any_more_runs_out_and_what_is_still_seen_goes_on() {
    let mut run = Run::new(two_gauges());
    run.level(0, 0, 3.5).level(1, 1, 2.5).told();
    for at in (5..=355).step_by(10) {
        run.level(1, at, 2.5);
    }
    assert_eq!(run.told(), []);
    assert_eq!(run.tick(360).told(), [(Reason::Downgraded, Level::Warning)]);
}

#[test]
fn a_gauge_that_sees_it_only_while_a_warning_runs_out_has_it_issued_anew() {
    let mut run = Run::new(two_gauges());
    run.level(0, 0, 2.5).told();
    assert_eq!(run.tick(335).told(), [], "due, but nobody is heard");
    assert_eq!(run.level(1, 340, 2.5).tick(340).told(), [(Reason::Reissued, Level::Warning)]);
}

#[test]
fn a_silence_that_a_warning_ran_out_with_does_not_raise_it_again_after_an_outage() {
    let mut book = river();
    book.rules[0].levels = vec![level(Level::Warning, Test::Silent(NodeIndex(0), MINUTE * 15))];
    let mut run = Run::new(book);
    assert_eq!(run.tick(40).told(), [(Reason::Raised, Level::Warning)]);
    let down = MINUTE * 400;
    run.engine.handle(Input::Resumed { down }, minutes(440), &mut run.effects);
    assert_eq!(run.told(), []);
    assert_eq!(run.engine.open_warnings().count(), 0);
}

#[test]
fn a_warning_that_ran_out_does_not_come_back_with_a_restart() {
    let mut book = river();
    let leaf = Leaf {
        signal: water(0),
        limit: Limit::Above { enter: 2.0, exit: 1.8 },
        while_silent: true,
    };
    let both = Test::AtLeast(2, vec![Test::Signal(leaf), Test::Silent(NodeIndex(0), MINUTE * 15)]);
    book.rules[0].levels = vec![level(Level::Warning, both)];
    let mut run = Run::new(book.clone());
    run.level(0, 0, 2.5);
    assert_eq!(run.tick(40).told(), [(Reason::Raised, Level::Warning)]);
    assert_eq!(run.tick(600).told(), []);
    assert_eq!(run.engine.open_warnings().count(), 0, "nobody was heard");
    run.engine = Engine::restore(&Arc::new(book), &run.engine.save()).unwrap();
    for (at, down) in [(601, MINUTE), (602, Duration::ZERO), (900, MINUTE * 290)] {
        run.engine.handle(Input::Resumed { down }, minutes(at), &mut run.effects);
        assert_eq!(run.told(), []);
    }
}

#[test]
fn a_backlog_after_newer_readings_neither_breaks_a_hold_nor_completes_it() {
    let mut book = river();
    book.rules[0].levels[0].hold = MINUTE * 30;
    let mut run = Run::new(book);
    let mut say = |at: i64, measured: i64, value: f64| {
        let stamp = Some(Stamp::Unix(measured * 60_000));
        run.say(0, at, Quantity::WaterLevel, value, stamp).told()
    };
    say(0, 0, 1.0);
    say(60, 60, 2.2);
    say(61, 20, 2.2);
    assert_eq!(say(75, 75, 2.2), [], "15 minutes");
    say(76, 40, 2.2);
    assert_eq!(say(90, 90, 2.2), [(Reason::Raised, Level::Warning)]);
}

#[test]
fn nodes_that_fall_silent_at_one_moment_are_judged_together() {
    let mut book = river();
    book.nodes[1].silent_after = MINUTE * 60;
    let signal = Leaf {
        signal: water(0),
        limit: Limit::Above { enter: 9.0, exit: 9.0 },
        while_silent: true,
    };
    let any = Test::AtLeast(1, vec![Test::Signal(signal), Test::Silent(NodeIndex(1), MINUTE * 15)]);
    book.rules[0].levels = vec![LevelRule { clear_hold: MINUTE * 15, ..level(Level::Danger, any) }];
    let mut run = Run::new(book);
    assert_eq!(run.level(0, 1, 1.0).tick(15).told(), [(Reason::Raised, Level::Danger)]);
    run.level(1, 16, 1.0);
    // Gauge a is silent from now on, and gauge b for so long that what would have ended goes on.
    assert_eq!(run.tick(31).told(), []);
}

#[test]
fn a_redelivered_frame_is_known_again_although_its_age_has_no_time() {
    let mut run = Run::new(river());
    let measurements = [Measurement {
        quantity: Quantity::WaterLevel,
        value: 1.5,
        stamp: Some(Stamp::Age(60_000)),
    }];
    let mut hear = |at: i64, redelivered: bool| {
        let input = Input::Heard { node: NodeIndex(0), measurements: &measurements, redelivered };
        run.engine.handle(input, minutes(at), &mut run.effects);
        std::mem::take(&mut run.effects)
    };
    assert!(matches!(hear(5, false)[..], [Effect::Reading(_)]));
    assert_eq!(hear(7, true), [Effect::Repeated { node: NodeIndex(0) }]);
}

#[test]
fn a_last_value_that_many_suspect_readings_followed_is_forgotten_with_and_without_a_restart() {
    let mut book = river();
    let any = Test::AtLeast(
        1,
        vec![
            above(water(0), 2.0, 1.8),
            above(signal(0, Quantity::Rain, Function::Last), 99.0, 99.0),
        ],
    );
    book.rules[0].levels = vec![LevelRule { hold: MINUTE * 60, ..level(Level::Danger, any) }];
    let told_after = |suspect: i64, restart: bool| {
        let mut run = Run::new(book.clone());
        run.level(0, 0, 2.5);
        for n in 1..=suspect {
            run.level(0, n * 5, f64::NAN);
        }
        if restart {
            run.engine = Engine::restore(&Arc::new(book.clone()), &run.engine.save()).unwrap();
        }
        run.say(0, suspect * 5 + 1, Quantity::Rain, 0.0, None).told()
    };
    for restart in [false, true] {
        assert_eq!(told_after(15, restart), [(Reason::Raised, Level::Danger)]);
        assert_eq!(told_after(16, restart), []);
    }
}
