//! What is remembered of one device, and its form in the store.

use super::DevAddr;
use super::join::{JOIN_NONCE_MAX, NONCES_MAX};
use super::key::Key;

/// The first byte of a stored state.
const FORMAT: u8 = 1;
/// `JoinNonce`s that are passed over when the gateway's memory has gone back: as many as a device has `DevNonce`s, each of
/// which takes one. There are 2^24.
const JOINS_PASSED: u32 = 1 << 16;

/// Why stored bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Another version of this program wrote them.
    #[error("stored state of a device has format {0}, which this version does not know")]
    Format(u8),
    /// They end too early, or hold what was never written.
    #[error("stored state of a device is damaged")]
    Damaged,
}

/// All that must outlive a restart: sessions, counters, and what was used up.
///
/// It holds session keys; its `Debug` does not show them. The default is that of a device that was never heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The session of which a frame was heard last, or that of the operator's keys.
    pub(super) session: Option<Session>,
    /// A session that was offered in a join accept and of which no frame came yet. The old one stays until one does,
    /// so that a late copy of an old request cannot cut a device off.
    pub(super) offered: Option<Session>,
    /// The last `JoinNonce` that was given; 24 bits, never given twice.
    pub(super) join_nonce: u32,
    /// The `DevNonce`s that were used, oldest first; at most [`NONCES_MAX`].
    pub(super) dev_nonces: Vec<u16>,
    /// Whether a counter was reset by the operator's leave for one time.
    pub(super) reset_used: bool,
}

/// One session: addresses, keys, windows and counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Whether a join began it, and not the operator.
    pub(super) joined: bool,
    pub(super) dev_addr: DevAddr,
    pub(super) nwk_s_key: Key,
    pub(super) app_s_key: Key,
    pub(super) rx1_delay_s: u8,
    pub(super) rx1_offset: u8,
    /// None: the region's default.
    pub(super) rx2_data_rate: Option<u8>,
    pub(super) last: Option<Last>,
    /// The next downlink counter; `u32::MAX` is never used.
    pub(super) down_next: u32,
    /// Whether the last downlink was confirmed.
    pub(super) awaiting_ack: bool,
    /// How often the data rate was asked for.
    pub(super) asked: u8,
    /// Whether it need not be asked for any more.
    pub(super) settled: bool,
}

/// The last uplink that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last {
    pub(super) counter: u32,
    pub(super) mic: [u8; 4],
    /// How often its acknowledgement was sent again.
    pub(super) repeats: u8,
}

impl Session {
    pub(super) const fn begin(dev_addr: DevAddr, nwk_s_key: Key, app_s_key: Key) -> Self {
        Self {
            joined: false,
            dev_addr,
            nwk_s_key,
            app_s_key,
            rx1_delay_s: 1,
            rx1_offset: 0,
            rx2_data_rate: None,
            last: None,
            down_next: 0,
            awaiting_ack: false,
            asked: 0,
            settled: false,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.dev_addr, &self.nwk_s_key, &self.app_s_key)
            == (other.dev_addr, &other.nwk_s_key, &other.app_s_key)
    }

    fn further(&self, other: &Self) -> Self {
        let heard = |session: &Self| session.last.map(|last| last.counter);
        let ahead = if heard(other) > heard(self) { other } else { self };
        Self { down_next: self.down_next.max(other.down_next), ..ahead.clone() }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let flags = [self.joined, self.awaiting_ack, self.settled, self.last.is_some()];
        out.push((0..).zip(flags).map(|(bit, flag)| u8::from(flag) << bit).sum());
        out.extend(self.dev_addr.0.to_le_bytes());
        out.extend(self.nwk_s_key.bytes());
        out.extend(self.app_s_key.bytes());
        let rx2 = self.rx2_data_rate.unwrap_or(u8::MAX);
        out.extend([self.rx1_delay_s, self.rx1_offset, rx2, self.asked]);
        out.extend(self.down_next.to_le_bytes());
        if let Some(last) = self.last {
            out.extend(last.counter.to_le_bytes());
            out.extend(last.mic);
            out.push(last.repeats);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, StateError> {
        let [flags] = reader.take()?;
        let dev_addr = DevAddr(u32::from_le_bytes(reader.take()?));
        let (nwk_s_key, app_s_key) = (Key::new(reader.take()?), Key::new(reader.take()?));
        let [rx1_delay_s, rx1_offset, rx2, asked] = reader.take()?;
        let down_next = u32::from_le_bytes(reader.take()?);
        let last = if flags & 8 != 0 {
            let (counter, mic) = (u32::from_le_bytes(reader.take()?), reader.take()?);
            let [repeats] = reader.take()?;
            Some(Last { counter, mic, repeats })
        } else {
            None
        };
        Ok(Self {
            joined: flags & 1 != 0,
            dev_addr,
            nwk_s_key,
            app_s_key,
            rx1_delay_s,
            rx1_offset,
            rx2_data_rate: (rx2 != u8::MAX).then_some(rx2),
            last,
            down_next,
            awaiting_ack: flags & 2 != 0,
            asked,
            settled: flags & 4 != 0,
        })
    }
}

impl State {
    /// Returns the state after the gateway's memory went back to this one, since which at most `frames` frames left: no
    /// downlink counter and no `JoinNonce` is used again. A session that began since is not known: such a device has to
    /// join again.
    #[must_use]
    pub fn after_rollback(mut self, frames: u32) -> Self {
        for session in [&mut self.session, &mut self.offered].into_iter().flatten() {
            session.down_next = session.down_next.saturating_add(frames);
            // What the device acknowledges next need not be what is remembered.
            session.awaiting_ack = false;
        }
        self.join_nonce = self.join_nonce.saturating_add(JOINS_PASSED).min(JOIN_NONCE_MAX);
        self
    }

    /// Returns of this memory of a device and an older one what is further: the session that a frame was heard of last,
    /// with no counter and no nonce that either has used.
    #[must_use]
    pub fn further(&self, older: &Self) -> Self {
        let mut state = self.clone();
        state.join_nonce = self.join_nonce.max(older.join_nonce);
        state.reset_used |= older.reset_used;
        let known = older.dev_nonces.iter().filter(|nonce| !self.dev_nonces.contains(nonce));
        state.dev_nonces = known.chain(&self.dev_nonces).copied().collect();
        let surplus = state.dev_nonces.len().saturating_sub(NONCES_MAX);
        state.dev_nonces.drain(..surplus);
        state.session = match (&self.session, &older.session) {
            (Some(new), Some(old)) if new.is_same(old) => Some(new.further(old)),
            // A session of which nothing was heard is worth less than one that works.
            (Some(new), Some(old)) if new.last.is_none() => Some(old.clone()),
            (new, old) => new.as_ref().or(old.as_ref()).cloned(),
        };
        state.offered = self.offered.clone().or_else(|| older.offered.clone());
        state
    }

    /// Returns the bytes that [`State::from_bytes`] reads. They hold session keys: they belong where secrets may be.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, u8::from(self.reset_used)];
        out.extend(self.join_nonce.to_le_bytes());
        for session in [&self.session, &self.offered] {
            out.push(u8::from(session.is_some()));
            if let Some(session) = session {
                session.write(&mut out);
            }
        }
        self.dev_nonces.iter().for_each(|nonce| out.extend(nonce.to_le_bytes()));
        out
    }

    /// Returns the state that these bytes hold.
    ///
    /// # Errors
    ///
    /// Says that another version wrote them, or that they are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let mut reader = Reader(bytes);
        let [format] = reader.take()?;
        if format != FORMAT {
            return Err(StateError::Format(format));
        }
        let [reset_used] = reader.take()?;
        let join_nonce = u32::from_le_bytes(reader.take()?);
        let session = reader.session()?;
        let offered = reader.session()?;
        let (nonces, rest) = reader.0.as_chunks::<2>();
        if !rest.is_empty() || nonces.len() > NONCES_MAX {
            return Err(StateError::Damaged);
        }
        let dev_nonces = nonces.iter().map(|nonce| u16::from_le_bytes(*nonce)).collect();
        Ok(Self { session, offered, join_nonce, dev_nonces, reset_used: reset_used != 0 })
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(StateError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn session(&mut self) -> Result<Option<Session>, StateError> {
        match self.take()? {
            [0] => Ok(None),
            [1] => Session::read(self).map(Some),
            [_] => Err(StateError::Damaged),
        }
    }
}
