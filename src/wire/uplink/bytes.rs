//! Numbers, texts, times and values as bytes.

use super::EncodeError;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a name, and of any other text that says nothing else.
pub const TEXT_BYTES_MAX: usize = 255;

/// Spans are told in the greatest of these units, in milliseconds, that divides them.
const SPAN_UNITS_MS: [u64; 7] = [1, 1_000, 60_000, 600_000, 3_600_000, 21_600_000, 86_400_000];
/// Longest span, in its unit.
const SPAN_MAX: u64 = (1 << 61) - 1;

/// What a decimal's whole number is divided by, by its form.
const POWERS: [f64; 6] = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 1_000_000.0];
/// Form of a value that is so many steps of a float beside a decimal.
const BESIDE: u64 = 6;
/// Form of a value that is told by its bits, or is a part of a decimal.
const BITS: u64 = 7;
/// Bytes of a value that is told by its bits.
const BITS_BYTES: usize = 9;
/// Most steps from a decimal, or from a part of one, that a writer tries: more take as many bytes as all bits.
const STEPS_MAX: u64 = 1 << 17;
/// Smallest part of a decimal that a writer tries: a day has 144 readings of ten minutes, and a mean.
const PARTS_MAX: u64 = 144;
/// A writer tries parts of decimals when a decimal alone takes more bytes than this.
const PLAIN_BYTES_MAX: usize = 5;
/// Up to here each whole number is a float: 2^53.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The bytes of an item say something that its kind does not have, or end too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Collects bytes.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// LEB128: seven bits a byte, the lowest first.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push((number & 0x7f) as u8);
    }

    pub(super) fn signed(&mut self, number: i64) {
        self.number(fold(number));
    }

    pub(super) fn text(&mut self, text: &str, bytes_max: usize) -> Result<(), EncodeError> {
        if text.len() > bytes_max {
            return Err(EncodeError::Text { bytes: text.len(), bytes_max });
        }
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
        Ok(())
    }

    pub(super) fn span(&mut self, ms: u64) -> Result<(), EncodeError> {
        self.number(span(ms).ok_or(EncodeError::Time)?);
        Ok(())
    }

    /// Writes a float so that its bits come back: as a decimal, a part of one, or something beside them, or by its bits,
    /// whatever is shortest.
    pub(super) fn value(&mut self, value: f64) {
        let plain = Told::of(value, 1).filter(|told| told.bytes() <= PLAIN_BYTES_MAX);
        let parts = || (1..=PARTS_MAX).filter_map(|parts| Told::of(value, parts));
        let best = plain.or_else(|| parts().min_by_key(|told| told.bytes()));
        if let Some(told) = best.filter(|told| told.bytes() < BITS_BYTES) {
            told.write(self);
        } else {
            self.number(BITS);
            self.bytes(&value.to_bits().to_be_bytes());
        }
    }
}

/// Returns the number that stands for a span; `None` for one that is too long.
pub(super) fn span(ms: u64) -> Option<u64> {
    let divides = |(_, unit): &(u64, u64)| ms != 0 && ms.is_multiple_of(*unit);
    let (code, unit) = (0..).zip(SPAN_UNITS_MS).filter(divides).last().unwrap_or((0, 1));
    let count = ms / unit;
    (count <= SPAN_MAX).then_some(count << 3 | code)
}

/// A value as a part of a decimal, and so many steps of the float beside that.
#[derive(Clone, Copy)]
struct Told {
    decimal: u64,
    parts: u64,
    steps: i64,
}

impl Told {
    /// Returns the shortest way to tell a value as one of `parts` parts of a decimal.
    fn of(value: f64, parts: u64) -> Option<Self> {
        let forms = (0..).zip(POWERS).filter_map(|(form, power)| {
            let whole = (value * parts as f64 * power).round();
            if whole.is_nan() || whole.abs() > WHOLE_MAX {
                return None;
            }
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and at most 2^53")]
            let decimal = fold(whole as i64) << 3 | form;
            let near = part_of(decimal, parts)?;
            let steps = value.to_bits().wrapping_sub(near.to_bits()).cast_signed();
            (steps.unsigned_abs() <= STEPS_MAX).then_some(Self { decimal, parts, steps })
        });
        forms.min_by_key(|told| told.bytes())
    }

    fn bytes(self) -> usize {
        let ahead = match (self.parts, self.steps) {
            (1, 0) => 0,
            (1, steps) => length(fold(steps) << 3),
            (parts, steps) => length(parts << 3) + length(fold(steps)),
        };
        ahead + length(self.decimal)
    }

    fn write(self, to: &mut Writer) {
        match (self.parts, self.steps) {
            (1, 0) => {}
            (1, steps) => to.number(fold(steps) << 3 | BESIDE),
            (parts, steps) => {
                to.number(parts << 3 | BITS);
                to.signed(steps);
            }
        }
        to.number(self.decimal);
    }
}

/// Returns a part of a decimal; `None` for a form that is none.
fn part_of(decimal: u64, parts: u64) -> Option<f64> {
    let power = POWERS.get(usize::try_from(decimal & 7).ok()?)?;
    Some(unfold(decimal >> 3) as f64 / power / parts as f64)
}

/// Returns how many bytes a number takes.
pub(super) const fn length(number: u64) -> usize {
    let bits = (64 - number.leading_zeros()) as usize;
    if bits == 0 { 1 } else { bits.div_ceil(7) }
}

/// Zigzag: small numbers of either sign become small ones.
const fn fold(number: i64) -> u64 {
    (number.wrapping_shl(1) ^ (number >> 63)).cast_unsigned()
}

const fn unfold(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn byte(&mut self) -> Result<u8, Unreadable> {
        let (first, rest) = self.0.split_first().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], Unreadable> {
        let count = usize::try_from(count).map_err(|_| Unreadable)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(Unreadable);
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable)
    }

    /// Reads a number that a smaller type holds.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Unreadable> {
        T::try_from(self.number()?).map_err(|_| Unreadable)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Unreadable> {
        self.number().map(unfold)
    }

    pub(super) fn text(&mut self, bytes_max: usize) -> Result<&'a str, Unreadable> {
        let length = self.number()?;
        if length > bytes_max as u64 {
            return Err(Unreadable);
        }
        std::str::from_utf8(self.take(length)?).map_err(|_| Unreadable)
    }

    pub(super) fn span(&mut self) -> Result<u64, Unreadable> {
        let number = self.number()?;
        let unit = usize::try_from(number & 7).ok().and_then(|code| SPAN_UNITS_MS.get(code));
        unit.and_then(|unit| unit.checked_mul(number >> 3)).ok_or(Unreadable)
    }

    pub(super) fn value(&mut self) -> Result<f64, Unreadable> {
        let number = self.number()?;
        let (parts, steps, decimal) = match (number & 7, number >> 3) {
            (BITS, 0) => return Ok(f64::from_bits(u64::from_be_bytes(self.array()?))),
            (BITS, parts) => (parts, self.signed()?, self.number()?),
            (BESIDE, steps) => (1, unfold(steps), self.number()?),
            _ => (1, 0, number),
        };
        let near = part_of(decimal, parts).ok_or(Unreadable)?;
        Ok(f64::from_bits(near.to_bits().wrapping_add(steps.cast_unsigned())))
    }
}

/// Writes names: one that has been written before by its number.
#[derive(Debug, Default)]
pub(super) struct NamesWriter<'a>(BTreeMap<&'a str, u64>);

impl<'a> NamesWriter<'a> {
    pub(super) fn write(&mut self, to: &mut Writer, name: &'a str) -> Result<(), EncodeError> {
        let next = self.0.len() as u64 + 1;
        let number = *self.0.entry(name).or_insert(next);
        if number < next {
            to.number(number);
            return Ok(());
        }
        to.number(0);
        to.text(name, TEXT_BYTES_MAX)
    }
}

/// Reads names; those that come again are shared.
#[derive(Debug, Default)]
pub(super) struct NamesReader(Vec<Arc<str>>);

impl NamesReader {
    pub(super) fn read(&mut self, from: &mut Reader<'_>) -> Result<Arc<str>, Unreadable> {
        let number: usize = from.small()?;
        let Some(place) = number.checked_sub(1) else {
            let name: Arc<str> = from.text(TEXT_BYTES_MAX)?.into();
            self.0.push(Arc::clone(&name));
            return Ok(name);
        };
        self.0.get(place).cloned().ok_or(Unreadable)
    }
}
