//! The modules under test, taken straight from the program's source, without the program around them.

#[path = "../../../src/wire/batch/mod.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "it is the program's, and not all of it is used here"
)]
pub(crate) mod batch;
#[path = "../../../src/wire/sealed_quantity.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "it is the program's, and not all of it is used here"
)]
pub(crate) mod sealed_quantity;
