//! What can go wrong with a modem.

use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;
use std::collections::VecDeque;
use std::time::Duration;

/// Faults that a script holds; more are not taken.
const SCRIPT_MAX: usize = 1024;

/// One thing that goes wrong once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The command is done, or the text is sent, and nothing is said.
    NoAnswer,
    /// Bytes of noise come before the answer.
    Garbage,
    /// The answer comes late.
    LateAnswer(Duration),
    /// The answer stops in the middle of a line.
    PartialLine,
    /// News stands before the answer.
    NewsInside,
    /// The echo changes by itself.
    EchoFlip,
    /// The modem starts anew instead of answering, and forgets its settings.
    Reset,
    /// The network took the text, and the modem says `ERROR`.
    ErrorAfterAccept,
    /// The modem says `+CMGS` and `OK`, and the network got nothing.
    OkWithoutSending,
    /// The network refuses the text as if there were no credit.
    NoCredit,
    /// The network took the text and never reports on it.
    ReportLost,
    /// The report comes twice.
    ReportTwice,
    /// The report comes later than usual.
    ReportLate(Duration),
    /// The message memory counts as full for the next message that comes.
    MemoryFull,
    /// The network is lost for a while.
    RegistrationLost(Duration),
}

/// Where a fault strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// At a command that starts so, `AT` included; the empty text is any command.
    Command(String),
    /// When a text is handed to the network.
    Submission,
    /// When a message comes from the network.
    Arrival,
}

impl Fault {
    /// Returns where the fault strikes by itself.
    #[must_use]
    pub fn point(self) -> Point {
        match self {
            Self::NoAnswer
            | Self::Garbage
            | Self::LateAnswer(_)
            | Self::PartialLine
            | Self::NewsInside
            | Self::EchoFlip
            | Self::Reset
            | Self::RegistrationLost(_) => Point::Command(String::new()),
            Self::ErrorAfterAccept
            | Self::OkWithoutSending
            | Self::NoCredit
            | Self::ReportLost
            | Self::ReportTwice
            | Self::ReportLate(_) => Point::Submission,
            Self::MemoryFull => Point::Arrival,
        }
    }
}

/// What goes wrong when: a script first, then chance.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Each strikes once, at the first fitting point; the order counts among those that fit.
    pub script: Vec<(Point, Fault)>,
    /// Each with its share in thousandths of the points where it strikes by itself.
    pub rates: Vec<(Fault, u32)>,
}

/// The faults that are still to come.
#[derive(Debug)]
pub(super) struct Fates {
    script: VecDeque<(Point, Fault)>,
    rates: Vec<(Fault, u32)>,
}

impl Fates {
    pub(super) fn new(faults: &Faults) -> Self {
        let script = faults.script.iter().take(SCRIPT_MAX).cloned().collect();
        Self { script, rates: faults.rates.clone() }
    }

    /// Adds one; returns whether there was room.
    pub(super) fn add(&mut self, point: Point, fault: Fault) -> bool {
        let room = self.script.len() < SCRIPT_MAX;
        if room {
            self.script.push_back((point, fault));
        }
        room
    }

    /// Draws the fault that strikes here, if any. `command` is empty at other points than a command.
    pub(super) fn draw(&mut self, here: &Point, rng: &mut ChaCha8Rng) -> Option<Fault> {
        let fits = |point: &Point| match (point, here) {
            (Point::Command(wanted), Point::Command(command)) => {
                command.starts_with(wanted.as_str())
            }
            (Point::Submission, Point::Submission) | (Point::Arrival, Point::Arrival) => true,
            (Point::Command(_) | Point::Submission | Point::Arrival, _) => false,
        };
        if let Some(at) = self.script.iter().position(|(point, _)| fits(point)) {
            return self.script.remove(at).map(|(_, fault)| fault);
        }
        // Every rate is drawn, lest one fault move the others' dice.
        let mut struck = None;
        for (fault, thousandths) in &self.rates {
            if fits(&fault.point()) && rng.next_u32() % 1000 < *thousandths && struck.is_none() {
                struck = Some(*fault);
            }
        }
        struck
    }
}
