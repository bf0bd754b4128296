//! Our SMS codec against three that we did not write (`tests/peers/sms_codec.py`): what we write, they read; what they
//! write, we read; and the alphabets, code by code.

#![allow(clippy::indexing_slicing, reason = "a test that looks where nothing is shall fail")]

use kengele::domain::time::Timestamp;
use kengele::wire::gsm7::{Alphabet, Language, unpack};
use kengele::wire::segment::{Options, Reassembler, segments};
use kengele::wire::tpdu::{
    Address, Body, Deliver, Reference, ServiceTime, Status, StatusReport, Submit, UserData,
    Validity, from_hex, split_smsc, to_hex, with_smsc,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

/// Texts of each language; a text's number is its seed.
const TEXTS_PER_LANGUAGE: u64 = 12;
const NUMBER: &str = "+254700123456";

/// Words of warnings, by language, with what else is typed into texts.
const WORDS: &[(&str, &[&str])] = &[
    (
        "english",
        &["flood", "river", "3.4 m", "leave", "now:", "[area 5]", "hill,", "school.", "~", "it's"],
    ),
    (
        "swahili",
        &["TAHADHARI:", "mafuriko", "mto", "umepanda", "ondoka", "sasa,", "shule", "ya", "msingi."],
    ),
    (
        "french",
        &["Alerte:", "forêt", "en", "feu,", "ça", "brûle", "évacuez", "à", "l'école", "œuvre"],
    ),
    ("portuguese", &["Atenção:", "inundação", "não", "há", "água", "às", "três", "põe", "mães."]),
    (
        "spanish",
        &["¡Alerta!", "río", "crecido,", "evacúe", "ya", "niños", "¿dónde?", "Ávila", "el"],
    ),
    ("hindi", &["बाढ़", "चेतावनी:", "नदी", "खतरे", "के", "निशान", "से", "ऊपर", "है।", "५", "मीटर"]),
    ("nepali", &["बाढीको", "चेतावनी।", "सुरक्षित", "ठाउँमा", "जानुहोस्", "खोला", "बढ्यो"]),
    ("bengali", &["সতর্কতা:", "নদীর", "পানি", "বিপদসীমার", "উপরে।", "আশ্রয়কেন্দ্রে", "যান।"]),
    ("urdu", &["خبردار:", "سیلاب", "کا", "پانی", "فوراً", "محفوظ", "جگہ", "جائیں۔", "۵"]),
    ("amharic", &["ማስጠንቀቂያ፦", "የወንዙ", "ውሃ", "ከአደጋ", "ደረጃ", "በላይ", "ነው።", "አሁኑኑ"]),
    ("somali", &["DIGNIIN:", "daad", "ayaa", "soo", "socda", "ka", "guur", "webiga", "hadda!"]),
    ("arabic", &["تحذير:", "فيضان", "النهر", "مرتفع", "غادروا", "الآن،", "المدرسة"]),
    (
        "turkish",
        &["UYARI:", "sel", "geliyor,", "yüksek", "yerlere", "çıkın", "şimdi", "ağaç", "İzmir"],
    ),
    ("tamil", &["எச்சரிக்கை:", "வெள்ளம்", "ஆறு", "உயர்கிறது.", "உடனே", "வெளியேறவும்"]),
    ("emoji", &["🌊", "flood", "👨‍👩‍👧‍👦", "leave", "🇰🇪", "now", "👍🏽", "река"]),
    ("extension", &["€5", "{a}", "[b]", "c|d", "e\\f", "~g", "^h", "plain", "ΔΦΓ", "§", "Ç"]),
];

fn text(language: &str, words: &[&str], seed: u64) -> String {
    let salt = language.bytes().map(u64::from).sum::<u64>();
    let mut random = ChaCha8Rng::seed_from_u64(seed * 10_007 + salt);
    let length = 1 + random.next_u32() % 60;
    let mut word = || words.iter().cycle().nth(random.next_u32() as usize % words.len());
    (0..length).filter_map(|_| word().copied()).collect::<Vec<_>>().join(" ")
}

/// Returns every text with its name for messages.
fn texts() -> Vec<(String, String)> {
    let seeds = |words: &'static (&str, &[&str])| {
        (0..TEXTS_PER_LANGUAGE)
            .map(move |seed| (format!("{} seed {seed}", words.0), text(words.0, words.1, seed)))
    };
    WORDS.iter().flat_map(seeds).collect()
}

fn ask(question: &Value) -> Value {
    let mut peer = crate::peers::python()
        .arg("tests/peers/sms_codec.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("Python starts");
    let mut stdin = peer.stdin.take().expect("stdin is piped");
    stdin.write_all(question.to_string().as_bytes()).expect("the peer reads its question");
    drop(stdin);
    let output = peer.wait_with_output().expect("the peer ends");
    assert!(output.status.success(), "tests/peers/sms_codec.py failed");
    serde_json::from_slice(&output.stdout).expect("the peer answers in JSON")
}

fn question(fields: &[(&str, Value)]) -> Value {
    let mut question =
        json!({"submits": [], "delivers": [], "reports": [], "texts": [], "alphabets": []});
    for (field, value) in fields {
        question[*field] = value.clone();
    }
    question
}

fn number() -> Address {
    Address::parse(NUMBER).expect("the number is one")
}

/// One submission, and where its text is to be found.
struct Sent {
    name: String,
    of: usize,
    segment: String,
    pdu: String,
    data: UserData,
}

fn sent(texts: &[(String, String)], reference: Reference) -> Vec<Sent> {
    let mut all = Vec::new();
    for (of, (name, text)) in texts.iter().enumerate() {
        let options = Options { reference, ..Options::default() };
        for segment in segments(text, &options).expect("texts are short").segments {
            let mut submit = Submit::new(number(), segment.data.clone());
            submit.receipt_wanted = true;
            submit.validity = Some(Validity::lasting(Duration::from_hours(2)));
            all.push(Sent {
                name: name.clone(),
                of,
                segment: segment.text,
                pdu: to_hex(&with_smsc(None, &submit.encode())),
                data: segment.data,
            });
        }
    }
    all
}

fn pdus(sent: &[Sent]) -> Value {
    sent.iter().map(|sent| sent.pdu.as_str()).collect::<Vec<_>>().into()
}

/// smspdudecoder reads the header as letters too and cuts as many letters off as the header has septets, which is one
/// too many where a septet of the header looks like the escape.
fn escape_in_header(pdu: &str, data: &UserData) -> bool {
    let octets = from_hex(pdu).expect("our own pairs");
    // The header of 8-bit references is 6 octets long, of 16-bit ones 7, and stands after 15 octets.
    let header = &octets[15..];
    data.concat().is_some_and(|place| {
        let septets = match place.reference {
            Reference::Narrow(_) => 7,
            Reference::Wide(_) => 8,
        };
        matches!(data.body(), Body::Gsm7(_)) && unpack(header, septets, 0).contains(&0x1B)
    })
}

/// smspdudecoder cuts what it read to as many letters as there are septets. That leaves a seven-bit rest of zeros in, as
/// `@`, where a letter took two septets; it is taken off here.
fn without_padding<'a>(content: &'a str, data: &UserData) -> &'a str {
    let header_septets = data.concat().map_or(0, |place| match place.reference {
        Reference::Narrow(_) => 7,
        Reference::Wide(_) => 8,
    });
    let Body::Gsm7(septets) = data.body() else { return content };
    if septets.contains(&0x1B) && (header_septets + septets.len()) % 8 == 7 {
        content.strip_suffix('@').expect("the padding is read as a letter")
    } else {
        content
    }
}

fn smspdudecoder_reads(reference: Reference) {
    let texts = texts();
    let sent = sent(&texts, reference);
    let answer = ask(&question(&[("submits", pdus(&sent))]));
    let mut joined = vec![String::new(); texts.len()];
    let mut exempt = 0;
    for (sent, read) in sent.iter().zip(answer["outgoing"].as_array().expect("a list")) {
        assert_eq!(read["recipient"], NUMBER, "{}", sent.name);
        if escape_in_header(&sent.pdu, &sent.data) {
            exempt += 1;
            joined[sent.of].push_str(&sent.segment);
        } else {
            let content = read["content"].as_str().expect("a text");
            let content = without_padding(content, &sent.data);
            assert_eq!(content, sent.segment, "{}", sent.name);
            joined[sent.of].push_str(content);
        }
    }
    for ((name, text), joined) in texts.iter().zip(&joined) {
        assert_eq!(text, joined, "{name}");
    }
    assert!(exempt * 10 < sent.len(), "{exempt} of {} PDUs were not compared", sent.len());
}

#[test]
fn smspdudecoder_reads_our_submissions_with_references_of_8_bits() {
    smspdudecoder_reads(Reference::Narrow(42));
}

#[test]
fn smspdudecoder_reads_our_submissions_with_references_of_16_bits() {
    smspdudecoder_reads(Reference::Wide(0xBEEF));
}

/// Of segments with references of 16 bits it loses the first letter, so that smspdudecoder alone reads those.
#[test]
fn gsmmodem_reads_our_submissions_with_references_of_8_bits() {
    let sent = sent(&texts(), Reference::Narrow(42));
    let answer = ask(&question(&[("submits", pdus(&sent))]));
    for (sent, read) in sent.iter().zip(answer["outgoing_gsmmodem"].as_array().expect("a list")) {
        assert_eq!(read["number"], NUMBER, "{}", sent.name);
        assert_eq!(read["validity"], "2:00:00", "{}", sent.name);
        let read = read["text"].as_str().expect("a text");
        // It shows the section sign as a backtick, which the alphabet lacks.
        let expected = match sent.data.body() {
            Body::Gsm7(_) => sent.segment.replace('§', "`"),
            Body::Octets(_) | Body::Ucs2(_) => sent.segment.clone(),
        };
        assert_eq!(read, expected, "{}", sent.name);
    }
}

#[test]
fn we_read_what_gsmmodem_writes() {
    let texts = texts();
    let asked: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
    let answer = ask(&question(&[("texts", asked.into())]));
    let mut read = 0;
    for ((name, text), written) in texts.iter().zip(answer["written"].as_array().expect("a list")) {
        let Some(pdus) = written.as_array() else {
            // It cannot write what is outside the basic plane.
            assert!(text.chars().any(|c| c.len_utf16() == 2), "{name}");
            continue;
        };
        let mut reassembler = Reassembler::new(1, Duration::from_mins(1));
        let mut joined = Vec::new();
        for pdu in pdus {
            let octets = from_hex(pdu.as_str().expect("a PDU")).expect("pairs");
            let (smsc, tpdu) = split_smsc(&octets).expect("a service centre field");
            let submit = Submit::decode(tpdu).expect("a SUBMIT");
            assert_eq!((smsc, submit.reference, submit.to.as_str()), (None, 77, NUMBER));
            joined.extend(reassembler.add(&submit.to, &submit.data, Timestamp::default()));
        }
        assert_eq!(joined.len(), 1, "{name}");
        assert_eq!((&joined[0].text, joined[0].missing), (text, 0), "{name}");
        read += 1;
    }
    assert!(read > texts.len() * 3 / 4);
}

#[test]
fn smspdudecoder_reads_our_deliveries() {
    // No name of seven letters: smspdudecoder reads the seven bits behind it as another letter.
    let senders = ["+254700123456", "40404", "KMD", "Design@Home", "+4670000000"];
    let zones = [0, 12, -14, 22, 35];
    let mut delivers = Vec::new();
    let mut expected = Vec::new();
    for (at, (name, text)) in texts().into_iter().enumerate() {
        let sender = senders[at % senders.len()];
        let unix_seconds = 1_700_000_000 + i64::try_from(at).expect("small") * 86_399;
        let Ok(data) = UserData::text(&text) else { continue };
        let deliver = Deliver {
            from: Address::parse(sender).expect("a sender"),
            protocol: 0,
            class: None,
            sent: ServiceTime::new(unix_seconds, zones[at % zones.len()]),
            more_to_come: false,
            receipt_wanted: false,
            reply_path: false,
            data,
        };
        delivers.push(to_hex(&with_smsc(Some(&number()), &deliver.encode())));
        expected.push((name, sender, unix_seconds, text));
    }
    assert!(expected.len() > 30);
    let answer = ask(&question(&[("delivers", delivers.into())]));
    for ((name, sender, unix_seconds, text), read) in
        expected.iter().zip(answer["incoming"].as_array().expect("a list"))
    {
        assert_eq!(read["sender"], *sender, "{name}");
        let content = read["content"].as_str().expect("a text");
        let data = UserData::text(text).expect("it was one segment");
        let content = without_padding(content, &data);
        assert_eq!(content, text, "{name}");
        let moment = read["date"].as_f64().expect("seconds");
        assert!((moment - *unix_seconds as f64).abs() < 0.5, "{name}: {moment}");
    }
}

#[test]
fn gsmmodem_reads_our_status_reports() {
    let statuses = [0x00_u8, 0x01, 0x20, 0x46, 0x63];
    let reports: Vec<String> = statuses
        .iter()
        .map(|status| {
            let report = StatusReport {
                reference: 214,
                to: number(),
                submitted: ServiceTime::new(1_294_765_155, 4),
                discharged: ServiceTime::new(1_294_765_157, 4),
                status: Status(*status),
                more_to_come: false,
                of_command: false,
            };
            to_hex(&with_smsc(None, &report.encode()))
        })
        .collect();
    let answer = ask(&question(&[("reports", reports.into())]));
    for (status, read) in statuses.iter().zip(answer["reports"].as_array().expect("a list")) {
        assert_eq!(read["type"], "SMS-STATUS-REPORT");
        assert_eq!((&read["reference"], &read["status"]), (&json!(214), &json!(status)));
        assert_eq!(read["number"], NUMBER);
        assert_eq!(read["time"], "2011-01-11 17:59:15+01:00");
        assert_eq!(read["discharge"], "2011-01-11 17:59:17+01:00");
    }
}

#[test]
fn gsmcodecs_has_our_tables_but_for_eleven_codes_that_it_has_wrong() {
    // Where gsmcodecs 1.0.0 and telephones differ, we go with the telephones: see `wire::gsm7`'s tables.
    let answer = ask(&question(&[]));
    let rows = answer["tables"].as_array().expect("a list");
    let (mut same, mut different) = (0, Vec::new());
    for row in rows {
        let language = u8::try_from(row[0].as_u64().expect("an id")).expect("small");
        let code = u8::try_from(row[2].as_u64().expect("a septet")).expect("small");
        let theirs = char::from_u32(u32::try_from(row[3].as_u64().expect("a point")).unwrap());
        let language = Language::from_id(language);
        let (alphabet, septets) = if row[1] == "locking" {
            (Alphabet { locking: language, single: None }, vec![code])
        } else {
            (Alphabet { locking: None, single: language }, vec![0x1B, code])
        };
        let ours = alphabet.decode(&septets);
        if ours.chars().next() == theirs {
            same += 1;
        } else {
            different.push((row[0].as_u64(), code, ours));
        }
    }
    let comma = (4..=13).map(|language| (Some(language), 0x2C, ",".to_owned()));
    let mut known: Vec<_> = comma.collect();
    known.push((Some(7), 0x24, "\u{CA1}".to_owned()));
    known.sort();
    different.sort();
    assert_eq!(different, known);
    assert!(same > 2_400, "{same} codes are the same");
}

#[test]
fn gsmcodecs_agrees_on_national_texts_septet_by_septet() {
    let pairs = [
        ("hindi", Language::Hindi),
        ("nepali", Language::Hindi),
        ("bengali", Language::Bengali),
        ("urdu", Language::Urdu),
        ("tamil", Language::Tamil),
        ("turkish", Language::Turkish),
        ("portuguese", Language::Portuguese),
        ("spanish", Language::Spanish),
        ("english", Language::Telugu),
    ];
    let (mut asked, mut ours) = (Vec::new(), Vec::new());
    for (name, language) in pairs {
        let (_, words) = WORDS.iter().find(|(of, _)| *of == name).expect("a language");
        let shift = Some(language);
        let locking = shift.filter(|language| *language != Language::Spanish);
        let alphabet = Alphabet { locking, single: shift };
        // Without what the tables lack, and without comma and apostrophe, whose codes gsmcodecs has wrong.
        let known: Vec<&str> = words
            .iter()
            .copied()
            .filter(|word| !word.contains([',', '\'']) && alphabet.encode(word).is_some())
            .collect();
        assert!(known.len() >= 3, "{name}");
        for seed in 0..TEXTS_PER_LANGUAGE {
            let text = text(name, &known, seed);
            let septets = alphabet.encode(&text).expect("every word is in the tables");
            assert_eq!(alphabet.decode(&septets), text);
            ours.push((format!("{name} seed {seed}"), to_hex(&septets).to_lowercase()));
            let locking = locking.map_or(0, Language::id);
            asked.push(json!({"locking": locking, "single": language.id(), "text": text}));
        }
    }
    let answer = ask(&question(&[("alphabets", asked.into())]));
    for ((name, ours), theirs) in ours.iter().zip(answer["septets"].as_array().expect("a list")) {
        assert_eq!(theirs, ours, "{name}");
    }
}
