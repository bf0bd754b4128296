//! Transcripts as modems write them, and bytes as nobody should.

use super::*;
use crate::wire::tpdu::to_hex;
use proptest::prelude::*;

/// A parser with `command` under way hears `said`.
fn heard(command: &str, said: &str) -> Vec<Event> {
    let mut parser = Parser::default();
    let mut events = Vec::new();
    if !command.is_empty() {
        parser.sent(command);
    }
    parser.push(said.as_bytes(), &mut events);
    events
}

fn line(text: &str) -> Event {
    Event::Line(text.to_owned())
}

fn other(text: &str) -> Event {
    Event::News(News::Other(text.to_owned()))
}

const OK: Event = Event::Final(Final::Ok);

#[test]
fn an_echo_is_dropped_and_the_answer_kept() {
    assert_eq!(heard("AT+CSQ", "AT+CSQ\r\r\n+CSQ: 17,0\r\n\r\nOK\r\n"), [line("+CSQ: 17,0"), OK]);
}

#[test]
fn news_may_stand_between_echo_and_answer_and_inside_the_echo() {
    let said = "AT+CSQ\r\r\n+CMTI: \"SM\",3\r\n\r\n+CSQ: 17,0\r\n\r\n+CEREG: 5\r\n\r\nOK\r\n";
    let registered = News::Registration(Registration { state: 5, is_answer: false });
    assert_eq!(
        heard("AT+CSQ", said),
        [Event::News(News::TextStored(Some(3))), line("+CSQ: 17,0"), Event::News(registered), OK]
    );
    let said = "AT+CS\r\n+CMTI: \"SM\",3\r\nQ\r\r\n+CSQ: 17,0\r\n\r\nOK\r\n";
    assert_eq!(
        heard("AT+CSQ", said),
        [Event::News(News::TextStored(Some(3))), line("+CSQ: 17,0"), OK]
    );
}

#[test]
fn the_prompt_is_seen_without_a_line_end() {
    assert_eq!(heard("AT+CMGS=23", "AT+CMGS=23\r\r\n> "), [Event::Prompt]);
    assert_eq!(heard("AT+CMGS=23", "\r\n>"), [Event::Prompt]);
}

#[test]
fn the_echo_of_a_pdu_is_dropped() {
    let mut parser = Parser::default();
    let mut events = Vec::new();
    parser.sent("AT+CMGS=12");
    parser.push(b"\r\n> ", &mut events);
    parser.sent_pdu("0011000B914477");
    parser.push(b"0011000B914477\x1a\r\n\r\n+CMGS: 41\r\n\r\nOK\r\n", &mut events);
    assert_eq!(events, [Event::Prompt, line("+CMGS: 41"), OK]);
    assert_eq!(parser.dropped().echoes, 1);
}

#[test]
fn a_status_report_is_news_with_its_pdu_even_while_a_text_is_under_way() {
    let said = "\r\n+CDS: 25\r\n0006290B91\r\n\r\n+CMGS: 42\r\n\r\nOK\r\n";
    assert_eq!(
        heard("AT+CMGS=23", said),
        [Event::News(News::Report { pdu: "0006290B91".to_owned() }), line("+CMGS: 42"), OK]
    );
}

#[test]
fn other_news_may_stand_between_a_header_and_its_pdu() {
    let said = "\r\n+CDS: 25\r\n^RSSI:19\r\n0006290B91\r\n";
    assert_eq!(
        heard("", said),
        [other("^RSSI:19"), Event::News(News::Report { pdu: "0006290B91".to_owned() })]
    );
}

#[test]
fn a_list_has_entries_with_their_pdus() {
    let said = "+CMGL: 1,0,,24\r\n07911326040000F0\r\n+CMTI: \"SM\",9\r\n+CMGL: 4,1,\"\",26\r\n07911326\r\n\r\nOK\r\n";
    let entry =
        |header: &str, pdu: &str| Event::Entry { header: header.to_owned(), pdu: pdu.to_owned() };
    assert_eq!(
        heard("AT+CMGL=4", said),
        [
            entry("+CMGL: 1,0,,24", "07911326040000F0"),
            Event::News(News::TextStored(Some(9))),
            entry("+CMGL: 4,1,\"\",26", "07911326"),
            OK
        ]
    );
}

#[test]
fn an_answer_about_registration_is_told_from_news_of_it() {
    for news in ["+CREG: 1", "+CREG: 1,\"00C3\",\"12A4\""] {
        let told = News::Registration(Registration { state: 1, is_answer: false });
        assert_eq!(heard("AT+CREG?", &format!("{news}\r\n")), [Event::News(told)], "{news}");
    }
    assert_eq!(heard("AT+CREG?", "+CREG: 0,5\r\nOK\r\n"), [line("+CREG: 0,5"), OK]);
    let bare = "+CREG: 2,1,4CA,81DE445";
    assert_eq!(
        heard("AT+CREG?", &format!("{bare}\r\nOK\r\n")),
        [line(bare), OK],
        "as Huawei writes it"
    );
    assert_eq!(
        heard("AT+CREG?", "+CREG: 2,1,\"00C3\",\"12A4\"\r\nOK\r\n"),
        [line("+CREG: 2,1,\"00C3\",\"12A4\""), OK]
    );
}

#[test]
fn errors_come_as_numbers_and_as_words() {
    let error = |code| [Event::Final(Final::Error(code))];
    assert_eq!(heard("AT+CMGS=1", "+CMS ERROR: 38\r\n"), error(ErrorCode::Cms(38)));
    assert_eq!(
        heard("AT+CMGS=1", "+CMS ERROR: SIM SMS storage full\r\n"),
        error(ErrorCode::Cms(208))
    );
    assert_eq!(
        heard("AT+CMGS=1", "+CMS ERROR: Network out of order\r\n"),
        error(ErrorCode::Cms(38))
    );
    assert_eq!(heard("AT+CPIN?", "+CME ERROR: SIM not inserted\r\n"), error(ErrorCode::Cme(10)));
    assert_eq!(heard("AT+CPIN?", "+CME ERROR:10\r\n"), error(ErrorCode::Cme(10)));
    assert_eq!(
        heard("AT+CPIN?", "+CME ERROR: purple\r\n"),
        error(ErrorCode::Words("purple".to_owned()))
    );
    assert_eq!(heard("AT^CURC=0", "COMMAND NOT SUPPORT\r\n"), error(ErrorCode::Plain));
}

#[test]
fn a_ussd_text_may_have_lines_and_quotes() {
    let said = "+CUSD: 0,\"Balance \"main\":\r\n12.50 F\r\n> until May\",15\r\nOK\r\n";
    let text = "Balance \"main\":\n12.50 F\n> until May".to_owned();
    assert_eq!(
        heard("AT+CUSD=1", said),
        [Event::News(News::Ussd(Ussd { status: 0, text, scheme: 15 })), OK]
    );
}

#[test]
fn a_ussd_text_without_its_closing_quote_does_not_swallow_the_result() {
    let ussd = Ussd { status: 0, text: "Balance 12.50".to_owned(), scheme: 15 };
    assert_eq!(
        heard("AT+CUSD=1", "+CUSD: 0,\"Balance 12.50\r\nOK\r\n"),
        [Event::News(News::Ussd(ussd)), OK]
    );
}

#[test]
fn a_ussd_text_may_come_without_quotes_and_without_a_scheme() {
    let ussd = |text: &str, scheme| Some(Ussd { status: 0, text: text.to_owned(), scheme });
    assert_eq!(Ussd::parse("+CUSD: 0, AA180C3602"), ussd("AA180C3602", 15));
    assert_eq!(Ussd::parse("+CUSD: 0,AA180C3602,72"), ussd("AA180C3602", 72));
    assert_eq!(Ussd::parse("+CUSD: 0,\"a, b\""), ussd("a, b", 15));
    assert_eq!(Ussd::parse("+CUSD: 0"), ussd("", 15));
}

#[test]
fn a_restart_is_told_also_in_the_words_of_the_model() {
    assert_eq!(heard("AT+CMGS=1", "\r\nRDY\r\n"), [Event::News(News::Restarted("RDY".to_owned()))]);
    let mut parser = Parser::default();
    parser.set_restarts(&["SMS Ready"]);
    let mut events = Vec::new();
    parser.push(b"SMS Ready\r\n", &mut events);
    assert_eq!(events, [Event::News(News::Restarted("SMS Ready".to_owned()))]);
    assert_eq!(heard("", "SMS Ready\r\n"), [other("SMS Ready")]);
}

#[test]
fn huawei_noise_is_news_and_never_an_answer() {
    let said = "^BOOT:29790318,0,0,0,72\r\n^RSSI:19\r\nhuawei\r\n^HCSQ:\"LTE\",38,32\r\n\r\nOK\r\n";
    assert_eq!(
        heard("AT+CGMI", said),
        [
            other("^BOOT:29790318,0,0,0,72"),
            other("^RSSI:19"),
            line("huawei"),
            other("^HCSQ:\"LTE\",38,32"),
            OK
        ]
    );
}

#[test]
fn garbage_is_counted_and_the_line_after_it_is_heard() {
    let mut parser = Parser::default();
    let mut events = Vec::new();
    parser.sent("AT");
    parser.push(b"\x00\xff\xfe\x80gx!q\r\n\xf0\x00OK\r\n", &mut events);
    assert_eq!(events, [OK]);
    assert_eq!(parser.dropped(), Dropped { bytes: 6, lines: 1, overlong: 0, echoes: 0 });
}

#[test]
fn an_overlong_line_is_dropped_whole() {
    let mut parser = Parser::default();
    let mut events = Vec::new();
    parser.push(&vec![b'x'; 5_000], &mut events);
    parser.push(b"\r\nOK\r\n", &mut events);
    assert_eq!(events, [OK]);
    assert_eq!(parser.dropped().overlong, 1);
}

#[test]
fn after_a_command_is_given_up_its_lines_are_no_answer() {
    let mut parser = Parser::default();
    let mut events = Vec::new();
    parser.sent("AT+CMGS=23");
    parser.give_up();
    parser.push(b"+CMGS: 7\r\n", &mut events);
    assert_eq!(events, [other("+CMGS: 7")]);
}

#[test]
fn ranges_of_message_settings_are_read() {
    let offered = message_settings("+CNMI: (0-2),(0,1),(0,2),(0,1),(0)").expect("a line of ranges");
    assert!(offered.offers([2, 1, 0, 1, 0]));
    assert!(!offered.offers([2, 1, 0, 2, 0]), "SIM800 stores no reports");
    assert!(!offered.offers([2, 1, 0, 1, 1]));
    assert_eq!(
        message_settings("+CNMI: 2,(0-3)").map(|offered| offered.0),
        Some(vec![vec![2], vec![0, 1, 2, 3]])
    );
}

#[test]
fn values_are_read_as_modems_write_them() {
    assert_eq!(signal_dbm("+CSQ: 17,99"), Some(-79));
    assert_eq!(signal_dbm("+CSQ: 99,99"), None);
    assert_eq!(operator("+COPS: 0,0,\"Vodafone, CD\",7"), Some(("Vodafone, CD".to_owned(), "LTE")));
    assert_eq!(operator("+COPS: 0"), None);
    assert_eq!(service_centre("+CSCA: \"+243810000001\",145"), Some("+243810000001".to_owned()));
    assert_eq!(service_centre("+CSCA: \"\",129"), None);
    assert_eq!(storage("+CPMS: 3,30,3,30,9,30"), Some(Storage { used: 9, total: 30 }));
    assert_eq!(
        storage("+CPMS: \"SM\",3,30,\"SM\",3,30,\"SM\",29,30"),
        Some(Storage { used: 29, total: 30 })
    );
    assert_eq!(stored_index("+CMTI: ,-1"), None, "SIM7000 says so");
    assert_eq!(stored_index("+CMGL: 17,1,,30"), Some(17));
}

#[test]
fn only_refusals_that_say_so_mean_that_nothing_went_out() {
    let class = |code| ErrorCode::Cms(code).class();
    for code in [38, 41, 42, 47, 192, 194, 314, 331] {
        assert_eq!(class(code), Class::RetrySoon, "CMS {code}");
    }
    for code in [310, 311, 316, 330] {
        assert_eq!(class(code), Class::FixConfiguration, "CMS {code}");
    }
    for code in [8, 10, 21, 29, 50, 193] {
        assert_eq!(class(code), Class::CreditOrBarring, "CMS {code}");
    }
    // 304 and 305 are about this text: another one may well go.
    for code in [1, 28, 30, 195, 196, 304, 305] {
        assert_eq!(class(code), Class::PermanentForRecipient, "CMS {code}");
    }
    for code in [208, 322] {
        assert_eq!(class(code), Class::Housekeeping, "CMS {code}");
    }
    // The network may have taken what timed out (332).
    for code in [197, 300, 332, 500, 512, 9_999] {
        assert_eq!(class(code), Class::UnknownOutcome, "CMS {code}");
    }
    assert_eq!(ErrorCode::Plain.class(), Class::UnknownOutcome);
    assert_eq!(ErrorCode::Cms(208).to_string(), "SIM storage full (CMS 208)");
}

#[test]
fn each_code_stands_once_and_is_found_by_its_words() {
    for (code, _, words) in super::codes::CMS {
        assert_eq!(ErrorCode::from_cms_words(words), ErrorCode::Cms(*code), "{words}");
    }
    for (code, _, words) in super::codes::CME {
        assert_eq!(ErrorCode::from_cme_words(words), ErrorCode::Cme(*code), "{words}");
    }
}

#[test]
fn a_ussd_code_is_packed_as_huawei_wants_it() {
    assert_eq!(pack_ussd("*100#").as_deref(), Some("AA180C3602"));
}

#[test]
fn a_ussd_answer_is_read_in_each_of_its_forms() {
    let packed = pack_ussd("Balance 12.50 F").expect("GSM letters");
    assert_eq!(ussd_text("Balance 12.50 F", 15), "Balance 12.50 F");
    assert_eq!(ussd_text(&packed, 15), "Balance 12.50 F");
    assert_eq!(ussd_text("00420061006C0061006E00630065", 72), "Balance");
    assert_eq!(
        ussd_text("00420061006C0061006E00630065", 15),
        "Balance",
        "some modems name the wrong scheme"
    );
    assert_eq!(ussd_text("0421043F0430044104380431043E", 72), "Спасибо");
    assert_eq!(ussd_text("", 15), "");
    let ascii = to_hex(b"Solde: 750 F\n1 Suite\n");
    assert_eq!(ussd_text(&ascii, 0), "Solde: 750 F\n1 Suite");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_keep_no_more_than_a_line(
        bytes in proptest::collection::vec(any::<u8>(), 0..4_000),
        command in "AT[+^]?[A-Z]{0,6}[=?]?[ -~]{0,20}",
    ) {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        parser.sent(&command);
        parser.push(&bytes, &mut events);
        prop_assert!(parser.line.len() <= LINE_BYTES_MAX + 1);
        for event in &events {
            if let Event::Line(line) | Event::News(News::Other(line)) = event {
                prop_assert!(line.len() <= 3 * LINE_BYTES_MAX);
            }
        }
    }

    #[test]
    fn a_transcript_says_the_same_however_it_is_cut(cuts in proptest::collection::vec(1_usize..9, 1..80)) {
        let said = b"AT+CMGL=4\r\r\n+CMTI: \"SM\",3\r\n+CMGL: 1,0,,24\r\n07911326040000F0\r\n+CDS: 25\r\n0006290B91\r\n\
            +CUSD: 0,\"a\r\nb\",15\r\n\xff\x00RDY\r\n+CMS ERROR: 38\r\n\r\n> ";
        let mut whole = Vec::new();
        let mut parser = Parser::default();
        parser.sent("AT+CMGL=4");
        parser.push(said, &mut whole);
        let mut pieces = Vec::new();
        let mut parser = Parser::default();
        parser.sent("AT+CMGL=4");
        let mut rest = said.as_slice();
        for cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at(rest.len().min(*cut));
            parser.push(piece, &mut pieces);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn values_of_arbitrary_lines_never_panic(line in "[ -~]{0,80}", octets in "[0-9A-F]{0,80}", scheme in any::<u8>()) {
        let _ = (fields(&line), registration(&line), signal_dbm(&line), operator(&line), service_centre(&line));
        let _ = (storage(&line), stored_index(&line), message_settings(&line), Ussd::parse(&line));
        let _ = (message_settings(&format!("+CNMI: {line}")), Ussd::parse(&format!("+CUSD: {line}")));
        let _ = (ussd_text(&line, scheme), ussd_text(&octets, scheme));
    }
}
