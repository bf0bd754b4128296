//! The hub: what gateways tell is stored once and exactly, in SQLite and in a real PostgreSQL, over HTTPS and over a real
//! mosquitto, by one process and by two; and what was answered is stored, whoever is killed.

mod gateway;
mod postgres;
mod storage;
mod alerts;
mod doors;
mod pages;
mod processes;
mod uplink;

use kengele::hub::storage::{Place, Storage};
use postgres::Postgres;
use tempfile::TempDir;

/// A storage that a test has for itself, and what keeps it alive.
struct Kept {
    place: Place,
    _folder: TempDir,
    _cluster: Option<Postgres>,
}

impl Kept {
    fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let place = Place::Sqlite(folder.path().join("hub.db"));
        Self { place, _folder: folder, _cluster: None }
    }

    async fn postgres() -> Self {
        let cluster = Postgres::new().await;
        let place = cluster.place();
        Self { place, _folder: TempDir::new().unwrap(), _cluster: Some(cluster) }
    }

    async fn open(&self) -> Storage {
        Storage::open(&self.place).await.unwrap()
    }
}
