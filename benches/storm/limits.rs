//! What the parts of the daemon can do by themselves: the listener that acknowledges at once, and the store that is
//! handed full turns.

use super::load::{Load, Told, calm};
use super::site::{ALARMS, Arrivals, configuration};
use kengele::app::convert;
use kengele::config::Source;
use kengele::domain::engine::Reading;
use kengele::domain::frame::{Envelope, Outcome};
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::{Measurement, Quality};
use kengele::domain::rule::NodeIndex;
use kengele::domain::time::{ClockQuality, Timestamp, WallClock};
use kengele::pipeline::Rules;
use kengele::source::broker::{Listener, Rights, Settings};
use kengele::store::{Boot, Store, Turn};
use kengele::supervise::Tasks;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Nodes of both.
const NODES: usize = 1_000;
/// Readings of a turn, and turns that may wait, as the pipeline has it under load.
const READINGS: usize = 1024;

/// The listener takes everything and says at once that it is committed.
pub(crate) fn listener_alone(length: Duration) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut tasks = Tasks::default();
    let (frames, mut waiting) = mpsc::channel::<Envelope>(4096);
    let mqtt = runtime.block_on(async {
        let everything =
            Rights { nodes: Vec::new(), publish: vec!["#".into()], subscribe: Vec::new() };
        let settings = Settings {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            anonymous: Some(everything),
            ..Settings::default()
        };
        let listener = Listener::bind(settings, frames).await.unwrap();
        let mqtt = listener.addresses()[0];
        tasks.spawn("listener", listener.run(tasks.stop_signal()));
        tasks.spawn("sink", async move {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, 1024).await > 0 {
                let receipts = batch.drain(..).filter_map(|envelope: Envelope| envelope.receipt);
                receipts.for_each(|receipt| receipt.settle(Outcome::Committed));
            }
            Ok::<(), std::convert::Infallible>(())
        });
        mqtt
    });
    let load = Load { nodes: NODES, window: 16, rate: None, crossings: 0, length };
    let storm = load.run(mqtt, &Arrivals::default());
    println!(
        "listener alone, {NODES} nodes, acknowledged at once: {:.0} publications/s",
        storm.acked as f64 / storm.took.as_secs_f64()
    );
    tasks.stop();
    runtime.shutdown_background();
}

/// The store commits full turns, one waiting while the other is written.
pub(crate) fn database_alone(length: Duration) {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let text = configuration(folder.path(), nowhere, nowhere, NODES, ALARMS);
    std::fs::write(folder.path().join("people.csv"), "").unwrap();
    let loaded = convert::parse(&[Source { name: "bench.toml".into(), text }]).unwrap();
    let rules = convert::rules(&loaded).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (stored, took) =
        runtime.block_on(commit(&folder.path().join("kengele.db"), &rules, length));
    println!(
        "SQLite alone, turns of {READINGS} readings, synchronous = FULL: {:.0} readings/s",
        stored as f64 / took.as_secs_f64()
    );
}

/// One page is written and flushed, again and again: what each of the two flushes between a crossing and the channel takes at
/// the least.
pub(crate) fn flush_alone() -> Told {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut file = std::fs::File::create(folder.path().join("page")).unwrap();
    let flush = |_| {
        std::thread::sleep(Duration::from_millis(5));
        let begin = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        begin.elapsed()
    };
    Told::of((0..400).map(flush).collect())
}

async fn commit(path: &Path, rules: &Rules, length: Duration) -> (usize, Duration) {
    let (store, writer) = Store::open(path).await.unwrap();
    let wall = WallClock { offset_ms: 0, quality: ClockQuality::Estimated };
    let at = Timestamp::from_millis(0);
    let writer = tokio::task::JoinSet::from_iter([writer.run()]);
    store.begin(Boot { kernel: "bench".into(), uptime_ms: 0, at, wall }).await.unwrap();
    store.declare(Arc::clone(&rules.book), rules.sources.clone()).await.unwrap();
    let begin = Instant::now();
    let mut stored = 0;
    while begin.elapsed() < length {
        let turns = [turn(stored), turn(stored + READINGS)];
        let [one, other] = turns.map(|turn| store.commit(turn));
        let (one, other) = tokio::join!(one, other);
        one.and(other).unwrap();
        stored += 2 * READINGS;
    }
    let took = begin.elapsed();
    drop(store);
    writer.join_all().await.into_iter().for_each(Result::unwrap);
    (stored, took)
}

fn turn(count: usize) -> Turn {
    let readings = (count..count + READINGS).map(|number| {
        let node = number % NODES;
        Reading {
            node: NodeIndex(u32::try_from(node).unwrap()),
            measurement: Measurement {
                quantity: Quantity::WaterLevel,
                value: f64::from(calm(node, (number / NODES) as u64)) / 100.0,
                stamp: None,
            },
            quality: Quality::Good,
        }
    });
    let at = Timestamp::from_millis(i64::try_from(count).unwrap());
    Turn { at, readings: readings.collect(), ..Turn::default() }
}
