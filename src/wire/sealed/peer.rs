//! The gateway's side of one node: which of its frames are new, what they say, and what it is told.

use super::clock::{Anchor, Freshness, LATE_S};
use super::frame::{self, Direction, Frame, Kind, Parts, Payload, Plain, UP_BITS};
use super::key::{Address, Epoch, Keys};
use super::message::{Boot, Command, Down, Health, OrderAck, Outcome, Preface};
use super::orders::{End, Endings, Order, OrderError, OrderId};
use super::refusal::Refusal;
use super::report::{Reading, Report, ReportError, Schema};
use super::state::{Offer, State};

/// Turns of 2^24 counters that are believed: a node may be silent for 388 days.
const TURNS_BELIEVED: u64 = 2;
/// Turns that are recognised, to be refused as too far ahead.
const TURNS_KNOWN: u64 = 4;

/// When a node can be told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listens {
    /// Never: the gateway cannot send, or the node cannot hear.
    Never,
    /// Behind each of its own frames (class A).
    AfterItsFrames,
    /// At any time.
    Always,
}

/// What the operator says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Who it is.
    pub address: Address,
    /// The key that it was provisioned with.
    pub epoch: Epoch,
    /// When it can be told something.
    pub listens: Listens,
    /// What its reports hold.
    pub schema: Schema,
}

/// The moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Seconds on the gateway's own time line, which never goes back.
    pub s: u64,
    /// Seconds since 1970, if the gateway's clock can be believed.
    pub unix_s: Option<u32>,
    /// Whether what is heard now can be stored. Where it cannot, nothing is acknowledged.
    pub stores: bool,
}

/// A frame to the node. It may go out only when the state that came with it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The bytes.
    pub frame: Frame,
    /// Whether it says that readings are safe.
    pub ack: bool,
    /// The order in it.
    pub order: Option<(OrderId, Order)>,
}

impl Reply {
    /// Returns whether it may use airtime that is held back for danger.
    #[must_use]
    pub fn is_danger(&self) -> bool {
        self.order.is_some_and(|(_, order)| order.is_danger())
    }
}

/// A report's readings, each known before or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readings {
    /// The report.
    pub report: Report,
    known: u8,
}

impl Readings {
    /// Returns the readings that were not heard before.
    ///
    /// The last [`super::READINGS_REMEMBERED`] are remembered here; the store's own uniqueness of node and reading has
    /// the last word.
    pub fn new_ones(&self) -> impl Iterator<Item = &Reading> {
        let known = self.known;
        self.report
            .readings()
            .iter()
            .enumerate()
            .filter(move |(n, _)| known & (1 << n) == 0)
            .map(|(_, reading)| reading)
    }
}

/// What a frame says.
#[allow(
    clippy::large_enum_variant,
    reason = "without a heap there is no box, and one lives at a time"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Readings.
    Readings(Readings),
    /// How the node is.
    Health(Health),
    /// What became of an order; none if it is not waited for any more.
    Order(OrderAck, Option<OrderId>),
    /// Readings that follow another schema, or do not follow ours. They are not acknowledged.
    Unreadable(ReportError),
    /// Something that this program does not understand.
    Unknown,
}

/// A frame that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The node's state from now on: to be committed in one transaction with what the frame says.
    pub state: State,
    /// What kind of frame it was.
    pub kind: Kind,
    /// The whole counter.
    pub counter: u32,
    /// The epoch of its key.
    pub epoch: u16,
    /// Whether the node changed to its new key with it.
    pub rekeyed: bool,
    /// Whether it came when it was sent.
    pub freshness: Freshness,
    /// What it says.
    pub content: Content,
    /// Orders that ended.
    pub ended: Endings,
    /// What is to be sent, after the commit.
    pub reply: Option<Reply>,
}

impl Accepted {
    /// Returns how old a reading was when the frame was heard, s, as far as it can be known.
    #[must_use]
    pub fn age_s(&self, reading: &Reading) -> u32 {
        let waited = self.counter.saturating_sub(reading.id);
        match self.freshness {
            Freshness::Fresh | Freshness::Unproven => waited,
            Freshness::Stale { lag_s } => waited.saturating_add(lag_s),
        }
    }
}

/// A step that no frame of the node caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The node's state from now on: to be committed before anything is sent.
    pub state: State,
    /// Orders that ended.
    pub ended: Endings,
    /// What is to be sent, after the commit.
    pub reply: Option<Reply>,
}

/// The gateway's end of the link to one node.
#[derive(Clone, Debug)]
pub struct Peer {
    profile: Profile,
    state: State,
    current: Keys,
    offered: Option<Keys>,
}

/// A frame of which the key and the counter were found.
struct Opened {
    counter: u32,
    payload: Payload,
    with_offered: bool,
}

impl Peer {
    /// Returns the node as it was left, or begins. A state of another provisioning is not taken over.
    ///
    /// Without its state, a node must be provisioned anew: its counters are forgotten, so that old frames would count again,
    /// and the gateway would seal twice under one nonce.
    #[must_use]
    pub fn new(profile: Profile, state: Option<State>) -> Self {
        let state = state.filter(|state| state.provisioned == profile.epoch);
        let state = state.unwrap_or_else(|| State::begin(profile.epoch));
        let current = state.current.keys(profile.address);
        let mut peer = Self { profile, state, current, offered: None };
        peer.commit(state);
        peer
    }

    /// Returns what is to be stored.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Returns what the operator says of the node.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Takes over a state that was committed.
    pub fn commit(&mut self, state: State) {
        self.state = state;
        self.current = state.current.keys(self.profile.address);
        self.offered = state.offered.map(|offer| offer.epoch.keys(self.profile.address));
    }

    /// Judges a frame, and says what follows from it. Nothing of the node changes until the caller commits.
    ///
    /// # Errors
    ///
    /// Says why the frame changes nothing.
    pub fn hear(&self, bytes: &[u8], now: Now) -> Result<Accepted, Refusal> {
        let parts = frame::parse(bytes)?;
        match parts.direction {
            Direction::Up => {}
            Direction::Down => return Err(Refusal::WrongWay),
        }
        if parts.node != self.profile.address.node {
            return Err(Refusal::ForeignNode);
        }
        if self.state.revoked {
            return Err(Refusal::Revoked);
        }
        let Opened { counter, payload, with_offered } = self.find(&parts)?;
        let mut state = self.state;
        state.window = state.window.admit(counter)?;
        let mut ended = Endings::default();
        if let Some(offer) = state.offered.filter(|_| with_offered) {
            (state.current, state.offered) = (offer.epoch, None);
            let is_rekey = |order: &Order| matches!(order, Order::Rekey { .. });
            state.orders.end_where(|waiting| is_rekey(&waiting.order), End::Done, &mut ended);
        }
        let (mut anchor, mut freshness) = match state.anchor {
            Some(anchor) => anchor.judge(counter, now.s),
            None => (Anchor::set(counter, now.s, false), Freshness::Unproven),
        };
        let content = self.read(&parts, counter, &payload, &mut state, &mut ended);
        let (began, proof) = match content {
            Content::Health(health) => (health.boot != Boot::Running, false),
            Content::Order(ack, Some(id)) => (false, self.proves(ack, id, now)),
            Content::Order(..)
            | Content::Readings(_)
            | Content::Unreadable(_)
            | Content::Unknown => (false, false),
        };
        if proof {
            (anchor, freshness) = (Anchor::set(counter, now.s, true), Freshness::Fresh);
        } else if began {
            (anchor, freshness) = (Anchor::set(counter, now.s, false), Freshness::Unproven);
        }
        state.anchor = Some(anchor);
        state.heard_at_s = Some(now.s);
        state.orders.expire(now.s, &mut ended);
        if freshness != Freshness::Fresh && self.profile.listens != Listens::Never {
            state.ask_for_proof(now.s, &mut ended);
        }
        let ack = parts.ack_wanted
            && now.stores
            && !matches!(content, Content::Unreadable(_) | Content::Unknown);
        let preface = Preface { answer: true, ack, reference: counter };
        let reply = self.reply(&mut state, preface, now);
        Ok(Accepted {
            kind: parts.kind,
            counter,
            epoch: state.current.number,
            rekeyed: with_offered,
            freshness,
            content,
            ended,
            reply,
            state,
        })
    }

    /// Finds the key and the counter under which a frame opens.
    fn find(&self, parts: &Parts<'_>) -> Result<Opened, Refusal> {
        let with_offered = parts.odd_epoch != self.state.current.is_odd();
        let keys = if with_offered { self.offered } else { Some(self.current) };
        let keys = keys.ok_or(Refusal::OtherEpoch)?;
        let candidates = self.state.window.candidates(parts.counter_low, UP_BITS);
        let ahead = |turns: core::ops::Range<u64>| turns.map_while(|t| candidates.ahead(t));
        if let Some((counter, payload)) = parts.open(&keys, ahead(0..TURNS_BELIEVED)) {
            return Ok(Opened { counter, payload, with_offered });
        }
        if parts.open(&keys, candidates.behind().into_iter()).is_some() {
            return Err(Refusal::TooOld);
        }
        let gap = parts.open(&keys, ahead(TURNS_BELIEVED..TURNS_KNOWN)).is_some();
        Err(if gap { Refusal::Gap } else { Refusal::Tag })
    }

    fn read(
        &self,
        parts: &Parts<'_>,
        counter: u32,
        payload: &Payload,
        state: &mut State,
        ended: &mut Endings,
    ) -> Content {
        match parts.kind {
            Kind::Telemetry | Kind::Alarm => {
                match Report::read(&self.profile.schema, counter, payload) {
                    Ok(report) => {
                        let known = state.recent.note(&report);
                        Content::Readings(Readings { report, known })
                    }
                    Err(error) => Content::Unreadable(error),
                }
            }
            Kind::Health => Health::from_bytes(payload).map_or(Content::Unknown, Content::Health),
            Kind::Ack => match OrderAck::from_bytes(payload) {
                Some(ack) => Content::Order(ack, settle(state, ack, ended)),
                None => Content::Unknown,
            },
            Kind::Command | Kind::Time | Kind::Rekey => Content::Unknown,
        }
    }

    /// Returns whether an acknowledgement came so soon after its order was first sent that nobody can have held it back.
    fn proves(&self, ack: OrderAck, id: OrderId, now: Now) -> bool {
        let waiting = self.state.orders.iter().find(|waiting| waiting.id == id);
        let first = waiting.and_then(|waiting| waiting.sent_s).map(|(first, _)| first);
        ack.outcome != Outcome::Late
            && first.is_some_and(|first| now.s.saturating_sub(first) <= LATE_S)
    }

    /// Seals what there is to say: an acknowledgement, an order, or both.
    fn reply(&self, state: &mut State, preface: Preface, now: Now) -> Option<Reply> {
        match self.profile.listens {
            Listens::Never => return None,
            Listens::AfterItsFrames | Listens::Always => {}
        }
        let offer = state.offered;
        let order = state.orders.first().and_then(|waiting| {
            let command = command(waiting.order, offer, now)?;
            let first = waiting.sent_s.map_or(now.s, |(first, _)| first);
            waiting.sent_s = Some((first, now.s));
            waiting.sends = waiting.sends.saturating_add(1);
            Some((waiting.id, waiting.order, command))
        });
        if order.is_none() && !preface.ack {
            return None;
        }
        let down = Down { preface, order: order.map(|(id, _, command)| (id.on_air(), command)) };
        let message = down.write().ok()?;
        let counter = state.down_next;
        state.down_next = counter.checked_add(1)?;
        let plain = Plain {
            kind: down.kind(),
            direction: Direction::Down,
            ack_wanted: down.order.is_some(),
            counter,
            payload: &message,
        };
        let frame = frame::seal(&state.current.keys(self.profile.address), &plain).ok()?;
        Some(Reply { frame, ack: preface.ack, order: order.map(|(id, order, _)| (id, order)) })
    }

    /// Gives an order, which expires at a moment of the gateway's time line.
    ///
    /// A siren order replaces the siren orders before it. A new key is offered until the node speaks with it, also beyond
    /// the order's expiry: to give the order again is to offer the same key again.
    ///
    /// # Errors
    ///
    /// Says why the order is not taken.
    pub fn order(&self, order: Order, expires_at_s: u64) -> Result<(OrderId, Step), OrderError> {
        if self.state.revoked {
            return Err(OrderError::Revoked);
        }
        match self.profile.listens {
            Listens::Never => return Err(OrderError::NeverListens),
            Listens::AfterItsFrames | Listens::Always => {}
        }
        let (mut state, mut ended) = (self.state, Endings::default());
        let mut waits = order;
        match order {
            Order::SirenOn { seconds: 0 }
            | Order::SirenTest { seconds: 0 }
            | Order::Interval { seconds: 0 } => return Err(OrderError::NoTime),
            Order::Rekey { random } => {
                state.offer(self.profile.address, random)?;
                // What the key is made of is in the offer.
                waits = Order::Rekey { random: [0; 16] };
            }
            Order::SirenOn { .. }
            | Order::SirenOff
            | Order::SirenTest { .. }
            | Order::Interval { .. }
            | Order::Time => {}
        }
        let id = state.orders.add(waits, expires_at_s, &mut ended)?;
        Ok((id, Step { state, ended, reply: None }))
    }

    /// Returns when [`Peer::step`] has something to do, s on the gateway's time line.
    #[must_use]
    pub fn next_deadline_s(&self) -> Option<u64> {
        let expires = self.state.orders.expires_at_s();
        let due = match self.profile.listens {
            Listens::Always if !self.state.revoked => self.state.orders.due_at_s(),
            Listens::Always | Listens::Never | Listens::AfterItsFrames => None,
        };
        match (expires, due) {
            (Some(expires), Some(due)) => Some(expires.min(due)),
            (expires, due) => expires.or(due),
        }
    }

    /// Ends what has expired, and tells a node that always listens what is due. None if there is nothing to do.
    #[must_use]
    pub fn step(&self, now: Now) -> Option<Step> {
        let (mut state, mut ended) = (self.state, Endings::default());
        state.orders.expire(now.s, &mut ended);
        let due = state.orders.due_at_s().is_some_and(|due| due <= now.s);
        let reply = match self.profile.listens {
            Listens::Always if due && !state.revoked => {
                let reference = state.anchor.map_or(0, |anchor| anchor.counter_at(now.s));
                self.reply(&mut state, Preface { answer: false, ack: false, reference }, now)
            }
            Listens::Always | Listens::AfterItsFrames | Listens::Never => None,
        };
        (state != self.state).then_some(Step { state, ended, reply })
    }
}

/// Ends the order that an acknowledgement names.
fn settle(state: &mut State, ack: OrderAck, ended: &mut Endings) -> Option<OrderId> {
    let waiting = state.orders.find(ack.number)?;
    let id = waiting.id;
    let end = match ack.outcome {
        Outcome::Done => End::Done,
        Outcome::Refused => End::Refused,
        Outcome::Late => {
            // The frame that says so shows the node's clock: the order is due again at once.
            waiting.sent_s = None;
            waiting.sends = 1;
            return Some(id);
        }
    };
    state.orders.end_where(|waiting| waiting.id == id, end, ended);
    Some(id)
}

fn command(order: Order, offer: Option<Offer>, now: Now) -> Option<Command> {
    Some(match order {
        Order::SirenOn { seconds } => Command::SirenOn { seconds },
        Order::SirenOff => Command::SirenOff,
        Order::SirenTest { seconds } => Command::SirenTest { seconds },
        Order::Interval { seconds } => Command::Interval { seconds },
        Order::Time => Command::Time { unix_s: now.unix_s },
        Order::Rekey { .. } => {
            let Offer { epoch, random } = offer?;
            Command::Rekey { epoch: epoch.number, random }
        }
    })
}
