//! What the coder expects of the next bit.

/// After so many bits a model forgets as fast as it learns.
const MEMORY: u8 = 40;
/// Nothing is held for surer than this, of 65,536.
const SUREST: u16 = 32;

/// How likely a bit is 1, learned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bit {
    one: u16,
    seen: u8,
}

impl Bit {
    /// Expects 0, fairly surely.
    pub(super) const RARELY: Self = Self { one: 600, seen: 16 };
    /// Expects 1, without being sure.
    pub(super) const LIKELY: Self = Self { one: 49_152, seen: 2 };

    pub(super) const fn one(self) -> u16 {
        self.one
    }

    pub(super) fn learn(&mut self, bit: bool) {
        let rate = 131_072 / (2 * u32::from(self.seen) + 3);
        let one = u32::from(self.one);
        let one =
            if bit { one + (((65_536 - one) * rate) >> 16) } else { one - ((one * rate) >> 16) };
        let most = u32::from(u16::MAX - SUREST);
        self.one = u16::try_from(one.clamp(u32::from(SUREST), most)).unwrap_or(SUREST);
        self.seen = (self.seen + 1).min(MEMORY);
    }
}
