//! Room that is held beside the database: on a full disk it is given up, so that what comes next can be stored.

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes that are held: room for some 100,000 readings at 66 bytes each (`docs/performance.md`), and for every text of a
/// long list.
pub const RESERVE_BYTES: u64 = 8 << 20;
/// It is made only where so many bytes are free: what it takes is not to fill the disk.
const FREE_BYTES_MIN: u64 = 4 * RESERVE_BYTES;
/// How often it is looked whether there is room for it again.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Bytes that are written at once where the file system cannot set room aside.
static PIECE: [u8; 64 << 10] = [0; 64 << 10];

/// How it stands with the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveState {
    /// The room is held.
    Held,
    /// The disk was full, and the room was given up for what came then.
    GivenUp,
    /// There was never room for it, or the file system refuses it.
    Missing,
}

/// How it stands with the reserve, for whoever shows it.
#[derive(Clone, Debug)]
pub struct ReserveView(Arc<AtomicU8>);

/// The file that holds the room.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
    state: ReserveState,
    view: ReserveView,
    looked: Option<Instant>,
}

impl ReserveState {
    const ALL: [Self; 3] = [Self::Held, Self::GivenUp, Self::Missing];

    /// Returns the word used in JSON and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::GivenUp => "given up",
            Self::Missing => "missing",
        }
    }
}

impl ReserveView {
    /// Returns how it stands.
    #[must_use]
    pub fn state(&self) -> ReserveState {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        ReserveState::ALL.get(number).copied().unwrap_or(ReserveState::Missing)
    }
}

impl Reserve {
    /// Takes up the reserve of the database at `path`, making it where there is room.
    #[must_use]
    pub fn beside(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(".reserve");
        let view = ReserveView(Arc::new(AtomicU8::new(0)));
        let (path, state) = (PathBuf::from(name), ReserveState::Missing);
        let mut reserve = Self { path, bytes: RESERVE_BYTES, state, view, looked: None };
        reserve.look();
        reserve
    }

    /// Returns what shows how it stands.
    #[must_use]
    pub fn view(&self) -> ReserveView {
        self.view.clone()
    }

    fn set(&mut self, state: ReserveState) {
        self.state = state;
        let number = ReserveState::ALL.iter().position(|known| *known == state);
        self.view
            .0
            .store(number.and_then(|n| u8::try_from(n).ok()).unwrap_or(2), Ordering::Relaxed);
    }

    /// Gives the room up, because a write found the disk full. Returns whether there is more room now.
    pub(super) fn give_up(&mut self) -> bool {
        if self.state != ReserveState::Held {
            return false;
        }
        self.looked = Some(Instant::now());
        self.set(ReserveState::GivenUp);
        match fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::error!(
                    bytes = self.bytes,
                    "the disk is full: the reserve is given up for what comes now; make room before that is full, too"
                );
                true
            }
            Err(error) => {
                tracing::error!(error = %error, "the disk is full, and the reserve cannot be given up");
                false
            }
        }
    }

    /// Makes the reserve where it is missing and there is room; looks no more often than once a minute.
    pub(super) fn look_again(&mut self) {
        let is_due = self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if self.state != ReserveState::Held && is_due {
            self.look();
        }
    }

    fn look(&mut self) {
        self.looked = Some(Instant::now());
        let before = self.state;
        match self.hold() {
            Ok(true) => {
                self.set(ReserveState::Held);
                if before == ReserveState::GivenUp {
                    tracing::info!(bytes = self.bytes, "there is room again: the reserve is held");
                }
            }
            Ok(false) => self.set(before),
            Err(error) => {
                tracing::warn!(error = %error, "no reserve for a full disk can be held");
                self.set(before);
            }
        }
    }

    /// Returns whether the room is held now.
    fn hold(&self) -> io::Result<bool> {
        if fs::metadata(&self.path).is_ok_and(|known| known.len() == self.bytes) {
            return Ok(true);
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        if free_bytes(folder)? < FREE_BYTES_MIN {
            return Ok(false);
        }
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o600);
        let file = options.open(&self.path)?;
        let filled = fill(file, self.bytes);
        if filled.is_err() {
            // What holds less than it should is not taken for the reserve at the next look.
            fs::remove_file(&self.path)?;
        }
        filled.map(|()| true)
    }
}

/// Returns how many bytes an ordinary user may still write to the file system of `folder`.
///
/// # Errors
///
/// When the file system does not say.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let room = statvfs(folder)?;
    Ok(room.blocks_available().saturating_mul(room.fragment_size()))
}

fn fill(mut file: File, bytes: u64) -> io::Result<()> {
    let length = i64::try_from(bytes).unwrap_or(i64::MAX);
    match fallocate(&file, FallocateFlags::empty(), 0, length) {
        Ok(()) => {}
        Err(Errno::EOPNOTSUPP) => {
            let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
            while let Some(piece) = PIECE.get(..left.min(PIECE.len())).filter(|p| !p.is_empty()) {
                file.write_all(piece)?;
                left -= piece.len();
            }
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn room_is_held_until_the_disk_is_full_and_only_once() {
        let folder = TempDir::new().unwrap();
        let database = folder.path().join("kengele.db");
        let mut reserve = Reserve::beside(&database);
        let view = reserve.view();
        let file = folder.path().join("kengele.db.reserve");
        assert_eq!(view.state(), ReserveState::Held);
        assert_eq!(fs::metadata(&file).unwrap().len(), RESERVE_BYTES);
        assert!(reserve.give_up() && !file.exists());
        assert!(!reserve.give_up(), "there is nothing left to give up");
        assert_eq!(view.state(), ReserveState::GivenUp);
        reserve.look_again();
        assert_eq!(view.state(), ReserveState::GivenUp, "it was looked a moment ago");
        reserve.looked = None;
        reserve.look_again();
        assert_eq!(view.state(), ReserveState::Held);
        assert_eq!(fs::metadata(&file).unwrap().len(), RESERVE_BYTES);
    }

    #[test]
    fn a_reserve_that_is_not_whole_is_made_anew() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("kengele.db.reserve");
        fs::write(&file, "cut off").unwrap();
        let reserve = Reserve::beside(&folder.path().join("kengele.db"));
        assert_eq!(reserve.view().state(), ReserveState::Held);
        assert_eq!(fs::metadata(&file).unwrap().len(), RESERVE_BYTES);
    }
}
