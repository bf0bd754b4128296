//! A copy of the database on another card: made while the gateway runs, and believed only when it was read back.

use super::convert::Places;
use super::{DATABASE, Hands, lock};
use crate::pipeline::rollback;
use crate::store::{self, Counts, LastRun, Store, free_bytes};
use anyhow::{Context, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Room that is left beside a copy: what a file system needs for its own tables.
const SPARE_BYTES: u64 = 1 << 20;
/// How often a copy is made that does not agree with what was seen: recipients were changed in that very moment.
const TRIES_MAX: u32 = 2;
/// The first bytes of every database: <https://sqlite.org/fileformat.html> §1.3.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What a copy was found to hold when it was read back.
pub(super) struct Copy {
    pub counts: Counts,
    pub last_run: Option<LastRun>,
    /// States of radio nodes and sirens, by the node's own identifier.
    pub radio: BTreeMap<String, Vec<u8>>,
}

/// A file that is removed unless it is kept.
pub(super) struct Part(Option<PathBuf>);

impl Part {
    /// Makes an empty file that only its owner may read.
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        Ok(Self(Some(path)))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Gives it its name, for good.
    pub(super) fn keep_as(mut self, name: &Path) -> io::Result<()> {
        fs::rename(self.path(), name)?;
        self.0 = None;
        sync_folder(name)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(error = %error, "the part of a copy is left behind");
        }
    }
}

impl Hands {
    /// Copies the database while the gateway goes on.
    pub(super) async fn backup(&self, file: &Path, force: bool) -> anyhow::Result<Value> {
        let Ok(_alone) = self.copying.try_lock() else {
            bail!("a backup is being made already: wait for it")
        };
        let made = make(&self.started.gateway.data.join(DATABASE), file, force).await?;
        tracing::info!(file = %file.display(), "a backup was made");
        Ok(made)
    }
}

/// Copies the database of a gateway that does not run.
///
/// # Errors
///
/// In words, why there is no copy.
pub async fn without_gateway(places: &Places, file: &Path, force: bool) -> anyhow::Result<Value> {
    let database = places.data.join(DATABASE);
    ensure!(database.exists(), "there is no database {}", database.display());
    let _lock = lock(&places.data)?;
    make(&database, file, force).await
}

/// Copies the database at `database` into `file`, reads the copy back, and only then gives it its name.
async fn make(database: &Path, file: &Path, force: bool) -> anyhow::Result<Value> {
    let folder = check_target(database, file, force)?;
    let needed = size(database) + size(&with_tail(database, "-wal"));
    let mut notes = Vec::new();
    if is_same_disk(database, &folder) {
        notes.push(
            "it is on the same disk as the database: when that dies, both are lost".to_owned(),
        );
    }
    let mut tries = 0;
    let (part, copy, wal_bytes) = loop {
        let part =
            Part::create(with_tail(file, ".part")).map_err(|error| not_writable(&folder, error))?;
        check_room(&folder, needed)?;
        let seen = store::copy(database, part.path()).await.map_err(|error| {
            anyhow::Error::new(error)
                .context(format!("cannot write the backup into {}", folder.display()))
        })?;
        let wal_bytes = size(&with_tail(database, "-wal"));
        settle(part.path()).await?;
        let looked = Store::look_at(part.path());
        let agrees = looked.agrees(&seen).await;
        looked.close().await;
        let copy = verify(part.path()).await.context("the backup is not good")?;
        tries += 1;
        match agrees {
            Ok(true) => break (part, copy, wal_bytes),
            Ok(false) if tries < TRIES_MAX => {}
            Ok(false) => bail!("the backup does not have all that the database has: try again"),
            Err(error) => return Err(error).context("the backup cannot be read back"),
        }
    };
    let unclear: Vec<&String> = unclear(&copy.radio).collect();
    if !unclear.is_empty() {
        notes.push(format!(
            "the database holds states of radio nodes that are not understood: {unclear:?}"
        ));
    }
    let bytes = size(part.path());
    part.keep_as(file).with_context(|| format!("cannot name the backup {}", file.display()))?;
    Ok(json!({
        "file": file.display().to_string(), "bytes": bytes, "readings": copy.counts.readings,
        "warnings": copy.counts.warnings, "recipients": copy.counts.recipients, "radio_states": copy.radio.len(),
        "wal_bytes": wal_bytes, "notes": notes,
    }))
}

/// Reads a copy from its beginning to its end, by the code that a gateway would read it with.
pub(super) async fn verify(path: &Path) -> anyhow::Result<Copy> {
    let store = Store::look_at(path);
    let found = read_through(&store).await;
    store.close().await;
    found
}

async fn read_through(store: &Store) -> anyhow::Result<Copy> {
    match store.is_understood().await? {
        Some(true) => {}
        Some(false) => bail!("it was made by a newer version of this program"),
        None => bail!("it is no database of a gateway"),
    }
    let faults = store.integrity().await?;
    if let Some(first) = faults.first() {
        bail!("it is damaged: {first}");
    }
    store.recipients().await?;
    store.snapshot().await?;
    store.open_deliveries(0).await?;
    Ok(Copy {
        counts: store.counts().await?,
        last_run: store.last_run().await?,
        radio: store.radio_states().await?,
    })
}

/// Returns the names of the states that are not understood.
pub(super) fn unclear(radio: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = &String> {
    radio.iter().filter(|(name, state)| !rollback::is_understood(name, state)).map(|(name, _)| name)
}

/// Writes a file through to its disk, and forgets it, so that what is read next is read from there.
pub(super) async fn settle(path: &Path) -> anyhow::Result<()> {
    let path = path.to_path_buf();
    let settled = tokio::task::spawn_blocking(move || -> io::Result<()> {
        let file = File::open(&path)?;
        match file.set_permissions(Permissions::from_mode(0o600)) {
            // A file system of cameras and Windows knows no owners: whoever holds the stick can read it.
            Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {}
            changed => changed?,
        }
        file.sync_all()?;
        if let Err(error) = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED) {
            tracing::debug!(error = %error, "a copy is read back from memory");
        }
        Ok(())
    });
    settled
        .await
        .context("the copy was not written through")?
        .context("the copy cannot be written through")
}

/// Returns the folder of the copy, if a copy may be made there.
fn check_target(database: &Path, file: &Path, force: bool) -> anyhow::Result<PathBuf> {
    ensure!(file.is_absolute(), "{}: name the file with its whole path", file.display());
    let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
        bail!("{} names no file", file.display())
    };
    ensure!(folder.is_dir(), "there is no folder {}", folder.display());
    let own = database.parent().and_then(|own| own.canonicalize().ok());
    let is_own_folder = own.is_some() && own == folder.canonicalize().ok();
    let name = name.to_string_lossy();
    if is_own_folder && (name == "lock" || name.starts_with(DATABASE)) {
        bail!("{} is a name of the gateway's own files: choose another", file.display());
    }
    match fs::symlink_metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(not_writable(folder, error)),
        Ok(_) if !force => {
            bail!("{} is there already: choose another name, or say --force", file.display())
        }
        Ok(known) if !known.is_file() || !is_database(file) => {
            bail!("{} is no backup: it is not replaced", file.display())
        }
        Ok(_) => {}
    }
    Ok(folder.to_path_buf())
}

fn is_database(file: &Path) -> bool {
    let mut begin = [0; MAGIC.len()];
    File::open(file).is_ok_and(|mut file| file.read_exact(&mut begin).is_ok()) && begin == *MAGIC
}

/// Refuses a copy for which there is no room, before anything is written.
pub(super) fn check_room(folder: &Path, bytes: u64) -> anyhow::Result<()> {
    let free = free_bytes(folder)
        .with_context(|| format!("cannot see how much room there is in {}", folder.display()))?;
    let needed = bytes + SPARE_BYTES;
    ensure!(
        free >= needed,
        "there is no room in {}: the copy takes up to {needed} bytes, and {free} are free",
        folder.display()
    );
    Ok(())
}

fn not_writable(folder: &Path, error: io::Error) -> anyhow::Error {
    let is_denied =
        matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
    let help = if is_denied {
        "; a service may write only where its unit lets it: see docs/backup.md"
    } else {
        ""
    };
    anyhow::Error::new(error).context(format!("cannot write into {}{help}", folder.display()))
}

/// Returns whether two places lie on one disk, as far as that can be seen: partitions of a card die together.
fn is_same_disk(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|known| known.dev());
    let (Ok(one), Ok(other)) = (device(one), device(other)) else { return false };
    let disk = |device: u64| {
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let of_it = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
        if of_it.join("partition").exists() {
            of_it.parent().map(Path::to_path_buf)
        } else {
            Some(of_it)
        }
    };
    one == other || disk(one).is_some_and(|disk_of_one| Some(disk_of_one) == disk(other))
}

pub(super) fn sync_folder(of: &Path) -> io::Result<()> {
    let folder = of.parent().unwrap_or(Path::new("/"));
    match File::open(folder)?.sync_all() {
        // Some file systems have nothing to write through for a folder.
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => Ok(()),
        synced => synced,
    }
}

pub(super) fn with_tail(path: &Path, tail: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(tail);
    name.into()
}

pub(super) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |known| known.len())
}
