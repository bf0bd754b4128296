//! The pure parts by themselves: `cargo bench --bench parts`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark stops where it cannot measure"
)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kengele::app::convert;
use kengele::config::Source;
use kengele::domain::engine::{Engine, Input};
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::Measurement;
use kengele::domain::rule::NodeIndex;
use kengele::domain::time::Timestamp;
use kengele::pipeline::Rules;
use kengele::sim::air::{Air, ChipKind, Position};
use kengele::wire::binary::{Number, Order, Slot};
use kengele::wire::javascript::Script;
use kengele::wire::payload::{About, Field, Format, Path, PayloadMap};
use kengele::wire::sealed::{
    Address as LinkAddress, Epoch, Field as LinkField, Kind, Listens, Now, Peer, Profile, Reading,
    Report, Root, Schema, Session,
};
use kengele::wire::segment::{Options, Reassembler, segments};
use kengele::wire::tpdu::{Address, Deliver, Submit, from_hex, to_hex};
use lora_phy::mod_params::{Bandwidth, CodingRate, SpreadingFactor};
use lora_phy::sx126x::{Config, Sx126x, Sx1262};
use lora_phy::{LoRa, RxMode};
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

const GATEWAY: &str = r#"
[gateway]
name = "bench"
sender = "Bench"
language = "en"
[area.a]
name = "A"
[role.watch]
channels = ["m"]
[modem.m]
port = "/dev/null"
[[topic]]
template = "json/{node}"
format = "json"
[topic.field]
level = { quantity = "water_level", unit = "cm" }
[[topic]]
template = "senml/{node}"
format = "senml_json"
[topic.field]
level = { quantity = "water_level", unit = "m" }
"#;

/// A book of so many nodes, with 50 rules that each look at one node in fifty: at the value and at its change.
fn rules(nodes: usize) -> Rules {
    let mut text = GATEWAY.to_owned();
    for node in 0..nodes {
        let name = format!("n{:02}-{node}", node % 50);
        write!(
            text,
            "[node.{name}]\ninterval = \"5 min\"\n[node.{name}.sensor.water_level]\nrange = [\"0 m\", \"9 m\"]\n"
        )
        .unwrap();
    }
    for rule in 0..50_usize.min(nodes) {
        write!(
            text,
            r#"[rule.r{rule}]
hazard = "flood"
area = "a"
[[rule.r{rule}.level]]
level = "warning"
any = [
    {{ signal = "n{rule:02}-*/water_level", above = "3 m", hysteresis = "0.3 m" }},
    {{ signal = "n{rule:02}-*/water_level", rises = "1 m in 30 min" }},
]
audience = ["watch"]
text.en = "FLOOD {{area}}."
[rule.r{rule}.all_clear]
en = "OVER {{area}}."
"#
        )
        .unwrap();
    }
    let loaded = convert::parse(&[Source { name: "bench.toml".into(), text }])
        .unwrap_or_else(|faults| panic!("{}", faults[0]));
    convert::rules(&loaded).unwrap()
}

/// One reading of every node in turn, a round every five minutes.
fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine, one reading, 50 rules");
    group.throughput(Throughput::Elements(1));
    for nodes in [10, 1_000, 10_000] {
        let rules = rules(nodes);
        let mut engine = Engine::new(&rules.book, Timestamp::from_millis(0));
        let mut effects = Vec::new();
        let mut count = 0_usize;
        group.bench_function(format!("{nodes} nodes"), |b| {
            b.iter(|| {
                let (node, round) = (count % nodes, count / nodes);
                count += 1;
                let spread = 300_000 * node / nodes;
                let now = i64::try_from(round * 300_000 + spread).unwrap();
                let value = 0.8 + ((node * 7 + round * 3) % 40) as f64 / 100.0;
                let quantity = Quantity::WaterLevel;
                let measurements = [Measurement { quantity, value, stamp: None }];
                let node = NodeIndex(u32::try_from(node).unwrap());
                let input = Input::Heard { node, measurements: &measurements, redelivered: false };
                effects.clear();
                engine.handle(input, Timestamp::from_millis(now), &mut effects);
                black_box(&effects);
            });
        });
    }
}

fn payloads(c: &mut Criterion) {
    let rules = rules(10);
    let mut group = c.benchmark_group("payload");
    let examples = [
        (0, "json", r#"{"level":183,"battery":3.8,"ts":1793595600}"#),
        (1, "senml", r#"[{"bn":"urn:dev:1:","n":"level","u":"m","v":1.83,"t":1793595600}]"#),
    ];
    for (route, name, payload) in examples {
        let map = &rules.routes[route].map;
        let mut found = Vec::new();
        group.bench_function(name, |b| {
            b.iter(|| {
                found.clear();
                map.decode(black_box(payload.as_bytes()), About::default(), &mut found).unwrap();
            });
        });
        // Nothing where a filter leaves it out.
        assert!(matches!(found.len(), 0 | 1), "{name}");
    }
}

fn texts(c: &mut Criterion) {
    let mut group = c.benchmark_group("SMS");
    let swahili = "HATARI Bonde la chini: MAFURIKO! Maji Daraja la juu ni 3.93 m. Ondokeni sasa hivi, nendeni sehemu za \
                   juu. Kamati ya Maafa 21:06 #1-3";
    let amharic =
        "አደጋ ታችኛው ሸለቆ፦ ጎርፍ! ውሃው 3.93 ሜትር ደርሷል። አሁኑኑ ውጡ፣ ወደ ከፍተኛ ቦታ ሂዱ። የአደጋ ኮሚቴ 21:06 #1-3";
    let to = Address::parse("+255712345678").unwrap();
    for (name, text) in [("160 characters of GSM-7", swahili), ("UCS-2", amharic)] {
        group.bench_function(format!("text to PDUs: {name}"), |b| {
            b.iter(|| {
                let parts = segments(black_box(text), &Options::default()).unwrap();
                for part in parts.segments {
                    let submit = Submit {
                        reference: 0,
                        to: to.clone(),
                        protocol: 0,
                        class: None,
                        validity: None,
                        receipt_wanted: true,
                        reject_duplicates: false,
                        reply_path: false,
                        data: part.data,
                    };
                    black_box(to_hex(&submit.encode()));
                }
            });
        });
    }
    // An SMS-DELIVER of 3GPP TS 23.040 §9.2.2.1, as a SIM800 hands it over.
    let pdu = from_hex("040C915275000000400000626010000010000453EA130A").unwrap();
    group.bench_function("PDU to text", |b| {
        b.iter(|| {
            let deliver = Deliver::decode(black_box(&pdu)).unwrap();
            let mut parts = Reassembler::new(4, Duration::from_mins(1));
            black_box(parts.add(&deliver.from, &deliver.data, Timestamp::from_millis(0)));
        });
    });
}

/// The same three bytes by each kind of codec.
fn codecs(c: &mut Criterion) {
    let script = "function decodeUplink(input) {
        var b = input.bytes;
        return { data: { level: (b[0] << 8) + b[1], battery: b[2] / 50 } };
    }";
    // As long as makers' scripts mostly are, and with `Buffer`; of it only this function is called.
    let long_script = include_str!("../tests/peers/varied_codec.js").to_owned()
        + "function decodeUplink(input) {
            const b = Buffer.from(input.bytes);
            return { data: { level: b.readUInt16BE(0), battery: b[2] / 50 } };
        }";
    let field = |path: &str, quantity: Quantity| Field {
        path: Path::parse(path),
        quantity,
        unit: *quantity.units().first().unwrap(),
    };
    let slot = |bit: u32, bits: u32| Slot {
        bit,
        bits,
        number: Number::Unsigned,
        order: Order::Big,
        scale: 1.0,
        add: 0.0,
        missing: None,
        port: None,
        when: None,
    };
    let of = |format: Format, names: [&str; 2]| PayloadMap {
        format,
        fields: vec![
            field(names[0], Quantity::WaterLevel),
            field(names[1], Quantity::BatteryVoltage),
        ],
        time: None,
    };
    let slots = vec![slot(0, 16), slot(16, 8)];
    let kinds = [
        ("binary", of(Format::Binary(slots), ["level", "battery"]), vec![0x07, 0xD0, 185]),
        (
            "Cayenne LPP",
            of(Format::CayenneLpp, ["analog_in_1", "analog_in_2"]),
            vec![1, 2, 0x07, 0xD0, 2, 2, 0x01, 0x72],
        ),
        (
            "JavaScript",
            of(Format::JavaScript(Script::new("bench.js", script)), ["level", "battery"]),
            vec![0x07, 0xD0, 185],
        ),
        (
            "JavaScript, 5 kB, Buffer",
            of(Format::JavaScript(Script::new("long.js", &long_script)), ["level", "battery"]),
            vec![0x07, 0xD0, 185],
        ),
    ];
    let mut group = c.benchmark_group("codec, two values");
    for (name, map, payload) in &kinds {
        let mut found = Vec::new();
        group.bench_function(*name, |b| {
            b.iter(|| {
                found.clear();
                map.decode(black_box(payload), About::default(), &mut found).unwrap();
            });
        });
        assert!(matches!(found.len(), 0 | 2), "{name}");
    }
}

/// Frames of our own link: opened and judged by the gateway; and from one emulated chip to another through the driver.
fn radio(c: &mut Criterion) {
    let fields = [LinkField { quantity: 1, min_milli: 0, step_milli: 5, bits: 12 }];
    let schema = Schema::new(&fields).unwrap();
    let address = LinkAddress { net: 1, node: 2 };
    let epoch = Epoch { number: 0, root: Root::new([7; 16]) };
    let profile = Profile { address, epoch, listens: Listens::AfterItsFrames, schema };
    let mut group = c.benchmark_group("radio");
    group.throughput(Throughput::Elements(1));
    group.bench_function("WF1 frame: open, judge, acknowledge", |b| {
        b.iter_custom(|count| {
            let mut node = Session::provisioned(address, epoch);
            let mut frames = Vec::new();
            for n in 0..u32::try_from(count).unwrap() {
                if let Some(record) = node.prepare(n) {
                    assert!(node.written(&record));
                }
                let mut report = Report::new(n);
                let id = node.name_reading(n).unwrap();
                report.push(Reading { id, ..Reading::default() }).unwrap();
                frames.push(
                    node.seal_report(Kind::Telemetry, true, &schema, &report, n).unwrap().frame,
                );
            }
            let mut peer = Peer::new(profile, None);
            #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
            let begun = std::time::Instant::now();
            for (s, frame) in (0..).zip(&frames) {
                let accepted = peer.hear(frame, Now { s, unix_s: None, stores: true }).unwrap();
                peer.commit(accepted.state);
                black_box(accepted.reply);
            }
            begun.elapsed()
        });
    });
    group.bench_function("emulated chips: frame of 22 bytes sent and heard", |b| {
        b.iter_custom(|count| {
            let paused = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            paused.block_on(by_chips(count))
        });
    });
}

async fn by_chips(count: u64) -> Duration {
    let air = Air::seeded(1);
    let mut ends = Vec::new();
    for east_m in [0.0, 400.0] {
        let chip = air.chip(ChipKind::Sx1262, Position::new(east_m, 0.0));
        let config = Config { chip: Sx1262, tcxo_ctrl: None, use_dcdc: true, rx_boost: true };
        let driver = Sx126x::new(chip.spi(), chip.interface(), config);
        ends.push(LoRa::new(driver, false, chip.delay()).await.unwrap());
    }
    let (mut node, mut gateway) = (ends.pop().unwrap(), ends.pop().unwrap());
    let how = node
        .create_modulation_params(
            SpreadingFactor::_7,
            Bandwidth::_125KHz,
            CodingRate::_4_5,
            868_100_000,
        )
        .unwrap();
    let mut sends = node.create_tx_packet_params(8, false, true, false, &how).unwrap();
    let hears = gateway.create_rx_packet_params(8, false, 255, true, false, &how).unwrap();
    let mut buffer = [0; 255];
    gateway.prepare_for_rx(RxMode::Continuous, &how, &hears).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let begun = std::time::Instant::now();
    for _ in 0..count {
        node.prepare_for_tx(&how, &mut sends, 14, &[5; 22]).await.unwrap();
        let both = tokio::join!(gateway.rx(&hears, &mut buffer), node.tx());
        assert_eq!(both.0.unwrap().0, 22);
        both.1.unwrap();
    }
    begun.elapsed()
}

criterion_group!(parts, engine, payloads, codecs, radio, texts);
criterion_main!(parts);
