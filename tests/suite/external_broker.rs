//! Brokers that others run: real mosquitto processes, one that is spoken to in MQTT 3.1.1 and one in MQTT 5, stopped and
//! started again, with TLS and with passwords; and the real program, killed.
//!
//! A mosquitto that is killed instead of stopped forgets what it has acknowledged since it last wrote its own database:
//! no client can make up for that. What is shown of that case is that the gateway hears the broker again.

use crate::gateway::{AMINA, Site, level, river};
use crate::peers::{program, wait_for};
use kengele::sim::node::{self, Target, Witness};
use kengele::sim::world::Publication;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// The two gauges of the village that speak JSON with a time of their own: one is heard through each broker.
const NODES: [&str; 2] = ["mto-juu", "mto-kati"];
/// The versions that the brokers are spoken to in.
const PROTOCOLS: [&str; 2] = ["3.1.1", "5"];

/// A mosquitto that keeps its sessions on disk.
pub(crate) struct Mosquitto {
    folder: TempDir,
    pub(crate) port: u16,
    options: String,
    process: Option<Child>,
}

impl Mosquitto {
    /// Starts one; `options` are lines of its configuration, `@` in them is its folder.
    pub(crate) async fn new(options: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = options.replace('@', &folder.path().display().to_string());
        let mut broker = Self { folder, port, options, process: None };
        broker.start().await;
        broker
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) async fn start(&mut self) {
        let config = format!(
            "listener {} 127.0.0.1\n{}\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\nlog_type all\nlog_dest file {}\nuser root\n",
            self.port,
            self.options,
            self.folder.path().display(),
            self.file("log").display(),
        );
        fs::write(self.file("mosquitto.conf"), config).unwrap();
        let mut command = program("mosquitto");
        command.arg("-c").arg(self.file("mosquitto.conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        let port = self.port;
        wait_for("mosquitto listens", || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    }

    /// Stops it as its service does: it writes its database first.
    pub(crate) async fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        signal(&process, nix::sys::signal::Signal::SIGTERM);
        wait_for("mosquitto ends", || process.try_wait().unwrap().is_some()).await;
    }

    /// Kills it, and takes what it knew of its clients away.
    fn forget(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        // It may not have written it yet.
        let _gone = fs::remove_file(self.file("mosquitto.db")).is_ok();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.file("log")).unwrap_or_default()
    }

    pub(crate) fn client(&self, name: &str) -> Command {
        let mut client = program("timeout");
        client.args(["20", name, "-p", &self.port.to_string()]);
        client
    }

    /// Publishes lines with mosquitto's own client. Every one of them is acknowledged by mosquitto.
    pub(crate) fn publish(&self, topic: &str, lines: &str, more: &[&str]) {
        let mut client = self.client("mosquitto_pub");
        client.args(["-q", "1", "-l", "-t", topic]).args(more).stdin(Stdio::piped());
        let mut client = client.spawn().unwrap();
        client.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        assert!(client.wait().unwrap().success(), "mosquitto acknowledges: {}", self.log());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended already.
            let _ended = process.kill().is_ok();
            let _reaped = process.wait().is_ok();
        }
    }
}

fn signal(process: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

fn add_to_config(site: &Site, text: &str) {
    let mut file = fs::File::options().append(true).open(site.file("kengele.toml")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Puts a broker into the configuration of the gateway.
fn add_broker(site: &Site, name: &str, scheme: &str, port: u16, protocol: &str, more: &str) {
    add_to_config(
        site,
        &format!(
            "\n[[broker]]\nname = \"{name}\"\nurl = \"{scheme}://localhost:{port}\"\nprotocol = \"{protocol}\"\n{more}\n"
        ),
    );
}

/// A gateway and its two brokers.
struct Net {
    site: Site,
    brokers: Vec<Mosquitto>,
}

impl Net {
    async fn new() -> Self {
        let site = Site::new().await;
        let mut brokers = Vec::new();
        for (protocol, name) in PROTOCOLS.iter().zip(["three", "five"]) {
            let broker = Mosquitto::new("allow_anonymous true").await;
            add_broker(&site, name, "mqtt", broker.port, protocol, "");
            brokers.push(broker);
        }
        Self { site, brokers }
    }

    /// Starts the gateway, and waits until it hears both brokers.
    async fn start(&mut self) {
        let before = heard(&self.site);
        self.site.start().await;
        wait_for("both brokers are heard", || heard(&self.site) == before + 2).await;
    }

    fn publish(&self, lines: &str) {
        for (broker, node) in self.brokers.iter().zip(NODES) {
            broker.publish(&topic(node), lines, &[]);
        }
    }

    /// Waits until as many readings are stored of each gauge, and returns how often each of them is.
    async fn stored(&self, count: usize) -> BTreeMap<(String, i64), u32> {
        let stored = || readings(&self.site);
        wait_for("every reading is stored", || stored().len() >= count * NODES.len()).await;
        let stored = stored();
        assert_eq!(stored.len(), count * NODES.len(), "no other reading is stored");
        stored
    }
}

fn topic(node: &str) -> String {
    format!("field/{node}/up")
}

/// How often the gateway has come to hear a broker.
fn heard(site: &Site) -> usize {
    site.log().matches("the broker is heard").count()
}

/// The readings that are stored, by node and time, and how often each.
fn readings(site: &Site) -> BTreeMap<(String, i64), u32> {
    let mut count = BTreeMap::new();
    let stored = site.kengele(&["readings", "--quantity", "water_level"]);
    for line in stored.lines().skip(1) {
        let mut fields = line.split(',');
        let at: jiff::Timestamp = fields.next().unwrap().parse().unwrap();
        let node = fields.next().unwrap().to_owned();
        *count.entry((node, at.as_second())).or_default() += 1;
    }
    count
}

fn assert_once(stored: &BTreeMap<(String, i64), u32>) {
    let twice: Vec<_> = stored.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "stored more than once: {twice:?}");
}

fn levels(minutes: std::ops::Range<i64>) -> String {
    minutes.map(|minute| level(minute, 100)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_published_on_both_brokers_arrive_and_retained_ones_are_left() {
    let mut net = Net::new().await;
    for (broker, node) in net.brokers.iter().zip(NODES) {
        broker.publish(&topic(node), &level(600, 550), &["-r"]);
    }
    net.start().await;
    net.publish(&levels(0..40));
    // Longer than what is taken: nothing behind it is held up.
    let long = format!("{{\"level\":1,\"ts\":1,\"pad\":\"{}\"}}\n", "x".repeat(70_000));
    net.publish(&long);
    net.publish(&levels(40..41));
    let stored = net.stored(41).await;
    assert_once(&stored);
    net.site.stop().await;
    for broker in &net.brokers {
        assert!(broker.log().contains("Received DISCONNECT from kengele-"), "{}", broker.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_while_the_brokers_restart_is_all_stored() {
    let mut net = Net::new().await;
    net.start().await;
    let count = 900;
    let witness = Witness::default();
    let mut publishers = tokio::task::JoinSet::new();
    for (broker, node) in net.brokers.iter().zip(NODES) {
        let target = Target { host: "127.0.0.1".to_owned(), port: broker.port, login: None };
        let (seen, publications) = (witness.clone(), river(node, count));
        publishers.spawn(async move {
            node::publish(publications, &target, 1.0, Duration::from_secs(30), &seen).await;
        });
    }
    for round in 0..3_u64 {
        // At a moment that has nothing to do with what the gateway is doing.
        tokio::time::sleep(Duration::from_millis(700 + round * 331)).await;
        for broker in &mut net.brokers {
            broker.stop().await;
            broker.start().await;
        }
    }
    publishers.join_all().await;
    let acknowledged: Vec<Publication> = witness.acknowledged();
    let count = usize::try_from(count).unwrap();
    assert_eq!(acknowledged.len(), count * NODES.len(), "every node is heard to the end");
    assert_once(&net.stored(count).await);
    assert!(net.site.log().contains("the broker is not heard; trying again"));
    net.site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_while_the_gateway_is_dead_arrives_afterwards_once() {
    let mut net = Net::new().await;
    net.start().await;
    net.publish(&levels(0..100));
    net.site.kill();
    net.publish(&levels(100..300));
    net.start().await;
    assert_once(&net.stored(300).await);
    // And once more, stopped in order, in the middle of the flow.
    net.publish(&levels(300..600));
    net.site.stop().await;
    net.publish(&levels(600..700));
    net.start().await;
    assert_once(&net.stored(700).await);
    net.site.stop().await;
}

/// Holds the gateway's database, so that nothing can be written.
pub(crate) struct Lock {
    holder: Child,
}

impl Lock {
    pub(crate) fn new(site: &Site) -> Self {
        let mut holder = program("sqlite3")
            .arg(site.database())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let words = holder.stdin.as_mut().unwrap();
        words.write_all(b".timeout 20000\nbegin exclusive; select 'held';\n").unwrap();
        words.flush().unwrap();
        let mut answer = [0; 4];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut answer).unwrap();
        assert_eq!(&answer, b"held");
        Self { holder }
    }

    pub(crate) fn release(mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_keep_what_cannot_be_written() {
    let mut net = Net::new().await;
    net.start().await;
    let lock = Lock::new(&net.site);
    net.publish(&levels(0..60));
    wait_for("the disk fails", || net.site.log().contains("cannot be written")).await;
    // Whatever the gateway knows is gone: had it acknowledged anything, that would be gone too.
    net.site.kill();
    lock.release();
    assert!(readings(&net.site).is_empty());
    net.start().await;
    assert_once(&net.stored(60).await);

    // With the gateway alive it is stored when the disk works again, over the same connection.
    let connections = heard(&net.site);
    let failures = net.site.log().matches("cannot be written").count();
    let lock = Lock::new(&net.site);
    net.publish(&levels(60..120));
    let site = &net.site;
    wait_for("it fails again", || site.log().matches("cannot be written").count() > failures).await;
    lock.release();
    assert_once(&net.stored(120).await);
    assert_eq!(heard(&net.site), connections);
    net.site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn danger_is_heard_and_told_while_nothing_can_be_written() {
    let mut net = Net::new().await;
    net.start().await;
    let lock = Lock::new(&net.site);
    // More than mosquitto sends without an acknowledgement.
    net.publish(&levels(0..200));
    let log = || net.site.log();
    let (deaf, again) = ("deliver without acknowledgement", "with acknowledgement again");
    wait_for("the brokers are asked not to wait", || log().matches(deaf).count() == 2).await;
    let rise: String = (0..10).map(|n| level(200 + i64::from(n) * 5, 100 + n * 40)).collect();
    net.publish(&rise);
    wait_for("Amina is told from memory", || !net.site.texts_of(AMINA).is_empty()).await;
    assert!(!log().contains(again), "nothing is stored yet");
    lock.release();
    wait_for("the brokers deliver as before", || log().matches(again).count() == 2).await;
    assert_once(&net.stored(210).await);
    net.site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_has_forgotten_the_session_is_subscribed_to_anew() {
    let mut net = Net::new().await;
    net.start().await;
    let before = heard(&net.site);
    for broker in &mut net.brokers {
        broker.forget();
        broker.start().await;
    }
    wait_for("both are heard again", || heard(&net.site) == before + 2).await;
    assert_eq!(net.site.log().matches("forgotten the session").count(), 2, "{}", net.site.log());
    net.publish(&levels(0..10));
    assert_once(&net.stored(10).await);
    net.site.stop().await;
}

/// Makes a certificate authority and a certificate of `localhost` that it signed, in PEM: authority, certificate, key.
pub(crate) fn certificates(name: &str) -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.distinguished_name.push(rcgen::DnType::CommonName, name);
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &issuer).unwrap();
    (certificate.pem(), server.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_a_broker_with_the_right_authority_is_heard() {
    let mut site = Site::new().await;
    let (authority, certificate, key) = certificates("right");
    let files = [("ca.pem", &authority), ("cert.pem", &certificate), ("key.pem", &key)];
    let (other_authority, ..) = certificates("wrong");
    fs::write(site.file("ca.pem"), &authority).unwrap();
    fs::write(site.file("other-ca.pem"), &other_authority).unwrap();
    let certs = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(certs.path().join(name), text).unwrap();
    }
    let options = format!(
        "allow_anonymous true\ncertfile {0}/cert.pem\nkeyfile {0}/key.pem",
        certs.path().display()
    );
    let broker = Mosquitto::new(&options).await;
    for (protocol, name) in PROTOCOLS.iter().zip(["three", "five"]) {
        let right = format!("client_id = \"{name}\"\nca_file = \"{}\"", site.file("ca.pem"));
        add_broker(&site, name, "mqtts", broker.port, protocol, &right);
        let wrong =
            format!("client_id = \"not-{name}\"\nca_file = \"{}\"", site.file("other-ca.pem"));
        add_broker(&site, &format!("not-{name}"), "mqtts", broker.port, protocol, &wrong);
    }
    site.start().await;
    let refused = "TLS with the broker fails: invalid peer certificate: UnknownIssuer";
    wait_for("two are heard and two are not", || {
        heard(&site) == 2 && site.log().matches(refused).count() == 2
    })
    .await;
    let ca = certs.path().join("ca.pem");
    let ca = ca.to_string_lossy();
    broker.publish(&topic(NODES[0]), &levels(0..5), &["-h", "localhost", "--cafile", &ca]);
    wait_for("its readings are stored", || readings(&site).len() == 5).await;
    assert_eq!(site.log().matches(refused).count(), 2, "it is said once, and not with every try");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_and_the_other_brokers_are_heard_and_it_heals() {
    let mut net = Net::new().await;
    let options = "allow_anonymous false\npassword_file @/passwords";
    let folder = TempDir::new().unwrap();
    let passwords = folder.path().join("passwords");
    let write_password = |password: &str| {
        let made = program("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(&passwords)
            .args(["gateway", password])
            .status();
        assert!(made.unwrap().success());
    };
    write_password("another");
    let options = options.replace("@/passwords", &passwords.display().to_string());
    let guarded = Mosquitto::new(&options).await;
    fs::write(net.site.file("secrets/brokers"), "of-the-gateway\n").unwrap();
    let login =
        format!("user = \"gateway\"\npassword_file = \"{}\"", net.site.file("secrets/brokers"));
    for (protocol, name) in PROTOCOLS.iter().zip(["guarded-three", "guarded-five"]) {
        let login = format!("{login}\nclient_id = \"{name}\"");
        add_broker(&net.site, name, "mqtt", guarded.port, protocol, &login);
    }
    net.start().await;
    net.publish(&levels(0..10));
    assert_once(&net.stored(10).await);
    // mosquitto answers "not authorised" where a password is wrong.
    let said = || net.site.log().matches("the broker refuses: this client may not connect").count();
    wait_for("both are refused", || said() == 2).await;
    let tries = || guarded.log().matches("disconnected, not authorised").count();
    wait_for("both are tried again", || tries() >= 4).await;
    assert_eq!(said(), 2, "it is said once, and not with every try: {}", net.site.log());

    write_password("of-the-gateway");
    signal(guarded.process.as_ref().unwrap(), nix::sys::signal::Signal::SIGHUP);
    wait_for("all four are heard", || heard(&net.site) == 4).await;
    assert!(!net.site.log().contains("of-the-gateway"));
    net.site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_broker_is_away_starts_and_stops_at_once() {
    let mut site = Site::new().await;
    // Nobody listens on tcpmux; a port that was free a moment ago may be another test's by now.
    let port = 1;
    add_broker(&site, "away", "mqtt", port, "5", "");
    site.start().await;
    let reason = "the broker cannot be reached: Connection refused";
    wait_for("it is said", || site.log().contains(reason)).await;
    let begun = Instant::now();
    site.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
