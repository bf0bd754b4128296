use super::*;
use crate::wire::gsm7::{Alphabet, Language};
use proptest::prelude::*;
use std::time::Duration;

fn octets(hex: &str) -> Vec<u8> {
    from_hex(hex).expect("the test writes hexadecimal pairs")
}

fn without_smsc(hex: &str) -> (Option<Address>, Vec<u8>) {
    let pdu = octets(hex);
    let (smsc, tpdu) = split_smsc(&pdu).expect("the test has a service centre field");
    (smsc, tpdu.to_vec())
}

fn number(text: &str) -> Address {
    Address::parse(text).expect("the test writes an address")
}

// Public examples, as used in the tests of ATLib (MIT), read alike by smspdudecoder 2.2.0.
const DELIVER_HELLO: &str =
    "07917238010010F5040B917238880900F10000993092516195800AE8329BFD4697D9EC37";
const DELIVER_HOW: &str =
    "07911326040000F0040B911346610089F60000208062917314800CC8F71D14969741F977FD07";
const DELIVER_WIDE: &str = "069174290021104009D0D4323B1D06000042218091255540A0060804E2C30401D6327BFD6EB7CB6E103DCD06BDE7F31048589E33D6207A999D0EBBDCEFD7FAEDA687DD7479F90C32BFE5A00768FD6EB7CBA034E81C769F41ED3219B47EBBE961377DFD96D3CB7410394DA7BB40D2F2393DA7CBCBF2B4FB3C87CBDFF3F27C5E7683D0613948CC4ED3E9A0B29B2C2FD341EF33A8FD00B91FA0B39A212FCF41F007885E66A7C3";
const DELIVER_NARROW: &str = "06917429002120440A916425068179000042219011816540A0050003020301986F79B90D4AC3E7F53688FC66BFE5A0799A0E0AB7CB741668FC76CFCB637A995E9783C2E4343C3D4F8FD3EE33A8CC4ED359A079990C22BF41E5747DDE7E9341F4721BFE9683D2EE719A9C26D7DD74509D0E6287C56F791954A683C86FF65B5E06B5C36777181466A7E3F5B0AB4A0795DDE936284C06B5D3EE741B642FBBD3E1360B14AFA7E7";
const REPORT: &str = "07911326040000F006D60B911326880736F4111011719551401110117195714000";

/// Reads a DELIVER, checks that writing it gives the same octets, and returns it.
fn deliver(hex: &str) -> Deliver {
    let (_, tpdu) = without_smsc(hex);
    let deliver = Deliver::decode(&tpdu).expect("the vector is a DELIVER");
    assert_eq!(to_hex(&deliver.encode()), to_hex(&tpdu));
    deliver
}

#[test]
fn a_message_is_read_with_sender_text_and_time() {
    let message = deliver(DELIVER_HELLO);
    assert_eq!(message.from.as_str(), "+27838890001");
    assert_eq!(message.data.to_text().as_deref(), Some("hellohello"));
    // 2099-03-29T15:16:59+02:00
    let sent = message.sent.expect("the vector has a time");
    assert_eq!((sent.unix_seconds(), sent.zone_quarters()), (4_078_473_419, 8));
    assert!(!message.more_to_come);

    let message = deliver(DELIVER_HOW);
    assert_eq!(message.from.as_str(), "+31641600986");
    assert_eq!(message.data.to_text().as_deref(), Some("How are you?"));
    // 2002-08-26T19:37:41+02:00
    assert_eq!(message.sent.map(ServiceTime::unix_seconds), Some(1_030_383_461));
}

#[test]
fn a_segment_keeps_its_first_character_with_a_reference_of_8_and_of_16_bits() {
    let wide = deliver(DELIVER_WIDE);
    assert_eq!((wide.from.as_str(), wide.from.kind()), ("Telia", AddressKind::Alphanumeric));
    assert_eq!(
        wide.data.concat(),
        Some(Concat { reference: Reference::Wide(58051), total: 4, part: 1 })
    );
    assert_eq!(
        wide.data.to_text().as_deref(),
        Some(
            "Velkommen til oss! Besøk telia.no/kontantreg for å komme i gang med kontantkortet ditt. \
             Registreringsprosessen har blitt endret og må nå gjøres på telia"
        )
    );
    let narrow = deliver(DELIVER_NARROW);
    assert_eq!(narrow.from.as_str(), "+4652601897");
    assert_eq!(
        narrow.data.concat(),
        Some(Concat { reference: Reference::Narrow(2), total: 3, part: 1 })
    );
    assert_eq!(
        narrow.data.to_text().as_deref(),
        Some(
            "Lorem ipsum dolor sit amet, consectetur adipisicing elit, sed do eiusmod tempor incididunt \
             ut labore et dolore magna aliqua.Ut enim ad minim veniam, quis"
        )
    );
}

#[test]
fn a_status_report_is_read_with_both_times() {
    let (smsc, tpdu) = without_smsc(REPORT);
    assert_eq!(smsc, Some(number("+31624000000")));
    let report = StatusReport::decode(&tpdu).unwrap();
    assert_eq!((report.reference, report.to.as_str()), (214, "+31628870634"));
    // 2011-01-11T17:59:15+01:00, and two seconds later.
    assert_eq!(report.submitted.map(ServiceTime::unix_seconds), Some(1_294_765_155));
    assert_eq!(report.discharged.map(ServiceTime::unix_seconds), Some(1_294_765_157));
    assert_eq!(report.status.outcome(), Outcome::Delivered);
    assert_eq!(report.encode(), tpdu);
    assert_eq!(Incoming::decode(&tpdu), Ok(Incoming::StatusReport(report.clone())));
    let (none, same) = without_smsc("0006D60B911326880736F4111011719551401110117195714000");
    assert_eq!((none, StatusReport::decode(&same)), (None, Ok(report)));
    assert_eq!(to_hex(&with_smsc(smsc.as_ref(), &tpdu)), REPORT);
}

#[test]
fn a_report_s_optional_parameters_are_skipped() {
    let (_, mut tpdu) = without_smsc(REPORT);
    tpdu.extend(octets("0700000548656C6C6F"));
    assert_eq!(StatusReport::decode(&tpdu).map(|report| report.reference), Ok(214));
}

#[test]
fn another_kind_of_message_is_refused_by_name() {
    let (_, report) = without_smsc(REPORT);
    assert_eq!(Submit::decode(&report), Err(Error::Type { found: 2, wanted: "a SUBMIT" }));
    assert_eq!(Deliver::decode(&report), Err(Error::Type { found: 2, wanted: "a DELIVER" }));
    let (_, message) = without_smsc(DELIVER_HELLO);
    assert!(StatusReport::decode(&message).is_err());
}

#[test]
fn a_reserved_type_is_read_as_a_message() {
    let (_, mut tpdu) = without_smsc(DELIVER_HELLO);
    tpdu[0] |= 0b11;
    assert!(matches!(Incoming::decode(&tpdu), Ok(Incoming::Deliver(_))));
}

#[test]
fn a_time_stamp_that_names_no_moment_does_not_lose_the_message() {
    let (_, mut tpdu) = without_smsc(DELIVER_HELLO);
    for stamp in [[0_u8; 7], [0xFF; 7], octets("52200321436500").try_into().unwrap()] {
        // 2025-02-30 is no day.
        tpdu[11..18].copy_from_slice(&stamp);
        let message = Deliver::decode(&tpdu).unwrap();
        assert_eq!(message.sent, None);
        assert_eq!(message.data.to_text().as_deref(), Some("hellohello"));
    }
}

#[test]
fn a_plain_submission_has_the_octets_of_other_tools() {
    let mut submit = Submit::new(number("+254700123456"), UserData::text("hello").unwrap());
    // python-messaging and python-gsmmodem-new give the same but for TP-SRR.
    assert_eq!(
        to_hex(&with_smsc(None, &submit.encode())),
        "0001000C91527400214365000005E8329BFD06"
    );
    submit.receipt_wanted = true;
    assert_eq!(to_hex(&submit.encode()), "21000C91527400214365000005E8329BFD06");
}

#[test]
fn a_class_gives_the_customary_coding_schemes() {
    let coding = |text: &str, class| {
        let mut submit = Submit::new(number("+254700123456"), UserData::text(text).unwrap());
        submit.class = class;
        submit.encode()[11]
    };
    assert_eq!(coding("siren", None), 0x00);
    assert_eq!(coding("siren", Some(Class::Flash)), 0x10);
    assert_eq!(coding("ሳይረን", None), 0x08);
    assert_eq!(coding("ሳይረን", Some(Class::Flash)), 0x18);
}

#[test]
fn coding_schemes_of_all_groups_are_read() {
    let read = |dcs: u8| {
        let (_, mut tpdu) = without_smsc("00040B917238880900F10000993092516195800400410042");
        tpdu[10] = dcs;
        let message = Deliver::decode(&tpdu).unwrap();
        let kind = match message.data.body() {
            Body::Gsm7(_) => "gsm7",
            Body::Octets(_) => "octets",
            Body::Ucs2(_) => "ucs2",
        };
        (kind, message.class)
    };
    assert_eq!(read(0x00), ("gsm7", None));
    assert_eq!(read(0x04), ("octets", None));
    assert_eq!(read(0x08), ("ucs2", None));
    assert_eq!(read(0x0C), ("gsm7", None));
    assert_eq!(read(0x11), ("gsm7", Some(Class::Telephone)));
    assert_eq!(read(0x18), ("ucs2", Some(Class::Flash)));
    assert_eq!(read(0x20), ("octets", None), "compressed");
    assert_eq!(read(0x48), ("ucs2", None), "deleted when read");
    assert_eq!(read(0x5A), ("ucs2", Some(Class::Sim)));
    assert_eq!(read(0x80), ("gsm7", None), "reserved");
    assert_eq!(read(0xC8), ("gsm7", None), "message waiting");
    assert_eq!(read(0xE0), ("ucs2", None), "message waiting, UCS-2");
    assert_eq!(read(0xF0), ("gsm7", Some(Class::Flash)));
    assert_eq!(read(0xF4), ("octets", Some(Class::Flash)));
    assert_eq!(read(0xF7), ("octets", Some(Class::Equipment)));
}

#[test]
fn emoji_travel_as_surrogate_pairs() {
    let data = UserData::text("Flood 🌊 now").unwrap();
    let submit = Submit::new(number("+254700123456"), data);
    let tpdu = submit.encode();
    assert!(to_hex(&tpdu).contains("D83CDF0A"));
    assert_eq!(Submit::decode(&tpdu).unwrap().data.to_text().as_deref(), Some("Flood 🌊 now"));
}

#[test]
fn a_single_message_holds_160_septets_or_70_units_and_no_more() {
    assert!(UserData::text(&"x".repeat(160)).is_ok());
    assert_eq!(UserData::text(&"x".repeat(161)), Err(Error::TooLong { octets: 141 }));
    assert!(UserData::text(&"€".repeat(80)).is_ok());
    assert!(UserData::text(&"я".repeat(70)).is_ok());
    assert_eq!(UserData::text(&"я".repeat(71)), Err(Error::TooLong { octets: 142 }));
}

#[test]
fn national_tables_are_named_in_the_header() {
    let alphabet = Alphabet { locking: Some(Language::Hindi), single: Some(Language::Hindi) };
    let text = "बाढ़ का पानी, ऊपर।";
    let header =
        vec![Element::SingleShift(Language::Hindi), Element::LockingShift(Language::Hindi)];
    let data = UserData::new(header, Body::Gsm7(alphabet.encode(text).unwrap())).unwrap();
    let tpdu = Submit::new(number("+9779800000000"), data).encode();
    assert!(to_hex(&tpdu).contains("06240106250106"));
    let read = Submit::decode(&tpdu).unwrap();
    assert_eq!(read.data.alphabet(), alphabet);
    assert_eq!(read.data.to_text().as_deref(), Some(text));
}

#[test]
fn elements_that_make_no_sense_are_kept_and_mean_nothing() {
    // Part 3 of 2, a concatenation of two octets, language 99, an unknown element, a torn one; then "AB".
    let user_data = octets("1400030702030002020124016370010A7105FFFFFF4142");
    assert_eq!(usize::from(user_data[0]) + 3, user_data.len());
    let mut tpdu = octets("400B917238880900F10004");
    tpdu.extend([0; 7]);
    tpdu.push(u8::try_from(user_data.len()).unwrap());
    tpdu.extend(&user_data);
    let message = Deliver::decode(&tpdu).unwrap();
    assert_eq!(message.data.concat(), None);
    assert_eq!(message.data.alphabet(), Alphabet::DEFAULT);
    let ids: Vec<u8> = message
        .data
        .header()
        .iter()
        .filter_map(|element| match element {
            Element::Other { id, .. } => Some(*id),
            Element::Concat(_) | Element::SingleShift(_) | Element::LockingShift(_) => None,
        })
        .collect();
    assert_eq!(ids, [0x00, 0x00, 0x24, 0x70]);
    assert_eq!(message.data.body(), &Body::Octets(b"AB".to_vec()));
}

#[test]
fn the_last_of_two_concatenations_counts() {
    let place = |part| Concat { reference: Reference::Narrow(9), total: 3, part };
    let header = vec![Element::Concat(place(1)), Element::Concat(place(2))];
    let data = UserData::new(header, Body::Gsm7(vec![0x41])).unwrap();
    assert_eq!(data.concat(), Some(place(2)));
}

#[test]
fn addresses_are_numbers_short_codes_or_names() {
    assert_eq!(number("+254700123456").kind(), AddressKind::International);
    assert_eq!(number("40404").kind(), AddressKind::Local);
    assert_eq!(number("*100#").kind(), AddressKind::Local);
    assert_eq!(number("MMoney").kind(), AddressKind::Alphanumeric);
    assert_eq!(number("Design@Home").as_str(), "Design@Home");
    for wrong in ["", "+", "+25470 0123", "+25470a", "254-700", "TwelveLetter", "Ünï🌊", " "] {
        assert_eq!(Address::parse(wrong), Err(Error::Address), "{wrong}");
    }
    assert!(Address::parse(&"1".repeat(20)).is_ok());
    assert!(Address::parse(&"1".repeat(21)).is_err());
}

#[test]
fn a_name_s_length_counts_semi_octets() {
    // Examples of smspdudecoder 2.2.0.
    for (name, hex) in [("MMoney", "0BD0CDE6DB5DCE03"), ("Design@Home", "14D0C4F23C7D760390EF7619")]
    {
        let message = Deliver {
            from: number(name),
            protocol: 0,
            class: None,
            sent: None,
            more_to_come: false,
            receipt_wanted: false,
            reply_path: false,
            data: UserData::text("x").unwrap(),
        };
        let tpdu = message.encode();
        assert!(to_hex(&tpdu).starts_with(&format!("04{hex}")));
        assert_eq!(Deliver::decode(&tpdu), Ok(message));
    }
}

#[test]
fn numbers_and_texts_do_not_show_in_debug_output() {
    let submit = Submit::new(number("+254700123456"), UserData::text("secret").unwrap());
    let shown = format!("{submit:?}");
    assert!(!shown.contains("254700") && !shown.contains("secret"), "{shown}");
}

#[test]
fn validity_is_rounded_down_and_never_below_five_minutes() {
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let hours = |n: u64| minutes(n * 60);
    let days = |n: u64| hours(n * 24);
    for (left, code) in [
        (Duration::ZERO, 0),
        (minutes(5), 0),
        (minutes(9), 0),
        (minutes(10), 1),
        (hours(1), 11),
        (hours(12), 143),
        (hours(12) + minutes(29), 143),
        (hours(24), 167),
        (hours(47), 167),
        (days(2), 168),
        (days(30), 196),
        (days(34), 196),
        (days(35), 197),
        (days(441), 255),
        (days(9999), 255),
    ] {
        assert_eq!(Validity::lasting(left), Validity::Relative(code), "{left:?}");
    }
    // The table of the standard, by its examples.
    for (code, lasts) in [(0, minutes(5)), (143, hours(12)), (144, hours(12) + minutes(30))] {
        assert_eq!(Validity::Relative(code).duration(), Some(lasts));
    }
}

#[test]
fn a_service_centre_s_year_has_its_leap_day() {
    let leap = ServiceTime::new(1_709_164_800, -14).unwrap(); // 2024-02-29T00:00:00Z, zone -3:30
    assert_eq!(to_hex(&leap.encode()), "42208202030049");
    assert_eq!(ServiceTime::decode(leap.encode()), Some(leap));
    assert_eq!(ServiceTime::new(0, 0), None, "1970 cannot be written");
    assert_eq!(ServiceTime::new(1_709_164_800, 80), None);
}

#[test]
fn every_status_has_an_outcome_and_words() {
    for (status, outcome, words) in [
        (0x00, Outcome::Delivered, "delivered"),
        (0x01, Outcome::Unconfirmed, "forwarded, delivery unconfirmed"),
        (0x20, Outcome::Trying, "congestion, still trying"),
        (0x3F, Outcome::Trying, "not delivered yet, still trying"),
        (0x43, Outcome::Permanent, "recipient not obtainable"),
        (0x46, Outcome::Permanent, "validity period expired"),
        (0x60, Outcome::GaveUp, "congestion, given up"),
        (0x63, Outcome::GaveUp, "service rejected, given up"),
        (0xFF, Outcome::GaveUp, "not delivered, given up"),
    ] {
        assert_eq!((Status(status).outcome(), Status(status).words()), (outcome, words));
    }
}

#[test]
fn hexadecimal_pairs_of_either_case_are_read_and_nothing_else() {
    assert_eq!(from_hex(" 00fFa5\r\n"), Ok(vec![0x00, 0xFF, 0xA5]));
    assert_eq!(to_hex(&[0x00, 0xFF, 0xA5]), "00FFA5");
    for wrong in ["0", "0g", "00 00", "é0", "+1"] {
        assert_eq!(from_hex(wrong), Err(Error::Hex));
    }
}

#[test]
fn a_message_cut_anywhere_is_an_error() {
    for pdu in [DELIVER_HELLO, DELIVER_WIDE, REPORT] {
        let (_, tpdu) = without_smsc(pdu);
        for end in 0..tpdu.len() {
            assert!(Incoming::decode(&tpdu[..end]).is_err());
        }
    }
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof!["\\+[0-9]{1,20}", "[0-9*#]{1,20}", "[A-Za-z][A-Za-z0-9 ]{0,9}[A-Za-z0-9]"]
        .prop_map(|text| number(&text))
}

fn moment() -> impl Strategy<Value = ServiceTime> {
    (946_800_000_i64..4_102_300_000, -79_i8..=79)
        .prop_filter_map("in the century", |(at, zone)| ServiceTime::new(at, zone))
}

fn class() -> impl Strategy<Value = Option<Class>> {
    prop::option::of(prop_oneof![
        Just(Class::Flash),
        Just(Class::Telephone),
        Just(Class::Sim),
        Just(Class::Equipment)
    ])
}

fn element() -> impl Strategy<Value = Element> {
    let language = || (0_usize..13).prop_map(|at| Language::ALL[at]);
    let reference = prop_oneof![
        any::<u8>().prop_map(Reference::Narrow),
        any::<u16>().prop_map(Reference::Wide)
    ];
    let place = (reference, 1_u8..=255, any::<u8>()).prop_map(|(reference, total, part)| {
        Element::Concat(Concat { reference, total, part: part % total + 1 })
    });
    prop_oneof![
        place,
        language().prop_map(Element::SingleShift),
        language().prop_map(Element::LockingShift),
        (0x70_u8..0x80, prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(id, data)| Element::Other { id, data }),
    ]
}

fn user_data() -> impl Strategy<Value = UserData> {
    let body = prop_oneof![
        prop::collection::vec(0_u8..0x80, 0..=160).prop_map(Body::Gsm7),
        prop::collection::vec(any::<u8>(), 0..=140).prop_map(Body::Octets),
        prop::collection::vec(any::<u16>(), 0..=70).prop_map(Body::Ucs2),
    ];
    (prop::collection::vec(element(), 0..4), body)
        .prop_filter_map("fits", |(header, body)| UserData::new(header, body).ok())
}

fn validity() -> impl Strategy<Value = Option<Validity>> {
    prop::option::of(prop_oneof![
        any::<u8>().prop_map(Validity::Relative),
        moment().prop_map(Validity::Absolute),
        any::<[u8; 7]>().prop_map(Validity::Enhanced),
    ])
}

proptest! {
    #[test]
    fn a_submission_returns(
        (reference, to, protocol, class, validity) in (any::<u8>(), address(), any::<u8>(), class(), validity()),
        (receipt_wanted, reject_duplicates, reply_path) in any::<(bool, bool, bool)>(),
        data in user_data(),
    ) {
        let submit = Submit {
            reference, to, protocol, class, validity, receipt_wanted, reject_duplicates, reply_path, data,
        };
        prop_assert_eq!(Submit::decode(&submit.encode()), Ok(submit));
    }

    #[test]
    fn a_delivery_returns(
        (from, protocol, class, sent) in (address(), any::<u8>(), class(), prop::option::of(moment())),
        (more_to_come, receipt_wanted, reply_path) in any::<(bool, bool, bool)>(),
        data in user_data(),
    ) {
        let deliver = Deliver {
            from, protocol, class, sent, more_to_come, receipt_wanted, reply_path, data,
        };
        let tpdu = deliver.encode();
        prop_assert_eq!(Deliver::decode(&tpdu), Ok(deliver.clone()));
        prop_assert_eq!(Incoming::decode(&tpdu), Ok(Incoming::Deliver(deliver)));
    }

    #[test]
    fn a_status_report_returns(
        (reference, to, status) in (any::<u8>(), address(), any::<u8>()),
        (submitted, discharged) in (prop::option::of(moment()), prop::option::of(moment())),
        (more_to_come, of_command) in any::<(bool, bool)>(),
    ) {
        let report = StatusReport {
            reference, to, submitted, discharged, status: Status(status), more_to_come, of_command,
        };
        prop_assert_eq!(StatusReport::decode(&report.encode()), Ok(report));
    }

    #[test]
    fn a_service_centre_s_address_returns(
        smsc in prop::option::of("\\+[0-9]{1,20}"),
        tpdu in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let smsc = smsc.map(|text| number(&text));
        let pdu = with_smsc(smsc.as_ref(), &tpdu);
        prop_assert_eq!(split_smsc(&pdu), Ok((smsc, tpdu.as_slice())));
    }

    #[test]
    fn any_octets_are_read_without_a_panic_and_what_is_read_returns(
        octets in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let tpdu = split_smsc(&octets).map_or(octets.as_slice(), |(_, tpdu)| tpdu);
        for tpdu in [octets.as_slice(), tpdu] {
            if let Ok(submit) = Submit::decode(tpdu) {
                prop_assert_eq!(Submit::decode(&submit.encode()), Ok(submit.clone()));
                let _text = submit.data.to_text();
            }
            if let Ok(deliver) = Deliver::decode(tpdu) {
                prop_assert_eq!(Deliver::decode(&deliver.encode()), Ok(deliver.clone()));
                let _text = deliver.data.to_text();
            }
            if let Ok(report) = StatusReport::decode(tpdu) {
                prop_assert_eq!(StatusReport::decode(&report.encode()), Ok(report));
            }
        }
    }

    #[test]
    fn a_real_message_with_wrong_octets_is_read_without_a_panic(
        at in 0_usize..200, octet in any::<u8>(), wide in any::<bool>(),
    ) {
        let mut pdu = octets(if wide { DELIVER_WIDE } else { DELIVER_NARROW });
        let length = pdu.len();
        pdu[at % length] = octet;
        if let Ok((_, tpdu)) = split_smsc(&pdu)
            && let Ok(message) = Incoming::decode(tpdu)
            && let Incoming::Deliver(deliver) = message
        {
            let _text = deliver.data.to_text();
        }
    }

    #[test]
    fn validity_never_outlives_what_is_left(secs in 300_u64..100_000_000) {
        let left = Duration::from_secs(secs);
        let lasts = Validity::lasting(left).duration().unwrap();
        prop_assert!(lasts <= left);
    }
}
