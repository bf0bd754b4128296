//! What a gateway tells its hub.

use super::bytes::{Reader, Unreadable, Writer};
use super::packet::{Item, frame, only};
use super::{Book, DecodeError, EncodeError, Latest, Other, Repair, ShortAlert, latest};
use crate::domain::time::{ClockQuality, Timestamp, WallClock};
use crate::domain::warning::WarningId;
use crate::wire::batch::{Link, Sealed};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Bytes of the program's version in [`Health`].
pub const VERSION_BYTES_MAX: usize = 32;

// Kinds of items: docs/formats/uplink.md. None may ever change.
const HEALTH: u64 = 1;
const BOOT: u64 = 2;
const BOOK: u64 = 3;
const ALERT: u64 = 4;
const ALERT_IN_WORDS: u64 = 5;
const OUTCOME: u64 = 6;
const ENDED: u64 = 7;
const LATEST: u64 = 8;
const BLOCK: u64 = 9;
const GONE: u64 = 10;
const REPAIR: u64 = 11;

/// An item from a gateway to its hub. Each may come twice, and in any order.
#[derive(Clone, Debug, PartialEq)]
pub enum Up {
    /// How the gateway is: the newest counts.
    Health(Health),
    /// Where a run of the gateway lies on the calendar: a later word about a run corrects an earlier one.
    Boot(Boot),
    /// What alerts need to be expanded.
    Book(Book),
    /// An alert.
    Alert(ShortAlert),
    /// What has become of an alert's deliveries so far.
    Outcome(Outcome),
    /// A warning has ended.
    Ended(Ended),
    /// Newest readings, where the blocks that hold them are not sent yet.
    Latest(Vec<Latest>),
    /// A sealed block of readings.
    Block(Block),
    /// Blocks that will never come.
    Gone(Gone),
    /// Pieces of the hub's packet that have not come by text message.
    Repair(Repair),
    /// What this version cannot read.
    Other(Other),
}

/// How a gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// When this was said, in Unix milliseconds by the gateway's clock; none where that is unset.
    pub sent_unix_ms: Option<i64>,
    /// How far that clock can be believed.
    pub clock: ClockQuality,
    /// How long the gateway has been running.
    pub uptime_s: u64,
    /// The program's version, at most [`VERSION_BYTES_MAX`] bytes.
    pub version: String,
    /// Nodes that are not silent.
    pub nodes_heard: u32,
    /// Nodes of the configuration.
    pub nodes_declared: u32,
    /// Warnings that have not ended.
    pub open_warnings: u32,
    /// Blocks that wait to be sent.
    pub backlog_blocks: u64,
    /// Their bytes.
    pub backlog_bytes: u64,
    /// When the oldest reading in them was judged, in Unix milliseconds.
    pub backlog_oldest_unix_ms: Option<i64>,
    /// Bytes of the link's budget that are used.
    pub budget_used_bytes: u64,
    /// Bytes of the link's budget that are left; none where it has no bound.
    pub budget_left_bytes: Option<u64>,
    /// Text messages that wait.
    pub outbox_waiting: u32,
    /// Free bytes on the disk.
    pub disk_free_bytes: Option<u64>,
    /// What is wrong.
    pub faults: Faults,
}

/// What is wrong with a gateway: one bit each, unknown ones are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub u16);

impl Faults {
    /// The database was damaged, and another was begun.
    pub const DATABASE_DAMAGED: Self = Self(1);
    /// The database cannot be written: warnings go on from memory.
    pub const DATABASE_UNWRITABLE: Self = Self(1 << 1);
    /// The disk is full, or nearly so.
    pub const DISK_FULL: Self = Self(1 << 2);
    /// A modem does not answer or has no network.
    pub const MODEM_DOWN: Self = Self(1 << 3);
    /// A provider of text messages does not take any.
    pub const PROVIDER_DOWN: Self = Self(1 << 4);
    /// Nothing has set the clock.
    pub const CLOCK_UNSET: Self = Self(1 << 5);
    /// A radio or another source of readings does not work.
    pub const SOURCE_DOWN: Self = Self(1 << 6);
    /// The link's budget is spent.
    pub const BUDGET_SPENT: Self = Self(1 << 7);
    /// The configuration on disk has faults and is not in force.
    pub const CONFIGURATION_REFUSED: Self = Self(1 << 8);

    /// Returns these faults and `others`.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns whether all of `others` are among these.
    #[must_use]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// A run of the gateway, and where it lies on the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The number of the run: counts up.
    pub boot: u64,
    /// When it began, on the time line. It holds up to the next run's.
    pub at: Timestamp,
    /// Where the time line stood on the calendar, as is known now. What blocks say is what was believed when they were
    /// sealed.
    pub clock: WallClock,
}

/// What has become of an alert's deliveries so far: figures, never whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which warning.
    pub warning: WarningId,
    /// Which of its alerts.
    pub alert: u32,
    /// Whom it was for.
    pub recipients: u32,
    /// Arrived.
    pub delivered: u32,
    /// Taken by the network, which said no more.
    pub accepted: u32,
    /// Did not arrive.
    pub failed: u32,
    /// Not sent before it expired.
    pub expired: u32,
    /// Still on their way.
    pub waiting: u32,
    /// Recipients who said that they have read it.
    pub acknowledged: u32,
}

/// The end of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub warning: WarningId,
    /// When, on the time line.
    pub at: Timestamp,
    /// How.
    pub ending: Ending,
}

/// How a warning ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// No level holds any more.
    Cleared,
    /// Its rule is gone from the configuration.
    Withdrawn,
    /// Nothing was heard that could renew or clear it.
    Expired,
}

impl Ending {
    /// Every ending, in the order of its number.
    const ALL: [Self; 3] = [Self::Cleared, Self::Withdrawn, Self::Expired];

    /// Returns the word used in the database, in JSON and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cleared => "cleared",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }
}

/// A sealed block, and its place among those of its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The chain: a random number that is drawn when a database is made or restored.
    pub chain: u32,
    /// Counts the chain's blocks from 1.
    pub number: u64,
    /// The first bytes of the link of the block before.
    pub previous: [u8; 8],
    /// The block.
    pub bytes: Vec<u8>,
}

/// The identity of a block: its place and its bytes.
///
/// Bytes alone are none: two days without rain, after some others, can have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub [u8; 16]);

/// Blocks that were removed before they could be sent: nobody needs to wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The chain.
    pub chain: u32,
    /// The first block's number.
    pub first: u64,
    /// The last block's, which is not below the first's.
    pub last: u64,
}

impl Block {
    /// Returns a block at its place.
    #[must_use]
    pub fn new(chain: u32, number: u64, sealed: &Sealed) -> Self {
        let previous = link_begins(&sealed.previous);
        Self { chain, number, previous, bytes: sealed.bytes.clone() }
    }

    /// Returns its identity: the first 16 bytes of SHA-256 of `kengele block id`, a zero byte, chain, number, previous
    /// and bytes.
    #[must_use]
    pub fn id(&self) -> BlockId {
        let mut hash = Sha256::new();
        hash.update(b"kengele block id\0");
        hash.update(self.chain.to_be_bytes());
        hash.update(self.number.to_be_bytes());
        hash.update(self.previous);
        hash.update(&self.bytes);
        let whole: [u8; 32] = hash.finalize().into();
        BlockId(whole.first_chunk().copied().unwrap_or_default())
    }

    /// Returns whether `link` can be that of the block before.
    #[must_use]
    pub fn follows(&self, link: &Link) -> bool {
        link_begins(link) == self.previous
    }
}

fn link_begins(link: &Link) -> [u8; 8] {
    link.0.first_chunk().copied().unwrap_or_default()
}

impl fmt::Display for BlockId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Up {
    /// Returns the item as it stands in a packet: for stores, and for knowing its size.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Text`] and [`EncodeError::Time`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let mut to = Writer::default();
        frame(self, &mut to)?;
        Ok(to.finish())
    }

    /// Reads what [`Up::to_bytes`] returned.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] for bytes that are not one item, [`DecodeError::TooLong`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        only(bytes)
    }
}

impl Item for Up {
    const DIRECTION: u8 = 0;

    fn kind(&self) -> u64 {
        match self {
            Self::Health(_) => HEALTH,
            Self::Boot(_) => BOOT,
            Self::Book(_) => BOOK,
            Self::Alert(alert) if alert.is_in_words() => ALERT_IN_WORDS,
            Self::Alert(_) => ALERT,
            Self::Outcome(_) => OUTCOME,
            Self::Ended(_) => ENDED,
            Self::Latest(_) => LATEST,
            Self::Block(_) => BLOCK,
            Self::Gone(_) => GONE,
            Self::Repair(_) => REPAIR,
            Self::Other(other) => other.kind,
        }
    }

    fn write(&self, body: &mut Writer) -> Result<(), EncodeError> {
        match self {
            Self::Health(health) => return health.write(body),
            Self::Boot(boot) => boot.write(body),
            Self::Book(book) => body.bytes(book.as_bytes()),
            Self::Alert(alert) => return alert.write(body),
            Self::Outcome(outcome) => outcome.write(body),
            Self::Ended(ended) => ended.write(body),
            Self::Latest(readings) => return latest::write(readings, body),
            Self::Block(block) => block.write(body),
            Self::Gone(gone) => gone.write(body),
            Self::Repair(repair) => repair.write(body),
            Self::Other(other) => body.bytes(&other.bytes),
        }
        Ok(())
    }

    fn read(kind: u64, mut body: Reader<'_>) -> Result<Option<Self>, Unreadable> {
        let from = &mut body;
        Ok(Some(match kind {
            HEALTH => Self::Health(Health::read(from)?),
            BOOT => Self::Boot(Boot::read(from)?),
            BOOK => Self::Book(Book::from_bytes(body.rest()).ok_or(Unreadable)?),
            ALERT => Self::Alert(ShortAlert::read(from)?),
            ALERT_IN_WORDS => Self::Alert(ShortAlert::read_in_words(from)?),
            OUTCOME => Self::Outcome(Outcome::read(from)?),
            ENDED => Self::Ended(Ended::read(from)?),
            LATEST => Self::Latest(latest::read(from)?),
            BLOCK => Self::Block(Block::read(from)?),
            GONE => Self::Gone(Gone::read(from)?),
            REPAIR => Self::Repair(Repair::read(from)?),
            _ => return Ok(None),
        }))
    }

    fn other(kind: u64, bytes: Vec<u8>) -> Self {
        Self::Other(Other { kind, bytes })
    }
}

/// Bits of [`Health`] that say which of its figures are there.
const HAS_SENT: u8 = 1;
const HAS_OLDEST: u8 = 1 << 1;
const HAS_LEFT: u8 = 1 << 2;
const HAS_FREE: u8 = 1 << 3;

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

impl Health {
    fn write(&self, to: &mut Writer) -> Result<(), EncodeError> {
        to.byte(
            flag(self.sent_unix_ms.is_some(), HAS_SENT)
                | flag(self.backlog_oldest_unix_ms.is_some(), HAS_OLDEST)
                | flag(self.budget_left_bytes.is_some(), HAS_LEFT)
                | flag(self.disk_free_bytes.is_some(), HAS_FREE),
        );
        to.byte(self.clock as u8);
        to.number(self.faults.0.into());
        to.number(self.uptime_s);
        to.number(self.nodes_heard.into());
        to.number(self.nodes_declared.into());
        to.number(self.open_warnings.into());
        to.number(self.backlog_blocks);
        to.number(self.backlog_bytes);
        to.number(self.budget_used_bytes);
        to.number(self.outbox_waiting.into());
        to.text(&self.version, VERSION_BYTES_MAX)?;
        for unix_ms in [self.sent_unix_ms, self.backlog_oldest_unix_ms].into_iter().flatten() {
            to.signed(unix_ms);
        }
        for bytes in [self.budget_left_bytes, self.disk_free_bytes].into_iter().flatten() {
            to.number(bytes);
        }
        Ok(())
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let has = from.byte()?;
        let mut health = Self {
            clock: quality(from.byte()?)?,
            faults: Faults(from.small()?),
            uptime_s: from.number()?,
            nodes_heard: from.small()?,
            nodes_declared: from.small()?,
            open_warnings: from.small()?,
            backlog_blocks: from.number()?,
            backlog_bytes: from.number()?,
            budget_used_bytes: from.number()?,
            outbox_waiting: from.small()?,
            version: from.text(VERSION_BYTES_MAX)?.to_owned(),
            sent_unix_ms: None,
            backlog_oldest_unix_ms: None,
            budget_left_bytes: None,
            disk_free_bytes: None,
        };
        let mut signed = |bit| if has & bit == 0 { Ok(None) } else { from.signed().map(Some) };
        health.sent_unix_ms = signed(HAS_SENT)?;
        health.backlog_oldest_unix_ms = signed(HAS_OLDEST)?;
        let mut number = |bit| if has & bit == 0 { Ok(None) } else { from.number().map(Some) };
        health.budget_left_bytes = number(HAS_LEFT)?;
        health.disk_free_bytes = number(HAS_FREE)?;
        Ok(health)
    }
}

fn quality(number: u8) -> Result<ClockQuality, Unreadable> {
    let all = [ClockQuality::Unset, ClockQuality::Estimated, ClockQuality::Synchronised];
    all.get(usize::from(number)).copied().ok_or(Unreadable)
}

impl Boot {
    fn write(&self, to: &mut Writer) {
        to.number(self.boot);
        to.signed(self.at.as_millis());
        to.signed(self.clock.offset_ms);
        to.byte(self.clock.quality as u8);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            boot: from.number()?,
            at: Timestamp::from_millis(from.signed()?),
            clock: WallClock { offset_ms: from.signed()?, quality: quality(from.byte()?)? },
        })
    }
}

impl Outcome {
    fn write(&self, to: &mut Writer) {
        to.number(self.warning.0);
        for figure in [
            self.alert,
            self.recipients,
            self.delivered,
            self.accepted,
            self.failed,
            self.expired,
            self.waiting,
            self.acknowledged,
        ] {
            to.number(figure.into());
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            warning: WarningId(from.number()?),
            alert: from.small()?,
            recipients: from.small()?,
            delivered: from.small()?,
            accepted: from.small()?,
            failed: from.small()?,
            expired: from.small()?,
            waiting: from.small()?,
            acknowledged: from.small()?,
        })
    }
}

impl Ended {
    fn write(&self, to: &mut Writer) {
        to.number(self.warning.0);
        to.signed(self.at.as_millis());
        to.byte(self.ending as u8);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            warning: WarningId(from.number()?),
            at: Timestamp::from_millis(from.signed()?),
            ending: *Ending::ALL.get(usize::from(from.byte()?)).ok_or(Unreadable)?,
        })
    }
}

impl Block {
    fn write(&self, to: &mut Writer) {
        to.bytes(&self.chain.to_be_bytes());
        to.number(self.number);
        to.bytes(&self.previous);
        to.bytes(&self.bytes);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            chain: u32::from_be_bytes(from.array()?),
            number: from.number()?,
            previous: from.array()?,
            bytes: from.rest().to_vec(),
        })
    }
}

impl Gone {
    fn write(&self, to: &mut Writer) {
        to.bytes(&self.chain.to_be_bytes());
        to.number(self.first);
        to.number(self.last.saturating_sub(self.first));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let (chain, first) = (u32::from_be_bytes(from.array()?), from.number()?);
        let last = first.checked_add(from.number()?).ok_or(Unreadable)?;
        Ok(Self { chain, first, last })
    }
}
