//! From values to whole numbers and back to the same bits.
//!
//! A sensor says whole steps; what became of them on the way is one of a few computations. Each is undone and done again:
//! only a value that comes back bit by bit is a whole number, every other one is kept as its 64 bits.

use super::DecodeError;
use super::coder::Code;
use crate::domain::quantity::{Quantity, Unit};
use std::collections::BTreeSet;

const DIGITS_MAX: u8 = 9;
const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const PARTS: [f64; 10] = [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9];
/// Whole numbers that a float tells apart.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Longer steps are not told.
const STEP_MAX: u64 = 1 << 20;
/// With fewer different numbers, that all are multiples may be chance.
const STEP_NUMBERS: usize = 6;

/// Factor and offset of units that have a number; any other is told in full.
const UNITS: [(f64, f64); 18] = [
    (5.0 / 9.0, -160.0 / 9.0),
    (1.0, -273.15),
    (25.4, 0.0),
    (0.0254, 0.0),
    (0.3048, 0.0),
    (0.028_316_846_592, 0.0),
    (1.0 / 3.6, 0.0),
    (1852.0 / 3600.0, 0.0),
    (0.447_04, 0.0),
    (57.295_779_513_082_32, 0.0),
    (1.0 / 60.0, 0.0),
    (60.0, 0.0),
    (0.001, 0.0),
    (0.01, 0.0),
    (10.0, 0.0),
    (100.0, 0.0),
    (1_000.0, 0.0),
    (10_000.0, 0.0),
];
const UNIT_NUMBERS: u32 = 32;
/// The number of a unit that has none.
const UNIT_IN_FULL: u32 = 31;
/// That values are rounded from another unit is believed from so many bits of chance on.
const EVIDENCE_BITS: f64 = 16.0;
/// What a value that is off the grid costs, at least.
const OFF_BITS: f64 = 80.0;
/// What is rounded from another unit has steps longer than its digits' by so much, or nothing is gained.
const RATIO_MIN: f64 = 1.2;

/// What makes a value of a whole number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// `n / 10^digits`: a decimal as it is read.
    Decimal,
    /// `n * 10^-digits`: counts times a step.
    Steps,
    /// `n / 10^digits`, in single precision.
    Single,
    /// `n / 10^digits * factor + offset`: another unit.
    Unit(f64, f64),
    /// The same, rounded to so many digits: a thermometer of whole °F, reported in tenths of °C.
    Rounded(f64, f64, u8),
}

/// A column's grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    pub(super) form: Form,
    pub(super) digits: u8,
    /// Only multiples of this come, such as the tips of a rain gauge: they are counted.
    pub(super) step: i64,
}

/// A value on a grid, or its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Whole(i64),
    Exact(u64),
}

impl Grid {
    const PLAIN: Self = Self { form: Form::Decimal, digits: 0, step: 1 };

    /// Returns the grid that most sensors of a quantity have.
    pub(super) fn usual(quantity: Quantity) -> Self {
        let fine = matches!(quantity, Quantity::WaterLevel | Quantity::Discharge);
        let digits = if fine { 2 } else { 1 };
        Self { digits, ..Self::PLAIN }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "single precision is what the column's sender had"
    )]
    fn value(self, whole: i64) -> f64 {
        let whole = whole.wrapping_mul(self.step) as f64;
        let power = power_of(self.digits);
        match self.form {
            Form::Decimal => whole / power,
            Form::Steps => whole * PARTS.get(usize::from(self.digits)).copied().unwrap_or(1.0),
            Form::Single => f64::from((whole / power) as f32),
            Form::Unit(factor, offset) => whole / power * factor + offset,
            Form::Rounded(factor, offset, to) => {
                let to = power_of(to);
                ((whole / power * factor + offset) * to + 0.5).floor() / to
            }
        }
    }

    /// Returns the value of a cell.
    pub(super) fn undo(self, cell: Cell) -> f64 {
        match cell {
            Cell::Whole(whole) => self.value(whole),
            Cell::Exact(bits) => f64::from_bits(bits),
        }
    }

    /// Returns the cell of a value.
    #[expect(clippy::cast_possible_truncation, reason = "below 2^53, checked")]
    pub(super) fn cell(self, value: f64) -> Cell {
        let power = power_of(self.digits);
        let scaled = match self.form {
            Form::Decimal | Form::Steps | Form::Single => value * power,
            Form::Unit(factor, offset) | Form::Rounded(factor, offset, _) => {
                (value - offset) / factor * power
            }
        };
        let near = scaled.round();
        let exact = Cell::Exact(value.to_bits());
        let whole = if near.abs() < WHOLE_MAX { near as i64 } else { return exact };
        let count = whole / self.step;
        if count * self.step == whole && self.value(count).to_bits() == value.to_bits() {
            Cell::Whole(count)
        } else {
            exact
        }
    }

    /// Returns the grid with the longest step that all values on it are multiples of.
    fn stepped(self, values: &[f64]) -> Self {
        let (mut step, mut changes, mut before) = (0, 0, 0);
        for value in values {
            let Cell::Whole(whole) = self.cell(*value) else { continue };
            step = common_factor(step, whole.unsigned_abs());
            changes += usize::from(whole != before);
            before = whole;
            if step == 1 {
                return self;
            }
        }
        let step = if changes < STEP_NUMBERS || step > STEP_MAX { 1 } else { step };
        Self { step: step.max(1).cast_signed(), ..self }
    }

    /// Returns how many of the values do not stand on it, counted up to `most`.
    fn off(self, values: &[f64], most: usize) -> usize {
        let off = |value: &&f64| matches!(self.cell(**value), Cell::Exact(_));
        values.iter().filter(off).take(most).count()
    }

    /// Returns the grid that most values stand on; the coarsest of those. A column's grid stays as long as it serves.
    pub(super) fn of(quantity: Quantity, values: &[f64], known: Option<Self>) -> Self {
        let off = known.map_or(usize::MAX, |known| known.off(values, values.len()));
        let best = match known {
            Some(known) if off == 0 => known,
            Some(known) => Self::fitting(quantity, values, (known, off)),
            None => Self::fitting(quantity, values, (Self::PLAIN, values.len())),
        };
        best.rounded_from(quantity, values).unwrap_or(best)
    }

    /// Returns the coarsest grid that more values stand on than on `best`, which so many do not.
    fn fitting(quantity: Quantity, values: &[f64], mut best: (Self, usize)) -> Self {
        let units = quantity.units().iter().skip(1);
        let units = units.map(|unit| Form::Unit(unit.factor, unit.offset));
        for form in [Form::Decimal, Form::Steps, Form::Single].into_iter().chain(units) {
            for digits in 0..=DIGITS_MAX {
                let grid = Self { form, digits, step: 1 };
                let off = grid.off(values, best.1);
                if off < best.1 {
                    best = (grid, off);
                }
                if best.1 == 0 {
                    return best.0.stepped(values);
                }
            }
        }
        best.0.stepped(values)
    }

    /// Returns the grid of another unit whose values, rounded, these are: where a decimal grid has so many places that no
    /// value is on that this can be no chance, and where it spares more bits than the values that are off it cost.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count"
    )]
    fn rounded_from(self, quantity: Quantity, values: &[f64]) -> Option<Self> {
        if self.form != Form::Decimal {
            return None;
        }
        let to = power_of(self.digits);
        let fitting = |unit: &Unit| {
            let ratio = |digits: u8| unit.factor * to / power_of(digits) / self.step as f64;
            let digits = (0..=DIGITS_MAX).rev().find(|digits| ratio(*digits) > RATIO_MIN)?;
            let form = Form::Rounded(unit.factor, unit.offset, self.digits);
            let grid = Self { form, digits, step: 1 };
            let bits = ratio(digits).log2();
            let most = (values.len() as f64 * bits / OFF_BITS) as usize;
            let off = grid.off(values, most + 1);
            (off <= most).then_some((grid, off, bits))
        };
        let (grid, off, bits) = quantity.units().iter().skip(1).find_map(fitting)?;
        let different: BTreeSet<u64> = values.iter().map(|value| value.to_bits()).collect();
        let on = different.len().saturating_sub(off) as f64;
        (on * bits >= EVIDENCE_BITS).then(|| grid.stepped(values))
    }

    /// Codes the grid.
    pub(super) fn code(self, c: &mut impl Code) -> Result<Self, DecodeError> {
        let (form, unit, to) = match self.form {
            Form::Decimal => (0, (1.0, 0.0), 0),
            Form::Steps => (1, (1.0, 0.0), 0),
            Form::Single => (2, (1.0, 0.0), 0),
            Form::Unit(factor, offset) => (3, (factor, offset), 0),
            Form::Rounded(factor, offset, to) => (4, (factor, offset), to),
        };
        let form = match c.uniform(form, 5)? {
            0 => Form::Decimal,
            1 => Form::Steps,
            2 => Form::Single,
            3 => {
                let (factor, offset) = code_unit(c, unit)?;
                Form::Unit(factor, offset)
            }
            _ => {
                let (factor, offset) = code_unit(c, unit)?;
                Form::Rounded(factor, offset, code_digits(c, to)?)
            }
        };
        let digits = code_digits(c, self.digits)?;
        let one = c.uniform(u32::from(self.step == 1), 2)? == 1;
        let step = if one { 1 } else { c.sized(self.step.cast_unsigned())? };
        if !(1..=STEP_MAX).contains(&step) {
            return Err(DecodeError::Corrupt("a grid's step that no encoder writes"));
        }
        Ok(Self { form, digits, step: step.cast_signed() })
    }
}

fn power_of(digits: u8) -> f64 {
    POWERS.get(usize::from(digits)).copied().unwrap_or(1.0)
}

fn code_digits(c: &mut impl Code, digits: u8) -> Result<u8, DecodeError> {
    let digits = c.uniform(u32::from(digits), u32::from(DIGITS_MAX) + 1)?;
    Ok(u8::try_from(digits).unwrap_or(0))
}

fn code_unit(c: &mut impl Code, unit: (f64, f64)) -> Result<(f64, f64), DecodeError> {
    let same = |(factor, offset): &(f64, f64)| {
        (factor.to_bits(), offset.to_bits()) == (unit.0.to_bits(), unit.1.to_bits())
    };
    let number = UNITS.iter().position(same).and_then(|number| u32::try_from(number).ok());
    let number = c.uniform(number.unwrap_or(UNIT_IN_FULL), UNIT_NUMBERS)?;
    if number != UNIT_IN_FULL {
        let unit = usize::try_from(number).ok().and_then(|number| UNITS.get(number));
        return unit.copied().ok_or(DecodeError::Corrupt("a unit without a name"));
    }
    let factor = f64::from_bits(c.plain(unit.0.to_bits(), 64)?);
    let offset = f64::from_bits(c.plain(unit.1.to_bits(), 64)?);
    if !(factor.is_finite() && offset.is_finite()) {
        return Err(DecodeError::Corrupt("a unit that is no number"));
    }
    Ok((factor, offset))
}

const fn common_factor(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}
