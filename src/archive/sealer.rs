//! Makes a block of readings that are stored, and sums up their days.

use crate::domain::reading::Stamp;
use crate::domain::time::ClockQuality;
use crate::store::{BlockHead, Day, HotReading, NewBlock, Span};
use crate::wire::batch::{self, EncodeError, SIGNALS_MAX, Stream};
use std::collections::{BTreeMap, BTreeSet};

/// A day, ms.
const DAY_MS: i64 = 86_400_000;
/// A node's stamp before this is no time: 2024-01-01 UTC, Unix ms. The program is younger.
const STAMP_MIN_MS: i64 = 1_704_067_200_000;

/// Returns those of the readings, from the first on, that go into one block: they are of one run, and of so many signals
/// at the most as a block may have.
pub(super) fn first_block(hot: &[HotReading]) -> &[HotReading] {
    let mut signals = BTreeSet::new();
    let boot = hot.first().map(|first| first.boot);
    let fits = |reading: &&HotReading| {
        signals.insert(reading.series);
        Some(reading.boot) == boot && signals.len() <= SIGNALS_MAX
    };
    let length = hot.iter().take_while(fits).count();
    hot.get(..length).unwrap_or(hot)
}

/// Seals readings into block `number`.
pub(super) fn seal(
    stream: &mut Stream,
    number: i64,
    hot: &[HotReading],
) -> Result<NewBlock, EncodeError> {
    let readings: Vec<batch::Reading> = hot.iter().map(as_sealed).collect();
    let sealed = stream.seal(&readings)?;
    let first = hot.first().map_or((0, 0), |reading| (reading.number, reading.boot));
    let at = hot.iter().map(|reading| Span::at(reading.at.as_millis())).reduce(Span::with);
    let measured = hot.iter().filter_map(line_ms).min();
    let stamps = hot.iter().filter_map(unix_stamp).map(Span::at).reduce(Span::with);
    let head = BlockHead {
        number,
        boot: first.1,
        sequence: (first.0, hot.last().map_or(0, |reading| reading.number)),
        readings: i64::try_from(hot.len()).unwrap_or(i64::MAX),
        at: at.unwrap_or(Span::at(0)),
        line_from_ms: measured,
        stamps,
        alone: batch::stands_alone(&sealed.bytes),
        link: sealed.link.0,
    };
    Ok(NewBlock { head, bytes: sealed.bytes, days: days(hot) })
}

fn as_sealed(hot: &HotReading) -> batch::Reading {
    batch::Reading {
        node: hot.node.clone(),
        quantity: hot.quantity,
        sequence: hot.number.cast_unsigned(),
        at: hot.at,
        clock: hot.clock,
        stamp: hot.stamp,
        value: hot.value,
        quality: hot.quality,
    }
}

fn unix_stamp(hot: &HotReading) -> Option<i64> {
    match hot.stamp {
        Some(Stamp::Unix(ms)) => Some(ms),
        Some(Stamp::Age(_)) | None => None,
    }
}

/// Returns when it was measured on the time line, where its node said no Unix time.
fn line_ms(hot: &HotReading) -> Option<i64> {
    match hot.stamp {
        Some(Stamp::Unix(_)) => None,
        Some(Stamp::Age(ms)) => Some(hot.at.as_millis().saturating_sub(ms)),
        None => Some(hot.at.as_millis()),
    }
}

/// Returns when it was measured on the calendar, where that is known.
fn unix_ms(hot: &HotReading) -> Option<i64> {
    let known = hot.clock.quality != ClockQuality::Unset;
    let judged_ms = hot.clock.unix_ms(hot.at);
    match unix_stamp(hot) {
        Some(stamp) => {
            let sound = stamp >= STAMP_MIN_MS && (!known || stamp <= judged_ms + DAY_MS);
            sound.then_some(stamp)
        }
        None if known => Some(line_ms(hot)?.saturating_add(hot.clock.offset_ms)),
        None => None,
    }
}

/// Sums up good readings by series and day.
fn days(hot: &[HotReading]) -> BTreeMap<(i64, i64), Day> {
    let mut days: BTreeMap<(i64, i64), Day> = BTreeMap::new();
    for reading in hot.iter().filter(|reading| reading.quality.is_good()) {
        let Some(unix_ms) = unix_ms(reading) else { continue };
        let of = Day::of(reading.value);
        days.entry((reading.series, unix_ms.div_euclid(DAY_MS)))
            .and_modify(|day| *day = day.with(of))
            .or_insert(of);
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::quantity::Quantity;
    use crate::domain::reading::{NodeName, Quality};
    use crate::domain::time::{Timestamp, WallClock};
    use crate::wire::batch::Link;

    const NOON: i64 = 1_790_000_000_000 - 1_790_000_000_000 % DAY_MS + DAY_MS / 2;

    fn hot(number: i64, boot: i64, value: f64) -> HotReading {
        HotReading {
            number,
            boot,
            series: 1,
            node: NodeName("mto".into()),
            quantity: Quantity::WaterLevel,
            at: Timestamp::from_millis(1000 * number),
            clock: WallClock { offset_ms: NOON, quality: ClockQuality::Synchronised },
            stamp: None,
            value,
            quality: Quality::Good,
        }
    }

    #[test]
    fn a_block_ends_where_a_run_of_the_gateway_does() {
        let hot = [hot(1, 1, 2.0), hot(2, 1, 2.1), hot(3, 2, 2.2)];
        assert_eq!(first_block(&hot).len(), 2);
        assert_eq!(first_block(&hot[2..]).len(), 1);
    }

    #[test]
    fn a_block_has_no_more_signals_than_it_may() {
        let many: Vec<HotReading> =
            (0..2000).map(|n| HotReading { series: n, ..hot(n + 1, 1, 2.0) }).collect();
        assert_eq!(first_block(&many).len(), SIGNALS_MAX);
    }

    #[test]
    fn what_is_sealed_comes_back() {
        let hot = [hot(7, 1, 2.0), HotReading { stamp: Some(Stamp::Age(400)), ..hot(8, 1, -0.5) }];
        let mut stream = Stream::after(Link::START);
        let block = seal(&mut stream, 1, &hot).unwrap();
        let back = batch::open(&block.bytes).unwrap();
        assert_eq!(back, hot.iter().map(as_sealed).collect::<Vec<_>>());
        assert_eq!(block.head.sequence, (7, 8));
        assert_eq!(block.head.at, Span { from_ms: 7000, until_ms: 8000 });
        assert_eq!(block.head.line_from_ms, Some(7000));
        assert_eq!(block.head.link, stream.link().0);
    }

    #[test]
    fn a_day_sums_up_good_readings_whose_time_is_known() {
        let unset = WallClock { offset_ms: 0, quality: ClockQuality::Unset };
        let tomorrow = Some(Stamp::Unix(NOON + DAY_MS - 1));
        let hot = [
            hot(1, 1, 2.0),
            hot(2, 1, 4.0),
            HotReading { quality: Quality::Spike, ..hot(3, 1, 99.0) },
            HotReading { clock: unset, ..hot(4, 1, 98.0) },
            HotReading { stamp: Some(Stamp::Unix(1)), ..hot(5, 1, 97.0) },
            HotReading { stamp: Some(Stamp::Unix(NOON + 2 * DAY_MS)), ..hot(6, 1, 96.0) },
            HotReading { stamp: tomorrow, ..hot(7, 1, 1.0) },
            HotReading { stamp: tomorrow, clock: unset, ..hot(8, 1, 3.0) },
        ];
        let today = NOON / DAY_MS;
        let expected = BTreeMap::from([
            ((1, today), Day { readings: 2, low: 2.0, high: 4.0, total: 6.0 }),
            ((1, today + 1), Day { readings: 2, low: 1.0, high: 3.0, total: 4.0 }),
        ]);
        assert_eq!(days(&hot), expected);
    }
}
