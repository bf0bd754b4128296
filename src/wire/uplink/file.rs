//! Packets in a file: on a stick that somebody carries.
//!
//! A file begins with [`MAGIC`]; each packet follows in a [`record`] of its own, so that a file grows by appending.
//! [`records`] finds them again, and tells a file that ends too early from one that is damaged.

use super::PACKET_BYTES_MAX;

/// The first bytes of a file.
pub const MAGIC: [u8; 8] = *b"kengele\x01";
/// Bytes of a record before its packet: length, its complement, checksum.
const HEAD_BYTES: usize = 12;
/// Places at which records are looked for by their checksums behind damage, in one file. Each costs a packet's length.
const LOOKS_MAX: u32 = 256;

/// Why bytes are no file of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It begins otherwise.
    #[error("not a file of packets")]
    Foreign,
    /// It ends within its first bytes: it was torn off when it was begun.
    #[error("the file ends within its first 8 bytes")]
    Torn,
}

/// A packet is too long for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes are too many for a packet: at most {PACKET_BYTES_MAX}")]
pub struct TooLong(pub usize);

/// What stands in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A packet, not opened yet: its checksum fits, its tag is its own.
    Packet(&'a [u8]),
    /// So many bytes that are not as they were written; the next record comes after them.
    Damaged(usize),
    /// So many last bytes of a record that was not written to its end: the last of a file.
    Torn(usize),
}

/// Returns a packet as a record.
///
/// # Errors
///
/// [`TooLong`].
pub fn record(packet: &[u8]) -> Result<Vec<u8>, TooLong> {
    let fits = packet.len() <= PACKET_BYTES_MAX;
    let length = u32::try_from(packet.len()).ok().filter(|_| fits);
    let length = length.ok_or(TooLong(packet.len()))?;
    let mut record = Vec::with_capacity(HEAD_BYTES + packet.len());
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(&(!length).to_be_bytes());
    record.extend_from_slice(&crc32(packet).to_be_bytes());
    record.extend_from_slice(packet);
    Ok(record)
}

/// Returns what stands in a file, in order.
///
/// # Errors
///
/// [`FileError`], by its first bytes.
pub fn records(file: &[u8]) -> Result<Records<'_>, FileError> {
    match file.strip_prefix(&MAGIC) {
        Some(rest) => Ok(Records { rest, looks: 0 }),
        None if MAGIC.starts_with(file) => Err(FileError::Torn),
        None => Err(FileError::Foreign),
    }
}

/// The records of a file: see [`records`].
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    looks: u32,
}

impl<'a> Iterator for Records<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let found = match look(self.rest) {
            Look::Packet(packet, rest) => {
                self.rest = rest;
                return Some(Found::Packet(packet));
            }
            Look::Spoilt(bytes) => self.search(bytes, Found::Damaged(bytes)),
            Look::Short => self.search(self.rest.len(), Found::Torn(self.rest.len())),
            Look::Nothing => self.search(self.rest.len(), self.without_records()),
        };
        let (Found::Damaged(bytes) | Found::Torn(bytes)) = found else { return None };
        self.rest = self.rest.get(bytes..).unwrap_or_default();
        Some(found)
    }
}

impl Records<'_> {
    /// Looks for a record before `end`: somebody may have written on behind a record that was torn off.
    fn search<'f>(&mut self, end: usize, otherwise: Found<'f>) -> Found<'f> {
        for place in 1..end {
            if self.looks == LOOKS_MAX {
                break;
            }
            match self.rest.get(place..).map_or(Look::Nothing, look) {
                Look::Packet(..) => return Found::Damaged(place),
                Look::Spoilt(_) => self.looks += 1,
                Look::Short | Look::Nothing => {}
            }
        }
        otherwise
    }

    /// Returns what the rest is when no record is in it. File systems show zeros for a tail that was never written.
    fn without_records(&self) -> Found<'static> {
        let all = self.rest.len();
        let unwritten = self.rest.iter().all(|byte| *byte == 0);
        if unwritten { Found::Torn(all) } else { Found::Damaged(all) }
    }
}

/// What stands at the begin of some bytes.
enum Look<'a> {
    Packet(&'a [u8], &'a [u8]),
    /// A record of so many bytes whose packet is not what it was.
    Spoilt(usize),
    /// The begin of a record, and no more.
    Short,
    Nothing,
}

fn look(bytes: &[u8]) -> Look<'_> {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Look::Short;
    };
    let length = u32::from_be_bytes(*length);
    let Ok(size) = usize::try_from(length) else { return Look::Nothing };
    if size > PACKET_BYTES_MAX {
        return Look::Nothing;
    }
    let complement = (!length).to_be_bytes();
    let Some((check, rest)) = rest.split_first_chunk::<4>() else {
        return if complement.starts_with(rest) { Look::Short } else { Look::Nothing };
    };
    if *check != complement {
        return Look::Nothing;
    }
    let Some((crc, rest)) = rest.split_first_chunk() else { return Look::Short };
    let Some((packet, rest)) = rest.split_at_checked(size) else { return Look::Short };
    if crc32(packet) == u32::from_be_bytes(*crc) {
        Look::Packet(packet, rest)
    } else {
        Look::Spoilt(HEAD_BYTES + size)
    }
}

/// CRC-32 of ISO 3309, as zlib and Ethernet have it.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let place = usize::from(crc.to_le_bytes()[0] ^ byte);
        TABLE.get(place).copied().unwrap_or_default() ^ (crc >> 8)
    })
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut rest: &mut [u32] = &mut table;
    let mut number = 0;
    while let [first, others @ ..] = rest {
        let mut crc: u32 = number;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        *first = crc;
        rest = others;
        number += 1;
    }
    table
}
