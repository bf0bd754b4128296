//! The uplink of a daemon: its key file, and what it says of how the gateway is.

use super::Hands;
use super::convert;
use crate::channel::modem;
use crate::config::{self, History};
use crate::dispatch::Word;
use crate::domain::rule::RuleBook;
use crate::pipeline::Command;
use crate::store::{BlockOrder, Store};
use crate::telemetry::Clock;
use crate::uplink::https::Https;
use crate::uplink::{Physician, Settings, Uplink, Vitals};
use crate::wire::uplink::{Faults, GatewayNumber, Key};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What `kengele enrol` wrote.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    hub: String,
    gateway: u32,
    key: String,
}

/// Makes the uplink to the hub that the key file names.
pub(super) fn make(
    uplink: &config::Uplink,
    store: Store,
    clock: Clock,
    hands: Hands,
) -> anyhow::Result<Uplink<Doctor>> {
    let (hub, gateway, key) = read(&uplink.key_file)?;
    let tls = convert::client_tls(uplink.ca_file.as_deref())?;
    let carrier = Https::new(&hub, &tls).context("cannot set up the uplink")?;
    let order = match uplink.history {
        History::OldestFirst => BlockOrder::OldestFirst,
        History::NewestFirst => BlockOrder::NewestFirst,
    };
    let seed = super::lanes::seed() ^ u64::from(gateway.0).rotate_left(32);
    let settings = Settings { gateway, key, report_every: uplink.report_every, order, seed };
    let doctor = Doctor { hands, began: Instant::now() };
    Ok(Uplink::new(settings, (store, clock), carrier, doctor, book_of))
}

fn read(path: &Path) -> anyhow::Result<(String, GatewayNumber, Key)> {
    let named = || format!("cannot use the uplink's key file {}", path.display());
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: `kengele enrol` makes it", named()))?;
    // What the file holds is a secret: no error shows a line of it.
    let file: KeyFile = match toml::from_str(&text) {
        Ok(file) => file,
        Err(_) => bail!("{}: it is not what `kengele enrol` writes", named()),
    };
    let digits = file.key.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let key: Option<Vec<u8>> = digits.map(byte).collect();
    let key = key.and_then(|key| <[u8; 32]>::try_from(key).ok());
    let key = key.with_context(|| format!("{}: its key is not 64 hexadecimal digits", named()))?;
    Ok((file.hub, GatewayNumber(file.gateway), Key::new(key)))
}

/// Reads a rule book from the texts that the store has of it.
fn book_of(sources: &str) -> Option<Arc<RuleBook>> {
    let sources = convert::sources(sources).ok()?;
    convert::parse(&sources).ok().map(|loaded| loaded.config.rules)
}

/// Knows how the gateway is, by asking its parts.
pub(super) struct Doctor {
    hands: Hands,
    began: Instant,
}

impl Physician for Doctor {
    async fn vitals(&self) -> Vitals {
        let hands = &self.hands;
        let (reply, answer) = oneshot::channel();
        let asked = hands.commands.send(Command::Status(reply)).await.is_ok();
        let status = if asked { answer.await.ok() } else { None };
        let (reply, answer) = oneshot::channel();
        let asked = hands.words.send(Word::Status(reply)).await.is_ok();
        let outbox = if asked { answer.await.ok() } else { None };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut vitals = Vitals {
            uptime: self.began.elapsed(),
            outbox_waiting: outbox.map_or(0, |outbox| count(outbox.open.len())),
            ..Vitals::default()
        };
        let (free_bytes, was_full) = hands.disk.room();
        vitals.disk_free_bytes = free_bytes;
        let mut faults = Faults::default();
        if let Some(status) = status {
            vitals.nodes_declared = count(status.nodes.len());
            let is_heard = |node: &&(_, _, Option<_>, bool)| node.2.is_some() && !node.3;
            vitals.nodes_heard = count(status.nodes.iter().filter(is_heard).count());
            vitals.open_warnings = count(status.warnings.len());
            if !status.disk_works {
                faults = faults.and(Faults::DATABASE_UNWRITABLE);
            }
        }
        if was_full {
            faults = faults.and(Faults::DISK_FULL);
        }
        let is_down = |health: &modem::Health| matches!(health.state, modem::State::Down(_));
        if hands.health.values().any(|health| is_down(&health.borrow())) {
            faults = faults.and(Faults::MODEM_DOWN);
        }
        if hands.inspection.found_damage() {
            faults = faults.and(Faults::DATABASE_DAMAGED);
        }
        vitals.faults = faults;
        vitals
    }
}
