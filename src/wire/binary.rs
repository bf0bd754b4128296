//! Payloads of a device's own making: where each value stands in the bytes, and how a number there becomes a value.

use thiserror::Error;

/// Longest number, in bits.
pub const BITS_MAX: u32 = 64;

/// Where a value stands, and how it is written there: `value = number * scale + add`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// First bit from the start of the payload; the first of a byte is the most significant.
    pub bit: u32,
    /// How long the number is, 1 to 64 bits; whole bytes at a byte's start where the order is little-endian or the number a
    /// float.
    pub bits: u32,
    /// What the number is.
    pub number: Number,
    /// Which byte comes first.
    pub order: Order,
    /// Multiplier.
    pub scale: f64,
    /// Added after multiplying.
    pub add: f64,
    /// The number, taken as unsigned, that says that there is no value.
    pub missing: Option<u64>,
    /// The value is there only in payloads of this port.
    pub port: Option<u8>,
    /// The value is there only when this byte is so.
    pub when: Option<When>,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Zero or more.
    Unsigned,
    /// Two's complement.
    Signed,
    /// IEEE 754, of 32 or 64 bits.
    Float,
}

/// Which byte of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The most significant.
    Big,
    /// The least significant.
    Little,
}

/// A byte that says whether a value is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// Which byte.
    pub byte: u32,
    /// What it must be.
    pub is: u8,
}

/// Why a value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The payload ends before it.
    #[error("ends at byte {wanted}, and the payload has {length}")]
    Short {
        /// Bytes that the payload would need.
        wanted: usize,
        /// Bytes that it has.
        length: usize,
    },
}

impl Slot {
    /// Returns the value; `None` when the payload says that it has none.
    ///
    /// # Errors
    ///
    /// [`Error::Short`].
    pub fn read(&self, payload: &[u8], port: Option<u8>) -> Result<Option<f64>, Error> {
        if self.port.is_some_and(|wanted| port != Some(wanted)) {
            return Ok(None);
        }
        if let Some(When { byte, is }) = self.when
            && payload.get(byte as usize) != Some(&is)
        {
            return Ok(None);
        }
        let raw = self.raw(payload)?;
        if self.missing == Some(raw) {
            return Ok(None);
        }
        Ok(Some(self.number(raw).mul_add(self.scale, self.add)))
    }

    fn raw(&self, payload: &[u8]) -> Result<u64, Error> {
        let (first, bits) = (self.bit, self.bits.clamp(1, BITS_MAX));
        let end = first.saturating_add(bits);
        let (from, to) = ((first / 8) as usize, end.div_ceil(8) as usize);
        let length = payload.len();
        let bytes = payload.get(from..to).ok_or(Error::Short { wanted: to, length })?;
        let join = |whole: u128, byte: &u8| whole << 8 | u128::from(*byte);
        let whole = match self.order {
            Order::Big => bytes.iter().fold(0, join),
            Order::Little => bytes.iter().rev().fold(0, join),
        };
        // Bits of the last byte that come after the number.
        let after = to as u64 * 8 - u64::from(end);
        let mask = u64::MAX >> (BITS_MAX - bits);
        #[expect(clippy::cast_possible_truncation, reason = "the mask keeps at most 64 bits")]
        let number = (whole >> after) as u64 & mask;
        Ok(number)
    }

    fn number(&self, raw: u64) -> f64 {
        match self.number {
            Number::Unsigned => raw as f64,
            Number::Signed => {
                let above = BITS_MAX - self.bits.clamp(1, BITS_MAX);
                ((raw << above).cast_signed() >> above) as f64
            }
            Number::Float => match u32::try_from(raw) {
                Ok(single) if self.bits == 32 => f64::from(f32::from_bits(single)),
                Ok(_) | Err(_) => f64::from_bits(raw),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(bit: u32, bits: u32) -> Slot {
        Slot {
            bit,
            bits,
            number: Number::Unsigned,
            order: Order::Big,
            scale: 1.0,
            add: 0.0,
            missing: None,
            port: None,
            when: None,
        }
    }

    fn value(slot: &Slot, payload: &[u8]) -> String {
        slot.read(payload, Some(2)).unwrap().unwrap().to_string()
    }

    #[test]
    fn numbers_are_read_in_either_order_with_sign_scale_and_offset() {
        let bytes = [0x01, 0xF4, 0xFF, 0x38, 0x00, 0x00, 0x20, 0x41];
        assert_eq!(value(&slot(0, 16), &bytes), "500");
        assert_eq!(value(&Slot { order: Order::Little, ..slot(0, 16) }, &bytes), "62465");
        let signed = Slot { number: Number::Signed, scale: 0.1, add: -5.0, ..slot(16, 16) };
        assert_eq!(value(&signed, &bytes), "-25");
        let float = Slot { number: Number::Float, order: Order::Little, ..slot(32, 32) };
        assert_eq!(value(&float, &bytes), "10");
        let double = Slot { number: Number::Float, ..slot(0, 64) };
        assert_eq!(value(&double, &2.5_f64.to_be_bytes()), "2.5");
    }

    #[test]
    fn bits_are_counted_from_the_most_significant() {
        let bytes = [0b1010_0101, 0b1100_0011];
        assert_eq!(value(&slot(0, 1), &bytes), "1");
        assert_eq!(value(&slot(1, 3), &bytes), "2");
        assert_eq!(value(&slot(6, 4), &bytes), "7");
        assert_eq!(value(&Slot { number: Number::Signed, ..slot(8, 2) }, &bytes), "-1");
    }

    #[test]
    fn a_value_may_be_missing_or_belong_to_another_port_or_kind_of_payload() {
        let bytes = [7, 0xFF, 0xFF];
        let missing = Slot { missing: Some(0xFFFF), ..slot(8, 16) };
        assert_eq!(missing.read(&bytes, None), Ok(None));
        assert_eq!(Slot { port: Some(3), ..slot(0, 8) }.read(&bytes, Some(2)), Ok(None));
        assert_eq!(Slot { port: Some(3), ..slot(0, 8) }.read(&bytes, None), Ok(None));
        let other = Slot { when: Some(When { byte: 0, is: 8 }), ..slot(0, 8) };
        assert_eq!(other.read(&bytes, None), Ok(None));
        let this = Slot { when: Some(When { byte: 0, is: 7 }), ..slot(0, 8) };
        assert_eq!(this.read(&bytes, None), Ok(Some(7.0)));
        assert_eq!(slot(16, 16).read(&bytes, None), Err(Error::Short { wanted: 4, length: 3 }));
    }

    proptest! {
        #[test]
        fn any_slot_of_any_payload_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..40), bit in any::<u32>(), bits in 0u32..80, little in any::<bool>()) {
            for number in [Number::Unsigned, Number::Signed, Number::Float] {
                let order = if little { Order::Little } else { Order::Big };
                let _either = Slot { number, order, ..slot(bit, bits) }.read(&bytes, None);
                let _either = Slot { number, order, ..slot(bit % 400, bits) }.read(&bytes, None);
            }
        }

        #[test]
        fn what_an_independent_reader_of_bits_finds_is_found(bytes in prop::collection::vec(any::<u8>(), 12), bit in 0u32..30, bits in 1u32..=64) {
            let all = bytes.iter().fold(String::new(), |all, byte| format!("{all}{byte:08b}"));
            let expected = u64::from_str_radix(all.get(bit as usize..(bit + bits) as usize).unwrap(), 2).unwrap();
            prop_assert_eq!(slot(bit, bits).raw(&bytes), Ok(expected));
        }
    }
}
