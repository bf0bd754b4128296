//! What is tried, in turn, with a modem that does not work: again, restart, power, and word to somebody.

use super::port::{Port, Trouble};
use super::{Driver, Refused, State};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use tracing::{error, warn};

/// What was tried last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing: it works.
    Fine,
    /// The port was closed and opened.
    Reopened,
    /// It was told to restart.
    Restarted,
    /// Its power was cut.
    PowerCycled,
}

impl Driver {
    /// Does the next thing about `trouble`; returns how long to wait before the port is opened again.
    pub(super) async fn recover(&mut self, port: Option<Port>, trouble: &Trouble) -> Duration {
        self.health.registered = false;
        let reason = trouble.to_string();
        match trouble {
            Trouble::Restarted => {
                self.show(State::Starting);
                return self.settings.times.quiet;
            }
            Trouble::PowerCut => {
                self.show(State::Starting);
                return self.settings.times.boot;
            }
            Trouble::Down(_) => {
                let down = State::Down(reason.clone());
                if self.told.as_ref() != Some(&reason) {
                    error!(modem = %self.settings.name, reason, "modem cannot work until somebody mends it");
                    self.told = Some(reason);
                }
                self.show(down);
                return self.settings.times.reopen_max;
            }
            Trouble::Unplugged(_) | Trouble::Silent | Trouble::Unregistered => {
                warn!(modem = %self.settings.name, reason = crate::supervise::chain(trouble), "modem does not work");
                self.show(State::Down(reason));
            }
        }
        if matches!(trouble, Trouble::Unplugged(_)) {
            let since = *self.astray.get_or_insert_with(Instant::now);
            if since.elapsed() < self.settings.times.registration {
                return Duration::ZERO;
            }
        }
        let wait = self.escalate(port, trouble).await;
        self.publish();
        wait
    }

    async fn escalate(&mut self, port: Option<Port>, trouble: &Trouble) -> Duration {
        self.astray = None;
        match (self.stage, port) {
            (Stage::Fine, Some(_)) if matches!(trouble, Trouble::Silent) => {
                self.stage = Stage::Reopened;
                self.settings.times.reopen_min
            }
            (Stage::Fine | Stage::Reopened, Some(mut port)) => {
                self.stage = Stage::Restarted;
                self.health.counts.resets = self.health.counts.resets.saturating_add(1);
                warn!(modem = %self.settings.name, "modem is told to restart");
                // 3GPP TS 27.007 §8.2. A modem that is past hearing has its power cut next.
                let _deaf = port.write(b"\rAT+CFUN=1,1\r").await.is_err();
                self.settings.times.boot
            }
            (Stage::Fine | Stage::Reopened | Stage::Restarted, _) => {
                self.stage = Stage::PowerCycled;
                if self.settings.power_cycle.is_empty() {
                    return self.give_up();
                }
                if let Err(refused) = self.cut_power().await {
                    error!(modem = %self.settings.name, reason = %refused, "modem's power cannot be cut");
                }
                self.settings.times.boot
            }
            (Stage::PowerCycled, _) => self.give_up(),
        }
    }

    fn give_up(&mut self) -> Duration {
        error!(modem = %self.settings.name, "modem stays down; everything is tried again later");
        self.stage = Stage::Fine;
        self.settings.times.down_retry
    }

    /// Runs the program that cuts the modem's power and restores it.
    pub(super) async fn cut_power(&mut self) -> Result<(), Refused> {
        let Some((program, arguments)) = self.settings.power_cycle.split_first() else {
            return Err(Refused("no power-cycle program is configured".to_owned()));
        };
        warn!(modem = %self.settings.name, "modem's power is cut");
        self.health.counts.power_cycles = self.health.counts.power_cycles.saturating_add(1);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        match timeout(self.settings.times.power_cycle, command.status()).await {
            Ok(Ok(status)) if ExitStatus::success(&status) => Ok(()),
            Ok(Ok(status)) => Err(Refused(format!("the power-cycle program failed: {status}"))),
            Ok(Err(error)) => {
                Err(Refused(format!("the power-cycle program cannot be run: {error}")))
            }
            Err(_elapsed) => {
                Err(Refused("the power-cycle program took too long and was stopped".to_owned()))
            }
        }
    }
}
