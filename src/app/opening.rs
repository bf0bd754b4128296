//! Opening the database at a start: the run goes on where the last one ended. One that is damaged is put aside, whole, and
//! what no warning can do without is carried over into a fresh one: the next flood does not wait.

use super::{Options, clock, convert};
use crate::domain::engine::Engine;
use crate::domain::outbox::{BootId, Stored};
use crate::domain::recipient::Recipient;
use crate::domain::time::Timestamp;
use crate::pipeline::Rules;
use crate::store::{self, Reserve, ReserveView, Salvaged, Store, Turn, WarningRow};
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
    match attempt(path, rules, options, Salvaged::default()).await {
        Err(error) if path.exists() && is_damage(&error) => {
            let aside = put_aside(path).context("cannot put the damaged database aside")?;
            tracing::error!(
                error = %format!("{error:#}"),
                aside = %aside.display(),
                "the database is damaged: it is put aside and a fresh one is begun"
            );
            let salvaged = Salvaged::read(&aside).await;
            if salvaged.recipients.is_empty() {
                tracing::error!("no recipient could be saved: they must be imported again");
            }
            tracing::warn!(
                recipients = salvaged.recipients.len(),
                radio_nodes = salvaged.radio.len(),
                "carried over from the damaged database; what is open is found anew, and told again"
            );
            attempt(path, rules, options, salvaged).await
        }
        opened => opened,
    }
}

async fn attempt(
    path: &Path,
    rules: &Rules,
    options: &Options,
    salvaged: Salvaged,
) -> anyhow::Result<Opened> {
    let (store, task) = Store::open(path).await?;
    let held = Reserve::beside(path);
    let reserve = held.view();
    let mut writer = Tasks::default();
    writer.spawn("store", task.with_reserve(held).run());
    match take_up(&store, rules, options, salvaged).await {
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
async fn take_up(
    store: &Store,
    rules: &Rules,
    options: &Options,
    salvaged: Salvaged,
) -> anyhow::Result<Past> {
    let last = store.last_run().await?.or(salvaged.last_run);
    let (mut boot, gap) = clock::go_on(last.as_ref(), &clock::Clocks::read());
    if let Some(wall) = options.wall {
        boot.wall = wall;
    }
    let (now, wall) = (boot.at, boot.wall);
    store.begin(boot).await?;
    if !salvaged.recipients.is_empty() {
        store.put_recipients(salvaged.recipients).await?;
    }
    if !salvaged.radio.is_empty() {
        let radio = salvaged.radio.into_iter().collect();
        store.commit(Turn { at: now, radio, ..Turn::default() }).await?;
    }
    let engine = bring_back(store, rules, now).await?;
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

/// Renames the database and what belongs to it. Returns its new place.
fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = path.with_extension(format!("damaged-{}", clock::Clocks::read().unix_ms));
    for tail in ["", "-wal", "-shm"] {
        let with_tail = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(tail);
            PathBuf::from(name)
        };
        let from = with_tail(path);
        if from.exists() {
            std::fs::rename(&from, with_tail(&aside))?;
        }
    }
    Ok(aside)
}

/// Brings the engine to where the last run ended: under the rule book that was in force then.
async fn bring_back(store: &Store, rules: &Rules, now: Timestamp) -> anyhow::Result<Engine> {
    let snapshot = store.snapshot().await?;
    let Some(snapshot) = snapshot else {
        store.declare(Arc::clone(&rules.book), rules.sources.clone()).await?;
        let mut engine = Engine::new(&rules.book, now);
        let replayed = store.replay(&mut engine, 0).await?;
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
