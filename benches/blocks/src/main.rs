//! Sealed blocks of real observations beside other encodings, in bytes and time:
//! `cargo run --release --manifest-path benches/blocks/Cargo.toml`.
//!
//! Reads the series in `../shared/reference/`. Nothing is asserted; the table says what was measured. Ours hold everything:
//! names, times, clocks, sequence, quality and values.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark measures time, and stops where it cannot"
)]

#[path = "../../../src/domain/mod.rs"]
#[allow(dead_code, unused_imports, reason = "it is the program's, and not all of it is used here")]
mod domain;
mod wire;
mod others;

use domain::quantity::Quantity;
use domain::reading::{NodeName, Quality};
use domain::time::{ClockQuality, Timestamp, WallClock};
use jiff::civil::DateTime;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wire::batch::{Link, Reading, Stream, open, seal};

/// Readings of each signal in a block.
const WINDOWS: [usize; 2] = [24, 144];
/// What a block may cost over 1.15 times the entropy of its deltas.
const HEAD_BYTES: f64 = 16.0;
const ROUNDS: u32 = 50;

/// A file, one line in so many of it, the columns in it and what these are.
struct Series {
    file: &'static str,
    label: &'static str,
    every: usize,
    columns: &'static [(usize, &'static str)],
    /// Steps in the quantity's own unit.
    scale: f64,
}

const DROGDEN: &str = "obs_drogden_sealevel_30min.csv";
const SEATTLE: &str = "obs_seattle_daily.csv";
const SURFRAD: &str = "obs_surfrad_alamosa_1min.csv";
const WEATHER: &[(usize, &str)] = &[
    (1, "solar_radiation"),
    (2, "air_temperature"),
    (3, "humidity"),
    (4, "wind_speed"),
    (5, "wind_direction"),
    (6, "pressure"),
];
const DAYS: &[(usize, &str)] =
    &[(1, "rain"), (2, "air_temperature"), (3, "air_temperature"), (4, "wind_speed")];

fn all_series() -> Vec<Series> {
    let water = &[(1, "water_level")];
    let mut all = vec![Series {
        file: DROGDEN,
        label: "sea level, 30 min",
        every: 1,
        columns: water,
        scale: 100.0,
    }];
    let days = ["rain, daily", "highest °C, daily", "lowest °C, daily", "wind, daily"];
    for (place, label) in days.into_iter().enumerate() {
        let columns = &DAYS[place..=place];
        all.push(Series { file: SEATTLE, label, every: 1, columns, scale: 10.0 });
    }
    let labels = [
        ("solar, 1 min", "solar, 10 min"),
        ("°C, 1 min", "°C, 10 min"),
        ("RH, 1 min", "RH, 10 min"),
        ("wind, 1 min", "wind, 10 min"),
        ("from, 1 min", "from, 10 min"),
        ("hPa, 1 min", "hPa, 10 min"),
    ];
    for (place, (one, ten)) in labels.into_iter().enumerate() {
        let columns = &WEATHER[place..=place];
        all.push(Series { file: SURFRAD, label: one, every: 1, columns, scale: 10.0 });
        all.push(Series { file: SURFRAD, label: ten, every: 10, columns, scale: 10.0 });
    }
    for (file, label, every, columns) in [
        (SEATTLE, "all 4, daily", 1, DAYS),
        (SURFRAD, "all 6, 1 min", 1, WEATHER),
        (SURFRAD, "all 6, 10 min", 10, WEATHER),
    ] {
        all.push(Series { file, label, every, columns, scale: 10.0 });
    }
    all
}

fn reference(name: &str) -> String {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn unix_ms(text: &str) -> i64 {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let full = format!("{digits:0<14}");
    let number = |from: usize, to: usize| full[from..to].parse::<i8>().unwrap();
    let year = full[..4].parse().unwrap();
    let (month, day) = (number(4, 6), number(6, 8));
    let time = DateTime::new(year, month, day, number(8, 10), number(10, 12), number(12, 14), 0);
    time.unwrap().to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond()
}

/// Returns the readings of a series, moment by moment; values on the sensor's steps.
fn readings(series: &Series) -> Vec<Reading> {
    let text = reference(series.file);
    let mut readings = Vec::new();
    let mut offset_ms = None;
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    for line in lines.step_by(series.every) {
        let cells: Vec<&str> = line.split(',').collect();
        let unix = unix_ms(cells[0]);
        // The gateway has been there for 40 days, and did not start on a whole second.
        let offset_ms = *offset_ms.get_or_insert(unix - 40 * 86_400_000 + 457);
        let value = |column: &(usize, &str)| cells[column.0].parse::<f64>().ok();
        let values: Vec<f64> = series.columns.iter().filter_map(value).collect();
        if values.len() < series.columns.len() || values.iter().any(|value| *value < -9_000.0) {
            continue;
        }
        for (place, ((_, quantity), value)) in series.columns.iter().zip(values).enumerate() {
            // A second thermometer is on a second node.
            let before = series.columns.iter().take(place).filter(|column| column.1 == *quantity);
            readings.push(Reading {
                node: NodeName(format!("mto-{}", 7 + before.count()).into()),
                quantity: Quantity::from_name(quantity).unwrap(),
                sequence: 100_000 + readings.len() as u64,
                at: Timestamp::from_millis(unix - offset_ms),
                clock: WallClock { offset_ms, quality: ClockQuality::Synchronised },
                stamp: None,
                value: (value * series.scale).round() / series.scale,
                quality: Quality::Good,
            });
        }
    }
    readings
}

/// One signal's values in a block, in steps, with their times in Unix seconds.
struct Row {
    name: String,
    times: Vec<i64>,
    values: Vec<f64>,
    steps: Vec<i64>,
}

fn rows(block: &[Reading], series: &Series) -> Vec<Row> {
    let of = |signal: usize| {
        let every = series.columns.len();
        let of = || block.iter().skip(signal).step_by(every);
        let values: Vec<f64> = of().map(|reading| reading.value).collect();
        let time = |reading: &Reading| (reading.at.as_millis() + reading.clock.offset_ms) / 1_000;
        Row {
            name: format!("mto-7:{}", series.columns[signal].1),
            times: of().map(time).collect(),
            steps: values.iter().map(|value| (value * series.scale).round() as i64).collect(),
            values,
        }
    };
    (0..series.columns.len()).map(of).collect()
}

/// Bytes by the entropy of order 0 of the deltas of each signal, by their counts in this very block.
fn entropy(rows: &[Row]) -> f64 {
    let mut bits = 0.0;
    for row in rows {
        let mut counts = BTreeMap::new();
        for pair in row.steps.windows(2) {
            *counts.entry(pair[1] - pair[0]).or_insert(0u32) += 1;
        }
        let n = row.steps.len().saturating_sub(1) as f64;
        bits -= counts.values().map(|c| f64::from(*c) * (f64::from(*c) / n).log2()).sum::<f64>();
    }
    bits / 8.0
}

/// Returns the shortest of some rounds, in ns a reading.
fn cost(readings: usize, mut work: impl FnMut()) -> f64 {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    best.as_nanos() as f64 / readings as f64
}

/// Returns the bytes that the others need: pcodec, Gorilla, zstd with a dictionary, SenML in CBOR.
fn others(blocks: &[Vec<Row>]) -> [usize; 4] {
    let mut sums = [0; 4];
    let mut past = Vec::new();
    for rows in blocks {
        let varints = others::varints(rows);
        sums[0] += rows.iter().map(|row| others::pcodec(&row.steps)).sum::<usize>();
        sums[1] += rows.iter().map(|row| others::gorilla(&row.times, &row.values)).sum::<usize>();
        sums[2] += others::zstd_after(&past, &varints);
        sums[3] += others::senml_cbor(rows);
        past.extend(varints);
    }
    sums
}

/// Bytes of blocks that stand alone, of the longest of these, and of those that continue and how many these are.
fn ours(blocks: &[&[Reading]]) -> (usize, usize, usize, usize) {
    let mut stream = Stream::after(Link::START);
    let (mut alone, mut longest, mut continued, mut continuing) = (0, 0, 0, 0);
    for block in blocks {
        let bytes = seal(block, Link::START).unwrap().bytes;
        assert_eq!(open(&bytes).as_deref(), Ok(*block));
        alone += bytes.len();
        longest = longest.max(bytes.len());
        let bytes = stream.seal(block).unwrap().bytes;
        if !wire::batch::stands_alone(&bytes) {
            continued += bytes.len();
            continuing += 1;
        }
    }
    (alone, longest, continued, continuing)
}

fn line(series: &Series, window: usize) {
    let all = readings(series);
    let target_of = |bound: f64, of: usize| match window {
        24 => 0.9,
        _ => bound * 1.15 + HEAD_BYTES / of as f64,
    };
    let window = window * series.columns.len();
    let blocks: Vec<&[Reading]> = all.chunks_exact(window).collect();
    let n = (blocks.len() * window) as f64;
    let rows: Vec<Vec<Row>> = blocks.iter().map(|block| rows(block, series)).collect();
    let bound = rows.iter().map(|rows| entropy(rows)).sum::<f64>() / n;
    let target = target_of(bound, window);
    let (alone, longest, continued, continuing) = ours(&blocks);
    let alone = alone as f64 / n;
    let held = |bytes: f64| if bytes <= target { "" } else { "!" };
    let stream = (continuing > 0).then(|| {
        let continued = continued as f64 / (continuing * window) as f64;
        (alone + 63.0 * continued) / 64.0
    });
    let ours = stream.map_or("–".to_owned(), |stream| format!("{stream:.3}{}", held(stream)));
    let others = others(&rows).map(|bytes| format!("{:.3}", bytes as f64 / n)).join(" | ");
    let mut sealed = Vec::new();
    let encoding = cost(blocks.len() * window, || {
        let mut stream = Stream::after(Link::START);
        let seal = |block: &&[Reading]| stream.seal(block).unwrap().bytes;
        sealed = black_box(blocks.iter().map(seal).collect());
    });
    let decoding = cost(blocks.len() * window, || {
        let mut stream = Stream::after(Link::START);
        sealed.iter().for_each(|bytes| drop(black_box(stream.open(bytes).unwrap())));
    });
    println!(
        "| {} | {window} | {} | {bound:.3} | {target:.3} | {ours} | {alone:.3}{} | {longest} | {others} | {encoding:.0} | {decoding:.0} |",
        series.label,
        blocks.len(),
        held(alone),
    );
}

fn main() {
    println!("bytes a reading; ! is over the target; costs in ns a reading");
    println!(
        "| series | readings a block | blocks | entropy | target | in a stream | alone | longest alone, bytes | pcodec | Gorilla | zstd, dictionary | SenML CBOR | seal | open |"
    );
    println!("|{}", "---|".repeat(14));
    for series in all_series() {
        for window in WINDOWS {
            line(&series, window);
        }
    }
}
