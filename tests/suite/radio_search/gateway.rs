//! A gateway that keeps the rule: judge, commit in one transaction, then send. It may die in between.

use super::oracle::Oracle;
use super::world::{Halt, schema};
use crate::dice::Dice;
use kengele::domain::planted::{self, Bug};
use kengele::wire::sealed::{
    Address, Content, End, Ended, Epoch, Freshness, Listens, Now, Order, Peer, Profile, Reply,
    State,
};
use std::collections::BTreeMap;

pub struct Gateway {
    peers: BTreeMap<u16, Peer>,
    /// The states in the store.
    disk: BTreeMap<u16, Vec<u8>>,
    /// In 100,000 steps.
    pub crash_rate: u64,
}

fn now(ms: u64) -> Now {
    Now { s: ms / 1000, unix_s: u32::try_from(1_800_000_000 + ms / 1000).ok(), stores: true }
}

impl Gateway {
    pub fn new(nodes: impl Iterator<Item = (Address, Epoch, bool)>, crash_rate: u64) -> Self {
        let peer = |(address, epoch, always): (Address, Epoch, bool)| {
            let listens = if always { Listens::Always } else { Listens::AfterItsFrames };
            let profile = Profile { address, epoch, listens, schema: schema() };
            (address.node, Peer::new(profile, None))
        };
        Self { peers: nodes.map(peer).collect(), disk: BTreeMap::new(), crash_rate }
    }

    pub fn restart(&mut self, dice: &mut Dice) {
        let doubt = dice.chance(500);
        for (node, peer) in &mut self.peers {
            let state = self.disk.get(node).map(|bytes| State::from_bytes(bytes).unwrap());
            let state = state.map(|s| if doubt { s.with_time_in_doubt() } else { s });
            *peer = Peer::new(*peer.profile(), state);
        }
    }

    fn step(&self, what: &'static str, dice: &mut Dice, oracle: &mut Oracle) -> Result<(), Halt> {
        if dice.below(100_000) < self.crash_rate {
            oracle.saw(what);
            return Err(Halt::Crash);
        }
        Ok(())
    }

    fn commit(&mut self, node: u16, state: &State) {
        self.disk.insert(node, state.to_bytes().to_vec());
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.commit(*state);
        }
    }

    fn ended<'a>(
        node: u16,
        ended: impl Iterator<Item = &'a Ended>,
        oracle: &mut Oracle,
    ) -> Result<(), Halt> {
        for ended in ended {
            if let (Order::SirenOn { seconds }, End::Done) = (ended.order, ended.end) {
                oracle.reported_done(node, seconds)?;
            }
        }
        Ok(())
    }

    /// Hears a frame; `send` brings the reply on the air.
    pub fn hear(
        &mut self,
        frame: &[u8],
        now_ms: u64,
        dice: &mut Dice,
        oracle: &mut Oracle,
        send: &mut impl FnMut(u16, &Reply, &mut Oracle) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let node = frame.get(1..3).map_or(0, |n| u16::from_be_bytes([n[0], n[1]]));
        // A frame for a node that nobody declared goes to any of them, to be refused.
        let (node, peer) = match self.peers.get(&node) {
            Some(peer) => (node, peer),
            None => self.peers.first_key_value().map(|(n, p)| (*n, p)).unwrap(),
        };
        let accepted = match peer.hear(frame, now(now_ms)) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                oracle.refused(false, refusal);
                return Ok(());
            }
        };
        let mut early = false;
        if let Some(reply) = accepted.reply.filter(|_| planted::is(Bug::RadioAckBeforeCommit)) {
            send(node, &reply, oracle)?;
            early = true;
        }
        self.step("crash before commit", dice, oracle)?;
        oracle.accepted(node, frame, accepted.freshness == Freshness::Fresh, now_ms)?;
        if matches!(accepted.freshness, Freshness::Stale { .. }) {
            oracle.saw("stale");
        }
        if accepted.rekeyed {
            oracle.saw("rekeyed");
        }
        if let Content::Readings(readings) = accepted.content {
            for reading in readings.new_ones() {
                oracle.stores((node, reading.id), reading.values[0])?;
            }
            let again = readings.report.readings().len() - readings.new_ones().count();
            (0..again).for_each(|_| oracle.saw("reading again"));
        }
        self.commit(node, &accepted.state);
        Self::ended(node, accepted.ended.iter(), oracle)?;
        self.step("crash behind commit", dice, oracle)?;
        match accepted.reply {
            Some(reply) if !early => send(node, &reply, oracle),
            Some(_) | None => Ok(()),
        }
    }

    pub fn order(
        &mut self,
        node: u16,
        order: Order,
        expires_at_s: u64,
        dice: &mut Dice,
        oracle: &mut Oracle,
    ) -> Result<(), Halt> {
        let Some(peer) = self.peers.get(&node) else { return Ok(()) };
        let Ok((_, step)) = peer.order(order, expires_at_s) else { return Ok(()) };
        self.step("crash before commit", dice, oracle)?;
        self.commit(node, &step.state);
        Self::ended(node, step.ended.iter(), oracle)
    }

    /// Does what is due, and returns when the next thing is, ms.
    pub fn wake(
        &mut self,
        node: u16,
        now_ms: u64,
        dice: &mut Dice,
        oracle: &mut Oracle,
        send: &mut impl FnMut(u16, &Reply, &mut Oracle) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let Some(step) = self.peers.get(&node).and_then(|peer| peer.step(now(now_ms))) else {
            return Ok(());
        };
        self.step("crash before commit", dice, oracle)?;
        self.commit(node, &step.state);
        Self::ended(node, step.ended.iter(), oracle)?;
        self.step("crash behind commit", dice, oracle)?;
        step.reply.map_or(Ok(()), |reply| send(node, &reply, oracle))
    }

    pub fn deadline_ms(&self, node: u16) -> Option<u64> {
        Some(self.peers.get(&node)?.next_deadline_s()?.saturating_mul(1000))
    }

    pub fn epoch(&self, node: u16) -> u16 {
        self.peers[&node].state().epoch()
    }

    pub fn is_rekeying(&self, node: u16) -> bool {
        self.peers[&node].state().is_rekeying()
    }
}
