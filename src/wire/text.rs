//! Bytes that travel as text.

use super::payload::{DecodeError, shortened};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    #[default]
    Raw,
    /// Two hex digits a byte; spaces, colons and dashes between them say nothing.
    Hex,
    /// RFC 4648 §4 or §5, with or without padding, whatever stands in the bits that are left over.
    Base64,
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Returns the beginning of a text that others wrote, so many letters at the most, without what would act on a terminal or
/// turn its order around: control characters, and those of Unicode for direction, width and joining (UAX #9, UAX #14).
/// Each run of them becomes a space.
#[must_use]
pub fn printable(text: &str, letters_max: usize) -> String {
    let acts = |letter: &char| {
        letter.is_control()
            || matches!(
                letter,
                '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
            )
            || matches!(letter, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}')
            || matches!(letter, '\u{E0000}'..='\u{E0FFF}')
    };
    let mut after_one = false;
    let shown = text.chars().filter_map(|letter| {
        let is_one = acts(&letter);
        let shown = if is_one { (!after_one).then_some(' ') } else { Some(letter) };
        after_one = is_one;
        shown
    });
    shown.take(letters_max).collect()
}

/// Returns the bytes that `written` stands for.
///
/// # Errors
///
/// When a character stands for nothing, or the last byte is not whole.
pub fn decode(encoding: Encoding, written: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let wrong = |expected, words: String| DecodeError::Syntax { expected, words };
    match encoding {
        Encoding::Raw => Ok(written.into()),
        Encoding::Hex => {
            let digits = written
                .iter()
                .filter(|byte| !byte.is_ascii_whitespace() && !matches!(byte, b':' | b'-'));
            let nibbles: Option<Vec<u8>> = digits.map(|digit| nibble(*digit)).collect();
            let sample = || format!("{:?}", shortened(&String::from_utf8_lossy(written)));
            let nibbles = nibbles.ok_or_else(|| wrong("hex digits", sample()))?;
            let (pairs, rest) = nibbles.as_chunks::<2>();
            if !rest.is_empty() {
                return Err(wrong(
                    "hex digits",
                    format!("an odd number of them, {}", nibbles.len()),
                ));
            }
            Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
        }
        Encoding::Base64 => {
            let written = written.trim_ascii();
            let url_safe = written.iter().any(|byte| matches!(byte, b'-' | b'_'));
            let engine = if url_safe { &URL_SAFE } else { &STANDARD };
            let read = engine.decode(written);
            read.map(Cow::Owned).map_err(|error| wrong("base64", error.to_string()))
        }
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hex_and_base64_are_read_as_people_write_them() {
        let hex = |text: &str| decode(Encoding::Hex, text.as_bytes()).map(Cow::into_owned);
        assert_eq!(hex("03 67:01-10\n"), Ok(vec![3, 0x67, 1, 0x10]));
        assert!(hex("036").is_err());
        assert!(hex("0x36").is_err());
        let base64 = |text: &str| decode(Encoding::Base64, text.as_bytes()).map(Cow::into_owned);
        assert_eq!(base64("A2cBEAVnAP8="), Ok(vec![3, 0x67, 1, 0x10, 5, 0x67, 0, 0xFF]));
        assert_eq!(base64("-_8"), Ok(vec![0xFB, 0xFF]));
        assert_eq!(base64("+/8"), Ok(vec![0xFB, 0xFF]));
        assert!(base64("A2cB*").is_err());
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for encoding in [Encoding::Raw, Encoding::Hex, Encoding::Base64] {
                let _either = decode(encoding, &bytes).is_ok();
            }
        }
    }
}
