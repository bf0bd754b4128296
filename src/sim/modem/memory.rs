//! The message memories of a modem.

/// Where a stored message stands: the numbers of `+CMGL` in PDU mode, 3GPP TS 27.005 §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Unread,
    Read,
    Unsent,
    Sent,
}

impl Mark {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Read => 1,
            Self::Unsent => 2,
            Self::Sent => 3,
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Unread => "REC UNREAD",
            Self::Read => "REC READ",
            Self::Unsent => "STO UNSENT",
            Self::Sent => "STO SENT",
        }
    }

    pub(super) const ALL: [Self; 4] = [Self::Unread, Self::Read, Self::Unsent, Self::Sent];
}

/// A stored message: the PDU behind the service centre's address.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) mark: Mark,
    pub(super) pdu: Vec<u8>,
}

/// The memories; `MT` is all others one behind the other.
#[derive(Debug)]
pub(super) struct Memories {
    sizes: &'static [(&'static str, usize)],
    /// Those but `MT`, in order.
    slots: Vec<(&'static str, Vec<Option<Stored>>)>,
}

impl Memories {
    pub(super) fn new(sizes: &'static [(&'static str, usize)]) -> Self {
        let real = sizes.iter().filter(|(name, _)| *name != "MT");
        Self { sizes, slots: real.map(|(name, size)| (*name, vec![None; *size])).collect() }
    }

    /// Returns the memory's own name when there is one so called.
    pub(super) fn named(&self, name: &str) -> Option<&'static str> {
        self.sizes.iter().map(|(known, _)| *known).find(|known| *known == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.sizes.iter().map(|(name, _)| *name)
    }

    /// Returns used and all places of `memory`.
    pub(super) fn fill(&self, memory: &str) -> (usize, usize) {
        let (mut used, mut all) = (0, 0);
        for slot in self.places(memory) {
            all += 1;
            used += usize::from(slot.is_some());
        }
        (used, all)
    }

    fn places<'a>(&'a self, memory: &'a str) -> impl Iterator<Item = &'a Option<Stored>> {
        let chosen = self.slots.iter().filter(move |(name, _)| memory == "MT" || *name == memory);
        chosen.flat_map(|(_, slots)| slots)
    }

    fn places_mut(&mut self, memory: &'static str) -> impl Iterator<Item = &mut Option<Stored>> {
        let chosen =
            self.slots.iter_mut().filter(move |(name, _)| memory == "MT" || *name == memory);
        chosen.flat_map(|(_, slots)| slots)
    }

    /// Returns what is stored, with its place from 1 on.
    pub(super) fn list<'a>(&'a self, memory: &'a str) -> impl Iterator<Item = (usize, &'a Stored)> {
        self.places(memory).enumerate().filter_map(|(at, slot)| Some((at + 1, slot.as_ref()?)))
    }

    /// Returns whether `memory` has such a place, and the message in it.
    pub(super) fn place(
        &mut self,
        memory: &'static str,
        index: usize,
    ) -> Option<&mut Option<Stored>> {
        self.places_mut(memory).nth(index.checked_sub(1)?)
    }

    /// Stores a message in the first free place; returns its number, or `None` when all are taken.
    pub(super) fn store(&mut self, memory: &'static str, stored: Stored) -> Option<usize> {
        let (at, slot) = self.places_mut(memory).enumerate().find(|(_, slot)| slot.is_none())?;
        *slot = Some(stored);
        Some(at + 1)
    }

    /// Deletes the messages that `doomed` points at.
    pub(super) fn clear(&mut self, memory: &'static str, doomed: impl Fn(Mark) -> bool) {
        for slot in self.places_mut(memory) {
            if slot.as_ref().is_some_and(|stored| doomed(stored.mark)) {
                *slot = None;
            }
        }
    }
}
