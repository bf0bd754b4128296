//! What a node is given once, on its desk or by a code that a telephone reads: who it is, and its key.

use super::buffer::{Buffer, Reader, crc16};
use super::key::{Address, Epoch, Root};
use core::fmt;

/// What a provisioning code begins with.
pub const PREFIX: &str = "WF1:";
/// Network, node, epoch, key, check.
const BYTES: usize = 4 + 2 + 2 + 16 + 2;
/// Letters behind the prefix: five bits each.
const LETTERS: usize = (BYTES * 8).div_ceil(5);
/// Letters of a code.
pub const CODE_LETTERS: usize = PREFIX.len() + LETTERS;
/// RFC 4648 §6.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Who a node is, and its key. Its `Debug` does not show the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provisioning {
    /// Who it is.
    pub address: Address,
    /// Its key.
    pub epoch: Epoch,
}

/// Why letters are no provisioning code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeError {
    /// It does not begin with `WF1:`.
    Prefix,
    /// It has so many letters behind the prefix.
    Length(usize),
    /// The letter of this place behind the prefix, from 1, is none of A to Z and 2 to 7.
    Letter(usize),
    /// Its check does not fit: a letter is wrong.
    Check,
}

impl Provisioning {
    /// Returns the code, in capital letters. It holds the key.
    ///
    /// # Panics
    ///
    /// Never: the longest fits.
    #[must_use]
    pub fn to_code(&self) -> Buffer<CODE_LETTERS> {
        let mut out = Buffer::new();
        self.write(&mut out).expect("4 letters and 42");
        out
    }

    fn write(&self, out: &mut Buffer<CODE_LETTERS>) -> Result<(), super::buffer::Full> {
        let mut bytes = Buffer::<BYTES>::new();
        bytes.extend(&self.address.net.to_be_bytes())?;
        bytes.extend(&self.address.node.to_be_bytes())?;
        bytes.extend(&self.epoch.number.to_be_bytes())?;
        bytes.extend(self.epoch.root.secret_bytes())?;
        bytes.extend(&crc16(&bytes).to_be_bytes())?;
        out.extend(PREFIX.as_bytes())?;
        let (mut pending, mut bits) = (0_u32, 0_u32);
        // 26 bytes are 41 letters and 3 bits; two bits of padding make the last letter whole.
        for byte in bytes.iter().chain(&[0]) {
            pending = pending << 8 | u32::from(*byte);
            bits += 8;
            while bits >= 5 && out.len() < CODE_LETTERS {
                bits -= 5;
                out.push(letter(pending >> bits))?;
            }
            pending &= (1 << bits) - 1;
        }
        Ok(())
    }

    /// Reads a code, in capitals or not. Blanks and hyphens in it are ignored.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it, and where; never what it holds.
    pub fn from_code(code: &str) -> Result<Self, CodeError> {
        let code = code.trim();
        let prefix = code.get(..PREFIX.len()).filter(|p| p.eq_ignore_ascii_case(PREFIX));
        prefix.ok_or(CodeError::Prefix)?;
        let rest = code.get(PREFIX.len()..).unwrap_or_default();
        let letters = || rest.chars().filter(|c| !c.is_ascii_whitespace() && *c != '-');
        let count = letters().count();
        if count != LETTERS {
            return Err(CodeError::Length(count));
        }
        let mut bytes = Buffer::<BYTES>::new();
        let (mut pending, mut bits) = (0_u32, 0_u32);
        for (place, letter) in letters().enumerate() {
            let value = value(letter).ok_or(CodeError::Letter(place + 1))?;
            pending = pending << 5 | value;
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                let [byte, ..] = (pending >> bits).to_le_bytes();
                bytes.push(byte).map_err(|_| CodeError::Check)?;
                pending &= (1 << bits) - 1;
            }
        }
        if pending != 0 {
            return Err(CodeError::Check);
        }
        Self::read(&bytes).ok_or(CodeError::Check)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let address = Address { net: reader.u32()?, node: reader.u16()? };
        let epoch = Epoch { number: reader.u16()?, root: Root::new(reader.take()?) };
        let body = bytes.get(..BYTES - 2)?;
        (reader.u16()? == crc16(body)).then_some(Self { address, epoch })
    }
}

fn letter(bits: u32) -> u8 {
    let place = usize::try_from(bits & 31).unwrap_or(0);
    ALPHABET.get(place).copied().unwrap_or(b'A')
}

fn value(letter: char) -> Option<u32> {
    let letter = u8::try_from(letter).ok()?.to_ascii_uppercase();
    let place = ALPHABET.iter().position(|known| *known == letter)?;
    u32::try_from(place).ok()
}

impl fmt::Display for CodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => write!(f, "provisioning code does not begin with {PREFIX}"),
            Self::Length(count) => write!(
                f,
                "provisioning code has {count} letters behind {PREFIX}, not {LETTERS}; read it again"
            ),
            Self::Letter(place) => write!(
                f,
                "letter {place} of the provisioning code is none of A to Z and 2 to 7; read it again"
            ),
            Self::Check => f.write_str("provisioning code has a wrong letter; read it again"),
        }
    }
}

impl core::error::Error for CodeError {}
