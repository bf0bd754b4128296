//! The node's journal in the last pages of the chip's flash, and the page in which it finds its provisioning code.

use embassy_nrf::nvmc::Nvmc;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use kengele_field_node::app::App;
use kengele_field_node::flash::{Flash, FlashFault};
use kengele_field_node::sealed::{CODE_LETTERS, Provisioning};

const PAGE_BYTES: usize = 4096;
/// Pages of the journal.
const PAGES: usize = 16;
/// Where it begins: behind the program (`build.rs`).
const BEGIN: usize = 0x000E_F000;
/// The last page: a provisioning code is written here, by a debug probe.
const CODE_AT: usize = BEGIN + PAGES * PAGE_BYTES;

/// The journal's pages.
pub(crate) struct BoardFlash {
    chip: Nvmc<'static>,
}

impl BoardFlash {
    pub(crate) fn new(chip: Nvmc<'static>) -> Self {
        Self { chip }
    }

    /// Takes the provisioning code that stands in its page, if one does: once, then the page is erased.
    pub(crate) fn provisioned(mut self) -> Self {
        let mut letters = [0; CODE_LETTERS];
        if self.chip.read(at(CODE_AT), &mut letters).is_err() {
            return self;
        }
        let code = core::str::from_utf8(&letters).ok();
        let Some(Ok(provisioning)) = code.map(Provisioning::from_code) else { return self };
        let Ok(mut flash) = App::provision(self, &provisioning) else {
            cortex_m::peripheral::SCB::sys_reset()
        };
        // If that fails, the next start takes the same code again: the gateway sees a node that begins anew.
        let page = at(CODE_AT);
        let _erased = flash.chip.erase(page, page + at(PAGE_BYTES)).is_ok();
        flash
    }
}

fn at(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

fn inside(offset: usize, bytes: usize) -> Result<u32, FlashFault> {
    let end = offset.checked_add(bytes).ok_or(FlashFault)?;
    if end > PAGES * PAGE_BYTES { Err(FlashFault) } else { Ok(at(BEGIN + offset)) }
}

impl Flash for BoardFlash {
    fn page_bytes(&self) -> usize {
        PAGE_BYTES
    }

    fn pages(&self) -> usize {
        PAGES
    }

    fn read(&mut self, offset: usize, into: &mut [u8]) -> Result<(), FlashFault> {
        let from = inside(offset, into.len())?;
        self.chip.read(from, into).map_err(|_| FlashFault)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), FlashFault> {
        let from = inside(offset, bytes.len())?;
        self.chip.write(from, bytes).map_err(|_| FlashFault)
    }

    fn erase(&mut self, page: usize) -> Result<(), FlashFault> {
        let from = inside(page * PAGE_BYTES, PAGE_BYTES)?;
        self.chip.erase(from, from + at(PAGE_BYTES)).map_err(|_| FlashFault)
    }
}
