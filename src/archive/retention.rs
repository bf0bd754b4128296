//! What goes when it is too old, or when the database takes more than it may: in the operator's order, and never what
//! explains a warning.

use crate::config::{Removable, Storage};
use crate::domain::time::{ClockQuality, Timestamp, millis};
use crate::store::{Error, Removal, Store};

/// Removals of a round: the next one goes on.
const STEPS_MAX: usize = 1_000;
/// Days of series and records go by so much time at once, when there is too much.
const STEP_MS: i64 = 30 * DAY_MS;
const DAY_MS: i64 = 86_400_000;

/// Removes what is to go. Returns whether more is left than allowed that may not be removed.
pub(super) async fn keep_within_bounds(
    store: &Store,
    now: Timestamp,
    settings: &Storage,
    has_hub: bool,
) -> Result<bool, Error> {
    by_age(store, now, settings, has_hub).await?;
    for _ in 0..STEPS_MAX {
        if store.size().await?.used_bytes() <= settings.size_max {
            return Ok(false);
        }
        let mut gone = 0;
        for kind in &settings.drop_first {
            gone = oldest(store, *kind).await?;
            if gone > 0 {
                break;
            }
        }
        if gone == 0 {
            tracing::warn!(
                size_max = settings.size_max,
                "the database takes more than it may, and nothing that may be removed is left"
            );
            return Ok(true);
        }
    }
    Ok(false)
}

/// Ages count on the time line: what the calendar said cannot be relied upon.
async fn by_age(
    store: &Store,
    now: Timestamp,
    settings: &Storage,
    has_hub: bool,
) -> Result<(), Error> {
    let before = |kept| now.as_millis().saturating_sub(millis(kept));
    for _ in 0..STEPS_MAX {
        // What the hub does not have yet waits for it, however old it is.
        let run = store.oldest_run(has_hub).await?;
        let Some(run) = run.filter(|run| run.until_ms < before(settings.readings_kept)) else {
            break;
        };
        store.remove(Removal::Blocks(run.first, run.last)).await?;
        tracing::info!(first = run.first, last = run.last, "old readings are removed");
    }
    let records = Removal::Records(before(settings.records_kept));
    while store.remove(records).await? > 0 {}
    // Days are days of the calendar: they wait until it is known.
    if let Some(wall) = store.last_run().await?.map(|run| run.wall)
        && wall.quality != ClockQuality::Unset
    {
        let day = wall.unix_ms(now).saturating_sub(millis(settings.days_kept)).div_euclid(DAY_MS);
        while store.remove(Removal::Days(day)).await? > 0 {}
    }
    Ok(())
}

/// Removes the oldest of that kind. Returns how many rows went.
async fn oldest(store: &Store, kind: Removable) -> Result<u64, Error> {
    let removal = match kind {
        Removable::Readings => {
            // What the hub has goes before what it does not have.
            let told = store.oldest_run(true).await?;
            let run = if told.is_some() { told } else { store.oldest_run(false).await? };
            run.map(|run| Removal::Blocks(run.first, run.last))
        }
        Removable::Days => {
            store.oldest_day().await?.map(|day| Removal::Days(day + STEP_MS / DAY_MS))
        }
        Removable::Records => store.oldest_record().await?.map(|ms| Removal::Records(ms + STEP_MS)),
    };
    match removal {
        Some(removal) => {
            let gone = store.remove(removal).await?;
            tracing::info!(kind = kind.as_str(), rows = gone, "room is made in the database");
            Ok(gone)
        }
        None => Ok(0),
    }
}
