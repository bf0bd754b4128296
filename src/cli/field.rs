//! The simulated air around a gateway: its radio behind a socket, and field nodes with their own firmware.

use anyhow::Context;
use kengele::sim::air::{
    Air, Attacker, ChipId, ChipKind, Conditions, Deeds, Jammer, Position, Tally, socket,
};
use kengele::sim::field::{self, FieldNode, Seen, Watch};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Sirens' changes that may wait to be shown.
const SEEN_MAX: usize = 64;
/// Within each span of this length a jammer is on for a while.
const JAMMER_EVERY: Duration = Duration::from_mins(1);
/// Where a jammer stands, and its output: near the gateway, and weak, so that near nodes outdo it.
const JAMMER: (Position, f64) = (Position::new(-250.0, 200.0), 14.0);
/// Width of what it sends, Hz.
const JAMMER_WIDTH_HZ: f64 = 250_000.0;

/// An air, and who lives on it.
pub(crate) struct Field {
    air: Air,
    gateway: ChipId,
    lives: JoinSet<()>,
    added: u64,
    watch: Watch,
    sights: mpsc::Receiver<Seen>,
}

/// What an air saw.
pub(crate) struct Saw {
    /// Of the gateway's chip.
    pub gateway: Tally,
    /// Of all field nodes.
    pub nodes: Tally,
    /// Field nodes that were put up.
    pub lives: u64,
    /// Of attackers.
    pub deeds: Deeds,
    /// Frames and jammers that the air had no room for.
    pub refused: u64,
    /// Changes of sirens that nobody was shown.
    pub sights_missed: u64,
}

impl Field {
    /// Makes an air, and puts the chip of a gateway's radio behind a socket.
    pub(crate) fn open(
        path: &Path,
        seed: u64,
        faster: f64,
        conditions: Conditions,
    ) -> anyhow::Result<Self> {
        let air = Air::new(seed, conditions, faster);
        let chip = air.chip(ChipKind::Sx1262, Position::new(0.0, 0.0));
        let gateway = chip.id();
        let found = std::fs::symlink_metadata(path);
        if found.is_ok_and(|found| found.file_type().is_socket()) {
            // What an earlier simulation left.
            std::fs::remove_file(path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot make the socket {}", path.display()))?;
        let mut lives = JoinSet::new();
        lives.spawn(async move {
            if let Err(error) = socket::serve(&listener, &chip).await {
                tracing::error!(%error, "the emulated radio's socket ended");
            }
        });
        let (watch, sights) = Watch::of(SEEN_MAX);
        Ok(Self { air, gateway, lives, added: 0, watch, sights })
    }

    /// Lets a node live.
    pub(crate) fn add(&mut self, node: FieldNode) {
        let (air, watch) = (self.air.clone(), self.watch.clone());
        self.added += 1;
        self.lives.spawn(async move {
            let name = node.name.clone();
            let Err(error) = field::live(&air, node, watch).await;
            eprintln!("kengele: {name}: {error}");
        });
    }

    /// Puts up an attacker.
    pub(crate) fn attack(&self, attacker: Attacker) {
        self.air.attack(attacker);
    }

    /// Puts up a jammer on a channel that is on for a share of the time, at moments drawn by the seed.
    pub(crate) fn jam(&mut self, frequency_hz: u32, share: f64, seed: u64) {
        let air = self.air.clone();
        self.lives.spawn(async move {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let mut begins = Duration::ZERO;
            loop {
                let unit = f64::from(random.next_u32()) / f64::from(u32::MAX);
                let from = begins + JAMMER_EVERY.mul_f64((1.0 - share) * unit);
                let (position, power_dbm) = JAMMER;
                air.jam(Jammer {
                    position,
                    frequency_hz: f64::from(frequency_hz),
                    bandwidth_hz: JAMMER_WIDTH_HZ,
                    power_dbm,
                    from,
                    until: from + JAMMER_EVERY.mul_f64(share),
                });
                // It is known to the air a span ahead, so that no computer is too slow for it.
                air.sleep(begins.saturating_sub(air.now())).await;
                begins += JAMMER_EVERY;
            }
        });
    }

    /// Waits for a siren to sound, or to fall silent.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn seen(&mut self) -> Option<Seen> {
        self.sights.recv().await
    }

    /// Returns what the air saw so far.
    pub(crate) fn saw(&self) -> Saw {
        let mut tallies = self.air.tallies();
        let gateway = tallies.remove(&self.gateway).unwrap_or_default();
        let mut nodes = Tally::default();
        for tally in tallies.values() {
            nodes.sent += tally.sent;
            nodes.heard += tally.heard;
            nodes.deaf += tally.deaf;
            for (reason, count) in &tally.missed {
                *nodes.missed.entry(*reason).or_default() += count;
            }
        }
        Saw {
            gateway,
            nodes,
            lives: self.added,
            deeds: self.air.deeds(),
            refused: self.air.refused(),
            sights_missed: self.watch.missed(),
        }
    }
}
