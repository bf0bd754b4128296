//! A virtual GSM modem on a pseudo-terminal.
//!
//! It is believed because programs that we did not write get along with it: see `tests/suite/modem_clients.rs`. It keeps
//! two truths: what the network got ([`Carrier::log`]) and what the modem said of it ([`VirtualModem::reported`]).

mod charset;
mod commands;
mod errors;
mod fault;
mod line;
mod machine;
mod memory;
mod messages;
mod personality;
mod receive;
#[cfg(test)]
mod tests;
mod ussd;

pub use fault::{Fault, Faults, Point};
pub use personality::Personality;

use crate::domain::time::Timestamp;
use crate::sim::carrier::{Carrier, SERVICE_CENTRE};
use machine::Machine;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::ttyname;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::Notify;
use tracing::{error, warn};

/// Bytes that wait for a client that does not read; newer ones are lost, as on a line without flow control.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Longest time between two looks at the carrier's clock, which may run faster than ours.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Shortest time between two looks.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// How a modem is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is.
    pub personality: Personality,
    /// Number of its SIM, E.164 with the leading `+`.
    pub own_number: String,
    /// PIN that the SIM wants at each start; `None` for an open SIM.
    pub pin: Option<String>,
    /// Service centre that the SIM knows; empty for none.
    pub service_centre: String,
    /// What goes wrong.
    pub faults: Faults,
    /// Seed of what goes wrong by chance.
    pub seed: u64,
    /// From handing a text to the network to the modem's answer.
    pub send_delay: Duration,
    /// From a text's arrival to the report of it.
    pub report_delay: Duration,
    /// From dialling a USSD code to its answer.
    pub ussd_delay: Duration,
    /// Between two lines of the start; the modem hears nothing until the last.
    pub boot_interval: Duration,
    /// Reference of the first text; the 256th after it has the same.
    pub first_reference: u8,
    /// `+CSQ`: 0 to 31, 99 for unknown.
    pub signal: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            personality: Personality::default(),
            own_number: "+46700000001".to_owned(),
            pin: None,
            service_centre: SERVICE_CENTRE.to_owned(),
            faults: Faults::default(),
            seed: 0,
            send_delay: Duration::from_millis(20),
            report_delay: Duration::from_millis(200),
            ussd_delay: Duration::from_millis(100),
            boot_interval: Duration::from_millis(50),
            first_reference: 0,
            signal: 20,
        }
    }
}

/// What the modem said of a text, whatever became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    /// When the text was handed to the network.
    pub at: Timestamp,
    /// Reference that the modem told; `None` where it told a failure, or nothing.
    pub reference: Option<u8>,
    /// Whether the network got it.
    pub taken: bool,
}

/// A running modem. It ends when dropped.
pub struct VirtualModem {
    machine: Arc<Mutex<Machine>>,
    path: PathBuf,
    wake: Arc<Notify>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
    /// Held, so that clients may come and go.
    _slave: OwnedFd,
}

impl VirtualModem {
    /// Starts a modem on a new pseudo-terminal.
    ///
    /// # Errors
    ///
    /// When the system gives no pseudo-terminal or no thread.
    pub fn start(settings: Settings, carrier: Carrier) -> io::Result<Self> {
        let pty = openpty(None, None)?;
        let mut raw = tcgetattr(&pty.slave)?;
        cfmakeraw(&mut raw);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &raw)?;
        let path = ttyname(&pty.slave)?;
        fcntl(&pty.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let wake = carrier.attach(&settings.own_number);
        let now = carrier.now();
        let machine = Arc::new(Mutex::new(Machine::new(settings, carrier.clone(), now)));
        let stop = Arc::new(Notify::new());
        let line = Line {
            master: File::from(pty.master),
            machine: Arc::clone(&machine),
            carrier,
            wake: Arc::clone(&wake),
            stop: Arc::clone(&stop),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("virtual-modem".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(line.run()) {
                error!(%error, "virtual modem lost its port");
            }
        })?;
        Ok(Self { machine, path, wake, stop, thread: Some(thread), _slave: pty.slave })
    }

    /// Returns the path of the port that clients open.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets something go wrong once, at the next point where it can.
    pub fn fail(&self, fault: Fault) {
        self.fail_at(fault.point(), fault);
    }

    /// Lets something go wrong once, at the next such point.
    pub fn fail_at(&self, point: Point, fault: Fault) {
        if !self.machine().fates.add(point, fault) {
            warn!("script of faults is full: this one will not happen");
        }
    }

    /// Returns what the modem said of each text, oldest first.
    #[must_use]
    pub fn reported(&self) -> Vec<Truth> {
        self.machine().truths.iter().copied().collect()
    }

    /// Starts the modem anew, as by its power key.
    pub fn reset(&self) {
        let mut machine = self.machine();
        let now = machine.carrier.now();
        machine.reset(now);
        self.wake.notify_one();
    }

    /// Returns how many messages the memory `name` (`SM`, `ME`) holds.
    #[must_use]
    pub fn stored(&self, name: &str) -> usize {
        self.machine().memories.fill(name).0
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for VirtualModem {
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the modem's thread has been printed; there is nothing to add.
            drop(thread.join());
        }
    }
}

/// The port's far end.
struct Line {
    master: File,
    machine: Arc<Mutex<Machine>>,
    carrier: Carrier,
    wake: Arc<Notify>,
    stop: Arc<Notify>,
}

impl Line {
    /// Moves bytes until the modem is dropped.
    ///
    /// # Errors
    ///
    /// When the port fails.
    async fn run(self) -> io::Result<()> {
        // Unchecked, because a pseudo-terminal is no pipe; it is read, written and waited for like one.
        let mut from_client = Receiver::from_file_unchecked(self.master.try_clone()?)?;
        let mut to_client = Sender::from_file_unchecked(self.master.try_clone()?)?;
        let mut output: VecDeque<u8> = VecDeque::new();
        let mut buffer = [0; 1024];
        let mut pause = LOOK_INTERVAL;
        loop {
            let mut heard = 0;
            tokio::select! {
                () = self.stop.notified() => return Ok(()),
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                count = from_client.read(&mut buffer) => heard = count?,
                count = to_client.write(output.as_slices().0), if !output.is_empty() => {
                    output.drain(..count?);
                }
            }
            let heard = buffer.get(..heard).unwrap_or_default();
            let (said, next) = self.exchange(heard);
            pause = next;
            output.extend(said.iter().take(OUTPUT_BYTES_MAX.saturating_sub(output.len())));
        }
    }

    /// Lets the modem hear; returns what it says, and how long it may be left alone.
    fn exchange(&self, heard: &[u8]) -> (Vec<u8>, Duration) {
        let mut machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.carrier.now();
        let said = if heard.is_empty() { machine.tick(now) } else { machine.receive(heard, now) };
        let pause = machine.next_deadline().map_or(LOOK_INTERVAL, |next| next.since(now));
        (said, pause.clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL))
    }
}
