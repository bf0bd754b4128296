//! Against numbers that others computed.

use super::super::frame::{self, Plain};
use super::super::message::{Down, Preface};
use super::*;
use aes::Aes128;
use ccm::aead::{AeadInOut, KeyInit};
use ccm::consts::{U6, U8, U13};
use serde_json::Value as Json;

fn vectors() -> Json {
    let text = include_str!("../../../../tests/vectors/wf1.json");
    serde_json::from_str(text).unwrap()
}

fn cases(name: &str) -> Vec<Json> {
    vectors()[name].as_array().unwrap().clone()
}

fn bytes(json: &Json) -> Vec<u8> {
    let text = json.as_str().unwrap();
    (0..text.len()).step_by(2).map(|n| u8::from_str_radix(&text[n..n + 2], 16).unwrap()).collect()
}

fn number<T: TryFrom<u64>>(json: &Json) -> T {
    T::try_from(json.as_u64().unwrap()).ok().unwrap()
}

fn address(case: &Json) -> Address {
    Address { net: number(&case["net"]), node: number(&case["node"]) }
}

fn epoch(case: &Json) -> Epoch {
    let root = Root::new(bytes(&case["root"]).try_into().unwrap());
    Epoch { number: number(&case["epoch"]), root }
}

fn kind(case: &Json) -> Kind {
    match case["kind"].as_str().unwrap() {
        "telemetry" => Kind::Telemetry,
        "alarm" => Kind::Alarm,
        "health" => Kind::Health,
        "ack" => Kind::Ack,
        "command" => Kind::Command,
        "time" => Kind::Time,
        "rekey" => Kind::Rekey,
        other => panic!("{other}"),
    }
}

/// RFC 3610 §8, packet vector 1 (13 bytes of nonce, 8 of tag, as our downlinks); SP 800-38C, example 2 (6 bytes of tag,
/// as our uplinks).
#[test]
fn the_cipher_is_the_published_one() {
    let key: [u8; 16] = core::array::from_fn(|n| 0xC0 + u8::try_from(n).unwrap());
    let nonce = [0, 0, 0, 3, 2, 1, 0, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5];
    let mut text: Vec<u8> = (8..0x1F).collect();
    let aad: Vec<u8> = (0..8).collect();
    let tag = ccm::Ccm::<Aes128, U8, U13>::new(&key.into())
        .encrypt_inout_detached(&nonce.into(), &aad, text.as_mut_slice().into())
        .unwrap();
    let expected = "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0";
    assert_eq!([&text[..], &tag].concat(), bytes(&expected.into()));

    let key: [u8; 16] = core::array::from_fn(|n| 0x40 + u8::try_from(n).unwrap());
    let nonce: [u8; 8] = core::array::from_fn(|n| 0x10 + u8::try_from(n).unwrap());
    let mut text: Vec<u8> = (0x20..0x30).collect();
    let aad: Vec<u8> = (0..16).collect();
    let tag = ccm::Ccm::<Aes128, U6, U8>::new(&key.into())
        .encrypt_inout_detached(&nonce.into(), &aad, text.as_mut_slice().into())
        .unwrap();
    let expected = "d2a1f0e051ea5f62081a7792073d593d1fc64fbfaccd";
    assert_eq!([&text[..], &tag].concat(), bytes(&expected.into()));
}

#[test]
fn frames_are_those_of_the_second_implementation() {
    for case in cases("frames") {
        let keys = epoch(&case).keys(address(&case));
        let payload = bytes(&case["payload"]);
        let down = case["direction"] == "down";
        let plain = Plain {
            kind: kind(&case),
            direction: if down { Direction::Down } else { Direction::Up },
            ack_wanted: case["ack_wanted"].as_bool().unwrap(),
            counter: number(&case["counter"]),
            payload: &payload,
        };
        let sealed = frame::seal(&keys, &plain).unwrap();
        assert_eq!(sealed.to_vec(), bytes(&case["frame"]), "{case}");
        let parts = parse(&sealed).unwrap();
        assert_eq!((parts.kind, parts.ack_wanted), (plain.kind, plain.ack_wanted));
        let (_, opened) =
            parts.open(&keys, [plain.counter ^ 1, plain.counter].into_iter()).unwrap();
        assert_eq!(opened.to_vec(), payload);
        assert_eq!(parts.open(&keys, core::iter::once(plain.counter ^ 1)), None);
    }
}

#[test]
fn new_keys_are_those_of_the_second_implementation() {
    for case in cases("rekeys") {
        let random = bytes(&case["random"]).try_into().unwrap();
        let next = epoch(&case).next(address(&case), &random).unwrap();
        assert_eq!(next.root.secret_bytes().to_vec(), bytes(&case["next_root"]), "{case}");
    }
}

#[test]
fn provisioning_codes_are_those_of_the_second_implementation() {
    for case in cases("codes") {
        let provisioning = Provisioning { address: address(&case), epoch: epoch(&case) };
        let code = case["code"].as_str().unwrap();
        assert_eq!(provisioning.to_code().as_slice(), code.as_bytes());
        assert_eq!(Provisioning::from_code(code), Ok(provisioning));
        let telephone = format!(" {}-{} ", &code[..10].to_lowercase(), &code[10..]);
        assert_eq!(Provisioning::from_code(&telephone), Ok(provisioning));
    }
}

#[test]
fn reports_are_those_of_the_second_implementation() {
    for case in cases("reports") {
        let signed = |json: &Json| i32::try_from(json.as_i64().unwrap()).unwrap();
        let fields: Vec<Field> = case["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| Field {
                quantity: number(&f[0]),
                min_milli: signed(&f[1]),
                step_milli: number(&f[2]),
                bits: number(&f[3]),
            })
            .collect();
        let schema = Schema::new(&fields).unwrap();
        let mut report = Report::new(number(&case["uptime_s"]));
        for reading in case["readings"].as_array().unwrap() {
            let mut values = [Value::Missing; FIELDS_MAX];
            for (slot, value) in values.iter_mut().zip(reading["values"].as_array().unwrap()) {
                *slot = match value.as_str() {
                    None => Value::Milli(signed(value)),
                    Some("above") => Value::Above,
                    Some("below") => Value::Below,
                    Some("faulty") => Value::Faulty,
                    Some(_) => Value::Missing,
                };
            }
            let before_restart = reading["before_restart"].as_bool().unwrap();
            report.push(Reading { id: number(&reading["id"]), before_restart, values }).unwrap();
        }
        let counter = number(&case["counter"]);
        let payload = report.write(&schema, counter).unwrap();
        assert_eq!(payload.to_vec(), bytes(&case["payload"]), "{case}");
        assert_eq!(Report::read(&schema, counter, &payload), Ok(report));
    }
}

#[test]
fn messages_to_nodes_are_those_of_the_second_implementation() {
    for case in cases("downs") {
        let seconds = number(&case["seconds"]);
        let command = match case["what"].as_str().unwrap() {
            "siren_on" => Some(Command::SirenOn { seconds }),
            "siren_off" => Some(Command::SirenOff),
            "siren_test" => Some(Command::SirenTest { seconds }),
            "interval" => Some(Command::Interval { seconds }),
            "time" => Some(Command::Time { unix_s: Some(number(&case["unix_s"])) }),
            "rekey" => Some(Command::Rekey {
                epoch: number(&case["epoch"]),
                random: bytes(&case["random"]).try_into().unwrap(),
            }),
            _ => None,
        };
        let preface = Preface {
            answer: case["answer"].as_bool().unwrap(),
            ack: case["ack"].as_bool().unwrap(),
            reference: number(&case["reference"]),
        };
        let down = Down { preface, order: command.map(|c| (number(&case["number"]), c)) };
        assert_eq!(down.kind(), kind(&case));
        assert_eq!(down.write().unwrap().to_vec(), bytes(&case["payload"]), "{case}");
        assert_eq!(Down::read(down.kind(), &bytes(&case["payload"])), Some(down));
    }
}

#[test]
fn there_are_enough_vectors() {
    let count: usize = ["frames", "rekeys", "codes", "reports", "downs"]
        .iter()
        .map(|name| cases(name).len())
        .sum();
    assert!(count >= 200, "{count}");
}
