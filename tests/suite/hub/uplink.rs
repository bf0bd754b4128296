//! A real gateway and a real hub, with what lies between them: whatever is killed or cut, and whoever else answers, the hub
//! has in the end what the gateway has, each thing once.

use super::doors;
use super::gateway::{Told, stored};
use crate::dice::{Dice, asked};
use crate::gateway::{self, flood, level};
use crate::peers::wait_for;
use kengele::hub::storage::Storage;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How much faster than real time the gateway's clock runs: an hour in a second.
const SPEED: f64 = 3600.0;

/// What the network between a gateway and its hub is like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// It brings everything.
    Fair = 0,
    /// It cuts every connection after some bytes, one way or the other.
    Stormy = 1,
    /// It answers everything itself, with a page that asks for a login.
    Captive = 2,
}

/// A network between a gateway and its hub.
struct Network {
    address: SocketAddr,
    /// Its weather, and how often that has changed.
    sky: Arc<AtomicU32>,
    /// Connections so far.
    connections: Arc<AtomicU32>,
}

impl Network {
    fn before(hub: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sky = Arc::new(AtomicU32::new(Weather::Fair as u32));
        let connections = Arc::new(AtomicU32::new(0));
        let dice = Arc::new(Mutex::new(Dice::seeded(seed)));
        let (over, count) = (Arc::clone(&sky), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let (sky, dice) = (Arc::clone(&over), Arc::clone(&dice));
                thread::spawn(move || carry(stream, hub, &sky, &dice));
            }
        });
        Self { address, sky, connections }
    }

    /// Changes the weather; whatever is connected loses its connection.
    fn becomes(&self, weather: Weather) {
        let era = (self.sky.load(Ordering::Relaxed) >> 8) + 1;
        self.sky.store(era << 8 | weather as u32, Ordering::Relaxed);
    }

    fn is_stormy(&self) -> bool {
        self.sky.load(Ordering::Relaxed) & 0xff == Weather::Stormy as u32
    }

    fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

fn carry(mut gateway: TcpStream, hub: SocketAddr, sky: &Arc<AtomicU32>, dice: &Mutex<Dice>) {
    let then = sky.load(Ordering::Relaxed);
    if then & 0xff == Weather::Captive as u32 {
        let mut request = [0; 4096];
        // Whoever asks gets the same.
        let _read = gateway.read(&mut request).is_ok();
        let page = "<html><body>Karibu! Ingia hapa.</body></html>";
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
            page.len()
        );
        let _written = gateway.write_all(answer.as_bytes()).is_ok();
        return;
    }
    let Ok(server) = TcpStream::connect(hub) else { return };
    let (mut there, mut back) = (u64::MAX, u64::MAX);
    if then & 0xff == Weather::Stormy as u32 {
        let mut dice = dice.lock().unwrap();
        // Half of them lose the question, the others the answer.
        if dice.chance(500) { there = dice.below(6000) } else { back = dice.below(400) }
    }
    let other = (gateway.try_clone().unwrap(), server.try_clone().unwrap());
    let sky = Arc::clone(sky);
    let pump = thread::spawn({
        let sky = Arc::clone(&sky);
        move || bring(other.1, other.0, back, (&sky, then))
    });
    bring(gateway, server, there, (&sky, then));
    let _ended = pump.join().is_ok();
}

/// Brings bytes from one to the other, so many of them; then the connection is cut, as it is when the weather changes.
fn bring(mut from: TcpStream, mut to: TcpStream, mut bytes: u64, (sky, then): (&AtomicU32, u32)) {
    from.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = [0; 2048];
    while bytes > 0 && sky.load(Ordering::Relaxed) == then {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                let some = usize::try_from(bytes.min(read as u64)).unwrap();
                bytes -= some as u64;
                if to.write_all(&buffer[..some]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    for end in [&from, &to] {
        // The other thread may have cut it.
        let _cut = end.shutdown(Shutdown::Both).is_ok();
    }
}

/// A hub, a network before it, and a gateway that has enrolled and is not started yet.
async fn district(seed: u64) -> (doors::Site, Network, gateway::Site) {
    let mut hub = doors::Site::new("");
    hub.start().await;
    let network = Network::before(hub.address, seed);
    let mut gateway = gateway::Site::village(|text| text).await;
    let key_file = gateway.file("uplink.key");
    let config = gateway.file("kengele.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let uplink = format!("\n[uplink]\nkey_file = \"{key_file}\"\nreport_every = \"10 min\"\n");
    std::fs::write(&config, text + &uplink).unwrap();
    let token = hub.hub(&["token", "kijiji"]).split_whitespace().next().unwrap().to_owned();
    let url = format!("http://{}", network.address);
    let said = gateway.kengele(&["enrol", &url, &token, "--key-file", &key_file]);
    assert!(said.contains("kijiji"), "{said}");
    gateway.start_at(SPEED).await;
    (hub, network, gateway)
}

/// What a reading is known again by: node, quantity, Unix ms, bits of the value.
type Known = (String, String, i64, u64);

fn of_gateway(site: &gateway::Site) -> Vec<Known> {
    let rows = site.ask(&["readings"]);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let known = |row: &Value| {
        let value = row["value"].as_f64().unwrap().to_bits();
        (text(row, "node"), text(row, "quantity"), row["unix_ms"].as_i64().unwrap(), value)
    };
    rows.as_array().unwrap().iter().map(known).collect()
}

async fn of_hub(storage: &Storage) -> Vec<Known> {
    let rows = stored(storage, "kijiji").await;
    let known =
        |(node, quantity, unix_ms, _, bits, ..): Told| (node, quantity.to_owned(), unix_ms, bits);
    rows.into_iter().map(known).collect()
}

/// Waits until the hub has as many readings as the gateway, and compares them.
async fn agree(hub: &doors::Site, site: &gateway::Site) {
    let expected = of_gateway(site);
    let storage = hub.storage().await;
    for _ in 0..600 {
        if of_hub(&storage).await.len() >= expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let found = of_hub(&storage).await;
    assert_eq!(found.len(), expected.len(), "{}", site.log());
    let (found, expected): (BTreeSet<_>, BTreeSet<_>) =
        (found.into_iter().collect(), expected.into_iter().collect());
    let differs: Vec<_> = found.symmetric_difference(&expected).take(6).collect();
    assert!(differs.is_empty(), "{differs:?}");
}

/// Warnings as both ends tell them: number, hazard, area, the highest level.
fn warnings(list: &Value) -> Vec<(i64, String, String, String)> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<_> = (list.as_array().unwrap().iter())
        .map(|row| {
            let number = row["warning"].as_i64().unwrap();
            (number, text(row, "hazard"), text(row, "area"), text(row, "level_max"))
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_or_cut_the_hub_has_what_the_gateway_has_each_thing_once() {
    let seed = asked("KENGELE_SEED").unwrap_or(1);
    println!("seed {seed}");
    let mut dice = Dice::seeded(seed);
    let (mut hub, network, mut site) = district(seed).await;
    assert!(flood(&site), "{}", site.log());
    wait_for("there is danger", || site.ask(&["warnings"]).to_string().contains("danger")).await;
    for round in 0..6_i64 {
        network.becomes([Weather::Fair, Weather::Stormy][dice.index(2)]);
        let lines: String = (0..200)
            .map(|n| level(100 + round * 200 + n, 100 + i32::try_from(n).unwrap() % 37))
            .collect();
        assert!(site.mosquitto("field/mto-juu/up", &lines, 30), "{}", site.log());
        let before = network.connections();
        if network.is_stormy() {
            wait_for("the storm cuts some", || network.connections() > before + 3).await;
        }
        match dice.below(3) {
            0 => {
                site.kill();
                site.start_at(SPEED).await;
            }
            1 => {
                hub.kill();
                hub.start().await;
            }
            _ => {}
        }
    }
    network.becomes(Weather::Fair);
    let of_gateway = warnings(&site.ask(&["warnings"]));
    wait_for("the hub knows", || {
        let told: Value = serde_json::from_str(&hub.hub(&["warnings", "--json"])).unwrap();
        warnings(&told).len() >= of_gateway.len() && told.to_string().contains("danger")
    })
    .await;
    agree(&hub, &site).await;
    let status = site.ask(&["status"]);
    assert_eq!(status["uplink"]["refused"], 0, "{status}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_asks_for_a_login_acknowledges_nothing() {
    let (hub, network, mut site) = district(7).await;
    let status = |site: &gateway::Site| site.ask(&["status"])["uplink"].clone();
    wait_for("the hub has answered", || status(&site)["answered"].as_i64() > Some(0)).await;
    network.becomes(Weather::Captive);
    let lines: String = (0..300).map(|n| level(n, 150)).collect();
    assert!(site.mosquitto("field/mto-juu/up", &lines, 30));
    wait_for("the portal is found out", || status(&site)["trouble"].to_string().contains("login"))
        .await;
    let answered = status(&site)["answered"].clone();
    let failed = status(&site)["failed"].as_i64().unwrap();
    wait_for("it goes on asking", || status(&site)["failed"].as_i64().unwrap() > failed + 2).await;
    assert_eq!(status(&site)["answered"], answered, "nothing was acknowledged meanwhile");
    network.becomes(Weather::Fair);
    agree(&hub, &site).await;
    assert_eq!(status(&site)["trouble"], Value::Null);
    site.stop().await;
}
