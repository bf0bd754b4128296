//! A radio's account of airtime, in a file that outlives the gateway.

use crate::domain::airtime::Airtime;
use crate::domain::radio::Modulation;
use crate::domain::time::Timestamp;
use std::io::ErrorKind;
use std::path::PathBuf;

/// What a radio has sent, and where that is kept.
#[derive(Debug)]
pub(super) struct Account {
    airtime: Airtime,
    record: Option<PathBuf>,
}

impl Account {
    /// Takes up what the file has of the time before the start.
    pub(super) fn open(mut airtime: Airtime, record: Option<PathBuf>, now: Timestamp) -> Self {
        if let Some(path) = &record {
            // A file that was never written is that of a gateway which never sent; one that is empty has lost what it had.
            let is_known = match std::fs::read_to_string(path) {
                Err(error) => error.kind() == ErrorKind::NotFound,
                Ok(text) => airtime.resume(&text, now) && !text.is_empty(),
            };
            if !is_known {
                airtime.doubt(now);
                tracing::warn!(path = %path.display(), "the airtime before the start is not known: half an hour's share is taken to be used up");
            }
        }
        Self { airtime, record }
    }

    /// Returns what is booked.
    pub(super) const fn airtime(&self) -> &Airtime {
        &self.airtime
    }

    /// Books a frame, also for the time after a restart. The file is not flushed, so that nothing waits for a slow card: a
    /// power cut may lose its last seconds.
    pub(super) fn book(&mut self, hz: u32, how: Modulation, bytes: usize, at: Timestamp) {
        self.airtime.book(hz, how, bytes, at);
        let Some(path) = &self.record else { return };
        let record = self.airtime.record();
        // Where nothing is limited there is nothing to keep; and an empty file means a lost one.
        if record.is_empty() {
            return;
        }
        let fresh = path.with_extension("new");
        let kept = std::fs::write(&fresh, record);
        if let Err(error) = kept.and_then(|()| std::fs::rename(&fresh, path)) {
            tracing::warn!(%error, path = %path.display(), "the airtime could not be kept");
        }
    }
}
