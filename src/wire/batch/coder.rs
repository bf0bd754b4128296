//! A binary range coder: bits of known or learned probability in, bytes out, and back.
//!
//! One walk over a block serves both ways: a [`Code`] that writes returns what it was given, one that reads returns what
//! it found.

use super::DecodeError;
use super::model::Bit;

/// Bytes that the decoder looks ahead, which the encoder leaves out where they are zero.
const AHEAD: usize = 4;
/// Most bits that are coded at once without a model.
const PLAIN_BITS: u32 = 16;
const RENEW_BELOW: u32 = 1 << 24;

/// A place that bits go to or come from.
pub(super) trait Code {
    /// Codes one bit, which is 1 `one` times of 65,536.
    fn chance(&mut self, one: u16, bit: bool) -> Result<bool, DecodeError>;

    /// Codes one of `of` numbers, each as likely; at most 65,536.
    fn uniform(&mut self, value: u32, of: u32) -> Result<u32, DecodeError>;

    /// Codes one bit by what `model` expects, and teaches it.
    fn bit(&mut self, model: &mut Bit, bit: bool) -> Result<bool, DecodeError> {
        let bit = self.chance(model.one(), bit)?;
        model.learn(bit);
        Ok(bit)
    }

    /// Codes one bit, which is 1 as often as `part` of `all`; both below 2^44.
    fn share(&mut self, part: u64, all: u64, bit: bool) -> Result<bool, DecodeError> {
        let one = (((part + 1) << 16) / (all + 2)).clamp(1, 65_535);
        self.chance(u16::try_from(one).unwrap_or(u16::MAX), bit)
    }

    /// Codes the lowest `bits` of `value`, at most 64, highest first.
    fn plain(&mut self, value: u64, bits: u32) -> Result<u64, DecodeError> {
        let mut left = bits;
        let mut read = 0u64;
        while left > 0 {
            let now = left.min(PLAIN_BITS);
            left -= now;
            let part = (value >> left) & ((1 << now) - 1);
            let part = self.uniform(u32::try_from(part).unwrap_or(0), 1 << now)?;
            read = (read << now) | u64::from(part);
        }
        Ok(read)
    }

    /// Codes a number of unknown size: how many bits it has, then these but for the highest.
    fn sized(&mut self, value: u64) -> Result<u64, DecodeError> {
        let length = self.uniform(64 - value.leading_zeros(), 65)?;
        let Some(below) = length.checked_sub(1) else { return Ok(0) };
        let top = 1u64 << below;
        Ok(top | self.plain(value & (top - 1), below)?)
    }

    /// Codes a signed number of unknown size.
    fn signed(&mut self, value: i64) -> Result<i64, DecodeError> {
        let folded = (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned();
        let folded = self.sized(folded)?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }
}

/// Writes.
pub(super) struct Encoder {
    low: u64,
    range: u32,
    held: u8,
    held_more: usize,
    begun: bool,
    bytes: Vec<u8>,
}

impl Encoder {
    /// Returns a coder that appends to `bytes`.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { low: 0, range: u32::MAX, held: 0, held_more: 0, begun: false, bytes }
    }

    /// Writes the highest byte of `low`, or holds it back as long as a carry may still change it.
    fn shift(&mut self) {
        let carry = u8::from(self.low > u64::from(u32::MAX));
        if carry == 1 || self.low < 0xFF00_0000 {
            // The first byte held is always 0 and never written.
            if self.begun {
                self.bytes.push(self.held.wrapping_add(carry));
            }
            self.begun = true;
            for _ in 0..self.held_more {
                self.bytes.push(0xFF_u8.wrapping_add(carry));
            }
            self.held_more = 0;
            self.held = u8::try_from((self.low >> 24) & 0xFF).unwrap_or(0);
        } else {
            self.held_more += 1;
        }
        self.low = (self.low & 0x00FF_FFFF) << 8;
    }

    fn renew(&mut self) {
        while self.range < RENEW_BELOW {
            self.range <<= 8;
            self.shift();
        }
    }

    /// Returns the bytes: as few as tell the last interval.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let end = self.low + u64::from(self.range);
        for zeros in [24, 16, 8] {
            let mask = (1u64 << zeros) - 1;
            let short = (self.low + mask) & !mask;
            if short < end {
                self.low = short;
                break;
            }
        }
        for _ in 0..=AHEAD {
            self.shift();
        }
        for _ in 0..AHEAD {
            if self.bytes.len() > 1 && self.bytes.last() == Some(&0) {
                self.bytes.pop();
            }
        }
        self.bytes
    }
}

impl Code for Encoder {
    fn chance(&mut self, one: u16, bit: bool) -> Result<bool, DecodeError> {
        let bound = (self.range >> 16) * u32::from(one);
        if bit {
            self.range = bound;
        } else {
            self.low += u64::from(bound);
            self.range -= bound;
        }
        self.renew();
        Ok(bit)
    }

    fn uniform(&mut self, value: u32, of: u32) -> Result<u32, DecodeError> {
        self.range /= of.max(1);
        self.low += u64::from(self.range) * u64::from(value);
        self.renew();
        Ok(value)
    }
}

/// Reads.
pub(super) struct Decoder<'a> {
    code: u32,
    range: u32,
    bytes: &'a [u8],
    read: usize,
}

impl<'a> Decoder<'a> {
    /// Returns a coder that reads `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { code: 0, range: u32::MAX, bytes, read: 0 };
        for _ in 0..AHEAD {
            decoder.next();
        }
        decoder
    }

    fn next(&mut self) {
        let byte = self.bytes.get(self.read).copied().unwrap_or(0);
        self.read += 1;
        self.code = (self.code << 8) | u32::from(byte);
    }

    fn renew(&mut self) -> Result<(), DecodeError> {
        while self.range < RENEW_BELOW {
            self.range <<= 8;
            self.next();
        }
        if self.read > self.bytes.len() + AHEAD { Err(DecodeError::Truncated) } else { Ok(()) }
    }

    /// Checks that all bytes were read.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        let over = self.bytes.len().saturating_sub(self.read);
        if over > 0 { Err(DecodeError::Trailing(over)) } else { Ok(()) }
    }
}

impl Code for Decoder<'_> {
    fn chance(&mut self, one: u16, _bit: bool) -> Result<bool, DecodeError> {
        let bound = (self.range >> 16) * u32::from(one);
        let bit = self.code < bound;
        if bit {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        self.renew()?;
        Ok(bit)
    }

    fn uniform(&mut self, _value: u32, of: u32) -> Result<u32, DecodeError> {
        self.range /= of.max(1);
        let value = self.code / self.range;
        if value >= of {
            return Err(DecodeError::Corrupt("bits that no encoder writes"));
        }
        self.code -= value * self.range;
        self.renew()?;
        Ok(value)
    }
}
