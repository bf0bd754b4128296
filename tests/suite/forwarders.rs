//! From the antenna of somebody else's gateway to a reading, and the acknowledgement back: the real program, a packet
//! forwarder of Semtech's protocol, and a device that we did not write (npm's lora-packet).

use crate::gateway::Site;
use crate::lorawan::Peer;
use crate::peers::wait_for;
use kengele::sim::village;
use kengele::wire::lorawan::{Eui, Modulation};
use kengele::wire::semtech_udp::{
    self, Crc, Datagram, Push, Received, Status, Transmit, TxOutcome, When,
};
use serde_json::json;
use std::net::UdpSocket;
use std::time::Duration;

pub(crate) const GATEWAY: Eui = Eui(0xAA55_5A00_0000_0101);
const OTHER: Eui = Eui(0xAA55_5A00_0000_0102);
const FILES: &str = r#"
[semtech_udp]
listen = "127.0.0.1:@PORT@"
gateways = ["aa555a0000000101", "aa555a0000000102"]

[lorawan]
region = "EU868"

[codec.gauge]
kind = "binary"
field.level = { quantity = "water_level", unit = "mm", byte = 0, bits = 16 }

[node.lora]
interval = "5 min"
sensor.water_level = {}
[node.lora.lorawan]
dev_eui = "0004a30b001c0530"
join_eui = "70b3d57ed0000001"
app_key_file = "@FOLDER@/secrets/lora"
codec = "gauge"
"#;

/// A gateway's forwarder.
pub(crate) struct Forwarder {
    socket: UdpSocket,
    gateway: Eui,
    token: u16,
    tmst: u32,
}

impl Forwarder {
    pub(crate) fn new(gateway: Eui, port: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        Self { socket, gateway, token: 0, tmst: 4_294_000_000 }
    }

    /// Returns the next datagram that comes in time.
    pub(crate) fn next(&self, patience: Duration) -> Option<Datagram> {
        let mut buffer = [0; 2048];
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(semtech_udp::parse(&buffer[..length]).unwrap())
    }

    fn say(&mut self, datagram: &Datagram) {
        self.socket.send(&datagram.encode()).unwrap();
    }

    pub(crate) fn pull(&mut self) {
        self.token += 1;
        let (token, gateway) = (self.token, self.gateway);
        self.say(&Datagram::PullData { token, gateway });
        assert_eq!(self.next(Duration::from_secs(5)), Some(Datagram::PullAck { token }));
    }

    /// Brings a frame. Returns whether the server took it.
    pub(crate) fn push(&mut self, phy: &[u8], snr_db: f64) -> bool {
        self.token += 1;
        let (token, gateway) = (self.token, self.gateway);
        let received = Received {
            tmst: self.tmst,
            time: None,
            frequency_hz: 868_100_000,
            rf_chain: Some(1),
            channel: Some(0),
            crc: Crc::Good,
            modulation: Modulation::Lora { spreading_factor: 7, bandwidth_hz: 125_000 },
            coding_rate: Some("4/5".to_owned()),
            rssi_dbm: Some(-101.0),
            snr_db: Some(snr_db),
            antennas: Vec::new(),
            phy: phy.to_vec(),
        };
        let push = Push { received: vec![received], ..Push::default() };
        self.say(&Datagram::PushData { token, gateway, push });
        self.next(Duration::from_millis(700)) == Some(Datagram::PushAck { token })
    }

    /// Says how the gateway is.
    fn report(&mut self) {
        self.token += 1;
        let (token, gateway) = (self.token, self.gateway);
        let status = Status { received: Some(7), temperature_c: Some(31.5), ..Status::default() };
        let push = Push { status: Some(status), ..Push::default() };
        self.say(&Datagram::PushData { token, gateway, push });
        assert_eq!(self.next(Duration::from_secs(5)), Some(Datagram::PushAck { token }));
    }

    /// Returns what the server wants sent, and says that it is.
    pub(crate) fn downlink(&mut self, patience: Duration) -> Option<Transmit> {
        let datagram = self.next(patience)?;
        let Datagram::PullResp { token, transmit } = datagram else { panic!("{datagram:?}") };
        let (gateway, outcome) = (self.gateway, TxOutcome::Programmed);
        self.say(&Datagram::TxAck { token, gateway, outcome });
        Some(transmit)
    }
}

pub(crate) async fn site(port: u16, more: &str) -> Site {
    site_with(port, more, "").await
}

/// A site whose device has more in its table, too.
async fn site_with(port: u16, more: &str, of_the_device: &str) -> Site {
    Site::of(|places| {
        let mut files = village::files(places);
        let main = files.iter_mut().find(|(name, _)| name == "kengele.toml").unwrap();
        let folder = places.folder.display().to_string();
        main.1 += more;
        main.1 += &FILES.replace("@PORT@", &port.to_string()).replace("@FOLDER@", &folder);
        main.1 += of_the_device;
        files.push(("secrets/lora".to_owned(), "2b7e151628aed2a6abf7158809cf4f3c\n".to_owned()));
        files
    })
    .await
}

fn free_port() -> u16 {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_behind_a_packet_forwarder_joins_is_heard_once_and_acknowledged_after_the_commit()
{
    let port = free_port();
    let mut site = site(port, "").await;
    site.start().await;
    let (mut near, mut far) = (Forwarder::new(GATEWAY, port), Forwarder::new(OTHER, port));
    near.pull();
    far.pull();
    let mut device = Peer::start();
    let long = Duration::from_secs(5);
    let short = Duration::from_millis(600);

    let request = device.request("0001");
    assert!(near.push(&request, 5.5));
    let accept = near.downlink(long).expect("a join is answered");
    assert_eq!(accept.when, When::At { tmst: 4_294_000_000_u32.wrapping_add(5_000_000) });
    assert_eq!(accept.frequency_hz, 868_100_000);
    assert_eq!(device.accept(&accept.phy)["valid"], json!(true));

    // 1,234 mm, heard by both gateways: the answer goes back by the one that heard it best.
    let first = device.up(0, &[4, 210], &json!({"confirmed": true}));
    assert!(far.push(&first, -3.0) && near.push(&first, 7.0));
    let answer = near.downlink(long).expect("it is acknowledged");
    assert_eq!(site.stored(), 1, "and stored by then");
    assert_eq!(answer.when, When::At { tmst: 4_294_000_000_u32.wrapping_add(1_000_000) });
    let heard = device.down(&answer.phy, 0);
    assert_eq!((&heard["valid"], &heard["ack"]), (&json!(true), &json!(true)), "{heard}");
    assert!(far.downlink(short).is_none());

    // Who replays everything gets nothing; nor does a stranger, nor a gateway that nobody named.
    let stranger = Peer::start().up_of_a_stranger();
    for phy in [&request, &stranger] {
        assert!(near.push(phy, 5.5));
    }
    assert!(near.downlink(short).is_none());
    assert!(!Forwarder::new(Eui(7), port).push(&first, 5.5));
    let second = device.up(1, &[4, 220], &json!({}));
    assert!(near.push(&second, 5.5));
    wait_for("the second reading is stored", || site.stored() == 2).await;
    assert!(near.push(&first, 5.5));
    assert!(near.downlink(short).is_none());

    // What it must remember survives a power cut.
    site.kill();
    site.start().await;
    near.pull();
    for phy in [&request, &first, &second] {
        assert!(near.push(phy, 5.5));
    }
    assert!(near.downlink(short).is_none());
    let third = device.up(2, &[4, 230], &json!({"confirmed": true}));
    assert!(near.push(&third, 5.5));
    let answer = near.downlink(long).expect("the session goes on");
    let heard = device.down(&answer.phy, 1);
    assert_eq!((&heard["valid"], &heard["ack"]), (&json!(true), &json!(true)), "{heard}");

    near.report();
    wait_for("the gateway's own word is shown", || {
        let status = site.ask(&["status"]);
        let gateway = status.pointer("/radio/packet_forwarders/gateways/0").unwrap();
        let said = json!([gateway["gateway"], gateway["reachable"], gateway["temperature_c"]]);
        said == json!(["aa555a0000000101", true, 31.5])
    })
    .await;
    let status = site.ask(&["status"]);
    let other = status.pointer("/radio/packet_forwarders/gateways/1").unwrap();
    assert_eq!((&other["heard_s_ago"], &other["reachable"]), (&json!(null), &json!(false)));
    let refused = status.pointer("/radio/refused").unwrap();
    assert_eq!(refused["join with a nonce that was used"], json!(1), "{refused}");
    assert_eq!(refused["replayed"], json!(1), "{refused}");
    site.stop().await;
    let csv = site.kengele(&["readings", "--node", "lora"]);
    let levels: Vec<&str> =
        csv.lines().skip(1).map(|line| line.split(',').nth(3).unwrap()).collect();
    assert_eq!(levels, ["1.234", "1.244", "1.254"]);
}

/// RP002-1.0.4 §2.4: data rate 3 is SF9, and mask control 6 turns on every channel that the device has.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_lets_the_network_choose_is_asked_for_the_data_rate_of_its_table() {
    let port = free_port();
    let mut site = site_with(port, "", "data_rate = 3\n").await;
    site.start().await;
    let mut gateway = Forwarder::new(GATEWAY, port);
    gateway.pull();
    let mut device = Peer::start();
    let (long, short) = (Duration::from_secs(5), Duration::from_millis(600));
    assert!(gateway.push(&device.request("0001"), 5.5));
    let accept = gateway.downlink(long).expect("a join is answered");
    assert_eq!(device.accept(&accept.phy)["valid"], json!(true));

    let keeps_its_own = device.up(0, &[4, 210], &json!({}));
    assert!(gateway.push(&keeps_its_own, 5.5));
    assert!(gateway.downlink(short).is_none());

    // Asked at each frame until it says something to it, also across a restart.
    for counter in 0..2 {
        let report = device.up(counter + 1, &[4, 210], &json!({"adr": true}));
        assert!(gateway.push(&report, 5.5));
        let asked = gateway.downlink(long).expect("it is asked");
        let heard = device.down(&asked.phy, counter);
        let said = json!([heard["valid"], heard["adr"], heard["options"]]);
        assert_eq!(said, json!([true, true, "0330ffff61"]), "{heard}");
        if counter == 0 {
            site.kill();
            site.start().await;
            gateway.pull();
        }
    }
    let agrees = device.up(3, &[4, 210], &json!({"adr": true, "options": "0307"}));
    assert!(gateway.push(&agrees, 5.5));
    assert!(gateway.downlink(short).is_none());
    let next = device.up(4, &[4, 210], &json!({"adr": true}));
    assert!(gateway.push(&next, 5.5));
    assert!(gateway.downlink(short).is_none());
    wait_for("all are stored", || site.stored() == 5).await;
}
