//! Blocks of readings, one after the other: what is read is written again, and read the same.
#![no_main]

use kengele_fuzz::wire::batch::{Link, Stream, open, seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (mut stream, mut rest) = (Stream::after(Link::START), bytes);
    // Each block is led by its length, and made to continue the one before where it does not stand alone.
    while let [length, after @ ..] = rest {
        let (block, others) = after.split_at(usize::from(*length).min(after.len()));
        rest = others;
        let mut block = block.to_vec();
        if let [first, second, ..] = &mut block[..]
            && *first != 0x10
        {
            let [high, low, ..] = stream.link().0;
            (*first, *second) = (0x20 | high >> 4, high << 4 | low >> 4);
        }
        let Ok(readings) = stream.open(&block) else { continue };
        let again = seal(&readings, Link::START).expect("what was read can be written");
        assert_eq!(open(&again.bytes), Ok(readings));
    }
});
