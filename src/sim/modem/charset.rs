//! The character sets of `AT+CSCS`.

use crate::wire::gsm7::Alphabet;
use crate::wire::tpdu::{from_hex, to_hex};

/// Returns `text` in the character set `charset`.
pub(super) fn encode(text: &str, charset: &str) -> Vec<u8> {
    match charset {
        "UCS2" => {
            let octets: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
            to_hex(&octets).into_bytes()
        }
        "HEX" => to_hex(&septets(text)).into_bytes(),
        "GSM" => septets(text),
        "8859-1" => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
        _ascii => text.chars().map(|c| if c.is_ascii() { c as u8 } else { b'?' }).collect(),
    }
}

/// Returns the text of `bytes` in the character set `charset`; `None` when they are none.
pub(super) fn decode(bytes: &[u8], charset: &str) -> Option<String> {
    match charset {
        "UCS2" => {
            let octets = from_hex(std::str::from_utf8(bytes).ok()?).ok()?;
            let (pairs, rest) = octets.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().copied().map(u16::from_be_bytes).collect();
            rest.is_empty().then(|| String::from_utf16_lossy(&units))
        }
        "HEX" => {
            let octets = from_hex(std::str::from_utf8(bytes).ok()?).ok()?;
            Some(Alphabet::DEFAULT.decode(&octets))
        }
        "GSM" => Some(Alphabet::DEFAULT.decode(bytes)),
        _latin => Some(bytes.iter().copied().map(char::from).collect()),
    }
}

/// Returns `text` in the default alphabet, one septet to a byte, `?` for what it lacks.
fn septets(text: &str) -> Vec<u8> {
    let one = |c: char| Alphabet::DEFAULT.encode(c.encode_utf8(&mut [0; 4]));
    text.chars().flat_map(|c| one(c).unwrap_or_else(|| vec![b'?'])).collect()
}
