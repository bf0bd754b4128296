//! The radio link under a seeded random world: nodes whose power fails at any step, a medium that loses, doubles and
//! delays, a gateway that dies before and behind its commits, and an attacker who replays all that was ever on the air,
//! holds frames back, and turns bits.
//!
//! After some days the faults stop, and everything must come to rest. The judge keeps naive lists and knows nothing of
//! windows, counters or keys. A failure names its seed and the command that tells its story.

mod gateway;
mod node;
mod oracle;
mod world;

use crate::dice::asked;
use std::collections::BTreeMap;
use world::{Size, Story, World, Wrong};

/// Seeds that every run of the tests lives through; `KENGELE_SEEDS` asks for more.
const SEEDS: u64 = 16;
/// Seeds within which each planted bug must be caught.
#[cfg(feature = "planted")]
const SEEDS_TO_CATCH: u64 = 40;

fn live(seed: u64, size: Size, traced: bool) -> Result<Story, Wrong> {
    World::seeded(seed, size, traced).run()
}

fn fail(seed: u64, size: Size) -> ! {
    let wrong = live(seed, size, true).expect_err("a seed that failed fails again: P8");
    let tail = wrong.trace.len().saturating_sub(200);
    panic!(
        "{}\n\nseed {seed}: {}\nreplay: KENGELE_SEED={seed} cargo test --test suite radio_search",
        wrong.trace[tail..].join("\n"),
        wrong.what
    );
}

#[test]
fn no_false_reading_and_none_lost_that_was_acknowledged() {
    if let Some(seed) = asked("KENGELE_SEED") {
        match live(seed, Size::DAYS, true) {
            Ok(story) => println!("seed {seed}: {story:?}"),
            Err(_) => fail(seed, Size::DAYS),
        }
        return;
    }
    let seeds = asked("KENGELE_SEEDS").unwrap_or(SEEDS);
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..seeds {
        let Ok(story) = live(seed, Size::DAYS, false) else { fail(seed, Size::DAYS) };
        for (what, times) in story.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    println!("{seeds} seeds saw: {seen:#?}");
    for rare in [
        "accepted",
        "acked",
        "refused replayed",
        "refused too_old",
        "refused tag",
        "refused other_epoch",
        "refused foreign_node",
        "rekeyed",
        "stale",
        "reading again",
        "power cut",
        "torn write",
        "crash before commit",
        "crash behind commit",
        "order done",
        "node refused replayed",
    ] {
        assert!(seen.contains_key(rare), "{rare} never happened: {seen:#?}");
    }
}

/// 200 nodes, 30 days, and all of it on the air again.
#[test]
fn a_month_of_two_hundred_nodes_under_replay_keeps_its_promises() {
    let Ok(story) = live(2026, Size::MONTH, false) else { fail(2026, Size::MONTH) };
    println!("{story:#?}");
    assert!(story.seen["accepted"] >= 30_000);
    assert!(story.seen["refused replayed"] + story.seen["refused too_old"] >= 30_000);
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 0..3 {
        let Ok(one) = live(seed, Size::DAYS, false) else { fail(seed, Size::DAYS) };
        let Ok(other) = live(seed, Size::DAYS, false) else { fail(seed, Size::DAYS) };
        assert_eq!(one, other, "seed {seed}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn every_planted_bug_of_the_radio_is_caught() {
    use kengele::domain::planted::{Bug, plant};
    let mut missed = Vec::new();
    for bug in Bug::RADIO {
        plant(Some(bug));
        let caught =
            (0..SEEDS_TO_CATCH).find_map(|seed| Some((seed, live(seed, Size::DAYS, false).err()?)));
        plant(None);
        match caught {
            Some((seed, wrong)) => println!("{bug:?}: seed {seed}, {}", wrong.what),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught within {SEEDS_TO_CATCH} seeds: {missed:?}");
}
