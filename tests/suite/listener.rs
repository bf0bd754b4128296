//! The embedded MQTT listener, driven byte by byte and by clients that others wrote. Each test names the statements of the
//! standards that it shows; `docs/mqtt-conformance.md` lists them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that finds nothing where something must be shall fail"
)]

mod clients;
mod connect;
mod hostile;
mod publish;
mod rights;
mod session;
mod subscribe;

use bytes::Bytes;
use kengele::domain::frame::{Envelope, Origin, Outcome, Receipt};
use kengele::source::broker::{Error, Handle, Limits, Listener, Rights, Settings};
use kengele::supervise::Tasks;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Frames that may wait for the stand-in of the pipeline.
const FRAMES_MAX: usize = 64;

/// What stands in for the pipeline does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Settle(Outcome),
    /// Keeps it until [`Server::settle`].
    Hold,
}

#[derive(Debug)]
struct Heard {
    client: String,
    topic: String,
    payload: Bytes,
    redelivered: bool,
}

struct Pipeline {
    plan: Plan,
    heard: Vec<Heard>,
    held: Vec<Receipt>,
}

/// A listener in this process, with a stand-in for the pipeline.
struct Server {
    address: SocketAddr,
    handle: Handle,
    pipeline: Arc<Mutex<Pipeline>>,
    tasks: Tasks,
}

/// Everybody may do everything.
fn open() -> Settings {
    Settings {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        anonymous: Some(Rights {
            nodes: Vec::new(),
            publish: vec!["#".into()],
            subscribe: vec!["#".into()],
        }),
        limits: Limits { patience: Duration::from_secs(1), ..Limits::default() },
        ..Settings::default()
    }
}

fn with_limits(limits: Limits) -> Settings {
    Settings { limits, ..open() }
}

impl Server {
    async fn start(settings: Settings) -> Self {
        let (frames, mut heard) = mpsc::channel::<Envelope>(FRAMES_MAX);
        let listener = Listener::bind(settings, frames).await.unwrap();
        let (address, handle) = (listener.addresses()[0], listener.handle());
        let plan = Plan::Settle(Outcome::Committed);
        let pipeline = Pipeline { plan, heard: Vec::new(), held: Vec::new() };
        let pipeline = Arc::new(Mutex::new(pipeline));
        let mut tasks = Tasks::default();
        tasks.spawn("listener", listener.run(tasks.stop_signal()));
        let stand_in = Arc::clone(&pipeline);
        tasks.spawn("pipeline", async move {
            while let Some(envelope) = heard.recv().await {
                stand_in.lock().unwrap().take(envelope);
            }
            Ok::<(), Error>(())
        });
        Self { address, handle, pipeline, tasks }
    }

    async fn open() -> Self {
        Self::start(open()).await
    }

    fn plan(&self, plan: Plan) {
        self.pipeline.lock().unwrap().plan = plan;
    }

    /// Tells the senders of everything that is held what became of it.
    fn settle(&self, outcome: Outcome) {
        let held = std::mem::take(&mut self.pipeline.lock().unwrap().held);
        for receipt in held {
            receipt.settle(outcome);
        }
    }

    async fn heard(&self, count: usize) -> Vec<Heard> {
        wait_for("frames reach the pipeline", || {
            self.pipeline.lock().unwrap().heard.len() >= count
        })
        .await;
        std::mem::take(&mut self.pipeline.lock().unwrap().heard)
    }

    fn unheard(&self) -> bool {
        self.pipeline.lock().unwrap().heard.is_empty()
    }

    async fn dial(&self) -> Raw {
        Raw { stream: TcpStream::connect(self.address).await.unwrap(), level: 4 }
    }

    /// Connects, and expects to be let in.
    async fn client(&self, hello: Hello) -> Raw {
        self.connack(hello).await.0
    }

    /// Connects, and returns the answer too.
    async fn connack(&self, hello: Hello) -> (Raw, Packet) {
        let mut raw = self.dial().await;
        raw.level = hello.level;
        raw.send(&hello.bytes()).await;
        let answer = raw.next().await.expect("an answer to CONNECT");
        assert_eq!(answer.first, 0x20, "{answer:?}");
        assert_eq!(answer.body[1], 0, "{answer:?}");
        (raw, answer)
    }
}

impl Pipeline {
    fn take(&mut self, envelope: Envelope) {
        let Origin::Mqtt { client, topic, .. } = &envelope.frame.origin else { panic!() };
        self.heard.push(Heard {
            client: client.to_string(),
            topic: topic.to_string(),
            payload: envelope.frame.payload.clone(),
            redelivered: envelope.frame.redelivered,
        });
        let Some(receipt) = envelope.receipt else { return };
        match self.plan {
            Plan::Settle(outcome) => receipt.settle(outcome),
            Plan::Hold => self.held.push(receipt),
        }
    }
}

async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A packet as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    first: u8,
    body: Vec<u8>,
}

/// A client that sends what it is told to, right or wrong.
struct Raw {
    stream: TcpStream,
    level: u8,
}

impl Raw {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Returns the next packet, or `None` when the listener has closed the connection.
    async fn next(&mut self) -> Option<Packet> {
        timeout(PATIENCE, read_packet(&mut self.stream)).await.expect("a packet or an end in time")
    }

    /// Expects the next packet to be of this first byte.
    async fn expect(&mut self, first: u8) -> Vec<u8> {
        let packet = self.next().await.expect("a packet");
        assert_eq!(packet.first, first, "{packet:02x?}");
        packet.body
    }

    /// Expects the listener to say nothing more but, to a client of version 5, why; and to close.
    async fn expect_end(&mut self, reason: u8) {
        if self.level == 5 {
            let body = self.expect(0xE0).await;
            assert_eq!(body.first().copied().unwrap_or(0), reason, "{body:02x?}");
        }
        assert_eq!(self.next().await, None);
    }

    /// Expects that nothing was on its way: the answer to a ping is the next packet.
    async fn expect_silence(&mut self) {
        self.send(&[0xC0, 0]).await;
        assert_eq!(self.expect(0xD0).await, Vec::<u8>::new());
    }

    async fn subscribe(&mut self, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
        self.send(&subscribe(self.level, id, &[], filters)).await;
        let body = self.expect(0x90).await;
        assert_eq!(body[..2], id.to_be_bytes());
        body[if self.level == 5 { 3 } else { 2 }..].to_vec()
    }

    async fn publish(&mut self, publish: Publish<'_>) {
        let bytes = publish.bytes(self.level);
        self.send(&bytes).await;
    }

    /// Expects a publication.
    async fn message(&mut self) -> Message {
        let packet = self.next().await.expect("a publication");
        assert_eq!(packet.first >> 4, 3, "{packet:02x?}");
        Message::read(self.level, &packet)
    }
}

async fn read_packet(stream: &mut TcpStream) -> Option<Packet> {
    let first = stream.read_u8().await.ok()?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Packet { first, body })
}

/// A CONNECT packet in the making.
#[derive(Clone, Debug)]
struct Hello {
    level: u8,
    client: String,
    clean: bool,
    keep_alive_s: u16,
    login: Option<(String, String)>,
    will: Option<Will>,
    properties: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Will {
    topic: &'static str,
    payload: &'static [u8],
    qos: u8,
    retain: bool,
    properties: Vec<u8>,
}

fn hello(level: u8, client: &str) -> Hello {
    Hello {
        level,
        client: client.to_owned(),
        clean: true,
        keep_alive_s: 60,
        login: None,
        will: None,
        properties: Vec::new(),
    }
}

impl Hello {
    /// A session that lives on, in whichever version.
    fn lasting(mut self) -> Self {
        self.clean = false;
        if self.level == 5 {
            self.properties.extend(four(0x11, 3600));
        }
        self
    }

    fn properties(mut self, properties: &[u8]) -> Self {
        self.properties.extend(properties);
        self
    }

    fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.into(), password.into()));
        self
    }

    fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |w| 4 | w.qos << 3 | u8::from(w.retain) << 5);
        u8::from(self.clean) << 1 | will | if self.login.is_some() { 0xC0 } else { 0 }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes_as("MQTT", self.flags())
    }

    fn bytes_as(&self, protocol: &str, flags: u8) -> Vec<u8> {
        let mut body = text(protocol);
        body.extend([self.level, flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        let properties = |list: &[u8]| if self.level == 5 { sized(list) } else { Vec::new() };
        body.extend(properties(&self.properties));
        body.extend(text(&self.client));
        if let Some(will) = &self.will {
            body.extend(properties(&will.properties));
            body.extend(text(will.topic));
            body.extend(binary(will.payload));
        }
        if let Some((user, password)) = &self.login {
            body.extend(text(user));
            body.extend(text(password));
        }
        packet(0x10, &body)
    }
}

/// A PUBLISH packet in the making.
#[derive(Clone, Copy, Debug, Default)]
struct Publish<'a> {
    topic: &'a str,
    payload: &'a [u8],
    qos: u8,
    id: u16,
    dup: bool,
    retain: bool,
    properties: &'a [u8],
}

impl Publish<'_> {
    fn bytes(&self, level: u8) -> Vec<u8> {
        let mut body = text(self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if level == 5 {
            body.extend(sized(self.properties));
        }
        body.extend(self.payload);
        packet(0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain), &body)
    }
}

/// A publication as a subscriber gets it.
#[derive(Debug, PartialEq, Eq)]
struct Message {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    id: u16,
    dup: bool,
    retain: bool,
    /// Properties as they are on the wire.
    properties: Vec<u8>,
}

impl Message {
    fn read(level: u8, packet: &Packet) -> Self {
        let qos = packet.first >> 1 & 3;
        let (topic, mut rest) = split_sized(&packet.body);
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let mut properties = Vec::new();
        if level == 5 {
            let length = usize::from(rest[0]);
            assert!(length < 128, "properties of more than 127 bytes are not expected here");
            properties = rest[1..=length].to_vec();
            rest = &rest[1 + length..];
        }
        Self {
            topic: String::from_utf8(topic.to_vec()).unwrap(),
            payload: rest.to_vec(),
            qos,
            id,
            dup: packet.first & 8 != 0,
            retain: packet.first & 1 != 0,
            properties,
        }
    }
}

fn split_sized(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes[2..].split_at(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(variable(body.len()));
    bytes.extend(body);
    bytes
}

fn variable(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7F).unwrap();
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut field = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    field.extend(bytes);
    field
}

fn text(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

/// A list of properties with its length before it.
fn sized(list: &[u8]) -> Vec<u8> {
    let mut bytes = variable(list.len());
    bytes.extend(list);
    bytes
}

/// A property of two bytes.
fn two(id: u8, value: u16) -> Vec<u8> {
    let mut bytes = vec![id];
    bytes.extend(value.to_be_bytes());
    bytes
}

/// A property of four bytes.
fn four(id: u8, value: u32) -> Vec<u8> {
    let mut bytes = vec![id];
    bytes.extend(value.to_be_bytes());
    bytes
}

fn subscribe(level: u8, id: u16, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level == 5 {
        body.extend(sized(properties));
    }
    for (filter, options) in filters {
        body.extend(text(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

fn unsubscribe(level: u8, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level == 5 {
        body.push(0);
    }
    for filter in filters {
        body.extend(text(filter));
    }
    packet(0xA2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, by its first byte, that says: success.
fn word(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

/// Finds a property in a list with its length before it. Knows those that a listener sends.
fn property(sized: &[u8], wanted: u8) -> Option<Vec<u8>> {
    let length = usize::from(sized[0]);
    assert!(length < 128, "a longer list is not expected here");
    let mut rest = &sized[1..=length];
    while let [id, value @ ..] = rest {
        let bytes = match id {
            0x01 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
            0x13 | 0x21 | 0x22 | 0x23 => 2,
            0x02 | 0x11 | 0x27 => 4,
            0x03 | 0x08 | 0x12 | 0x1A | 0x1C | 0x1F => {
                2 + usize::from(u16::from_be_bytes([value[0], value[1]]))
            }
            other => panic!("property {other:#x} is not expected"),
        };
        if *id == wanted {
            return Some(value[..bytes].to_vec());
        }
        rest = &value[bytes..];
    }
    None
}

#[test]
fn every_test_that_the_page_on_conformance_names_exists() {
    let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(base.join("docs/mqtt-conformance.md")).unwrap();
    let tests: String = std::fs::read_dir(base.join("tests/suite/listener"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let mut named = 0;
    for line in page.lines() {
        let cell = line.rsplit("| ").next().and_then(|cell| cell.strip_suffix(" |"));
        let name = cell.and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        let Some(name) = name.filter(|name| !name.contains('`')) else { continue };
        assert!(tests.contains(&format!("fn {name}(")), "{name}");
        named += 1;
    }
    assert!(named >= 60, "{named} statements");
}
