//! A look through the whole database at each start, while warning goes on: damage in old pages is found before somebody
//! needs them.

use crate::store::Store;
use crate::supervise::{Stop, chain};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

/// What the look through the database has found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Inspection(Arc<OnceLock<Result<Vec<String>, String>>>);

impl Inspection {
    /// Looks, and then waits for the stop.
    pub(super) async fn run(self, store: Store, mut stop: Stop) -> Result<(), Infallible> {
        let found = tokio::select! {
            () = stop.wait() => return Ok(()),
            found = store.faults() => found.map_err(|error| chain(&error)),
        };
        match &found {
            Ok(faults) if faults.is_empty() => tracing::info!("the database is whole"),
            Ok(faults) => tracing::error!(
                faults = faults.len(),
                first = faults.first().map(String::as_str),
                "the database is damaged: save the recipients with `kengele people export`, and put in another card"
            ),
            Err(error) => tracing::warn!(error, "the database could not be looked through"),
        }
        // It looks once: nobody else sets it.
        let _first = self.0.set(found).is_ok();
        stop.wait().await;
        Ok(())
    }

    /// Returns whether damage was found.
    pub(super) fn found_damage(&self) -> bool {
        matches!(self.0.get(), Some(Ok(faults)) if !faults.is_empty())
    }

    /// Returns `checked` and `faults`, in SQLite's words.
    pub(super) fn answer(&self) -> (bool, Value) {
        match self.0.get() {
            None => (false, json!([])),
            Some(Ok(faults)) => (true, json!(faults)),
            Some(Err(error)) => (false, json!([error])),
        }
    }
}
