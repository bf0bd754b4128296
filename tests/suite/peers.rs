//! Programs that we did not write, and where the test set-up put them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is so; fails the test when it takes longer than [`PATIENCE`].
pub async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns the Python that holds the peers from the Python index (`tests/setup` makes it).
pub fn python() -> Command {
    let python = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin/python");
    assert!(python.exists(), "no {}: run tests/setup first", python.display());
    let mut command = Command::new(python);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// Returns the Node.js that finds the peers from npm (`tests/setup` installs them).
pub fn node() -> Command {
    let modules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers/node_modules");
    assert!(modules.exists(), "no {}: run tests/setup first", modules.display());
    let mut command = program("node");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("NODE_PATH", modules);
    command
}

/// Returns a command for a Debian program; fails the test loudly where it is missing.
pub fn program(name: &str) -> Command {
    let found = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
        .iter()
        .any(|folder| PathBuf::from(folder).join(name).exists());
    assert!(found, "{name} is not installed: run tests/setup first");
    Command::new(name)
}

/// Builds what stands between a program and the C library, of `tests/peers/NAME.c`, and returns where it is.
pub fn preload(name: &str) -> PathBuf {
    let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}.so", std::process::id()));
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/peers/{name}.c"));
    if !built.exists() {
        let cc = program("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&built)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .output();
        let cc = cc.unwrap();
        assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    }
    built
}

/// Returns where a series of real observations is: in the folder that `KENGELE_REFERENCE` names, else in
/// `../shared/reference` beside the repository. What was not tried has not passed: a missing one fails the test.
pub fn reference(name: &str) -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/reference");
    let folder = std::env::var_os("KENGELE_REFERENCE").map_or_else(beside, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "the observed series {} is missing: name the folder that has it in KENGELE_REFERENCE, or leave these tests out with \
         cargo nextest run -E 'not test(/^(observed|blocks)::/)'",
        path.display()
    );
    path
}

#[test]
fn a_missing_program_is_an_error_and_not_a_skipped_test() {
    assert!(std::panic::catch_unwind(|| program("no-such-program-of-kengele")).is_err());
}
