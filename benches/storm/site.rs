//! A gateway as a process of its own, and the SMS provider that it tells.

use super::process::Process;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Nodes whose crossing is warned of, besides those of the storm: each has its own rule and area.
pub(crate) const ALARMS: usize = 200;
/// Rules over the nodes of the storm.
const RULES: usize = 50;

/// When each text reached the provider, by the alarm that it is about.
pub(crate) type Arrivals = Arc<Mutex<Vec<Option<Instant>>>>;

pub(crate) struct Site {
    folder: TempDir,
    daemon: Child,
    pub(crate) mqtt: SocketAddr,
    pub(crate) arrivals: Arrivals,
}

pub(crate) fn node_name(number: usize) -> String {
    format!("n{:02}-{number}", number % RULES)
}

pub(crate) fn alarm_name(number: usize) -> String {
    format!("alarm-{number}")
}

impl Site {
    /// Starts a gateway for these nodes of a storm, and so many besides whose crossings are warned of.
    pub(crate) fn start(nodes: usize, alarms: usize) -> Self {
        // Beside the build: a real file system, where /tmp may be memory.
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let arrivals: Arrivals = Arc::new(Mutex::new(vec![None; ALARMS]));
        let provider = provider(Arc::clone(&arrivals));
        let mqtt = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = folder.path().join("kengele.toml");
        fs::write(&config, configuration(folder.path(), mqtt, provider, nodes, alarms)).unwrap();
        fs::write(
            folder.path().join("people.csv"),
            "name,number,role,language,areas,consent\nBench,+255700000001,watch,en,*,yes\n",
        )
        .unwrap();
        let kengele = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_kengele"));
            command.arg("-c").arg(&config).env("KENGELE_LOG", "warn");
            command
        };
        let people = folder.path().join("people.csv");
        let imported = kengele().args(["people", "import"]).arg(people).output().unwrap();
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stdout));
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let daemon =
            kengele().arg("run").stdout(Stdio::null()).stderr(log).spawn().expect("the daemon");
        let until = Instant::now() + Duration::from_mins(1);
        while TcpStream::connect(mqtt).is_err() {
            assert!(Instant::now() < until, "the daemon does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { folder, daemon, mqtt, arrivals }
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.daemon.id())
    }

    pub(crate) fn readings_stored(&self) -> u64 {
        let out = Command::new("sqlite3")
            .arg(self.folder.path().join("data/kengele.db"))
            .arg(
                "select (select coalesce(sum(readings), 0) from block) + \
                 (select count(*) from reading where id > (select coalesce(max(last), 0) from block))",
            )
            .output()
            .expect("sqlite3, which tests/setup installs");
        String::from_utf8(out.stdout).unwrap().trim().parse().unwrap()
    }

    pub(crate) fn database_bytes(&self) -> u64 {
        fs::metadata(self.folder.path().join("data/kengele.db")).unwrap().len()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        if !log.is_empty() {
            println!("the daemon said:\n{log}");
        }
        // It may have ended already.
        let _ended = self.daemon.kill().is_ok();
        let _reaped = self.daemon.wait().is_ok();
    }
}

pub(crate) fn configuration(
    folder: &Path,
    mqtt: SocketAddr,
    provider: SocketAddr,
    nodes: usize,
    alarms: usize,
) -> String {
    let folder = folder.display();
    let mut text = format!(
        r#"[gateway]
name = "bench"
sender = "Bench"
language = "en"
data = "{folder}/data"
socket = "{folder}/kengele.sock"

[listener]
listen = ["{mqtt}"]
anonymous = true
rate_max = "1000000 per s"

[[topic]]
template = "f/{{node}}/up"
format = "json"
[topic.field]
level = {{ quantity = "water_level", unit = "cm" }}

[role.watch]
channels = ["provider"]
[sms_provider.provider]
preset = "kannel"
url = "http://{provider}"
settings = {{ username = "bench" }}
secret_files = {{ password = "{folder}/people.csv" }}
rate = "10000 per s"
poll_every = "0 s"
"#
    );
    let names = (0..nodes).map(node_name).chain((0..alarms).map(alarm_name));
    for name in names {
        write!(
            text,
            "[node.{name}]\ninterval = \"5 min\"\n[node.{name}.sensor.water_level]\nrange = [\"0 m\", \"9 m\"]\n"
        )
        .unwrap();
    }
    let rules = (0..RULES.min(nodes)).map(|rule| (format!("r{rule}"), format!("n{rule:02}-*")));
    let alarms = (0..alarms).map(|alarm| (format!("a{alarm}"), alarm_name(alarm)));
    for (rule, pattern) in rules.chain(alarms) {
        write!(
            text,
            r#"[area.{rule}]
name = "{rule}"
[rule.{rule}]
hazard = "flood"
area = "{rule}"
[[rule.{rule}.level]]
level = "danger"
signal = "{pattern}/water_level"
above = "3 m"
hysteresis = "0.3 m"
audience = ["watch"]
text.en = "FLOOD {{area}}."
[rule.{rule}.all_clear]
en = "OVER {{area}}."
"#
        )
        .unwrap();
    }
    text
}

/// Takes texts as Kannel does, and notes when each came.
fn provider(arrivals: Arrivals) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let arrivals = Arc::clone(&arrivals);
            std::thread::spawn(move || serve(&stream.unwrap(), &arrivals));
        }
    });
    address
}

fn serve(stream: &TcpStream, arrivals: &Arrivals) {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let begin = head.len();
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
            let line = &head[begin..];
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        head.push_str(&String::from_utf8(body).unwrap());
        let now = Instant::now();
        let alarm = head.split("FLOOD").nth(1).and_then(|rest| {
            let digits: String = rest
                .chars()
                .skip_while(|c| *c != 'a')
                .skip(1)
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse::<usize>().ok()
        });
        if let Some(alarm) = alarm {
            arrivals.lock().unwrap()[alarm].get_or_insert(now);
        }
        let answer = "0: Accepted for delivery";
        let head = format!("HTTP/1.1 202 Accepted\r\nContent-Length: {}\r\n\r\n", answer.len());
        writer.write_all(format!("{head}{answer}").as_bytes()).unwrap();
    }
}
