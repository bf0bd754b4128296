//! A PostgreSQL of a test's own: a private cluster, by Debian's programs. They refuse to run as root.

use crate::peers::wait_for;
use kengele::hub::storage::Place;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

pub(crate) struct Postgres {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

/// Returns a program of PostgreSQL that Debian keeps beside the others; fails the test loudly where it is missing.
fn program(name: &str) -> Command {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|v| v.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    let path = found.pop().unwrap_or_else(|| panic!("no {name}: run tests/setup first"));
    let mut command = Command::new(path);
    if nix::unistd::Uid::effective().is_root() {
        let user = nix::unistd::User::from_name("postgres").unwrap();
        let user = user.expect("no user postgres: run tests/setup first");
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

impl Postgres {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        if nix::unistd::Uid::effective().is_root() {
            let user = nix::unistd::User::from_name("postgres").unwrap();
            let user = user.expect("no user postgres: run tests/setup first");
            nix::unistd::chown(folder.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut cluster = Self { folder, port, process: None };
        let initdb = program("initdb")
            .current_dir(cluster.folder.path())
            .args(["--auth=trust", "--username=hub", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("-D")
            .arg(cluster.data())
            .output();
        let initdb = initdb.unwrap();
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        cluster.start().await;
        cluster
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) async fn start(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .unwrap();
        let process = program("postgres")
            .current_dir(self.folder.path())
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path())
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            // What the hub must not rely on.
            .args([
                "-c",
                "synchronous_commit=off",
                "-c",
                "default_transaction_isolation=serializable",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(process.unwrap());
        let address = ("127.0.0.1", self.port);
        let ready = || {
            let mut asked = program("pg_isready");
            asked.args(["-q", "-h", address.0, "-p", &address.1.to_string()]);
            asked.status().is_ok_and(|status| status.success())
        };
        wait_for("PostgreSQL is ready", ready).await;
    }

    /// Ends it as a power cut does: nothing is told to anybody.
    pub(crate) async fn crash(&mut self) {
        let mut process = self.process.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT).unwrap();
        wait_for("PostgreSQL ends", || process.try_wait().unwrap().is_some()).await;
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://hub@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn place(&self) -> Place {
        Place::Postgres { url: self.url(), password: None, ca_file: None, connections_max: 6 }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
            // It may have ended already.
            let _told = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT).is_ok();
            let _reaped = process.wait().is_ok();
        }
    }
}
