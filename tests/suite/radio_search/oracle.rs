//! The judge: lists of what was true, and nothing else.

use kengele::wire::sealed::{Refusal, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// A reading's name: node, and its second.
pub type Name = (u16, u32);

/// Airtime of an hour that a node may use, and a gateway: EU868, 1 % (EN 300 220-2, bands L and M).
const AIRTIME_MS: [u64; 2] = [36_000, 36_000];
const HOUR_MS: u64 = 3_600_000;

#[derive(Default)]
pub struct Oracle {
    /// What was measured.
    truth: BTreeMap<Name, Value>,
    /// What the gateway's store holds.
    pub stored: BTreeMap<Name, Value>,
    /// Under which key and counter something was sealed.
    sealed: BTreeSet<(u16, u16, u32)>,
    /// Frames that nodes sent, and when.
    sent: BTreeMap<Vec<u8>, u64>,
    /// Frames of which the gateway committed the content.
    committed: BTreeSet<Vec<u8>>,
    /// Orders to sound a siren, by their seconds: how often they were given, done, and reported as done.
    given: BTreeSet<(u16, u16)>,
    done: BTreeMap<(u16, u16), u64>,
    /// When a frame of a node was last accepted that nobody had held back, ms.
    prompt: BTreeMap<u16, u64>,
    /// Airtime of the last hour: of each node, and of the gateway.
    air: BTreeMap<Option<u16>, VecDeque<(u64, u64)>>,
    pub airtime_most_ms: [u64; 2],
    pub seen: BTreeMap<&'static str, u64>,
}

impl Oracle {
    pub fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub fn refused(&mut self, by_node: bool, refusal: Refusal) {
        let name = match (by_node, refusal) {
            (false, Refusal::Length) => "refused length",
            (false, Refusal::Version) => "refused version",
            (false, Refusal::ReservedType) => "refused reserved_type",
            (false, Refusal::WrongWay) => "refused wrong_way",
            (false, Refusal::ForeignNode) => "refused foreign_node",
            (false, Refusal::OtherEpoch) => "refused other_epoch",
            (false, Refusal::Tag) => "refused tag",
            (false, Refusal::Replayed) => "refused replayed",
            (false, Refusal::TooOld) => "refused too_old",
            (false, Refusal::Gap) => "refused gap",
            (true, Refusal::Replayed) => "node refused replayed",
            (true, Refusal::TooOld) => "node refused too_old",
            (true, Refusal::Tag) => "node refused tag",
            (true, Refusal::OutOfOrder) => "node refused out_of_order",
            (true, Refusal::OtherEpoch) => "node refused other_epoch",
            _ => "refused otherwise",
        };
        self.saw(name);
    }

    pub fn measured(&mut self, name: Name, value: Value) -> Result<(), String> {
        match self.truth.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(format!("node {} gave two readings the name {}", name.0, name.1)),
        }
    }

    pub fn sealed(
        &mut self,
        (node, epoch, counter): (u16, u16, u32),
        frame: &[u8],
        at_ms: u64,
    ) -> Result<(), String> {
        self.sent.insert(frame.to_vec(), at_ms);
        if self.sealed.insert((node, epoch, counter)) {
            return Ok(());
        }
        Err(format!("node {node} used counter {counter} of epoch {epoch} twice"))
    }

    /// A frame's content was committed.
    pub fn accepted(
        &mut self,
        node: u16,
        frame: &[u8],
        fresh: bool,
        now_ms: u64,
    ) -> Result<(), String> {
        self.saw("accepted");
        let sent = self.sent.get(frame).copied();
        let sent =
            sent.ok_or_else(|| format!("a frame was accepted that node {node} never sent"))?;
        if !self.committed.insert(frame.to_vec()) {
            return Err(format!("a frame of node {node} was accepted twice"));
        }
        let delay = (now_ms - sent) / 1000;
        let since = now_ms - self.prompt.get(&node).copied().unwrap_or(now_ms);
        if fresh && delay > 120 + 60 + since / 1000 * 6 / 100 {
            return Err(format!(
                "a frame of node {node} that was held back for {delay} s is fresh"
            ));
        }
        if delay < 60 {
            self.prompt.insert(node, now_ms);
        }
        Ok(())
    }

    pub fn stores(&mut self, name: Name, value: Value) -> Result<(), String> {
        if self.truth.get(&name) != Some(&value) {
            return Err(format!("{name:?} is stored as {value:?}: {:?}", self.truth.get(&name)));
        }
        if self.stored.insert(name, value).is_some() {
            self.saw("reading again");
        }
        Ok(())
    }

    pub fn acked(&mut self, names: &[Name]) -> Result<(), String> {
        for name in names {
            self.saw("acked");
            if !self.stored.contains_key(name) {
                return Err(format!("{name:?} is acknowledged and not stored"));
            }
        }
        Ok(())
    }

    pub fn ordered(&mut self, node: u16, label: u16) {
        self.given.insert((node, label));
    }

    pub fn done(&mut self, node: u16, label: u16, cuts: u64) -> Result<(), String> {
        if !self.given.contains(&(node, label)) {
            return Err(format!("node {node} sounds for {label} s, which nobody ordered"));
        }
        let times = self.done.entry((node, label)).or_default();
        *times += 1;
        // An order that a power cut kept from being written down may be done once more.
        if *times > 1 + cuts {
            return Err(format!("node {node} did order {label} {times} times, {cuts} cuts"));
        }
        Ok(())
    }

    pub fn reported_done(&mut self, node: u16, label: u16) -> Result<(), String> {
        self.saw("order done");
        if self.done.contains_key(&(node, label)) {
            return Ok(());
        }
        Err(format!("order {label} of node {node} is called done and was not"))
    }

    /// Adds a transmission, and holds the hour before it against the limit.
    pub fn on_air(&mut self, who: Option<u16>, air: Duration, now_ms: u64) -> Result<(), String> {
        let used = self.airtime(who, now_ms);
        let air = u64::try_from(air.as_millis()).unwrap();
        self.air.entry(who).or_default().push_back((now_ms, air));
        let kind = usize::from(who.is_none());
        self.airtime_most_ms[kind] = self.airtime_most_ms[kind].max(used + air);
        if used + air <= AIRTIME_MS[kind] {
            return Ok(());
        }
        Err(format!("{who:?} was on the air for {} ms of an hour", used + air))
    }

    /// Returns the airtime of the last hour, ms.
    pub fn airtime(&mut self, who: Option<u16>, now_ms: u64) -> u64 {
        let hour = self.air.entry(who).or_default();
        while hour.front().is_some_and(|(at, _)| at + HOUR_MS <= now_ms) {
            hour.pop_front();
        }
        hour.iter().map(|(_, air)| air).sum()
    }
}
