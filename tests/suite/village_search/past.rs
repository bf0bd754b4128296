//! Everything that was ever heard, and what a signal is of it, from its definition.

use super::book::WINDOW_MAX;
use super::world::Told;
use kengele::domain::quantity::Quantity;
use kengele::domain::rule::Function;
use std::collections::BTreeMap;

/// Most points that a slope is drawn through without leaving any out.
const SLOPE_POINTS_MAX: usize = 24;

/// A value that many suspect readings followed is no last value any more, unless it is within the longest window.
const LAST_OF_MAX: usize = 16;

type Reading = (i64, Option<f64>);

/// By node and quantity: minute of the measurement, and the value, if rules may look at it. In order of time; what is of one
/// minute, in order of arrival.
#[derive(Default)]
pub struct Past {
    readings: BTreeMap<(String, Quantity), Vec<Reading>>,
    /// Of each node: its newest measurement, and when that was heard.
    newest: BTreeMap<String, (i64, i64)>,
}

impl Past {
    pub fn hear(&mut self, node: &str, told: &Told, now: i64) {
        let readings = self.readings.entry((node.to_owned(), told.quantity)).or_default();
        readings.push((told.measured, told.value));
        readings.sort_by_key(|(at, _)| *at);
        let newest = self.newest.entry(node.to_owned()).or_insert((told.measured, now));
        if told.measured >= newest.0 {
            *newest = (told.measured, now);
        }
    }

    /// Returns the minute of the newest reading of a node, among some of its quantities.
    pub fn newest(&self, node: &str, counts: impl Fn(Quantity) -> bool) -> Option<i64> {
        let of_node = self.readings.iter().filter(|((n, q), _)| n == node && counts(*q));
        of_node.filter_map(|(_, readings)| Some(readings.last()?.0)).max()
    }

    /// Returns the time that it is for a node of which nothing has come since.
    pub fn node_time(&self, node: &str, now: i64) -> i64 {
        self.newest.get(node).map_or(now, |(at, heard)| at + (now - heard))
    }

    /// Returns the value of a signal; none where too little has been heard.
    pub fn value(&self, node: &str, quantity: Quantity, function: Function) -> Option<f64> {
        let all = self.readings.get(&(node.to_owned(), quantity))?;
        let newest = all.last()?.0;
        let window = i64::try_from(function.window().as_secs() / 60).unwrap();
        let inside: Vec<(i64, f64)> = all
            .iter()
            .filter(|(at, _)| newest - at < window)
            .filter_map(|(at, value)| Some((*at, (*value)?)))
            .collect();
        if function == Function::Last {
            let mut back = all.iter().rev().enumerate();
            let kept = |n: usize, at: i64| n < LAST_OF_MAX || newest - at < WINDOW_MAX;
            return back.find_map(|(n, (at, value))| value.filter(|_| kept(n, *at)));
        }
        of_window(function, &inside)
    }
}

/// Returns what a function makes of the readings in its window, each with its minute, from its definition.
pub fn of_window(function: Function, inside: &[(i64, f64)]) -> Option<f64> {
    let values = || inside.iter().map(|(_, value)| *value);
    let sum: f64 = values().sum();
    match function {
        Function::Last => inside.last().map(|(_, value)| *value),
        Function::Min(_) => values().reduce(f64::min),
        Function::Max(_) => values().reduce(f64::max),
        Function::Sum(_) => (!inside.is_empty()).then_some(sum),
        Function::Mean(_) => (!inside.is_empty()).then(|| sum / inside.len() as f64),
        Function::Count(_) => Some(inside.len() as f64),
        Function::Change(_) => {
            let (first, last) = (inside.first()?, inside.last()?);
            (last.0 > first.0).then_some(last.1 - first.1)
        }
        Function::Rate(_) => slope_per_hour(inside),
    }
}

/// Returns the median of the slopes between all pairs of three points or more (Theil 1950, Sen 1968).
fn slope_per_hour(points: &[(i64, f64)]) -> Option<f64> {
    assert!(points.len() <= SLOPE_POINTS_MAX, "the world is too dense for this definition");
    let mut slopes = Vec::new();
    for (i, (before, low)) in points.iter().enumerate() {
        for (after, high) in points.iter().skip(i + 1).filter(|(after, _)| after > before) {
            slopes.push((high - low) / ((after - before) as f64 / 60.0));
        }
    }
    if points.len() < 3 || slopes.is_empty() {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let middle = slopes.len() / 2;
    Some(if slopes.len() % 2 == 1 {
        slopes[middle]
    } else {
        f64::midpoint(slopes[middle - 1], slopes[middle])
    })
}
