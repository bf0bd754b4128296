//! Flash memory, as a node needs it; and one of plain memory, for tests and simulation.

/// A word of flash cannot be read, written or erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlashFault;

/// Bytes of one word: what is written at once, on a border of its own size.
pub const WORD: usize = 4;

/// Flash memory in pages. Erased bytes are `0xFF`; what is written stays until its page is erased.
///
/// One word of a report is written a second time, all zero: the flash must bear two writes of a word between erasures
/// (nRF52840 product specification, NVMC, `nWRITE`).
pub trait Flash {
    /// Returns the bytes of a page: a multiple of [`WORD`].
    fn page_bytes(&self) -> usize;

    /// Returns how many pages there are: three or more.
    fn pages(&self) -> usize;

    /// Reads from an offset, in bytes.
    ///
    /// # Errors
    ///
    /// Where there is no flash, or it does not answer.
    fn read(&mut self, offset: usize, into: &mut [u8]) -> Result<(), FlashFault>;

    /// Writes whole words at an offset, in bytes.
    ///
    /// # Errors
    ///
    /// Where there is no flash, or it refuses; then any part of it may have been written.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), FlashFault>;

    /// Erases a page.
    ///
    /// # Errors
    ///
    /// Where there is no such page, or it refuses; then any part of it may have been erased.
    fn erase(&mut self, page: usize) -> Result<(), FlashFault>;
}

/// Flash that is an array, and that can lose its supply in the middle of a word.
#[derive(Clone, Debug)]
pub struct MemoryFlash<const PAGES: usize, const PAGE_BYTES: usize> {
    bytes: [[u8; PAGE_BYTES]; PAGES],
    /// Words that are still written before the supply fails.
    words_left: Option<u32>,
    /// How often each page was erased.
    pub erased: [u32; PAGES],
}

impl<const PAGES: usize, const PAGE_BYTES: usize> Default for MemoryFlash<PAGES, PAGE_BYTES> {
    fn default() -> Self {
        Self { bytes: [[0xFF; PAGE_BYTES]; PAGES], words_left: None, erased: [0; PAGES] }
    }
}

impl<const PAGES: usize, const PAGE_BYTES: usize> MemoryFlash<PAGES, PAGE_BYTES> {
    /// Lets the supply fail after so many more words (an erasure counts as one): from then on nothing is written.
    pub fn fail_after(&mut self, words: Option<u32>) {
        self.words_left = words;
    }

    /// Takes a word from what is left; the first one that is refused may be half written.
    fn spend(&mut self) -> Spent {
        match &mut self.words_left {
            None => Spent::Whole,
            Some(0) => Spent::Nothing,
            Some(left) => {
                *left -= 1;
                if *left == 0 { Spent::Half } else { Spent::Whole }
            }
        }
    }
}

/// How much of one word reaches the flash.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spent {
    Whole,
    Half,
    Nothing,
}

impl<const PAGES: usize, const PAGE_BYTES: usize> Flash for MemoryFlash<PAGES, PAGE_BYTES> {
    fn page_bytes(&self) -> usize {
        PAGE_BYTES
    }

    fn pages(&self) -> usize {
        PAGES
    }

    fn read(&mut self, offset: usize, into: &mut [u8]) -> Result<(), FlashFault> {
        let page = self.bytes.get(offset / PAGE_BYTES).ok_or(FlashFault)?;
        let from = offset % PAGE_BYTES;
        into.copy_from_slice(page.get(from..from + into.len()).ok_or(FlashFault)?);
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), FlashFault> {
        if !offset.is_multiple_of(WORD) || !bytes.len().is_multiple_of(WORD) {
            return Err(FlashFault);
        }
        for (index, word) in bytes.chunks(WORD).enumerate() {
            let spent = self.spend();
            let count = match spent {
                Spent::Whole => WORD,
                Spent::Half => WORD / 2,
                Spent::Nothing => 0,
            };
            let from = (offset + index * WORD) % PAGE_BYTES;
            let page = self.bytes.get_mut(offset / PAGE_BYTES).ok_or(FlashFault)?;
            let old = page.get_mut(from..from + WORD).ok_or(FlashFault)?;
            // Flash only clears bits.
            for (byte, new) in old.iter_mut().zip(word).take(count) {
                *byte &= new;
            }
            if spent != Spent::Whole {
                return Err(FlashFault);
            }
        }
        Ok(())
    }

    fn erase(&mut self, page: usize) -> Result<(), FlashFault> {
        let spent = self.spend();
        let bytes = self.bytes.get_mut(page).ok_or(FlashFault)?;
        match spent {
            Spent::Whole => {
                bytes.fill(0xFF);
                if let Some(count) = self.erased.get_mut(page) {
                    *count += 1;
                }
                Ok(())
            }
            Spent::Half => {
                bytes.iter_mut().skip(PAGE_BYTES / 2).for_each(|byte| *byte = 0xFF);
                Err(FlashFault)
            }
            Spent::Nothing => Err(FlashFault),
        }
    }
}
