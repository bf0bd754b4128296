//! What can be asked of the storage.

use super::database::Row;
use super::{Error, Storage};
use crate::domain::quantity::Quantity;
use crate::domain::reading::Quality;
use crate::domain::time::ClockQuality;
use crate::wire::uplink::Faults;
use std::collections::BTreeMap;

/// Rows that are in memory at once while readings are told.
const PAGE_ROWS: i64 = 10_000;
/// Alerts that are looked at for a list of warnings, newest first.
const ALERTS_MAX: i64 = 5_000;

/// Which readings are wanted.
#[derive(Clone, Debug, Default)]
pub struct MeasuredWanted {
    /// Of this gateway only.
    pub gateway: Option<String>,
    /// Of this node only.
    pub node: Option<String>,
    /// Of this quantity only.
    pub quantity: Option<Quantity>,
    /// Not before this, Unix ms.
    pub from_ms: Option<i64>,
    /// Before this, Unix ms.
    pub until_ms: Option<i64>,
}

/// A reading of a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredRow {
    /// Name of the gateway.
    pub gateway: String,
    /// Name of the node.
    pub node: String,
    /// What was measured.
    pub quantity: Quantity,
    /// When, Unix ms, as best known.
    pub unix_ms: i64,
    /// How far that time can be believed.
    pub clock: ClockQuality,
    /// Its place in the order in which the gateway judged.
    pub sequence: u64,
    /// The value; NaN where none came.
    pub value: f64,
    /// How far the value can be believed.
    pub quality: Quality,
    key: [i64; 4],
}

/// A warning of a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct WarningRow {
    /// Name of the gateway.
    pub gateway: String,
    /// Number of the warning there.
    pub warning: u64,
    /// What threatens; nothing while the gateway's dictionary is not here.
    pub hazard: Option<String>,
    /// Where.
    pub area: Option<String>,
    /// The level that was told last.
    pub level: String,
    /// The highest level that it has had.
    pub level_max: String,
    /// CAP message type of the last alert.
    pub message_type: String,
    /// How many alerts there were.
    pub alerts: u32,
    /// When the first was made, Unix ms by the gateway's calendar.
    pub raised_unix_ms: Option<i64>,
    /// When the last was made.
    pub told_unix_ms: Option<i64>,
    /// Until when the last holds.
    pub expires_unix_ms: Option<i64>,
    /// When the first came here, Unix ms.
    pub received_ms: i64,
    /// When and how it ended, where that was told apart from an alert.
    pub ended: Option<(Option<i64>, String)>,
    /// What became of the last alert's deliveries.
    pub outcome: Option<OutcomeRow>,
}

/// What became of the deliveries of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeRow {
    /// Who is to be told.
    pub recipients: i64,
    /// Whose telephone has it.
    pub delivered: i64,
    /// Whose network has it.
    pub accepted: i64,
    /// Who cannot be told.
    pub failed: i64,
    /// For whom it came too late.
    pub expired: i64,
    /// Who is being told.
    pub waiting: i64,
    /// Who has answered.
    pub acknowledged: i64,
}

/// Blocks of a gateway whose readings are not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They wait for others before them.
    pub waiting: i64,
    /// They cannot be read.
    pub unreadable: i64,
    /// Another block has their place.
    pub misplaced: i64,
}

const MEASURED_PAGE: &str = "select gateway.name, series.node, series.quantity, unix_ms, sequence, value, quality, clock, \
     reading.gateway, series from reading join series on series.id = reading.series \
     join gateway on gateway.number = reading.gateway \
     where (reading.gateway, series, unix_ms, sequence) > ($6, $7, $8, $9) \
     and ($1 is null or gateway.name = $1) and ($2 is null or series.node = $2) \
     and ($3 is null or series.quantity = $3) and ($4 is null or unix_ms >= $4) and ($5 is null or unix_ms < $5) \
     order by reading.gateway, series, unix_ms, sequence limit $10";
const MEASURED_LAST: &str = "select gateway.name, series.node, series.quantity, unix_ms, sequence, value, quality, clock, \
     reading.gateway, series from reading join series on series.id = reading.series \
     join gateway on gateway.number = reading.gateway \
     where ($1 is null or gateway.name = $1) and ($2 is null or series.node = $2) \
     and ($3 is null or series.quantity = $3) and ($4 is null or unix_ms >= $4) and ($5 is null or unix_ms < $5) \
     order by unix_ms desc, sequence desc limit $6";
/// The calendar is that of the run in which the alert was made, as it is known now.
const ALERTS: &str = "select name, alert.warning, alert.number, hazard, area, level, level_max, message_type, \
     sent_ms, expires_ms, (select offset_ms from boot where boot.gateway = alert.gateway and boot.at_ms <= alert.sent_ms \
     order by boot.at_ms desc, boot.boot desc limit 1), \
     alert.received_ms, recipients, delivered, accepted, failed, expired, waiting, acknowledged \
     from alert join gateway on gateway.number = alert.gateway \
     left join outcome on outcome.gateway = alert.gateway and outcome.warning = alert.warning \
     and outcome.alert = alert.number where ($1 is null or name = $1) \
     order by alert.received_ms desc, alert.warning desc, alert.number desc limit $2";
const ENDED: &str = "select name, warning, ended.at_ms, ending, (select offset_ms from boot \
     where boot.gateway = ended.gateway and boot.at_ms <= ended.at_ms order by boot.at_ms desc, boot.boot desc limit 1) \
     from ended join gateway on number = ended.gateway where ($1 is null or name = $1) order by ended.at_ms limit $2";

impl MeasuredWanted {
    fn values(&self) -> Vec<super::database::Value> {
        vec![
            self.gateway.as_deref().into(),
            self.node.as_deref().into(),
            self.quantity.map(Quantity::name).into(),
            self.from_ms.into(),
            self.until_ms.into(),
        ]
    }
}

impl Storage {
    /// Returns readings by gateway, signal and time: those that follow `after`, some thousands at the most, none at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn measured(
        &self,
        wanted: &MeasuredWanted,
        after: Option<&MeasuredRow>,
    ) -> Result<Vec<MeasuredRow>, Error> {
        let mut values = wanted.values();
        let key = after.map_or([i64::MIN; 4], |row| row.key);
        values.extend(key.map(super::database::Value::from));
        values.push(PAGE_ROWS.into());
        self.database.fetch(MEASURED_PAGE, &values).await?.iter().map(measured_row).collect()
    }

    /// Returns the newest so many readings, oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn measured_last(
        &self,
        wanted: &MeasuredWanted,
        last: u32,
    ) -> Result<Vec<MeasuredRow>, Error> {
        let mut values = wanted.values();
        values.push(last.into());
        let rows = self.database.fetch(MEASURED_LAST, &values).await?;
        rows.iter().rev().map(measured_row).collect()
    }

    /// Returns the blocks whose readings are not stored, by number of the gateway.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn unread(&self) -> Result<BTreeMap<u32, Counts>, Error> {
        let rows = self
            .database
            .fetch(
                "select gateway, state, count(*) from block where state <> 1 group by gateway, state",
                &[],
            )
            .await?;
        let mut counts: BTreeMap<u32, Counts> = BTreeMap::new();
        for row in rows {
            let of = counts.entry(row.small(0)?).or_default();
            match row.int(1)? {
                super::run::WAITS => of.waiting = row.int(2)?,
                super::run::MISPLACED => of.misplaced = row.int(2)?,
                _ => of.unreadable = row.int(2)?,
            }
        }
        Ok(counts)
    }

    /// Returns the warnings of which something came last, newest first; of one gateway or of all.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Damaged`].
    pub async fn warnings(&self, gateway: Option<&str>) -> Result<Vec<WarningRow>, Error> {
        let values = [gateway.into(), ALERTS_MAX.into()];
        let alerts = self.database.fetch(ALERTS, &values).await?;
        let mut ended = BTreeMap::new();
        for row in self.database.fetch(ENDED, &values).await? {
            let at = row.maybe_int(4)?.map(|offset| row.int(2).map(|at| at.saturating_add(offset)));
            ended.insert((row.text(0)?, row.int(1)?), (at.transpose()?, row.text(3)?));
        }
        let mut warnings: Vec<WarningRow> = Vec::new();
        let mut places: BTreeMap<(String, i64), usize> = BTreeMap::new();
        for row in &alerts {
            let key = (row.text(0)?, row.int(1)?);
            // The newest comes first; what comes after it lies before it.
            let known = places.get(&key).and_then(|place| warnings.get_mut(*place));
            if let Some(warning) = known {
                warning.alerts += 1;
                warning.raised_unix_ms = moment(row, 8)?.or(warning.raised_unix_ms);
                warning.received_ms = row.int(11)?;
                continue;
            }
            let ended = ended.get(&key).cloned();
            places.insert(key, warnings.len());
            warnings.push(warning_row(row, ended)?);
        }
        Ok(warnings)
    }
}

/// Returns a moment of the time line on the calendar, where the run is known.
fn moment(row: &Row, place: usize) -> Result<Option<i64>, Error> {
    let at_ms = row.int(place)?;
    Ok(row.maybe_int(10)?.map(|offset_ms| at_ms.saturating_add(offset_ms)))
}

fn warning_row(row: &Row, ended: Option<(Option<i64>, String)>) -> Result<WarningRow, Error> {
    let outcome = match row.maybe_int(12)? {
        None => None,
        Some(recipients) => Some(OutcomeRow {
            recipients,
            delivered: row.int(13)?,
            accepted: row.int(14)?,
            failed: row.int(15)?,
            expired: row.int(16)?,
            waiting: row.int(17)?,
            acknowledged: row.int(18)?,
        }),
    };
    Ok(WarningRow {
        gateway: row.text(0)?,
        warning: row.int(1)?.cast_unsigned(),
        hazard: row.maybe_text(3)?,
        area: row.maybe_text(4)?,
        level: row.text(5)?,
        level_max: row.text(6)?,
        message_type: row.text(7)?,
        alerts: 1,
        raised_unix_ms: moment(row, 8)?,
        told_unix_ms: moment(row, 8)?,
        expires_unix_ms: moment(row, 9)?,
        received_ms: row.int(11)?,
        ended,
        outcome,
    })
}

/// Returns what is wrong with a gateway, in words of one piece each.
pub(super) fn fault_words(faults: Faults) -> Vec<&'static str> {
    let all = [
        (Faults::DATABASE_DAMAGED, "database_damaged"),
        (Faults::DATABASE_UNWRITABLE, "database_unwritable"),
        (Faults::DISK_FULL, "disk_full"),
        (Faults::MODEM_DOWN, "modem_down"),
        (Faults::PROVIDER_DOWN, "provider_down"),
        (Faults::CLOCK_UNSET, "clock_unset"),
        (Faults::SOURCE_DOWN, "source_down"),
        (Faults::BUDGET_SPENT, "budget_spent"),
        (Faults::CONFIGURATION_REFUSED, "configuration_refused"),
    ];
    all.into_iter().filter(|(fault, _)| faults.has(*fault)).map(|(_, word)| word).collect()
}

fn measured_row(row: &Row) -> Result<MeasuredRow, Error> {
    let quality = u8::try_from(row.int(6)?).ok().and_then(Quality::from_code);
    let clock = match row.int(7)? {
        0 => ClockQuality::Unset,
        1 => ClockQuality::Estimated,
        2 => ClockQuality::Synchronised,
        _ => return Err(Error::Damaged { what: "clock quality" }),
    };
    let (unix_ms, sequence) = (row.int(3)?, row.int(4)?);
    Ok(MeasuredRow {
        gateway: row.text(0)?,
        node: row.text(1)?,
        quantity: Quantity::from_name(&row.text(2)?).ok_or(Error::Damaged { what: "quantity" })?,
        unix_ms,
        clock,
        sequence: sequence.cast_unsigned(),
        value: row.real(5)?.unwrap_or(f64::NAN),
        quality: quality.ok_or(Error::Damaged { what: "quality" })?,
        key: [row.int(8)?, row.int(9)?, unix_ms, sequence],
    })
}
