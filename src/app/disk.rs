//! How it stands with the disk, as it is told: what it holds, what is written to it, and whether it works.

use super::inspection::Inspection;
use crate::pipeline::Status;
use crate::store::{ReserveState, ReserveView, free_bytes};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// What is known of the disk of the database.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    data: Arc<Path>,
    reserve: ReserveView,
    /// Bytes that this process had written when the gateway started.
    written_before: u64,
}

impl Disk {
    pub(super) fn new(data: &Path, reserve: ReserveView) -> Self {
        Self { data: data.into(), reserve, written_before: written_bytes().unwrap_or(0) }
    }

    /// Returns the free bytes, where they can be known, and whether the disk was full of late.
    pub(super) fn room(&self) -> (Option<u64>, bool) {
        (free_bytes(&self.data).ok(), self.reserve.state() == ReserveState::GivenUp)
    }

    /// Answers for `status`; `readings` were stored since the start.
    pub(super) fn answer(&self, status: &Status, inspection: &Inspection, readings: u64) -> Value {
        let (checked, faults) = inspection.answer();
        let written = written_bytes().map(|bytes| bytes.saturating_sub(self.written_before));
        json!({
            "works": status.disk_works, "turns_in_memory": status.unsaved_turns, "checked": checked, "faults": faults,
            "free_bytes": free_bytes(&self.data).ok(), "reserve": self.reserve.state().as_str(),
            "written_bytes": written,
            "written_bytes_per_reading": written.and_then(|bytes| bytes.checked_div(readings)),
        })
    }
}

/// Returns how many bytes this process has had written to storage (proc(5): `write_bytes`). Not what a card makes of
/// them: it writes whole erase blocks.
fn written_bytes() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line?.trim().parse().ok()
}
