use super::*;
use std::mem::size_of;

/// Memory that an item takes for each byte of it, at the most: a reading's row has 48 bytes and a list's spare room as
/// much, and takes 4 bytes at least; names are shared.
const BYTES_FOR_A_BYTE: usize = 40;

fn of_vec<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

fn of_about(about: &About) -> usize {
    match about {
        About::Places { observed, .. } => of_vec(observed),
        About::Words { rule_version, rule, hazard, area, observed } => {
            let texts = [rule_version, rule, hazard, area].map(String::capacity);
            texts.iter().sum::<usize>() + of_vec(observed)
        }
    }
}

/// Memory that items hold, beside themselves. Each row counts a name of its own, though they are shared.
fn held(item: &Up) -> usize {
    match item {
        Up::Health(health) => health.version.capacity(),
        Up::Book(book) => {
            book.as_bytes().len()
                + book.version().len()
                + book.rules().len() * 2 * size_of::<BookRule>()
                + book.signals().len() * 2 * size_of::<BookSignal>()
        }
        Up::Alert(alert) => of_about(&alert.about),
        Up::Latest(readings) => of_vec(readings),
        Up::Block(block) => block.bytes.capacity(),
        Up::Repair(repair) => repair.parts.capacity(),
        Up::Other(other) => other.bytes.capacity(),
        Up::Boot(_) | Up::Outcome(_) | Up::Ended(_) | Up::Gone(_) => 0,
    }
}

fn held_down(item: &Down) -> usize {
    match item {
        Down::Answers(answers) => of_vec(&answers.refused),
        Down::Missing(missing) => of_vec(&missing.numbers),
        Down::Repair(repair) => repair.parts.capacity(),
        Down::Other(other) => other.bytes.capacity(),
        Down::Lacks(_) | Down::Clock(_) | Down::Suspended => 0,
    }
}

/// Seals what a thief of the key may say: any bytes where items are to be.
fn authentic(first: u8, items: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 1, 2];
    bytes.extend(items);
    let length = if first & 2 == 0 { 16 } else { 8 };
    let tag = key(0).tag(&bytes);
    bytes.extend(&tag[..length]);
    bytes
}

/// Opens bytes both ways; returns how much memory they took, if they are a packet.
fn met(bytes: &[u8]) -> Option<usize> {
    let _gateway = gateway_of(bytes);
    let _mark = Mark::of(bytes);
    let up = open_up(bytes, |_| Some(key(0)));
    let down = open_down(bytes, &key(0));
    match (up, down) {
        (Ok(up), Err(_)) => {
            let again = seal_up(&up, &key(0), Tag::Long).unwrap();
            let again = open_up(&again, |_| Some(key(0))).unwrap();
            assert_eq!(told(&again.items), told(&up.items), "what was read is written again");
            Some(of_vec(&up.items) + up.items.iter().map(held).sum::<usize>())
        }
        (Err(_), Ok(down)) => {
            let again = seal_down(&down, &key(0), Tag::Long).unwrap();
            assert_eq!(open_down(&again, &key(0)).as_ref(), Ok(&down));
            Some(of_vec(&down.items) + down.items.iter().map(held_down).sum::<usize>())
        }
        (Err(_), Err(_)) => None,
        (Ok(_), Ok(_)) => panic!("a packet of both directions"),
    }
}

fn bounded(bytes: &[u8]) -> bool {
    let items = 2 * ITEMS_MAX.min(bytes.len()).max(4) * size_of::<Up>();
    met(bytes).is_none_or(|memory| memory <= items + BYTES_FOR_A_BYTE * bytes.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_bytes_are_refused_or_read_within_bounds(
        first in 0x10..0x14u8,
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        prop_assert_eq!(met(&bytes), None, "a tag by chance");
        prop_assert!(bounded(&authentic(first, &bytes)));
        let _item = (Up::from_bytes(&bytes), Down::from_bytes(&bytes), Book::from_bytes(&bytes));
    }

    #[test]
    fn items_with_any_body_are_read_within_bounds(
        first in 0x10..0x14u8,
        items in prop::collection::vec((0..13u8, prop::collection::vec(0..12u8, 0..90)), 1..9),
    ) {
        let items = items.iter().flat_map(|(kind, body)| {
            let length = u8::try_from(body.len()).unwrap();
            [*kind, length].into_iter().chain(body.iter().copied()).collect::<Vec<u8>>()
        });
        prop_assert!(bounded(&authentic(first, &items.collect::<Vec<u8>>())));
    }

    #[test]
    fn true_items_with_false_bits_are_read_within_bounds(
        item in up(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 0..6),
        cut in any::<prop::sample::Index>(),
        whole: bool,
    ) {
        let mut bytes = item.to_bytes().unwrap();
        for (place, bit) in &flips {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _alone = Up::from_bytes(&bytes);
        prop_assert!(bounded(&authentic(0x10, &bytes)));
    }
}

#[test]
fn lengths_and_counts_that_are_not_there_take_no_memory() {
    let most = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    for kind in 0..20 {
        // A body that says that it is longer than anything; counts in a body that say so.
        for body in [&most[..], &[0, 0, 0, 0, 0, 0][..], &[12; 40], &[0xFF; 40]] {
            let mut long = vec![kind];
            long.extend(most);
            long.extend(body);
            assert_eq!(met(&authentic(0x10, &long)), None);
            for zeros in 0..20 {
                let length = u8::try_from(zeros + body.len() + most.len()).unwrap();
                let mut item = vec![kind, length];
                item.extend(vec![0; zeros]);
                item.extend(body);
                item.extend(most);
                assert!(bounded(&authentic(0x10, &item)), "kind {kind}, {zeros} zeros");
                assert!(bounded(&authentic(0x11, &item)), "kind {kind}, {zeros} zeros");
            }
        }
    }
}

/// Found by the fuzzer: a span that is too long in milliseconds and yet can be told in days.
#[test]
fn an_alert_that_is_valid_for_ages_is_written_again_as_it_was_read() {
    let item = from_hex("041901270000 0610ffffff56a7a7a700 5001529d9d 9d9d9d9d9d52");
    let item = [&item[..1], &[u8::try_from(item.len() - 2).unwrap()], &item[2..]].concat();
    let Ok(Up::Alert(alert)) = Up::from_bytes(&item) else { panic!("{item:?} is no alert") };
    assert!(alert.expires.since(alert.sent) > Duration::from_millis(1 << 62));
    assert_eq!(met(&authentic(0x10, &item)), Some(4 * size_of::<Up>()));
}

/// The greatest things that fit into the fewest bytes: what is small on the wire stays small in memory.
#[test]
fn rows_of_the_fewest_bytes_take_memory_within_bounds() {
    let room = 60_000;
    let item = |kind: u8, head: &[u8], row: &[u8]| {
        let rows = room / row.len();
        let mut bytes = super::super::bytes::Writer::default();
        let body: Vec<u8> = head
            .iter()
            .copied()
            .chain(row.iter().copied().cycle().take(rows * row.len()))
            .collect();
        bytes.number(kind.into());
        bytes.number(body.len() as u64);
        bytes.bytes(&body);
        bytes.finish()
    };
    let alert = [0, 1, 2, 3, 4, 1, 1, 0, 0, 0, 0, 0, 0, 0];
    let words = [0, 1, 1, 0, 0, 0, 0, 0, 0];
    let long_name = [&[0, 200, 1][..], &[b'n'; 200], &[2, 0, 0]].concat();
    for bytes in [
        item(8, &long_name, &[1, 2, 0, 0]),
        item(8, &[], &[0, 0, 2, 0, 0]),
        item(4, &alert, &[0, 0]),
        item(5, &words, &[0, 1, 0, 0]),
        // A book of 19,990 rules, and of 15,000 signals.
        item(3, &[0, 0x96, 0x9C, 1, 0, 0, 0, 0], &[1, 1, 1]),
        item(3, &[0, 0, 0x98, 0x75, 0, 0, 1, 1, 0], &[1, 1, 1, 0]),
        [5, 0].repeat(ITEMS_MAX),
    ] {
        let read = open_up(&authentic(0x10, &bytes), |_| Some(key(0))).unwrap();
        let readable = |item: &Up| !matches!(item, Up::Other(_)) || bytes.len() < room / 2;
        assert!(read.items.iter().all(readable), "{:?}…", &bytes[..30]);
        assert!(bounded(&authentic(0x10, &bytes)), "{:?}…", &bytes[..30]);
    }
}
