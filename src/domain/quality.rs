//! Quality control before judgement: which readings can be believed, and what they are worth in a rule.
//!
//! Fault is not hazard. A suspect reading is stored and shown, and tells the technician; it takes no part in a rule.
//! But a limit that is too tight must not silence a true flood: readings that go on saying the same against all
//! expectation are believed in the end.

use crate::domain::node::{Counter, Sensor, Step};
use crate::domain::planted::{self, Bug};
use crate::domain::reading::Quality;
use crate::domain::snapshot::{Reader, SnapshotError, Writer};
use crate::domain::time::Timestamp;

/// Length of the median filter, the shortest that outlasts two bad readings in a row.
const MEDIAN_OF: usize = 5;
/// Readings in a row that agree with each other against what was before are a new level, not a fault. Real gauges
/// show spikes of two.
const CONFIRMATIONS: u32 = 3;
/// Readings in a row on one side of the last believed one are believed even where they do not agree.
const CONFIRMATIONS_ONE_SIDED: u32 = 6;

/// What a checked reading is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Checked {
    /// How far it can be believed.
    pub quality: Quality,
    /// What a rule looks at: the value, or the increment of a counter. `None` for a counter's first reading.
    pub value: Option<f64>,
}

/// What quality control remembers of one sensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Control {
    recent: Vec<f64>,
    believed: Option<(f64, Timestamp)>,
    doubted: Option<Doubt>,
    /// The last value that stood with its neighbours.
    settled: Option<f64>,
    spikes_in_a_row: u32,
    unchanged: Option<(f64, Timestamp)>,
    total: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Doubt {
    agreeing: u32,
    one_sided: u32,
    above: bool,
    value: f64,
    at: Timestamp,
}

impl Control {
    /// Checks the newest reading of `sensor`.
    pub(crate) fn check(&mut self, sensor: &Sensor, raw: f64, at: Timestamp) -> Checked {
        if !raw.is_finite() {
            return Checked { quality: Quality::NotANumber, value: None };
        }
        let value = match &sensor.counter {
            Some(counter) => match self.increment(counter, raw) {
                Ok(value) => value,
                Err(quality) => return Checked { quality, value: None },
            },
            None => Some(raw),
        };
        let quality = value.map_or(Quality::Good, |value| self.judge(sensor, value, at));
        Checked { quality, value: value.filter(|_| quality.is_good()) }
    }

    /// Checks a reading that came after newer ones of its sensor: its neighbours are gone, its range is not.
    pub(crate) fn check_out_of_order(sensor: &Sensor, raw: f64) -> Checked {
        if !raw.is_finite() {
            return Checked { quality: Quality::NotANumber, value: None };
        }
        if sensor.counter.is_some() {
            // The newer total contains what this one counted.
            return Checked { quality: Quality::Late, value: None };
        }
        if in_range(sensor, raw) {
            Checked { quality: Quality::Late, value: Some(raw) }
        } else {
            Checked { quality: Quality::OutOfRange, value: None }
        }
    }

    fn judge(&mut self, sensor: &Sensor, value: f64, at: Timestamp) -> Quality {
        if !in_range(sensor, value) {
            return Quality::OutOfRange;
        }
        let stuck = self.is_stuck(sensor, value, at);
        let spike = sensor.spike.is_some_and(|limit| self.is_spike(limit, value));
        let step = sensor.step.is_some_and(|step| self.is_step(step, value, at));
        if step {
            return Quality::Step;
        }
        if spike {
            return Quality::Spike;
        }
        if stuck {
            return Quality::Stuck;
        }
        Quality::Good
    }

    fn increment(&mut self, counter: &Counter, total: f64) -> Result<Option<f64>, Quality> {
        let Some(before) = self.total.replace(total) else { return Ok(None) };
        let grown = total - before;
        let wraps_at = counter.wraps_at.filter(|_| !planted::is(Bug::WrapIgnored));
        let wrapped = wraps_at.map(|wrap| grown + wrap);
        let increment = if grown >= 0.0 {
            grown
        } else if let Some(wrapped) = wrapped.filter(|w| (0.0..=counter.increment_max).contains(w))
        {
            wrapped
        } else {
            // It has started again from zero: what it shows has been counted since.
            total
        };
        if increment < 0.0 || increment > counter.increment_max {
            return Err(Quality::Step);
        }
        Ok(Some(increment))
    }

    fn is_stuck(&mut self, sensor: &Sensor, value: f64, at: Timestamp) -> bool {
        let since = match self.unchanged {
            Some((before, since)) if before.to_bits() == value.to_bits() => since,
            Some(_) | None => at,
        };
        self.unchanged = Some((value, since));
        sensor.stuck_after.is_some_and(|limit| at.since(since) > limit)
    }

    fn is_spike(&mut self, limit: f64, value: f64) -> bool {
        if self.recent.len() == MEDIAN_OF {
            self.recent.remove(0);
        }
        self.recent.push(value);
        // A steady rise runs away from the median, but not from the value before it.
        let from_median = (value - median(&mut self.recent.clone())).abs();
        let from_settled = self.settled.map_or(from_median, |settled| (value - settled).abs());
        let far = from_median.min(from_settled) > limit;
        self.spikes_in_a_row = if far { self.spikes_in_a_row + 1 } else { 0 };
        let spike = far && self.spikes_in_a_row < CONFIRMATIONS;
        if !spike {
            self.settled = Some(value);
        }
        spike
    }

    fn is_step(&mut self, step: Step, value: f64, at: Timestamp) -> bool {
        let Some((believed, since)) = self.believed else {
            self.believed = Some((value, at));
            return false;
        };
        if reachable(step, believed, since, value, at) {
            self.believed = Some((value, at));
            self.doubted = None;
            return false;
        }
        let above = value > believed;
        let mut doubt = Doubt { agreeing: 1, one_sided: 1, above, value, at };
        if let Some(before) = self.doubted {
            if reachable(step, before.value, before.at, value, at) {
                doubt.agreeing = before.agreeing + 1;
            }
            if before.above == above {
                doubt.one_sided = before.one_sided + 1;
            }
        }
        if doubt.agreeing >= CONFIRMATIONS || doubt.one_sided >= CONFIRMATIONS_ONE_SIDED {
            self.believed = Some((value, at));
            self.doubted = None;
            return false;
        }
        self.doubted = Some(doubt);
        true
    }

    pub(crate) fn save(&self, to: &mut Writer) {
        let pair = |to: &mut Writer, (value, at): (f64, Timestamp)| {
            to.float(value);
            to.signed(at.as_millis());
        };
        to.count(self.recent.len());
        self.recent.iter().for_each(|value| to.float(*value));
        to.option(self.believed, pair);
        to.option(self.doubted, |to, doubt| {
            to.unsigned(u64::from(doubt.agreeing));
            to.unsigned(u64::from(doubt.one_sided));
            to.flag(doubt.above);
            pair(to, (doubt.value, doubt.at));
        });
        to.option(self.settled, Writer::float);
        to.unsigned(u64::from(self.spikes_in_a_row));
        to.option(self.unchanged, pair);
        to.option(self.total, Writer::float);
    }

    pub(crate) fn restore(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        fn pair(from: &mut Reader<'_>) -> Result<(f64, Timestamp), SnapshotError> {
            Ok((from.float()?, Timestamp::from_millis(from.signed()?)))
        }
        fn small(from: &mut Reader<'_>) -> Result<u32, SnapshotError> {
            u32::try_from(from.unsigned()?).map_err(|_| SnapshotError::Damaged)
        }
        let length = from.count()?;
        Ok(Self {
            recent: (0..length).map(|_| from.float()).collect::<Result<_, _>>()?,
            believed: from.option(pair)?,
            doubted: from.option(|from| {
                let (agreeing, one_sided, above) = (small(from)?, small(from)?, from.flag()?);
                let (value, at) = pair(from)?;
                Ok(Doubt { agreeing, one_sided, above, value, at })
            })?,
            settled: from.option(Reader::float)?,
            spikes_in_a_row: small(from)?,
            unchanged: from.option(pair)?,
            total: from.option(Reader::float)?,
        })
    }
}

fn in_range(sensor: &Sensor, value: f64) -> bool {
    (sensor.range.0..=sensor.range.1).contains(&value)
}

/// Returns whether `step` lets a value get from one reading to another. Time between them allows for more, but a
/// short time allows for one whole step.
fn reachable(step: Step, from: f64, since: Timestamp, to: f64, at: Timestamp) -> bool {
    let times = (at.since(since).as_secs_f64() / step.within.as_secs_f64()).max(1.0);
    (to - from).abs() <= step.change * times
}

/// Returns the middle value; the mean of the two middle ones when their number is even; zero of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or(0.0);
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = values.len().checked_sub(2).and_then(|n| values.get(n / 2)).copied().unwrap_or(0.0);
    f64::midpoint(lower, upper)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::quantity::Quantity;
    use std::time::Duration;

    fn sensor() -> Sensor {
        Sensor {
            quantity: Quantity::WaterLevel,
            range: (-1.0, 6.0),
            step: None,
            spike: None,
            stuck_after: None,
            counter: None,
            decimals: 2,
        }
    }

    fn qualities(sensor: &Sensor, minutes: i64, values: &[f64]) -> Vec<Quality> {
        let mut control = Control::default();
        let times = (0i64..).map(|i| Timestamp::from_millis(i * minutes * 60_000));
        times.zip(values).map(|(at, value)| control.check(sensor, *value, at).quality).collect()
    }

    use Quality::{Good, NotANumber, OutOfRange, Spike, Stuck};

    #[test]
    fn the_two_sample_spike_of_drogden_is_suspect_and_its_neighbours_are_good() {
        // Drogden, 2022-01-21 from 04:30, every 30 min (DMI open data): a fault of two readings.
        let observed = [0.44, 0.44, 0.43, 0.43, 1.05, 1.51, 0.51, 0.50, 0.52];
        let expected = [Good, Good, Good, Good, Spike, Spike, Good, Good, Good];
        assert_eq!(qualities(&Sensor { spike: Some(0.4), ..sensor() }, 30, &observed), expected);
        let step = Step { change: 0.3, within: Duration::from_mins(30) };
        let expected = [Good, Good, Good, Good, Quality::Step, Quality::Step, Good, Good, Good];
        assert_eq!(qualities(&Sensor { step: Some(step), ..sensor() }, 30, &observed), expected);
    }

    #[test]
    fn a_flood_that_rises_steadily_is_no_spike_however_far_it_runs_from_the_median() {
        let rising: Vec<f64> = (0..12).map(|i| 0.4 + 0.35 * f64::from(i)).collect();
        assert!(
            qualities(&Sensor { spike: Some(0.4), ..sensor() }, 5, &rising)
                .iter()
                .all(|q| *q == Good)
        );
        let plateau = [0.4, 0.4, 0.4, 0.4, 1.6, 1.62, 0.41, 0.4];
        let expected = [Good, Good, Good, Good, Spike, Spike, Good, Good];
        assert_eq!(qualities(&Sensor { spike: Some(0.4), ..sensor() }, 5, &plateau), expected);
    }

    #[test]
    fn a_new_level_is_believed_after_three_readings_however_sudden_it_was() {
        let step = Step { change: 0.3, within: Duration::from_mins(5) };
        let rising = [0.4, 0.4, 2.0, 2.1, 2.2, 2.3];
        let expected = [Good, Good, Quality::Step, Quality::Step, Good, Good];
        assert_eq!(qualities(&Sensor { step: Some(step), ..sensor() }, 5, &rising), expected);
        let expected = [Good, Good, Spike, Spike, Good, Good];
        assert_eq!(qualities(&Sensor { spike: Some(0.5), ..sensor() }, 5, &rising), expected);
    }

    #[test]
    fn a_rise_faster_than_anybody_thought_possible_is_believed_in_the_end() {
        let step = Step { change: 0.2, within: Duration::from_mins(5) };
        let rising: Vec<f64> = (0..14).map(|i| f64::from(i) * 0.4).collect();
        let judged =
            qualities(&Sensor { step: Some(step), spike: Some(0.2), ..sensor() }, 5, &rising);
        assert!(judged.iter().skip(1).any(|quality| quality.is_good()), "{judged:?}");
    }

    #[test]
    fn what_is_no_number_or_out_of_range_changes_nothing_for_those_that_follow() {
        let spoiled = [0.4, f64::NAN, 99.0, f64::INFINITY, 0.4];
        let step = Some(Step { change: 0.1, within: Duration::from_mins(5) });
        assert_eq!(
            qualities(&Sensor { step, ..sensor() }, 5, &spoiled),
            [Good, NotANumber, OutOfRange, NotANumber, Good]
        );
    }

    #[test]
    fn a_value_that_never_moves_is_stuck_until_it_moves() {
        let stuck_after = Some(Duration::from_mins(12));
        let still = [0.4, 0.4, 0.4, 0.4, 0.41];
        let expected = [Good, Good, Good, Stuck, Good];
        assert_eq!(qualities(&Sensor { stuck_after, ..sensor() }, 5, &still), expected);
    }

    #[test]
    fn a_counter_becomes_increments_through_wraps_and_resets() {
        let counter = Some(Counter { wraps_at: Some(100.0), increment_max: 20.0 });
        let sensor = Sensor { counter, range: (0.0, 20.0), ..sensor() };
        let mut control = Control::default();
        let totals = [95.0, 99.0, 3.0, 3.0, 0.5, 60.0, 61.0];
        let times = (0i64..).map(|i| Timestamp::from_millis(i * 60_000));
        let got: Vec<_> =
            times.zip(totals).map(|(at, total)| control.check(&sensor, total, at)).collect();
        let values: Vec<_> = got.iter().map(|checked| checked.value).collect();
        assert_eq!(values, [None, Some(4.0), Some(4.0), Some(0.0), Some(0.5), None, Some(1.0)]);
        assert_eq!(got[5].quality, Quality::Step);
    }

    #[test]
    fn the_median_is_the_middle_value() {
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&mut [4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&mut []).abs() < f64::EPSILON);
    }
}
