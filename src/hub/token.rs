//! One-time tokens: what an operator hands to whoever sets a gateway up.

use super::Error;
use sha2::{Digest as _, Sha256};

/// RFC 4648 §6: no digit that is taken for a letter.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Random bytes of a token: as many as nobody guesses, and 32 letters exactly.
const TOKEN_BYTES: usize = 20;

/// Draws a token.
///
/// # Errors
///
/// [`Error::Random`].
pub fn draw() -> Result<String, Error> {
    Ok(base32(&super::random::<TOKEN_BYTES>()?))
}

/// Returns what is kept of a token. Typed by hand, it may have small letters, spaces and hyphens.
#[must_use]
pub fn hash(token: &str) -> [u8; 32] {
    let plain = |c: &char| !c.is_whitespace() && *c != '-';
    let token: String = token.chars().filter(plain).map(|c| c.to_ascii_uppercase()).collect();
    Sha256::digest(token.as_bytes()).into()
}

fn base32(bytes: &[u8; TOKEN_BYTES]) -> String {
    let five = |group: &[u8]| group.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let letters = bytes.chunks(5).flat_map(|group| {
        let bits = five(group);
        (0..8).rev().filter_map(move |place| {
            ALPHABET.get(usize::try_from(bits >> (5 * place) & 31).ok()?).copied()
        })
    });
    letters.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_base32_as_in_the_standard() {
        let mut bytes = [0; TOKEN_BYTES];
        bytes[..10].copy_from_slice(b"foobafooba");
        // RFC 4648 §10: "fooba" is MZXW6YTB.
        assert_eq!(base32(&bytes), "MZXW6YTBMZXW6YTBAAAAAAAAAAAAAAAA");
    }

    #[test]
    fn a_token_is_known_however_it_is_typed_and_no_two_are_the_same() {
        let token = draw().unwrap();
        let (first, rest) = token.split_at(8);
        assert_eq!(hash(&token), hash(&format!(" {}-{rest}\n", first.to_lowercase())));
        assert_ne!(hash(&token), hash(&draw().unwrap()));
    }
}
