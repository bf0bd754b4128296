//! The outbox under a seeded random world with an independent naive judge.
//!
//! Each seed draws people, warnings with updates and all-clears, two channels, a budget, a mix of faults and crashes; the
//! faults stop after six hours of virtual time and everything must come to rest. A failure names its seed and the command
//! that tells its story.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a world that breaks its own rules fails the test where it does"
)]

mod gateway;
mod network;
mod oracle;
mod outside;
mod plan;
mod world;

use crate::dice::asked;
use std::collections::BTreeMap;
use world::{Story, World, Wrong};

/// Seeds that every run of the tests lives through; `KENGELE_SEEDS` asks for more.
const SEEDS: u64 = 3000;

/// Seeds within which each planted bug must be caught.
#[cfg(feature = "planted")]
const SEEDS_TO_CATCH: u64 = 1000;

fn live(seed: u64, traced: bool) -> Result<Story, Wrong> {
    World::seeded(seed, traced).run()
}

fn fail(seed: u64) -> ! {
    let wrong = live(seed, true).expect_err("a seed that failed fails again: P8");
    panic!(
        "{}\n\nseed {seed}: {}\nreplay: KENGELE_SEED={seed} cargo test --test suite outbox_search",
        wrong.trace.join("\n"),
        wrong.what
    );
}

#[test]
fn every_seed_ends_as_the_promises_say() {
    if let Some(seed) = asked("KENGELE_SEED") {
        match live(seed, true) {
            Ok(story) => println!("seed {seed}: {story:?}"),
            Err(_) => fail(seed),
        }
        return;
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let seeds = asked("KENGELE_SEEDS").unwrap_or(SEEDS);
    let (mut submissions, mut rows, mut muddled) = (0, 0, 0);
    for seed in 0..seeds {
        let Ok(story) = live(seed, false) else { fail(seed) };
        submissions += story.submissions;
        rows += story.rows;
        muddled += story.seen.get("muddled").copied().unwrap_or(0);
        for what in story.seen.into_keys() {
            *seen.entry(what).or_default() += 1;
        }
    }
    println!(
        "{seeds} seeds, {rows} deliveries, {submissions} submissions; seeds that saw: {seen:#?}"
    );
    for rare in [
        "crash BeforeCommit",
        "crash AfterCommit",
        "crash StoredButNotFed",
        "crash ArmedNotBegun",
        "crash BytesOut",
        "crash DuringRecovery",
        "crash AnyTime",
        "end delivered",
        "end accepted",
        "end failed",
        "end expired",
        "end unknown",
        "end superseded",
        "end opted out",
        "possible duplicate",
        "reference wrapped",
    ] {
        let times = u64::from(seen.get(rare).copied().unwrap_or(0));
        assert!(times * 100 >= seeds, "{rare}: in {times} of {seeds} seeds, less than 1 %");
    }
    assert!(muddled * 20 <= rows, "{muddled} of {rows} deliveries could not be judged whole");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 0..50 {
        let (Ok(one), Ok(other)) = (live(seed, false), live(seed, false)) else { fail(seed) };
        assert_eq!(one.hash, other.hash, "seed {seed}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn every_planted_bug_of_the_outbox_is_caught() {
    use kengele::domain::planted::{Bug, plant};
    let mut missed = Vec::new();
    for bug in Bug::OUTBOX {
        plant(Some(bug));
        let caught = (0..SEEDS_TO_CATCH).find_map(|seed| Some((seed, live(seed, false).err()?)));
        plant(None);
        match caught {
            Some((seed, wrong)) => println!("{bug:?}: seed {seed}, {}", wrong.what),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught within {SEEDS_TO_CATCH} seeds: {missed:?}");
}
