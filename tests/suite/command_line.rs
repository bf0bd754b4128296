//! What people and scripts type: exit codes, help, JSON, the demonstration, and the simulated village alone.

use crate::gateway::Site;
use crate::peers::wait_for;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// Half a day of the village in eighteen seconds.
const SPEED: &str = "2400";

fn kengele(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kengele"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn ran(folder: &Path, arguments: &[&str]) -> Output {
    kengele(folder).args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill().is_ok();
        let _reaped = self.0.wait().is_ok();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn every_command_teaches_itself() {
    let folder = TempDir::new().unwrap();
    let all = out(&ran(folder.path(), &["--help"]));
    assert!(all.contains("Examples:"), "{all}");
    let commands = all.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    assert!(names.len() >= 15, "{names:?}");
    for name in names {
        let help = ran(folder.path(), &[name, "--help"]);
        assert!(help.status.success() && out(&help).contains("Usage: kengele"), "{name}");
    }
}

#[test]
fn the_exit_code_tells_a_bad_configuration_from_a_failure() {
    let folder = TempDir::new().unwrap();
    fs::write(
        folder.path().join("bad.toml"),
        "[gateway]\nname = \"x\"\nsneder = \"y\"\nlanguage = \"sw\"\n",
    )
    .unwrap();
    let bad = ran(folder.path(), &["check", "-c", "bad.toml"]);
    assert_eq!(bad.status.code(), Some(2), "{}", out(&bad));
    assert!(out(&bad).contains("bad.toml:3:1") && out(&bad).contains("`sender`"), "{}", out(&bad));
    let json = ran(folder.path(), &["check", "-c", "bad.toml", "--json"]);
    let faults: Value = serde_json::from_str(&out(&json)).unwrap();
    let unknown = |fault: &Value| fault["line"] == 3 && fault["help"] == "did you mean `sender`?";
    assert!(faults.as_array().unwrap().iter().any(unknown), "{faults}");

    let usage = ran(folder.path(), &["readings", "--no-such-thing"]);
    assert_eq!(usage.status.code(), Some(2), "{}", err(&usage));

    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kengele.toml");
    let good = ran(folder.path(), &["check", "-c", &shipped.display().to_string()]);
    assert_eq!(good.status.code(), Some(0), "{}{}", out(&good), err(&good));
    let config = shipped.display().to_string();
    let reckoned = ["check", "-c", &config, "--json", "--people", "household=240"];
    let said: Value = serde_json::from_str(&out(&ran(folder.path(), &reckoned))).unwrap();
    let households = |t: &&Value| t["rule"] == "mafuriko" && t["level"] == "danger";
    let telling = said["telling"].as_array().unwrap().iter().find(households).unwrap();
    assert!(
        telling["people"].as_u64() >= Some(240) && telling["seconds"].as_u64() > Some(60),
        "{telling}"
    );
    assert!(said["texts"][0]["segments"].as_u64() >= Some(1), "{said}");
    let mistyped = ran(folder.path(), &["check", "-c", &config, "--people", "houshold=240"]);
    assert_eq!(mistyped.status.code(), Some(2), "{}", out(&mistyped));
    assert!(
        err(&mistyped).contains("there are: ") && err(&mistyped).contains("household"),
        "{}",
        err(&mistyped)
    );
    let nobody = ran(folder.path(), &["status", "-c", &shipped.display().to_string()]);
    assert_eq!(nobody.status.code(), Some(1), "{}", err(&nobody));
    assert!(err(&nobody).contains("kengele run"), "says what to do: {}", err(&nobody));
}

#[test]
fn a_nodes_battery_is_reckoned_as_a_table_and_for_machines() {
    let folder = TempDir::new().unwrap();
    let asked = ["node", "battery", "--spreading-factor", "9", "--interval", "10 min"];
    let table = out(&ran(folder.path(), &asked));
    for words in ["radio, sending", "asleep", "206 ms on the air", "18650", "Lasts: "] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let json = out(&ran(folder.path(), &[&asked[..], &["--loss", "0", "--json"]].concat()));
    let budget: Value = serde_json::from_str(&json).unwrap();
    let mut parts = budget["parts"].as_array().unwrap().iter();
    let sending = parts.find(|part| part["part"] == "radio, sending").unwrap();
    // 45 mA for 205.824 ms in 600 s.
    assert!((sending["average_ua"].as_f64().unwrap() - 15.4368).abs() < 1e-6, "{budget}");
    let wrong = ran(folder.path(), &["node", "battery", "--cell", "car"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(err(&wrong).contains("er34615"), "{}", err(&wrong));
    let wrong = ran(folder.path(), &["node", "battery", "--interval", "10"]);
    assert!(err(&wrong).contains("unit of time"), "{}", err(&wrong));
}

#[test]
fn completions_are_written_for_every_shell() {
    let folder = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = ran(folder.path(), &["completions", shell]);
        assert!(script.status.success() && out(&script).contains("send-test"), "{shell}");
    }
}

#[test]
fn the_demonstration_is_as_it_should_be_and_leaves_what_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let arguments = ["demo", "--speed", SPEED, "--keep", "--json"];
    let demo = ran(folder.path(), &arguments);
    assert!(demo.status.success(), "{}", err(&demo));
    let events: Vec<Value> =
        out(&demo).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = events.last().unwrap();
    assert_eq!(summary["as_expected"], true, "{summary}");
    assert!(events.iter().any(|e| e["event"] == "alert" && e["level"] == "danger"), "{summary}");

    let kept = folder.path().join("demo-flash-flood");
    assert!(kept.join("data/kengele.db").exists());
    let check = ran(folder.path(), &["check", "-c", "demo-flash-flood/kengele.toml"]);
    assert!(check.status.success(), "{}", out(&check));
    let again = ran(folder.path(), &arguments);
    assert_eq!(again.status.code(), Some(2), "what was kept is not overwritten");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_village_alone_rings_the_phones_of_a_gateway_that_runs_beside_it() {
    let folder = TempDir::new().unwrap();
    let (broker, provider) = (format!("127.0.0.1:{}", free_port()), free_port().to_string());
    let mut village = kengele(folder.path())
        .args(["simulate", "--json", "--speed", SPEED, "--broker", &broker])
        .args(["--provider-port", &provider])
        .stdout(Stdio::piped())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut typed = village.stdin.take().unwrap();
    let said = BufReader::new(village.stdout.take().unwrap());
    let mut village = Running(village);
    let config = folder.path().join("village/kengele.toml");
    wait_for("the village writes a configuration", || {
        fs::read_to_string(folder.path().join("village/people.csv")).is_ok_and(|csv| csv.len() > 9)
            && config.exists()
    })
    .await;
    let config = config.display().to_string();
    let import = ran(folder.path(), &["people", "import", "village/people.csv", "-c", &config]);
    assert!(out(&import).contains("13 new"), "{}{}", out(&import), err(&import));
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let gateway = kengele(folder.path())
        .args(["run", "--speed", SPEED, "-c", &config])
        .stderr(log)
        .spawn()
        .unwrap();
    let _gateway = Running(gateway);
    wait_for("the gateway listens", || TcpStream::connect(&broker).is_ok()).await;
    let log = || fs::read_to_string(folder.path().join("log")).unwrap();
    wait_for("the modem is registered", || log().contains("registered=true")).await;
    writeln!(typed, "+255700000001 Tumesikia, asante").unwrap();
    let (mut texts, mut last) = (Vec::new(), Value::Null);
    for line in said.lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match event["event"].as_str() {
            Some("text") => texts.push(event),
            Some("nodes") => last = event,
            _ => panic!("{event}"),
        }
    }
    assert!(village.0.wait().unwrap().success());
    assert!(last["published"].as_u64() > Some(300), "{last}");
    assert_eq!(last["published"], last["acknowledged"], "{last}");
    let danger = |e: &&Value| e["text"].as_str().unwrap().starts_with("HATARI");
    assert!(texts.iter().filter(danger).count() >= 6, "{texts:?}");
    assert!(log().contains("a text came in"), "{}", log());
    assert!(!log().contains("asante"), "texts are nobody's business: {}", log());
    assert!(!folder.path().join("village/modem").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_alone_publish_to_any_broker() {
    let folder = TempDir::new().unwrap();
    let port = free_port();
    let file = folder.path().join("mosquitto.conf");
    fs::write(&file, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
    let broker = crate::peers::program("mosquitto")
        .arg("-c")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _broker = Running(broker);
    wait_for("mosquitto listens", || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let address = format!("127.0.0.1:{port}");
    let arguments = ["simulate", "--only", "nodes", "--scenario", "quiet-day", "--speed", "86400"];
    let nodes = ran(folder.path(), &[&arguments[..], &["--broker", &address, "--json"]].concat());
    assert!(nodes.status.success(), "{}", err(&nodes));
    let last: Value = serde_json::from_str(out(&nodes).lines().last().unwrap()).unwrap();
    assert!(last["published"].as_u64() > Some(500), "{last}");
    assert_eq!(last["published"], last["acknowledged"]);
}

/// Returns the writing end of a pipe whose reader has left.
fn unread() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_has_left_ends_every_command_quietly() {
    let site = Site::new().await;
    let commands: [&[&str]; 13] = [
        &["--help"],
        &["help", "replay"],
        &["completions", "bash"],
        &["check"],
        &["--json", "check"],
        &["people", "list"],
        &["--json", "people", "list"],
        &["people", "export"],
        &["readings"],
        &["--json", "readings"],
        &["--json", "warnings"],
        &["--json", "deliveries"],
        &["node", "battery", "--help"],
    ];
    for arguments in commands {
        let mut command = site.command();
        command.args(arguments).stdout(unread()).stderr(Stdio::piped());
        let ended = command.output().unwrap();
        assert!(ended.status.success() && ended.stderr.is_empty(), "{arguments:?}: {ended:?}");
    }
}

#[test]
fn standard_error_that_nobody_reads_changes_no_exit_code() {
    let folder = TempDir::new().unwrap();
    let mut command = kengele(folder.path());
    command.args(["check", "--config", "missing.toml"]).stdout(Stdio::piped()).stderr(unread());
    assert_eq!(command.output().unwrap().status.code(), Some(2));
}

#[test]
fn standard_output_that_cannot_be_written_is_a_failure() {
    let folder = TempDir::new().unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = kengele(folder.path());
    let ended = command.args(["completions", "bash"]).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(err(&ended).contains("No space left"), "{}", err(&ended));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_log_nobody_reads_goes_on() {
    let site = Site::new().await;
    let mut command = site.command();
    command.env("KENGELE_LOG", "debug").arg("run").stdout(Stdio::null()).stderr(unread());
    let mut gateway = Running(command.spawn().unwrap());
    let socket = site.file("kengele.sock");
    wait_for("the gateway answers", || Path::new(&socket).exists()).await;
    assert!(site.ask(&["status"])["nodes"].is_array());
    assert!(gateway.0.try_wait().unwrap().is_none(), "it runs");
}
