//! The whole daemon under a storm of readings: `cargo bench --bench storm`.
//!
//! A release build of the program runs as its own process on a file system of this machine, with a database, 50 rules
//! and an SMS provider over HTTP; everything that loads and watches it is in this process. Its limits are measured in the
//! same run: the listener alone, and SQLite alone with the program's own transactions. Nothing is asserted; the table
//! says what was measured. Words behind `--` choose parts: storm, limits, crossings, rest. `KENGELE_BENCH_SECONDS` sets how long each load lasts (10).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unchecked_time_subtraction,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures time, and stops where it cannot"
)]

mod storm {
    pub(crate) mod limits;
    pub(crate) mod load;
    pub(crate) mod process;
    pub(crate) mod site;
}

use std::time::Duration;
use storm::load::{Load, Storm, Told};
use storm::site::{ALARMS, Site};

/// Measured by experience: enough to keep the daemon busy, and few enough that a commit is not one endless batch.
const WINDOW: usize = 16;

fn seconds() -> u64 {
    let asked = std::env::var_os("KENGELE_BENCH_SECONDS");
    asked.map_or(10, |value| value.to_str().and_then(|v| v.parse().ok()).expect("seconds"))
}

fn main() {
    let length = Duration::from_secs(seconds());
    println!("machine: {}", storm::process::machine());
    println!("each load lasts {} s; the load generator shares the machine\n", length.as_secs());

    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    if is_wanted("storm") {
        println!("## As fast as it goes, MQTT QoS 1, one connection a node");
        println!(
            "| nodes | readings/s acked | CPU-s per 1,000 | resident peak | written to disk per reading |"
        );
        println!("|---|---|---|---|---|");
        for nodes in [1_000, 10_000] {
            storm_at_full_speed(nodes, length);
        }
    }
    if is_wanted("limits") {
        println!("\n## Limits of the same machine in the same run");
        storm::limits::listener_alone(length);
        storm::limits::database_alone(length);
    }
    if is_wanted("crossings") {
        println!("\n## From a crossing to the channel, 1,000 nodes");
        let Told { p50, p99, max, count } = storm::limits::flush_alone();
        println!(
            "the disk alone, {count} flushes of a page: {p50:.1?}, p99 {p99:.1?}, max {max:.1?}\n"
        );
        println!("| load | crossings | p50 | p99 | max | CPU-s per 1,000 |");
        println!("|---|---|---|---|---|---|");
        for rate in [1_000, 5_000] {
            crossings_at(rate, length);
        }
    }
    if is_wanted("rest") {
        println!("\n## At rest");
        idle();
    }
}

fn storm_at_full_speed(nodes: usize, length: Duration) {
    let site = Site::start(nodes, ALARMS);
    let before = site.process().usage();
    let load = Load { nodes, window: WINDOW, rate: None, crossings: 0, length };
    let told: Storm = load.run(site.mqtt, &site.arrivals);
    let after = site.process().usage();
    let stored = site.readings_stored();
    assert!(stored >= told.acked, "{stored} stored of {} acknowledged", told.acked);
    println!(
        "| {nodes} | {:.0} | {:.4} | {:.1} MB | {:.0} B (file: {:.1} B) |",
        told.acked as f64 / told.took.as_secs_f64(),
        (after.cpu - before.cpu).as_secs_f64() * 1000.0 / told.acked as f64,
        after.resident_peak as f64 / 1e6,
        (after.written - before.written) as f64 / told.acked as f64,
        site.database_bytes() as f64 / stored as f64,
    );
}

fn crossings_at(rate: u64, length: Duration) {
    let nodes = 1_000;
    let site = Site::start(nodes, ALARMS);
    let before = site.process().usage();
    let crossings = usize::try_from(length.as_secs() * 20).unwrap().min(storm::site::ALARMS);
    let load = Load { nodes, window: WINDOW, rate: Some(rate), crossings, length };
    let storm = load.run(site.mqtt, &site.arrivals);
    let after = site.process().usage();
    let Told { p50, p99, max, count } = storm.told;
    assert_eq!(count, crossings, "every crossing reaches the channel");
    let ms = |d: Duration| d.as_secs_f64() * 1000.0;
    println!(
        "| {rate}/s ({:.0}/s acked) | {count} | {:.1} ms | {:.1} ms | {:.1} ms | {:.4} |",
        storm.acked as f64 / storm.took.as_secs_f64(),
        ms(p50),
        ms(p99),
        ms(max),
        (after.cpu - before.cpu).as_secs_f64() * 1000.0 / storm.acked as f64,
    );
}

fn idle() {
    let site = Site::start(10, 0);
    let fresh = site.process().usage();
    std::thread::sleep(Duration::from_secs(10));
    let rested = site.process().usage();
    println!(
        "resident, 10 nodes declared: {:.1} MB; CPU in 10 s: {:.3} s",
        rested.resident as f64 / 1e6,
        (rested.cpu - fresh.cpu).as_secs_f64()
    );
    let site = Site::start(10_000, 0);
    let connections = storm::load::connect(site.mqtt, 10_000);
    println!(
        "resident, {} nodes connected: {:.1} MB",
        connections.len(),
        site.process().usage().resident as f64 / 1e6
    );
}
