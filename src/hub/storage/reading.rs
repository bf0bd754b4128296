//! Readings of decoded blocks: how they are stored, in which month, and how a clock that was set late puts them right.

use super::database::{Transaction, Value};
use super::{Error, Storage};
use crate::domain::reading::Stamp;
use crate::domain::time::ClockQuality;
use crate::wire::batch;
use jiff::civil::date;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::PoisonError;

/// First year whose months have partitions of their own, and the first that has none: what lies outside is no true time,
/// and stands in `reading_before` and `reading_after`.
const YEARS: std::ops::Range<i16> = 2020..2100;
/// Readings whose time is put right at once.
const CORRECTED_AT_ONCE: i64 = 5_000;
/// How far two times of one reading may lie apart, where both were believed, ms: a day.
const SAME_READING_MS: i64 = 86_400_000;

/// Farthest that a moment may lie from the beginning of a time line or of the calendar, ms: sums of three fit into 64 bits.
pub(super) const TIME_MAX: i64 = 1 << 60;

/// A month of the calendar, by UTC.
pub(super) type Month = (i16, i8);

/// A reading as its row has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReadingRow {
    pub(super) series: i64,
    pub(super) unix_ms: i64,
    pub(super) sequence: i64,
    pub(super) at_ms: i64,
    pub(super) lag_ms: Option<i64>,
    pub(super) clock: i64,
    pub(super) quality: i64,
    pub(super) value: Option<f64>,
}

/// A run of a gateway, and where it lay on the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) at_ms: i64,
    pub(super) offset_ms: i64,
    pub(super) clock: i64,
}

/// Returns the number by which the tables know how far a clock can be believed. A better one has a greater number.
pub(super) const fn clock_code(quality: ClockQuality) -> i64 {
    match quality {
        ClockQuality::Unset => 0,
        ClockQuality::Estimated => 1,
        ClockQuality::Synchronised => 2,
    }
}

pub(super) const fn bounded(ms: i64) -> i64 {
    if ms > TIME_MAX {
        TIME_MAX
    } else if ms < -TIME_MAX {
        -TIME_MAX
    } else {
        ms
    }
}

impl ReadingRow {
    /// Makes the row of a reading. Where a run is known better now than when the block was sealed, by what is known now.
    fn of(reading: &batch::Reading, series: i64, runs: &[Run]) -> Self {
        let at_ms = bounded(reading.at.as_millis());
        let (mut offset_ms, mut clock) =
            (bounded(reading.clock.offset_ms), clock_code(reading.clock.quality));
        if let Some(run) = runs.iter().rev().find(|run| run.at_ms <= at_ms)
            && clock < clock_code(ClockQuality::Synchronised)
            && run.clock >= clock
        {
            (offset_ms, clock) = (run.offset_ms, run.clock);
        }
        let arrived = at_ms.saturating_add(offset_ms);
        let (unix_ms, lag_ms, clock) = match reading.stamp {
            // A node's own clock is never better than estimated.
            Some(Stamp::Unix(unix_ms)) => (unix_ms, None, clock_code(ClockQuality::Estimated)),
            Some(Stamp::Age(age)) => {
                let lag = bounded(age);
                (arrived.saturating_sub(lag), Some(lag), clock)
            }
            None => (arrived, Some(0), clock),
        };
        Self {
            series,
            unix_ms,
            sequence: reading.sequence.cast_signed(),
            at_ms,
            lag_ms,
            clock,
            quality: i64::from(reading.quality.code()),
            // SQLite has no such number; PostgreSQL would, and the two are to say the same.
            value: Some(reading.value).filter(|value| !value.is_nan()),
        }
    }
}

/// Returns the month of a moment, unless it lies where no month has a partition of its own.
pub(super) fn month_of(unix_ms: i64) -> Option<Month> {
    let day = jiff::Timestamp::from_millisecond(unix_ms).ok()?.to_zoned(TimeZone::UTC).date();
    YEARS.contains(&day.year()).then(|| (day.year(), day.month()))
}

/// Returns where a month begins, Unix ms.
fn month_begins((year, month): Month) -> Option<i64> {
    let first = date(year, month, 1).to_zoned(TimeZone::UTC).ok()?;
    Some(first.timestamp().as_millisecond())
}

impl Storage {
    /// Returns which months of these rows have no partition yet.
    pub(super) fn months_missing(&self, rows: &[ReadingRow]) -> BTreeSet<Month> {
        let Some(months) = &self.months else { return BTreeSet::new() };
        let known = months.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().filter_map(|row| month_of(row.unix_ms)).filter(|m| !known.contains(m)).collect()
    }

    /// Makes the partitions of months, in transactions of their own: none may be made while one that stores readings is
    /// open here, for it would wait for itself.
    pub(super) async fn make_months(&self, wanted: &BTreeSet<Month>) -> Result<(), Error> {
        let Some(months) = &self.months else { return Ok(()) };
        for month in wanted {
            let (year, number) = *month;
            let next = if number == 12 { (year + 1, 1) } else { (year, number + 1) };
            let (Some(from), Some(until)) = (month_begins(*month), month_begins(next)) else {
                return Err(Error::Damaged { what: "month" });
            };
            let mut transaction = self.database.begin().await?;
            transaction.make_partition(year, number, from, until).await?;
            transaction.commit().await?;
            months.lock().unwrap_or_else(PoisonError::into_inner).insert(*month);
        }
        Ok(())
    }

    /// Forgets which partitions there are: an operator has removed some.
    pub(super) fn forget_months(&self) {
        if let Some(months) = &self.months {
            months.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

/// What a gateway's readings are laid by.
pub(super) struct Filing {
    gateway: i64,
    series: BTreeMap<(String, &'static str), i64>,
    runs: Vec<Run>,
}

impl Filing {
    /// Reads what is known of a gateway.
    pub(super) async fn of(transaction: &mut Transaction, gateway: i64) -> Result<Self, Error> {
        let mut filing = Self { gateway, series: BTreeMap::new(), runs: Vec::new() };
        let rows = transaction
            .fetch("select id, node, quantity from series where gateway = $1", &[gateway.into()])
            .await?;
        for row in rows {
            // One of a later version of this program is none that a block of this version names.
            if let Some(quantity) = crate::domain::quantity::Quantity::from_name(&row.text(2)?) {
                filing.series.insert((row.text(1)?, quantity.name()), row.int(0)?);
            }
        }
        let rows = transaction
            .fetch(
                "select at_ms, offset_ms, quality from boot where gateway = $1 order by at_ms, boot",
                &[gateway.into()],
            )
            .await?;
        for row in rows {
            let run = Run { at_ms: row.int(0)?, offset_ms: row.int(1)?, clock: row.int(2)? };
            filing.runs.push(run);
        }
        Ok(filing)
    }

    /// Makes the rows of a block's readings; signals that are new get their numbers.
    pub(super) async fn rows(
        &mut self,
        transaction: &mut Transaction,
        readings: &[batch::Reading],
    ) -> Result<Vec<ReadingRow>, Error> {
        let mut rows = Vec::with_capacity(readings.len());
        for reading in readings {
            let key = (super::plain(&reading.node.0), reading.quantity.name());
            let known = self.series.get(&key).copied();
            let series = match known {
                Some(series) => series,
                None => self.number(transaction, key).await?,
            };
            rows.push(ReadingRow::of(reading, series, &self.runs));
        }
        Ok(rows)
    }

    /// Gives a signal its number.
    async fn number(
        &mut self,
        transaction: &mut Transaction,
        key: (String, &'static str),
    ) -> Result<i64, Error> {
        let rows = transaction
            .fetch(
                "insert into series (gateway, node, quantity) values ($1, $2, $3) returning id",
                &[self.gateway.into(), key.0.as_str().into(), key.1.into()],
            )
            .await?;
        let series = rows.first().ok_or(Error::Damaged { what: "series" })?.int(0)?;
        self.series.insert(key, series);
        Ok(series)
    }

    /// Leaves out what another database of the same gateway has told already: one that was restored seals again what its
    /// predecessor had sealed, perhaps with the calendar set otherwise.
    pub(super) async fn leave_out_known(
        &self,
        transaction: &mut Transaction,
        rows: &mut Vec<ReadingRow>,
    ) -> Result<(), Error> {
        let mut spans: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for row in rows.iter() {
            let span = spans.entry(row.series).or_insert((row.unix_ms, row.unix_ms));
            *span = (span.0.min(row.unix_ms), span.1.max(row.unix_ms));
        }
        let mut known = HashSet::new();
        for (series, (from, until)) in spans {
            let near = transaction
                .fetch(
                    "select sequence, at_ms from reading \
                     where gateway = $1 and series = $2 and unix_ms >= $3 and unix_ms <= $4",
                    &[
                        self.gateway.into(),
                        series.into(),
                        from.saturating_sub(SAME_READING_MS).into(),
                        until.saturating_add(SAME_READING_MS).into(),
                    ],
                )
                .await?;
            let unsettled = transaction
                .fetch(
                    "select sequence, at_ms from reading where gateway = $1 and series = $2 \
                     and lag_ms is not null and clock < 2",
                    &[self.gateway.into(), series.into()],
                )
                .await?;
            for row in near.iter().chain(&unsettled) {
                known.insert((series, row.int(0)?, row.int(1)?));
            }
        }
        rows.retain(|row| !known.contains(&(row.series, row.sequence, row.at_ms)));
        Ok(())
    }
}

/// A step of putting times right: rows that lay elsewhere, and how they are now.
pub(super) struct Corrected {
    pub(super) old: Vec<ReadingRow>,
    pub(super) new: Vec<ReadingRow>,
}

/// Returns the next readings of a run whose clock was not synchronised when their block was sealed and that lie elsewhere
/// on the calendar than is known now.
pub(super) async fn to_correct(
    transaction: &mut Transaction,
    gateway: i64,
    run: Run,
    until_ms: i64,
) -> Result<Corrected, Error> {
    let rows = transaction
        .fetch(
            "select series, unix_ms, sequence, at_ms, lag_ms, clock, quality, value from reading \
             where gateway = $1 and at_ms >= $2 and at_ms < $3 and lag_ms is not null and clock < 2 \
             and clock <= $4 and (clock <> $4 or unix_ms <> at_ms + $5 - lag_ms) limit $6",
            &[
                gateway.into(),
                run.at_ms.into(),
                until_ms.into(),
                run.clock.into(),
                run.offset_ms.into(),
                CORRECTED_AT_ONCE.into(),
            ],
        )
        .await?;
    let mut corrected = Corrected { old: Vec::new(), new: Vec::new() };
    for row in rows {
        let old = ReadingRow {
            series: row.int(0)?,
            unix_ms: row.int(1)?,
            sequence: row.int(2)?,
            at_ms: row.int(3)?,
            lag_ms: row.maybe_int(4)?,
            clock: row.int(5)?,
            quality: row.int(6)?,
            value: row.real(7)?,
        };
        let arrived = old.at_ms.saturating_add(run.offset_ms);
        let unix_ms = arrived.saturating_sub(old.lag_ms.unwrap_or(0));
        corrected.new.push(ReadingRow { unix_ms, clock: run.clock, ..old.clone() });
        corrected.old.push(old);
    }
    Ok(corrected)
}

/// Takes rows away, one by one: few are wrong, and for a short while only.
pub(super) async fn remove(
    transaction: &mut Transaction,
    gateway: i64,
    rows: &[ReadingRow],
) -> Result<(), Error> {
    for row in rows {
        let key: [Value; 4] =
            [gateway.into(), row.series.into(), row.unix_ms.into(), row.sequence.into()];
        transaction
            .execute(
                "delete from reading where gateway = $1 and series = $2 and unix_ms = $3 and sequence = $4",
                &key,
            )
            .await?;
    }
    Ok(())
}
