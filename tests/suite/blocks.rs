//! Blocks of real observations: back bit by bit, and read alike by a decoder in another language
//! (`tests/peers/block.py`).

use crate::dice::Dice;
use crate::peers::program;
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::{NodeName, Quality, Stamp};
use kengele::domain::time::{ClockQuality, Timestamp, WallClock};
use kengele::wire::batch::{Link, READINGS_MAX, Reading, Stream, open, seal};
use kengele::wire::sealed_quantity;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

/// The gateway's time line starts so long before the first reading: 40 days, and not on a whole second.
const BEFORE_MS: i64 = 40 * 86_400_000 - 457;

/// Returns Unix milliseconds of a time written as year, month, day, and perhaps hour, minute, second.
fn unix_ms(text: &str) -> i64 {
    let parts = text.split(|letter: char| !letter.is_ascii_digit()).filter(|p| !p.is_empty());
    let mut parts = parts.map(|part| part.parse::<i64>().unwrap());
    let (year, month, day) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let mut next = || parts.next().unwrap_or(0);
    let (hour, minute, second) = (next(), next(), next());
    let date = jiff::civil::date(
        year.try_into().unwrap(),
        month.try_into().unwrap(),
        day.try_into().unwrap(),
    );
    let midnight = date.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    midnight.as_millisecond() + 1_000 * (second + 60 * (minute + 60 * hour))
}

/// Each file, and what its columns after the first are.
const FILES: &[(&str, &[&str])] = &[
    ("obs_drogden_sealevel_30min.csv", &["water_level"]),
    ("obs_seattle_daily.csv", &["rain", "air_temperature", "air_temperature", "wind_speed"]),
    (
        "obs_surfrad_alamosa_1min.csv",
        &[
            "solar_radiation",
            "air_temperature",
            "humidity",
            "wind_speed",
            "wind_direction",
            "pressure",
        ],
    ),
];

/// Returns a file as one long list of readings, missing ones with the mark that the file has for them.
fn observed(file: &str, quantities: &[&str]) -> Vec<Reading> {
    let text = std::fs::read_to_string(crate::peers::reference(file)).unwrap();
    let signals = (1..).zip(quantities).map(|(node, name)| {
        (NodeName(format!("mto-{}", node / 4).into()), Quantity::from_name(name).unwrap())
    });
    let signals: Vec<(NodeName, Quantity)> = signals.collect();
    let mut readings = Vec::new();
    let mut clock = WallClock { offset_ms: 0, quality: ClockQuality::Synchronised };
    for line in text.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let mut cells = line.split(',');
        let unix = unix_ms(cells.next().unwrap());
        if readings.is_empty() {
            clock.offset_ms = unix - BEFORE_MS;
        }
        for ((node, quantity), cell) in signals.iter().zip(cells) {
            let Ok(value) = cell.parse() else { continue };
            readings.push(Reading {
                node: node.clone(),
                quantity: *quantity,
                sequence: 100_000 + readings.len() as u64,
                at: Timestamp::from_millis(unix - clock.offset_ms),
                clock,
                stamp: None,
                value,
                quality: Quality::Good,
            });
        }
    }
    assert!(readings.len() > 1_000, "{file} has {} readings", readings.len());
    readings
}

#[expect(clippy::cast_possible_truncation, reason = "it is what the sender does")]
fn single(value: f64) -> f64 {
    f64::from(value as f32)
}

/// A block of everything that a gateway may meet, by chance.
fn thrown(seed: u64) -> Vec<Reading> {
    let mut dice = Dice::seeded(seed);
    let quantities: Vec<Quantity> = Quantity::all().collect();
    let mut signals = Vec::new();
    let mut readings: Vec<Reading> = Vec::new();
    for node in 0..dice.between(1, 5) {
        let name = NodeName(format!("mto-{}é", node * dice.below(2)).into());
        signals.push((name, quantities[dice.index(quantities.len())]));
    }
    let clocks = [ClockQuality::Unset, ClockQuality::Estimated, ClockQuality::Synchronised];
    let mut clock = WallClock { offset_ms: 0, quality: clocks[0] };
    let (mut at, mut sequence) = (0, 0u64);
    let strange = dice.rate(200);
    for n in 0..dice.between(0, 300) {
        at += [0, 60_000, 600_000][dice.index(3)] - i64::from(dice.chance(strange)) * 12_345;
        sequence += 1 + dice.below(40) * u64::from(dice.chance(strange));
        if dice.chance(strange) {
            let offset_ms = 1_700_000_000_000 + i64::try_from(dice.below(1 << 40)).unwrap();
            clock = WallClock { offset_ms, quality: clocks[dice.index(3)] };
        }
        let measured = clock.unix_ms(Timestamp::from_millis(at)) / 1_000 * 1_000;
        let whole = dice.below(300) as f64 - 100.0;
        let kinds = if dice.chance(strange) { 9 } else { 3 };
        let value = match dice.below(kinds) {
            0..=2 => whole / 10.0,
            3 => -0.0,
            4 => f64::from_bits(0x7FF8_0000_0000_0001 + dice.below(1 << 40)),
            5 => f64::INFINITY,
            6 => whole * 0.01,
            7 => whole * 1e300,
            _ => f64::from_bits(dice.below(u64::MAX)),
        };
        let (node, quantity) = signals[dice.index(signals.len())].clone();
        readings.push(Reading {
            node,
            quantity,
            sequence,
            at: Timestamp::from_millis(at),
            clock,
            stamp: match dice.below(3) {
                0 => Some(Stamp::Unix(measured)),
                1 => Some(Stamp::Age(i64::try_from(n % 4).unwrap() * 1_000)),
                _ => None,
            },
            value,
            quality: if dice.chance(strange) {
                Quality::ALL[dice.index(Quality::ALL.len())]
            } else {
                Quality::Good
            },
        });
        if readings.len() == 60 {
            // Values of another make: another unit, rounded or not, single precision, counts.
            for (n, reading) in readings.iter_mut().enumerate() {
                let whole = (n * n % 31) as f64;
                let unit = reading.quantity.units().last().unwrap();
                let turned = whole / 10.0 * unit.factor + unit.offset;
                reading.value = match seed % 5 {
                    0 => turned,
                    1 => single(whole / 10.0),
                    2 => whole * 0.01,
                    3 => (turned * 10.0).round() / 10.0,
                    _ => reading.value,
                };
            }
            if dice.chance(500) {
                break;
            }
        }
    }
    readings
}

/// Returns what `tests/peers/block.py` shall say of a block.
fn told(readings: &[Reading]) -> Value {
    let readings = readings.iter().map(|reading| {
        let stamp = reading.stamp.map(|stamp| match stamp {
            Stamp::Unix(ms) => json!(["unix", ms]),
            Stamp::Age(ms) => json!(["age", ms]),
        });
        json!([
            reading.node.to_string(),
            sealed_quantity::number(reading.quantity),
            reading.sequence,
            reading.at.as_millis(),
            reading.clock.offset_ms,
            reading.clock.quality as u8,
            stamp,
            format!("{:016x}", reading.value.to_bits()),
            reading.quality.code(),
        ])
    });
    readings.collect()
}

#[test]
fn every_observed_series_comes_back_bit_by_bit() {
    for (file, quantities) in FILES {
        let whole = observed(file, quantities);
        for window in [1, 24, 144, 1_000, READINGS_MAX] {
            let (mut writer, mut reader) = (Stream::after(Link::START), Stream::after(Link::START));
            for block in whole.chunks(window) {
                let said = format!("{file}, {window} readings a block");
                let sealed = writer.seal(block).unwrap();
                assert_eq!(reader.open(&sealed.bytes).as_deref(), Ok(block), "{said}");
                let alone = seal(block, sealed.previous).unwrap();
                assert_eq!(open(&alone.bytes).as_deref(), Ok(block), "{said}");
            }
        }
    }
}

#[test]
fn a_day_of_a_ten_minute_signal_goes_in_one_text_message() {
    let (file, quantities) = FILES[2];
    let whole = observed(file, quantities);
    let minutes: Vec<&[Reading]> = whole.chunks_exact(quantities.len()).collect();
    for start in 0..10 {
        for signal in 0..quantities.len() {
            let tens = minutes.iter().skip(start).step_by(10).map(|minute| minute[signal].clone());
            let mut day: Vec<Reading> = tens.take(144).collect();
            assert_eq!(day.len(), 144);
            for (n, reading) in day.iter_mut().enumerate() {
                reading.sequence = 100_000 + n as u64;
            }
            let sealed = seal(&day, Link::START).unwrap();
            let bytes = sealed.bytes.len();
            assert!(bytes <= 140, "{} from minute {start}: {bytes} bytes", quantities[signal]);
            assert_eq!(open(&sealed.bytes), Ok(day));
        }
    }
}

#[test]
fn a_decoder_of_another_language_reads_the_same() {
    let mut blocks: Vec<Vec<Reading>> = (0..80).map(thrown).collect();
    for (file, quantities) in FILES {
        let whole = observed(file, quantities);
        blocks.extend(whole.chunks(300).take(6).map(<[Reading]>::to_vec));
    }
    let mut python = program("python3")
        .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/block.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = String::new();
    let mut writer = Stream::after(Link::START);
    for block in &blocks {
        let sealed = writer.seal(block).unwrap();
        lines.extend(sealed.bytes.iter().map(|byte| format!("{byte:02x}")));
        lines.push('\n');
    }
    let mut input = python.stdin.take().unwrap();
    let writing = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success(), "the decoder stopped: see above");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), blocks.len());
    for (number, (line, block)) in said.lines().zip(&blocks).enumerate() {
        let said: Value = serde_json::from_str(line).unwrap();
        assert_eq!(said, told(block), "block {number}");
    }
}
