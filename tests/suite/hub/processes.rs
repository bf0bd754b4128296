//! Two hub processes on one PostgreSQL behind a real mosquitto, under load, killed again and again, and the database with
//! them. The witnesses are the gateways: each looks, the moment that an answer comes, whether what it acknowledges is in
//! the database; and at the end whether everything is there, once.

use super::gateway::{Gateway, stored};
use super::postgres::Postgres;
use crate::dice::Dice;
use crate::external_broker::Mosquitto;
use crate::peers::{PATIENCE, wait_for};
use kengele::hub::storage::Storage;
use kengele::wire::batch::Reading;
use kengele::wire::uplink::{BlockId, Up};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use sqlx::{PgPool, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Packets that a gateway has out at a time.
const WINDOW: usize = 6;
/// After so long without an answer it says it again.
const AGAIN: Duration = Duration::from_secs(2);
const GATEWAYS: u64 = 8;
const BLOCKS: usize = 120;

struct HubProcess {
    config: PathBuf,
    log: PathBuf,
    process: Child,
}

impl HubProcess {
    async fn start(folder: &TempDir, name: &str, database: &str, broker: u16) -> Self {
        let config = folder.path().join(format!("{name}.toml"));
        let text = format!(
            "[database]\nurl = \"{database}\"\nconnections_max = 5\n\n\
             [mqtt]\nurl = \"mqtt://localhost:{broker}\"\nclient_id = \"{name}\"\n"
        );
        fs::write(&config, text).unwrap();
        let log = folder.path().join(format!("{name}.log"));
        let mut hub = Self { process: Self::spawn(&config, &log), config, log };
        hub.heard(1).await;
        hub
    }

    fn spawn(config: &PathBuf, log: &PathBuf) -> Child {
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kengele"));
        command.args(["hub", "run", "--config"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has been subscribed so many times.
    async fn heard(&mut self, times: usize) {
        let log = self.log.clone();
        let count = || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.matches("the broker is heard").count()
        };
        wait_for("the hub hears the broker", || count() >= times).await;
    }

    async fn kill_and_start(&mut self) {
        let times = self.log().matches("the broker is heard").count();
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = Self::spawn(&self.config, &self.log);
        self.heard(times + 1).await;
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.process.kill().is_ok();
        let _reaped = self.process.wait().is_ok();
    }
}

/// A packet that is to be answered, with the blocks in it.
#[derive(Clone)]
struct Pending {
    bytes: Vec<u8>,
    blocks: Vec<BlockId>,
    again: Instant,
}

/// Returns whether all these blocks are committed.
async fn are_stored(pool: &PgPool, gateway: u32, blocks: &[BlockId]) -> bool {
    let ids: Vec<Vec<u8>> = blocks.iter().map(|id| id.0.to_vec()).collect();
    let query = "select count(*) from block where gateway = $1 and id = any($2)";
    loop {
        let asked = sqlx::query(query).bind(i64::from(gateway)).bind(&ids).fetch_one(pool).await;
        match asked {
            Ok(row) => return row.get::<i64, _>(0) == i64::try_from(blocks.len()).unwrap(),
            // The database is down just now; what is committed will be there when it is back.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Tells the hub everything, until everything is answered. Returns how often something was said.
async fn speak(
    gateway: Gateway,
    packets: Vec<Pending>,
    broker: u16,
    pool: PgPool,
    answered: Arc<AtomicUsize>,
) -> usize {
    let mut options = MqttOptions::new(&gateway.name, "localhost", broker);
    options.set_clean_start(true).set_keep_alive(Duration::from_secs(10));
    let (client, mut events) = AsyncClient::new(options, 1_000);
    let (up, down) = ("kengele/v1/@/up", "kengele/v1/@/down");
    let of = |topic: &str| topic.replace('@', &gateway.number.0.to_string());
    let mut dice = Dice::seeded(gateway.number.0.into());
    let mut waiting: Vec<Pending> = packets;
    waiting.reverse();
    let mut out: BTreeMap<u64, Pending> = BTreeMap::new();
    let (mut said, mut next, mut ready) = (0, 0, false);
    while !(waiting.is_empty() && out.is_empty()) {
        while ready && out.len() < WINDOW && !waiting.is_empty() {
            // Not always in turn.
            let place = waiting.len() - 1 - dice.index(waiting.len().min(3));
            out.insert(next, waiting.remove(place));
            next += 1;
        }
        let now = Instant::now();
        for pending in out.values_mut().filter(|pending| pending.again <= now) {
            pending.again = now + AGAIN;
            for _ in 0..=usize::from(dice.chance(200)) {
                said += 1;
                client.try_publish(of(up), QoS::AtLeastOnce, false, pending.bytes.clone()).unwrap();
            }
        }
        let wake = out.values().map(|pending| pending.again).min();
        let event = tokio::select! {
            event = events.poll() => event,
            () = sleep_until(wake.unwrap_or(now + AGAIN)) => continue,
        };
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                client.try_subscribe(of(down), QoS::AtLeastOnce).unwrap();
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => ready = true,
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let is_to = |pending: &Pending| gateway.answered(&pending.bytes, &publish.payload);
                let known = out.iter().find_map(|(n, pending)| is_to(pending).map(|_| *n));
                // What was said twice is answered twice.
                let Some(number) = known else { continue };
                let pending = out.remove(&number).unwrap();
                let stored = are_stored(&pool, gateway.number.0, &pending.blocks).await;
                assert!(stored, "answered, and not stored");
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) => panic!("the broker stays: {error}"),
        }
    }
    said
}

/// Packets of one to three blocks, and the readings in them.
fn packets(gateway: &mut Gateway) -> (Vec<Pending>, Vec<Reading>) {
    let mut dice = Dice::seeded(u64::from(gateway.number.0) + 100);
    let (mut packets, mut all) = (Vec::new(), Vec::new());
    let mut left = BLOCKS;
    while left > 0 {
        let count = (1 + dice.index(3)).min(left);
        left -= count;
        let mut items = Vec::new();
        let mut blocks = Vec::new();
        for _ in 0..count {
            if dice.chance(60) {
                gateway.stand_alone();
            }
            let readings = gateway.readings(12);
            let block = gateway.seal(&readings);
            blocks.push(block.id());
            items.push(Up::Block(block));
            all.extend(readings);
        }
        let bytes = gateway.pack(items);
        packets.push(Pending { bytes, blocks, again: Instant::now() });
    }
    (packets, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_what_was_answered_is_stored_once_and_the_rest_is_not_answered() {
    let mut database = Postgres::new().await;
    let broker = Mosquitto::new("allow_anonymous true").await;
    let folder = TempDir::new().unwrap();
    let storage = Storage::open(&database.place()).await.unwrap();
    let mut one = HubProcess::start(&folder, "hub-one", &database.url(), broker.port).await;
    let mut two = HubProcess::start(&folder, "hub-two", &database.url(), broker.port).await;
    let pool = PgPool::connect(&database.url()).await.unwrap();
    let answered = Arc::<AtomicUsize>::default();
    let (mut speakers, mut expected, mut total) = (JoinSet::new(), Vec::new(), 0);
    for seed in 1..=GATEWAYS {
        let mut gateway = Gateway::enrol(&storage, &format!("mto-{seed}"), seed).await;
        let (packets, readings) = packets(&mut gateway);
        let told: BTreeSet<_> = readings.iter().map(Gateway::told).collect();
        expected.push((gateway.name.clone(), told));
        total += packets.len();
        let (pool, answered) = (pool.clone(), Arc::clone(&answered));
        speakers.spawn(speak(gateway, packets, broker.port, pool, answered));
    }
    // At each eighth of the work somebody is killed in the middle of it.
    let passed = async |part: usize| {
        let until = Instant::now() + 4 * PATIENCE;
        while answered.load(Ordering::Relaxed) < total * part / 8 {
            assert!(Instant::now() < until, "the work does not go on");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    for part in 1..7 {
        passed(part).await;
        match part {
            1 | 4 => one.kill_and_start().await,
            2 | 5 => two.kill_and_start().await,
            _ => {
                database.crash().await;
                database.start().await;
            }
        }
    }
    let mut said = 0;
    while let Some(done) = speakers.join_next().await {
        said += done.unwrap();
    }
    assert_eq!(answered.load(Ordering::Relaxed), total);
    let mut readings = 0;
    for (name, expected) in expected {
        readings += expected.len();
        assert_eq!(stored(&storage, &name).await, expected, "{name}");
    }
    assert!(storage.unread().await.unwrap().is_empty());
    println!("{total} packets, said {said} times, {readings} readings, each stored once");
}
