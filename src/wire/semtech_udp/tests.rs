#![allow(clippy::float_cmp, reason = "numbers come back as they were written")]

use super::*;
use crate::domain::time::Timestamp;
use crate::wire::lorawan::Modulation;
use proptest::prelude::*;

const GATEWAY: Eui = Eui(0xAA55_5A00_0000_0101);
const SF7: Modulation = Modulation::Lora { spreading_factor: 7, bandwidth_hz: 125_000 };

/// A `PUSH_DATA` of this JSON.
fn push(json: &str) -> Push {
    let mut bytes = vec![2, 0x12, 0x34, 0];
    bytes.extend(GATEWAY.0.to_be_bytes());
    bytes.extend(json.as_bytes());
    match parse(&bytes) {
        Ok(Datagram::PushData { token: 0x1234, gateway: GATEWAY, push }) => push,
        other => panic!("{other:?}"),
    }
}

/// An `rxpk` of these further fields.
fn packet(fields: &str) -> String {
    let base = r#""tmst":1,"freq":868.1,"modu":"LORA","datr":"SF7BW125""#;
    format!(r#"{{"rxpk":[{{{base},{fields}}}]}}"#)
}

fn fault(fields: &str) -> PacketError {
    push(&packet(fields)).faults.remove(0).error
}

#[test]
fn the_published_example_is_read() {
    // PROTOCOL.TXT §4 and §5. Its first packet's data is in URL-safe letters and without padding.
    let push = push(
        r#"{"rxpk":[
        {"time":"2013-03-31T16:21:17.528002Z","tmst":3512348611,"chan":2,"rfch":0,"freq":866.349812,"stat":1,
         "modu":"LORA","datr":"SF7BW125","codr":"4/6","rssi":-35,"lsnr":5.1,"size":32,
         "data":"-DS4CGaDCdG+48eJNM3Vai-zDpsR71Pn9CPA9uCON84"},
        {"time":"2013-03-31T16:21:17.530974Z","tmst":3512348514,"chan":9,"rfch":1,"freq":869.1,"stat":1,
         "modu":"FSK","datr":50000,"rssi":-75,"size":16,"data":"VEVTVF9QQUNLRVRfMTIzNA=="}],
        "stat":{"time":"2014-01-12 08:59:28 GMT","lati":46.24,"long":3.2523,"alti":145,"rxnb":2,"rxok":2,"rxfw":2,
         "ackr":100.0,"dwnb":2,"txnb":2}}"#,
    );
    assert_eq!(push.faults, []);
    let [lora, fsk] = &push.received[..] else { panic!("{push:?}") };
    assert_eq!((lora.tmst, lora.frequency_hz, lora.modulation), (3_512_348_611, 866_349_812, SF7));
    assert_eq!((lora.rssi_dbm, lora.snr_db, lora.crc), (Some(-35.0), Some(5.1), Crc::Good));
    assert_eq!((lora.phy.len(), &lora.phy[..3]), (32, &[0xF8, 0x34, 0xB8][..]));
    assert_eq!(fsk.modulation, Modulation::Fsk { bit_rate: 50_000 });
    assert_eq!((fsk.phy.as_slice(), fsk.snr_db), (&b"TEST_PACKET_1234"[..], None));
    let status = push.status.unwrap();
    assert_eq!((status.latitude, status.altitude_m), (Some(46.24), Some(145.0)));
    assert_eq!((status.received_ok, status.acknowledged_percent), (Some(2), Some(100.0)));
    assert_eq!(status.temperature_c, None);
}

#[test]
fn a_bad_packet_costs_itself_and_not_its_neighbours() {
    let push = push(
        r#"{"rxpk":[{"tmst":1},
        {"tmst":2,"freq":868.1,"stat":-1,"modu":"LORA","datr":"SF12BW125","size":2,"data":"AAE="}, 7]}"#,
    );
    assert_eq!((push.received[0].tmst, push.received[0].crc), (2, Crc::Bad));
    let faults: Vec<_> = push.faults.iter().map(|f| (f.index, f.error.clone())).collect();
    assert_eq!(faults, [(0, PacketError::Field("freq")), (2, PacketError::NoObject)]);
}

#[test]
fn what_cannot_be_is_said_by_its_reason() {
    assert_eq!(fault(r#""size":3,"data":"AAE""#), PacketError::Size { said: 3, found: 2 });
    assert_eq!(fault(r#""data":"A!E=""#), PacketError::Base64);
    assert_eq!(fault(r#""stat":4,"data":"AAE=""#), PacketError::Field("stat"));
    assert_eq!(fault(r#""datr":"SF13BW125","data":"AAE=""#), PacketError::Modulation);
    assert_eq!(fault(r#""datr":50000,"data":"AAE=""#), PacketError::Modulation);
    assert_eq!(fault(r#""modu":"LR_FHSS","data":"AAE=""#), PacketError::Modulation);
    assert_eq!(fault(r#""freq":-1,"data":"AAE=""#), PacketError::Field("freq"));
    assert_eq!(fault(r#""tmst":4294967296,"data":"AAE=""#), PacketError::Field("tmst"));
    assert_eq!(fault(&format!(r#""data":"{}""#, "A".repeat(400))), PacketError::TooLong);
    let many = format!(r#"{{"rxpk":[{}0]}}"#, "0,".repeat(100));
    assert_eq!(push(&many).faults.last().unwrap().error, PacketError::TooMany);
}

#[test]
fn the_best_antenna_speaks_for_a_packet() {
    let push = push(&packet(
        r#""data":"AAE","rsig":[{"ant":0,"rssic":-90,"lsnr":-3.5},{"ant":1,"rssic":-95,"lsnr":4}]"#,
    ));
    let received = &push.received[0];
    assert_eq!((received.rssi_dbm, received.snr_db), (Some(-95.0), Some(4.0)));
    assert_eq!((received.antennas.len(), received.crc), (2, Crc::Absent));
}

#[test]
fn an_acknowledgement_of_a_downlink_says_what_became_of_it() {
    let outcome = |json: &str| {
        let mut bytes = vec![2, 0, 9, 5];
        bytes.extend(GATEWAY.0.to_be_bytes());
        bytes.extend(json.as_bytes());
        let Datagram::TxAck { outcome, token: 9, .. } = parse(&bytes).unwrap() else { panic!() };
        outcome
    };
    assert_eq!(outcome(""), TxOutcome::Programmed);
    assert_eq!(outcome(r#"{"txpk_ack":{"error":"NONE"}}"#), TxOutcome::Programmed);
    assert_eq!(outcome(r#"{"txpk_ack":{"warn":"TX_POWER","value":20}}"#), TxOutcome::PowerLowered);
    let late = r#"{"txpk_ack":{"error":"TOO_LATE"}}"#;
    assert_eq!(outcome(late), TxOutcome::Refused(TxError::TooLate));
    let new = r#"{"txpk_ack":{"error":"SOMETHING_NEW"}}"#;
    assert_eq!(outcome(new), TxOutcome::Refused(TxError::Other));
}

#[test]
fn a_downlink_is_written_as_forwarders_expect_it() {
    let transmit = Transmit {
        when: When::At { tmst: later(4_294_000_000, Duration::from_secs(1)) },
        frequency_hz: 869_525_000,
        rf_chain: 0,
        power_dbm: 14,
        modulation: Modulation::Lora { spreading_factor: 12, bandwidth_hz: 125_000 },
        phy: vec![0x60, 1, 2],
    };
    let bytes = Datagram::PullResp { token: 0x0102, transmit }.encode();
    assert_eq!(bytes[..4], [2, 1, 2, 3]);
    let json: Value = serde_json::from_slice(&bytes[4..]).unwrap();
    let expected = json!({"txpk": {"imme": false, "tmst": 32_704, "freq": 869.525, "rfch": 0, "powe": 14,
        "modu": "LORA", "datr": "SF12BW125", "codr": "4/5", "ipol": true, "ncrc": true, "size": 3, "data": "YAEC"}});
    assert_eq!(json, expected);
}

#[test]
fn the_counter_of_a_forwarder_goes_around() {
    assert_eq!(later(u32::MAX, Duration::from_micros(1)), 0);
    assert_eq!(later(u32::MAX - 999_999, Duration::from_secs(2)), 1_000_000);
    assert_eq!(later(7, Duration::from_micros(1 << 32)), 7);
}

#[test]
fn short_and_foreign_datagrams_are_refused() {
    assert!(matches!(parse(&[2, 0, 0]), Err(DatagramError::TooShort)));
    assert!(matches!(parse(&[2, 0, 0, 2, 1, 2]), Err(DatagramError::TooShort)));
    assert!(matches!(parse(&[1, 0, 0, 1]), Err(DatagramError::Version(1))));
    assert!(matches!(parse(&[2, 0, 0, 6]), Err(DatagramError::Kind(6))));
    assert!(matches!(parse(b"\x02\0\0\x03[]"), Err(DatagramError::Json(_))));
    assert!(matches!(parse(b"\x02\0\0\x03{}"), Err(DatagramError::NoPacket)));
    assert!(matches!(parse(&[2, 5, 6, 4]), Ok(Datagram::PullAck { token: 0x0506 })));
}

fn heard(phy: u8, snr_db: f64, rssi_dbm: f64) -> Received {
    let json = format!(
        r#""data":"{}","lsnr":{snr_db:?},"rssi":{rssi_dbm:?}"#,
        ["AAE=", "AgM=", "BAU="][usize::from(phy)]
    );
    push(&packet(&json)).received.remove(0)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn copies(capacity: usize) -> Copies {
    Copies::new(Duration::from_millis(200), Duration::from_millis(1500), capacity)
}

#[test]
fn a_packet_that_several_forwarders_hear_counts_once_and_goes_back_the_best_way() {
    let mut copies = copies(8);
    assert_eq!(copies.add(Eui(1), heard(0, -2.0, -100.0), at(0)), Added::First);
    assert_eq!(copies.add(Eui(2), heard(0, 7.0, -90.0), at(50)), Added::Copy);
    assert_eq!(copies.add(Eui(3), heard(0, 7.0, -95.0), at(60)), Added::Copy);
    assert_eq!(copies.add(Eui(2), heard(0, 1.0, -90.0), at(70)), Added::Copy);
    assert_eq!(copies.add(Eui(1), heard(1, 0.0, -90.0), at(80)), Added::First);
    assert_eq!(copies.next_deadline(), Some(at(200)));
    assert_eq!(copies.due(at(199)), []);
    let due = copies.due(at(200));
    assert_eq!((due.len(), due[0].gateways, due[0].best.gateway), (1, 3, Eui(2)));
    assert_eq!(copies.next_deadline(), Some(at(280)));
    assert_eq!(copies.add(Eui(4), heard(0, 9.0, -80.0), at(900)), Added::Copy);
    assert_eq!(copies.due(at(900)).len(), 1);
    assert_eq!(copies.due(at(5000)), []);
}

#[test]
fn a_repetition_by_the_device_is_no_copy() {
    let mut copies = copies(8);
    copies.add(Eui(1), heard(0, 0.0, -90.0), at(0));
    assert_eq!(copies.due(at(300)).len(), 1);
    assert_eq!(copies.add(Eui(1), heard(0, 0.0, -90.0), at(2100)), Added::First);
}

#[test]
fn what_waits_is_bounded_and_what_came_out_makes_room() {
    let mut copies = copies(2);
    copies.add(Eui(1), heard(0, 0.0, -90.0), at(0));
    copies.add(Eui(1), heard(1, 0.0, -90.0), at(100));
    assert_eq!(copies.add(Eui(1), heard(2, 0.0, -90.0), at(110)), Added::Full);
    assert_eq!(copies.due(at(200)).len(), 1);
    assert_eq!(copies.add(Eui(1), heard(2, 0.0, -90.0), at(210)), Added::First);
    assert_eq!(copies.due(at(1000)).len(), 2);
}

fn modulations() -> impl Strategy<Value = Modulation> {
    prop_oneof![
        (5_u8..=12, prop_oneof![Just(125_000_u32), Just(250_000), Just(500_000)]).prop_map(
            |(spreading_factor, bandwidth_hz)| Modulation::Lora { spreading_factor, bandwidth_hz }
        ),
        (1_u32..300_000).prop_map(|bit_rate| Modulation::Fsk { bit_rate }),
    ]
}

fn received() -> impl Strategy<Value = Received> {
    let radio = (any::<u32>(), 1_u32..4_000_000_000, modulations());
    let quality = (
        prop_oneof![Just(Crc::Good), Just(Crc::Bad), Just(Crc::Absent)],
        prop::option::of((-1400_i32..0).prop_map(|tenths| f64::from(tenths) / 10.0)),
        prop::option::of((-250_i32..150).prop_map(|tenths| f64::from(tenths) / 10.0)),
    );
    (radio, quality, prop::collection::vec(any::<u8>(), 0..=255)).prop_map(
        |((tmst, frequency_hz, modulation), (crc, rssi_dbm, snr_db), phy)| Received {
            tmst,
            time: Some("2026-01-01T00:00:00Z".to_owned()),
            frequency_hz,
            rf_chain: Some(1),
            channel: None,
            crc,
            modulation,
            coding_rate: Some("4/5".to_owned()),
            rssi_dbm,
            snr_db,
            antennas: Vec::new(),
            phy,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        token in any::<u16>(), gateway in any::<u64>(),
        received in prop::collection::vec(received(), 0..4),
        (tmst, power_dbm) in (prop::option::of(any::<u32>()), any::<i8>()),
    ) {
        let gateway = Eui(gateway);
        let mut datagrams = vec![
            Datagram::PushAck { token },
            Datagram::PullData { token, gateway },
            Datagram::PullAck { token },
            Datagram::TxAck { token, gateway, outcome: TxOutcome::Programmed },
            Datagram::TxAck { token, gateway, outcome: TxOutcome::PowerLowered },
        ];
        datagrams.extend(TX_ERRORS.into_iter().map(|(_, error)| Datagram::TxAck {
            token, gateway, outcome: TxOutcome::Refused(error),
        }));
        if let Some(heard) = received.first() {
            let when = tmst.map_or(When::Immediately, |tmst| When::At { tmst });
            let transmit = Transmit {
                when, power_dbm, rf_chain: 0, frequency_hz: heard.frequency_hz,
                modulation: heard.modulation, phy: heard.phy.clone(),
            };
            datagrams.push(Datagram::PullResp { token, transmit });
        }
        let status = Some(Status { received: Some(3), ..Status::default() });
        let push = Push { received, faults: Vec::new(), status };
        datagrams.push(Datagram::PushData { token, gateway, push });
        for datagram in datagrams {
            prop_assert_eq!(parse(&datagram.encode()).unwrap(), datagram);
        }
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u8..7) {
        drop(parse(&bytes));
        let mut shaped = vec![2, 0, 0, kind];
        shaped.extend(&bytes);
        drop(parse(&shaped));
    }

    #[test]
    fn hostile_fields_never_panic(name in "tmst|freq|stat|modu|datr|rssi|lsnr|rsig|size|data|rxpk|stat",
        value in r#"-?[0-9]{1,25}(\.[0-9]{1,3})?(e[0-9]{1,2})?|"[A-Za-z0-9+/=_-]{0,40}"|null|\[\]|\{\}|\[\{\}\]|true"#) {
        let field = format!(r#""{name}":{value}"#);
        let mut bytes = vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(packet(&field).into_bytes());
        drop(parse(&bytes));
        let mut bytes = vec![2, 0, 0, 3];
        bytes.extend(format!(r#"{{"txpk":{{"freq":868.1,"datr":"SF7BW125",{field}}}}}"#).into_bytes());
        drop(parse(&bytes));
    }
}
