//! Programs that we did not write use the virtual modem: they were written against real ones.

use crate::peers::{program, python};
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
const PATIENCE: Duration = Duration::from_mins(1);

#[allow(clippy::disallowed_methods, reason = "waits for real programs, in real time")]
fn now() -> Instant {
    Instant::now()
}

fn modem(personality: Personality, carrier: &Carrier) -> VirtualModem {
    let settings = Settings { personality, own_number: MODEM.to_owned(), ..Settings::default() };
    VirtualModem::start(settings, carrier.clone()).expect("a pseudo-terminal")
}

/// Runs a client to its end; returns what it said. Fails the test when it fails or takes too long.
fn finished(command: &mut Command, log: &Path) -> String {
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
    let succeeded = status.is_some_and(|status| status.success());
    assert!(
        succeeded,
        "{command:?}: {status:?}\n{said}\n{}",
        fs::read_to_string(log).unwrap_or_default()
    );
    said
}

struct Gammu {
    folder: TempDir,
}

impl Gammu {
    fn on(modem: &VirtualModem) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "[gammu]\ndevice = {}\nconnection = at115200\nlogfile = {}\nlogformat = textalldate\n",
            modem.path().display(),
            folder.path().join("log").display()
        );
        fs::write(folder.path().join("gammurc"), config).expect("a configuration");
        Self { folder }
    }

    fn run(&self, arguments: &[&str]) -> String {
        let config = self.folder.path().join("gammurc");
        let log = self.folder.path().join("log");
        finished(program("gammu").arg("-c").arg(config).args(arguments), &log)
    }
}

/// Waits until `state` says yes.
fn wait_for(what: &str, mut state: impl FnMut() -> bool) {
    let until = now() + PATIENCE;
    while !state() {
        assert!(now() < until, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn inbox(carrier: &Carrier, number: &str) -> Vec<String> {
    carrier.inbox(number).into_iter().map(|received| received.text).collect()
}

const LONG: &str = "Flood warning for Rio Verde: the river at Puente Nuevo has risen by 2.4 m since midnight and goes on \
    rising. Leave the banks below the bridge now, go to the school on the hill, and take your neighbours with you.";
const UNICODE: &str = "Наводнение: вода поднимается. Идите к школе на холме! 🌊";

fn gammu_gets_along_with(personality: Personality) {
    let carrier = Carrier::seeded(1);
    let modem = modem(personality, &carrier);
    let gammu = Gammu::on(&modem);

    let said = gammu.run(&["identify"]);
    for known in ["Manufacturer", "IMEI", "SIM IMSI             : 001010000000001"] {
        assert!(said.contains(known), "{known}: {said}");
    }
    let said = gammu.run(&["networkinfo"]);
    // Over LTE the circuit service that it asks for (+CREG) is not registered on this one.
    let home = personality != Personality::Sim7600;
    assert_eq!(said.starts_with("Network state        : home network"), home, "{said}");

    gammu.run(&["sendsms", "TEXT", ANNA, "-text", "Water 2.4 m [rising] {now} €"]);
    gammu.run(&["sendsms", "TEXT", ANNA, "-len", "400", "-text", LONG]);
    gammu.run(&["sendsms", "TEXT", ANNA, "-unicode", "-text", UNICODE]);
    assert_eq!(inbox(&carrier, ANNA), ["Water 2.4 m [rising] {now} €", LONG, UNICODE]);
    assert_eq!(carrier.taken_from(MODEM).len(), 4, "the long text is two segments");

    assert!(carrier.send_from(ANNA, MODEM, "We are safe"));
    assert!(carrier.send_from(ANNA, MODEM, LONG));
    wait_for("three segments are stored", || stored(&modem) == 3);
    let said = gammu.run(&["getallsms"]);
    assert!(said.contains("We are safe") && said.contains(ANNA), "{said}");
    assert!(said.replace('\n', "").contains("take your neighbours with you."), "{said}");
    gammu.run(&["deleteallsms", if personality == Personality::Sim7600 { "3" } else { "1" }]);
    assert_eq!(stored(&modem), 0);

    let said = gammu.run(&["getussd", "*100#"]);
    assert!(said.contains("Your balance is 12.50 EUR."), "{said}");
}

/// Messages in all memories.
fn stored(modem: &VirtualModem) -> usize {
    modem.stored("SM") + modem.stored("ME")
}

#[test]
fn gammu_gets_along_with_a_sim800() {
    gammu_gets_along_with(Personality::Sim800);
}

#[test]
fn gammu_gets_along_with_a_sim7600() {
    gammu_gets_along_with(Personality::Sim7600);
}

#[test]
fn gammu_gets_along_with_an_ec25() {
    gammu_gets_along_with(Personality::Ec25);
}

#[test]
fn gammu_gets_along_with_an_e3372() {
    gammu_gets_along_with(Personality::E3372);
}

/// A daemon, ended when the test is over, however that ends.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command, log: &Path) -> Self {
        let out = fs::File::create(log).expect("a log");
        let err = out.try_clone().expect("the same log");
        Self(command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().expect("it starts"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn log_of(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter_map(|path| fs::read(path).ok())
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .collect()
}

fn gammu_smsd_gets_along_with(personality: Personality) {
    let carrier = Carrier::seeded(2);
    let modem = modem(personality, &carrier);
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for name in ["inbox", "outbox", "sent", "error"] {
        fs::create_dir(at(name)).expect("a folder");
    }
    let text = format!("Village warning: {LONG}");
    fs::write(at("outbox").join(format!("OUTA0_{}_00_{ANNA}_sms0.txtd", "20260601")), &text)
        .expect("a text to send");
    let config = format!(
        "[gammu]\ndevice = {port}\nconnection = at115200\n[smsd]\nservice = files\nlogfile = {log}\ndebuglevel = 255\n\
         deliveryreport = log\ncommtimeout = 1\nsendtimeout = 10\nreceivefrequency = 1\nloopsleep = 1\n\
         inboxpath = {0}/inbox/\noutboxpath = {0}/outbox/\nsentsmspath = {0}/sent/\nerrorsmspath = {0}/error/\n\
         outboxformat = unicode\ntransmitformat = auto\ninboxformat = standard\nchecksecurity = 0\n",
        folder.path().display(),
        port = modem.path().display(),
        log = at("log").display(),
    );
    fs::write(at("smsdrc"), config).expect("a configuration");
    let _daemon = Daemon::start(program("gammu-smsd").arg("-c").arg(at("smsdrc")), &at("said"));
    let said = || format!("{}{}", log_of(&at("said")), log_of(&at("log")));
    wait_for_with("the text arrives", &said, || inbox(&carrier, ANNA) == [text.as_str()]);
    wait_for_with("both segments are reported", &said, || {
        log_of(&at("log")).matches("Delivered").count() >= 2
    });
    assert!(carrier.send_from(ANNA, MODEM, "We are safe"));
    wait_for_with("the answer is in the inbox", &said, || {
        files(&at("inbox")).iter().any(|text| text.contains("We are safe"))
    });
}

#[test]
fn gammu_smsd_sends_receives_and_gets_direct_reports() {
    gammu_smsd_gets_along_with(Personality::Sim800);
}

#[test]
fn gammu_smsd_gets_along_with_lte_modems() {
    gammu_smsd_gets_along_with(Personality::Sim7600);
    gammu_smsd_gets_along_with(Personality::Ec25);
}

#[test]
fn gammu_smsd_sends_receives_and_gets_reports_of_an_e3372() {
    gammu_smsd_gets_along_with(Personality::E3372);
}

/// Waits until `state` says yes; tells what the client said when it does not.
fn wait_for_with(what: &str, said: &dyn Fn() -> String, mut state: impl FnMut() -> bool) {
    let until = now() + PATIENCE;
    while !state() {
        assert!(now() < until, "waited in vain: {what}\n{}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn smstools_gets_along_with(personality: Personality) {
    let carrier = Carrier::seeded(3);
    let modem = modem(personality, &carrier);
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for name in [
        "outgoing",
        "checked",
        "incoming",
        "report",
        "sent",
        "failed",
        "saved",
        "stats",
        "phonecalls",
    ] {
        fs::create_dir(at(name)).expect("a folder");
    }
    let root = folder.path().display();
    let config = format!(
        "devices = M1\noutgoing = {root}/outgoing\nchecked = {root}/checked\nincoming = {root}/incoming\n\
         report = {root}/report\nsent = {root}/sent\nfailed = {root}/failed\nsaved = {root}/saved\nstats = {root}/stats\n\
         phonecalls = {root}/phonecalls\n\
         logfile = {root}/log\nloglevel = 7\ninfofile = {root}/running\npidfile = {root}/pid\n\
         delaytime = 1\nerrorsleeptime = 1\nblocktime = 5\nterminal = yes\n\n\
         [M1]\ndevice = {port}\nincoming = high\nreport = yes\nbaudrate = 115200\nrtscts = no\n\
         check_network = {network}\nstart = AT\ninit = AT+CNMI=2,1,0,{reports},0\n",
        port = modem.path().display(),
        // Over LTE the circuit service that it asks for (+CREG) is not registered.
        // A SIM800 hands reports on at once and knows no other way.
        reports = if personality == Personality::Sim800 { 1 } else { 2 },
        network = u8::from(personality != Personality::Sim7600),
    );
    fs::write(at("smsd.conf"), config).expect("a configuration");
    let out = format!("To: {}\nReport: yes\n\n{LONG}", ANNA.trim_start_matches('+'));
    fs::write(at("outgoing").join("warning"), out).expect("a text to send");
    let mut command = program("smsd");
    command.arg(format!("-c{}", at("smsd.conf").display())).arg("-t");
    let _daemon = Daemon::start(&mut command, &at("said"));
    let said = || format!("{}{}", log_of(&at("said")), log_of(&at("log")));
    wait_for_with("the text arrives", &said, || inbox(&carrier, ANNA) == [LONG]);
    wait_for_with("a report is filed", &said, || {
        files(&at("report")).iter().any(|report| report.contains("Status: 0"))
    });
    assert!(carrier.send_from(ANNA, MODEM, "We are safe"));
    wait_for_with("the answer is filed", &said, || {
        files(&at("incoming")).iter().any(|text| text.contains("We are safe"))
    });
}

#[test]
fn smstools_sends_receives_and_gets_reports() {
    smstools_gets_along_with(Personality::Sim800);
}

#[test]
fn smstools_gets_along_with_lte_modems() {
    smstools_gets_along_with(Personality::Sim7600);
    smstools_gets_along_with(Personality::Ec25);
    smstools_gets_along_with(Personality::E3372);
}

fn python_gsmmodem_gets_along_with(personality: Personality) {
    let carrier = Carrier::seeded(4);
    let modem = modem(personality, &carrier);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut command = python();
    command.arg("tests/peers/python_gsmmodem.py").arg(modem.path()).args([ANNA, "*100#"]);
    let _client = Daemon::start(&mut command, &log);
    let said = || log_of(&log);
    wait_for_with("the client waits for a text", &said, || said().contains("waiting\n"));
    assert!(said().contains("\ndelivered\n"), "{}", said());
    assert_eq!(inbox(&carrier, ANNA), ["Water 2.4 m, rising"]);
    assert!(carrier.send_from(ANNA, MODEM, "We are safe"));
    wait_for_with("the text and the balance", &said, || said().contains("ussd "));
    assert!(said().contains(&format!("received {ANNA} We are safe")), "{}", said());
    assert!(said().contains("Your balance is 12.50 EUR."), "{}", said());
}

#[test]
fn python_gsmmodem_sends_receives_and_dials_on_a_sim800() {
    python_gsmmodem_gets_along_with(Personality::Sim800);
}

#[test]
fn python_gsmmodem_sends_receives_and_dials_on_an_ec25() {
    python_gsmmodem_gets_along_with(Personality::Ec25);
}

#[test]
fn python_gsmmodem_sends_receives_and_dials_on_an_e3372() {
    python_gsmmodem_gets_along_with(Personality::E3372);
}
