//! Whether a limit can be reached and left again, given what the sensor can report.

use super::amount::Complaint;
use super::measure::number_text;
use crate::domain::node::{Node, Sensor};
use crate::domain::rule::{Function, Limit, Signal};
use std::time::Duration;

/// The values that a signal can have.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    pub(super) low: f64,
    pub(super) high: f64,
    /// Follows from the sensor's range alone, not from how often the node keeps its promise to report.
    pub(super) certain: bool,
    /// What bounds it, as it is called in the configuration.
    bound: &'static str,
    /// Unit, with a space before it.
    unit: String,
    /// Whose values they are.
    of: String,
}

impl Scale {
    /// Returns the values that `signal` can have.
    pub(super) fn of(signal: &Signal, node: &Node, sensor: &Sensor) -> Self {
        let (low, high) = match sensor.counter {
            Some(counter) => (0.0, counter.increment_max),
            None => sensor.range,
        };
        let bound = match (signal.function, sensor.step, sensor.counter) {
            (Function::Count(_), ..) => "interval",
            (Function::Change(_) | Function::Rate(_), Some(_), _) => "step",
            (_, _, Some(_)) => "increment_max",
            (_, _, None) => "range",
        };
        let readings = readings_in(signal.function.window(), node.interval);
        let (low, high, certain) = match signal.function {
            Function::Last | Function::Min(_) | Function::Max(_) | Function::Mean(_) => {
                (low, high, true)
            }
            Function::Sum(_) => (low.min(0.0) * readings, high.max(0.0) * readings, false),
            Function::Count(_) => (0.0, readings, false),
            Function::Change(window) => {
                let most = match sensor.step {
                    Some(step) => {
                        (step.change * seconds_ratio(window, step.within)).min(high - low)
                    }
                    None => high - low,
                };
                (-most, most, sensor.step.is_none())
            }
            Function::Rate(_) => {
                let hour = Duration::from_hours(1);
                let most = match sensor.step {
                    Some(step) => step.change * seconds_ratio(hour, step.within),
                    None => (high - low) * seconds_ratio(hour, node.interval),
                };
                (-most, most, false)
            }
        };
        let unit = match signal.function {
            Function::Count(_) => String::new(),
            Function::Rate(_) => format!(" {}/h", signal.quantity.symbol()),
            Function::Last
            | Function::Min(_)
            | Function::Max(_)
            | Function::Mean(_)
            | Function::Sum(_)
            | Function::Change(_) => format!(" {}", signal.quantity.symbol()),
        };
        let word = signal.function.word().map(|word| format!(" {word}")).unwrap_or_default();
        Self {
            low,
            high,
            certain,
            bound,
            unit,
            of: format!("{}/{}{word}", node.name, signal.quantity),
        }
    }

    fn text(&self, value: f64) -> String {
        format!("{}{}", number_text(value), self.unit)
    }

    fn never(&self, value: f64) -> Complaint {
        // Readings that are doubted at first, or come more often than promised, could prove it wrong.
        let often = if self.certain { "never" } else { "hardly ever" };
        Complaint {
            message: format!("{} is {often} reached", self.text(value)),
            help: self.span(&format!("choose a threshold between them, or mend `{}`", self.bound)),
        }
    }

    fn always(&self, value: f64) -> Complaint {
        let often = if self.certain { "always" } else { "almost always" };
        Complaint {
            message: format!("{} is {often} reached", self.text(value)),
            help: self.span(&format!("choose a threshold between them, or mend `{}`", self.bound)),
        }
    }

    fn stays(&self, exit: f64, how: &str) -> Complaint {
        Complaint {
            message: format!("the level never ends: that needs a value {how} {}", self.text(exit)),
            help: self.span("make `hysteresis` smaller"),
        }
    }

    fn span(&self, then: &str) -> String {
        let (low, high) = (self.text(self.low), self.text(self.high));
        format!("{} goes from {low} to {high}; {then}", self.of)
    }
}

/// Most readings that a window can hold when a node keeps its interval; at least one.
fn readings_in(window: Duration, interval: Duration) -> f64 {
    seconds_ratio(window, interval).ceil().max(1.0)
}

fn seconds_ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64().max(0.001)
}

/// What is wrong with a limit, and with which of its two parts.
pub(super) enum Fault {
    /// The threshold or band.
    Threshold(Complaint),
    /// The hysteresis.
    Hysteresis(Complaint),
}

/// Says what cannot work about `limit`.
pub(super) fn check(limit: &Limit, scale: &Scale) -> Option<Fault> {
    let threshold = |complaint| Some(Fault::Threshold(complaint));
    let hysteresis = |complaint| Some(Fault::Hysteresis(complaint));
    match *limit {
        Limit::Above { enter, .. } if enter > scale.high => threshold(scale.never(enter)),
        Limit::Above { enter, .. } if enter <= scale.low => threshold(scale.always(enter)),
        Limit::Above { exit, .. } if exit <= scale.low => hysteresis(scale.stays(exit, "below")),
        Limit::Below { enter, .. } if enter < scale.low => threshold(scale.never(enter)),
        Limit::Below { enter, .. } if enter >= scale.high => threshold(scale.always(enter)),
        Limit::Below { exit, .. } if exit >= scale.high => hysteresis(scale.stays(exit, "above")),
        Limit::Outside { low, high, .. } if low <= scale.low && high >= scale.high => {
            threshold(scale.never(if low < scale.low { low } else { high }))
        }
        Limit::Outside { low, high, .. } if low > scale.high || high < scale.low => {
            threshold(scale.always(if low > scale.high { low } else { high }))
        }
        Limit::Outside { low, high, margin } if low + margin > high - margin => {
            hysteresis(Complaint {
                message: "the level never ends: the hysteresis leaves no room in the band"
                    .to_owned(),
                help: format!("make it smaller than {}", scale.text((high - low) / 2.0)),
            })
        }
        Limit::Inside { low, high, .. } if low > scale.high || high < scale.low => {
            threshold(scale.never(if low > scale.high { low } else { high }))
        }
        Limit::Inside { low, high, .. } if low <= scale.low && high >= scale.high => {
            threshold(scale.always(low))
        }
        Limit::Inside { low, high, margin }
            if low - margin <= scale.low && high + margin >= scale.high =>
        {
            hysteresis(scale.stays(low - margin, "below"))
        }
        Limit::Above { .. }
        | Limit::Below { .. }
        | Limit::Outside { .. }
        | Limit::Inside { .. } => None,
    }
}

/// Returns by how much the second is harder to reach than the first: negative when easier, `None` when they cannot
/// be compared.
pub(super) fn harder(mild: &Limit, severe: &Limit) -> Option<f64> {
    match (*mild, *severe) {
        (Limit::Above { enter: mild, .. }, Limit::Above { enter: severe, .. }) => {
            Some(severe - mild)
        }
        (Limit::Below { enter: mild, .. }, Limit::Below { enter: severe, .. }) => {
            Some(mild - severe)
        }
        (Limit::Outside { low: a, high: b, .. }, Limit::Outside { low: c, high: d, .. }) => {
            nested(a - c, d - b)
        }
        (Limit::Inside { low: a, high: b, .. }, Limit::Inside { low: c, high: d, .. }) => {
            nested(c - a, b - d)
        }
        (
            Limit::Above { .. }
            | Limit::Below { .. }
            | Limit::Outside { .. }
            | Limit::Inside { .. },
            _,
        ) => None,
    }
}

/// Returns whether the second, once reached, goes on when the first has ended.
pub(super) fn outlasts(mild: &Limit, severe: &Limit) -> bool {
    match (*mild, *severe) {
        (Limit::Above { exit: mild, .. }, Limit::Above { exit: severe, .. }) => severe < mild,
        (Limit::Below { exit: mild, .. }, Limit::Below { exit: severe, .. }) => severe > mild,
        (
            Limit::Above { .. }
            | Limit::Below { .. }
            | Limit::Outside { .. }
            | Limit::Inside { .. },
            _,
        ) => false,
    }
}

/// Joins how much harder each end of a band is; `None` when one is harder and the other easier.
fn nested(low: f64, high: f64) -> Option<f64> {
    (low * high >= 0.0).then_some(low + high)
}
