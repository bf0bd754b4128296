//! A backup takes the place of the database. What other ends remember, too, does not go back with it.

use super::backup::{Copy, Part, check_room, settle, size, unclear, verify, with_tail};
use super::clock::{self, Clocks};
use super::convert::{self, Places};
use super::nodes::chance;
use super::{DATABASE, aside, lock, make_data_folder};
use crate::domain::siren;
use crate::domain::time::{ClockQuality, Timestamp};
use crate::domain::warning::WarningId;
use crate::pipeline::Rules;
use crate::pipeline::rollback::{self, Age, Rows};
use crate::store::{self, Boot, Forward, LastRun, Salvaged, Store};
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Warnings that may have been raised since a backup: one every quarter of an hour for three months. Their numbers are passed
/// over, because people, sirens and a hub know them.
pub(super) const WARNINGS_PASSED: u64 = 10_000;
/// Runs that may have been since a backup: one every two seconds (`RestartSec` of the service) for 24 days.
pub(super) const RUNS_PASSED: i64 = 1 << 20;
/// What was open longer ago says nothing about now: an alert is issued anew more often, where anybody hears the river.
const MEMORY_HOLDS: Duration = Duration::from_hours(1);
/// At so many frames a day to one node, those that are passed over are used up.
const FRAMES_A_DAY: u32 = 1440;

/// What becomes of what was open in a backup that is not of just now.
const FOUND_ANEW: &str = "what was open then has run out, and is told anew where it is found; sums over hours and days begin anew";

/// The database that is to be replaced, as far as it can be read.
struct Present {
    /// Nothing is wrong with it, as far as SQLite can see.
    is_whole: bool,
    /// It has lived through what the backup has, and on from there.
    goes_on: bool,
    last_run: Option<LastRun>,
    run: i64,
    warning_last: WarningId,
    holds_until: Option<Timestamp>,
    radio: Rows,
}

impl Present {
    async fn of(database: &Path, backup: &Store) -> Option<Self> {
        if !database.exists() {
            return None;
        }
        let run = backup.run_on_record().await.ok().flatten();
        let store = Store::read_only(database);
        let faults = store.faults().await;
        let salvaged = Salvaged::read(database).await;
        let own_run = store.run_on_record().await.ok().flatten();
        let goes_on = match &run {
            Some(run) => store.has_run(run).await.unwrap_or(false),
            None => false,
        };
        let present = Self {
            is_whole: faults.is_ok_and(|faults| faults.is_empty()),
            goes_on,
            last_run: salvaged.last_run,
            run: own_run.map_or(0, |run| run.id),
            warning_last: salvaged.warning_last,
            holds_until: store.holds_until().await.ok(),
            radio: salvaged.radio,
        };
        store.close().await;
        Some(present)
    }

    /// Returns whether it knows all that has been since the backup.
    const fn knows_all(&self) -> bool {
        self.is_whole && self.goes_on
    }
}

/// What was done with the radio nodes.
struct Radio {
    rows: Rows,
    rekeyed: Vec<String>,
    notes: Vec<String>,
}

/// Puts a backup into the place of the database of a gateway that does not run. The database that was there is put aside.
///
/// # Errors
///
/// In words, why nothing was changed.
pub async fn restore(config: &Path, places: &Places, file: &Path) -> anyhow::Result<Value> {
    ensure!(file.is_file(), "there is no file {}", file.display());
    ensure!(
        size(&with_tail(file, "-wal")) == 0,
        "{} is no backup: a part of it is in the file beside it that ends in -wal",
        file.display()
    );
    make_data_folder(&places.data)?;
    let _lock = lock(&places.data)?;
    if std::os::unix::net::UnixStream::connect(&places.socket).is_ok() {
        bail!("a gateway answers on {}: stop it first", places.socket.display());
    }
    let database = places.data.join(DATABASE);
    aside::finish(&database)?;
    check_room(&places.data, size(file))?;
    let [unready, _] = aside::UNREADY;
    let part = Part::create(with_tail(&database, unready))
        .with_context(|| format!("cannot write into {}", places.data.display()))?;
    copy_file(file, part.path()).await?;
    settle(part.path()).await?;
    let copy = verify(part.path())
        .await
        .with_context(|| format!("{} is not put back: nothing was changed", file.display()))?;
    let rules = convert::load(config).ok().and_then(|loaded| {
        convert::rules_with_keys(&loaded).or_else(|_| convert::rules(&loaded)).ok()
    });
    let (forward, mut said) = plan(part.path(), &database, &copy, rules.as_ref()).await?;
    store::take_forward(part.path(), &forward).await?;
    settle(part.path()).await?;
    verify(part.path()).await.context("the copy did not become a database")?;
    give_to_owner_of(&places.data, part.path())?;
    part.keep_as(&aside::ready(&database))?;
    let replaced = aside::replace(&database, "replaced")?;
    if let Some(said) = said.as_object_mut() {
        said.insert("replaced".to_owned(), json!(replaced.map(|path| path.display().to_string())));
    }
    Ok(said)
}

/// Works out what must not go back, and says it.
async fn plan(
    part: &Path,
    database: &Path,
    copy: &Copy,
    rules: Option<&Rules>,
) -> anyhow::Result<(Forward, Value)> {
    let backup = Store::look_at(part);
    let present = Present::of(database, &backup).await;
    let run = backup.run_on_record().await?.map_or(0, |run| run.id);
    let warning_last = warning_last(&backup).await?;
    let holds_until = backup.holds_until().await?;
    backup.close().await;
    let knows_all = present.as_ref().is_some_and(Present::knows_all);
    let goes_on = present.as_ref().filter(|present| present.goes_on);
    // Only what has lived on from the backup has the same time line.
    let last = goes_on.and_then(|present| present.last_run.clone()).or(copy.last_run.clone());
    let holds_until = holds_until.max(goes_on.and_then(|p| p.holds_until).unwrap_or_default());
    let made = copy.last_run.as_ref();
    let (boot, age) = moment(last.as_ref(), made, holds_until, &Clocks::read());
    let newest = present.as_ref().map_or(WarningId(0), |present| present.warning_last);
    let warning_last = WarningId(if knows_all {
        newest.0.max(warning_last.0)
    } else {
        newest.0.max(warning_last.0).saturating_add(WARNINGS_PASSED)
    });
    let run = run.max(present.as_ref().map_or(0, |present| present.run));
    let run = if knows_all { run + 1 } else { run.saturating_add(RUNS_PASSED) };
    let radio = radio(copy, present.as_ref(), rules, age, boot.at);
    let mut notes = radio.notes;
    if copy.counts.recipients == 0 {
        notes.push("it has no recipients: nobody is told before they are imported".to_owned());
    }
    match age {
        Age::Short => {}
        Age::Long => notes.push(FOUND_ANEW.to_owned()),
        Age::Unknown => notes.push(format!("nothing says how old the backup is. {FOUND_ANEW}")),
    }
    let since = made.filter(|_| age != Age::Unknown).map(|made| boot.at.since(made.until));
    if !knows_all && !radio.rows.is_empty() {
        notes.extend(radio_notes(since));
    }
    let said = json!({
        "readings": copy.counts.readings, "warnings": copy.counts.warnings, "recipients": copy.counts.recipients,
        "radio_states": radio.rows.len(), "until_unix_ms": made.map(|made| made.wall.unix_ms(made.until)),
        "age_s": since.map(|since| since.as_secs()), "next_warning": warning_last.0 + 1, "rekeyed": radio.rekeyed, "notes": notes,
    });
    let newer = knows_all.then(|| database.to_path_buf());
    let begins_anew = age != Age::Short;
    let radio = radio.rows;
    Ok((Forward { boot, run, warning_last, radio, begins_anew, newer }, said))
}

async fn warning_last(backup: &Store) -> anyhow::Result<WarningId> {
    // A backup of an earlier version has no marks.
    if let Ok(last) = backup.last_warning().await {
        return Ok(last);
    }
    let warnings = backup.warnings(None).await?;
    Ok(WarningId(warnings.iter().map(|warning| warning.id.cast_unsigned()).max().unwrap_or(0)))
}

/// Returns where the time line goes on after the `last` run, and how old a backup is that was `made` then. Where nothing
/// says how long ago that was, it goes on when all that held then has run out: nothing stale may leave.
fn moment(
    last: Option<&LastRun>,
    made: Option<&LastRun>,
    holds_until: Timestamp,
    clocks: &Clocks,
) -> (Boot, Age) {
    let (mut boot, gap) = clock::go_on(last, clocks);
    if gap.is_certain {
        let since = made.map_or(Duration::ZERO, |made| boot.at.since(made.until));
        return (boot, if since <= MEMORY_HOLDS { Age::Short } else { Age::Long });
    }
    let by_hand = siren::BY_HAND_VALID.max(siren::TEST_VALID);
    boot.at = boot.at.max(holds_until + by_hand + Duration::from_millis(1));
    let unix_ms = match (clocks.quality, last) {
        (ClockQuality::Unset, Some(last)) => last.wall.unix_ms(last.until),
        (_, _) => clocks.unix_ms,
    };
    boot.wall.offset_ms = unix_ms - boot.at.as_millis();
    (boot, Age::Unknown)
}

/// Works out the states of radio nodes and sirens: those that have lived on, else those of the backup, with all passed
/// over that may have been used since.
fn radio(
    copy: &Copy,
    present: Option<&Present>,
    rules: Option<&Rules>,
    age: Age,
    now: Timestamp,
) -> Radio {
    let mut notes = Vec::new();
    let unclear: Vec<&String> = unclear(&copy.radio).collect();
    if !unclear.is_empty() {
        notes.push(format!("states of radio nodes are not understood: {unclear:?}"));
    }
    if let Some(present) = present.filter(|present| present.knows_all()) {
        return Radio { rows: present.radio.clone(), rekeyed: Vec::new(), notes };
    }
    let frames = rollback::frames_since_backup(rules.and_then(|rules| rules.lorawan.as_ref()));
    let mut rows = rollback::passed_over(&copy.radio, frames, age);
    if let Some(present) = present {
        let lost = if present.is_whole { 0 } else { rollback::FRAMES_PASSED_AFTER_DAMAGE };
        let age = if present.goes_on { age } else { Age::Unknown };
        let newer = rollback::passed_over(&present.radio, |_| lost, age);
        let (joined, left_out) = rollback::joined(&rows, &newer);
        if !left_out.is_empty() {
            notes.push(format!(
                "nodes of another network of our own link are left out: {left_out:?}; add them again, or take the database away and restore again"
            ));
        }
        rows = joined;
    }
    let mut rekeyed = Vec::new();
    match rules {
        Some(rules) => {
            // Where the machine gives no random bytes, nobody is given a key.
            let changed = rollback::rekeyed(&rules.link, &rows, now, || chance().ok());
            (rows, rekeyed) = changed;
        }
        None if rows.keys().any(|name| name.starts_with("wf1 ")) => notes.push(
            "the configuration is not understood: once it is, give each node of our own link a new key with kengele node rekey"
                .to_owned(),
        ),
        None => {}
    }
    Radio { rows, rekeyed, notes }
}

/// Says what a person has to know about radio nodes after their states went back.
fn radio_notes(age: Option<Duration>) -> Vec<String> {
    let mut notes = vec![
        "radio: a node that was added or given a new key since the backup needs one again (kengele node swap); a LoRaWAN device that has joined since must join again"
            .to_owned(),
    ];
    let days = rollback::FRAMES_PASSED / FRAMES_A_DAY;
    if age.is_none_or(|age| age > Duration::from_hours(24) * days) {
        notes.push(format!(
            "radio: the backup is older than {days} days, or nobody knows; a LoRaWAN device that was told something every minute since then should join again"
        ));
    }
    notes
}

async fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    let (from, to) = (from.to_path_buf(), to.to_path_buf());
    let words = format!("cannot copy {}", from.display());
    let copied = tokio::task::spawn_blocking(move || {
        let mut source = fs::File::open(from)?;
        let mut target = fs::File::options().write(true).open(to)?;
        std::io::copy(&mut source, &mut target)
    });
    copied.await.context("the copy was not made")?.context(words)?;
    Ok(())
}

/// Gives a file to whoever has the folder: restored by the administrator, it must be the service's.
fn give_to_owner_of(folder: &Path, file: &Path) -> anyhow::Result<()> {
    let (folder, known) = (fs::metadata(folder)?, fs::metadata(file)?);
    if folder.uid() == known.uid() && folder.gid() == known.gid() {
        return Ok(());
    }
    std::os::unix::fs::chown(file, Some(folder.uid()), Some(folder.gid()))
        .with_context(|| format!("cannot give {} to the owner of its folder", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::WallClock;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_800_000_000_000;

    fn last() -> LastRun {
        LastRun {
            kernel: "k1".into(),
            line_minus_uptime_ms: 0,
            until: Timestamp::from_millis(10 * HOUR),
            lived: Timestamp::from_millis(10 * HOUR),
            wall: WallClock { offset_ms: NOW - 10 * HOUR, quality: ClockQuality::Synchronised },
        }
    }

    #[test]
    fn a_time_that_is_known_decides_what_has_run_out() {
        let holds_until = Timestamp::from_millis(14 * HOUR);
        let same = Clocks {
            kernel: "k1".into(),
            uptime_ms: 11 * HOUR,
            unix_ms: 5,
            quality: ClockQuality::Unset,
        };
        let (boot, age) = moment(Some(&last()), Some(&last()), holds_until, &same);
        assert_eq!((boot.at.as_millis(), age), (11 * HOUR, Age::Short));
        let quality = ClockQuality::Synchronised;
        let other = Clocks { kernel: "k2".into(), unix_ms: NOW + 3 * HOUR, quality, ..same };
        let (boot, age) = moment(Some(&last()), Some(&last()), holds_until, &other);
        assert_eq!((boot.at.as_millis(), age), (13 * HOUR, Age::Long));
    }

    #[test]
    fn where_nobody_knows_the_time_all_that_held_has_run_out_and_the_calendar_stays() {
        let holds_until = Timestamp::from_millis(14 * HOUR);
        for (unix_ms, quality, shown) in [
            (5_000, ClockQuality::Unset, NOW),
            (NOW + HOUR, ClockQuality::Estimated, NOW + HOUR),
            (NOW + 9000 * HOUR, ClockQuality::Synchronised, NOW + 9000 * HOUR),
        ] {
            let clocks = Clocks { kernel: "k2".into(), uptime_ms: 5_000, unix_ms, quality };
            let (boot, age) = moment(Some(&last()), Some(&last()), holds_until, &clocks);
            assert_eq!(age, Age::Unknown);
            assert!(boot.at > holds_until + siren::BY_HAND_VALID, "{boot:?}");
            assert_eq!(boot.wall.unix_ms(boot.at), shown);
        }
    }

    #[test]
    fn a_database_that_never_ran_has_nothing_that_could_be_stale() {
        let clocks =
            Clocks { kernel: "k".into(), uptime_ms: 5, unix_ms: 5, quality: ClockQuality::Unset };
        let (boot, age) = moment(None, None, Timestamp::default(), &clocks);
        assert_eq!((boot.at.as_millis(), age), (0, Age::Short));
    }
}
