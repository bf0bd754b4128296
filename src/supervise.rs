//! Named tasks: every task of the daemon has a name, ends for a reason that somebody hears, and is told to stop.

use std::future::Future;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// A task's last word.
#[derive(Debug)]
pub struct Ended {
    /// Name given when it was spawned.
    pub name: &'static str,
    /// Why it ended before it was told to, if it failed.
    pub failure: Option<String>,
}

/// The tasks of one owner.
pub struct Tasks {
    set: JoinSet<Result<(), String>>,
    names: Vec<(Id, &'static str)>,
    stop: Arc<watch::Sender<bool>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self { set: JoinSet::new(), names: Vec::new(), stop: Arc::new(watch::channel(false).0) }
    }
}

impl Tasks {
    /// Spawns `task` under `name`. An error is put into words once, here.
    pub fn spawn<F, E>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        let handle = self.set.spawn(async move { task.await.map_err(|error| chain(&error)) });
        self.names.push((handle.id(), name));
    }

    /// Returns a signal that fires when the tasks are told to stop.
    #[must_use]
    pub fn stop_signal(&self) -> Stop {
        Stop(self.stop.subscribe())
    }

    /// Tells every task to stop. They end in their own time.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the next task to end; `None` when none is left.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn next_ended(&mut self) -> Option<Ended> {
        let (id, failure) = match self.set.join_next_with_id().await? {
            Ok((id, Ok(()))) => (id, None),
            Ok((id, Err(words))) => (id, Some(words)),
            Err(error) => (error.id(), Some(error.to_string())),
        };
        let place = self.names.iter().position(|(known, _)| *known == id);
        let name = place.map_or("unnamed", |place| self.names.swap_remove(place).1);
        Some(Ended { name, failure })
    }
}

/// Fires once, when the owner of the tasks wants them to stop.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Waits until the task is told to stop, or its owner is gone.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub async fn wait(&mut self) {
        // An error means that the owner is gone, which is as good as the word.
        let _stopped = self.0.wait_for(|stop| *stop).await.is_ok();
    }

    /// Returns whether the word has been given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        *self.0.borrow()
    }
}

/// Joins an error and its causes into one line, for a log or a screen.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        line.push_str(": ");
        line.push_str(&next.to_string());
        cause = next.source();
    }
    line
}
