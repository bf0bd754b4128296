use super::super::file::{FileError, Found, MAGIC, TooLong, record, records};
use super::*;

fn file_of(packets: &[Vec<u8>]) -> Vec<u8> {
    let records = packets.iter().flat_map(|packet| record(packet).unwrap());
    MAGIC.into_iter().chain(records).collect()
}

fn found(file: &[u8]) -> Vec<Found<'_>> {
    records(file).unwrap().collect()
}

/// Whether what was found lies in the file without gap or overlap.
fn covers(file: &[u8], found: &[Found<'_>]) -> bool {
    let bytes = found.iter().map(|found| match found {
        Found::Packet(packet) => 12 + packet.len(),
        Found::Damaged(bytes) | Found::Torn(bytes) => *bytes,
    });
    MAGIC.len() + bytes.sum::<usize>() == file.len()
}

fn packets() -> Vec<Vec<u8>> {
    [40, 20, 300, 1, 70].iter().map(|length| (1..=200).cycle().take(*length).collect()).collect()
}

/// Places in the file at which records begin, and its end.
fn begins(packets: &[Vec<u8>]) -> Vec<usize> {
    let mut begins = vec![MAGIC.len()];
    for packet in packets {
        begins.push(begins.last().unwrap() + 12 + packet.len());
    }
    begins
}

#[test]
fn packets_come_back_in_order() {
    let packets = packets();
    let file = file_of(&packets);
    assert!(found(&file).into_iter().eq(packets.iter().map(|packet| Found::Packet(packet))));
    assert_eq!(found(&MAGIC), []);
    // python3 -c 'import zlib; print(hex(zlib.crc32(b"123456789")))'
    assert_eq!(record(b"123456789").unwrap()[..12], from_hex("00000009fffffff6cbf43926"));
    let most = vec![1; PACKET_BYTES_MAX];
    assert_eq!(found(&file_of(std::slice::from_ref(&most))), [Found::Packet(&most)]);
    assert_eq!(record(&[most, vec![2]].concat()), Err(TooLong(PACKET_BYTES_MAX + 1)));
}

#[test]
fn a_file_that_ends_too_early_is_torn_and_not_damaged() {
    let packets = packets();
    let (file, begins) = (file_of(&packets), begins(&packets));
    for length in 0..file.len() {
        let cut = &file[..length];
        if length < MAGIC.len() {
            assert_eq!(records(cut).err(), Some(FileError::Torn), "{length} bytes");
            continue;
        }
        let whole = begins.iter().filter(|begin| **begin <= length).count() - 1;
        let mut expected: Vec<Found<'_>> =
            packets[..whole].iter().map(|packet| Found::Packet(packet)).collect();
        if length > begins[whole] {
            expected.push(Found::Torn(length - begins[whole]));
        }
        assert_eq!(found(cut), expected, "{length} bytes");
        // A file system that had counted the bytes and not written them shows zeros.
        let zeros: Vec<u8> = cut.iter().copied().chain(vec![0; 50]).collect();
        let seen = found(&zeros);
        assert_eq!(seen[..whole], expected[..whole]);
        let none = |found: &Found<'_>| !matches!(found, Found::Packet(_));
        assert!(seen[whole..].iter().all(none), "{length} bytes and zeros: {seen:?}");
        if length == begins[whole] {
            assert_eq!(seen[whole..], [Found::Torn(50)]);
        }
    }
}

#[test]
fn whoever_writes_on_behind_a_torn_record_loses_that_one_alone() {
    let packets = packets();
    let (file, begins) = (file_of(&packets), begins(&packets));
    for length in begins[2] + 1..begins[3] {
        let mut torn = file[..length].to_vec();
        torn.extend(record(b"the first one after a cut").unwrap());
        torn.extend(record(b"and the next").unwrap());
        let seen = found(&torn);
        let expected = [
            Found::Packet(&packets[0]),
            Found::Packet(&packets[1]),
            Found::Damaged(length - begins[2]),
            Found::Packet(b"the first one after a cut"),
            Found::Packet(b"and the next"),
        ];
        assert_eq!(seen, expected, "{length} bytes");
    }
}

#[test]
fn damage_costs_the_record_that_it_hit() {
    let packets = packets();
    let (file, begins) = (file_of(&packets), begins(&packets));
    for place in 0..file.len() * 8 {
        let mut hit = file.clone();
        hit[place / 8] ^= 1 << (place % 8);
        if place / 8 < MAGIC.len() {
            assert_eq!(records(&hit).err(), Some(FileError::Foreign));
            continue;
        }
        let record = begins.iter().filter(|begin| **begin <= place / 8).count() - 1;
        let seen = found(&hit);
        assert!(covers(&hit, &seen), "bit {place}: {seen:?}");
        assert_eq!(seen.len(), packets.len(), "bit {place}: {seen:?}");
        for (number, found) in seen.iter().enumerate() {
            if number == record {
                let bytes = begins[record + 1] - begins[record];
                assert_eq!(*found, Found::Damaged(bytes), "bit {place}");
            } else {
                assert_eq!(*found, Found::Packet(&packets[number]), "bit {place}");
            }
        }
    }
    assert_eq!(records(b"<!DOCTYPE html>").err(), Some(FileError::Foreign));
}

proptest! {
    #[test]
    fn any_bytes_are_looked_through_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let file: Vec<u8> = MAGIC.into_iter().chain(bytes).collect();
        let seen = found(&file);
        prop_assert!(covers(&file, &seen));
        prop_assert!(seen.len() <= 1 + file.len() / 12);
    }

    #[test]
    fn whatever_is_cut_out_or_put_in_the_other_packets_come_back(
        keep in prop::collection::vec(any::<bool>(), 8),
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 8),
    ) {
        let packets: Vec<Vec<u8>> = (0..8).map(|n: u8| vec![n; usize::from(n) * 20 + 1]).collect();
        let mut file = MAGIC.to_vec();
        for ((packet, keep), noise) in packets.iter().zip(&keep).zip(&noise) {
            file.extend(if *keep { record(packet).unwrap() } else { noise.clone() });
        }
        let seen = found(&file);
        prop_assert!(covers(&file, &seen));
        let back: Vec<&[u8]> = seen.iter().filter_map(|found| match found {
            Found::Packet(packet) => Some(*packet),
            Found::Damaged(_) | Found::Torn(_) => None,
        }).collect();
        let kept: Vec<&[u8]> =
            packets.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(p, _)| &p[..]).collect();
        prop_assert_eq!(back, kept);
    }
}

/// Heads without end, each of a record with a wrong checksum that reaches over all others.
#[test]
fn a_file_of_nothing_but_false_heads_is_given_up_soon() {
    let length = 200_000_u32;
    let head: Vec<u8> = [length.to_be_bytes(), (!length).to_be_bytes()].concat();
    let mut file = MAGIC.to_vec();
    file.push(7);
    file.extend(head.repeat(60_000));
    file.extend(record(b"behind").unwrap());
    let seen = found(&file);
    assert!(covers(&file, &seen));
    assert_eq!(seen.len(), 1, "looked for 256 times, and no more: {}", seen.len());
}
