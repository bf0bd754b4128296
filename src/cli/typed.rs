//! What is typed while a command runs.

use std::io::BufRead;
use tokio::sync::mpsc;

/// Lines that may wait.
const TYPED_MAX: usize = 16;

/// Returns the lines of standard input, until it ends.
pub(crate) fn typed() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(TYPED_MAX);
    // A thread of its own: reading a terminal cannot be called off.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    typed
}
