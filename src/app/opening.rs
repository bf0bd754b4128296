//! Opening the database at a start: the run goes on where the last one ended. One that is damaged is put aside, whole, and
//! what no warning can do without is carried over into a fresh one: the next flood does not wait.

use super::backup::{Part, settle, with_tail};
use super::restore::{RUNS_PASSED, WARNINGS_PASSED};
use super::{Options, aside, clock, convert};
use crate::domain::engine::Engine;
use crate::domain::outbox::{BootId, Stored};
use crate::domain::recipient::Recipient;
use crate::domain::time::Timestamp;
use crate::domain::warning::WarningId;
use crate::pipeline::Rules;
use crate::pipeline::rollback::{self, Age};
use crate::store::{self, Forward, Reserve, ReserveView, Salvaged, Store, Turn, WarningRow};
use crate::supervise::Tasks;
use crate::telemetry::{Clock, Telemetry};
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open database, and what the last run left in it.
pub(super) struct Opened {
    pub store: Store,
    /// The task that writes.
    pub writer: Tasks,
    /// Room that is held for a full disk.
    pub reserve: ReserveView,
    pub past: Past,
}

/// What a run goes on from.
pub(super) struct Past {
    pub telemetry: Telemetry,
    pub gap: clock::Gap,
    pub engine: Engine,
    pub people: Vec<Recipient>,
    pub radio_states: BTreeMap<String, Vec<u8>>,
    pub outbox: (Stored, BootId),
    pub warnings: Vec<WarningRow>,
}

/// Opens the database and reads all that a run goes on from. One that is damaged anywhere in that is put aside.
pub(super) async fn open(path: &Path, rules: &Rules, options: &Options) -> anyhow::Result<Opened> {
    if aside::finish(path).context("a restore that was cut off cannot be finished")? {
        tracing::warn!("a restore that was cut off is finished");
    }
    match attempt(path, rules, options).await {
        Err(error) if path.exists() && is_damage(&error) => {
            let salvaged = Salvaged::read(path).await;
            let (recipients, radio) = (salvaged.recipients.len(), salvaged.radio.len());
            let aside = begin_fresh(path, salvaged)
                .await
                .context("the database is damaged, and no fresh one can be begun")?;
            tracing::error!(
                error = %format!("{error:#}"),
                aside = aside.map(|aside| aside.display().to_string()),
                "the database is damaged: it is put aside and a fresh one is begun"
            );
            if recipients == 0 {
                tracing::error!("no recipient could be saved: they must be imported again");
            }
            tracing::warn!(
                recipients,
                radio_nodes = radio,
                "carried over from the damaged database; what is open is found anew, and told again"
            );
            attempt(path, rules, options).await
        }
        opened => opened,
    }
}

/// Makes a database of what could be read of a damaged one, and lets it take the place of that: it is whole before it does, so
/// that no power cut leaves one in which nobody is to be told. Passes over what may have been used since: the
/// newest of a damaged file is what cannot be read of it. Returns where the damaged one is now.
async fn begin_fresh(path: &Path, salvaged: Salvaged) -> anyhow::Result<Option<PathBuf>> {
    let [_, unready] = aside::UNREADY;
    let part = Part::create(with_tail(path, unready))?;
    let (store, task) = Store::open(part.path()).await?;
    let mut writer = Tasks::default();
    writer.spawn("store", task.run());
    let put = store.put_recipients(salvaged.recipients).await;
    drop(store);
    writer.next_ended().await;
    put?;
    let (boot, _) = clock::go_on(salvaged.last_run.as_ref(), &clock::Clocks::read());
    let lost = |_: &str| rollback::FRAMES_PASSED_AFTER_DAMAGE;
    let forward = Forward {
        boot,
        run: RUNS_PASSED,
        warning_last: WarningId(salvaged.warning_last.0.saturating_add(WARNINGS_PASSED)),
        radio: rollback::passed_over(&salvaged.radio, lost, Age::Short),
        begins_anew: true,
        newer: None,
    };
    store::take_forward(part.path(), &forward).await?;
    settle(part.path()).await?;
    part.keep_as(&aside::ready(path))?;
    Ok(aside::replace(path, "damaged")?)
}

async fn attempt(path: &Path, rules: &Rules, options: &Options) -> anyhow::Result<Opened> {
    let (store, task) = Store::open(path).await?;
    let held = Reserve::beside(path);
    let reserve = held.view();
    let mut writer = Tasks::default();
    writer.spawn("store", task.with_reserve(held).run());
    match take_up(&store, rules, options).await {
        Ok(past) => Ok(Opened { store, writer, reserve, past }),
        Err(error) => {
            // The file is closed before anybody moves it.
            drop(store);
            writer.next_ended().await;
            Err(error)
        }
    }
}

/// Begins a run on record, sets its clock going, and reads what the last one left.
async fn take_up(store: &Store, rules: &Rules, options: &Options) -> anyhow::Result<Past> {
    let last = store.last_run().await?;
    let (mut boot, gap) = clock::go_on(last.as_ref(), &clock::Clocks::read());
    if let Some(wall) = options.wall {
        boot.wall = wall;
    }
    let (now, wall) = (boot.at, boot.wall);
    store.begin(boot).await?;
    let mut engine = bring_back(store, rules, now).await?;
    let taken = store.last_warning().await?;
    if engine.last_warning() < taken {
        engine.number_above(taken);
        // A later start goes on from this state: it is on record before anything is raised.
        let (at, snapshot) = (engine.now(), Some(engine.save()));
        store.commit(Turn { at, snapshot, ..Turn::default() }).await?;
    }
    Ok(Past {
        telemetry: Telemetry::new(Clock::new(now, wall, options.speed)),
        gap,
        engine,
        people: store.recipients().await?,
        radio_states: store.radio_states().await?,
        outbox: store.outbox_start(now).await?,
        warnings: store.last_warnings().await?,
    })
}

fn is_damage(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<store::Error>().is_some_and(store::Error::is_damage))
}

/// Brings the engine to where the last run ended: under the rule book that was in force then.
async fn bring_back(store: &Store, rules: &Rules, now: Timestamp) -> anyhow::Result<Engine> {
    let (begins_behind, begins) = store.engine_begins().await?;
    let snapshot = store.snapshot().await?;
    let Some(snapshot) = snapshot.filter(|snapshot| snapshot.turn > begins_behind) else {
        store.declare(Arc::clone(&rules.book), rules.sources.clone()).await?;
        // It lives through all from its own beginning: what it heard then was not heard now.
        let mut engine = Engine::new(&rules.book, begins.unwrap_or(now));
        let replayed = store.replay(&mut engine, begins_behind).await?;
        if replayed > 0 {
            tracing::info!(replayed, "the engine was brought back without a snapshot");
        }
        return Ok(engine);
    };
    let written = store
        .rule_book(&snapshot.rule_book)
        .await?
        .context("the rule book of the last run is not on record")?;
    let sources = convert::sources(&written)?;
    let old = convert::parse(&sources).map_err(|faults| {
        anyhow::anyhow!(
            "the rule book of the last run is not understood any more: {} faults",
            faults.len()
        )
    });
    let restored = old.and_then(|old| {
        let book = old.config.rules;
        Engine::restore(&book, &snapshot.state)
            .context("the engine's state is not understood")
            .map(|e| (e, book))
    });
    match restored {
        Ok((mut engine, book)) => {
            store.declare(Arc::clone(&book), written).await?;
            let replayed = store.replay(&mut engine, snapshot.turn).await?;
            tracing::info!(replayed, "the engine stands where it stood");
            Ok(engine)
        }
        Err(error) => {
            tracing::warn!(error = %error, "starting without the engine's earlier state");
            store.declare(Arc::clone(&rules.book), rules.sources.clone()).await?;
            Ok(Engine::new(&rules.book, now))
        }
    }
}
