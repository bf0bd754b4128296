//! Devices that are heard by way of a network server or a mesh, or that send bytes of their own: the real program, with
//! mosquitto's client as the server.

use crate::gateway::Site;
use crate::peers::python;
use kengele::sim::village;
use kengele::wire::cayenne_lpp;
use kengele::wire::text::{self, Encoding};
use serde_json::{Value, json};

const FILES: &str = r#"
[[topic]]
template = "application/+/device/{node}/event/+"
format = "chirpstack"
codec = "gauge"
field.water = { quantity = "water_level", unit = "cm" }

[[topic]]
template = "v3/+/devices/{node}/up"
format = "the_things_stack"
field.temperature_3 = { quantity = "air_temperature" }

[[topic]]
template = "msh/+/2/json/+/{node}"
format = "meshtastic"
field.temperature = { quantity = "air_temperature" }
field.rainfall_1h = { quantity = "rain", unit = "mm" }

[[topic]]
template = "lpp/{node}"
format = "codec"
codec = "weather"
encoding = "hex"

[codec.gauge]
kind = "binary"
field.level = { quantity = "water_level", unit = "mm", byte = 0, bits = 16, missing = 65535, port = 2 }

[codec.weather]
kind = "cayenne_lpp"
field.temperature_1 = { quantity = "air_temperature" }
field.relative_humidity_2 = { quantity = "humidity" }

[node.lorawan-gauge]
heard_as = ["0101010101010101"]
interval = "5 min"
sensor.water_level = {}
sensor.battery_level = {}

[node.river-01]
interval = "5 min"
sensor.air_temperature = {}

[node.mesh]
heard_as = ["!11223344"]
interval = "5 min"
sensor.air_temperature = {}
sensor.rain = {}

[node.lpp]
interval = "5 min"
sensor.air_temperature = {}
sensor.humidity = {}
"#;

async fn site() -> Site {
    Site::of(|places| {
        let mut files = village::files(places);
        let main = files.iter_mut().find(|(name, _)| name == "kengele.toml").unwrap();
        main.1 = main.1.replace("nodes = [\"*\"]", "nodes = [\"*\"]\npublish = [\"#\"]") + FILES;
        files
    })
    .await
}

fn values(site: &Site, node: &str) -> Vec<String> {
    let csv = site.kengele(&["readings", "--node", node]);
    let line = |line: &str| line.split(',').skip(2).take(2).collect::<Vec<_>>().join(" ");
    csv.lines().skip(1).map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_behind_network_servers_and_with_payloads_of_their_own_are_heard() {
    let mut site = site().await;
    site.start().await;
    let gauge = "application/17c82e96/device/0101010101010101/event";
    let up = |data: &str, port: u8, time: &str| {
        let device = json!({"deviceName": "Test device", "devEui": "0101010101010101"});
        let heard = json!([{"gatewayId": "0016c001f153a14c", "rssi": -36, "snr": 10.5}]);
        json!({"time": time, "deviceInfo": device, "fPort": port, "data": data, "rxInfo": heard})
    };
    let say = |topic: &str, payload: &Value| {
        assert!(site.mosquitto(topic, &format!("{payload}\n"), 10), "{topic}");
    };
    // 1,234 mm; the same again, as a broker brings it twice; no value; another port; and what the server decoded.
    let first = up("BNI=", 2, "2026-11-01T09:00:00+00:00");
    say(&format!("{gauge}/up"), &first);
    say(&format!("{gauge}/up"), &first);
    say(&format!("{gauge}/up"), &up("//8=", 2, "2026-11-01T09:05:00+00:00"));
    say(&format!("{gauge}/up"), &up("BNI=", 3, "2026-11-01T09:10:00+00:00"));
    let mut decoded = up("BNI=", 2, "2026-11-01T09:15:00+00:00");
    decoded["object"] = json!({"water": 130.0});
    say(&format!("{gauge}/up"), &decoded);
    say(
        &format!("{gauge}/join"),
        &json!({"time": "2026-11-01T09:16:00+00:00", "devAddr": "00189440"}),
    );
    say(&format!("{gauge}/status"), &json!({"margin": 12, "batteryLevel": 73.5}));

    let uplink = json!({"f_port": 5, "f_cnt": 521, "frm_payload": "A2cBEAVnAP8=",
        "decoded_payload": {"temperature_3": 27.2}, "received_at": "2026-11-01T09:00:00Z"});
    say("v3/flood@ttn/devices/river-01/up", &json!({"uplink_message": uplink}));

    // Two gateways of a mesh bring the same packet; the topic names them, and the packet who it is from.
    let packet = json!({"from": 287_454_020, "id": 2_596_069_104_u32, "type": "telemetry", "timestamp": 1_793_523_600,
        "payload": {"temperature": 23.56, "rainfall_1h": 2.57}});
    say("msh/EU_868/2/json/LongFast/!0a0b0c0d", &packet);
    say("msh/EU_868/2/json/LongFast/!0a0b0c0e", &packet);
    let stranger =
        json!({"from": 1, "id": 7, "type": "telemetry", "payload": {"temperature": 1.0}});
    say("msh/EU_868/2/json/LongFast/!0a0b0c0d", &stranger);

    assert!(site.mosquitto("lpp/lpp", "0167013A 02689D\n", 10));

    let status = site.ask(&["status"]);
    let heard: Vec<&str> = status["heard_but_not_declared"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["node"].as_str().unwrap())
        .collect();
    assert_eq!(heard, ["!00000001"]);
    assert!(site.kengele(&["status"]).contains("heard_as = [\"!00000001\"]"));
    assert_eq!(status.pointer("/counters/undecoded"), Some(&json!(0)));
    site.stop().await;
    assert_eq!(
        values(&site, "lorawan-gauge"),
        ["water_level 1.234", "water_level 1.3", "battery_level 73.5"]
    );
    assert_eq!(values(&site, "river-01"), ["air_temperature 27.2"]);
    assert_eq!(values(&site, "mesh"), ["rain 2.57", "air_temperature 23.56"]);
    assert_eq!(values(&site, "lpp"), ["air_temperature 31.4", "humidity 78.5"]);
}

#[test]
fn cayenne_lpp_is_read_as_an_independent_reader_reads_it() {
    let peer = python().arg("tests/peers/cayenne_lpp.py").output().unwrap();
    let lines = String::from_utf8(peer.stdout).unwrap();
    let mut types = std::collections::BTreeSet::new();
    for line in lines.lines() {
        let expected: Value = serde_json::from_str(line).unwrap();
        let hex = expected["hex"].as_str().unwrap();
        let payload = text::decode(Encoding::Hex, hex.as_bytes()).unwrap();
        let mut items = Vec::new();
        cayenne_lpp::read(&payload, |item| {
            types.insert(item.kind.number);
            let values: Vec<f64> = item.values().map(|(_, value)| value).collect();
            items.push(json!([item.channel, item.kind.number, values]));
        })
        .unwrap();
        assert_eq!(Value::Array(items), expected["items"], "{hex}");
    }
    assert_eq!(types.len(), 27, "every type is met: {types:?}");
}
