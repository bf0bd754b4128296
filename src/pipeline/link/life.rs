//! The life of a node of our link: it is given a number and a key, new keys, other hardware in its place, an end.

use super::member::{Member, SETTING_VALID};
use super::{LinkNode, Links};
use crate::domain::time::Timestamp;
use crate::wire::sealed::{
    Address, Epoch, Health, Listens, Order, OrderError, Peer, Profile, Provisioning, Root,
};
use std::time::Duration;
use thiserror::Error;

/// What an operator does with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkCommand {
    /// Give it a number and a key.
    Add {
        /// Its name.
        name: String,
        /// Fresh random bytes.
        chance: Chance,
    },
    /// Put other hardware in its place: another number, another key.
    Swap {
        /// Its name.
        name: String,
        /// Fresh random bytes.
        chance: Chance,
    },
    /// Believe none of its frames any more.
    Revoke {
        /// Its name.
        name: String,
    },
    /// Give it a new key over the air.
    Rekey {
        /// Its name.
        name: String,
        /// Fresh random bytes.
        chance: Chance,
    },
    /// Let it report at another pace.
    Interval {
        /// Its name.
        name: String,
        /// How often, s.
        seconds: u16,
    },
    /// Say how all are.
    List,
}

/// Random bytes for one command: a key, and a network for the first node of a gateway. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Chance {
    /// For a key.
    pub key: [u8; 16],
    /// For a network.
    pub net: u32,
}

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance(..)")
    }
}

/// What comes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAnswer {
    /// The code that the node is given: it holds its key.
    Code(String),
    /// How the nodes are.
    Nodes(Vec<LinkStatus>),
    /// It is done, or under way.
    Done,
}

/// Why a command is not obeyed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// The configuration has no such node of our link.
    #[error("the configuration in force has no [node.{0}.wf1]: add it, and reload")]
    NotDeclared(String),
    /// It has a key.
    #[error(
        "node {0} has a key already: `swap` puts other hardware in its place, `rekey` changes the key over the air"
    )]
    HasKey(String),
    /// It has none.
    #[error("node {0} has no key yet: `kengele node add {0}` makes one")]
    HasNoKey(String),
    /// All numbers are given away.
    #[error("all 65,535 numbers of this network are given away")]
    NoNumber,
    /// The node's queue says no.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// It is not on disk.
    #[error(
        "the database cannot be written: nothing has changed that lasts; try again when it can"
    )]
    NotStored,
}

/// How a node of our link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// Its name.
    pub name: String,
    /// Its number on the air; none before it is added.
    pub number: Option<u16>,
    /// The epoch of its key.
    pub epoch: u16,
    /// When it listens.
    pub listens: Listens,
    /// None of its frames is believed.
    pub revoked: bool,
    /// It is offered a new key.
    pub rekeying: bool,
    /// Since it was heard.
    pub heard_ago: Option<Duration>,
    /// How it was heard last since the start: strength in tenths of dBm, signal to noise in tenths of dB.
    pub signal: Option<(i32, i32)>,
    /// What it said of itself last since the start.
    pub health: Option<Health>,
    /// What it has yet to be told.
    pub orders: Vec<String>,
}

/// What a command changes, and its answer.
pub(in crate::pipeline) struct Changed {
    pub(in crate::pipeline) rows: Vec<(String, Vec<u8>)>,
    pub(in crate::pipeline) answer: LinkAnswer,
}

impl Changed {
    fn of(row: Option<(String, Vec<u8>)>, answer: LinkAnswer) -> Self {
        Self { rows: row.into_iter().collect(), answer }
    }
}

impl Links {
    pub(in crate::pipeline) fn command(
        &mut self,
        command: LinkCommand,
        now: Timestamp,
    ) -> Result<Changed, LinkError> {
        match command {
            LinkCommand::Add { name, chance } => {
                let member = self.named(&name)?;
                if member.peer.is_some() {
                    return Err(LinkError::HasKey(name));
                }
                self.enrol(&name, &chance)
            }
            LinkCommand::Swap { name, chance } => {
                self.named(&name)?;
                self.enrol(&name, &chance)
            }
            LinkCommand::Revoke { name } => {
                let member = self.named(&name)?;
                let peer = member.peer.as_mut().ok_or(LinkError::HasNoKey(name))?;
                peer.commit(peer.state().with_revoked(true));
                Ok(Changed::of(member.row(), LinkAnswer::Done))
            }
            LinkCommand::Rekey { name, chance } => {
                let member = self.named(&name)?;
                member.order(Order::Rekey { random: chance.key }, now + SETTING_VALID)?;
                Ok(Changed::of(member.row(), LinkAnswer::Done))
            }
            LinkCommand::Interval { name, seconds } => {
                let member = self.named(&name)?;
                member.order(Order::Interval { seconds }, now + SETTING_VALID)?;
                Ok(Changed::of(member.row(), LinkAnswer::Done))
            }
            LinkCommand::List => {
                let nodes = self.members.iter().map(|member| member.status(now)).collect();
                Ok(Changed::of(None, LinkAnswer::Nodes(nodes)))
            }
        }
    }

    fn named(&mut self, name: &str) -> Result<&mut Member, LinkError> {
        let known = self.members.iter_mut().find(|member| member.of.name == name);
        known.ok_or_else(|| LinkError::NotDeclared(name.to_owned()))
    }

    /// Gives a node a number that no node ever had, and a key.
    fn enrol(&mut self, name: &str, chance: &Chance) -> Result<Changed, LinkError> {
        let number = self.network.numbers.checked_add(1).ok_or(LinkError::NoNumber)?;
        let net = *self.network.net.get_or_insert(chance.net);
        self.network.numbers = number;
        let address = Address { net, node: number };
        let epoch = Epoch { number: 0, root: Root::new(chance.key) };
        let network = self.network.row();
        let member = self.named(name)?;
        let LinkNode { listens, schema, .. } = member.of;
        let profile = Profile { address, epoch, listens, schema };
        member.peer = Some(Peer::new(profile, None));
        (member.hearing, member.health) = (None, None);
        (member.siren, member.unstored) = (None, 0);
        let code = Provisioning { address, epoch }.to_code();
        let code = String::from_utf8_lossy(&code).into_owned();
        let rows = member.row().into_iter().chain(network).collect();
        Ok(Changed { rows, answer: LinkAnswer::Code(code) })
    }
}
