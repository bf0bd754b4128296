//! Nodes of our own radio link at the pipeline: what is on the air goes in, what the store has and what goes back on the
//! air is looked at. The nodes' side is the one that their firmware has.

use crate::peers::PATIENCE;
use bytes::Bytes;
use kengele::app::{backup, convert, restore};
use kengele::archive::{self, ReadingRow, Wanted};
use kengele::config::Source;
use kengele::domain::engine::Engine;
use kengele::domain::frame::{Envelope, Frame, Origin};
use kengele::domain::quantity::Quantity;
use kengele::domain::radio::{Downlink, Hearing, Modulation, SyncWord, Urgency, When};
use kengele::domain::reading::Quality;
use kengele::domain::siren;
use kengele::domain::time::{ClockQuality, Timestamp, WallClock};
use kengele::pipeline::{
    Chance, Command, LinkAnswer, LinkCommand, LinkError, LinkStatus, Outlets, Pipeline, Status,
};
use kengele::store::Store;
use kengele::supervise::Tasks;
use kengele::telemetry::{Clock, Telemetry};
use kengele::wire::sealed::{
    self, Boot, Field, Health, Kind, Outcome, Provisioning, Reading, Report, Schema, Session, Told,
    Value,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc, oneshot};

const CONFIG: &str = r#"
[gateway]
name = "kata"
sender = "Kamati"
language = "sw"
[area.bonde]
name = "Bonde la chini"
[[topic]]
template = "field/{node}/{quantity}"
format = "number"
[report.mto]
[[report.mto.field]]
quantity = "water_level"
min = "0 m"
step = "5 mm"
bits = 12
[[report.mto.field]]
quantity = "rain"
min = "0 mm"
step = "0.2 mm"
bits = 9
[node.mto]
interval = "5 min"
sensor.water_level = { range = ["0 m", "21 m"] }
sensor.rain = {}
sensor.battery_voltage = {}
wf1 = { report = "mto" }
[node.paa]
interval = "5 min"
sensor.water_level = { range = ["0 m", "21 m"] }
sensor.rain = {}
wf1 = { report = "mto", listens = "always" }
[siren.shule]
node = "paa"
areas = ["bonde"]
"#;

/// What both ends have of `[report.mto]`: written here anew, as the firmware would.
fn schema() -> Schema {
    Schema::new(&[
        Field { quantity: 1, min_milli: 0, step_milli: 5, bits: 12 },
        Field { quantity: 3, min_milli: 0, step_milli: 200, bits: 9 },
    ])
    .unwrap()
}

/// A gateway from the pipeline to the store, without sources and channels.
struct Gateway {
    folder: TempDir,
    began_s: i64,
    run: Option<Run>,
}

struct Run {
    store: Store,
    frames: mpsc::Sender<Envelope>,
    commands: mpsc::Sender<Command>,
    downlinks: mpsc::Receiver<Downlink>,
    tasks: Tasks,
    writer: Tasks,
}

impl Gateway {
    async fn start() -> Self {
        let mut gateway = Self { folder: TempDir::new().unwrap(), began_s: 100_000, run: None };
        gateway.begin(true).await;
        gateway
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("kengele.db")
    }

    async fn begin(&mut self, gap_is_certain: bool) {
        let (store, writer) = Store::open(&self.database()).await.unwrap();
        let mut writers = Tasks::default();
        writers.spawn("store", writer.run());
        let source = Source { name: "kengele.toml".to_owned(), text: CONFIG.to_owned() };
        let rules = convert::rules(&convert::parse(&[source]).unwrap()).unwrap();
        let at = Timestamp::from_millis(self.began_s * 1000);
        let wall = WallClock { offset_ms: 0, quality: ClockQuality::Synchronised };
        let boot = kengele::store::Boot { kernel: "k".to_owned(), uptime_ms: 0, at, wall };
        store.begin(boot).await.unwrap();
        store.declare(Arc::clone(&rules.book), rules.sources.clone()).await.unwrap();
        let engine = Engine::new(&rules.book, at);
        let states = store.radio_states().await.unwrap();
        let telemetry = Telemetry::new(Clock::new(at, wall, 1.0));
        let (downlinks, downlinks_in) = mpsc::channel(64);
        let (from_memory, _) = mpsc::channel(8);
        let (shown, _) = mpsc::channel(8);
        let outlets = Outlets {
            nudge: Arc::new(Notify::new()),
            from_memory,
            shown,
            downlinks,
            publishers: BTreeMap::new(),
        };
        let mut pipeline =
            Pipeline::new(engine, rules, Vec::new(), &states, store.clone(), telemetry, outlets);
        pipeline.resume(Duration::ZERO, gap_is_certain).await;
        let (frames, frames_in) = mpsc::channel(64);
        let (commands, commands_in) = mpsc::channel(8);
        let mut tasks = Tasks::default();
        tasks.spawn("pipeline", pipeline.run(frames_in, commands_in, tasks.stop_signal()));
        self.run =
            Some(Run { store, frames, commands, downlinks: downlinks_in, tasks, writer: writers });
    }

    /// Ends as a process does that is killed: nothing is said to anybody.
    async fn killed_and_started_again(&mut self, gap_is_certain: bool) {
        self.killed().await;
        self.began_s += 3600;
        self.begin(gap_is_certain).await;
    }

    async fn killed(&mut self) {
        let Run { mut tasks, mut writer, store, frames, commands, .. } = self.run.take().unwrap();
        tasks.stop();
        tasks.next_ended().await;
        drop((store, frames, commands, tasks));
        writer.next_ended().await;
    }

    fn run(&mut self) -> &mut Run {
        self.run.as_mut().unwrap()
    }

    /// The disk is gone: nothing is written from now on.
    async fn lose_disk(&mut self) {
        let run = self.run();
        run.writer = Tasks::default();
        let store = run.store.clone();
        until(async || store.put_recipients(Vec::new()).await.is_err()).await;
    }

    async fn hear(&mut self, phy: &[u8]) {
        let hearing = Hearing {
            link: "radio".into(),
            sync_word: SyncWord::Private,
            gateway: 0,
            tmst: 0,
            at: Timestamp::default(),
            frequency_hz: 868_100_000,
            modulation: Modulation::Lora { spreading_factor: 9, bandwidth_hz: 125_000 },
            snr_db: Some(7.5),
            rssi_dbm: Some(-97.0),
            gateways: 1,
        };
        let origin = Origin::Radio(Arc::new(hearing));
        let payload = Bytes::copy_from_slice(phy);
        let frame = Frame { origin, payload, redelivered: false };
        self.run().frames.send(Envelope { frame, receipt: None }).await.unwrap();
    }

    async fn downlink(&mut self) -> Downlink {
        let waited = tokio::time::timeout(PATIENCE, self.run().downlinks.recv()).await;
        waited.expect("nothing is sent").unwrap()
    }

    async fn link(&mut self, command: LinkCommand) -> Result<LinkAnswer, LinkError> {
        let (reply, answer) = oneshot::channel();
        self.run().commands.send(Command::Link(command, reply)).await.unwrap();
        answer.await.unwrap()
    }

    async fn add(&mut self, name: &str) -> Node {
        let command = LinkCommand::Add { name: name.to_owned(), chance: chance(1) };
        Node::of(self.link(command).await)
    }

    async fn status(&mut self) -> Status {
        let (reply, answer) = oneshot::channel();
        self.run().commands.send(Command::Status(reply)).await.unwrap();
        answer.await.unwrap()
    }

    async fn node(&mut self, name: &str) -> LinkStatus {
        let Ok(LinkAnswer::Nodes(nodes)) = self.link(LinkCommand::List).await else { panic!() };
        nodes.into_iter().find(|node| node.name == name).unwrap()
    }

    async fn siren(&mut self, command: siren::Command) {
        let (reply, answer) = oneshot::channel();
        let command = Command::Siren("shule".to_owned(), command, reply);
        self.run().commands.send(command).await.unwrap();
        answer.await.unwrap().unwrap();
    }

    async fn readings(&mut self) -> Vec<ReadingRow> {
        archive::readings(&self.run().store, &Wanted::default()).await.unwrap().rows
    }

    /// Waits until so many frames were refused for that reason.
    async fn refused(&mut self, reason: &str, count: u64) {
        loop {
            let status = self.status().await;
            let found = status.radio_refused.iter().find(|(known, _)| *known == reason);
            if found.is_some_and(|(_, found)| *found == count) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn chance(seed: u8) -> Chance {
    Chance { key: [seed; 16], net: u32::from(seed) }
}

/// A node's side, with a flash that works.
struct Node(Session);

impl Node {
    fn of(answer: Result<LinkAnswer, LinkError>) -> Self {
        let Ok(LinkAnswer::Code(code)) = answer else { panic!("{answer:?}") };
        let Provisioning { address, epoch } = Provisioning::from_code(&code).unwrap();
        Self(Session::provisioned(address, epoch))
    }

    fn reserve(&mut self, uptime_s: u32) {
        if let Some(record) = self.0.prepare(uptime_s) {
            assert!(self.0.written(&record));
        }
    }

    /// Seals a report of readings, each taken at its second.
    fn report(&mut self, readings: &[(u32, [Value; 2])], uptime_s: u32) -> Vec<u8> {
        self.reserve(uptime_s);
        let mut report = Report::new(uptime_s);
        for (taken_s, values) in readings {
            let mut reading = Reading { id: *taken_s, ..Reading::default() };
            reading.values[..2].copy_from_slice(values);
            report.push(reading).unwrap();
        }
        let sealed = self.0.seal_report(Kind::Telemetry, true, &schema(), &report, uptime_s);
        sealed.unwrap().frame.to_vec()
    }

    fn health(&mut self, uptime_s: u32) -> Vec<u8> {
        self.reserve(uptime_s);
        let health = Health {
            boot: Boot::PowerOn,
            firmware: [1, 2],
            schema: schema().digest(),
            uptime_s,
            battery_mv: 3720,
            boots: 1,
            dropped: 0,
            repeats: 0,
        };
        self.0.seal(Kind::Health, true, &health.to_bytes(), uptime_s).unwrap().frame.to_vec()
    }

    fn hears(&mut self, downlink: &Downlink, uptime_s: u32) -> (Option<u32>, Option<Told>) {
        let heard = self.0.open(&downlink.phy, uptime_s).unwrap();
        if let Some(record) = heard.record {
            assert!(self.0.written(&record));
        }
        (heard.acked, heard.told)
    }

    fn does(&mut self, told: Option<Told>, uptime_s: u32) -> Vec<u8> {
        self.ends(told, Outcome::Done, uptime_s)
    }

    fn ends(&mut self, told: Option<Told>, outcome: Outcome, uptime_s: u32) -> Vec<u8> {
        let Some(Told::Do { number, .. }) = told else { panic!("{told:?}") };
        let (ack, record) = self.0.finish(number, outcome);
        assert!(self.0.written(&record));
        self.reserve(uptime_s);
        self.0.seal(Kind::Ack, false, &ack.to_bytes(), uptime_s).unwrap().frame.to_vec()
    }
}

fn level(metres: i32) -> [Value; 2] {
    [Value::Milli(metres * 1000), Value::Milli(400)]
}

#[tokio::test]
async fn a_report_is_stored_with_its_ages_and_acknowledged_in_the_nodes_windows() {
    let mut gateway = Gateway::start().await;
    let mut node = gateway.add("mto").await;
    let frame = node.report(&[(600, level(1)), (900, [Value::Above, Value::Missing])], 900);
    gateway.hear(&frame).await;
    let downlink = gateway.downlink().await;
    assert_eq!(node.hears(&downlink, 901).0, Some(900));
    assert_eq!((&*downlink.link, downlink.urgency), ("radio", Urgency::Ordinary));
    let When::Answer { windows: [Some(first), Some(second)], .. } = downlink.when else { panic!() };
    assert_eq!([first.delay.as_secs(), second.delay.as_secs()], [1, 2]);
    assert_eq!([first.frequency_hz, second.frequency_hz], [868_100_000; 2]);
    let readings = gateway.readings().await;
    let mut said: Vec<(&str, f64)> =
        readings.iter().map(|r| (r.quantity.name(), r.value)).collect();
    said.sort_by(|a, b| a.partial_cmp(b).unwrap());
    // 2^12 - 5 steps of 5 mm: the river is at least there.
    assert_eq!(said, [("rain", 0.4), ("water_level", 1.0), ("water_level", 20.455)]);
    let times: Vec<i64> =
        readings.iter().filter(|r| r.quantity == Quantity::WaterLevel).map(|r| r.unix_ms).collect();
    assert_eq!((times[0] - times[1]).abs(), 300_000, "{times:?}");
}

#[tokio::test]
async fn a_reading_that_comes_again_is_stored_once_and_acknowledged_again() {
    let mut gateway = Gateway::start().await;
    let mut node = gateway.add("mto").await;
    for uptime_s in [900, 960] {
        let frame = node.report(&[(900, level(1))], uptime_s);
        gateway.hear(&frame).await;
        let downlink = gateway.downlink().await;
        assert_eq!(node.hears(&downlink, uptime_s).0, Some(uptime_s));
    }
    assert_eq!(gateway.readings().await.len(), 2, "its level and its rain");
}

#[tokio::test]
async fn what_is_replayed_forged_revoked_or_of_nobody_is_no_reading_and_counted() {
    let mut gateway = Gateway::start().await;
    let mut node = gateway.add("mto").await;
    let frame = node.report(&[(900, level(1))], 900);
    gateway.hear(&frame).await;
    gateway.downlink().await;
    gateway.hear(&frame).await;
    gateway.refused("replayed", 1).await;
    let mut forged = node.report(&[(950, level(19))], 950);
    *forged.last_mut().unwrap() ^= 1;
    gateway.hear(&forged).await;
    gateway.refused("tag", 1).await;
    gateway.hear(&[0x40, 0, 99, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]).await;
    gateway.hear(&[1, 2, 3]).await;
    gateway.refused("length", 1).await;
    let heard = gateway.status().await.heard;
    assert_eq!((heard[0].node.as_str(), heard[0].topic.as_str()), ("wf1-99", "WF1"));
    let revoke = LinkCommand::Revoke { name: "mto".to_owned() };
    assert_eq!(gateway.link(revoke).await, Ok(LinkAnswer::Done));
    let frame = node.report(&[(960, level(19))], 960);
    gateway.hear(&frame).await;
    gateway.refused("revoked", 1).await;
    assert_eq!(gateway.readings().await.len(), 2);
}

#[tokio::test]
async fn counters_keys_and_orders_outlive_the_gateway() {
    let mut gateway = Gateway::start().await;
    let mut node = gateway.add("mto").await;
    let old = node.report(&[(900, level(1))], 900);
    gateway.hear(&old).await;
    gateway.downlink().await;
    let rekey = LinkCommand::Rekey { name: "mto".to_owned(), chance: chance(9) };
    assert_eq!(gateway.link(rekey).await, Ok(LinkAnswer::Done));
    gateway.killed_and_started_again(true).await;
    gateway.hear(&old).await;
    gateway.refused("replayed", 1).await;
    assert_eq!(gateway.node("mto").await.orders, ["new key"]);
    let frame = node.report(&[(4600, level(1))], 4600);
    gateway.hear(&frame).await;
    let downlink = gateway.downlink().await;
    let (acked, told) = node.hears(&downlink, 4601);
    assert_eq!(acked, Some(4600));
    let Some(Told::Rekeyed(ack)) = told else { panic!("{told:?}") };
    let answer = node.0.seal(Kind::Ack, false, &ack.to_bytes(), 4602).unwrap();
    gateway.hear(&answer.frame).await;
    // It was asked for the time, too: the answer to its answer asks again.
    let downlink = gateway.downlink().await;
    let (_, told) = node.hears(&downlink, 4603);
    let answer = node.does(told, 4604);
    gateway.hear(&answer).await;
    let frame = node.report(&[(4700, level(2))], 4700);
    gateway.hear(&frame).await;
    let downlink = gateway.downlink().await;
    assert_eq!(node.hears(&downlink, 4701), (Some(4700), None));
    let known = gateway.node("mto").await;
    assert_eq!((known.epoch, known.rekeying, known.orders.len()), (1, false, 0));
    assert_eq!(known.signal, Some((-970, 75)));
}

/// After a power cut without a clock that is right, a node is asked for the proof that its frames are fresh.
#[tokio::test]
async fn a_node_is_asked_for_proof_when_nobody_knows_how_long_the_gateway_was_down() {
    let mut gateway = Gateway::start().await;
    let mut node = gateway.add("mto").await;
    let mut asked = Vec::new();
    for (gap_is_certain, uptime_s) in [(true, 900), (true, 4500), (false, 8100)] {
        if uptime_s > 900 {
            gateway.killed_and_started_again(gap_is_certain).await;
        }
        let frame = node.report(&[(uptime_s, level(1))], uptime_s);
        gateway.hear(&frame).await;
        let downlink = gateway.downlink().await;
        let (_, told) = node.hears(&downlink, uptime_s);
        asked.push(told.is_some());
        if told.is_some() {
            let answer = node.does(told, uptime_s + 1);
            gateway.hear(&answer).await;
        }
        until(async || gateway.node("mto").await.orders.is_empty()).await;
    }
    // A node that was never heard is asked, too.
    assert_eq!(asked, [true, false, true]);
}

#[tokio::test]
async fn other_hardware_takes_a_nodes_place_and_its_history_stays() {
    let mut gateway = Gateway::start().await;
    let add = LinkCommand::Add { name: "mto".to_owned(), chance: chance(1) };
    let mut stolen = Node::of(gateway.link(add.clone()).await);
    assert_eq!(gateway.link(add).await, Err(LinkError::HasKey("mto".to_owned())));
    let frame = stolen.report(&[(900, level(1))], 900);
    gateway.hear(&frame).await;
    gateway.downlink().await;
    let swap = LinkCommand::Swap { name: "mto".to_owned(), chance: chance(2) };
    let mut fresh = Node::of(gateway.link(swap).await);
    assert_eq!(gateway.node("mto").await.number, Some(2));
    let frame = stolen.report(&[(1900, level(9))], 1900);
    gateway.hear(&frame).await;
    until(async || !gateway.status().await.heard.is_empty()).await;
    let frame = fresh.report(&[(60, level(2))], 60);
    gateway.hear(&frame).await;
    let downlink = gateway.downlink().await;
    assert_eq!(fresh.hears(&downlink, 61).0, Some(60));
    let levels: Vec<f64> = gateway
        .readings()
        .await
        .iter()
        .filter(|r| r.node == "mto" && r.quantity == Quantity::WaterLevel)
        .map(|r| r.value)
        .collect();
    assert_eq!(levels.len(), 2, "{levels:?}");
    assert!(!levels.contains(&9.0), "{levels:?}");
    let nobody = LinkCommand::Revoke { name: "hakuna".to_owned() };
    let not_declared = LinkError::NotDeclared("hakuna".to_owned());
    assert_eq!(gateway.link(nobody).await, Err(not_declared));
    let keyless = LinkCommand::Revoke { name: "paa".to_owned() };
    assert_eq!(gateway.link(keyless).await, Err(LinkError::HasNoKey("paa".to_owned())));
}

#[tokio::test]
async fn a_node_tells_how_it_is_and_its_battery_is_a_reading() {
    let mut gateway = Gateway::start().await;
    let mut node = gateway.add("mto").await;
    let frame = node.health(5);
    gateway.hear(&frame).await;
    let downlink = gateway.downlink().await;
    assert_eq!(node.hears(&downlink, 6).0, Some(5));
    let readings = gateway.readings().await;
    assert_eq!(readings.len(), 1);
    assert_eq!((readings[0].quantity, readings[0].value), (Quantity::BatteryVoltage, 3.72));
    assert_eq!(readings[0].quality, Quality::Good);
    assert_eq!(gateway.node("mto").await.health.unwrap().firmware, [1, 2]);
}

#[tokio::test]
async fn a_siren_is_told_at_once_until_it_confirms_and_then_told_to_be_silent() {
    let mut gateway = Gateway::start().await;
    let mut node = gateway.add("paa").await;
    gateway.siren(siren::Command::Sound).await;
    // It was never heard, and is told all the same: it always listens.
    let first = gateway.downlink().await;
    assert_eq!((&first.when, first.urgency), (&When::Always, Urgency::Danger));
    let (_, told) = node.hears(&first, 100);
    let answer = node.does(told, 101);
    gateway.hear(&answer).await;
    until(async || {
        let sirens = gateway.status().await.sirens;
        sirens[0].confirmed && sirens[0].desired == siren::Desired::On
    })
    .await;
    assert_eq!(gateway.status().await.sirens[0].attempts, 1);
    gateway.siren(siren::Command::Silence).await;
    let second = gateway.downlink().await;
    assert_eq!(second.urgency, Urgency::Ordinary);
    let (_, told) = node.hears(&second, 110);
    let answer = node.does(told, 111);
    gateway.hear(&answer).await;
    until(async || gateway.status().await.sirens[0].confirmed).await;
    assert!(gateway.node("paa").await.orders.is_empty());
}

/// After the backup the siren was told to sound; the card died, and the gateway has forgotten it.
#[tokio::test]
async fn after_a_restore_a_node_takes_its_new_key_and_a_siren_sounds() {
    let mut gateway = Gateway::start().await;
    let mut node = gateway.add("paa").await;
    let data = gateway.folder.path().to_path_buf();
    let places = convert::Places { socket: data.join("none"), data: data.clone() };
    let (file, config) = (data.join("backup.db"), data.join("kengele.toml"));
    backup::without_gateway(&places, &file, false).await.unwrap();
    gateway.siren(siren::Command::Sound).await;
    let downlink = gateway.downlink().await;
    let (_, told) = node.hears(&downlink, 100);
    let answer = node.does(told, 101);
    gateway.hear(&answer).await;
    gateway.killed().await;
    std::fs::remove_file(gateway.database()).unwrap();
    std::fs::write(&config, CONFIG).unwrap();
    let said = restore::restore(&config, &places, &file).await.unwrap();
    assert_eq!(said["rekeyed"], serde_json::json!(["paa"]), "{said}");
    gateway.began_s += 3600;
    gateway.begin(true).await;
    gateway.siren(siren::Command::Sound).await;
    let (mut sounds, mut uptime_s) = (false, 200);
    while !sounds {
        let downlink = gateway.downlink().await;
        uptime_s += 10;
        // The node takes it for a new frame; its order is not taken for the one before.
        let answer = match node.hears(&downlink, uptime_s).1 {
            Some(Told::Rekeyed(ack)) => {
                let sealed = node.0.seal(Kind::Ack, false, &ack.to_bytes(), uptime_s + 1);
                sealed.unwrap().frame.to_vec()
            }
            Some(Told::Do { number, command }) => {
                sounds |= matches!(command, sealed::Command::SirenOn { .. });
                node.does(Some(Told::Do { number, command }), uptime_s + 1)
            }
            other => panic!("{other:?}"),
        };
        gateway.hear(&answer).await;
    }
    until(async || gateway.status().await.sirens[0].confirmed).await;
    until(async || {
        // Orders about sirens go first.
        if let Ok(downlink) = gateway.run().downlinks.try_recv()
            && let Some(Told::Rekeyed(ack)) = node.hears(&downlink, 900).1
        {
            let sealed = node.0.seal(Kind::Ack, false, &ack.to_bytes(), 901).unwrap();
            gateway.hear(&sealed.frame).await;
        }
        gateway.node("paa").await.epoch == 1
    })
    .await;
}

#[tokio::test]
async fn a_node_that_has_no_siren_is_shown_and_not_told_again_with_every_frame() {
    let mut gateway = Gateway::start().await;
    let mut node = gateway.add("paa").await;
    gateway.siren(siren::Command::Sound).await;
    let (_, told) = node.hears(&gateway.downlink().await, 100);
    let answer = node.ends(told, Outcome::Refused, 101);
    gateway.hear(&answer).await;
    until(async || gateway.status().await.sirens[0].refused).await;
    for uptime_s in [110, 120, 130] {
        let health = node.health(uptime_s);
        gateway.hear(&health).await;
        let (acked, told) = node.hears(&gateway.downlink().await, uptime_s);
        assert_eq!(acked, Some(uptime_s));
        // It is told the time.
        assert!(!format!("{told:?}").contains("siren"), "{told:?}");
    }
    assert_eq!(gateway.status().await.sirens[0].attempts, 1);
    // The next state is one that it was not asked for yet.
    gateway.siren(siren::Command::Silence).await;
    until(async || !gateway.status().await.sirens[0].refused).await;
}

#[tokio::test]
async fn an_order_to_sound_waits_in_the_queue_and_is_repeated_after_a_restart() {
    let mut gateway = Gateway::start().await;
    let mut node = gateway.add("paa").await;
    gateway.siren(siren::Command::Sound).await;
    gateway.downlink().await;
    gateway.killed_and_started_again(true).await;
    // An operator's order is worth an hour, and one is over.
    until(async || gateway.node("paa").await.orders.iter().all(|o| o == "siren off")).await;
    gateway.siren(siren::Command::Sound).await;
    loop {
        let downlink = gateway.downlink().await;
        let (_, told) = node.hears(&downlink, 200);
        if format!("{told:?}").contains("siren on") {
            break;
        }
    }
}

/// Nothing is acknowledged that is not on disk; what warns of danger leaves all the same.
#[tokio::test]
async fn when_the_disk_fails_no_reading_is_acknowledged_and_a_siren_still_sounds() {
    let (acked, sounded) = without_disk().await;
    assert!(!acked, "a reading was acknowledged that is on no disk");
    assert!(sounded);
}

#[cfg(feature = "planted")]
#[tokio::test]
async fn an_acknowledgement_that_leaves_before_the_commit_is_caught() {
    use kengele::domain::planted::{Bug, plant};
    plant(Some(Bug::RadioAckBeforeCommit));
    let (acked, _) = without_disk().await;
    plant(None);
    assert!(acked, "the planted fault does nothing");
}

/// Returns whether a reading was acknowledged, and whether a siren was told to sound, while nothing could be written.
async fn without_disk() -> (bool, bool) {
    let mut gateway = Gateway::start().await;
    let (mut gauge, mut siren) = (gateway.add("mto").await, gateway.add("paa").await);
    gateway.lose_disk().await;
    let frame = gauge.report(&[(900, level(1))], 900);
    gateway.hear(&frame).await;
    until(async || gateway.status().await.unsaved_turns > 0).await;
    gateway.siren(siren::Command::Sound).await;
    let (mut acked, mut sounded) = (false, false);
    while !sounded {
        let downlink = gateway.downlink().await;
        match gauge.0.open(&downlink.phy, 901) {
            Ok(heard) => acked |= heard.acked.is_some(),
            Err(_) => sounded |= siren.hears(&downlink, 900).1.is_some(),
        }
    }
    (acked, sounded)
}

/// Waits until something is so.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !so().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it did not come about");
}
