//! Reading octets in order, never past their end.

use super::Error;

/// What is left to read.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(super) fn octet(&mut self, field: &'static str) -> Result<u8, Error> {
        let (first, rest) = self.0.split_first().ok_or(Error::Truncated { field })?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::Truncated { field })?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn seven(&mut self, field: &'static str) -> Result<[u8; 7], Error> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Error::Truncated { field })?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) const fn rest(self) -> &'a [u8] {
        self.0
    }
}
