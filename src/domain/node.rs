//! Nodes as declared: their sensors, and what each sensor can and cannot say.

use crate::domain::quantity::Quantity;
use crate::domain::reading::NodeName;
use std::time::Duration;

/// A field unit that reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Other names under which sources hear it, such as its DevEUI.
    pub heard_as: Box<[String]>,
    /// Where it stands, in words for people.
    pub place: String,
    /// How often it promises to report.
    pub interval: Duration,
    /// Unheard for longer than this it is silent, and what it said last counts no more.
    pub silent_after: Duration,
    /// A reading that took longer than this to arrive may fill a window, but cannot raise a level.
    pub late_after: Duration,
    /// What it measures.
    pub sensors: Vec<Sensor>,
}

/// One quantity that a node measures.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensor {
    /// What is measured.
    pub quantity: Quantity,
    /// Lowest and highest value that the instrument can truly report.
    pub range: (f64, f64),
    /// Fastest believable change.
    pub step: Option<Step>,
    /// Farthest that a value may stand from the median of the last five.
    pub spike: Option<f64>,
    /// Longest believable time without any change.
    pub stuck_after: Option<Duration>,
    /// The node sends a running total, not an increment.
    pub counter: Option<Counter>,
    /// Digits after the decimal point, in texts.
    pub decimals: u8,
}

/// The fastest believable change of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// By how much, in the quantity's own unit.
    pub change: f64,
    /// Within what time.
    pub within: Duration,
}

/// A running total, such as the tips of a rain gauge in millimetres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counter {
    /// The total at which it starts from zero again, if it wraps.
    pub wraps_at: Option<f64>,
    /// Most that can truly be added from one reading to the next.
    pub increment_max: f64,
}
