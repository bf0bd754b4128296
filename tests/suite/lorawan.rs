//! LoRaWAN against a device that we did not write (`tests/peers/lorawan_device.js`, on npm's lora-packet): it joins, sends
//! and is answered; and frames that it made before, which Python's `cryptography` verified (`tests/vectors/lorawan.json`).

use kengele::wire::lorawan::{
    Accepted, Activation, CounterReset, DevAddr, Device, Eui, Heard, Key, Modulation, Network,
    Order, Payload, Plan, Profile, Refusal, Region, State, Uplink, Version, parse,
};
use kengele::wire::semtech_udp::{Datagram, Push, Received, Transmit, When, later};
use kengele::wire::tpdu::{from_hex, to_hex};
use kengele::wire::{lorawan, semtech_udp};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

const JOIN_EUI: &str = "70b3d57ed0000001";
const DEV_EUI: &str = "0004a30b001c0530";
const APP_KEY: &str = "2b7e151628aed2a6abf7158809cf4f3c";
const SF7: Modulation = Modulation::Lora { spreading_factor: 7, bandwidth_hz: 125_000 };
const HEARD: Heard =
    Heard { frequency_hz: 868_100_000, modulation: SF7, snr_db: Some(5.5), gateways: 1 };

/// The device: asked line by line.
pub(crate) struct Peer {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Peer {
    pub(crate) fn start() -> Self {
        let mut process = crate::peers::node()
            .arg("tests/peers/lorawan_device.js")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js starts");
        let stdin = process.stdin.take().expect("stdin is piped");
        let stdout = BufReader::new(process.stdout.take().expect("stdout is piped"));
        Self { process, stdin, stdout }
    }

    #[allow(clippy::needless_pass_by_value, reason = "requests are written where they are asked")]
    fn ask(&mut self, request: Value) -> Value {
        writeln!(self.stdin, "{request}").expect("the device reads");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the device writes");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{request} was answered by {line:?}"))
    }

    /// Lets it send.
    pub(crate) fn up(&mut self, counter: u32, payload: &[u8], more: &Value) -> Vec<u8> {
        let mut request =
            json!({"do": "up", "counter": counter, "port": 2, "payload": to_hex(payload)});
        for (name, value) in more.as_object().expect("an object") {
            request[name] = value.clone();
        }
        bytes(&self.ask(request)["phy"])
    }

    /// Lets it hear.
    pub(crate) fn down(&mut self, phy: &[u8], counter: u32) -> Value {
        self.ask(json!({"do": "down", "phy": to_hex(phy), "counter": counter}))
    }

    pub(crate) fn request(&mut self, dev_nonce: &str) -> Vec<u8> {
        let request = json!({"do": "request", "join_eui": JOIN_EUI, "dev_eui": DEV_EUI,
            "app_key": APP_KEY, "dev_nonce": dev_nonce});
        bytes(&self.ask(request)["phy"])
    }
}

impl Peer {
    /// Lets it hear the answer to its request.
    pub(crate) fn accept(&mut self, phy: &[u8]) -> Value {
        self.ask(json!({"do": "accept", "phy": to_hex(phy)}))
    }

    /// Returns a frame of a device that nobody knows.
    pub(crate) fn up_of_a_stranger(&mut self) -> Vec<u8> {
        self.ask(json!({"do": "abp", "dev_addr": "01020304", "nwk_s_key": APP_KEY, "app_s_key": APP_KEY}));
        self.up(0, b"hello", &json!({}))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn bytes(hex: &Value) -> Vec<u8> {
    from_hex(hex.as_str().expect("digits")).expect("pairs of digits")
}

fn key(hex: &str) -> Key {
    Key::new(from_hex(hex).unwrap().try_into().expect("16 bytes"))
}

fn network() -> Network {
    let mut network = Network::new(Plan::new(Region::Eu868));
    network.net_id = 1;
    network.rx1_delay_s = 3;
    network.channels_hz = vec![867_100_000, 867_300_000];
    network
}

fn joiner(version: Version) -> Device {
    let activation = Activation::Otaa {
        join_eui: Eui::from_hex(JOIN_EUI).unwrap(),
        dev_eui: Eui::from_hex(DEV_EUI).unwrap(),
        app_key: key(APP_KEY),
    };
    let counter_reset = CounterReset::Never;
    Device::new(Profile { version, activation, counter_reset, data_rate: None }, State::default())
}

fn join(device: &mut Device, phy: &[u8], address: u32) -> Result<lorawan::Reply, Refusal> {
    let Ok(Uplink::Join(request)) = parse(phy) else { panic!("no join request") };
    let joined = device.join(&request, &HEARD, &network(), DevAddr(address))?;
    device.commit(joined.state);
    Ok(joined.reply)
}

fn hear(device: &mut Device, phy: &[u8], order: &Order<'_>) -> Result<Accepted, Refusal> {
    let Ok(Uplink::Data(frame)) = parse(phy) else { panic!("no data frame") };
    let accepted = device.hear(&frame, &HEARD, &network(), order)?;
    device.commit(accepted.state.clone());
    Ok(accepted)
}

fn payload(bytes: &[u8]) -> Payload {
    Payload { port: 2, bytes: bytes.to_vec() }
}

#[test]
fn published_frames_are_verified_and_decrypted() {
    let file: Value = serde_json::from_str(include_str!("../vectors/lorawan.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let name = vector["name"].as_str().unwrap();
        let text = |field: &str| vector[field].as_str().unwrap();
        let phy = bytes(&vector["phy"]);
        let Ok(Uplink::Data(frame)) = parse(&phy) else { panic!("{name}") };
        assert_eq!(frame.dev_addr, DevAddr::from_hex(text("devAddr")).unwrap(), "{name}");
        assert_eq!(frame.port.map(u64::from), vector["fport"].as_u64(), "{name}");
        let counter = u32::try_from(vector["fcnt32"].as_u64().unwrap()).unwrap();
        let (nwk, app) = (key(text("nwkSKey")), key(text("appSKey")));
        assert!(frame.is_signed_by(&nwk, counter), "{name}");
        assert!(!frame.is_signed_by(&nwk, counter + 0x1_0000), "{name}");
        assert!(!frame.is_signed_by(&app, counter), "{name}");
        assert_eq!(frame.decrypted(&app, counter), bytes(&vector["payload"]), "{name}");
    }
}

#[test]
fn a_foreign_device_joins_sends_and_is_acknowledged() {
    let (mut peer, mut device) = (Peer::start(), joiner(Version::V1_0_3));
    for (round, nonce) in ["1a2b", "0007", "ffff"].into_iter().enumerate() {
        let request = peer.request(nonce);
        let reply =
            join(&mut device, &request, 0x0200_0000 + u32::try_from(round).unwrap()).unwrap();
        assert_eq!(reply.rx1.unwrap().delay, Duration::from_secs(5));
        let accept = peer.ask(json!({"do": "accept", "phy": to_hex(&reply.phy)}));
        let expected = json!({"valid": true, "join_nonce": format!("{:06x}", round + 1), "net_id": "000001",
            "dev_addr": format!("0200000{round}"), "dl_settings": 0, "rx_delay": 3,
            "channels": "184f84e8568400000000000000000000"});
        assert_eq!(accept, expected);
        assert_eq!(join(&mut device, &request, 1), Err(Refusal::DevNonceUsed));

        let report = peer.up(0, b"first", &json!({}));
        let accepted = hear(&mut device, &report, &Order::default()).unwrap();
        assert_eq!((accepted.payload, accepted.reply), (Some(payload(b"first")), None));

        let report = peer.up(1, b"second", &json!({"confirmed": true}));
        let reply = hear(&mut device, &report, &Order::default()).unwrap().reply.unwrap();
        assert_eq!(reply.rx1.unwrap().delay, Duration::from_secs(3));
        let heard = peer.down(&reply.phy, 0);
        assert_eq!((&heard["valid"], &heard["ack"]), (&json!(true), &json!(true)), "{heard}");
        assert_eq!(heard["type"], "Unconfirmed Data Down");

        let again = hear(&mut device, &report, &Order::default()).unwrap();
        assert_eq!((again.payload, again.repeated), (None, true));
        let heard = peer.down(&again.reply.unwrap().phy, 1);
        assert_eq!(
            (&heard["valid"], &heard["ack"], &heard["counter"]),
            (&json!(true), &json!(true), &json!(1))
        );
    }
}

#[test]
fn a_foreign_device_reads_our_orders_and_answers() {
    let (mut peer, mut device) = (Peer::start(), joiner(Version::V1_0_4));
    let reply = join(&mut device, &peer.request("0001"), 0x0200_0001).unwrap();
    peer.ask(json!({"do": "accept", "phy": to_hex(&reply.phy)}));
    let order = Order {
        payload: Some((10, b"siren on for 30 s")),
        confirmed: true,
        more: true,
        status_wanted: true,
        unix_ms: Some(1_767_225_600_250),
        ..Order::default()
    };
    // It asks how well it is heard, and for the time.
    let report = peer.up(0, b"level", &json!({"options": "020d", "confirmed": true}));
    let reply = hear(&mut device, &report, &order).unwrap().reply.unwrap();
    let heard = peer.down(&reply.phy, 0);
    // 2026-01-01 00:00:00.25 UTC is 1 451 260 818.25 s of GPS time; 5.5 dB is 13 dB above what SF7 needs.
    let time = to_hex(&1_451_260_818_u32.to_le_bytes()).to_lowercase();
    let expected = json!({"valid": true, "type": "Confirmed Data Down", "dev_addr": "02000001", "counter": 0,
        "ack": true, "pending": true, "adr": false, "port": 10, "options": format!("020d010d{time}4006"),
        "payload": to_hex(b"siren on for 30 s").to_lowercase()});
    assert_eq!(heard, expected);
    // It acknowledges, and says how its battery is: on port 0, where commands are encrypted.
    let answer = peer.up(1, &[0x06, 254, 10], &json!({"port": 0, "ack": true}));
    let accepted = hear(&mut device, &answer, &Order::default()).unwrap();
    assert_eq!((accepted.acknowledged, accepted.payload), (Some(true), None));
    let status =
        lorawan::MacAnswer::Status { battery: lorawan::Battery::Percent(100), margin_db: 10 };
    assert_eq!(accepted.answers, [status]);
}

#[test]
fn a_foreign_device_with_the_operators_keys_is_heard_beyond_sixteen_bits_of_counter() {
    let mut peer = Peer::start();
    let (nwk, app) = ("44024241ed4ce9a68c6a8bc055233fd3", "ec925802ae430ca77fd3dd73cb2cc588");
    peer.ask(json!({"do": "abp", "dev_addr": "26011bda", "nwk_s_key": nwk, "app_s_key": app}));
    let activation = Activation::Abp {
        dev_addr: DevAddr(0x2601_1BDA),
        nwk_s_key: key(nwk),
        app_s_key: key(app),
    };
    let profile = Profile {
        version: Version::V1_0_2,
        activation,
        counter_reset: CounterReset::Never,
        data_rate: None,
    };
    let mut device = Device::new(profile, State::default());
    let mut air = Vec::new();
    for counter in [
        0, 3, 16_000, 32_000, 48_000, 64_000, 65_535, 65_536, 65_537, 80_000, 96_000, 112_000,
        131_073,
    ] {
        let (text, confirmed) = (format!("report {counter}"), counter % 2 == 1);
        // Longer than a counter of 16 bits could be mistaken for, in either way.
        if counter == 131_073 {
            air.push(peer.up(120_000, b"lost", &json!({})));
        }
        let phy = peer.up(counter, text.as_bytes(), &json!({"confirmed": confirmed}));
        if counter == 131_073 {
            assert_eq!(hear(&mut device, &phy, &Order::default()), Err(Refusal::Gap));
            continue;
        }
        let accepted = hear(&mut device, &phy, &Order::default()).unwrap();
        assert_eq!((accepted.counter, accepted.payload), (counter, Some(payload(text.as_bytes()))));
        assert_eq!(accepted.reply.is_some(), confirmed);
        for old in &air {
            let again = hear(&mut device, old, &Order::default());
            assert!(
                matches!(again, Err(Refusal::Replay | Refusal::Mic | Refusal::Gap)),
                "{again:?}"
            );
        }
        air.push(phy);
    }
    assert_eq!(air.len(), 13);
}

/// From a forwarder's datagram to the device's ears, with everything between.
#[test]
fn a_frame_comes_by_datagram_and_its_acknowledgement_goes_back_by_datagram() {
    let (mut peer, mut device) = (Peer::start(), joiner(Version::V1_0_3));
    let reply = join(&mut device, &peer.request("0001"), 0x0200_0001).unwrap();
    peer.ask(json!({"do": "accept", "phy": to_hex(&reply.phy)}));
    let phy = peer.up(0, b"level", &json!({"confirmed": true}));
    let gateway = Eui(0xAA55_5A00_0000_0101);
    let received = Received {
        tmst: 4_294_000_000,
        time: None,
        frequency_hz: 868_100_000,
        rf_chain: Some(1),
        channel: Some(2),
        crc: semtech_udp::Crc::Good,
        modulation: SF7,
        coding_rate: Some("4/5".to_owned()),
        rssi_dbm: Some(-101.0),
        snr_db: Some(5.5),
        antennas: Vec::new(),
        phy,
    };
    let push = Push { received: vec![received], ..Push::default() };
    let datagram = Datagram::PushData { token: 7, gateway, push }.encode();
    let Ok(Datagram::PushData { push, .. }) = semtech_udp::parse(&datagram) else { panic!() };
    let heard = &push.received[0];
    let reply = hear(&mut device, &heard.phy, &Order::default()).unwrap().reply.unwrap();
    let window = reply.rx1.unwrap();
    let transmit = Transmit {
        when: When::At { tmst: later(heard.tmst, window.delay) },
        frequency_hz: window.frequency_hz,
        rf_chain: 0,
        power_dbm: 14,
        modulation: window.modulation,
        phy: reply.phy,
    };
    let datagram = Datagram::PullResp { token: 8, transmit }.encode();
    let Ok(Datagram::PullResp { transmit, .. }) = semtech_udp::parse(&datagram) else { panic!() };
    assert_eq!(transmit.when, When::At { tmst: 2_032_704 });
    let acknowledged = peer.down(&transmit.phy, 0);
    assert_eq!((&acknowledged["valid"], &acknowledged["ack"]), (&json!(true), &json!(true)));
}
