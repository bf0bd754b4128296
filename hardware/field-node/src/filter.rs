//! From what a sensor says to a value that can be believed: impossible ones are refused, of the others the median.

use crate::sealed::Value;

/// Measurements of one quantity for one reading.
pub const SAMPLES_MAX: usize = 9;

/// What a sensor says, thousandths of the quantity's own unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    /// So much.
    Milli(i32),
    /// It did not answer, or its checksum is wrong.
    Silent,
}

/// What becomes of the measurements between two reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// The last one is reported.
    Last,
    /// Their sum is reported: rain since the last report.
    Sum,
}

/// What one quantity's measurements must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What becomes of the measurements between two reports.
    pub gather: Gather,
    /// How often it is measured for one reading, 1 to [`SAMPLES_MAX`]: 1 for a counter.
    pub samples: u8,
    /// Lowest and highest value that can be, thousandths: the sensor's range at its place.
    pub possible_milli: [i32; 2],
    /// A reading is sent at once when it differs by so much from the last one that was sent, or when the sum since then
    /// is so much; thousandths.
    pub change_milli: Option<u32>,
}

/// Measurements of one quantity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Samples {
    values: [i32; SAMPLES_MAX],
    used: usize,
    refused: bool,
}

impl Samples {
    /// Adds one; what is beyond [`SAMPLES_MAX`] does not count.
    pub fn push(&mut self, raw: Raw, filter: &Filter) {
        let [low, high] = filter.possible_milli;
        match raw {
            Raw::Milli(milli) if (low..=high).contains(&milli) => {
                if let Some(slot) = self.values.get_mut(self.used) {
                    *slot = milli;
                    self.used += 1;
                }
            }
            Raw::Milli(_) => self.refused = true,
            Raw::Silent => {}
        }
    }

    /// Returns the median of those that are possible; of an even number, the lower of the two in the middle. Where fewer
    /// than half are possible there is no value: *faulty* if the sensor answered nonsense, *missing* if it was silent.
    #[must_use]
    pub fn value(mut self, filter: &Filter) -> Value {
        let wanted = usize::from(filter.samples).clamp(1, SAMPLES_MAX);
        if self.used * 2 < wanted || self.used == 0 {
            return if self.refused { Value::Faulty } else { Value::Missing };
        }
        let values = self.values.get_mut(..self.used).unwrap_or_default();
        values.sort_unstable();
        values.get((self.used - 1) / 2).map_or(Value::Missing, |milli| Value::Milli(*milli))
    }
}

/// Returns whether a value is news beside the last one that was sent.
#[must_use]
pub fn is_change(filter: &Filter, sent: Value, now: Value) -> bool {
    let sent = match filter.gather {
        Gather::Last => sent,
        Gather::Sum => Value::Milli(0),
    };
    match (filter.change_milli, sent, now) {
        (Some(change), Value::Milli(sent), Value::Milli(now)) => now.abs_diff(sent) >= change,
        // A sensor that comes back tells how things stand.
        (
            Some(_),
            Value::Missing | Value::Faulty | Value::Above | Value::Below,
            Value::Milli(_),
        ) => true,
        (_, _, _) => false,
    }
}
