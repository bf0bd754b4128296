//! Programs that we did not write use the virtual modem: they were written against real ones.

use crate::peers::program;
use kengele::sim::carrier::Carrier;
use kengele::sim::modem::{Personality, Settings, VirtualModem};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MODEM: &str = "+46700000001";
const ANNA: &str = "+46701234567";

/// Longest time that a client may take for one thing.
const PATIENCE: Duration = Duration::from_secs(60);

#[allow(clippy::disallowed_methods, reason = "waits for real programs, in real time")]
fn now() -> Instant {
    Instant::now()
}

fn modem(personality: Personality, carrier: &Carrier) -> VirtualModem {
    let settings = Settings { personality, own_number: MODEM.to_owned(), ..Settings::default() };
    VirtualModem::start(settings, carrier.clone()).expect("a pseudo-terminal")
}

/// Runs a client to its end; returns what it said. Fails the test when it fails or takes too long.
fn finished(command: &mut Command) -> String {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client starts");
    let (mut out, mut err) = (child.stdout.take().expect("out"), child.stderr.take().expect("err"));
    let read = |pipe: &mut dyn Read| {
        let mut text = Vec::new();
        pipe.read_to_end(&mut text).expect("what the client says");
        String::from_utf8_lossy(&text).into_owned()
    };
    let until = now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the client's state") {
            break Some(status);
        }
        if now() >= until {
            child.kill().expect("the client ends");
            child.wait().expect("the client ended");
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let said = format!("{}{}", read(&mut out), read(&mut err));
    assert!(status.is_some_and(|status| status.success()), "{command:?}: {status:?}\n{said}");
    said
}

struct Gammu {
    folder: TempDir,
}

impl Gammu {
    fn on(modem: &VirtualModem) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "[gammu]\ndevice = {}\nconnection = at115200\nlogfile = {}\nlogformat = textall\n",
            modem.path().display(),
            folder.path().join("log").display()
        );
        fs::write(folder.path().join("gammurc"), config).expect("a configuration");
        Self { folder }
    }

    fn run(&self, arguments: &[&str]) -> String {
        let config = self.folder.path().join("gammurc");
        finished(program("gammu").arg("-c").arg(config).args(arguments))
    }
}

#[test]
fn gammu_identifies_every_personality() {
    for personality in Personality::ALL {
        let carrier = Carrier::seeded(1);
        let modem = modem(personality, &carrier);
        let said = Gammu::on(&modem).run(&["identify"]);
        println!("{said}");
    }
}
