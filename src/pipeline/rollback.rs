//! Radio nodes and sirens after the gateway's memory has gone back: to a backup, or to what could be read of a damaged file.
//!
//! Both ends of a radio link remember counters that go up only. A gateway that has forgotten some would seal two frames
//! under one nonce, which tells a listener what both say and helps him to forge; and a node refuses what it has heard. So
//! what may have been used since is passed over, as far as the node can follow.

use super::link::{Chance, Link, LinkCommand, Links, NETWORK_KEY, Network, network_of, split_row};
use super::radio::{Lorawan, key_of};
use crate::domain::siren::Siren;
use crate::domain::time::Timestamp;
use crate::wire::lorawan::{self, Version};
use std::collections::BTreeMap;

/// Rows of radio nodes and sirens, by the node's own identifier.
pub type Rows = BTreeMap<String, Vec<u8>>;

/// Frames to one node that may have left since a backup, and are passed over. A node of our own link finds the way back
/// after 16,384 that it did not hear (`docs/formats/wf1.md`), a LoRaWAN device before 1.0.4 after fewer than 16,384
/// (`MAX_FCNT_GAP`): half of that is for what left, half for what the node has missed besides. At one a minute they last 5 days.
pub const FRAMES_PASSED: u32 = 8192;
/// The same for LoRaWAN 1.0.4, which has no such limit: a device tells 16 bits of the counter apart.
pub const FRAMES_PASSED_1_0_4: u32 = 32_768;
/// Frames that may have left since what could be read of a damaged file: what was not read is in its WAL, which holds 400
/// pages, and each frame's commit takes one at the least.
pub const FRAMES_PASSED_AFTER_DAMAGE: u32 = 1024;
/// Numbers that nodes may have been given since.
const NUMBERS_PASSED: u16 = 256;

/// How long ago the older memory was the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// So short that what was open then may be so now.
    Short,
    /// That is known, and long.
    Long,
    /// Nobody knows: no stamp of a node can be compared with what was known then.
    Unknown,
}

/// What a row is of.
enum Of {
    /// The network of our own link.
    Network,
    /// A node of our own link.
    Link,
    Lorawan,
    Siren,
    /// Something that this version does not know.
    Nobody,
}

fn of(name: &str) -> Of {
    match name.split_once(' ') {
        None if name == NETWORK_KEY => Of::Network,
        Some((NETWORK_KEY, _)) => Of::Link,
        Some(("otaa" | "abp", _)) => Of::Lorawan,
        Some(("siren", _)) => Of::Siren,
        Some(_) | None => Of::Nobody,
    }
}

/// Returns whether a row can be read by this program.
#[must_use]
pub fn is_understood(name: &str, row: &[u8]) -> bool {
    match of(name) {
        Of::Network => network_of(row).is_some(),
        Of::Link => split_row(row).is_some(),
        Of::Lorawan => lorawan::State::from_bytes(row).is_ok(),
        Of::Siren => Siren::from_bytes(row).is_ok(),
        Of::Nobody => false,
    }
}

/// Returns the rows after the memory went back: up to so many frames may have left to each node since, as `frames` says by
/// the row's name. What is not understood stays as it is.
#[must_use]
pub fn passed_over(rows: &Rows, frames: impl Fn(&str) -> u32, age: Age) -> Rows {
    let one = |(name, row): (&String, &Vec<u8>)| {
        let frames = frames(name);
        let changed = match of(name) {
            Of::Network => network_of(row).and_then(|network| {
                let numbers = network.numbers.saturating_add(NUMBERS_PASSED);
                Network { numbers, ..network }.row().map(|(_, row)| row)
            }),
            Of::Link => split_row(row).map(|(head, state)| {
                let state = state.after_rollback(frames);
                let state = match age {
                    Age::Short | Age::Long => state,
                    Age::Unknown => state.with_time_forgotten(),
                };
                [head, &state.to_bytes()].concat()
            }),
            Of::Lorawan => {
                let state = lorawan::State::from_bytes(row).ok();
                state.map(|state| state.after_rollback(frames).to_bytes())
            }
            Of::Siren => {
                let siren = Siren::from_bytes(row).ok().map(Siren::after_rollback);
                let siren = siren.map(|siren| match age {
                    Age::Short => siren,
                    Age::Long | Age::Unknown => siren.with_causes_forgotten(),
                });
                siren.map(|siren| siren.to_bytes())
            }
            Of::Nobody => None,
        };
        (name.clone(), changed.unwrap_or_else(|| row.clone()))
    };
    rows.iter().map(one).collect()
}

/// Returns how many frames are passed over for the node of a row, after a backup.
pub fn frames_since_backup(devices: Option<&Lorawan>) -> impl Fn(&str) -> u32 {
    let devices = devices.map_or(&[][..], |lorawan| &lorawan.devices);
    move |name| {
        let device = devices.iter().find(|device| key_of(&device.profile.activation) == name);
        match device.map(|device| device.profile.version) {
            Some(Version::V1_0_4) => FRAMES_PASSED_1_0_4,
            Some(Version::V1_0_2 | Version::V1_0_3) | None => FRAMES_PASSED,
        }
    }
}

/// Joins the rows of a backup, which have been [`passed_over`], with those of a database that began without it: of each
/// node what is further, so that no counter of either is used again. Returns also the nodes of the backup that
/// are left out, because their keys are of another network.
#[must_use]
pub fn joined(backup: &Rows, present: &Rows) -> (Rows, Vec<String>) {
    let network = |rows: &Rows| rows.get(NETWORK_KEY).and_then(|row| network_of(row));
    let foreign = match (network(backup), network(present)) {
        (Some(backup), Some(present)) => backup.net != present.net,
        (_, _) => false,
    };
    let (mut rows, mut left_out) = (present.clone(), Vec::new());
    for (name, row) in backup {
        match (of(name), present.get(name)) {
            (Of::Network | Of::Link, Some(_)) if foreign => {}
            (Of::Link, None) if foreign => left_out.push(name.clone()),
            (_, None) => {
                rows.insert(name.clone(), row.clone());
            }
            (_, Some(newer)) => {
                rows.insert(name.clone(), further(name, row, newer));
            }
        }
    }
    (rows, left_out)
}

/// Returns of two rows of one node what is further; of two that cannot be compared, the newer.
fn further(name: &str, backup: &[u8], newer: &[u8]) -> Vec<u8> {
    let found = match of(name) {
        Of::Network => network_of(backup).zip(network_of(newer)).and_then(|(backup, newer)| {
            let numbers = backup.numbers.max(newer.numbers);
            Network { numbers, ..newer }.row().map(|(_, row)| row)
        }),
        // Another head is another key: somebody put other hardware in the place.
        Of::Link => split_row(backup).zip(split_row(newer)).and_then(|(backup, newer)| {
            let same = backup.0 == newer.0;
            same.then(|| [newer.0, &newer.1.further(&backup.1).to_bytes()].concat())
        }),
        Of::Lorawan => {
            let read = |row: &[u8]| lorawan::State::from_bytes(row).ok();
            read(backup).zip(read(newer)).map(|(backup, newer)| newer.further(&backup).to_bytes())
        }
        // The moments of the other are of another time line, and it forgets what it sounded for.
        Of::Siren => {
            let read = |row: &[u8]| Siren::from_bytes(row).ok();
            read(backup)
                .zip(read(newer))
                .map(|(backup, newer)| backup.with_version_above(newer.version()).to_bytes())
        }
        Of::Nobody => None,
    };
    // What is damaged is worth less than what is old.
    let fallback = if is_understood(name, newer) { newer } else { backup };
    found.unwrap_or_else(|| fallback.to_vec())
}

/// Orders a new key for each node of our link that can be told: whatever was used of the old one since a backup is then
/// of no use to anybody. Returns the rows, and the names of the nodes that are told.
#[must_use]
pub fn rekeyed(
    link: &Link,
    rows: &Rows,
    now: Timestamp,
    mut chance: impl FnMut() -> Option<Chance>,
) -> (Rows, Vec<String>) {
    let (mut links, mut told) = (Links::new(link, rows), Vec::new());
    for node in &link.nodes {
        let Some(chance) = chance() else { continue };
        let name = node.name.clone();
        // One that has no key, never listens, or is revoked needs none.
        if links.command(LinkCommand::Rekey { name: name.clone(), chance }, now).is_ok() {
            told.push(name);
        }
    }
    let mut changed = rows.clone();
    changed.extend(links.rows());
    (changed, told)
}

#[cfg(test)]
mod tests;
