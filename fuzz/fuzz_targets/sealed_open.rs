//! A frame of our radio link, as both ends meet it; then the same bytes as what is inside a frame, as a stored state, as a
//! record, and as a provisioning code.
#![no_main]

use kengele_fuzz::wire::sealed::{
    Address, Epoch, Field, Kind, Listens, Now, Peer, Profile, Provisioning, Record, Root, Schema,
    Session, State, parse,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _parts = parse(bytes);
    let (address, epoch) =
        (Address { net: 1, node: 2 }, Epoch { number: 3, root: Root::new([4; 16]) });
    let field = Field { quantity: 1, min_milli: 0, step_milli: 5, bits: 12 };
    let schema = Schema::new(&[field]).expect("a field of 12 bits");
    let profile = Profile { address, epoch, listens: Listens::Always, schema };
    let now = Now { s: 1000, unix_s: None, stores: true };
    let peer = Peer::new(profile, None);
    assert!(peer.hear(bytes, now).is_err(), "nobody has the key");
    let mut node = Session::provisioned(address, epoch);
    assert!(node.open(bytes, 0).is_err(), "nobody has the key");

    // What somebody with the key may say: the first byte chooses the kind.
    let record = node.prepare(0).expect("the first block");
    assert!(node.written(&record));
    if let [choice, payload @ ..] = bytes {
        let kind = [Kind::Telemetry, Kind::Alarm, Kind::Health, Kind::Ack][usize::from(choice & 3)];
        if let Ok(sealed) = node.seal(kind, choice & 4 != 0, payload, 0) {
            let accepted = peer.hear(&sealed.frame, now).expect("the node's own frame");
            let stored = accepted.state.to_bytes();
            assert_eq!(State::from_bytes(&stored), Ok(accepted.state));
            if let Some(reply) = accepted.reply {
                node.open(&reply.frame, 1).expect("the gateway's own frame");
            }
        }
    }
    if let Ok(state) = State::from_bytes(bytes) {
        assert_eq!(&*state.to_bytes(), bytes);
        let _told = Peer::new(profile, Some(state)).step(now);
    }
    if let Ok(record) = Record::from_bytes(bytes) {
        let _session = Session::resume([&*record.to_bytes()]);
    }
    if let Ok(text) = core::str::from_utf8(bytes) {
        let _code = Provisioning::from_code(text);
    }
});
