//! Joining the segments of inbound messages.

use crate::domain::time::Timestamp;
use crate::wire::gsm7::Alphabet;
use crate::wire::tpdu::{Address, Body, Concat, Reference, UserData};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A message whose waiting is over.
#[derive(Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its sender.
    pub from: Address,
    /// Its text; `[...]` stands where segments are missing.
    pub text: String,
    /// How many segments never came; 0 for a whole message.
    pub missing: u8,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").field("missing", &self.missing).finish_non_exhaustive()
    }
}

/// What stands in a text for segments that never came.
const GAP: &str = "[...]";

/// Joins segments by sender, reference and total, in any order, with repetitions.
///
/// Messages that are whole are remembered until their time is over, so that a segment delivered twice does not start a
/// message that never ends; a segment that differs from the one of its number starts a new message, for senders wrap
/// their references. 8-bit data are not for people and are skipped.
#[derive(Debug)]
pub struct Reassembler {
    messages_max: usize,
    wait_max: Duration,
    /// At most `messages_max`.
    messages: Vec<Message>,
}

#[derive(Debug)]
struct Message {
    from: Address,
    reference: Reference,
    total: u8,
    begun: Timestamp,
    parts: BTreeMap<u8, UserData>,
}

impl Reassembler {
    /// Returns an empty one that holds at most `messages_max` (at least 1) messages, each for `wait_max`.
    #[must_use]
    pub fn new(messages_max: usize, wait_max: Duration) -> Self {
        Self { messages_max: messages_max.max(1), wait_max, messages: Vec::new() }
    }

    /// Takes one message or segment; returns what is now finished: whole, or pushed out unfinished by the bound or by a
    /// new message under its reference.
    pub fn add(&mut self, from: &Address, data: &UserData, now: Timestamp) -> Vec<Joined> {
        let Some(place) = data.concat().filter(|place| place.total > 1) else {
            return join(from, std::iter::once(Some(data))).into_iter().collect();
        };
        let known = self.messages.iter().position(|message| message.is_of(from, place));
        let begin = || Message::begin(from, place, now);
        let mut message = known.map_or_else(begin, |at| self.messages.swap_remove(at));
        let mut finished = Vec::new();
        match message.parts.get(&place.part) {
            None => message.take(place.part, data, &mut finished),
            Some(same) if same == data => {}
            Some(_) => {
                finished.extend(message.unfinished());
                message = begin();
                message.take(place.part, data, &mut finished);
            }
        }
        if self.messages.len() == self.messages_max {
            finished.extend(self.make_room());
        }
        self.messages.push(message);
        finished
    }

    /// Returns what has waited too long, as far as it came.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Joined> {
        let wait_max = self.wait_max;
        self.messages
            .extract_if(.., |message| now.since(message.begun) >= wait_max)
            .filter_map(|message| message.unfinished())
            .collect()
    }

    /// Returns when [`Reassembler::expire`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.messages.iter().map(|message| message.begun + self.wait_max).min()
    }

    /// Gives up the oldest message, one that is whole if there is any.
    fn make_room(&mut self) -> Option<Joined> {
        let ages = self.messages.iter().enumerate();
        let (at, _) = ages.min_by_key(|(_, message)| (!message.is_whole(), message.begun))?;
        self.messages.swap_remove(at).unfinished()
    }
}

impl Message {
    fn begin(from: &Address, place: Concat, now: Timestamp) -> Self {
        let (from, parts) = (from.clone(), BTreeMap::new());
        Self { from, reference: place.reference, total: place.total, begun: now, parts }
    }

    fn take(&mut self, part: u8, data: &UserData, finished: &mut Vec<Joined>) {
        self.parts.insert(part, data.clone());
        if self.is_whole() {
            finished.extend(self.joined());
        }
    }

    fn is_of(&self, from: &Address, place: Concat) -> bool {
        self.reference == place.reference && self.total == place.total && self.from == *from
    }

    fn is_whole(&self) -> bool {
        self.parts.len() == usize::from(self.total)
    }

    /// Returns what came of it, unless it was whole and is told already.
    fn unfinished(&self) -> Option<Joined> {
        if self.is_whole() { None } else { self.joined() }
    }

    fn joined(&self) -> Option<Joined> {
        join(&self.from, (1..=self.total).map(|part| self.parts.get(&part)))
    }
}

/// Septets or code units of neighbouring segments, read as one: some senders cut escape and surrogate pairs.
enum Run {
    Gsm7(Alphabet, Vec<u8>),
    Ucs2(Vec<u16>),
    Gap,
}

impl Run {
    fn into_text(self) -> String {
        match self {
            Self::Gsm7(alphabet, septets) => alphabet.decode(&septets),
            Self::Ucs2(units) => String::from_utf16_lossy(&units),
            Self::Gap => GAP.to_owned(),
        }
    }
}

/// Returns the message of these parts; `None` when none of them is text.
fn join<'a>(from: &Address, parts: impl Iterator<Item = Option<&'a UserData>>) -> Option<Joined> {
    let (mut runs, mut missing, mut any_text) = (Vec::<Run>::new(), 0_u8, false);
    for part in parts {
        let Some(data) = part else {
            missing = missing.saturating_add(1);
            if !matches!(runs.last(), Some(Run::Gap)) {
                runs.push(Run::Gap);
            }
            continue;
        };
        match (data.body(), runs.last_mut()) {
            (Body::Gsm7(more), Some(Run::Gsm7(alphabet, septets)))
                if *alphabet == data.alphabet() =>
            {
                septets.extend(more);
            }
            (Body::Ucs2(more), Some(Run::Ucs2(units))) => units.extend(more),
            (Body::Gsm7(septets), _) => runs.push(Run::Gsm7(data.alphabet(), septets.clone())),
            (Body::Ucs2(units), _) => runs.push(Run::Ucs2(units.clone())),
            (Body::Octets(_), _) => continue,
        }
        any_text = true;
    }
    any_text.then(|| Joined {
        from: from.clone(),
        text: runs.into_iter().map(Run::into_text).collect(),
        missing,
    })
}
