//! The known answers of our radio link are what the second implementation computes today.

use crate::peers;

#[test]
fn the_radio_vectors_are_what_the_second_implementation_writes() {
    let written = peers::python().arg("tests/vectors/wf1.py").output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let kept = include_str!("../vectors/wf1.json");
    assert!(
        written.stdout == kept.as_bytes(),
        "tests/vectors/wf1.json is not what wf1.py writes: run it again, or pin cryptography in tests/setup"
    );
}
