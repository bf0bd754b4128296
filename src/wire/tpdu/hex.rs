//! Octets as the letters of an AT line.

use super::Error;

/// Returns `octets` as pairs of capital hexadecimal digits.
#[must_use]
pub fn to_hex(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut hex, octet| {
        write!(hex, "{octet:02X}").expect("writing to a string cannot fail");
        hex
    })
}

/// Returns the octets of `hex`, digits of either case; white space around them is skipped.
///
/// # Errors
///
/// [`Error::Hex`] for an odd number of digits or another character.
pub fn from_hex(hex: &str) -> Result<Vec<u8>, Error> {
    let digits = hex
        .trim()
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(Error::Hex))
        .collect::<Result<Vec<u8>, Error>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
    } else {
        Err(Error::Hex)
    }
}
