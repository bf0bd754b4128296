//! Integers of any number of bits, the highest bit first.

use super::buffer::Full;
use super::frame::Payload;

pub(super) struct BitWriter {
    out: Payload,
    pending: u64,
    bits: u32,
}

impl BitWriter {
    pub(super) const fn new() -> Self {
        Self { out: Payload::new(), pending: 0, bits: 0 }
    }

    /// Puts the low `bits`, at most 32, of `value`.
    pub(super) fn put(&mut self, value: u32, bits: u32) -> Result<(), Full> {
        let value = u64::from(value) & ((1 << bits) - 1);
        self.pending = self.pending << bits | value;
        self.bits += bits;
        while let Some(rest) = self.bits.checked_sub(8) {
            let [byte, ..] = (self.pending >> rest).to_le_bytes();
            self.out.push(byte)?;
            self.bits = rest;
            self.pending &= (1 << rest) - 1;
        }
        Ok(())
    }

    /// Returns the bytes; what is missing of the last one is 0.
    pub(super) fn finish(mut self) -> Result<Payload, Full> {
        if self.bits > 0 {
            self.put(0, 8 - self.bits)?;
        }
        Ok(self.out)
    }
}

#[derive(Clone, Copy)]
pub(super) struct BitReader<'a> {
    rest: &'a [u8],
    pending: u64,
    bits: u32,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, pending: 0, bits: 0 }
    }

    /// Takes `bits`, at most 32.
    pub(super) fn get(&mut self, bits: u32) -> Option<u32> {
        while self.bits < bits {
            let [byte, rest @ ..] = self.rest else { return None };
            self.pending = self.pending << 8 | u64::from(*byte);
            self.bits += 8;
            self.rest = rest;
        }
        self.bits -= bits;
        let value = self.pending >> self.bits;
        self.pending &= (1 << self.bits) - 1;
        u32::try_from(value).ok()
    }

    /// Returns whether nothing is left but the zeros that fill the last byte.
    pub(super) const fn is_padding(&self) -> bool {
        self.rest.is_empty() && self.bits < 8 && self.pending == 0
    }
}
