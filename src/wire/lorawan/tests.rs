use super::key::{Course, Direction};
use super::*;
use proptest::prelude::*;
use std::time::Duration;

const NWK: Key = Key::new([0x11; 16]);
const APP: Key = Key::new([0x22; 16]);
const ROOT: Key = Key::new([0x33; 16]);
const ADDRESS: DevAddr = DevAddr(0x2601_1BDA);
const JOIN_EUI: Eui = Eui(0x70B3_D57E_D000_0001);
const DEV_EUI: Eui = Eui(0x0004_A30B_001C_0530);
const SF9: Modulation = Modulation::Lora { spreading_factor: 9, bandwidth_hz: 125_000 };

/// What a device says; the rest is as in most frames.
#[derive(Clone, Copy)]
struct Says<'a> {
    confirmed: bool,
    control: u8,
    options: &'a [u8],
    port: u8,
    payload: &'a [u8],
}

const REPORT: Says<'_> =
    Says { confirmed: false, control: 0, options: &[], port: 2, payload: b"level" };
const CONFIRMED: Says<'_> = Says { confirmed: true, ..REPORT };

/// A device's frame with these keys.
fn signed(says: Says<'_>, counter: u32, nwk: &Key, app: &Key) -> Vec<u8> {
    let course = Course { direction: Direction::Up, dev_addr: ADDRESS, counter };
    let mut phy = vec![if says.confirmed { 0x80 } else { 0x40 }];
    phy.extend(ADDRESS.0.to_le_bytes());
    phy.push(says.control | u8::try_from(says.options.len()).unwrap());
    phy.extend(&counter.to_le_bytes()[..2]);
    phy.extend(says.options);
    phy.push(says.port);
    let mut payload = says.payload.to_vec();
    if says.port == 0 { nwk } else { app }.crypt(course, &mut payload);
    phy.extend(payload);
    phy.extend(nwk.data_mic(course, &phy));
    phy
}

fn frame(says: Says<'_>, counter: u32) -> Vec<u8> {
    signed(says, counter, &NWK, &APP)
}

fn profile(version: Version, counter_reset: CounterReset) -> Profile {
    let (nwk_s_key, app_s_key) = (NWK, APP);
    let activation = Activation::Abp { dev_addr: ADDRESS, nwk_s_key, app_s_key };
    Profile { version, activation, counter_reset, data_rate: None }
}

fn device() -> Device {
    Device::new(profile(Version::V1_0_3, CounterReset::Never), State::default())
}

fn joiner(version: Version) -> Device {
    let activation = Activation::Otaa { join_eui: JOIN_EUI, dev_eui: DEV_EUI, app_key: ROOT };
    let profile =
        Profile { version, activation, counter_reset: CounterReset::Never, data_rate: None };
    Device::new(profile, State::default())
}

fn network() -> Network {
    Network::new(Plan::new(Region::Eu868))
}

fn heard() -> Heard {
    Heard { frequency_hz: 868_300_000, modulation: SF9, snr_db: Some(-2.0), gateways: 2 }
}

fn data(phy: &[u8]) -> DataUp<'_> {
    match parse(phy) {
        Ok(Uplink::Data(data)) => data,
        other => panic!("{other:?}"),
    }
}

/// Lets a device judge a frame, and commits what follows.
fn hear_with(
    device: &mut Device,
    phy: &[u8],
    network: &Network,
    order: &Order<'_>,
) -> Result<Accepted, Refusal> {
    let before = device.clone();
    let result = device.hear(&data(phy), &heard(), network, order);
    assert_eq!(*device, before, "judging changes nothing");
    if let Ok(accepted) = &result {
        device.commit(accepted.state.clone());
    }
    result
}

fn hear(device: &mut Device, phy: &[u8]) -> Result<Accepted, Refusal> {
    hear_with(device, phy, &network(), &Order::default())
}

/// Control octet, options and payload of a downlink, after its signature was verified with this counter.
fn opened(reply: &Reply, counter: u32) -> (u8, Vec<u8>, Vec<u8>) {
    let course = Course { direction: Direction::Down, dev_addr: ADDRESS, counter };
    let (signed, mic) = reply.phy.split_last_chunk::<4>().unwrap();
    assert!(NWK.verifies_data(course, signed, *mic), "signature of downlink {counter}");
    let options = usize::from(signed[5] & 15);
    let mut payload = signed.get(9 + options..).unwrap_or(&[]).to_vec();
    APP.crypt(course, &mut payload);
    (signed[5], signed[8..8 + options].to_vec(), payload)
}

fn request(nonce: u16) -> Vec<u8> {
    let mut phy = vec![0];
    phy.extend(JOIN_EUI.0.to_le_bytes());
    phy.extend(DEV_EUI.0.to_le_bytes());
    phy.extend(nonce.to_le_bytes());
    phy.extend(ROOT.join_mic(&phy));
    phy
}

fn join(device: &mut Device, phy: &[u8]) -> Result<Joined, Refusal> {
    let Ok(Uplink::Join(request)) = parse(phy) else { panic!("no request") };
    let joined = device.join(&request, &heard(), &network(), ADDRESS)?;
    device.commit(joined.state.clone());
    Ok(joined)
}

#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?} {:?}", device(), joiner(Version::V1_0_3));
    assert!(shown.contains("Key(..)"));
    assert!(!shown.contains("17, 17") && !shown.contains("51, 51") && !shown.contains("1111"));
}

#[test]
fn a_report_is_read_and_needs_no_answer() {
    let accepted = hear(&mut device(), &frame(REPORT, 7)).unwrap();
    assert_eq!(accepted.payload, Some(Payload { port: 2, bytes: b"level".to_vec() }));
    assert_eq!((accepted.counter, accepted.reply, accepted.left), (7, None, None));
}

#[test]
fn a_confirmed_report_is_acknowledged_in_two_windows() {
    let accepted = hear(&mut device(), &frame(CONFIRMED, 0)).unwrap();
    let reply = accepted.reply.unwrap();
    assert_eq!(opened(&reply, 0), (0x20, vec![], vec![]));
    let sf12 = Modulation::Lora { spreading_factor: 12, bandwidth_hz: 125_000 };
    let window = |s, frequency_hz, modulation| {
        Some(Window { delay: Duration::from_secs(s), frequency_hz, modulation })
    };
    assert_eq!(reply.rx1, window(1, 868_300_000, SF9));
    assert_eq!(reply.rx2, window(2, 869_525_000, sf12));
}

#[test]
fn a_repeated_confirmed_report_gets_its_acknowledgement_again_and_counts_once() {
    let mut device = device();
    let phy = frame(CONFIRMED, 4);
    assert!(hear(&mut device, &phy).unwrap().payload.is_some());
    for counter in 1..15 {
        let again = hear(&mut device, &phy).unwrap();
        assert!(again.repeated && again.payload.is_none());
        assert_eq!(opened(&again.reply.unwrap(), counter).0, 0x20);
    }
    assert_eq!(hear(&mut device, &phy), Err(Refusal::Repeated));
    assert!(hear(&mut device, &frame(REPORT, 5)).is_ok());
    assert_eq!(hear(&mut device, &frame(REPORT, 5)), Err(Refusal::Repeated));
    assert_eq!(hear(&mut device, &phy), Err(Refusal::Replay));
}

#[test]
fn another_frame_with_the_last_counter_is_not_taken_for_a_copy() {
    let mut device = device();
    hear(&mut device, &frame(CONFIRMED, 0)).unwrap();
    let other = frame(Says { payload: b"other", ..CONFIRMED }, 0);
    assert_eq!(hear(&mut device, &other), Err(Refusal::Replay));
}

#[test]
fn counters_go_on_over_sixteen_bits() {
    for version in [Version::V1_0_2, Version::V1_0_4] {
        let mut device = Device::new(profile(version, CounterReset::Never), State::default());
        for counter in [65_000, 65_535, 65_536, 70_000, 80_000] {
            let accepted = hear(&mut device, &frame(REPORT, counter)).unwrap();
            assert_eq!(accepted.counter, counter);
        }
        assert_eq!(hear(&mut device, &frame(REPORT, 70_000)), Err(Refusal::Replay));
        assert_eq!(hear(&mut device, &frame(REPORT, 65_535)), Err(Refusal::Replay));
    }
}

#[test]
fn a_jump_of_the_counter_is_refused_where_the_specification_says_so() {
    for (version, expected) in [
        (Version::V1_0_2, Err(Refusal::Gap)),
        (Version::V1_0_3, Err(Refusal::Gap)),
        (Version::V1_0_4, Ok(16_394)),
    ] {
        let mut device = Device::new(profile(version, CounterReset::Never), State::default());
        hear(&mut device, &frame(REPORT, 10)).unwrap();
        let found =
            device.hear(&data(&frame(REPORT, 16_394)), &heard(), &network(), &Order::default());
        assert_eq!(found.map(|accepted| accepted.counter), expected, "{version:?}");
        assert_eq!(hear(&mut device, &frame(REPORT, 16_393)).unwrap().counter, 16_393);
    }
}

#[test]
fn a_counter_begins_again_only_with_the_operators_leave() {
    for (leave, expected) in [
        (CounterReset::Never, [false, false]),
        (CounterReset::Once, [true, false]),
        (CounterReset::Always, [true, true]),
    ] {
        let mut device = Device::new(profile(Version::V1_0_2, leave), State::default());
        for expected in expected {
            hear(&mut device, &frame(REPORT, 500)).unwrap();
            assert_eq!(hear(&mut device, &frame(REPORT, 64)), Err(Refusal::Replay));
            let found = hear(&mut device, &frame(CONFIRMED, 3));
            assert_eq!(found.is_ok_and(|accepted| accepted.counter_reset), expected, "{leave:?}");
            if !expected {
                hear(&mut device, &frame(REPORT, 501)).unwrap();
                break;
            }
        }
        let once_more = device.allow_reset_again();
        device.commit(once_more);
        let found = hear(&mut device, &frame(REPORT, 1)).is_ok_and(|a| a.counter_reset);
        assert_eq!(found, leave != CounterReset::Never, "{leave:?}");
    }
}

#[test]
fn devices_of_one_address_are_told_apart_by_their_signature() {
    let mut other = profile(Version::V1_0_3, CounterReset::Never);
    let (nwk_s_key, app_s_key) = (ROOT, APP);
    other.activation = Activation::Abp { dev_addr: ADDRESS, nwk_s_key, app_s_key };
    let (mine, theirs) = (device(), Device::new(other, State::default()));
    let phy = frame(REPORT, 1);
    assert!(mine.recognises(&data(&phy)) && !theirs.recognises(&data(&phy)));
    assert_eq!(mine.addresses().collect::<Vec<_>>(), [ADDRESS]);
}

#[test]
fn questions_of_a_device_are_answered() {
    let says = Says { options: &[0x02, 0x0D, 0x06, 200, 5], ..REPORT };
    let order = Order { unix_ms: Some(1_483_228_818_000), ..Order::default() };
    let accepted = hear_with(&mut device(), &frame(says, 1), &network(), &order).unwrap();
    let (_, options, _) = opened(&accepted.reply.unwrap(), 0);
    // -2.0 dB is 10.5 dB above what SF9 needs.
    assert_eq!(options[..4], [0x02, 10, 2, 0x0D]);
    assert_eq!(
        accepted.answers,
        [MacAnswer::Status { battery: Battery::Percent(78), margin_db: 5 }]
    );
    let unset = hear(&mut device(), &frame(says, 1)).unwrap();
    assert_eq!(opened(&unset.reply.unwrap(), 0).1, [0x02, 10, 2]);
    let on_port_0 = Says { port: 0, payload: &[0x02], ..REPORT };
    let accepted = hear(&mut device(), &frame(on_port_0, 1)).unwrap();
    assert_eq!(accepted.payload, None);
    assert_eq!(opened(&accepted.reply.unwrap(), 0).1, [0x02, 10, 2]);
}

#[test]
fn a_device_that_asks_whether_it_is_heard_gets_a_downlink() {
    let asks = Says { control: 0xC0, ..REPORT };
    let accepted = hear(&mut device(), &frame(asks, 1)).unwrap();
    assert_eq!(opened(&accepted.reply.unwrap(), 0), (0, vec![], vec![]));
}

#[test]
fn a_fixed_data_rate_is_asked_for_until_the_device_answers() {
    let mut profile = profile(Version::V1_0_3, CounterReset::Never);
    profile.data_rate = Some(5);
    let mut device = Device::new(profile, State::default());
    assert_eq!(hear(&mut device, &frame(REPORT, 1)).unwrap().reply, None, "ADR is off");
    let adr = Says { control: 0x80, ..REPORT };
    for counter in 2..4 {
        let accepted = hear(&mut device, &frame(adr, counter)).unwrap();
        let (control, options, _) = opened(&accepted.reply.unwrap(), counter - 2);
        assert_eq!((control, &options[..]), (0x85, &[0x03, 0x50, 0xFF, 0xFF, 0x61][..]));
    }
    let answers = Says { options: &[0x03, 0x07], ..adr };
    assert_eq!(hear(&mut device, &frame(answers, 4)).unwrap().reply, None);
    assert_eq!(hear(&mut device, &frame(adr, 5)).unwrap().reply, None);
}

#[test]
fn in_us915_a_device_is_told_its_sub_band_as_one_block() {
    let mut network = Network::new(Plan::new(Region::Us915));
    network.sub_band = Some(1);
    let phy = frame(Says { control: 0x80, ..REPORT }, 1);
    let heard = Heard { frequency_hz: 903_900_000, ..heard() };
    let accepted = device().hear(&data(&phy), &heard, &network, &Order::default()).unwrap();
    let reply = accepted.reply.unwrap();
    let expected = [0x03, 0x10, 0x02, 0x00, 0x71, 0x03, 0x10, 0x00, 0xFF, 0x01];
    assert_eq!(opened(&reply, 0).1, expected);
    assert_eq!(reply.rx1.unwrap().frequency_hz, 923_300_000);
}

#[test]
fn an_order_goes_out_with_the_next_frame_and_its_acknowledgement_is_noticed() {
    let mut device = device();
    let order =
        Order { payload: Some((9, b"siren")), confirmed: true, more: true, ..Order::default() };
    let accepted = hear_with(&mut device, &frame(REPORT, 1), &network(), &order).unwrap();
    let reply = accepted.reply.unwrap();
    assert_eq!(reply.phy[0], 0xA0);
    assert_eq!(opened(&reply, 0), (0x10, vec![], b"siren".to_vec()));
    assert_eq!(accepted.acknowledged, None);
    assert_eq!(hear(&mut device, &frame(REPORT, 2)).unwrap().acknowledged, Some(false));
    hear_with(&mut device, &frame(REPORT, 3), &network(), &order).unwrap();
    let acknowledges = frame(Says { control: 0x20, ..REPORT }, 4);
    assert_eq!(hear(&mut device, &acknowledges).unwrap().acknowledged, Some(true));
    assert_eq!(hear(&mut device, &frame(REPORT, 5)).unwrap().acknowledged, None);
}

#[test]
fn a_device_that_always_listens_is_sent_to_on_its_second_channel_with_a_counter_of_its_own() {
    let mut device = device();
    let order = Order { payload: Some((9, b"siren")), confirmed: true, ..Order::default() };
    for counter in 0..2 {
        let (state, phy, window) = device.send(&network(), &order).unwrap();
        let slowest = Modulation::Lora { spreading_factor: 12, bandwidth_hz: 125_000 };
        assert_eq!((window.frequency_hz, window.modulation), (869_525_000, slowest));
        let reply = Reply { phy, rx1: None, rx2: Some(window) };
        assert_eq!(opened(&reply, counter), (0, vec![], b"siren".to_vec()));
        device.commit(state);
    }
    let acknowledges = frame(Says { control: 0x20, ..REPORT }, 1);
    assert_eq!(hear(&mut device, &acknowledges).unwrap().acknowledged, Some(true));
    let long = Order { payload: Some((9, &[7; 52])), ..Order::default() };
    assert_eq!(device.send(&network(), &long), Err(Left::TooLong { bytes_max: 51 }));
    let stranger = joiner(Version::V1_0_4);
    assert_eq!(stranger.send(&network(), &order), Err(Left::NoSession));
}

#[test]
fn while_nothing_can_be_stored_an_order_goes_out_and_no_acknowledgement_does() {
    let acknowledgement = Acknowledgement::Withheld;
    let plain = Order { acknowledgement, ..Order::default() };
    let order = Order { payload: Some((9, b"siren")), ..plain };
    let hear = |order: &Order<'_>| {
        hear_with(&mut device(), &frame(CONFIRMED, 1), &network(), order).unwrap().reply
    };
    assert_eq!(hear(&plain), None);
    assert_eq!(opened(&hear(&order).unwrap(), 0), (0, vec![], b"siren".to_vec()));
}

#[test]
fn what_does_not_fit_says_so_and_takes_only_windows_with_room() {
    let order = |payload| Order { payload: Some((9, payload)), ..Order::default() };
    let send = |payload, options| {
        let phy = frame(Says { options, ..REPORT }, 1);
        hear_with(&mut device(), &phy, &network(), &order(payload)).unwrap()
    };
    // Room: 115 bytes at SF9 in the first window, 51 at SF12 in the second.
    let long = send(&[7; 100], &[]);
    assert!(long.left.is_none() && long.reply.is_some_and(|r| r.rx1.is_some() && r.rx2.is_none()));
    let too_long = send(&[7; 116], &[]);
    assert_eq!((too_long.reply, too_long.left), (None, Some(Left::TooLong { bytes_max: 115 })));
    let crowded = send(&[7; 115], &[0x02]);
    assert_eq!(crowded.left, Some(Left::CommandsFirst));
    assert_eq!(opened(&crowded.reply.unwrap(), 0), (0x13, vec![2, 10, 2], vec![]));
    let reserved = Order { payload: Some((0, &[1])), ..Order::default() };
    let refused = hear_with(&mut device(), &frame(REPORT, 1), &network(), &reserved).unwrap();
    assert_eq!((refused.reply, refused.left), (None, Some(Left::Port)));
}

#[test]
fn an_old_join_request_and_a_foreign_one_are_refused() {
    for version in [Version::V1_0_2, Version::V1_0_4] {
        let mut device = joiner(version);
        join(&mut device, &request(100)).unwrap();
        assert_eq!(join(&mut device, &request(100)), Err(Refusal::DevNonceUsed));
        let lower = join(&mut device, &request(99)).map(drop);
        let expected = if version == Version::V1_0_4 { Err(Refusal::DevNonceUsed) } else { Ok(()) };
        assert_eq!(lower, expected);
        let mut foreign = request(101);
        foreign[1] ^= 1;
        assert_eq!(join(&mut device, &foreign), Err(Refusal::ForeignJoinEui));
        foreign[9] ^= 1;
        assert_eq!(join(&mut device, &foreign), Err(Refusal::ForeignDevEui));
        let mut forged = request(101);
        forged[17] ^= 1;
        assert_eq!(join(&mut device, &forged), Err(Refusal::Mic));
        assert!(join(&mut device, &request(101)).is_ok());
    }
    let phy = request(1);
    assert_eq!(join(&mut device(), &phy), Err(Refusal::NeverJoins));
}

#[test]
fn nonces_are_remembered_up_to_a_bound() {
    let mut device = joiner(Version::V1_0_2);
    for nonce in 0..300 {
        join(&mut device, &request(nonce)).unwrap();
    }
    assert_eq!(device.state().dev_nonces.len(), NONCES_MAX);
    assert_eq!(device.state().join_nonce, 300);
    assert_eq!(join(&mut device, &request(44)), Err(Refusal::DevNonceUsed));
}

/// The keys of the session that was offered last.
fn offered(device: &Device) -> (Key, Key) {
    let session = device.state().offered.as_ref().unwrap();
    (session.nwk_s_key.clone(), session.app_s_key.clone())
}

#[test]
fn the_old_session_counts_until_a_frame_of_the_new_one_comes() {
    let mut device = joiner(Version::V1_0_3);
    let unjoined = device.hear(&data(&frame(REPORT, 0)), &heard(), &network(), &Order::default());
    assert_eq!(unjoined, Err(Refusal::ForeignDevAddr));
    join(&mut device, &request(1)).unwrap();
    let (nwk, app) = offered(&device);
    assert_eq!(hear(&mut device, &signed(REPORT, 0, &nwk, &app)).unwrap().counter, 0);
    join(&mut device, &request(2)).unwrap();
    let (new_nwk, new_app) = offered(&device);
    assert!(nwk != new_nwk && app != new_app && new_nwk != new_app);
    assert!(hear(&mut device, &signed(REPORT, 1, &nwk, &app)).is_ok());
    let first = hear(&mut device, &signed(REPORT, 0, &new_nwk, &new_app)).unwrap();
    assert_eq!(first.payload.unwrap().bytes, b"level");
    assert_eq!(hear(&mut device, &signed(REPORT, 2, &nwk, &app)), Err(Refusal::Mic));
    assert!(hear(&mut device, &signed(REPORT, 1, &new_nwk, &new_app)).is_ok());
    let again = hear(&mut device, &signed(REPORT, 0, &new_nwk, &new_app));
    assert_eq!(again, Err(Refusal::Replay), "what was offered is offered no more");
}

#[test]
fn join_windows_come_later_and_channels_are_told_where_they_fit() {
    let mut network = network();
    network.channels_hz = vec![867_100_000, 867_300_000];
    let device = joiner(Version::V1_0_3);
    let phy = request(1);
    let Ok(Uplink::Join(request)) = parse(&phy) else { panic!() };
    let reply = device.join(&request, &heard(), &network, ADDRESS).unwrap().reply;
    assert_eq!(reply.phy.len(), 33);
    let delays = [reply.rx1, reply.rx2].map(|window| window.unwrap().delay.as_secs());
    assert_eq!(delays, [5, 6]);
    // With 400 ms of dwell time at SF10 there is room for the short one only.
    network.plan = Plan::new(Region::As923_1);
    let sf10 = Modulation::Lora { spreading_factor: 10, bandwidth_hz: 125_000 };
    let slow = Heard { frequency_hz: 923_200_000, modulation: sf10, ..heard() };
    let reply = device.join(&request, &slow, &network, ADDRESS).unwrap().reply;
    assert_eq!((reply.phy.len(), reply.rx1.is_some(), reply.rx2.is_some()), (17, true, true));
}

#[test]
fn what_is_no_uplink_is_refused_by_its_reason() {
    let good = frame(REPORT, 1);
    let changed = |at: usize, octet| {
        let mut phy = good.clone();
        phy[at] = octet;
        parse(&phy).unwrap_err()
    };
    assert_eq!(parse(&good[..11]), Err(FrameError::TooShort));
    assert_eq!(parse(&[0; 256]), Err(FrameError::TooLong));
    assert_eq!(changed(0, 0x41), FrameError::MajorVersion);
    assert_eq!(changed(0, 0x60), FrameError::MessageType(3));
    assert_eq!(changed(0, 0xE0), FrameError::MessageType(7));
    assert_eq!(changed(5, 0x0F), FrameError::TooShort);
    assert_eq!(parse(&request(1)[..22]), Err(FrameError::TooShort));
    let twice = frame(Says { options: &[2], port: 0, ..REPORT }, 1);
    assert_eq!(parse(&twice), Err(FrameError::CommandsTwice));
}

/// The gateway lives on after a backup, answers, and lets the device join; then it is put back.
#[test]
fn after_a_rollback_no_counter_and_no_nonce_is_used_again() {
    let mut device = device();
    let acknowledge = |device: &mut Device, counter| {
        let used = device.state().session.as_ref().unwrap().down_next;
        let reply = hear(device, &frame(CONFIRMED, counter)).unwrap().reply.unwrap();
        opened(&reply, used);
        used
    };
    acknowledge(&mut device, 1);
    let backup = device.state().clone();
    let used: Vec<u32> = (2..500).map(|counter| acknowledge(&mut device, counter)).collect();
    let present = device.state().clone();
    device.commit(backup.after_rollback(8192));
    let counter = acknowledge(&mut device, 500);
    assert!(counter > *used.last().unwrap() && counter < u32::from(device::GAP_MAX), "{counter}");
    // Of the present state and the older one, no counter of either.
    let older = device.state().clone();
    device.commit(present.further(&older));
    assert!(acknowledge(&mut device, 501) > counter);
    assert_eq!(hear(&mut device, &frame(REPORT, 499)), Err(Refusal::Replay));

    let mut device = joiner(Version::V1_0_3);
    join(&mut device, &request(1)).unwrap();
    let backup = device.state().clone();
    (2..300).for_each(|nonce| drop(join(&mut device, &request(nonce)).unwrap()));
    let highest = device.state().join_nonce;
    device.commit(backup.after_rollback(8192));
    join(&mut device, &request(300)).unwrap();
    assert!(device.state().join_nonce > highest);
    let last = State { join_nonce: 0x00FF_FFFF, ..State::default() };
    device.commit(last.after_rollback(8192));
    assert_eq!(join(&mut device, &request(301)), Err(Refusal::JoinNoncesExhausted));
}

/// A device has joined a gateway that began without the backup.
#[test]
fn the_session_that_works_outlives_a_restore() {
    let mut device = joiner(Version::V1_0_3);
    join(&mut device, &request(1)).unwrap();
    let (nwk, app) = offered(&device);
    hear(&mut device, &signed(REPORT, 0, &nwk, &app)).unwrap();
    let backup = device.state().clone().after_rollback(8192);
    device.commit(State::default());
    join(&mut device, &request(2)).unwrap();
    let offered_only = device.state().clone();
    let (new_nwk, new_app) = offered(&device);
    hear(&mut device, &signed(REPORT, 0, &new_nwk, &new_app)).unwrap();
    let present = device.state().clone();
    device.commit(present.further(&backup));
    assert!(hear(&mut device, &signed(REPORT, 1, &new_nwk, &new_app)).is_ok());
    assert!(device.state().join_nonce > 65_536, "none of either is given again");
    assert_eq!(join(&mut device, &request(1)), Err(Refusal::DevNonceUsed));
    // Of which nothing was heard: either may be the device's.
    device.commit(offered_only.further(&backup));
    assert!(hear(&mut device, &signed(REPORT, 1, &nwk, &app)).is_ok());
    device.commit(offered_only.further(&backup));
    assert!(hear(&mut device, &signed(REPORT, 0, &new_nwk, &new_app)).is_ok());
}

#[test]
fn a_session_without_counters_left_sends_nothing() {
    let mut device = device();
    let mut state = device.state().clone();
    state.session.as_mut().unwrap().down_next = u32::MAX;
    device.commit(state);
    let order = Order { payload: Some((9, b"x")), ..Order::default() };
    let accepted = hear_with(&mut device, &frame(CONFIRMED, 1), &network(), &order).unwrap();
    assert_eq!((accepted.reply, accepted.left), (None, Some(Left::CounterExhausted)));
}

#[test]
fn the_last_counter_of_all_is_heard_and_no_more() {
    let mut device = device();
    let mut state = device.state().clone();
    let last = state::Last { counter: u32::MAX - 1, mic: [0; 4], repeats: 0 };
    state.session.as_mut().unwrap().last = Some(last);
    device.commit(state);
    assert_eq!(hear(&mut device, &frame(REPORT, u32::MAX)).unwrap().counter, u32::MAX);
    assert_eq!(hear(&mut device, &frame(REPORT, 0)), Err(Refusal::Mic));
    assert_eq!(hear(&mut device, &frame(REPORT, u32::MAX - 5)), Err(Refusal::Replay));
}

/// Sends a frame again. It counts only if it was lost on its way and is newer than all that were read.
fn replay(device: &mut Device, phy: &[u8], read: &[u32]) -> Option<u32> {
    let accepted = hear(device, phy).ok()?;
    if accepted.payload.is_none() {
        assert!(accepted.repeated && accepted.answers.is_empty());
        return None;
    }
    assert!(read.last().is_none_or(|last| accepted.counter > *last));
    Some(accepted.counter)
}

proptest! {
    #[test]
    fn what_a_device_sends_is_read(
        counter in 0_u32..65_536, confirmed: bool, port in 1_u8..,
        options in prop::collection::vec(any::<u8>(), 0..=15),
        payload in prop::collection::vec(any::<u8>(), 0..=220),
    ) {
        let says = Says { confirmed, control: 0, options: &options, port, payload: &payload };
        let accepted = hear(&mut device(), &frame(says, counter)).unwrap();
        prop_assert_eq!(accepted.counter, counter);
        prop_assert_eq!(accepted.payload, Some(Payload { port, bytes: payload }));
    }

    #[test]
    fn a_flipped_bit_is_refused(
        counter in 0_u32..65_536, bit in 0_usize..8 * 22,
    ) {
        let mut phy = frame(CONFIRMED, counter);
        prop_assume!(bit / 8 < phy.len());
        phy[bit / 8] ^= 1 << (bit % 8);
        if let Ok(Uplink::Data(data)) = parse(&phy) {
            let result = device().hear(&data, &heard(), &network(), &Order::default());
            prop_assert!(matches!(result, Err(Refusal::Mic | Refusal::ForeignDevAddr)));
        }
        let mut phy = request(5);
        let bit = bit % (8 * phy.len());
        phy[bit / 8] ^= 1 << (bit % 8);
        if let Ok(Uplink::Join(join)) = parse(&phy) {
            let device = joiner(Version::V1_0_4);
            prop_assert!(device.join(&join, &heard(), &network(), ADDRESS).is_err());
        }
    }

    #[test]
    fn hostile_bytes_never_panic(phy in prop::collection::vec(any::<u8>(), 0..300), kind in 0_u8..8) {
        let mut phy = phy;
        if let Some(first) = phy.first_mut() {
            *first = kind << 5;
        }
        match parse(&phy) {
            Ok(Uplink::Data(frame)) => {
                drop(device().hear(&frame, &heard(), &network(), &Order::default()));
            }
            Ok(Uplink::Join(join)) => {
                drop(joiner(Version::V1_0_2).join(&join, &heard(), &network(), ADDRESS));
            }
            Err(_) => {}
        }
        drop(State::from_bytes(&phy));
    }

    /// A device sends, loses and repeats frames; an attacker sends whatever was on the air again, in any order. The
    /// gateway restarts at any time. Each report counts once, and none but the device's own.
    #[test]
    fn an_attacker_who_replays_everything_gets_nothing(
        begin in 60_000_u32..66_000,
        steps in prop::collection::vec((1_u32..250, any::<prop::sample::Index>(), 0_u8..8), 1..60),
    ) {
        let mut device = device();
        let mut state = device.state().clone();
        let last = state::Last { counter: begin, mic: [0; 4], repeats: 0 };
        state.session.as_mut().unwrap().last = Some(last);
        device.commit(state);
        let (mut counter, mut air, mut read) = (begin, Vec::new(), Vec::new());
        for (step, index, what) in steps {
            counter += step;
            let mut payload = counter.to_be_bytes().to_vec();
            payload.push(what);
            let phy = frame(Says { confirmed: what < 4, payload: &payload, ..REPORT }, counter);
            air.push(phy.clone());
            if what != 0 {
                let accepted = hear(&mut device, &phy).unwrap();
                prop_assert_eq!(accepted.payload.unwrap().bytes, payload);
                read.push(counter);
            }
            let old: &Vec<u8> = index.get(&air);
            read.extend(replay(&mut device, old, &read));
            let stored = device.state().to_bytes();
            let restored = State::from_bytes(&stored).unwrap();
            prop_assert_eq!(&restored, device.state());
            device = Device::new(device.profile.clone(), restored);
        }
        for phy in air.iter().chain(&air) {
            read.extend(replay(&mut device, phy, &read));
        }
        prop_assert!(read.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_stored_state_is_that_which_was_stored(nonces in prop::collection::vec(any::<u16>(), 0..40), used: bool) {
        let mut device = joiner(Version::V1_0_2);
        for nonce in nonces {
            drop(join(&mut device, &request(nonce)));
            if nonce % 3 == 0 && device.state().offered.is_some() {
                let (nwk, app) = offered(&device);
                hear(&mut device, &signed(CONFIRMED, u32::from(nonce), &nwk, &app)).unwrap();
            }
        }
        let state = State { reset_used: used, ..device.state().clone() };
        let bytes = state.to_bytes();
        prop_assert_eq!(State::from_bytes(&bytes), Ok(state));
        prop_assert_eq!(State::from_bytes(&bytes[..5]), Err(StateError::Damaged));
        let mut newer = bytes;
        newer[0] = 9;
        prop_assert_eq!(State::from_bytes(&newer), Err(StateError::Format(9)));
    }
}
