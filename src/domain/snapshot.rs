//! The form in which the engine's state is kept: numbers one after the other, most of them in one or two bytes.
//!
//! Unsigned numbers are LEB128, signed ones zigzag first; floats are their eight bytes, little-endian, so that what
//! is read back is bit for bit what was written.

use thiserror::Error;

/// Why a state could not be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// It ends in the middle.
    #[error("the saved state ends too early")]
    Truncated,
    /// It holds what no state can hold.
    #[error("the saved state is damaged")]
    Damaged,
    /// It was saved by another format or for other rules.
    #[error("the saved state belongs to another version of the program or of the rules")]
    Foreign,
}

/// Writes a state.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn unsigned(&mut self, mut value: u64) {
        loop {
            let low = (value & 0x7f) as u8;
            value >>= 7;
            if value == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    pub(crate) fn signed(&mut self, value: i64) {
        self.unsigned((value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned());
    }

    pub(crate) fn count(&mut self, value: usize) {
        self.unsigned(value as u64);
    }

    pub(crate) fn flag(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.count(value.len());
        self.0.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }
}

/// Reads a state back.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn byte(&mut self) -> Result<u8, SnapshotError> {
        let (first, rest) = self.0.split_first().ok_or(SnapshotError::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, SnapshotError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(SnapshotError::Damaged);
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(SnapshotError::Damaged)
    }

    pub(crate) fn signed(&mut self) -> Result<i64, SnapshotError> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    /// Reads a number of things, each of which takes at least one byte: more than there are bytes is damage, so
    /// that a damaged number never makes anybody reserve memory for it.
    pub(crate) fn count(&mut self) -> Result<usize, SnapshotError> {
        let value = usize::try_from(self.unsigned()?).map_err(|_| SnapshotError::Damaged)?;
        if value > self.0.len() { Err(SnapshotError::Truncated) } else { Ok(value) }
    }

    pub(crate) fn flag(&mut self) -> Result<bool, SnapshotError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            2.. => Err(SnapshotError::Damaged),
        }
    }

    pub(crate) fn float(&mut self) -> Result<f64, SnapshotError> {
        let (bytes, rest) = self.0.split_first_chunk::<8>().ok_or(SnapshotError::Truncated)?;
        self.0 = rest;
        Ok(f64::from_bits(u64::from_le_bytes(*bytes)))
    }

    pub(crate) fn text(&mut self) -> Result<String, SnapshotError> {
        let length = self.count()?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(SnapshotError::Truncated)?;
        self.0 = rest;
        String::from_utf8(bytes.to_vec()).map_err(|_| SnapshotError::Damaged)
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, SnapshotError>,
    ) -> Result<Option<T>, SnapshotError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    pub(crate) fn end(&self) -> Result<(), SnapshotError> {
        if self.0.is_empty() { Ok(()) } else { Err(SnapshotError::Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_back_bit_for_bit(u: u64, s: i64, f: u64, t: String, o: Option<i64>) {
            let mut writer = Writer::default();
            writer.unsigned(u);
            writer.signed(s);
            writer.float(f64::from_bits(f));
            writer.text(&t);
            writer.option(o, Writer::signed);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.unsigned(), Ok(u));
            prop_assert_eq!(reader.signed(), Ok(s));
            prop_assert_eq!(reader.float().map(f64::to_bits), Ok(f));
            prop_assert_eq!(reader.text(), Ok(t));
            prop_assert_eq!(reader.option(Reader::signed), Ok(o));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
