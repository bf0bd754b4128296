//! How one database takes the place of another: the old one is put aside, whole, and at no moment of a power cut does the
//! gateway begin a fresh one in between, in which nobody is to be told.

use super::backup::{sync_folder, with_tail};
use super::clock::Clocks;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is behind the name of a database that is ready to take its place.
const READY: &str = ".restored";
/// What is behind the names of those that are not ready yet: of a copy, and of what is saved from a damaged one.
pub(super) const UNREADY: [&str; 2] = [".restoring", ".fresh"];

/// Returns the name under which a database waits to take the place of `database`.
pub(super) fn ready(database: &Path) -> PathBuf {
    with_tail(database, READY)
}

/// Renames the database and what belongs to it; `word` says why. Returns its new place.
fn put_aside(database: &Path, word: &str) -> io::Result<PathBuf> {
    let aside = database.with_extension(format!("{word}-{}", Clocks::read().unix_ms));
    for tail in ["", "-wal", "-shm"] {
        let from = with_tail(database, tail);
        if from.exists() {
            fs::rename(&from, with_tail(&aside, tail))?;
        }
    }
    sync_folder(database)?;
    Ok(aside)
}

/// Puts the database that waits into the place of `database`, which is put aside; `word` says why. Returns where that is
/// now, if there was one.
pub(super) fn replace(database: &Path, word: &str) -> io::Result<Option<PathBuf>> {
    let aside = if database.exists() { Some(put_aside(database, word)?) } else { None };
    finish(database)?;
    Ok(aside)
}

/// Finishes, or takes back, a replacement that a power cut interrupted. Returns whether a database has come into its place.
pub(super) fn finish(database: &Path) -> io::Result<bool> {
    for tail in
        UNREADY.iter().flat_map(|of| ["", "-journal", "-wal", "-shm"].map(|t| format!("{of}{t}")))
    {
        match fs::remove_file(with_tail(database, &tail)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let ready = ready(database);
    if !ready.exists() {
        return Ok(false);
    }
    if database.exists() {
        tracing::warn!(
            "a database that was to take this one's place is dropped: it was cut off before it did"
        );
        fs::remove_file(&ready)?;
        return Ok(false);
    }
    // The WAL of the old one would be taken for that of the new one.
    if with_tail(database, "-wal").exists() || with_tail(database, "-shm").exists() {
        put_aside(database, "replaced")?;
    }
    fs::rename(&ready, database)?;
    sync_folder(database)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tempfile::TempDir;

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Power may fail after each of the renames: the next start ends with the new database and nothing of the old one's.
    #[test]
    fn a_replacement_that_is_cut_off_anywhere_is_finished_by_the_next_start() {
        for moved in 0..=3 {
            let folder = TempDir::new().unwrap();
            let database = folder.path().join("kengele.db");
            for tail in ["", "-wal", "-shm"] {
                fs::write(with_tail(&database, tail), "old").unwrap();
            }
            fs::write(ready(&database), "new").unwrap();
            fs::write(with_tail(&database, ".fresh-wal"), "of no use").unwrap();
            let aside = folder.path().join("kengele.replaced-1");
            for tail in ["", "-wal", "-shm"].iter().take(moved) {
                fs::rename(with_tail(&database, tail), with_tail(&aside, tail)).unwrap();
            }
            assert_eq!(finish(&database).unwrap(), moved > 0);
            let stands = fs::read_to_string(&database).unwrap();
            assert_eq!(stands, if moved > 0 { "new" } else { "old" });
            assert!(!ready(&database).exists());
            assert!(!with_tail(&database, ".fresh-wal").exists());
            if moved > 0 {
                assert!(!with_tail(&database, "-wal").exists(), "{:?}", names(folder.path()));
                let old = names(folder.path()).into_iter().filter(|n| n.contains("replaced"));
                assert_eq!(old.count(), 3, "nothing is lost");
            }
            assert!(!finish(&database).unwrap(), "once is enough");
        }
    }
}
