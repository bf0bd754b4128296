//! Sirens, seen from their nodes: a device behind ChirpStack, whose broker is a real mosquitto, and a LoRaWAN device that we
//! did not write (npm's lora-packet) behind a packet forwarder.

use crate::external_broker::{Lock, Mosquitto};
use crate::forwarders::{self, Forwarder, GATEWAY};
use crate::gateway::Site;
use crate::lorawan::Peer;
use crate::peers::wait_for;
use kengele::sim::village;
use kengele::wire::lorawan::Modulation;
use kengele::wire::semtech_udp::When;
use serde_json::{Value, json};
use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::time::Duration;

const DEV_EUI: &str = "0004a30b001c0531";
const EVENTS: &str = "application/7/device/0004a30b001c0531/event";

/// A gauge whose every word is believed, and the rule that listens to it.
const GAUGE: &str = r#"
[node.bomba]
interval = "5 min"
sensor.water_level = {}

[rule.bomba]
hazard = "burst"
area = "bonde"
all_clear.sw = "Shwari {area}"
[[rule.bomba.level]]
level = "danger"
signal = "bomba/water_level"
above = "2 m"
clear_hold = "0 s"
audience = ["warden"]
text.sw = "HATARI {area}"
"#;

const CHIRPSTACK: &str = r#"
[[broker]]
name = "cs"
url = "mqtt://localhost:@PORT@"

[[topic]]
template = "application/+/device/{node}/event/+"
format = "chirpstack"
from = ["cs"]
field.battery = { quantity = "battery_level" }

[node.paa]
heard_as = ["0004A30B001C0531"]
interval = "5 min"
sensor.battery_level = {}

[siren.shule]
node = "paa"
areas = ["bonde"]
port = 10
on = "01b4"
off = "00"
test = "02"
broker = "cs"
application = "7"
"#;

fn say_level(site: &Site, centimetres: u32) -> bool {
    site.mosquitto("field/bomba/up", &format!("{{\"level\":{centimetres}}}\n"), 20)
}

fn siren(site: &Site) -> Value {
    site.ask(&["siren", "list"])[0].clone()
}

fn is(site: &Site, desired: &str, confirmed: bool) -> bool {
    let siren = siren(site);
    siren["desired"] == json!(desired) && siren["confirmed"] == json!(confirmed)
}

/// What ChirpStack hears: every command that is published to it.
struct ChirpStack {
    broker: Mosquitto,
    listener: Child,
}

impl ChirpStack {
    async fn new() -> Self {
        let broker = Mosquitto::new("allow_anonymous true").await;
        let listener = Self::listen(&broker);
        Self { broker, listener }
    }

    /// Hears what is published, and appends it to a file.
    fn listen(broker: &Mosquitto) -> Child {
        let mut file = fs::File::options();
        let heard = file.create(true).append(true).open(broker.file("heard")).unwrap();
        let (port, topics) = (broker.port.to_string(), ["command/down", "ready"]);
        let mut command = crate::peers::program("mosquitto_sub");
        command.args(["-p", &port, "-q", "1"]);
        for topic in topics {
            command.args(["-t", &format!("application/+/device/+/{topic}")]);
        }
        command.stdout(heard).stderr(Stdio::null()).spawn().unwrap()
    }

    fn heard(&self) -> Vec<Value> {
        let heard = fs::read_to_string(self.broker.file("heard")).unwrap_or_default();
        heard.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Returns the commands, without what this test says to itself.
    fn commands(&self) -> Vec<Value> {
        self.heard().into_iter().filter(Value::is_object).collect()
    }

    fn orders(&self) -> Vec<String> {
        self.commands().iter().map(|order| order["data"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the listener hears.
    async fn ready(&self) {
        wait_for("the listener hears", || {
            self.broker.publish("application/7/device/x/ready", "1\n", &[]);
            !self.heard().is_empty()
        })
        .await;
    }

    fn acknowledge(&self, id: &str) {
        let device = json!({"devEui": DEV_EUI});
        let ack = json!({"time": "2026-11-01T09:00:00+00:00", "deviceInfo": device,
            "queueItemId": id, "acknowledged": true, "fCntDown": 3});
        self.broker.publish(&format!("{EVENTS}/ack"), &format!("{ack}\n"), &[]);
    }

    async fn site(&self) -> Site {
        Site::of(|places| {
            let mut files = village::files(places);
            let main = files.iter_mut().find(|(name, _)| name == "kengele.toml").unwrap();
            main.1 += GAUGE;
            main.1 += &CHIRPSTACK.replace("@PORT@", &self.broker.port.to_string());
            files
        })
        .await
    }
}

impl Drop for ChirpStack {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.listener.kill().is_ok();
        let _reaped = self.listener.wait().is_ok();
    }
}

async fn heard(site: &Site, times: usize) {
    wait_for("the broker is heard", || site.log().matches("the broker is heard").count() == times)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_danger_sounds_the_siren_behind_chirpstack_and_the_all_clear_ends_it() {
    let server = ChirpStack::new().await;
    server.ready().await;
    let mut site = server.site().await;
    site.start().await;
    heard(&site, 1).await;
    assert!(say_level(&site, 100) && say_level(&site, 250));
    wait_for("ChirpStack is told", || server.commands().len() == 1).await;
    let on = server.commands()[0].clone();
    let said = json!([on["devEui"], on["fPort"], on["confirmed"], on["data"]]);
    assert_eq!(said, json!([DEV_EUI, 10, true, "AbQ="]), "{on}");
    assert!(is(&site, "on", false), "{}", siren(&site));

    // Somebody else's word changes nothing; that of the device does.
    server.acknowledge("00000000-0000-8000-8000-000000000000");
    let id = on["id"].as_str().unwrap();
    server.acknowledge(id);
    wait_for("the siren has confirmed", || is(&site, "on", true)).await;
    let tested = site.command().args(["siren", "test", "shule"]).output().unwrap();
    assert_eq!(tested.status.code(), Some(1), "a siren that sounds is not tested");

    assert!(say_level(&site, 100));
    wait_for("ChirpStack is told of the all-clear", || server.commands().len() == 2).await;
    let off = server.commands()[1].clone();
    assert_eq!(off["data"], json!("AA=="), "{off}");
    assert_ne!(off["id"], on["id"]);
    server.acknowledge(id);
    server.acknowledge(off["id"].as_str().unwrap());
    wait_for("it is silent", || is(&site, "off", true)).await;
    assert_eq!(server.orders(), ["AbQ=", "AA=="], "nothing is said twice that was confirmed");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_tests_sounds_and_silences_a_siren_and_silence_leaves_a_trace() {
    let server = ChirpStack::new().await;
    server.ready().await;
    let mut site = server.site().await;
    site.start().await;
    heard(&site, 1).await;
    site.kengele(&["siren", "test", "shule"]);
    wait_for("the test is told", || server.orders() == ["Ag=="]).await;
    server.acknowledge(server.commands()[0]["id"].as_str().unwrap());
    wait_for("it is over", || is(&site, "off", true)).await;

    site.kengele(&["siren", "sound", "shule"]);
    wait_for("it is told to sound", || server.orders() == ["Ag==", "AbQ="]).await;
    let silence = |more: &[&str]| {
        let output = site.command().args(["siren", "silence", "shule"]).args(more).output();
        output.unwrap().status.code()
    };
    assert_eq!(silence(&[]), Some(2), "silence wants a word more");
    assert!(is(&site, "on", false));
    assert_eq!(silence(&["--yes"]), Some(0));
    wait_for("it is told to be silent", || server.orders() == ["Ag==", "AbQ=", "AA=="]).await;
    let log = site.log();
    let line = log.lines().find(|line| line.contains("a siren is silenced")).unwrap();
    assert!(line.contains("WARN") && line.contains("uid "), "{line}");
    let unknown = site.command().args(["siren", "test", "soko"]).output().unwrap();
    let words = String::from_utf8(unknown.stderr).unwrap();
    assert!(words.contains("there is no siren soko"), "{words}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_outlives_a_broker_that_is_away_and_a_power_cut() {
    let mut server = ChirpStack::new().await;
    server.ready().await;
    let mut site = server.site().await;
    site.start().await;
    heard(&site, 1).await;
    server.broker.stop().await;
    wait_for("the broker is missed", || site.log().contains("the broker is not heard")).await;
    assert!(say_level(&site, 250));
    wait_for("it is owed", || is(&site, "on", false)).await;
    assert_eq!(siren(&site)["attempts"], json!(0), "nothing waits in a queue to be said too late");
    site.kill();
    server.broker.start().await;
    server.listener.kill().unwrap();
    server.listener.wait().unwrap();
    server.listener = ChirpStack::listen(&server.broker);
    fs::write(server.broker.file("heard"), "").unwrap();
    server.ready().await;
    site.start().await;
    wait_for("ChirpStack is told in the end", || !server.orders().is_empty()).await;
    let first = server.commands()[0].clone();
    assert_eq!(first["data"], json!("AbQ="));
    wait_for("and told again while it is not confirmed", || server.orders().len() == 2).await;
    assert_eq!(server.commands()[1]["id"], first["id"], "as the same order");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_can_be_written_a_danger_sounds_all_the_same() {
    let server = ChirpStack::new().await;
    server.ready().await;
    let mut site = server.site().await;
    site.start().await;
    heard(&site, 1).await;
    let lock = Lock::new(&site);
    assert!(!site.mosquitto("field/bomba/up", "{\"level\":250}\n", 8), "nothing is acknowledged");
    wait_for("ChirpStack is told from memory", || server.orders() == ["AbQ="]).await;
    assert!(site.log().contains("cannot be written"), "{}", site.log());
    server.acknowledge(server.commands()[0]["id"].as_str().unwrap());
    lock.release();
    wait_for("it is written down in the end", || is(&site, "on", true)).await;
    site.stop().await;
}

const LORAWAN: &str = r#"
[siren.shule]
node = "lora"
areas = ["bonde"]
port = 10
on = "01b4"
off = "00"
test = "02"
"#;

async fn radio_site(class: &str) -> (Site, Forwarder, Peer) {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut site = forwarders::site(port, &format!("{GAUGE}{LORAWAN}")).await;
    let path = site.file("kengele.toml");
    let text = fs::read_to_string(&path).unwrap();
    let join = "join_eui = \"70b3d57ed0000001\"";
    let text = text.replace(join, &format!("{join}\nclass = \"{class}\""));
    fs::write(&path, text).unwrap();
    site.start().await;
    let (mut gateway, mut device) = (Forwarder::new(GATEWAY, port), Peer::start());
    gateway.pull();
    let request = device.request("0001");
    assert!(gateway.push(&request, 5.5));
    let accept = gateway.downlink(LONG).expect("a join is answered");
    assert_eq!(device.accept(&accept.phy)["valid"], json!(true));
    // Nothing is owed yet: a plain frame gets no answer.
    assert!(gateway.push(&device.up(0, &[4, 210], &json!({})), 5.5));
    assert!(gateway.downlink(SHORT).is_none());
    (site, gateway, device)
}

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(600);

fn order(heard: &Value) -> Value {
    json!([heard["valid"], heard["type"], heard["port"], heard["payload"]])
}

fn told(payload: &str) -> Value {
    json!([true, "Confirmed Data Down", 10, payload])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lorawan_device_that_asks_is_told_with_its_next_answer_until_it_acknowledges() {
    let (mut site, mut gateway, mut device) = radio_site("A").await;
    assert!(say_level(&site, 250));
    wait_for("it should sound", || is(&site, "on", false)).await;
    assert!(gateway.downlink(SHORT).is_none(), "it does not listen yet");
    let first = device.up(1, &[4, 211], &json!({}));
    assert!(gateway.push(&first, 5.5));
    let answer = gateway.downlink(LONG).expect("it is told");
    assert_eq!(answer.when, When::At { tmst: 4_294_000_000_u32.wrapping_add(1_000_000) });
    assert_eq!(order(&device.down(&answer.phy, 0)), told("01b4"));

    // The power goes. Then a frame that acknowledges nothing: the order was lost, and is given again.
    site.kill();
    site.start().await;
    gateway.pull();
    assert!(gateway.push(&device.up(2, &[4, 212], &json!({"confirmed": true})), 5.5));
    let answer = gateway.downlink(LONG).expect("it is told again");
    let heard = device.down(&answer.phy, 1);
    assert_eq!((order(&heard), &heard["ack"]), (told("01b4"), &json!(true)), "{heard}");
    assert!(gateway.push(&device.up(3, &[4, 213], &json!({"ack": true})), 5.5));
    wait_for("it has confirmed", || is(&site, "on", true)).await;
    assert!(gateway.downlink(SHORT).is_none());

    assert!(say_level(&site, 100));
    wait_for("it should be silent", || is(&site, "off", false)).await;
    assert!(gateway.push(&device.up(4, &[4, 214], &json!({})), 5.5));
    let answer = gateway.downlink(LONG).expect("it is told of the all-clear");
    assert_eq!(order(&device.down(&answer.phy, 2)), told("00"));
    // Who replays an old acknowledgement confirms nothing.
    assert!(gateway.push(&first, 5.5) && gateway.downlink(SHORT).is_none());
    assert!(is(&site, "off", false));
    assert!(gateway.push(&device.up(5, &[4, 215], &json!({"ack": true})), 5.5));
    wait_for("it is silent", || is(&site, "off", true)).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lorawan_device_that_always_listens_is_told_at_once_on_its_second_channel() {
    let (mut site, mut gateway, mut device) = radio_site("C").await;
    assert!(say_level(&site, 250));
    let sent = gateway.downlink(LONG).expect("it is told without having asked");
    // RX2 of EU868, RP002-1.0.4 §2.4.7.
    let channel = Modulation::Lora { spreading_factor: 12, bandwidth_hz: 125_000 };
    assert_eq!(
        (sent.when, sent.frequency_hz, sent.modulation),
        (When::Immediately, 869_525_000, channel)
    );
    assert_eq!(order(&device.down(&sent.phy, 0)), told("01b4"));
    assert!(gateway.push(&device.up(1, &[4, 211], &json!({"ack": true})), 5.5));
    wait_for("it has confirmed", || is(&site, "on", true)).await;
    assert!(say_level(&site, 100));
    let sent = gateway.downlink(LONG).expect("it is told of the all-clear");
    assert_eq!(order(&device.down(&sent.phy, 1)), told("00"));
    site.stop().await;
}
