//! A reading: one value of one quantity of one node at one time, with a quality.

use crate::domain::quantity::Quantity;
use std::fmt;
use std::sync::Arc;

/// Name of a node, as the configuration declares it: lower-case letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(pub Arc<str>);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a payload says: one value, before anybody has judged it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// What is measured.
    pub quantity: Quantity,
    /// The value in the quantity's own unit; NaN and infinities are passed on, and end as suspect.
    pub value: f64,
    /// When it was measured, as far as the payload says.
    pub stamp: Option<Stamp>,
}

/// When a value was measured, by the one who measured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stamp {
    /// Unix milliseconds by the node's own clock, which may be wrong.
    Unix(i64),
    /// Milliseconds before it was sent.
    Age(i64),
}

/// How far a reading can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quality {
    /// Passed every check.
    Good,
    /// Not a number, or infinite.
    NotANumber,
    /// Outside the sensor's range.
    OutOfRange,
    /// Changed faster than the sensor's surroundings can.
    Step,
    /// Stands alone against its neighbours in time.
    Spike,
    /// Has not moved for longer than its surroundings allow.
    Stuck,
    /// Arrived so late that it may tell of the past, but not of now.
    Late,
}

impl Quality {
    /// Every quality, in the order of its code.
    pub const ALL: [Self; 7] = [
        Self::Good,
        Self::NotANumber,
        Self::OutOfRange,
        Self::Step,
        Self::Spike,
        Self::Stuck,
        Self::Late,
    ];

    /// Returns whether the reading may take part in judging a hazard.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good)
    }

    /// Returns the number kept in the database.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Returns the quality with that number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Returns the word shown to people and in exports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::NotANumber => "not_a_number",
            Self::OutOfRange => "out_of_range",
            Self::Step => "step",
            Self::Spike => "spike",
            Self::Stuck => "stuck",
            Self::Late => "late",
        }
    }
}
