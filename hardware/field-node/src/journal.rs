//! What a node remembers: a journal in flash, written in a ring of pages.
//!
//! It holds two *notes* (the link's record and the settings: opaque, the newest of each counts) and the *reports* that
//! nobody has acknowledged. A record is written once and whole, or its checksum gives it away; a
//! supply that fails at any word costs that record and no other. One page, behind the one that is written, is always
//! erased. When it is begun, the oldest page is given up, and the reports in it that were still waiting are counted as
//! dropped in the same step.
//!
//! ```text
//! page    sequence u32 · its complement u32 · record …
//! record  kind u8 · body bytes u8 · CRC-16 u16 · body, filled up to whole words
//! report  … its body begins with a word that is erased while it waits, and zero when it is settled
//! ```

use crate::crc::crc16;
use crate::flash::{Flash, FlashFault, WORD};
use core::fmt;

/// Longest note, bytes.
pub const NOTE_MAX: usize = 96;
/// Longest report, bytes.
pub const REPORT_MAX: usize = 64;

const PAGE_HEAD: usize = 8;
const RECORD_HEAD: usize = 4;
const BODY_MAX: usize = NOTE_MAX;

/// Where a report lies; it stays true until the report's page is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    sequence: u32,
    offset: u16,
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Keys and counters.
    Link,
    /// What the node was told to do, and how often.
    Settings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Link,
    Settings,
    Dropped,
    Report,
}

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Link => 1,
            Self::Settings => 2,
            Self::Dropped => 3,
            Self::Report => 4,
        }
    }

    fn of(number: u8) -> Option<Self> {
        [Self::Link, Self::Settings, Self::Dropped, Self::Report]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

/// One record as it was read.
struct Record {
    kind: Kind,
    body: [u8; BODY_MAX],
    length: usize,
    /// Where the next one begins.
    next: usize,
}

impl Record {
    fn body(&self) -> &[u8] {
        self.body.get(..self.length).unwrap_or_default()
    }

    fn number(&self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.body().first_chunk()?))
    }

    /// Returns whether it is a report that waits.
    fn waits(&self) -> bool {
        self.kind == Kind::Report && self.body().starts_with(&[0xFF; WORD])
    }
}

/// A note in memory.
#[derive(Clone, Copy)]
struct Kept {
    bytes: [u8; NOTE_MAX],
    length: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self { bytes: [0; NOTE_MAX], length: 0 }
    }
}

impl Kept {
    fn of(note: &[u8]) -> Self {
        let mut kept = Self::default();
        if let Some(bytes) = kept.bytes.get_mut(..note.len()) {
            bytes.copy_from_slice(note);
            kept.length = note.len();
        }
        kept
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl From<Note> for Kind {
    fn from(note: Note) -> Self {
        match note {
            Note::Link => Self::Link,
            Note::Settings => Self::Settings,
        }
    }
}

/// The journal. Its `Debug` shows no note: there are keys in it.
pub struct Journal<F> {
    flash: F,
    /// The page that is written, and its sequence number.
    page: usize,
    sequence: u32,
    /// Where its next record goes.
    end: usize,
    link: Kept,
    settings: Kept,
    dropped: u32,
    waiting: u32,
    /// Whether the page behind the one that is written is erased.
    ready: bool,
    /// No report waits before this place.
    oldest: Place,
}

impl<F: Flash> Journal<F> {
    /// Opens the journal, or begins one where there is none.
    ///
    /// # Errors
    ///
    /// If the flash fails.
    pub fn open(flash: F) -> Result<Self, FlashFault> {
        let mut journal = Self {
            flash,
            page: 0,
            sequence: 0,
            end: 0,
            link: Kept::default(),
            settings: Kept::default(),
            dropped: 0,
            waiting: 0,
            ready: false,
            oldest: Place { sequence: 0, offset: 0 },
        };
        let mut newest = None;
        for page in 0..journal.flash.pages() {
            if let Some(sequence) = journal.sequence_of(page)?
                && newest.is_none_or(|(_, highest)| sequence > highest)
            {
                newest = Some((page, sequence));
            }
        }
        if let Some((page, sequence)) = newest {
            (journal.page, journal.sequence) = (page, sequence);
            journal.read_page()?;
        } else {
            journal.flash.erase(0)?;
            journal.write_page(0, 1, 0)?;
            (journal.page, journal.sequence) = (0, 1);
        }
        journal.ready = journal.is_erased(journal.page_behind(1))?;
        journal.count_waiting()?;
        Ok(journal)
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// Returns the flash, for what a test or simulation does to it.
    pub fn flash_mut(&mut self) -> &mut F {
        &mut self.flash
    }

    /// Returns the newest note; empty before there was one.
    pub fn note(&self, note: Note) -> &[u8] {
        match note {
            Note::Link => self.link.bytes(),
            Note::Settings => self.settings.bytes(),
        }
    }

    /// Returns how many reports were erased before anybody had acknowledged them.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Returns how many reports wait.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Replaces a note.
    ///
    /// # Errors
    ///
    /// If it is longer than [`NOTE_MAX`], or the flash fails: then the old one holds after a restart, or the new one.
    pub fn put(&mut self, note: Note, bytes: &[u8]) -> Result<(), FlashFault> {
        self.append(note.into(), bytes)?;
        match note {
            Note::Link => self.link = Kept::of(bytes),
            Note::Settings => self.settings = Kept::of(bytes),
        }
        Ok(())
    }

    /// Keeps a report until it is settled.
    ///
    /// # Errors
    ///
    /// If it is longer than [`REPORT_MAX`], or the flash fails: then it is not kept, or it is.
    pub fn push(&mut self, report: &[u8]) -> Result<Place, FlashFault> {
        let mut body = [0xFF; WORD + REPORT_MAX];
        body.get_mut(WORD..WORD + report.len()).ok_or(FlashFault)?.copy_from_slice(report);
        let body = body.get(..WORD + report.len()).ok_or(FlashFault)?;
        let offset = self.append(Kind::Report, body)?;
        self.waiting = self.waiting.saturating_add(1);
        Ok(Place {
            sequence: self.sequence,
            offset: u16::try_from(offset).map_err(|_| FlashFault)?,
        })
    }

    /// Finds the oldest waiting report behind a place, or of all; returns its place and length, and copies it.
    ///
    /// # Errors
    ///
    /// If the flash fails.
    pub fn next(
        &mut self,
        after: Option<Place>,
        into: &mut [u8; REPORT_MAX],
    ) -> Result<Option<(Place, usize)>, FlashFault> {
        if self.waiting == 0 {
            return Ok(None);
        }
        let from = after.map_or(self.oldest, |place| place.max(self.oldest));
        let back = u32::try_from(self.live_pages() - 1).unwrap_or(u32::MAX);
        let first = from.sequence.max(self.sequence.saturating_sub(back)).max(1);
        for sequence in first..=self.sequence {
            let Some(page) = self.page_of(sequence)? else { continue };
            let mut offset = PAGE_HEAD;
            if sequence == from.sequence {
                offset = offset.max(usize::from(from.offset));
            }
            while let Some(record) = self.record(page, offset)? {
                let place = Place { sequence, offset: u16::try_from(offset).unwrap_or(u16::MAX) };
                if record.waits() && after != Some(place) {
                    if after.is_none() {
                        self.oldest = place;
                    }
                    let report = record.body().get(WORD..).unwrap_or_default();
                    into.get_mut(..report.len()).ok_or(FlashFault)?.copy_from_slice(report);
                    return Ok(Some((place, report.len())));
                }
                offset = record.next;
            }
        }
        Ok(None)
    }

    /// Lets go of a report that was acknowledged. One that is gone already is left alone.
    ///
    /// # Errors
    ///
    /// If the flash fails: then it waits still, or no longer.
    pub fn settle(&mut self, place: Place) -> Result<(), FlashFault> {
        let Some(page) = self.page_of(place.sequence)? else { return Ok(()) };
        let offset = usize::from(place.offset);
        let Some(record) = self.record(page, offset)? else { return Ok(()) };
        if record.waits() {
            let base = page * self.flash.page_bytes();
            self.flash.write(base + offset + RECORD_HEAD, &[0; WORD])?;
            self.waiting = self.waiting.saturating_sub(1);
        }
        Ok(())
    }

    fn sequence_of(&mut self, page: usize) -> Result<Option<u32>, FlashFault> {
        let mut head = [0; PAGE_HEAD];
        self.flash.read(page * self.flash.page_bytes(), &mut head)?;
        let (words, _) = head.as_chunks::<4>();
        let [sequence, complement] = words else { return Ok(None) };
        let sequence = u32::from_le_bytes(*sequence);
        Ok((u32::from_le_bytes(*complement) == !sequence).then_some(sequence))
    }

    /// All but the one that is erased.
    fn live_pages(&self) -> usize {
        self.flash.pages().saturating_sub(1).max(1)
    }

    fn page_behind(&self, steps: usize) -> usize {
        (self.page + steps) % self.flash.pages().max(1)
    }

    /// Pages are written in turn, so that a sequence number tells its page.
    fn page_of(&mut self, sequence: u32) -> Result<Option<usize>, FlashFault> {
        let back = usize::try_from(self.sequence.saturating_sub(sequence)).unwrap_or(usize::MAX);
        if sequence > self.sequence || back >= self.live_pages() {
            return Ok(None);
        }
        let page = self.page_behind(self.flash.pages() - back);
        Ok((self.sequence_of(page)? == Some(sequence)).then_some(page))
    }

    fn is_erased(&mut self, page: usize) -> Result<bool, FlashFault> {
        let page_bytes = self.flash.page_bytes();
        let mut word = [0; WORD];
        for offset in (0..page_bytes).step_by(WORD) {
            self.flash.read(page * page_bytes + offset, &mut word)?;
            if word != [0xFF; WORD] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads a record; nothing where none was written whole.
    fn record(&mut self, page: usize, offset: usize) -> Result<Option<Record>, FlashFault> {
        let page_bytes = self.flash.page_bytes();
        if offset + RECORD_HEAD > page_bytes {
            return Ok(None);
        }
        let mut head = [0; RECORD_HEAD];
        self.flash.read(page * page_bytes + offset, &mut head)?;
        let [kind, length, low, high] = head;
        let length = usize::from(length);
        let next = offset + RECORD_HEAD + length.next_multiple_of(WORD);
        let (Some(kind), true) = (Kind::of(kind), length <= BODY_MAX && next <= page_bytes) else {
            return Ok(None);
        };
        let mut body = [0; BODY_MAX];
        let part = body.get_mut(..length).ok_or(FlashFault)?;
        if length > 0 {
            self.flash.read(page * page_bytes + offset + RECORD_HEAD, part)?;
        }
        let found = checksum(kind, part);
        let record = Record { kind, body, length, next };
        Ok((u16::from_le_bytes([low, high]) == found).then_some(record))
    }

    /// Reads the page that is written: what holds, and where the next record goes.
    fn read_page(&mut self) -> Result<(), FlashFault> {
        let mut offset = PAGE_HEAD;
        while let Some(record) = self.record(self.page, offset)? {
            match record.kind {
                Kind::Link => self.link = Kept::of(record.body()),
                Kind::Settings => self.settings = Kept::of(record.body()),
                Kind::Dropped => self.dropped = record.number().unwrap_or(u32::MAX),
                Kind::Report => {}
            }
            offset = record.next;
        }
        let page_bytes = self.flash.page_bytes();
        let mut word = [0; WORD];
        let mut rest = offset;
        // Behind the last whole record everything must be erased; else the supply failed there, and the page is full.
        self.end = loop {
            if rest >= page_bytes {
                break offset;
            }
            self.flash.read(self.page * page_bytes + rest, &mut word)?;
            if word != [0xFF; WORD] {
                break page_bytes;
            }
            rest += WORD;
        };
        Ok(())
    }

    fn count_waiting(&mut self) -> Result<(), FlashFault> {
        self.waiting = 0;
        for back in 0..self.live_pages() {
            let page = self.page_behind(self.flash.pages() - back);
            if self.sequence_of(page)?.is_some() {
                self.waiting = self.waiting.saturating_add(self.waiting_in(page)?);
            }
        }
        Ok(())
    }

    fn waiting_in(&mut self, page: usize) -> Result<u32, FlashFault> {
        let (mut count, mut offset) = (0, PAGE_HEAD);
        while let Some(record) = self.record(page, offset)? {
            count += u32::from(record.waits());
            offset = record.next;
        }
        Ok(count)
    }

    fn append(&mut self, kind: Kind, body: &[u8]) -> Result<usize, FlashFault> {
        if body.len() > BODY_MAX {
            return Err(FlashFault);
        }
        let bytes = RECORD_HEAD + body.len().next_multiple_of(WORD);
        if self.end + bytes > self.flash.page_bytes() {
            self.turn_page()?;
        }
        self.write_record(self.page, kind, body)
    }

    /// Writes a record at the end of a page. What cannot be written whole spoils the rest of the page.
    fn write_record(&mut self, page: usize, kind: Kind, body: &[u8]) -> Result<usize, FlashFault> {
        let mut bytes = [0xFF; RECORD_HEAD + BODY_MAX];
        let [low, high] = checksum(kind, body).to_le_bytes();
        let length = u8::try_from(body.len()).map_err(|_| FlashFault)?;
        let whole = RECORD_HEAD + body.len().next_multiple_of(WORD);
        let (head, rest) = bytes.split_at_mut(RECORD_HEAD);
        head.copy_from_slice(&[kind.number(), length, low, high]);
        rest.get_mut(..body.len()).ok_or(FlashFault)?.copy_from_slice(body);
        let offset = self.end;
        let page_bytes = self.flash.page_bytes();
        self.end = page_bytes;
        let bytes = bytes.get(..whole).ok_or(FlashFault)?;
        self.flash.write(page * page_bytes + offset, bytes)?;
        self.end = offset + whole;
        Ok(offset)
    }

    /// Goes on in the erased page, gives the oldest one up, and erases it.
    fn turn_page(&mut self) -> Result<(), FlashFault> {
        let (next, oldest) = (self.page_behind(1), self.page_behind(2));
        if !self.ready {
            self.flash.erase(next)?;
        }
        self.ready = false;
        let used = self.sequence_of(oldest)?.is_some();
        let lost = if used { self.waiting_in(oldest)? } else { 0 };
        let old_end = self.end;
        let sequence = self.sequence.saturating_add(1);
        if let Err(fault) = self.write_page(next, sequence, self.dropped.saturating_add(lost)) {
            self.end = old_end;
            return Err(fault);
        }
        (self.page, self.sequence) = (next, sequence);
        self.dropped = self.dropped.saturating_add(lost);
        self.waiting = self.waiting.saturating_sub(lost);
        // A page that resists is tried again before it is written.
        self.ready = self.flash.erase(oldest).is_ok();
        Ok(())
    }

    /// Begins an erased page with all that holds; its head is written last, and makes it the newest.
    fn write_page(&mut self, page: usize, sequence: u32, dropped: u32) -> Result<(), FlashFault> {
        let (link, settings) = (self.link, self.settings);
        self.end = PAGE_HEAD;
        self.write_record(page, Kind::Link, link.bytes())?;
        self.write_record(page, Kind::Settings, settings.bytes())?;
        self.write_record(page, Kind::Dropped, &dropped.to_le_bytes())?;
        let mut head = [0; PAGE_HEAD];
        let (number, complement) = head.split_at_mut(4);
        number.copy_from_slice(&sequence.to_le_bytes());
        complement.copy_from_slice(&(!sequence).to_le_bytes());
        self.flash.write(page * self.flash.page_bytes(), &head)
    }
}

impl<F> fmt::Debug for Journal<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("sequence", &self.sequence)
            .field("end", &self.end)
            .field("waiting", &self.waiting)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

/// A report's first word changes when it is settled, so it does not count.
fn checksum(kind: Kind, body: &[u8]) -> u16 {
    let body = if kind == Kind::Report { body.get(WORD..).unwrap_or_default() } else { body };
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    crc16(&[kind.number(), length]) ^ crc16(body)
}
