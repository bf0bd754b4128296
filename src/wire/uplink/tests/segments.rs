use super::super::segments::{
    Added, Ask, PACKET_BYTES_MAX, PIECE_BYTES, Patience, Reassembler, TooLong, pieces,
};
use super::*;
use crate::wire::tpdu::{Body, Concat, Element, Reference, UserData};

const PATIENCE: Patience = Patience {
    ask_after: Duration::from_mins(10),
    asks_max: 3,
    forget_after: Duration::from_hours(24),
};

fn at(minutes: u64) -> Timestamp {
    Timestamp::default() + Duration::from_mins(minutes)
}

/// A packet of its own bytes.
fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..=250).cycle().map(|n| seed.wrapping_mul(31) ^ n).take(length).collect()
}

fn whole(packet: &[u8], reference: u16) -> Added {
    Added::Whole { packet: packet.to_vec(), reference: Some(reference) }
}

#[test]
fn a_packet_is_cut_where_messages_are_full() {
    for (length, count) in [(1, 1), (140, 1), (141, 2), (266, 2), (267, 3), (PACKET_BYTES_MAX, 255)]
    {
        let packet = bytes(length, 1);
        let cut = pieces(&packet, 0xABCD).unwrap();
        assert_eq!(cut.len(), count, "{length} bytes");
        let mut joined: Vec<u8> = Vec::new();
        for (number, piece) in (1..=u8::MAX).zip(&cut) {
            let place = Concat {
                reference: Reference::Wide(0xABCD),
                total: u8::try_from(count).unwrap(),
                part: number,
            };
            assert_eq!(piece.concat(), (count > 1).then_some(place));
            let Body::Octets(octets) = piece.body() else { panic!("{piece:?}") };
            assert!(octets.len() == PIECE_BYTES || usize::from(number) == count);
            joined.extend(octets);
        }
        assert_eq!(joined, packet);
    }
    assert_eq!(PACKET_BYTES_MAX, 33_915);
    assert_eq!(pieces(&bytes(33_916, 1), 0), Err(TooLong(33_916)));
}

#[test]
fn pieces_join_in_any_order_and_come_again_without_harm() {
    let packet = bytes(600, 2);
    let cut = pieces(&packet, 7).unwrap();
    let mut held = Reassembler::new(4, PATIENCE);
    for part in [3, 0, 4, 1] {
        assert_eq!(held.add(&"A", &cut[part], at(0)), Added::Held);
        assert_eq!(held.add(&"A", &cut[part], at(0)), Added::Again);
    }
    assert_eq!(held.add(&"B", &cut[2], at(0)), Added::Held, "somebody else's");
    assert_eq!(held.add(&"A", &cut[2], at(0)), whole(&packet, 7));
    for piece in &cut {
        assert_eq!(held.add(&"A", piece, at(1)), Added::Again, "and begins nothing new");
    }
    let short = bytes(100, 3);
    let piece = pieces(&short, 8).unwrap().remove(0);
    let alone = Added::Whole { packet: short, reference: None };
    assert_eq!(held.add(&"A", &piece, at(1)), alone);
    assert_eq!(held.add(&"A", &piece, at(1)), alone, "a packet is harmless when it comes twice");
}

#[test]
fn what_is_no_piece_of_a_packet_is_foreign() {
    let mut held = Reassembler::new(4, PATIENCE);
    let text = UserData::text("STATUS").unwrap();
    assert_eq!(held.add(&1, &text, at(0)), Added::Foreign);
    let place = Concat { reference: Reference::Narrow(1), total: 2, part: 1 };
    let narrow = UserData::new(vec![Element::Concat(place)], Body::Octets(vec![1])).unwrap();
    assert_eq!(held.add(&1, &narrow, at(0)), Added::Foreign);
    assert_eq!(held.next_deadline(), None);
}

#[test]
fn what_is_missing_is_asked_for_ever_more_seldom() {
    let cut = pieces(&bytes(600, 4), 9).unwrap();
    let mut held = Reassembler::new(4, PATIENCE);
    held.add(&"A", &cut[0], at(0));
    held.add(&"A", &cut[3], at(2));
    assert_eq!(held.next_deadline(), Some(at(12)));
    assert!(held.ask(at(11)).is_empty());
    let ask = |parts: &[u8]| {
        let repair = Repair { reference: 9, total: 5, parts: parts.to_vec() };
        vec![Ask { from: "A", repair }]
    };
    assert_eq!(held.ask(at(12)), ask(&[2, 3, 5]));
    assert!(held.ask(at(12)).is_empty());
    assert_eq!(held.next_deadline(), Some(at(32)), "in twice the time");
    assert_eq!(held.ask(at(32)), ask(&[2, 3, 5]));
    assert_eq!(held.next_deadline(), Some(at(72)));
    // A new piece shows that asking helps.
    held.add(&"A", &cut[4], at(40));
    assert_eq!(held.next_deadline(), Some(at(50)));
    assert_eq!(held.ask(at(50)), ask(&[2, 3]));
    assert_eq!(held.ask(at(70)), ask(&[2, 3]));
    assert_eq!(held.ask(at(110)), ask(&[2, 3]));
    assert_eq!(held.next_deadline(), Some(at(40 + 24 * 60)), "asked for as often as it may be");
    assert!(held.ask(at(24 * 60)).is_empty());
    assert_eq!((held.expire(at(39 + 24 * 60)), held.lost()), (0, 0));
    assert_eq!((held.expire(at(40 + 24 * 60)), held.lost()), (1, 1));
    assert_eq!(held.next_deadline(), None);
}

#[test]
fn a_packet_that_is_whole_is_not_asked_for_and_not_lost() {
    let cut = pieces(&bytes(200, 5), 9).unwrap();
    let mut held = Reassembler::new(4, PATIENCE);
    for piece in &cut {
        held.add(&"A", piece, at(0));
    }
    assert_eq!(held.next_deadline(), Some(at(24 * 60)));
    assert!(held.ask(at(24 * 60)).is_empty());
    assert_eq!((held.expire(at(24 * 60)), held.lost()), (0, 0));
}

#[test]
fn a_reference_that_comes_round_begins_a_new_packet() {
    let (old, new) = (bytes(250, 6), bytes(251, 7));
    let (first, second) = (pieces(&old, 1).unwrap(), pieces(&new, 1).unwrap());
    let mut held = Reassembler::new(4, PATIENCE);
    held.add(&"A", &first[0], at(0));
    assert_eq!(held.add(&"A", &second[0], at(9)), Added::Held);
    assert_eq!(held.lost(), 1);
    assert_eq!(held.add(&"A", &second[1], at(9)), whole(&new, 1));
    // After one that was whole nothing is lost.
    assert_eq!(held.add(&"A", &first[0], at(10)), Added::Held);
    assert_eq!(held.add(&"A", &first[1], at(10)), whole(&old, 1));
    assert_eq!(held.lost(), 1);
}

#[test]
fn a_packet_that_was_mixed_up_is_forgotten_and_comes_again() {
    let packet = bytes(250, 8);
    let mut forged = pieces(&bytes(250, 9), 1).unwrap();
    let cut = pieces(&packet, 1).unwrap();
    let mut held = Reassembler::new(4, PATIENCE);
    held.add(&"A", &forged.remove(0), at(0));
    let mixed = held.add(&"A", &cut[1], at(0));
    assert!(matches!(&mixed, Added::Whole { packet: joined, .. } if *joined != packet));
    held.forget(&"B", 1);
    assert_eq!(held.add(&"A", &cut[1], at(1)), Added::Again);
    held.forget(&"A", 1);
    assert_eq!(held.add(&"A", &cut[1], at(1)), Added::Held);
    assert_eq!(held.add(&"A", &cut[0], at(1)), whole(&packet, 1));
}

#[test]
fn the_bound_pushes_out_what_has_been_quiet_longest_and_what_is_whole_first() {
    let cut = |seed: u8| pieces(&bytes(250, seed), seed.into()).unwrap();
    let mut held = Reassembler::new(2, PATIENCE);
    held.add(&"A", &cut(1)[0], at(0));
    held.add(&"A", &cut(2)[0], at(1));
    assert_eq!(held.add(&"A", &cut(2)[1], at(1)), whole(&bytes(250, 2), 2));
    held.add(&"A", &cut(3)[0], at(2));
    assert_eq!(held.lost(), 0, "the whole one went");
    assert_eq!(held.add(&"A", &cut(1)[1], at(3)), whole(&bytes(250, 1), 1));
    held.add(&"A", &cut(4)[0], at(4));
    held.add(&"A", &cut(5)[0], at(5));
    assert_eq!(held.lost(), 1, "of two that are not whole the older one went");
    assert_eq!(held.add(&"A", &cut(4)[1], at(6)), whole(&bytes(250, 4), 4));
}

proptest! {
    /// A network that loses, doubles and mixes the pieces of several packets of several senders: what is asked for and
    /// sent again in the end makes every packet whole, once each, and no piece goes again that was there.
    #[test]
    fn every_packet_gets_through_a_network_that_loses_doubles_and_mixes(
        lengths in prop::collection::vec(141..3_000usize, 1..6),
        fates in prop::collection::vec((0..100u8, any::<prop::sample::Index>()), 400),
        loss in 0..60u8,
    ) {
        let packets: Vec<Vec<u8>> =
            (0..).zip(&lengths).map(|(seed, length)| bytes(*length, seed)).collect();
        let cut: Vec<Vec<UserData>> =
            (0..).zip(&packets).map(|(n, packet)| pieces(packet, n / 2).unwrap()).collect();
        let forget_after = Duration::from_hours(1 << 20);
        let patience = Patience { asks_max: 60, forget_after, ..PATIENCE };
        let mut held = Reassembler::new(8, patience);
        let mut air: Vec<(usize, usize)> =
            cut.iter().enumerate().flat_map(|(n, c)| (0..c.len()).map(move |p| (n, p))).collect();
        let (mut fates, mut now, mut found) = (fates.into_iter().cycle(), at(0), vec![0; cut.len()]);
        let mut came = std::collections::BTreeSet::new();
        for _round in 0..200 {
            while !air.is_empty() {
                let (fate, place) = fates.next().unwrap();
                let (n, part) = air.swap_remove(place.index(air.len()));
                if fate < loss {
                    continue;
                }
                // Two senders, whose references are the same.
                for _copy in 0..=(fate % 3) / 2 {
                    let added = held.add(&(n % 2), &cut[n][part], now);
                    if let Added::Whole { packet, reference } = added {
                        prop_assert_eq!(&packet, &packets[n]);
                        prop_assert_eq!(reference.map(usize::from), Some(n / 2));
                        found[n] += 1;
                    }
                }
                came.insert((n, part));
            }
            // Where nothing came of anything, nobody waits for anything.
            now = held.next_deadline().unwrap_or(now).max(now);
            prop_assert_eq!(held.expire(now), 0);
            for Ask { from, repair } in held.ask(now) {
                let n = usize::from(repair.reference) * 2 + from;
                prop_assert_eq!(usize::from(repair.total), cut[n].len());
                for part in repair.parts {
                    let part = usize::from(part) - 1;
                    prop_assert!(!came.contains(&(n, part)), "a piece that was there");
                    air.push((n, part));
                }
            }
            // A packet of which nothing came is the sender's to send again: it gets no answer.
            for (n, c) in cut.iter().enumerate() {
                if !came.iter().any(|(packet, _)| *packet == n) {
                    air.extend((0..c.len()).map(|part| (n, part)));
                }
            }
            if found.iter().all(|count| *count == 1) {
                break;
            }
        }
        prop_assert_eq!(found, vec![1; cut.len()]);
        prop_assert_eq!(held.lost(), 0);
    }
}
