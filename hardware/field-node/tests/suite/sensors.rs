//! Sensors, filters, checksums and airtime, by what data sheets and tables say.

use kengele_field_node::airtime::{Airtime, Modulation, Share};
use kengele_field_node::crc::{crc8_sensirion, crc16};
use kengele_field_node::filter::{Filter, Gather, Raw, Samples, is_change};
use kengele_field_node::sealed::Value;
use kengele_field_node::sensor::adc::{Line, millivolts};
use kengele_field_node::sensor::bucket::Bucket;
use kengele_field_node::sensor::sht::{Model, read};
use kengele_field_node::sensor::ultrasonic::{SerialRanger, echo, level};

#[test]
fn checksums_are_as_published() {
    // CRC-16/CCITT-FALSE's check value; SHT3x-DIS data sheet, §4.12.
    assert_eq!(crc16(b"123456789"), 0x29B1);
    assert_eq!(crc8_sensirion(&[0xBE, 0xEF]), 0x92);
}

/// Rows of Semtech's AN1200.13, as The Things Stack reports them as `consumed_airtime` for 23 bytes.
#[test]
fn time_on_air_is_as_published() {
    for (spreading_factor, bytes, microseconds) in [
        (7, 1, 25_856),
        (7, 23, 61_696),
        (8, 23, 113_152),
        (9, 23, 205_824),
        (10, 23, 370_688),
        (11, 23, 823_296),
        (12, 23, 1_482_752),
    ] {
        let modulation = Modulation { spreading_factor, bandwidth_hz: 125_000 };
        assert_eq!(modulation.time_on_air_us(bytes), microseconds, "SF{spreading_factor}");
    }
}

#[test]
fn airtime_returns_an_hour_after_it_was_spent() {
    let mut account = Airtime::new(10);
    // Half of it counts as spent before the start.
    assert_eq!(account.ready_at_ms(18_000_000, Share::Whole, 0), Some(0));
    assert_eq!(account.ready_at_ms(18_000_001, Share::Whole, 0), Some(61 * 60_000));
    assert_eq!(account.ready_at_ms(9_000_000, Share::Ordinary, 0), Some(0));
    assert_eq!(account.ready_at_ms(9_000_001, Share::Ordinary, 0), Some(61 * 60_000));
    assert_eq!(account.ready_at_ms(36_000_001, Share::Whole, 0), None);
    account.spend(18_000_000, 30_000);
    assert_eq!(account.ready_at_ms(1, Share::Whole, 59 * 60_000), Some(61 * 60_000));
    assert_eq!(account.ready_at_ms(36_000_000, Share::Whole, 61 * 60_000), Some(61 * 60_000));
    // Days later everything is there.
    assert_eq!(account.ready_at_ms(36_000_000, Share::Whole, 400_000_000), Some(400_000_000));
}

const FILTER: Filter =
    Filter { gather: Gather::Last, samples: 5, possible_milli: [0, 5_000], change_milli: Some(50) };

fn filtered(raws: &[Raw]) -> Value {
    let mut samples = Samples::default();
    for raw in raws {
        samples.push(*raw, &FILTER);
    }
    samples.value(&FILTER)
}

#[test]
fn the_median_survives_two_wild_measurements_of_five() {
    let raws = [1_200, 4_990, 1_210, 3, 1_190].map(Raw::Milli);
    assert_eq!(filtered(&raws), Value::Milli(1_200));
}

#[test]
fn impossible_measurements_do_not_count_and_too_many_of_them_are_a_fault() {
    let good = Raw::Milli(1_000);
    let wild = Raw::Milli(9_999);
    assert_eq!(filtered(&[good, wild, good, wild, good]), Value::Milli(1_000));
    assert_eq!(filtered(&[good, wild, good, wild, wild]), Value::Faulty);
    assert_eq!(filtered(&[Raw::Silent; 5]), Value::Missing);
    assert_eq!(filtered(&[good, good, Raw::Silent, Raw::Silent, Raw::Silent]), Value::Missing);
}

#[test]
fn a_change_is_news_from_the_threshold_on() {
    let sent = Value::Milli(1_000);
    assert!(!is_change(&FILTER, sent, Value::Milli(1_049)));
    assert!(is_change(&FILTER, sent, Value::Milli(1_050)));
    assert!(is_change(&FILTER, sent, Value::Milli(950)));
    assert!(!is_change(&FILTER, sent, Value::Missing));
    assert!(is_change(&FILTER, Value::Faulty, sent));
}

fn ranged(text: &str) -> Vec<Raw> {
    let mut ranger = SerialRanger::new(5_000);
    text.bytes().filter_map(|byte| ranger.byte(byte)).collect()
}

#[test]
fn a_serial_ranger_reads_whole_measurements_only() {
    assert_eq!(ranged("R1234\rR0301\r"), [Raw::Milli(1_234), Raw::Milli(301)]);
    assert_eq!(ranged("34\rR0999\r"), [Raw::Milli(999)]);
    assert_eq!(ranged("R12R1500\r"), [Raw::Milli(1_500)]);
    assert_eq!(ranged("R12x4\rR1\r\r"), []);
    // Its words for "too near" and "nothing there".
    assert_eq!(ranged("R0300\rR5000\r"), [Raw::Silent, Raw::Silent]);
}

#[test]
fn a_serial_ranger_survives_any_bytes() {
    let mut ranger = SerialRanger::new(9_999);
    for first in 0..=255_u8 {
        for second in 0..=255_u8 {
            for byte in [b'R', first, second, b'9', b'9', b'9', b'\r'] {
                if let Some(Raw::Milli(mm)) = ranger.byte(byte) {
                    assert!((301..9_999).contains(&mm));
                }
            }
        }
    }
}

#[test]
fn an_echo_is_a_distance_by_the_airs_temperature() {
    // 343.4 m/s at 20 °C: 2 m and back take 11.65 ms; at 0 °C 331.3 m/s.
    assert_eq!(echo(11_648, 20_000), Raw::Milli(2_000));
    assert_eq!(echo(11_648, 0), Raw::Milli(1_929));
    assert_eq!(echo(500, 20_000), Raw::Silent);
    assert_eq!(echo(60_000, 20_000), Raw::Silent);
    assert_eq!(level(4_000, Raw::Milli(2_750)), Raw::Milli(1_250));
    assert_eq!(level(4_000, Raw::Silent), Raw::Silent);
}

#[test]
fn a_bouncing_contact_counts_once() {
    let mut bucket = Bucket::default();
    for ms in [1_000, 1_002, 1_009, 2_400, 2_401] {
        bucket.close(ms);
    }
    assert_eq!(bucket.take(), 2);
    assert_eq!(bucket.take(), 0);
}

#[test]
fn volts_become_values_by_two_points() {
    // Dry at 2,400 mV, wet at 1,200 mV, 40 %.
    let soil = Line { from: (2_400, 0), to: (1_200, 40_000) };
    assert_eq!(soil.at(1_800), Raw::Milli(20_000));
    assert_eq!(soil.at(3_000), Raw::Milli(-20_000));
    assert_eq!(Line { from: (5, 1), to: (5, 2) }.at(5), Raw::Silent);
    assert_eq!(millivolts(2_048, 4_096, 3_600, [5, 3]), 3_000);
    assert_eq!(millivolts(1, 0, u32::MAX, [u32::MAX, 0]), i32::MAX);
}

fn word(value: u16) -> [u8; 3] {
    let [high, low] = value.to_be_bytes();
    [high, low, crc8_sensirion(&[high, low])]
}

fn answer(temperature: u16, humidity: u16) -> [u8; 6] {
    [word(temperature), word(humidity)].concat().try_into().unwrap()
}

#[test]
fn climate_is_by_the_data_sheets_formula() {
    // 0x6666 is two fifths of the scale: 25 °C for both.
    let sht3 = read(Model::Sht3x, answer(0x6666, 0x8000));
    assert_eq!((sht3.temperature, sht3.humidity), (Raw::Milli(25_000), Raw::Milli(50_001)));
    let sht4 = read(Model::Sht4x, answer(0x6666, 0x8000));
    assert_eq!((sht4.temperature, sht4.humidity), (Raw::Milli(25_000), Raw::Milli(56_501)));
    assert_eq!(read(Model::Sht4x, answer(0, 0)).humidity, Raw::Milli(0));
}

#[test]
fn a_word_with_a_wrong_checksum_is_no_measurement() {
    for bit in 0..48 {
        let mut bytes = answer(0x6666, 0x8000);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let climate = read(Model::Sht3x, bytes);
        let wrong = if bit < 24 { climate.temperature } else { climate.humidity };
        assert_eq!(wrong, Raw::Silent, "bit {bit}");
    }
}
