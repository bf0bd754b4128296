//! A frame: bytes as they came, with where they came from, and the word that is owed to the sender.

use crate::domain::radio::Hearing;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Bytes as a source heard them.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Who brought it.
    pub origin: Origin,
    /// The application's bytes, not yet decoded.
    pub payload: Bytes,
    /// The sender marks it as perhaps sent before (MQTT DUP).
    pub redelivered: bool,
}

/// Where a frame came from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// Published over MQTT, to the embedded listener or on a broker that others run.
    Mqtt {
        /// Name of the listener or of the broker in the configuration.
        link: Arc<str>,
        /// Client identifier; the broker's own when the publisher is not known.
        client: Arc<str>,
        /// Topic name of the publication.
        topic: Arc<str>,
    },
    /// Heard by radio: the payload is what was on the air, still to be opened.
    Radio(Arc<Hearing>),
}

impl Origin {
    /// Returns a number that is the same for frames of one sender, as long as it is connected.
    #[must_use]
    pub fn sender(&self) -> usize {
        let name = match self {
            Self::Mqtt { client, .. } => client,
            Self::Radio(hearing) => &hearing.link,
        };
        Arc::as_ptr(name).addr()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mqtt { link, topic, .. } => write!(f, "{link} {topic}"),
            Self::Radio(hearing) => write!(f, "{} {:016x}", hearing.link, hearing.gateway),
        }
    }
}

/// What this gateway says on a broker that others run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Topic name.
    pub topic: String,
    /// What is said.
    pub payload: Bytes,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its readings are on disk: the sender may forget them.
    Committed,
    /// It will never be taken, whoever sends it again: the sender may forget it too. The reason is counted and listed.
    Refused,
    /// It could not be stored now: the sender must keep it and send it again. No acknowledgement may leave.
    NotStored,
}

/// The side of a source that hears what became of its frames.
///
/// One object serves a whole connection, so that a frame costs no allocation.
pub trait Acknowledge: Send + Sync {
    /// Tells the source what became of the frame that it handed over with `token`. Never blocks.
    fn settle(&self, token: u64, outcome: Outcome);
}

/// A frame on its way through the pipeline, with the word owed to its sender.
pub struct Envelope {
    /// The frame.
    pub frame: Frame,
    /// Where to say what became of it; `None` when the sender wants no word (MQTT QoS 0).
    pub receipt: Option<Receipt>,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope").field("frame", &self.frame).finish_non_exhaustive()
    }
}

/// The word owed to the sender of one frame. Settling consumes it; dropping it unsettled says [`Outcome::NotStored`],
/// so that a frame lost on the way inside the gateway is sent again.
pub struct Receipt {
    source: Arc<dyn Acknowledge>,
    token: u64,
    settled: bool,
}

impl Receipt {
    /// Makes the receipt for the frame that `source` knows by `token`.
    #[must_use]
    pub fn new(source: Arc<dyn Acknowledge>, token: u64) -> Self {
        Self { source, token, settled: false }
    }

    /// Tells the source what became of the frame.
    pub fn settle(mut self, outcome: Outcome) {
        self.settled = true;
        self.source.settle(self.token, outcome);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.settled {
            self.source.settle(self.token, Outcome::NotStored);
        }
    }
}
