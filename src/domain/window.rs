//! Sliding windows of event time: the readings of one sensor that rules look at, and what is made of them.

use crate::domain::planted::{self, Bug};
use crate::domain::quality::median;
use crate::domain::rule::Function;
use crate::domain::snapshot::{Reader, SnapshotError, Writer};
use crate::domain::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Readings that a sensor keeps at the least: by them a repetition is known.
const KEPT_MIN: usize = 16;
/// Readings that a sensor keeps at the most: a week at one a minute, and then some.
const KEPT_MAX: usize = 16_384;
/// Readings that have left the window and would still be known again: as many as a client may have sent without an
/// acknowledgement, so that what it sends again after a crash is not taken twice.
const MARKS_MAX: usize = 128;
/// Points that a slope is drawn through at the most; more are thinned evenly. 24 points make 276 pairs.
const SLOPE_POINTS_MAX: usize = 24;
/// Points that a slope needs.
const SLOPE_POINTS_MIN: usize = 3;
/// Sums are kept in millionths, as whole numbers, so that adding and taking away leaves no trace.
const FIXED: f64 = 1e6;

/// A reading in a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Event time.
    pub at: Timestamp,
    /// The value that rules look at; `None` where it cannot be believed or says nothing by itself.
    pub value: Option<f64>,
    /// The value as it came: by it a repetition is known.
    pub raw: f64,
}

/// The readings of one sensor, in order of event time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Window {
    samples: VecDeque<Sample>,
    /// How many have left at the front since the beginning: makes places stay valid.
    gone: u64,
    /// How far back the rules look.
    reach: Duration,
    /// Marks of the readings that left last.
    marks: VecDeque<u32>,
}

impl Window {
    pub(crate) fn new(reach: Duration) -> Self {
        Self { samples: VecDeque::new(), gone: 0, reach, marks: VecDeque::new() }
    }

    /// Returns how far back the rules look.
    pub(crate) const fn reach(&self) -> Duration {
        self.reach
    }

    /// Makes it reach back at least this far.
    pub(crate) fn reach_back(&mut self, reach: Duration) {
        self.reach = self.reach.max(reach);
    }

    /// Returns the same readings for rules that look back this far.
    pub(crate) fn with_reach(self, reach: Duration) -> Self {
        Self { reach, ..self }
    }

    /// Returns the newest event time.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.samples.back().map(|sample| sample.at)
    }

    /// Returns whether the same reading is here already, or was lately.
    pub(crate) fn holds(&self, at: Timestamp, raw: f64) -> bool {
        if self.newest().is_none_or(|newest| at > newest) {
            return false;
        }
        let from = self.samples.partition_point(|sample| sample.at < at);
        self.samples
            .range(from..)
            .take_while(|s| s.at == at)
            .any(|s| s.raw.to_bits() == raw.to_bits())
            || self.marks.contains(&mark(at, raw))
    }

    /// Returns whether `raw` is among the newest readings: how a repetition is known that carries no time.
    pub(crate) fn holds_lately(&self, raw: f64) -> bool {
        self.samples.iter().rev().take(KEPT_MIN).any(|sample| sample.raw.to_bits() == raw.to_bits())
    }

    /// Adds a reading at its place.
    pub(crate) fn insert(&mut self, sample: Sample) {
        let place = self.samples.partition_point(|before| before.at <= sample.at);
        self.samples.insert(place, sample);
    }

    /// Drops what no rule looks at any more, once every signal has been brought up to date. Returns whether the
    /// bound made it drop what signals do look at: they must then start again.
    pub(crate) fn trim(&mut self) -> bool {
        let Some(newest) = self.newest() else { return false };
        while self.samples.len() > KEPT_MIN
            && self.samples.front().is_some_and(|s| newest.since(s.at) >= self.reach)
        {
            self.leave();
        }
        let over = self.samples.len() > KEPT_MAX;
        if over {
            // A quarter at once, so that starting again is rare.
            for _ in 0..KEPT_MAX / 4 {
                self.leave();
            }
        }
        over
    }

    /// Returns whether the newest reading cannot be believed.
    pub(crate) fn ends_in_doubt(&self) -> bool {
        self.samples.back().is_some_and(|sample| sample.value.is_none())
    }

    fn leave(&mut self) {
        let Some(sample) = self.samples.pop_front() else { return };
        self.gone += 1;
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back(mark(sample.at, sample.raw));
    }

    fn range(&self, from: u64) -> impl DoubleEndedIterator<Item = &Sample> {
        let skip = usize::try_from(from.saturating_sub(self.gone)).unwrap_or(usize::MAX);
        self.samples.range(skip.min(self.samples.len())..)
    }

    fn end(&self) -> u64 {
        self.gone + self.samples.len() as u64
    }

    pub(crate) fn save(&self, to: &mut Writer) {
        to.count(self.marks.len());
        self.marks.iter().for_each(|mark| to.unsigned(u64::from(*mark)));
        to.count(self.samples.len());
        let mut before = 0;
        for sample in &self.samples {
            to.signed(sample.at.as_millis().wrapping_sub(before));
            before = sample.at.as_millis();
            to.float(sample.raw);
            let same = sample.value.is_some_and(|value| value.to_bits() == sample.raw.to_bits());
            to.flag(same);
            if !same {
                to.option(sample.value, Writer::float);
            }
        }
    }

    pub(crate) fn restore(reach: Duration, from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let mut window = Self::new(reach);
        for _ in 0..from.count()? {
            let mark = u32::try_from(from.unsigned()?).map_err(|_| SnapshotError::Damaged)?;
            window.marks.push_back(mark);
        }
        let mut before = 0i64;
        for _ in 0..from.count()? {
            before = before.wrapping_add(from.signed()?);
            let raw = from.float()?;
            let value = if from.flag()? { Some(raw) } else { from.option(Reader::float)? };
            window.samples.push_back(Sample { at: Timestamp::from_millis(before), value, raw });
        }
        Ok(window)
    }
}

/// What is made of a window, kept up to date reading by reading. Everything here follows from the window alone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Aggregate {
    function: Function,
    /// First place in the window that counts.
    start: u64,
    /// First place that has not been looked at.
    next: u64,
    sum: i128,
    count: u64,
    /// Places and values that may yet be the extreme, best first.
    extremes: VecDeque<(u64, f64)>,
}

impl Aggregate {
    pub(crate) fn new(function: Function) -> Self {
        Self { function, start: 0, next: 0, sum: 0, count: 0, extremes: VecDeque::new() }
    }

    pub(crate) const fn function(&self) -> Function {
        self.function
    }

    /// Starts from nothing: after a reading that was put in between others.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.function);
    }

    /// Takes in what the window has gained, and returns the value of the signal: `None` when there is too little.
    pub(crate) fn update(&mut self, window: &Window) -> Option<f64> {
        let newest = window.newest()?;
        let length = self.function.window();
        self.next = self.next.max(window.gone);
        self.forget(window, newest, length);
        for (place, sample) in (self.next..).zip(window.range(self.next)) {
            if newest.since(sample.at) < length || length.is_zero() {
                self.gain(place, *sample);
            } else {
                self.start = place + 1;
            }
        }
        self.next = window.end();
        self.value(window)
    }

    /// Takes out what has left the window.
    fn forget(&mut self, window: &Window, newest: Timestamp, length: Duration) {
        let leaving: Vec<Sample> = window
            .range(self.start)
            .take(
                usize::try_from(self.next.saturating_sub(self.start.max(window.gone))).unwrap_or(0),
            )
            .take_while(|sample| {
                let age = newest.since(sample.at);
                age > length || age == length && !planted::is(Bug::WindowTooLong)
            })
            .copied()
            .collect();
        self.start = self.start.max(window.gone) + leaving.len() as u64;
        for value in leaving.iter().filter_map(|sample| sample.value) {
            self.sum -= fixed(value);
            self.count -= 1;
        }
        while self.extremes.front().is_some_and(|(place, _)| *place < self.start) {
            self.extremes.pop_front();
        }
    }

    fn gain(&mut self, place: u64, sample: Sample) {
        let Some(value) = sample.value else { return };
        self.sum += fixed(value);
        self.count += 1;
        let beaten: fn(f64, f64) -> bool = match self.function {
            Function::Min(_) => |old, new| old >= new,
            Function::Max(_) => |old, new| old <= new,
            Function::Last
            | Function::Mean(_)
            | Function::Sum(_)
            | Function::Count(_)
            | Function::Change(_)
            | Function::Rate(_) => return,
        };
        while self.extremes.back().is_some_and(|(_, old)| beaten(*old, value)) {
            self.extremes.pop_back();
        }
        self.extremes.push_back((place, value));
    }

    fn value(&self, window: &Window) -> Option<f64> {
        let points = || window.range(self.start).filter_map(|s| Some((s.at, s.value?)));
        match self.function {
            Function::Last => window.samples.iter().rev().find_map(|sample| sample.value),
            Function::Min(_) | Function::Max(_) => self.extremes.front().map(|(_, value)| *value),
            Function::Sum(_) => (self.count > 0).then(|| self.sum as f64 / FIXED),
            Function::Mean(_) => {
                (self.count > 0).then(|| self.sum as f64 / FIXED / self.count as f64)
            }
            Function::Count(_) => Some(self.count as f64),
            Function::Change(_) => {
                let (first, last) = (points().next()?, points().next_back()?);
                (last.0 > first.0).then_some(last.1 - first.1)
            }
            Function::Rate(_) => slope_per_hour(&thinned(points(), self.count)),
        }
    }
}

/// A mark by which a reading is known again: FNV-1a of its time and value, folded. Two different late readings of one
/// sensor have the same in one case of thirty million.
fn mark(at: Timestamp, raw: f64) -> u32 {
    let bytes = at.as_millis().to_le_bytes().into_iter().chain(raw.to_bits().to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    #[expect(clippy::cast_possible_truncation, reason = "folding is meant to lose bits")]
    let folded = (hash ^ (hash >> 32)) as u32;
    folded
}

fn fixed(value: f64) -> i128 {
    // Plausible values are below 1e6 and keep six digits; what is beyond 9e12 saturates, so that no sum overflows.
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is wanted")]
    let fixed = (value * FIXED).round() as i64;
    i128::from(fixed)
}

/// Returns at most [`SLOPE_POINTS_MAX`] of the points, evenly spread, the last always among them.
fn thinned(
    points: impl DoubleEndedIterator<Item = (Timestamp, f64)>,
    count: u64,
) -> Vec<(Timestamp, f64)> {
    let stride = usize::try_from(count).unwrap_or(usize::MAX).div_ceil(SLOPE_POINTS_MAX).max(1);
    points.rev().step_by(stride).collect()
}

/// Returns the median of the slopes between all pairs of points, per hour (Theil 1950, Sen 1968).
fn slope_per_hour(points: &[(Timestamp, f64)]) -> Option<f64> {
    if points.len() < SLOPE_POINTS_MIN {
        return None;
    }
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (place, (later, high)) in points.iter().enumerate() {
        for (earlier, low) in points.iter().skip(place + 1) {
            let hours = later.since(*earlier).as_secs_f64() / 3600.0;
            if hours > 0.0 {
                slopes.push((high - low) / hours);
            }
        }
    }
    (!slopes.is_empty()).then(|| median(&mut slopes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn all_functions(w: Duration) -> [Function; 8] {
        [
            Function::Last,
            Function::Min(w),
            Function::Max(w),
            Function::Mean(w),
            Function::Sum(w),
            Function::Count(w),
            Function::Change(w),
            Function::Rate(w),
        ]
    }

    /// What a signal is, told again from its definition alone.
    fn naive(function: Function, samples: &[Sample]) -> Option<f64> {
        let newest = samples.iter().map(|s| s.at).max()?;
        let mut inside: Vec<_> = samples
            .iter()
            .filter(|s| newest.since(s.at) < function.window())
            .filter_map(|s| Some((s.at, s.value?)))
            .collect();
        inside.sort_by_key(|point| point.0);
        let values = || inside.iter().map(|point| point.1);
        match function {
            Function::Min(_) => values().min_by(f64::total_cmp),
            Function::Max(_) => values().max_by(f64::total_cmp),
            Function::Sum(_) => (!inside.is_empty()).then(|| values().sum()),
            Function::Mean(_) => {
                (!inside.is_empty()).then(|| values().sum::<f64>() / inside.len() as f64)
            }
            Function::Count(_) => Some(inside.len() as f64),
            Function::Change(_) => {
                let (first, last) = (inside.first()?, inside.last()?);
                (first.0 < last.0).then_some(last.1 - first.1)
            }
            Function::Last | Function::Rate(_) => None,
        }
    }

    fn samples() -> impl Strategy<Value = Vec<Sample>> {
        // Times are all different: of readings at one moment, the order of arrival decides, which `naive` does not know.
        let one = (0i64..400, prop::option::of(-50i32..50));
        prop::collection::btree_map(0i64..400, one, 1..80).prop_map(|map| {
            let mut list: Vec<_> = map.into_iter().collect();
            list.sort_by_key(|(at, (shuffle, _))| at + shuffle / 40);
            list.into_iter()
                .map(|(at, (_, value))| {
                    let value = value.map(|v| f64::from(v) / 4.0);
                    Sample {
                        at: Timestamp::from_millis(at * 60_000),
                        value,
                        raw: value.unwrap_or(0.0),
                    }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_signal_kept_up_to_date_equals_its_definition(list in samples(), minutes in 1u64..200) {
            let length = Duration::from_mins(minutes);
            let mut window = Window::new(length);
            let mut aggregates = all_functions(length).map(Aggregate::new);
            for (n, sample) in list.iter().enumerate() {
                let in_order = window.newest().is_none_or(|newest| sample.at >= newest);
                window.insert(*sample);
                for aggregate in &mut aggregates {
                    if !in_order {
                        aggregate.restart();
                    }
                    let got = aggregate.update(&window);
                    if let Function::Rate(_) | Function::Last = aggregate.function() {
                        continue;
                    }
                    prop_assert_eq!(got, naive(aggregate.function(), &list[..=n]), "{:?}", aggregate.function());
                }
                window.trim();
            }
        }

        #[test]
        fn a_window_read_back_gives_the_same_signals(list in samples(), cut in 0usize..80) {
            let mut window = Window::new(HOUR);
            let mut whole = all_functions(HOUR).map(Aggregate::new);
            let mut restored: Option<(Window, [Aggregate; 8])> = None;
            for (n, sample) in list.iter().enumerate() {
                if n == cut {
                    let mut writer = Writer::default();
                    window.save(&mut writer);
                    let bytes = writer.finish();
                    let copy = Window::restore(HOUR, &mut Reader::new(&bytes)).unwrap();
                    restored = Some((copy, all_functions(HOUR).map(Aggregate::new)));
                }
                let in_order = window.newest().is_none_or(|newest| sample.at >= newest);
                let mut values = Vec::new();
                for (window, aggregates) in [Some((&mut window, &mut whole)), restored.as_mut().map(|r| (&mut r.0, &mut r.1))].into_iter().flatten() {
                    window.insert(*sample);
                    values.push(aggregates.each_mut().map(|a| { if !in_order { a.restart(); } a.update(window) }));
                    window.trim();
                }
                prop_assert!(values.windows(2).all(|pair| pair[0] == pair[1]));
            }
        }
    }

    #[test]
    fn the_slope_of_a_line_is_not_bent_by_one_bad_value() {
        let mut window = Window::new(HOUR * 2);
        let mut rate = Aggregate::new(Function::Rate(HOUR * 2));
        let mut got = None;
        for i in 0..12 {
            let value = if i == 6 { 9.0 } else { f64::from(i) * 0.05 };
            let at = Timestamp::from_millis(i64::from(i) * 300_000);
            window.insert(Sample { at, value: Some(value), raw: value });
            got = rate.update(&window);
        }
        assert!((got.unwrap() - 0.6).abs() < 1e-9, "{got:?}");
    }

    #[test]
    fn a_window_is_bounded_however_fast_readings_come() {
        let mut window = Window::new(HOUR);
        for i in 0..40_000 {
            window.insert(Sample { at: Timestamp::from_millis(i), value: Some(1.0), raw: 1.0 });
            window.trim();
            assert!(window.samples.len() <= KEPT_MAX);
        }
        let mut sum = Aggregate::new(Function::Sum(HOUR));
        assert_eq!(sum.update(&window), Some(window.samples.len() as f64));
    }
}
