//! How many of an alert's deliveries stand where: for `status`, `why` and the summary of a demonstration.

use super::record::{Delivery, DeliveryState, End};
use crate::domain::time::Timestamp;
use crate::domain::warning::WarningId;
use std::collections::BTreeMap;

/// Counts over the deliveries of one alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Waiting for their turn.
    pub queued: u32,
    /// Chosen for a lane, or going out now.
    pub in_flight: u32,
    /// Taken by a network, no receipt yet.
    pub submitted: u32,
    /// Of unknown fate, evidence still awaited.
    pub doubtful: u32,
    /// Ended, by how.
    pub ends: BTreeMap<End, u32>,
    /// Sent again although an earlier attempt may have arrived.
    pub possible_duplicates: u32,
    /// When the first one ended, and the last.
    pub ended: Option<(Timestamp, Timestamp)>,
}

/// Counts `deliveries`, held in the outbox or read from the store, by warning and number of their alert.
pub fn tally<'a>(
    deliveries: impl IntoIterator<Item = &'a Delivery>,
) -> BTreeMap<(WarningId, u32), Tally> {
    let mut tallies: BTreeMap<(WarningId, u32), Tally> = BTreeMap::new();
    for delivery in deliveries {
        let Some(alert) = delivery.alert() else { continue };
        let tally = tallies.entry(alert).or_default();
        tally.possible_duplicates += u32::from(delivery.possible_duplicate);
        match (&delivery.state, delivery.end()) {
            (_, Some(end)) => *tally.ends.entry(end).or_default() += 1,
            (DeliveryState::Armed { .. } | DeliveryState::Writing { .. }, None) => {
                tally.in_flight += 1;
            }
            (DeliveryState::Submitted { .. }, None) => tally.submitted += 1,
            (DeliveryState::Unknown { .. }, None) => tally.doubtful += 1,
            (
                DeliveryState::Queued
                | DeliveryState::Delivered
                | DeliveryState::Accepted
                | DeliveryState::Failed { .. }
                | DeliveryState::Expired
                | DeliveryState::Superseded
                | DeliveryState::OptedOut,
                None,
            ) => tally.queued += 1,
        }
        if let Some(at) = delivery.ended {
            let (first, last) = tally.ended.unwrap_or((at, at));
            tally.ended = Some((first.min(at), last.max(at)));
        }
    }
    tallies
}
