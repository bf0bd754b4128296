//! The simulated air around a gateway: its radio behind a socket, and field nodes with their own firmware.

use super::print;
use anyhow::Context;
use kengele::sim::air::{Air, ChipKind, Conditions, Position, socket};
use kengele::sim::field::{self, FieldNode, Seen};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Sirens' changes that may wait to be shown.
const SEEN_MAX: usize = 64;

/// An air, and who lives on it.
pub(crate) struct Field {
    air: Air,
    lives: JoinSet<()>,
    watch: mpsc::Sender<Seen>,
    sights: mpsc::Receiver<Seen>,
}

impl Field {
    /// Makes an air, and puts the chip of a gateway's radio behind a socket.
    pub(crate) fn open(path: &Path, seed: u64, faster: f64) -> anyhow::Result<Self> {
        let air = Air::new(seed, Conditions::default(), faster);
        let chip = air.chip(ChipKind::Sx1262, Position::new(0.0, 0.0));
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
        let (watch, sights) = mpsc::channel(SEEN_MAX);
        Ok(Self { air, lives, watch, sights })
    }

    /// Lets a node live.
    pub(crate) fn add(&mut self, node: FieldNode) {
        let (air, watch) = (self.air.clone(), self.watch.clone());
        self.lives.spawn(async move {
            let name = node.name.clone();
            let Err(error) = field::live(&air, node, watch).await;
            print::note(&format!("kengele: {name}: {error}"));
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
}
