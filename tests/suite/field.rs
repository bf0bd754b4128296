//! The whole program with a radio: `kengele run` as a process of its own on an emulated chip, and field nodes with their own
//! firmware on the same air, added by the commands that a technician types.

use crate::gateway::Site;
use crate::peers::wait_for;
use kengele::sim::air::{Air, Attacker, ChipKind, Conditions, Plan, Position, socket};
use kengele::sim::field::{self, FieldNode, Seen, Watch};
use kengele::sim::village::farms::Farms;
use kengele::sim::village::{self, FIELD_NODES, Radio};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Times faster than real: the windows of nodes are wide enough for a computer that does other things, too.
const FASTER: f64 = 5.0;

/// A gateway with a radio, and the air around it.
struct Place {
    site: Site,
    air: Air,
    lives: JoinSet<()>,
    watch: Watch,
    sights: mpsc::Receiver<Seen>,
    _folder: TempDir,
}

/// How the gateway reaches its chip.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// By the emulator's own socket.
    Socket,
    /// By a Raspberry Pi's bus and lines, or what looks like them to the program.
    Wires,
}

impl Place {
    async fn new(farms: Farms, conditions: Conditions) -> Self {
        Self::by(Way::Socket, farms, conditions).await
    }

    async fn by(way: Way, farms: Farms, conditions: Conditions) -> Self {
        let folder = TempDir::new().unwrap();
        let path: PathBuf = folder.path().join("chip");
        let air = Air::new(5, conditions, FASTER);
        let chip = air.chip(ChipKind::Sx1262, Position::new(0.0, 0.0));
        let listener = UnixListener::bind(&path).unwrap();
        let mut lives = JoinSet::new();
        lives.spawn(async move { socket::serve(&listener, &chip).await.unwrap() });
        let mut site = Site::of(|places| {
            let radio = Some(Radio { socket: &path, confirms: true, farms });
            let mut files = village::files(&village::Places { radio, ..*places });
            if way == Way::Wires {
                let emulated = format!(
                    "board = \"socket\"\nsocket = \"{}\"\nchip = \"sx1262\"",
                    path.display()
                );
                for (_, text) in &mut files {
                    *text = text.replace(&emulated, "board = \"waveshare-sx1262\"");
                }
                assert!(files.iter().any(|(_, text)| text.contains("waveshare")));
            }
            files
        })
        .await;
        if way == Way::Wires {
            site.surround("KENGELE_TEST_CHIP", path.clone());
            // Reset, BUSY, DIO1 and the switch of hardware/boards/waveshare-sx1262.toml.
            site.surround("KENGELE_TEST_LINES", "18 20 16 6".into());
            site.surround("LD_PRELOAD", crate::peers::preload("pi"));
        }
        site.start_at(FASTER).await;
        let (watch, sights) = Watch::of(64);
        Self { site, air, lives, watch, sights, _folder: folder }
    }

    /// Does with a node what a technician would, and lets what holds the code live.
    fn add(&mut self, command: &str, name: &str) {
        let answer = self.site.ask(&["node", command, name]);
        let code = answer["code"].as_str().unwrap();
        let scenario = kengele::sim::scenario::Scenario::QuietDay;
        let node = village::field_node(name, code, 7, scenario, true, Farms::default()).unwrap();
        self.enliven(FieldNode { interval: Duration::from_secs(20), ..node });
    }

    fn enliven(&mut self, node: FieldNode) {
        let (air, watch) = (self.air.clone(), self.watch.clone());
        self.lives.spawn(async move {
            let Err(error) = field::live(&air, node, watch).await;
            panic!("{error}");
        });
    }

    fn node(&self, name: &str) -> Value {
        let nodes = self.site.ask(&["node", "list"]);
        nodes.as_array().unwrap().iter().find(|node| node["node"] == name).unwrap().clone()
    }

    fn levels(&self) -> usize {
        let csv =
            self.site.kengele(&["readings", "--node", "mto-chini", "--quantity", "water_level"]);
        csv.lines().count().saturating_sub(1)
    }

    /// Waits until the siren sounds, or is silent.
    async fn siren(&mut self, sounds: bool) {
        let waited = tokio::time::timeout(crate::peers::PATIENCE, async {
            while self.sights.recv().await.unwrap().sounds != sounds {}
        });
        waited.await.unwrap_or_else(|_| panic!("the siren should sound: {sounds}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn field_nodes_are_added_heard_answered_rekeyed_and_swapped_and_a_siren_sounds() {
    let mut place = Place::new(Farms::default(), Conditions::default()).await;
    let [gauge, siren] = FIELD_NODES;
    place.add("add", gauge);
    place.add("add", siren);
    wait_for("readings by radio", || place.levels() > 0).await;
    wait_for("the gauge's word on how it is", || place.node(gauge)["battery_mv"] == 3710).await;
    assert!(place.node(gauge)["rssi_dbm"].as_f64().unwrap() < -60.0);

    // Somebody walks with it, and somebody types where.
    let walk = place.site.file("walk.csv");
    let mut record = place.site.command();
    record.args(["survey", "record", gauge, &walk]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut record = record.spawn().unwrap();
    record.stdin.as_mut().unwrap().write_all(b"mwembe\n").unwrap();
    let heard = || fs::read_to_string(&walk).unwrap_or_default();
    wait_for("two frames from under the tree", || {
        heard().lines().filter(|line| line.contains("mwembe") && line.ends_with(gauge)).count() >= 2
    })
    .await;
    let pid = Pid::from_raw(i32::try_from(record.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let table = String::from_utf8(record.wait_with_output().unwrap().stdout).unwrap();
    assert!(table.contains("mwembe") && table.contains("dBm"), "{table}");

    // A new key goes out in a window behind the node's own frame: that the node has it shows that windows are met.
    place.site.kengele(&["node", "rekey", gauge]);
    wait_for("the node to speak with its new key", || place.node(gauge)["epoch"] == 1).await;

    place.site.kengele(&["siren", "sound", "shule"]);
    place.siren(true).await;
    wait_for("the siren's word", || place.site.ask(&["siren", "list"])[0]["confirmed"] == true)
        .await;

    // Killed in the middle, it knows counters and keys: everything goes on.
    place.site.kill();
    place.site.start_at(FASTER).await;
    let before = place.levels();
    wait_for("readings after the restart", || place.levels() > before).await;
    place.site.kengele(&["siren", "silence", "shule", "--yes"]);
    place.siren(false).await;

    // Other hardware in its place: what stood there is not believed any more.
    place.add("swap", gauge);
    wait_for("the new hardware", || {
        place.node(gauge)["number"] == 3 && place.node(gauge)["heard_s_ago"].is_u64()
    })
    .await;
    wait_for("the old hardware to be nobody", || {
        let heard = place.site.ask(&["node", "heard"]);
        heard.as_array().unwrap().iter().any(|heard| heard["node"] == "wf1-1")
    })
    .await;
    assert!(Path::new(&place.site.file("kengele.toml")).exists());
    let own = place.site.ask(&["status"])["radio"]["own"].clone();
    assert_eq!(own["state"], "listening", "{own}");
    assert!(own["sent"].as_u64().unwrap() > 0 && own["damaged"].is_u64(), "{own}");
    place.lives.abort_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_a_pis_bus_and_lines_nodes_are_heard_and_answered_in_their_windows() {
    let mut place = Place::by(Way::Wires, Farms::default(), Conditions::default()).await;
    let [gauge, siren] = FIELD_NODES;
    place.add("add", gauge);
    place.add("add", siren);
    wait_for("readings by radio", || place.levels() > 0).await;
    place.site.kengele(&["node", "rekey", gauge]);
    wait_for("the node to speak with its new key", || place.node(gauge)["epoch"] == 1).await;
    place.site.kengele(&["siren", "sound", "shule"]);
    place.siren(true).await;
    // A chip that was left alone for a while is found again.
    place.site.kill();
    place.site.start_at(FASTER).await;
    let before = place.levels();
    wait_for("readings after the restart", || place.levels() > before).await;
    let own = place.site.ask(&["status"])["radio"]["own"].clone();
    assert_eq!(own["state"], "listening", "{own}");
    assert!(own["sent"].as_u64().unwrap() > 0, "{own}");
    place.lives.abort_all();
}

/// Returns what is stored of the farms' soil: for each node the values, in half per cents.
fn soil(site: &Site) -> BTreeMap<String, Vec<u32>> {
    let mut soil: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for line in site.kengele(&["readings", "--quantity", "soil_moisture"]).lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let value: f64 = cells[3].parse().unwrap();
        assert!((value * 2.0 - (value * 2.0).round()).abs() < 1e-6, "no sensor said {line}");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 127")]
        soil.entry(cells[1].to_owned()).or_default().push((value * 2.0).round() as u32);
    }
    soil
}

/// Each sensor says another value each time: what is stored names the report that brought it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_report_arrives_once_through_loss_and_attackers_and_what_they_send_counts_nothing() {
    let farms = Farms { count: 8, interval: Duration::from_secs(15) };
    let conditions = Conditions { loss: 0.1, ..Conditions::default() };
    let mut place = Place::new(farms, conditions).await;
    let seconds = Duration::from_secs;
    for (plan, share) in [
        (Plan::Replay { after: seconds(4), times: 1 }, 1.0),
        (Plan::Forge { after: seconds(6) }, 1.0),
        (Plan::Wormhole { after: seconds(70) }, 0.1),
    ] {
        place.air.attack(Attacker {
            ear: Position::new(150.0, 100.0),
            antenna: Position::new(150.0, 100.0),
            power_dbm: 14.0,
            plan,
            share,
            from: Duration::ZERO,
            until: Duration::MAX,
        });
    }

    let codes = place.site.file("codes");
    place.site.kengele(&["node", "add", "--all", "--codes", &codes]);
    let mut said: BTreeMap<String, Arc<AtomicU32>> = BTreeMap::new();
    for line in fs::read_to_string(&codes).unwrap().lines() {
        let (name, code) = line.split_once(' ').unwrap();
        let Some(node) = farms.node(name, code, 5, true) else { continue };
        let count = Arc::clone(said.entry(name.to_owned()).or_default());
        let sensors: field::Sensors = Arc::new(move |of, _| {
            Some(if of == 0 { f64::from(count.fetch_add(1, Ordering::Relaxed)) / 2.0 } else { 3.7 })
        });
        place.enliven(FieldNode { sensors, ..node });
    }
    assert_eq!(said.len(), 8);

    let said_by = || -> BTreeMap<String, u32> {
        said.iter().map(|(name, count)| (name.clone(), count.load(Ordering::Relaxed))).collect()
    };
    wait_for("five reports of each node", || said_by().values().all(|count| *count >= 5)).await;
    let until = said_by();
    wait_for("all that was said until then", || {
        let soil = soil(&place.site);
        let has = |name, value| soil.get(name).is_some_and(|values| values.contains(&value));
        until.iter().all(|(name, count)| (0..*count).all(|value| has(name, value)))
    })
    .await;
    wait_for("all three kinds of attack", || {
        let deeds = place.air.deeds();
        deeds.forged >= 40 && deeds.sent - deeds.forged >= 40 && deeds.jammed > 0
    })
    .await;
    let refused = || place.site.ask(&["status"])["radio"]["refused"].clone();
    wait_for("what is replayed and forged to be refused", || {
        let refused = refused();
        ["replayed", "tag"].iter().all(|reason| refused[*reason].as_u64() >= Some(10))
    })
    .await;

    let soil = soil(&place.site);
    let said = said_by();
    assert_eq!(soil.keys().collect::<Vec<_>>(), said.keys().collect::<Vec<_>>());
    for (name, mut values) in soil {
        values.sort_unstable();
        assert!(values.windows(2).all(|pair| pair[0] < pair[1]), "{name} twice: {values:?}");
        assert!(values.last() < Some(&said[&name]), "{name} never said that: {values:?}");
    }
    let gauges = place.site.kengele(&["readings", "--node", FIELD_NODES[0]]);
    assert_eq!(gauges.lines().count(), 1, "the gauge does not live: {gauges}");
    place.lives.abort_all();
}
