use super::*;
use crate::wire::batch::{Link, Sealed};

/// The example of `docs/formats/uplink.md`, which the other implementation wrote.
const EXAMPLE: &str = "12072903380c39633165356230613737643201000d6d746f2d6a75752d666c6f6f640005666c6f6f\
    640005626f6e64650100076d746f2d6a75750201000411083745eb450c010001cf7c5cd20d009231\
    07070b80e0e2f7390063020102011961e37bfbf441";

fn example() -> (Packet<Up>, Alert) {
    let level =
        Signal { node: NodeIndex(2), quantity: Quantity::WaterLevel, function: Function::Last };
    let rules = RuleBook {
        version: "9c1e5b0a77d2".to_owned(),
        nodes: vec![a_node("chini"), a_node("kati"), a_node("mto-juu")],
        rules: vec![a_rule("mto-juu-flood", "flood", "bonde", vec![a_leaf(level)])],
    };
    let book = Book::of(&rules).unwrap();
    let sent = Timestamp::from_millis(7_776_001_234);
    let alert = Alert {
        warning: WarningId(12),
        number: 1,
        message_type: MessageType::Alert,
        reason: Reason::Raised,
        level: Level::Danger,
        level_max: Level::Danger,
        hazard: "flood".to_owned(),
        area: "bonde".to_owned(),
        rule: "mto-juu-flood".to_owned(),
        rule_version: "9c1e5b0a77d2".to_owned(),
        sent,
        expires: sent + Duration::from_hours(6),
        observed: vec![Observed { signal: level, value: 3.93 }],
    };
    let at = Timestamp::from_millis(7_776_000_000);
    let items = vec![
        Up::Book(book.clone()),
        Up::Alert(ShortAlert::of(&alert, Some(&book))),
        Up::Ended(Ended { warning: WarningId(11), at, ending: Ending::Cleared }),
        Up::Other(Other { kind: 99, bytes: vec![1, 2] }),
    ];
    (Packet { gateway: GatewayNumber(7), number: 41, items }, alert)
}

#[test]
fn the_example_of_the_page_is_written_and_read_to_the_last_byte() {
    let (packet, alert) = example();
    let bytes = seal_up(&packet, &key(0), Tag::Short).unwrap();
    assert_eq!(hex(&bytes), EXAMPLE);
    let page = include_str!("../../../../docs/formats/uplink.md");
    let example = page.split("## An example").nth(1).unwrap();
    let lines = example.lines().filter(|line| line.len() > 47);
    let digits = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.get(..47));
    let digits: Vec<u8> = from_hex(&digits.collect::<String>());
    assert_eq!(hex(&digits), EXAMPLE, "the page says otherwise");
    let read = open_up(&bytes, |gateway| (gateway.0 == 7).then(|| key(0))).unwrap();
    assert_eq!(read, packet);
    let (Up::Book(book), Up::Alert(short)) = (&read.items[0], &read.items[1]) else {
        panic!("{read:?}");
    };
    assert_eq!(book.id().to_string(), "3745eb45");
    assert_eq!(short.expand(Some(book)), Ok(alert));
    assert_eq!(Mark::of(&bytes).map(|mark| hex(&mark.0)).as_deref(), Some("011961e37bfbf441"));
    assert_eq!(gateway_of(&bytes), Some(GatewayNumber(7)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_a_gateway_says_comes_back(packet in packet(up()), short: bool) {
        let tag = if short { Tag::Short } else { Tag::Long };
        let bytes = seal_up(&packet, &key(1), tag).unwrap();
        let read = open_up(&bytes, |gateway| (gateway == packet.gateway).then(|| key(1))).unwrap();
        prop_assert_eq!(told(&read.items), told(&packet.items));
        prop_assert_eq!((read.gateway, read.number), (packet.gateway, packet.number));
        prop_assert_eq!(gateway_of(&bytes), Some(packet.gateway));
        let sizes = packet.items.iter().map(|item| item.to_bytes().unwrap().len());
        prop_assert!(bytes.len() <= sizes.sum::<usize>() + OVERHEAD_BYTES_MAX);
        for item in &packet.items {
            let again = Up::from_bytes(&item.to_bytes().unwrap()).unwrap();
            prop_assert_eq!(told(&[again]), told(std::slice::from_ref(item)));
        }
    }

    #[test]
    fn whatever_a_hub_says_comes_back(packet in packet(down()), short: bool) {
        let tag = if short { Tag::Short } else { Tag::Long };
        let bytes = seal_down(&packet, &key(1), tag).unwrap();
        for item in &packet.items {
            prop_assert_eq!(Down::from_bytes(&item.to_bytes().unwrap()), Ok(item.clone()));
        }
        prop_assert_eq!(open_down(&bytes, &key(1)), Ok(packet));
    }
}

#[test]
fn only_the_gateways_own_key_opens_a_packet() {
    let (packet, _) = example();
    let bytes = seal_up(&packet, &key(0), Tag::Long).unwrap();
    assert_eq!(open_up(&bytes, |_| Some(key(1))), Err(DecodeError::Tag));
    assert_eq!(open_up(&bytes, |_| None), Err(DecodeError::Gateway(GatewayNumber(7))));
    assert_eq!(open_down(&bytes, &key(0)), Err(DecodeError::Direction));
    let word = Packet { gateway: GatewayNumber(7), number: 1, items: vec![Down::Suspended] };
    let answer = seal_down(&word, &key(0), Tag::Long).unwrap();
    assert_eq!(open_down(&answer, &key(1)), Err(DecodeError::Tag));
    assert_eq!(open_up(&answer, |_| Some(key(0))), Err(DecodeError::Direction));
    // The direction is under the tag: a packet that is sent back is none.
    let mut turned = bytes.clone();
    turned[0] ^= 1;
    assert_eq!(open_down(&turned, &key(0)), Err(DecodeError::Tag));
}

#[test]
fn no_bit_of_a_packet_can_be_changed() {
    for tag in [Tag::Long, Tag::Short] {
        let bytes = seal_up(&example().0, &key(0), tag).unwrap();
        for place in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[place / 8] ^= 1 << (place % 8);
            assert!(open_up(&forged, |_| Some(key(0))).is_err(), "{tag:?}, bit {place}");
        }
        for length in 0..bytes.len() {
            assert!(open_up(&bytes[..length], |_| Some(key(0))).is_err(), "{length} bytes");
        }
        let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
        assert_eq!(open_up(&longer, |_| Some(key(0))), Err(DecodeError::Tag));
    }
}

#[test]
fn two_packets_of_one_number_have_two_marks() {
    let (mut packet, _) = example();
    let first = seal_up(&packet, &key(0), Tag::Long).unwrap();
    assert_eq!(seal_up(&packet, &key(0), Tag::Long).as_ref(), Ok(&first), "the same again");
    packet.items.pop();
    let second = seal_up(&packet, &key(0), Tag::Long).unwrap();
    assert_ne!(Mark::of(&first), Mark::of(&second));
    assert_eq!(Mark::of(&first[..16]), None);
    assert_eq!(Mark::of(b"<html>"), None);
}

#[test]
fn a_later_versions_words_are_passed_over_and_counted() {
    let longer = [2, 5, 1, 0, 0, 1, 77];
    let boot = Boot { boot: 1, ..boot() };
    assert_eq!(Up::from_bytes(&longer), Ok(Up::Boot(boot)), "fields at the end are left alone");
    let (strange, cut) = ([8, 4, 0, 0, 60, 0], [2, 2, 1, 0]);
    let items = vec![
        Up::Other(Other { kind: 4_000, bytes: vec![7; 300] }),
        Up::from_bytes(&strange).unwrap(),
        Up::from_bytes(&cut).unwrap(),
        Up::Boot(boot),
    ];
    let other = |kind, bytes: &[u8]| Up::Other(Other { kind, bytes: bytes.to_vec() });
    assert_eq!(items[1], other(8, &strange[2..]), "a quantity that is not known");
    assert_eq!(items[2], other(2, &cut[2..]), "an item that is cut short");
    let packet = Packet { gateway: GatewayNumber(1), number: 2, items };
    let bytes = seal_up(&packet, &key(0), Tag::Long).unwrap();
    assert_eq!(open_up(&bytes, |_| Some(key(0))), Ok(packet));
}

fn boot() -> Boot {
    Boot {
        boot: 0,
        at: Timestamp::default(),
        clock: WallClock { offset_ms: 0, quality: ClockQuality::Estimated },
    }
}

#[test]
fn what_is_too_much_is_said_on_both_sides() {
    let full = |items: Vec<Up>| Packet { gateway: GatewayNumber(1), number: 2, items };
    let sealed = |items| seal_up(&full(items), &key(0), Tag::Long);
    let many = vec![Up::Boot(boot()); ITEMS_MAX + 1];
    assert_eq!(sealed(many.clone()), Err(EncodeError::Items(ITEMS_MAX + 1)));
    assert!(sealed(many[1..].to_vec()).is_ok());
    let block = |length| {
        vec![Up::Block(Block {
            chain: 1,
            number: u64::MAX,
            previous: [0; 8],
            bytes: vec![0; length],
        })]
    };
    let most = sealed(block(BLOCK_BYTES_MAX)).unwrap();
    assert!(open_up(&most, |_| Some(key(0))).is_ok());
    assert!(matches!(sealed(block(PACKET_BYTES_MAX)), Err(EncodeError::Packet(_))));
    let too_long = vec![0x10; PACKET_BYTES_MAX + 1];
    let refused = Err(DecodeError::TooLong(PACKET_BYTES_MAX + 1));
    assert_eq!(open_up(&too_long, |_| panic!("asked for a key")), refused);
    let mut forged = vec![0x10, 1, 2];
    forged.extend([5, 0].repeat(ITEMS_MAX + 1));
    let tag = key(0).tag(&forged);
    forged.extend(&tag[..16]);
    assert_eq!(open_up(&forged, |_| Some(key(0))), Err(DecodeError::Items));
}

#[test]
fn a_block_is_known_by_its_place_and_its_bytes() {
    let sealed = Sealed { bytes: vec![0x20, 0], previous: Link([7; 32]), link: Link([8; 32]) };
    let block = Block::new(3, 4, &sealed);
    assert!(block.follows(&sealed.previous) && !block.follows(&sealed.link));
    // sha256sum of the same bytes, its first 32 digits: see docs/formats/uplink.md.
    assert_eq!(block.id().to_string(), "a2e3400b8bcbaf76865e1c16c8ee9c85");
    for other in [
        Block { chain: 4, ..block.clone() },
        Block { number: 5, ..block.clone() },
        Block { previous: [8; 8], ..block.clone() },
        Block { bytes: vec![0x20, 1], ..block.clone() },
    ] {
        assert_ne!(other.id(), block.id(), "{other:?}");
    }
}

#[test]
fn a_key_is_never_shown() {
    assert_eq!(format!("{:?}", key(0x41)), "Key(..)");
}
