//! The real program, seen from outside: its own process and database, a modem on a pseudo-terminal, a provider over HTTP,
//! foreign MQTT clients, and kill -9.

use crate::peers::{program, wait_for};
use kengele::sim::carrier::Carrier;
use kengele::sim::modem::{Settings, VirtualModem};
use kengele::sim::node::Target;
use kengele::sim::provider::{Plan, VirtualProvider};
use kengele::sim::village::{self, Places};
use kengele::sim::world::Publication;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A number of the village's first warden.
pub(crate) const AMINA: &str = "+255700000001";
pub(crate) const BEGIN_S: i64 = 1_793_595_600;

/// A village whose gateway is a process of its own.
pub(crate) struct Site {
    folder: TempDir,
    mqtt: SocketAddr,
    pub(crate) carrier: Carrier,
    daemon: Option<Child>,
    /// Stands between the program and the C library.
    /// What the program finds in its environment.
    around: BTreeMap<&'static str, PathBuf>,
    _modem: VirtualModem,
    pub(crate) provider: VirtualProvider,
}

/// Counts the readings that are stored: those in blocks, and those after the last block.
pub(crate) const STORED: &str = "select (select coalesce(sum(readings), 0) from block) + \
                                 (select count(*) from reading where id > (select coalesce(max(last), 0) from block))";

impl Site {
    pub(crate) async fn new() -> Self {
        Self::village(|text| text).await
    }

    /// The village, with other files than usual.
    pub(crate) async fn village(change: impl Fn(String) -> String) -> Self {
        let site = Self::of(|places| {
            let hasty = |text: String| {
                let text = text.replace("rate = \"20 per min\"", "rate = \"6000 per min\"");
                // What several gauges say is timed by its arrival, and a test does not wait five minutes.
                change(text.replace("\nhold = \"5 min\"", "\nhold = \"0 s\""))
            };
            village::files(places).into_iter().map(|(name, text)| (name, hasty(text))).collect()
        })
        .await;
        let imported = site.kengele(&["people", "import", &site.file("people.csv")]);
        assert!(imported.contains("13 new"), "{imported}");
        site
    }

    /// A site whose gateway has these files, not yet started.
    pub(crate) async fn of(files: impl FnOnce(&Places<'_>) -> Vec<(String, String)>) -> Self {
        let folder = TempDir::new().unwrap();
        let carrier = Carrier::seeded(1);
        let settings =
            Settings { own_number: village::OWN_NUMBER.to_owned(), ..Settings::default() };
        let modem = VirtualModem::start(settings, carrier.clone()).unwrap();
        let deliver = carrier.clone();
        let plan = Plan {
            deliver: Some(Arc::new(move |a| deliver.deliver(&a.to, &a.from, &a.text))),
            ..Plan::default()
        };
        let provider = VirtualProvider::start(plan).await.unwrap();
        let mqtt = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let base = provider.base();
        let places = Places {
            folder: folder.path(),
            mqtt,
            modem: modem.path(),
            provider: &base,
            radio: None,
        };
        for (name, text) in files(&places) {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self {
            folder,
            mqtt,
            carrier,
            daemon: None,
            around: BTreeMap::new(),
            _modem: modem,
            provider,
        }
    }

    /// Returns how many readings are in the database.
    pub(crate) fn stored(&self) -> usize {
        let count = program("sqlite3").arg(self.database()).arg(STORED).output().unwrap();
        String::from_utf8(count.stdout).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("data/kengele.db")
    }

    /// Overwrites the first page of a table's rows.
    fn spoil(&self, table: &str) {
        let page = format!(
            "select (pageno - 1) * 4096 from dbstat where name = '{table}' and pagetype = 'leaf' limit 1"
        );
        let told = program("sqlite3").arg(self.database()).arg(page).output().unwrap();
        let offset: u64 = String::from_utf8(told.stdout).unwrap().trim().parse().unwrap();
        let file = fs::OpenOptions::new().write(true).open(self.database()).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 4096], offset).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kengele"));
        command.arg("--config").arg(self.file("kengele.toml"));
        command.envs(&self.around);
        command
    }

    pub(crate) fn surround(&mut self, name: &'static str, value: PathBuf) {
        self.around.insert(name, value);
    }

    /// Says what is wrong with the disk and the calendar from now on; the words stand in `tests/peers/faults.c`.
    pub(crate) fn suffer(&mut self, faults: &str) {
        fs::write(self.file("faults"), faults).unwrap();
        self.surround("KENGELE_TEST_FAULTS", self.file("faults").into());
        self.surround("LD_PRELOAD", crate::peers::preload("faults"));
    }

    /// Runs a command of the program to its end, and returns what it prints.
    pub(crate) fn kengele(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
        serde_json::from_str(&self.kengele(&arguments)).unwrap()
    }

    pub(crate) async fn start(&mut self) {
        self.start_at(1.0).await;
    }

    /// Starts the gateway with a clock that runs so many times faster.
    pub(crate) async fn start_at(&mut self, faster: f64) {
        let log = fs::File::options().create(true).append(true).open(self.file("log")).unwrap();
        let mut command = self.command();
        command.arg("run").args(["--speed", &faster.to_string()]);
        command.stdout(Stdio::null()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        let (mqtt, socket) = (self.mqtt, self.file("kengele.sock"));
        wait_for("the gateway listens", || {
            TcpStream::connect(mqtt).is_ok() && Path::new(&socket).exists()
        })
        .await;
    }

    /// Returns what the kernel has counted of the running gateway, by its name in proc(5).
    pub(crate) fn kernel_count(&self, name: &str) -> u64 {
        let pid = self.daemon.as_ref().unwrap().id();
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap().parse().unwrap()
    }

    /// Kills the gateway as a power cut does.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    pub(crate) async fn stop(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        wait_for("the gateway ends", || daemon.try_wait().unwrap().is_some()).await;
        assert!(daemon.wait().unwrap().success(), "{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    pub(crate) fn target(&self) -> Target {
        let login = Some((village::NODES_USER.to_owned(), village::NODES_PASSWORD.to_owned()));
        Target { host: self.mqtt.ip().to_string(), port: self.mqtt.port(), login }
    }

    /// Publishes lines with mosquitto's own client, each acknowledged. Returns whether all were.
    pub(crate) fn mosquitto(&self, topic: &str, lines: &str, seconds: u32) -> bool {
        let mut client = program("timeout")
            .arg(seconds.to_string())
            .args([
                "mosquitto_pub",
                "-q",
                "1",
                "-l",
                "-t",
                topic,
                "-p",
                &self.mqtt.port().to_string(),
            ])
            .args(["-u", village::NODES_USER, "-P", village::NODES_PASSWORD])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        client.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        client.wait().unwrap().success()
    }

    /// What a client that comes late is shown of an area's hazard.
    fn shown(&self, what: &str) -> Value {
        let port = self.mqtt.port().to_string();
        let client = program("mosquitto_sub")
            .args(["-p", &port, "-u", village::NODES_USER, "-P", village::NODES_PASSWORD])
            .args(["-t", &format!("kengele/warnings/{what}"), "-C", "1", "-W", "5"])
            .output()
            .unwrap();
        serde_json::from_slice(&client.stdout).unwrap_or_default()
    }

    pub(crate) fn texts_of(&self, number: &str) -> Vec<String> {
        self.carrier.inbox(number).into_iter().map(|received| received.text).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the gateway's log:\n{}", self.log());
        }
        if let Some(daemon) = &mut self.daemon {
            // It may have ended already.
            let _ended = daemon.kill().is_ok();
            let _reaped = daemon.wait().is_ok();
        }
    }
}

pub(crate) fn level(minute: i64, centimetres: i32) -> String {
    format!("{{\"level\":{centimetres},\"battery\":3.8,\"ts\":{}}}\n", BEGIN_S + minute * 60)
}

/// What the other gauge says of the same rise.
pub(crate) fn other_gauge() -> String {
    let levels = (0..10).map(|i| 0.8 + f64::from(i) * 0.4);
    let packs = levels.map(|v| format!("[{{\"n\":\"level\",\"u\":\"m\",\"v\":{v:.2}}}]"));
    packs.collect::<Vec<_>>().join("\n") + "\n"
}

/// A rise that both gauges see: danger.
pub(crate) fn flood(site: &Site) -> bool {
    let rise: String = (0..10).map(|i| level(i64::from(i) * 5, 80 + i * 40)).collect();
    site.mosquitto("field/mto-juu/up", &rise, 20)
        && site.mosquitto("senml/mto-kati", &other_gauge(), 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_heard_over_mqtt_buzzes_phones_by_modem_and_by_provider_and_can_be_explained() {
    let mut site = Site::new().await;
    // A provider that can be asked what is left on the account, beside the one that cannot.
    let mut config = fs::read_to_string(site.file("kengele.toml")).unwrap();
    let spare = format!(
        "\n[sms_provider.spare]\npreset = \"africastalking\"\n\
         settings = {{ base = \"{}\", username = \"kengele\" }}\n\
         secret_files = {{ api_key = \"{}\" }}\n",
        site.provider.base(),
        site.file("secrets/provider")
    );
    config.push_str(&spare);
    fs::write(site.file("kengele.toml"), config).unwrap();
    site.start().await;
    assert!(flood(&site), "every publication is acknowledged");
    let carrier = site.carrier.clone();
    wait_for("Amina reads of danger", || {
        carrier
            .inbox(AMINA)
            .iter()
            .any(|received| received.text.starts_with("HATARI Bonde la chini"))
    })
    .await;
    let why = site.kengele(&["why", "1"]);
    assert!(why.contains("mto-juu/water_level was") && why.contains("danger"), "{why}");
    let status = site.ask(&["status"]);
    assert_eq!(status.pointer("/warnings/0/level").and_then(Value::as_str), Some("danger"));
    // A siren that subscribes late hears the state at once.
    assert_eq!(site.shown("bonde/flood")["level"], "danger");
    let balance = site.ask(&["balance"]);
    assert_eq!(balance["spare"]["balance"], "KES 1785.50", "{balance}");
    assert!(balance["provider"]["error"].as_str().unwrap().contains("cannot ask"), "{balance}");
    assert!(balance["sim"]["error"].as_str().unwrap().contains("no code"), "{balance}");
    let test = site.kengele(&["send-test", "+255700000099", "Jaribio", "--channel", "provider"]);
    assert!(test.contains("queued"), "{test}");
    wait_for("the test text arrives", || !carrier.inbox("+255700000099").is_empty()).await;
    site.stop().await;
    // With nobody running, the database is asked itself.
    assert!(site.kengele(&["warnings"]).contains("flood"));
    assert_eq!(
        site.kengele(&["readings", "--node", "mto-juu", "--quantity", "water_level"])
            .lines()
            .count(),
        11
    );
    assert!(site.texts_of("+255700000012").is_empty(), "nobody is told without consent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_declared_is_listed_and_what_cannot_be_read_is_kept() {
    let mut site = Site::new().await;
    site.start().await;
    assert!(site.mosquitto("field/mto-mpya/up", "{\"level\":80}\n{\"level\":81}\n", 10));
    let heard = site.ask(&["status"]).pointer("/heard_but_not_declared/0").cloned().unwrap();
    assert_eq!((&heard["node"], &heard["count"]), (&"mto-mpya".into(), &2.into()), "{heard}");
    let shown = site.kengele(&["status"]);
    assert!(shown.contains("[node.mto-mpya]"), "ready to be copied:\n{shown}");
    let (_, pasted) = shown.split_once("paste it into kengele.toml:\n").unwrap();
    let config = fs::read_to_string(site.file("kengele.toml")).unwrap();
    fs::write(site.file("kengele.toml"), format!("{config}\n{pasted}")).unwrap();
    site.kengele(&["reload"]);
    assert!(site.mosquitto("field/mto-mpya/up", "{\"level\":82}\n", 10));
    let status = site.ask(&["status"]);
    assert_eq!(status.pointer("/counters/readings").and_then(Value::as_u64), Some(1), "{status}");
    assert!(site.mosquitto("field/mto-juu/up", "{\"level\":\n", 10));
    let status = site.ask(&["status"]);
    assert_eq!(status.pointer("/counters/undecoded").and_then(Value::as_u64), Some(1));
    assert_eq!(status.pointer("/counters/readings").and_then(Value::as_u64), Some(1));
    site.stop().await;
    let kept = program("sqlite3")
        .arg(site.database())
        .arg("select reason, cast(payload as text) from undecoded")
        .output()
        .unwrap();
    let kept = String::from_utf8(kept.stdout).unwrap();
    assert!(kept.contains("not JSON") && kept.contains("{\"level\":"), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_reloaded_all_or_nothing_and_open_warnings_stay() {
    let mut site = Site::new().await;
    site.start().await;
    assert!(flood(&site));
    let path = site.file("rules.d/flood.toml");
    let rules = fs::read_to_string(&path).unwrap();
    fs::write(&path, rules.replace("\"2.4 m\"", "\"2.4 kg\"")).unwrap();
    let refused = site.command().arg("reload").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", String::from_utf8_lossy(&refused.stderr));
    let before = site.ask(&["status"]);
    fs::write(&path, rules.replace("\"2.4 m\"", "\"2.5 m\"")).unwrap();
    assert!(!site.kengele(&["reload"]).contains("next start"), "all of it holds at once");
    let after = site.ask(&["status"]);
    assert_ne!(before.get("rule_book"), after.get("rule_book"));
    assert_eq!(before.pointer("/warnings/0/warning"), after.pointer("/warnings/0/warning"));
    let config = fs::read_to_string(site.file("kengele.toml")).unwrap();
    let other = config.replace("subscribe = [\"kengele/warnings/#\"]", "");
    assert_ne!(config, other);
    fs::write(site.file("kengele.toml"), other).unwrap();
    let said = site.kengele(&["reload"]);
    assert!(said.contains("[listener] has changed"), "{said}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_of_a_warning_outlives_a_restart_and_says_when_it_has_run_out() {
    let mut site = Site::new().await;
    site.start().await;
    assert!(flood(&site));
    let open = site.shown("bonde/flood");
    assert_eq!((&open["status"], &open["level"]), (&"open".into(), &"danger".into()), "{open}");
    site.kill();
    // Nothing more is heard of the river, and the hours pass quickly.
    site.start_at(1200.0).await;
    let after = site.shown("bonde/flood");
    assert_eq!(open, after);
    wait_for("the warning runs out", || site.shown("bonde/flood")["status"] == "expired").await;
    assert_eq!(site.shown("bonde/flood")["level"], "none");
    site.stop().await;
    site.start().await;
    let after = site.shown("bonde/flood");
    assert_eq!((&after["status"], &after["level"]), (&"expired".into(), &"none".into()));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_holds_no_longer_because_power_failed_before_the_first_snapshot() {
    let mut site = Site::new().await;
    site.start_at(60.0).await;
    assert!(flood(&site));
    let valid_s = |site: &Site| site.ask(&["status"])["warnings"][0]["valid_s"].as_u64().unwrap();
    wait_for("some time passes", || valid_s(&site) < 21_000).await;
    assert!(site.mosquitto("field/mto-juu/up", &level(50, 440), 20), "the last that is on record");
    site.kill();
    site.start().await;
    assert!(valid_s(&site) < 21_000, "{}", valid_s(&site));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_cannot_be_written_danger_is_told_and_nothing_is_acknowledged() {
    let mut site = Site::new().await;
    site.start().await;
    // Somebody holds the database for longer than the gateway's patience.
    let mut holder = program("sqlite3")
        .arg(site.database())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut words = holder.stdin.take().unwrap();
    words.write_all(b"begin exclusive; select 1;\n").unwrap();
    words.flush().unwrap();
    let rise: String = (0..10).map(|i| level(i64::from(i) * 5, 80 + i * 40)).collect();
    assert!(!site.mosquitto("field/mto-juu/up", &rise, 8), "no acknowledgement leaves");
    let carrier = site.carrier.clone();
    wait_for("Amina is told from memory", || {
        carrier.inbox(AMINA).iter().any(|received| received.text.starts_with("ONYO LA MAFURIKO"))
    })
    .await;
    assert!(site.log().contains("cannot be written"), "{}", site.log());
    words.write_all(b"rollback;\n").unwrap();
    drop(words);
    holder.wait().unwrap();
    assert!(site.mosquitto("field/mto-juu/up", &level(60, 120), 20), "the disk works again");
    site.stop().await;
    let stored = site.kengele(&["readings", "--node", "mto-juu", "--quantity", "water_level"]);
    assert_eq!(
        stored.lines().count(),
        12,
        "what was judged meanwhile is written down too:\n{stored}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_disk_is_full_or_read_only_or_does_not_flush_danger_is_told_and_nothing_is_lost() {
    for fault in ["full", "readonly", "flush"] {
        let mut site = Site::new().await;
        site.suffer("");
        site.start().await;
        assert!(site.mosquitto("field/mto-juu/up", &level(-5, 70), 20), "{fault}: at first");
        site.suffer(fault);
        let rise: String = (0..10).map(|i| level(i64::from(i) * 5, 80 + i * 40)).collect();
        assert!(!site.mosquitto("field/mto-juu/up", &rise, 4), "{fault}: no acknowledgement");
        let carrier = site.carrier.clone();
        wait_for("Amina is told from memory", || {
            carrier.inbox(AMINA).iter().any(|r| r.text.starts_with("ONYO LA MAFURIKO"))
        })
        .await;
        let works = |site: &Site| site.ask(&["status"]).pointer("/disk/works").cloned();
        assert_eq!(works(&site), Some(Value::Bool(false)), "{fault}: the operator is told");
        site.suffer("");
        assert!(site.mosquitto("field/mto-juu/up", &level(60, 120), 20), "{fault}: it works again");
        assert_eq!(works(&site), Some(Value::Bool(true)), "{fault}");
        site.stop().await;
        let stored = site.kengele(&["readings", "--node", "mto-juu", "--quantity", "water_level"]);
        assert_eq!(stored.lines().count(), 13, "{fault}: what was judged meanwhile too:\n{stored}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calendar_that_is_wrong_or_jumps_by_years_changes_no_decision() {
    const YEAR: i64 = 31_556_952;
    let now = i64::try_from(
        std::fs::metadata("/proc/self")
            .unwrap()
            .modified()
            .map_or(0, |at| at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()),
    )
    .unwrap();
    let mut stories = Vec::new();
    for (begins, then) in [(0, 0), (-now, -now), (-now, 0), (0, 20 * YEAR), (0, -10 * YEAR)] {
        let mut site = Site::new().await;
        site.suffer(&format!("clock {begins}"));
        site.start().await;
        let rise: String = (0..10).map(|i| level(i64::from(i) * 5, 80 + i * 40)).collect();
        assert!(site.mosquitto("field/mto-juu/up", &rise, 20));
        site.suffer(&format!("clock {then}"));
        // The calendar has jumped and the gateway is started again besides, as after a power cut.
        site.kill();
        site.start().await;
        assert!(site.mosquitto("senml/mto-kati", &other_gauge(), 20));
        let warnings = site.ask(&["warnings"]);
        let decisions: Vec<String> = warnings
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|w| w["alerts"].as_array().unwrap())
            .map(|a| format!("{} {} {} {}", a["number"], a["reason"], a["level"], a["observed"]))
            .collect();
        assert!(decisions.iter().any(|d| d.contains("danger")), "{decisions:?}");
        stories.push(decisions);
        site.stop().await;
    }
    for story in &stories {
        assert_eq!(*story, stories[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_on_the_same_database_is_refused() {
    let mut site = Site::new().await;
    site.start().await;
    let second = site.command().arg("run").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("another gateway runs"), "{said}");
    site.kill();
    site.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modem_texts_itself_to_see_that_texts_leave_and_arrive() {
    let mut site = Site::of(|places| {
        let often = |text: String| {
            text.replace(
                "rate = \"20 per min\"",
                "rate = \"6000 per min\"\nloopback_every = \"2 s\"",
            )
        };
        village::files(places).into_iter().map(|(name, text)| (name, often(text))).collect()
    })
    .await;
    site.start().await;
    wait_for("a text came back", || site.log().contains("a text to itself came back")).await;
    assert!(!site.log().contains("did not come back"), "{}", site.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_put_aside_and_warning_goes_on() {
    let mut site = Site::new().await;
    let garbage: Vec<u8> = (0..100_000u32).map(|i| i.to_le_bytes()[0]).collect();
    fs::write(site.database(), garbage).unwrap();
    site.start().await;
    assert!(flood(&site));
    assert_eq!(
        site.ask(&["status"]).pointer("/warnings/0/level").and_then(Value::as_str),
        Some("danger")
    );
    assert!(site.log().contains("put aside"), "{}", site.log());
    site.stop().await;
    let aside = fs::read_dir(site.folder.path().join("data"))
        .unwrap()
        .any(|entry| entry.unwrap().file_name().to_string_lossy().contains("damaged"));
    assert!(aside);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_no_start_needs_is_found_by_a_look_through_the_file() {
    let mut site = Site::new().await;
    site.start().await;
    assert!(flood(&site));
    wait_for("the whole file is looked through", || {
        site.ask(&["status"])["disk"]["checked"] == true
    })
    .await;
    assert_eq!(site.ask(&["status"])["disk"]["faults"], serde_json::json!([]));
    site.stop().await;
    site.spoil("undecoded");
    site.start().await;
    wait_for("the damage is found", || {
        site.ask(&["status"]).pointer("/disk/faults/0").is_some_and(Value::is_string)
    })
    .await;
    assert!(site.kengele(&["status"]).contains("THE DATABASE IS DAMAGED"));
    assert!(site.log().contains("the database is damaged: "), "{}", site.log());
    assert!(flood(&site), "what comes now is stored");
    assert_eq!(site.ask(&["status"]).pointer("/disk/works"), Some(&Value::Bool(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_a_damaged_database_come_those_who_are_to_be_told() {
    let mut site = Site::new().await;
    site.start().await;
    assert!(flood(&site));
    let carrier = site.carrier.clone();
    let told = || carrier.inbox(AMINA).iter().filter(|text| text.text.contains("HATARI")).count();
    wait_for("Amina reads of danger", || told() == 1).await;
    let people = site.kengele(&["people", "export"]);
    site.stop().await;
    site.spoil("warning");
    site.start().await;
    assert!(site.log().contains("put aside"), "{}", site.log());
    assert_eq!(site.kengele(&["people", "export"]), people);
    assert!(flood(&site), "what comes now is stored");
    wait_for("Amina reads of danger again: nobody knows that she has", || told() == 2).await;
    // Sirens, a hub and people know the old numbers. Those that can be read are not all that there were.
    let number = |site: &Site| site.ask(&["status"])["warnings"][0]["warning"].clone();
    assert_eq!(number(&site), 10_002);
    site.kill();
    site.start().await;
    assert_eq!(number(&site), 10_002);
}

/// What one gauge publishes in a campaign: a river that rises and falls, one reading a second of its own time.
pub(crate) fn river(node: &'static str, count: i64) -> Vec<Publication> {
    (0..count)
        .map(|n| {
            let wave = (n % 400 - 200).abs();
            let cm = 100 + wave * 5 / 4;
            let payload = format!("{{\"level\":{cm},\"ts\":{}}}", BEGIN_S + n * 60);
            let at = Duration::from_millis(u64::try_from(n).unwrap() * 4);
            Publication { at, node, topic: format!("field/{node}/up"), payload }
        })
        .collect()
}
