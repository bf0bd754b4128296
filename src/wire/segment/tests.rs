use super::*;
use crate::domain::time::Timestamp;
use crate::wire::tpdu::{Address, Submit, to_hex, with_smsc};
use proptest::prelude::*;
use std::time::Duration;
use unicode_segmentation::UnicodeSegmentation;

const DEFAULT: Encoding = Encoding::Gsm7(Alphabet::DEFAULT);
const NARROW: Option<Reference> = Some(Reference::Narrow(42));
const WIDE: Option<Reference> = Some(Reference::Wide(4242));

fn split(text: &str) -> Segmented {
    let options = Options { reference: Reference::Narrow(42), ..Options::default() };
    segments(text, &options).expect("the test's text is short enough")
}

fn texts(segmented: &Segmented) -> Vec<&str> {
    segmented.segments.iter().map(|segment| segment.text.as_str()).collect()
}

fn taken(text: &str) -> (Encoding, usize, usize, usize) {
    let count = count(text, &Options::default());
    (count.encoding, count.segments, count.units, count.units_left)
}

#[test]
fn capacities_are_those_of_the_standard() {
    let one = Encoding::Gsm7(Alphabet { single: Some(Language::Hindi), locking: None });
    let two =
        Encoding::Gsm7(Alphabet { single: Some(Language::Hindi), locking: Some(Language::Hindi) });
    let all = |encoding: Encoding| [None, NARROW, WIDE].map(|r| encoding.capacity(r));
    assert_eq!(all(DEFAULT), [160, 153, 152]);
    assert_eq!(all(Encoding::Ucs2), [70, 67, 66]);
    assert_eq!(all(one)[..2], [155, 149]);
    assert_eq!(all(two)[..2], [152, 146]);
}

#[test]
fn published_vectors_come_out_octet_by_octet() {
    let file = include_str!("../../../tests/vectors/sms_submit.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let mut compared = 0;
    for vector in file["vectors"].as_array().unwrap() {
        let (id, text) = (&vector["id"], vector["text"].as_str().unwrap());
        let segmented = split(text);
        let encoding = if segmented.count.encoding == Encoding::Ucs2 { "UCS-2" } else { "GSM-7" };
        assert_eq!(vector["encoding"].as_str(), Some(encoding), "{id}");
        assert_eq!(vector["segments"].as_u64(), Some(segmented.count.segments as u64), "{id}");
        assert_eq!(texts(&segmented).concat(), text);
        let Some(pdus) = vector["pdus"].as_array() else { continue };
        let theirs_asks = vector["tool"] == "python-gsmmodem-new";
        let ours: Vec<serde_json::Value> = segmented
            .segments
            .into_iter()
            .map(|segment| {
                let to = Address::parse("+254700123456").unwrap();
                let mut submit = Submit::new(to, segment.data);
                submit.reference = if theirs_asks { 42 } else { 0 };
                submit.receipt_wanted = theirs_asks;
                to_hex(&with_smsc(None, &submit.encode())).into()
            })
            .collect();
        assert_eq!(&ours, pdus, "{id}");
        compared += ours.len();
    }
    assert_eq!(compared, 17);
}

#[test]
fn a_text_that_just_fits_is_one_segment() {
    assert_eq!(taken(""), (DEFAULT, 1, 0, 160));
    assert_eq!(taken(&"x".repeat(160)), (DEFAULT, 1, 160, 0));
    assert_eq!(taken(&"x".repeat(161)), (DEFAULT, 2, 161, 2 * 153 - 161));
    assert_eq!(taken(&"€".repeat(80)), (DEFAULT, 1, 160, 0));
    assert_eq!(taken(&"я".repeat(70)), (Encoding::Ucs2, 1, 70, 0));
    assert_eq!(taken(&"я".repeat(71)), (Encoding::Ucs2, 2, 71, 134 - 71));
    assert!(split("x").segments[0].data.header().is_empty());
}

#[test]
fn characters_of_the_extension_table_do_not_force_ucs2_and_are_not_cut() {
    let text = format!("{}€{}", "x".repeat(152), "y".repeat(20));
    let segmented = split(&text);
    assert_eq!(segmented.count.encoding, DEFAULT);
    assert_eq!(texts(&segmented)[0], "x".repeat(152));
}

#[test]
fn a_surrogate_pair_is_not_cut() {
    let text = format!("{}🌊{}", "я".repeat(66), "я".repeat(9));
    assert_eq!(texts(&split(&text))[0], "я".repeat(66));
}

#[test]
fn a_grapheme_cluster_is_not_cut() {
    // A family of four joined, eleven units; a Devanagari syllable; a letter and its accent.
    for cluster in ["👨‍👩‍👧‍👦", "क्षि", "e\u{301}"] {
        for before in 55..70 {
            let text = format!("{}{cluster}{}", "я".repeat(before), "я".repeat(30));
            let segmented = split(&text);
            let whole = segmented.segments.iter().any(|s| s.text.contains(cluster));
            assert!(whole, "{cluster} behind {before}");
        }
    }
}

#[test]
fn a_cluster_longer_than_a_segment_is_cut_between_characters() {
    let text = format!("a{}", "\u{301}".repeat(150));
    let segmented = split(&text);
    assert_eq!(texts(&segmented).concat(), text);
    assert_eq!(segmented.count.segments, 3);
}

#[test]
fn segments_end_at_words_where_that_costs_no_segment() {
    let text = "FLOOD WARNING for the lower Nzoia: the river stands at 3.4 m and rises. Leave the \
                houses near the water now, take the children and the papers, and go to the school \
                on the hill.";
    for longer_by in 0..8 {
        let text = format!("{}{text}", "x".repeat(longer_by));
        let segmented = split(&text);
        assert_eq!(segmented.count.segments, 2);
        assert_eq!(texts(&segmented).concat(), text);
        assert!(segmented.segments[0].text.ends_with(' '), "{longer_by}");
    }
}

#[test]
fn a_row_without_spaces_ends_at_a_word_and_not_before_its_stop() {
    let text = format!("{}.{}", "mto-umepanda-".repeat(11), "sasa-".repeat(10));
    let segmented = split(&text);
    assert_eq!(texts(&segmented).concat(), text);
    assert!(segmented.segments[0].text.ends_with('-'), "{:?}", segmented.segments[0].text);
}

#[test]
fn words_are_cut_where_keeping_them_would_cost_a_segment() {
    // 306 septets fit into two segments only when both are full.
    let text = format!("{} {}", "x".repeat(100), "y".repeat(205));
    let segmented = split(&text);
    assert_eq!(segmented.count.segments, 2);
    assert_eq!(segmented.segments[0].text.chars().count(), 153);
}

#[test]
fn hindi_takes_one_segment_with_its_tables_and_two_without() {
    let text = "बाढ़ चेतावनी: कोसी नदी खतरे के निशान से ऊपर है। अभी ऊँचे स्थान पर जाएँ, स्कूल में रहें।";
    assert!(text.encode_utf16().count() > 70);
    assert_eq!(taken(text).1, 2);
    let options = Options { national: &[Language::Hindi], ..Options::default() };
    let segmented = segments(text, &options).unwrap();
    assert_eq!(segmented.count.segments, 1);
    let hindi = Some(Language::Hindi);
    assert_eq!(
        segmented.count.encoding,
        Encoding::Gsm7(Alphabet { locking: hindi, single: hindi })
    );
    assert_eq!(segmented.segments[0].data.to_text().as_deref(), Some(text));
}

#[test]
fn national_tables_are_not_used_where_they_save_nothing() {
    let options = Options { national: &[Language::Hindi], ..Options::default() };
    assert_eq!(count("बाढ़", &options).encoding, Encoding::Ucs2);
    assert_eq!(count("flood", &options).encoding, DEFAULT);
}

#[test]
fn spanish_takes_one_segment_with_its_single_shift_table() {
    let text =
        "Alerta: río crecido. Evacúe ya a la escuela, lleve agua y documentos, y no cruce el río.";
    assert_eq!(taken(text).1, 2);
    let options = Options { national: &[Language::Spanish], ..Options::default() };
    let segmented = segments(text, &options).unwrap();
    let alphabet = Alphabet { locking: None, single: Some(Language::Spanish) };
    assert_eq!(segmented.count.encoding, Encoding::Gsm7(alphabet));
    assert_eq!(segmented.count.segments, 1);
}

#[test]
fn a_single_shift_table_alone_serves_latin_text_with_a_few_letters_of_another_script() {
    let text = format!("{}।", "LEAVE ".repeat(25));
    let options = Options { national: &[Language::Hindi], ..Options::default() };
    let count = count(&text, &options);
    let alphabet = Alphabet { locking: None, single: Some(Language::Hindi) };
    assert_eq!((count.encoding, count.segments), (Encoding::Gsm7(alphabet), 1));
    assert_eq!((count.units, count.units_left), (152, 3));
}

#[test]
fn small_c_cedilla_costs_a_segment_unless_it_may_be_rewritten() {
    let text = format!("Alerte: forêt en feu, ça brûle. {}", "Quittez la zone. ".repeat(4));
    assert_eq!(taken(&text).0, Encoding::Ucs2);
    assert_eq!(taken(&text).1, 2);
    let french = Transliteration::for_language("fr-CD");
    let options = Options { transliteration: french, ..Options::default() };
    let segmented = segments(&text, &options).unwrap();
    assert_eq!((segmented.count.encoding, segmented.count.segments), (DEFAULT, 1));
    assert!(segmented.segments[0].text.starts_with("Alerte: foret en feu, ca brule."));
}

#[test]
fn a_text_is_not_rewritten_where_that_saves_nothing() {
    let options =
        Options { transliteration: Transliteration::for_language("fr"), ..Options::default() };
    assert_eq!(segments("ça brûle", &options).unwrap().segments[0].text, "ça brûle");
}

#[test]
fn an_unknown_language_has_no_transliteration() {
    assert_eq!(Transliteration::for_language("am"), None);
    assert!(Transliteration::for_language("PT_br").is_some());
}

#[test]
fn the_characters_that_force_ucs2_are_listed_once_in_order() {
    let plain = Options::default();
    assert_eq!(forcing_ucs2("ça brûle, ça", &plain), ['ç', 'û']);
    assert!(forcing_ucs2("Évacuez à l'école: 5 €", &plain).is_empty());
    let french = Options { transliteration: Transliteration::for_language("fr"), ..plain };
    assert_eq!(forcing_ucs2("ça brûle 🔥", &french), ['🔥']);
    let bengali = Options { national: &[Language::Bengali], ..plain };
    assert_eq!(forcing_ucs2("নদীর পানি। যান।", &bengali), ['।']);
}

#[test]
fn more_than_255_segments_are_refused_and_still_counted() {
    let text = "x".repeat(153 * 255 + 1);
    let options = Options::default();
    assert_eq!(segments(&text, &options), Err(Error::TooLong { segments: 256 }));
    assert_eq!(count(&text, &options).segments, 256);
}

fn sender() -> Address {
    Address::parse("+254700123456").unwrap()
}

fn long_text() -> Segmented {
    split(&"Mto umepanda sana. ".repeat(20))
}

const SOON: Timestamp = Timestamp::from_millis(1_000);

fn reassembler() -> Reassembler {
    Reassembler::new(2, Duration::from_mins(1))
}

#[test]
fn segments_in_any_order_with_repetitions_are_joined_once() {
    let message = long_text();
    let mut waiting = reassembler();
    let mut joined = Vec::new();
    for at in [2, 0, 2, 1, 1, 0, 2] {
        joined.extend(waiting.add(&sender(), &message.segments[at].data, SOON));
    }
    assert_eq!(message.count.segments, 3);
    assert_eq!(joined.len(), 1);
    assert_eq!((joined[0].text.clone(), joined[0].missing), (texts(&message).concat(), 0));
    assert!(waiting.expire(SOON + Duration::from_mins(1)).is_empty());
}

#[test]
fn messages_of_two_senders_under_one_reference_are_kept_apart() {
    let (message, other) = (long_text(), Address::parse("+254700999999").unwrap());
    let mut waiting = reassembler();
    assert!(waiting.add(&sender(), &message.segments[0].data, SOON).is_empty());
    assert!(waiting.add(&other, &message.segments[1].data, SOON).is_empty());
    assert!(waiting.add(&other, &message.segments[2].data, SOON).is_empty());
    let joined = waiting.add(&other, &message.segments[0].data, SOON);
    assert_eq!(joined.len(), 1);
    assert_eq!(joined[0].from, other);
}

#[test]
fn what_waits_too_long_is_given_out_with_its_gap() {
    let message = long_text();
    let mut waiting = reassembler();
    assert_eq!(waiting.next_deadline(), None);
    waiting.add(&sender(), &message.segments[0].data, SOON);
    waiting.add(&sender(), &message.segments[2].data, SOON + Duration::from_secs(50));
    assert_eq!(waiting.next_deadline(), Some(SOON + Duration::from_mins(1)));
    assert!(waiting.expire(SOON + Duration::from_secs(59)).is_empty());
    let joined = waiting.expire(SOON + Duration::from_mins(1));
    assert_eq!(joined.len(), 1);
    let text = format!("{}[...]{}", message.segments[0].text, message.segments[2].text);
    assert_eq!((joined[0].text.clone(), joined[0].missing), (text, 1));
    assert_eq!(waiting.next_deadline(), None);
}

#[test]
fn a_full_reassembler_gives_up_its_oldest_message() {
    let message = long_text();
    let mut waiting = reassembler();
    for (at, from) in (0_u64..).zip(["+1", "+2", "+3"]) {
        let from = Address::parse(from).unwrap();
        let now = SOON + Duration::from_secs(at);
        let pushed_out = waiting.add(&from, &message.segments[0].data, now);
        let missing: Vec<_> = pushed_out.iter().map(|j| (j.from.as_str(), j.missing)).collect();
        assert_eq!(missing, if at == 2 { vec![("+1", 2)] } else { vec![] });
    }
}

#[test]
fn a_full_reassembler_forgets_a_whole_message_before_one_that_waits() {
    let (message, [first, second, third]) =
        (long_text(), ["+1", "+2", "+3"].map(|from| Address::parse(from).unwrap()));
    let mut waiting = reassembler();
    waiting.add(&first, &message.segments[0].data, SOON);
    let later = SOON + Duration::from_secs(1);
    let whole: Vec<_> =
        (0..3).flat_map(|at| waiting.add(&second, &message.segments[at].data, later)).collect();
    assert_eq!(whole.len(), 1);
    assert!(waiting.add(&third, &message.segments[0].data, later).is_empty());
    waiting.add(&first, &message.segments[1].data, later);
    assert_eq!(waiting.add(&first, &message.segments[2].data, later).len(), 1);
}

#[test]
fn a_reference_used_again_starts_a_new_message() {
    let (old, new) = (long_text(), split(&"Maji yamefika shuleni. ".repeat(18)));
    assert_eq!(old.count.segments, new.count.segments);
    let mut waiting = reassembler();
    assert!(waiting.add(&sender(), &old.segments[0].data, SOON).is_empty());
    let pushed_out = waiting.add(&sender(), &new.segments[0].data, SOON);
    assert_eq!((pushed_out.len(), pushed_out[0].missing), (1, 2));
    assert!(waiting.add(&sender(), &new.segments[1].data, SOON).is_empty());
    let joined = waiting.add(&sender(), &new.segments[2].data, SOON);
    assert_eq!(joined[0].text, texts(&new).concat());
}

#[test]
fn pairs_that_others_cut_between_segments_are_mended() {
    let part = |part, body| {
        let place = Concat { reference: Reference::Narrow(1), total: 2, part };
        UserData::new(vec![Element::Concat(place)], body).unwrap()
    };
    let mut waiting = reassembler();
    waiting.add(&sender(), &part(1, Body::Gsm7(vec![0x35, 0x1B])), SOON);
    let joined = waiting.add(&sender(), &part(2, Body::Gsm7(vec![0x65])), SOON);
    assert_eq!(joined[0].text, "5€");
    let mut waiting = reassembler();
    waiting.add(&sender(), &part(1, Body::Ucs2(vec![0xD83C])), SOON);
    let joined = waiting.add(&sender(), &part(2, Body::Ucs2(vec![0xDF0A])), SOON);
    assert_eq!(joined[0].text, "🌊");
}

#[test]
fn segments_in_different_alphabets_are_joined() {
    let part = |part, body| {
        let place = Concat { reference: Reference::Wide(1), total: 2, part };
        UserData::new(vec![Element::Concat(place)], body).unwrap()
    };
    let mut waiting = reassembler();
    waiting.add(&sender(), &part(1, Body::Gsm7(vec![0x41])), SOON);
    let joined = waiting.add(&sender(), &part(2, Body::Ucs2(vec![0x0416])), SOON);
    assert_eq!(joined[0].text, "AЖ");
}

#[test]
fn a_message_of_one_segment_is_given_out_at_once_and_data_never() {
    let mut waiting = reassembler();
    let joined = waiting.add(&sender(), &UserData::text("NDIYO").unwrap(), SOON);
    assert_eq!((joined[0].text.as_str(), joined[0].missing), ("NDIYO", 0));
    let data = UserData::new(Vec::new(), Body::Octets(vec![1, 2, 3])).unwrap();
    assert!(waiting.add(&sender(), &data, SOON).is_empty());
}

fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z]{1,12}[ .,]",
        1 => "[€\\[\\]{}^~|]{1,5}",
        1 => "[\u{900}-\u{97F}]{1,12} ?",
        1 => "[\u{1200}-\u{1240}]{1,8} ",
        1 => "[🌊🔥👨👩]\u{200D}?",
        1 => "[a-zя]\u{301}{0,80}",
        1 => "\\PC{0,20}",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn any_options() -> impl Strategy<Value = Options<'static>> {
    let national = prop::sample::select(vec![
        &[][..],
        &[Language::Hindi][..],
        &[Language::Spanish, Language::Turkish][..],
    ]);
    let reference = prop_oneof![
        any::<u8>().prop_map(Reference::Narrow),
        any::<u16>().prop_map(Reference::Wide)
    ];
    (national, reference).prop_map(|(national, reference)| Options {
        national,
        transliteration: None,
        reference,
    })
}

proptest! {
    #[test]
    fn segments_join_to_the_text_and_keep_their_capacity(text in any_text(), options in any_options()) {
        let segmented = segments(&text, &options).unwrap();
        prop_assert_eq!(texts(&segmented).concat(), text.as_str());
        prop_assert_eq!(segmented.count, count(&text, &options));
        prop_assert_eq!(segmented.count.segments, segmented.segments.len());
        let several = (segmented.segments.len() > 1).then_some(options.reference);
        let capacity = segmented.count.encoding.capacity(several);
        let mut used = 0;
        for segment in &segmented.segments {
            used = match segment.data.body() {
                Body::Gsm7(septets) => septets.len(),
                Body::Ucs2(units) => units.len(),
                Body::Octets(octets) => octets.len(),
            };
            prop_assert!(used <= capacity);
            prop_assert!(used > 0 || text.is_empty());
            prop_assert_eq!(segment.data.to_text(), Some(segment.text.clone()));
        }
        prop_assert_eq!(capacity - used, segmented.count.units_left);
    }

    #[test]
    fn a_cluster_that_fits_is_never_cut(text in any_text(), options in any_options()) {
        let segmented = segments(&text, &options).unwrap();
        let encoding = segmented.count.encoding;
        let capacity = encoding.capacity(Some(options.reference));
        let mut ends: Vec<usize> = Vec::new();
        for segment in &segmented.segments {
            ends.push(ends.last().copied().unwrap_or(0) + segment.text.len());
        }
        for (start, cluster) in text.grapheme_indices(true) {
            let units: usize = cluster.chars().filter_map(|c| encoding.units(c)).sum();
            let cut = ends.iter().any(|end| (start + 1..start + cluster.len()).contains(end));
            prop_assert!(!cut || units > capacity);
        }
    }

    #[test]
    fn no_other_breaks_need_fewer_segments(text in any_text(), options in any_options()) {
        let segmented = segments(&text, &options).unwrap();
        let encoding = segmented.count.encoding;
        let units = |piece: &str| piece.chars().filter_map(|c| encoding.units(c)).sum::<usize>();
        let capacity = encoding.capacity(Some(options.reference));
        // A cluster that is longer than a segment is cut at any character.
        let cut = |cluster: &str| if units(cluster) > capacity {
            cluster.chars().map(String::from).collect()
        } else {
            vec![cluster.to_owned()]
        };
        if units(&text) > encoding.capacity(None) {
            // Filling segments one after the other is the least.
            let (mut least, mut used) = (1, 0);
            for piece in text.graphemes(true).flat_map(cut) {
                if used + units(&piece) > capacity {
                    (least, used) = (least + 1, 0);
                }
                used += units(&piece);
            }
            prop_assert_eq!(segmented.count.segments, least);
        } else {
            prop_assert_eq!(segmented.count.segments, 1);
        }
    }

    #[test]
    fn shuffled_segments_join_to_the_text(text in any_text(), options in any_options(), seed in any::<u64>()) {
        let mut segmented = segments(&text, &options).unwrap();
        let length = segmented.segments.len();
        for at in 0..length {
            let by = usize::try_from(seed % 97).unwrap();
            segmented.segments.swap(at, (at * 31 + by) % length);
        }
        let mut waiting = reassembler();
        let mut joined = Vec::new();
        for segment in segmented.segments {
            joined.extend(waiting.add(&sender(), &segment.data, SOON));
        }
        prop_assert_eq!(joined.len(), 1);
        prop_assert_eq!(&joined[0].text, &text);
    }
}
