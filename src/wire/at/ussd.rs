//! USSD texts: what modems write between the quotes of `AT+CUSD` and `+CUSD`.

use crate::wire::gsm7::{Alphabet, pack, unpack};
use crate::wire::tpdu::{from_hex, to_hex};

/// Returns `code` as packed septets in hexadecimal digits: `*100#` is `AA180C3602`. `None` when a character is no GSM
/// letter.
///
/// With one septet short of an octet, CR fills the last, lest it be read as `@` (3GPP TS 23.038 §6.1.2.3.1).
#[must_use]
pub fn pack_ussd(code: &str) -> Option<String> {
    let mut septets = Alphabet::DEFAULT.encode(code)?;
    if septets.len() % 8 == 7 {
        septets.push(b'\r');
    }
    Some(to_hex(&pack(&septets, 0)))
}

/// Returns the text of a USSD answer.
///
/// What the modem wrote is decoded by trial, because modems disagree with the scheme that they name: digits in pairs are
/// UCS-2 when the scheme says so or when they make sense as such, then ASCII, then packed septets when those make sense,
/// and else the text is what it looks like.
#[must_use]
pub fn ussd_text(written: &str, scheme: u8) -> String {
    let Ok(octets) = from_hex(written) else { return written.trim_end().to_owned() };
    if octets.len() < 2 {
        return written.to_owned();
    }
    if let Some(text) = ucs2(&octets).filter(|text| is_ucs2(scheme) || is_sensible(text)) {
        return text;
    }
    // One octet a letter: packed septets of any length have octets that are no letters.
    if octets.len() >= 4 && octets.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\r' | b'\n'))
    {
        return octets
            .iter()
            .map(|octet| char::from(*octet))
            .collect::<String>()
            .trim_end()
            .to_owned();
    }
    let septets = unpack(&octets, octets.len() * 8 / 7, 0);
    let text = Alphabet::DEFAULT.decode(&septets);
    let text = text.trim_end_matches(['\r', '@']).to_owned();
    if is_sensible(&text) { text } else { written.to_owned() }
}

/// Cell broadcast data coding groups whose alphabet bits say UCS-2: 3GPP TS 23.038 §5.
const fn is_ucs2(scheme: u8) -> bool {
    matches!(scheme >> 4, 0b0100..=0b0111 | 0b1001) && scheme & 0b1100 == 0b1000
}

fn ucs2(octets: &[u8]) -> Option<String> {
    let (pairs, rest) = octets.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    String::from_utf16(&pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect::<Vec<_>>()).ok()
}

/// A text that an operator might write: nine tenths of it letters, digits, spaces and common marks of scripts up to
/// Arabic and of the Indic block, and at least one of them a letter or a space.
fn is_sensible(text: &str) -> bool {
    let common = |c: char| {
        c.is_ascii_graphic()
            || matches!(c, ' ' | '\n' | '\r' | '\u{a0}'..='\u{6ff}' | '\u{900}'..='\u{dff}' | '€')
    };
    let all = text.chars().count();
    let good = text.chars().filter(|c| common(*c)).count();
    let lettered = text.chars().any(|c| c.is_ascii_alphabetic() || c == ' ' || c == '\n');
    all > 0 && lettered && good * 10 >= all * 9
}
