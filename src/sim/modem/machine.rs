//! The modem without its port: bytes in, bytes out, time as an argument.

use super::fault::{Fates, Fault, Point};
use super::line::{self, Command};
use super::memory::Memories;
use super::messages::Draft;
use super::personality::{Traits, UssdStyle};
use super::{Settings, Truth};
use crate::domain::time::Timestamp;
use crate::sim::carrier::{Carrier, Downlink};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Bytes that a busy modem keeps for later; what comes beyond is lost, as without flow control.
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// Longest command line; what comes beyond is ignored.
const LINE_BYTES_MAX: usize = 2048;

/// Longest text or PDU at the prompt; what comes beyond is ignored.
const DRAFT_BYTES_MAX: usize = 4096;

/// Entries of what the modem reported; older ones go.
const TRUTHS_MAX: usize = 100_000;

/// Messages that wait until the port may be told of them; the network keeps what is more.
pub(super) const POST_MAX: usize = 256;

/// Between two lines of noise.
const NOISE_INTERVAL: Duration = Duration::from_secs(5);

const ESCAPE: u8 = 0x1B;
const CONTROL_Z: u8 = 0x1A;
const BACKSPACE: u8 = 0x08;

/// How a command line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Final {
    Ok,
    Error,
    /// `+CME ERROR`, by `+CMEE`.
    Equipment(u16),
    /// `+CMS ERROR`.
    Message(u16),
    /// Text is wanted.
    Prompt,
    /// The modem starts anew.
    Restart,
}

/// What a command answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) lines: Vec<Vec<u8>>,
    pub(super) last: Final,
}

impl Reply {
    pub(super) const OK: Self = Self::end(Final::Ok);
    pub(super) const ERROR: Self = Self::end(Final::Error);

    pub(super) const fn end(last: Final) -> Self {
        Self { lines: Vec::new(), last }
    }

    pub(super) fn line(line: impl Into<Vec<u8>>) -> Self {
        Self { lines: vec![line.into()], last: Final::Ok }
    }

    /// Returns `OK` where `done`, else operation not allowed.
    pub(super) fn done(done: bool) -> Self {
        if done { Self::OK } else { Self::end(Final::Equipment(50)) }
    }
}

/// What a reset forgets.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is the switch of one command")]
pub(super) struct Session {
    pub(super) echo: bool,
    pub(super) verbose: bool,
    pub(super) error_form: u8,
    pub(super) text_mode: bool,
    pub(super) show_details: bool,
    pub(super) charset: &'static str,
    /// `+CNMI`.
    pub(super) announcements: [u8; 5],
    /// `+CPMS`: reading, writing, receiving.
    pub(super) memories: [&'static str; 3],
    /// `+CSMS`: 1 wants each direct message acknowledged.
    pub(super) service: u8,
    /// `+CREG`, `+CGREG`, `+CEREG`: what is announced.
    pub(super) registration: [u8; 3],
    /// `+CSMP`: first octet, validity, protocol, data coding.
    pub(super) text_parameters: [u8; 4],
    pub(super) operator_form: u8,
    pub(super) functionality: u8,
    pub(super) chatty: bool,
    pub(super) pin_open: bool,
    pub(super) ussd: UssdStyle,
}

impl Session {
    fn new(traits: &'static Traits, locked: bool) -> Self {
        let memory = traits.memories.first().map_or("SM", |(name, _)| *name);
        Self {
            echo: true,
            verbose: true,
            error_form: traits.error_form,
            text_mode: false,
            show_details: false,
            charset: traits.charsets.first().copied().unwrap_or("IRA"),
            announcements: [2, 1, 0, 0, 0],
            memories: [memory; 3],
            service: 0,
            registration: [0; 3],
            text_parameters: [17, 167, 0, 0],
            operator_form: 0,
            functionality: 1,
            chatty: traits.noise_switch.is_some_and(|(_, at_start)| at_start),
            pin_open: !locked,
            ussd: traits.ussd,
        }
    }
}

/// What happens by itself.
#[derive(Debug)]
pub(super) enum Timer {
    /// The answer to the running command.
    Answer(Vec<u8>),
    /// News.
    Say(Vec<u8>),
    /// A line of the start.
    Boot(usize),
    /// A line of noise.
    Noise(usize),
    /// The network is found again.
    Found,
    /// A direct message was not acknowledged.
    Unacknowledged,
}

/// A modem.
pub(super) struct Machine {
    pub(super) settings: Settings,
    pub(super) traits: &'static Traits,
    pub(super) carrier: Carrier,
    pub(super) session: Session,
    pub(super) memories: Memories,
    pub(super) phone_book: BTreeMap<usize, (String, String)>,
    pub(super) service_centre: String,
    pub(super) pin_tries: u8,
    pub(super) registered: bool,
    pub(super) reference: u8,
    pub(super) fates: Fates,
    pub(super) rng: ChaCha8Rng,
    /// The fault that struck the submission which is to be answered.
    pub(super) struck: Option<Fault>,
    /// What the modem reported of each text; at most [`TRUTHS_MAX`].
    pub(super) truths: VecDeque<Truth>,
    pub(super) draft: Option<Draft>,
    /// At most [`POST_MAX`].
    pub(super) post: VecDeque<Downlink>,
    /// Refused for want of room, until something is deleted; at most [`POST_MAX`].
    pub(super) refused: VecDeque<Downlink>,
    /// News that `+CNMI` mode 0 keeps back; at most [`POST_MAX`].
    pub(super) kept_back: VecDeque<Vec<u8>>,
    /// The direct message that has to be acknowledged.
    pub(super) owed: Option<Downlink>,
    line: Vec<u8>,
    /// At most [`INPUT_BYTES_MAX`].
    input: VecDeque<u8>,
    /// A command runs: input waits.
    busy: bool,
    /// The modem starts: input is lost.
    deaf: bool,
    timers: Vec<(Timestamp, Timer)>,
    output: Vec<u8>,
}

impl Machine {
    /// Returns a modem that has been on for a while.
    pub(super) fn new(settings: Settings, carrier: Carrier, now: Timestamp) -> Self {
        let traits = settings.personality.traits();
        let mut machine = Self {
            traits,
            session: Session::new(traits, settings.pin.is_some()),
            memories: Memories::new(traits.memories),
            phone_book: BTreeMap::new(),
            service_centre: settings.service_centre.clone(),
            pin_tries: 3,
            registered: true,
            reference: settings.first_reference,
            fates: Fates::new(&settings.faults),
            rng: ChaCha8Rng::seed_from_u64(settings.seed),
            struck: None,
            truths: VecDeque::new(),
            draft: None,
            post: VecDeque::new(),
            refused: VecDeque::new(),
            kept_back: VecDeque::new(),
            owed: None,
            line: Vec::new(),
            input: VecDeque::new(),
            busy: false,
            deaf: false,
            timers: Vec::new(),
            output: Vec::new(),
            carrier,
            settings,
        };
        machine.begin_noise(now);
        machine
    }

    /// Hears `bytes` and returns what is said.
    pub(super) fn receive(&mut self, bytes: &[u8], now: Timestamp) -> Vec<u8> {
        self.pass_time(now);
        let room = INPUT_BYTES_MAX.saturating_sub(self.input.len());
        self.input.extend(bytes.iter().take(room));
        self.digest(now);
        self.deliver(now);
        std::mem::take(&mut self.output)
    }

    /// Does what is due and returns what is said.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<u8> {
        self.pass_time(now);
        self.deliver(now);
        std::mem::take(&mut self.output)
    }

    /// Returns when [`Machine::tick`] has something to do next.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let network = if self.can_receive() {
            self.carrier.next_deadline(&self.settings.own_number)
        } else {
            None
        };
        self.timers.iter().map(|(at, _)| *at).chain(network).min()
    }

    pub(super) fn after(&mut self, at: Timestamp, timer: Timer) {
        self.timers.push((at, timer));
    }

    pub(super) fn cancel(&mut self, doomed: impl Fn(&Timer) -> bool) {
        self.timers.retain(|(_, timer)| !doomed(timer));
    }

    /// Says something unasked, on lines of its own.
    pub(super) fn news(&mut self, line: impl AsRef<[u8]>) {
        self.output.extend(b"\r\n");
        self.output.extend(line.as_ref());
        self.output.extend(b"\r\n");
    }

    /// Returns whether the network can reach the modem, and the port may be told.
    pub(super) fn can_receive(&self) -> bool {
        let reachable = self.registered && self.session.functionality == 1 && self.session.pin_open;
        reachable && !self.busy && !self.deaf && self.draft.is_none() && self.owed.is_none()
    }

    /// Notes what the modem reports of a text.
    pub(super) fn note(&mut self, truth: Truth) {
        if self.truths.len() == TRUTHS_MAX {
            self.truths.pop_front();
        }
        self.truths.push_back(truth);
    }

    pub(super) fn strike(&mut self, point: &Point) -> Option<Fault> {
        self.fates.draw(point, &mut self.rng)
    }

    fn pass_time(&mut self, now: Timestamp) {
        loop {
            let due = self.timers.iter().enumerate().filter(|(_, (at, _))| *at <= now);
            let Some((place, _)) = due.min_by_key(|(_, (at, _))| *at) else { break };
            let (at, timer) = self.timers.remove(place);
            self.fire(timer, at);
        }
    }

    fn fire(&mut self, timer: Timer, at: Timestamp) {
        match timer {
            Timer::Answer(bytes) => {
                self.output.extend(bytes);
                self.busy = false;
                self.digest(at);
            }
            Timer::Say(line) => self.news(line),
            Timer::Boot(place) => self.boot(place, at),
            Timer::Noise(place) => self.make_noise(place, at),
            Timer::Found => {
                self.registered = true;
                self.announce_registration();
            }
            Timer::Unacknowledged => self.unacknowledged(),
        }
    }

    fn digest(&mut self, now: Timestamp) {
        while !self.busy
            && let Some(byte) = self.input.pop_front()
        {
            if !self.deaf {
                self.hear(byte, now);
            }
        }
    }

    fn hear(&mut self, byte: u8, now: Timestamp) {
        if self.session.echo && byte != ESCAPE {
            self.output.push(byte);
        }
        if let Some(draft) = &mut self.draft {
            match byte {
                CONTROL_Z => {
                    if let Some(draft) = self.draft.take() {
                        self.finish(&draft, now);
                    }
                }
                ESCAPE => {
                    self.draft = None;
                    let bytes = self.render(&Reply::OK);
                    self.output.extend(bytes);
                }
                BACKSPACE => {
                    draft.bytes.pop();
                }
                b'\r' if draft.is_text() => {
                    draft.bytes.push(b'\n');
                    self.output.extend(b"\r\n> ");
                }
                b'\r' | b'\n' => {}
                _other if draft.bytes.len() < DRAFT_BYTES_MAX => draft.bytes.push(byte),
                _too_much => {}
            }
            return;
        }
        match byte {
            b'\r' => {
                let line = std::mem::take(&mut self.line);
                self.obey(&line, now);
            }
            b'\n' => {}
            BACKSPACE => {
                self.line.pop();
            }
            ESCAPE | CONTROL_Z => self.line.clear(),
            _other if self.line.len() < LINE_BYTES_MAX => self.line.push(byte),
            _too_much => {}
        }
    }

    fn obey(&mut self, line: &[u8], now: Timestamp) {
        let line: String = line.iter().copied().map(char::from).collect();
        let Some(commands) = line::commands(&line) else { return };
        let fault = self.strike(&Point::Command(line.to_ascii_uppercase()));
        if fault == Some(Fault::Reset) {
            // Before the command is done, where a submission's reset comes after.
            return self.reset(now);
        }
        let reply = self.run(&commands, now);
        self.answer(&reply, fault, Duration::ZERO, now);
    }

    /// Runs the commands of a line up to the first that fails.
    fn run(&mut self, commands: &[Command], now: Timestamp) -> Reply {
        let mut whole = Reply::OK;
        for command in commands {
            let reply = self.command(command, now);
            whole.lines.extend(reply.lines);
            whole.last = reply.last;
            if whole.last != Final::Ok {
                break;
            }
        }
        whole
    }

    /// Says `reply` after `delay`, as `fault` has it.
    pub(super) fn answer(
        &mut self,
        reply: &Reply,
        fault: Option<Fault>,
        delay: Duration,
        now: Timestamp,
    ) {
        let mut bytes = self.render(reply);
        let mut delay = delay;
        // What struck on the way to the network counts more than what struck the command.
        match self.struck.take().or(fault) {
            Some(Fault::Reset) => return self.reset(now),
            Some(Fault::NoAnswer) => bytes.clear(),
            Some(Fault::Garbage) => {
                let noise = (0..8).map(|_| self.rng.next_u32().to_le_bytes()[0] | 0x80);
                bytes.splice(0..0, noise.collect::<Vec<u8>>());
            }
            Some(Fault::LateAnswer(more)) => delay += more,
            Some(Fault::PartialLine) => bytes.truncate(bytes.len() / 2),
            Some(Fault::NewsInside) => {
                let news = self.traits.noise.first().unwrap_or(&"RING");
                bytes.splice(0..0, format!("\r\n{news}\r\n").into_bytes());
            }
            Some(Fault::EchoFlip) => self.session.echo = !self.session.echo,
            Some(Fault::RegistrationLost(time)) => self.lose_network(time, now),
            Some(
                Fault::ErrorAfterAccept
                | Fault::OkWithoutSending
                | Fault::NoCredit
                | Fault::ReportLost
                | Fault::ReportTwice
                | Fault::ReportLate(_)
                | Fault::MemoryFull,
            )
            | None => {}
        }
        if delay.is_zero() {
            self.output.extend(bytes);
        } else {
            self.busy = true;
            self.after(now + delay, Timer::Answer(bytes));
        }
        if reply.last == Final::Restart {
            self.reset(now);
        }
    }

    fn render(&self, reply: &Reply) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in &reply.lines {
            if bytes.is_empty() && self.session.verbose {
                bytes.extend(b"\r\n");
            }
            bytes.extend(line);
            bytes.extend(b"\r\n");
        }
        let last = match reply.last {
            Final::Prompt => {
                bytes.extend(b"\r\n> ");
                return bytes;
            }
            Final::Ok | Final::Restart => "OK".to_owned(),
            Final::Error => "ERROR".to_owned(),
            Final::Equipment(code) => super::errors::equipment(code, self.session.error_form),
            Final::Message(code) => super::errors::message(code, self.session.error_form),
        };
        if self.session.verbose {
            bytes.extend(format!("\r\n{last}\r\n").into_bytes());
        } else {
            let number = match last.as_str() {
                "OK" => "0",
                "ERROR" => "4",
                words => words,
            };
            bytes.extend(format!("{number}\r").into_bytes());
        }
        bytes
    }

    /// Starts the modem anew: settings, drafts and answers under way are lost; memories stay.
    pub(super) fn reset(&mut self, now: Timestamp) {
        self.session = Session::new(self.traits, self.settings.pin.is_some());
        self.registered = true;
        (self.draft, self.busy, self.deaf) = (None, false, true);
        // What was not acknowledged comes again.
        self.post.extend(self.owed.take());
        self.line.clear();
        self.input.clear();
        self.kept_back.clear();
        self.timers.clear();
        self.after(now + self.settings.boot_interval, Timer::Boot(0));
    }

    fn boot(&mut self, place: usize, at: Timestamp) {
        if let Some(line) = self.traits.boot.get(place) {
            let locked = *line == "+CPIN: READY" && !self.session.pin_open;
            self.news(if locked { "+CPIN: SIM PIN" } else { line });
        }
        if place + 1 < self.traits.boot.len() {
            self.after(at + self.settings.boot_interval, Timer::Boot(place + 1));
        } else {
            self.deaf = false;
            self.begin_noise(at);
        }
    }

    fn begin_noise(&mut self, now: Timestamp) {
        if !self.traits.noise.is_empty() {
            self.after(now + NOISE_INTERVAL, Timer::Noise(0));
        }
    }

    fn make_noise(&mut self, place: usize, at: Timestamp) {
        if let Some(line) = self.traits.noise.get(place)
            && self.session.chatty
            && self.draft.is_none()
        {
            self.news(line);
        }
        self.after(at + NOISE_INTERVAL, Timer::Noise((place + 1) % self.traits.noise.len()));
    }

    fn lose_network(&mut self, time: Duration, now: Timestamp) {
        self.registered = false;
        self.announce_registration();
        self.after(now + time, Timer::Found);
    }
}
