//! The node's logic against the gateway's end of the link, in virtual time, with losses and losses of power.

use crate::world::{Flash, World, plan, provisioning};
use kengele_field_node::event::{Action, Event};
use kengele_field_node::flash::MemoryFlash;
use kengele_field_node::plan::{Confirm, Listening, Siren};
use kengele_field_node::sealed::{Boot, End, Kind, Order, Reading, Value};

const DAY_S: u64 = 86_400;

#[test]
fn a_node_that_was_never_provisioned_says_so() {
    let started = kengele_field_node::app::App::start(plan(), Flash::default(), Boot::PowerOn, 1);
    assert!(matches!(started, Err(kengele_field_node::app::StartError::NotProvisioned(_))));
}

#[test]
fn readings_come_at_the_interval_and_each_once() {
    let mut world = World::new(1, plan());
    world.run_until(DAY_S);
    // One in ten minutes, from the first measurement on.
    let count = world.readings.len();
    assert!((143..=145).contains(&count), "{count}");
    assert_eq!(world.app().waiting(), 0);
    assert_eq!(world.app().counters().repeats, 0);
    assert_eq!(world.kinds.get(&Kind::Health), Some(&1));
    assert_eq!(world.kinds.get(&Kind::Alarm), None);
}

#[test]
fn a_change_is_told_at_once_as_an_alarm() {
    let mut world = World::new(2, plan());
    world.run_until(3_000);
    let before = world.readings.len();
    world.level_mm = 1_900;
    // It measures once a minute.
    world.run_until(3_062);
    assert_eq!(world.readings.len(), before + 1);
    assert_eq!(world.kinds.get(&Kind::Alarm), Some(&1));
    assert_eq!(world.readings.values().last().unwrap().values[0], Value::Milli(1_900));
}

#[test]
fn rain_is_added_up_between_reports_and_much_of_it_is_an_alarm() {
    let mut world = World::new(13, plan());
    world.run_until(1_500);
    let told = |world: &World| -> i32 {
        let rain = world.readings.values().map(|reading| match reading.values[2] {
            Value::Milli(rain_um) => rain_um,
            Value::Missing | Value::Above | Value::Below | Value::Faulty => 0,
        });
        rain.sum()
    };
    for minute in 1..=30 {
        world.rain_um += 200;
        world.run_until(1_500 + minute * 60);
    }
    world.run_until(4_200);
    assert_eq!(told(&world), 6_000);
    assert_eq!(world.kinds.get(&Kind::Alarm), None);
    world.rain_um += 5_000;
    world.run_until(4_265);
    assert_eq!(told(&world), 11_000);
    assert_eq!(world.kinds.get(&Kind::Alarm), Some(&1));
}

#[test]
fn what_nobody_heard_is_kept_and_told_later_with_its_age() {
    let mut world = World::new(3, plan());
    world.rises = true;
    world.run_until(1_000);
    world.deaf = true;
    world.run_until(1_000 + 6 * 3_600);
    let missed = world.app().waiting();
    assert!(missed >= 35, "{missed}");
    let before = world.readings.len();
    world.deaf = false;
    world.run_until(1_000 + 8 * 3_600);
    assert_eq!(world.app().waiting(), 0);
    assert!(world.readings.len() >= before + missed as usize);
    // The oldest was told hours after it was taken, and its age tells when that was.
    let late = world.ages_s.iter().max().unwrap();
    assert!(*late > 5 * 3_600, "{late}");
    assert!(world.errors_min.len() > 40);
    assert!(world.errors_min.iter().all(|error| error.abs() <= 1), "{:?}", world.errors_min);
}

#[test]
fn a_reading_from_before_a_loss_of_power_says_so() {
    let mut world = World::new(14, plan());
    world.deaf = true;
    world.run_until(2_000);
    world.reboot(Boot::PowerOn);
    world.deaf = false;
    world.run_until(world.now_s() + 3_000);
    let (before, after): (Vec<&Reading>, Vec<&Reading>) =
        world.readings.values().partition(|reading| reading.before_restart);
    assert!(before.len() >= 3 && after.len() >= 4, "{} {}", before.len(), after.len());
    assert!(before.iter().max_by_key(|r| r.id).unwrap().id < after[0].id);
}

#[test]
fn a_reading_leaves_the_store_only_when_the_gateway_has_it() {
    let mut world = World::new(4, plan());
    world.acks_lost = true;
    world.run_until(3_600);
    let kept = world.app().waiting();
    assert!(kept >= 6, "{kept}");
    // The gateway heard them all, and hears them again: each counts once.
    assert!(world.readings.len() >= 6);
    assert!(world.app().counters().repeats > 6);
    world.acks_lost = false;
    world.run_until(7_200);
    assert_eq!(world.app().waiting(), 0);
}

#[test]
fn an_acknowledgement_of_another_frame_settles_nothing() {
    let mut world = World::new(15, plan());
    world.acks_late = true;
    world.run_until(3_600);
    let kept = world.app().waiting();
    assert!(kept >= 6, "{kept}");
    assert_eq!(world.app().counters().acked, 0);
}

#[test]
fn telemetry_that_is_not_to_be_confirmed_is_let_go_of_when_sent() {
    let mut unconfirmed = plan();
    unconfirmed.confirm = Confirm::Alarms;
    let mut world = World::new(5, unconfirmed);
    world.acks_lost = true;
    world.run_until(DAY_S);
    assert_eq!(world.app().waiting(), 0);
    assert!(world.readings.len() >= 143);
}

#[test]
fn an_unheard_node_stays_within_its_airtime() {
    let mut plan = plan();
    plan.modulation.spreading_factor = 12;
    plan.interval_s = 60;
    let mut world = World::new(6, plan);
    world.deaf = true;
    world.run_until(DAY_S);
    let hour_us = 36_000_000;
    for (index, (at_s, _)) in world.sent.iter().enumerate() {
        let hour = world.sent[index..].iter().take_while(|(then_s, _)| then_s - at_s < 3_600);
        let used: u64 = hour.map(|(_, air_us)| air_us).sum();
        assert!(used <= hour_us, "{used} µs in the hour from {at_s} s");
    }
    assert!(world.app().counters().held_back > 0);
    // It is used, too: two thirds and more of what a day allows to ordinary frames.
    assert!(world.app().airtime_us() > 24 * hour_us / 2, "{}", world.app().airtime_us());
}

#[test]
fn an_interval_is_obeyed_and_survives_a_loss_of_power() {
    let mut world = World::new(7, plan());
    world.run_until(700);
    world.order(Order::Interval { seconds: 120 });
    world.run_until(1_900);
    assert_eq!(world.app().interval_s(), 120);
    assert_eq!(world.ended, [End::Done]);
    world.reboot(Boot::PowerOn);
    assert_eq!(world.app().interval_s(), 120);
    world.order(Order::Interval { seconds: 5 });
    world.run_until(world.now_s() + 600);
    assert_eq!(world.app().interval_s(), 120);
    assert_eq!(world.ended, [End::Done, End::Refused]);
}

#[test]
fn a_new_key_is_taken_and_spoken_with() {
    let mut world = World::new(8, plan());
    world.run_until(700);
    world.order(Order::Rekey { random: [7; 16] });
    world.run_until(2_500);
    assert_eq!(world.gateway.state().epoch(), 2);
    let before = world.readings.len();
    world.reboot(Boot::PowerOn);
    world.run_until(world.now_s() + 3_600);
    assert!(world.readings.len() >= before + 5);
    assert_eq!(world.app().waiting(), 0);
}

fn siren_world(seed: u64) -> World {
    let mut plan = plan();
    plan.listening = Listening::Always;
    plan.siren = Some(Siren { on_s_max: 180, test_s_max: 5 });
    World::new(seed, plan)
}

#[test]
fn a_siren_sounds_when_told_and_is_silent_when_told() {
    let mut world = siren_world(9);
    world.run_until(100);
    assert!(!world.relay);
    world.order(Order::SirenOn { seconds: 60 });
    world.run_until(110);
    assert!(world.relay);
    world.run_until(175);
    assert!(!world.relay);
    world.order(Order::SirenOn { seconds: 60 });
    world.run_until(185);
    assert!(world.relay);
    world.order(Order::SirenOff);
    world.run_until(195);
    assert!(!world.relay);
    assert_eq!(world.ended, [End::Done; 3]);
}

#[test]
fn no_order_keeps_a_siren_on_beyond_its_longest_time() {
    for seed in 0..20 {
        keep_on(seed);
    }
}

fn keep_on(seed: u64) {
    let mut plan = plan();
    plan.listening = Listening::Always;
    plan.siren = Some(Siren { on_s_max: 180, test_s_max: 5 });
    // It has much to do meanwhile, and is slow.
    plan.modulation.spreading_factor = 12;
    plan.airtime_permille = 1_000;
    (plan.sample_s, plan.interval_s) = (5, 10);
    let mut world = World::new(seed, plan);
    world.loss_percent = 20;
    world.run_until(100);
    for _ in 0..60 {
        world.order(Order::SirenOn { seconds: 65_535 });
        world.run_until(world.now_s() + 10);
    }
    world.run_until(world.now_s() + 3_600);
    assert!(!world.relay);
    let longest_s = world.longest_s();
    assert!((175..=180).contains(&longest_s), "seed {seed}: {longest_s}");
    world.loss_percent = 0;
    world.order(Order::SirenTest { seconds: 600 });
    world.run_until(world.now_s() + 20);
    assert!(!world.relay);
}

#[test]
fn a_siren_is_silent_after_a_loss_of_power() {
    let mut world = siren_world(11);
    world.run_until(100);
    world.order(Order::SirenOn { seconds: 120 });
    world.run_until(120);
    assert!(world.relay);
    world.reboot(Boot::Watchdog);
    world.run_until(world.now_s() + 30);
    assert!(!world.relay, "the order is not done again");
}

#[test]
fn the_first_action_of_a_siren_opens_the_relay() {
    let mut plan = plan();
    plan.siren = Some(Siren { on_s_max: 180, test_s_max: 5 });
    let flash = kengele_field_node::app::App::provision(Flash::default(), &provisioning());
    let mut app =
        kengele_field_node::app::App::start(plan, flash.unwrap(), Boot::PowerOn, 1).unwrap();
    assert_eq!(app.handle(Event::Started, 0), Action::Switch { on: false });
}

#[test]
fn a_node_whose_flash_fails_still_tells_what_it_measures_and_sounds_its_siren() {
    let mut world = siren_world(12);
    world.run_until(100);
    world.break_flash();
    let before = world.readings.len();
    // What was reserved lasts for a quarter of an hour.
    world.level_mm = 2_500;
    world.run_until(300);
    assert!(world.readings.len() > before);
    world.order(Order::SirenOn { seconds: 30 });
    world.run_until(310);
    assert!(world.relay);
}

/// Any loss of power, at any word of flash, any loss on the air: no counter comes twice, nothing that the node let go of
/// is missing at the gateway, and in the end everything that was kept is there.
#[test]
fn whatever_is_lost_no_counter_comes_twice_and_nothing_acknowledged_is_missing() {
    for seed in 0..500 {
        let said = format!("seed {seed}");
        let mut world = World::new(seed, plan());
        world.loss_percent = 10 + seed % 50;
        for round in 0..8 {
            let words = 1 + world.dice.below(400);
            world.cut_after(words);
            let until = world.now_s() + 600 + u64::from(world.dice.below(9_000));
            world.level_mm = 1_000 + round * 40;
            world.run_until(until);
            world.reboot(Boot::BrownOut);
        }
        world.loss_percent = 0;
        world.run_until(world.now_s() + 8 * 3_600);
        assert_eq!(world.app().waiting(), 0, "{said}");
        assert_eq!(world.app().dropped(), 0, "{said}");
        let acked = world.acked + u64::from(world.app().counters().acked);
        let heard = world.readings.len() as u64;
        assert!(acked <= heard, "{said}: {acked} let go of, {heard} at the gateway");
        // A record that was cut off may have lost its reading, or its being let go of: one a cut.
        assert!(acked + 2 * 8 >= heard, "{said}: {acked} let go of, {heard} at the gateway");
        assert!(world.nonces.len() > 50, "{said}: {}", world.nonces.len());
        assert!(!world.nonce_twice, "{said}: a counter came twice");
    }
}

/// Power fails between any two things that a node does, again and again.
#[test]
fn a_loss_of_power_at_any_step_repeats_no_counter_and_loses_no_reading_that_was_kept() {
    for step in 1..=400 {
        let mut world = World::new(u64::from(step), plan());
        world.loss_percent = 20;
        for _ in 0..4 {
            world.run_steps(step);
            world.reboot(Boot::BrownOut);
        }
        let waiting = u64::from(world.app().waiting());
        let (acked, heard) = (world.acked, world.readings.len() as u64);
        world.loss_percent = 0;
        world.run_until(world.now_s() + 4 * 3_600);
        assert!(!world.nonce_twice, "step {step}: a counter came twice");
        assert_eq!(world.app().waiting(), 0, "step {step}");
        // All that was kept is there in the end, and what is made since.
        let told = world.readings.len() as u64;
        assert!(acked <= heard && told >= acked + waiting, "step {step}: {told} {acked} {waiting}");
    }
}

/// The same flash as in the world, to show that the type is free.
#[test]
fn pages_and_their_size_are_the_boards_own() {
    let flash = MemoryFlash::<4, 1024>::default();
    let flash = kengele_field_node::app::App::provision(flash, &provisioning()).unwrap();
    assert!(kengele_field_node::app::App::start(plan(), flash, Boot::PowerOn, 1).is_ok());
}
