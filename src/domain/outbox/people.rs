//! Who was told of which warning: an all-clear goes to them and to nobody else.

use super::TOLD_MAX;
use super::record::Delivery;
use crate::domain::recipient::RecipientId;
use crate::domain::warning::{MessageType, WarningId};
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered of the warnings that are open, or still being told.
#[derive(Debug, Default)]
pub(super) struct People {
    warnings: BTreeMap<WarningId, Told>,
    told: usize,
    overflowed: u64,
}

#[derive(Debug, Default)]
struct Told {
    newest: u32,
    over: bool,
    people: BTreeSet<RecipientId>,
    /// The list was given up for want of room: everybody may have been told.
    everybody: bool,
}

impl People {
    pub(super) fn new(
        newest: Vec<(WarningId, u32, MessageType)>,
        told: Vec<(WarningId, RecipientId)>,
    ) -> Self {
        let mut people = Self::default();
        for (warning, number, message_type) in newest {
            people.note_number(warning, number);
            people.warnings.entry(warning).or_default().over = message_type == MessageType::Cancel;
        }
        for (warning, recipient) in told {
            people.note_told(warning, recipient);
        }
        people
    }

    /// Notes that there is an alert with this number.
    pub(super) fn note_number(&mut self, warning: WarningId, number: u32) {
        let told = self.warnings.entry(warning).or_default();
        told.newest = told.newest.max(number);
    }

    /// Notes the alert that `delivery` tells.
    pub(super) fn note_alert(&mut self, delivery: &Delivery) {
        let Some((warning, number)) = delivery.alert() else { return };
        self.note_number(warning, number);
        if delivery.clears().is_some() {
            self.warnings.entry(warning).or_default().over = true;
        } else if delivery.reached {
            self.note_told(warning, delivery.recipient);
        }
    }

    /// Notes that `recipient` got, or may have got, an alert of `warning`.
    pub(super) fn note_told(&mut self, warning: WarningId, recipient: RecipientId) {
        let told = self.warnings.entry(warning).or_default();
        if told.everybody || told.people.contains(&recipient) {
            return;
        }
        if self.told >= TOLD_MAX {
            told.everybody = true;
            self.overflowed += 1;
            return;
        }
        told.people.insert(recipient);
        self.told += 1;
    }

    pub(super) fn was_told(&self, warning: WarningId, recipient: RecipientId) -> bool {
        self.warnings
            .get(&warning)
            .is_some_and(|told| told.everybody || told.people.contains(&recipient))
    }

    /// Returns whether there is a later alert than `number`.
    pub(super) fn is_replaced(&self, warning: WarningId, number: u32) -> bool {
        self.warnings.get(&warning).is_some_and(|told| told.newest > number)
    }

    /// Returns whether the all-clear was given.
    pub(super) fn is_over(&self, warning: WarningId) -> bool {
        self.warnings.get(&warning).is_some_and(|told| told.over)
    }

    pub(super) fn forget(&mut self, warning: WarningId) {
        if let Some(told) = self.warnings.remove(&warning) {
            self.told -= told.people.len();
        }
    }

    pub(super) const fn overflowed(&self) -> u64 {
        self.overflowed
    }
}
