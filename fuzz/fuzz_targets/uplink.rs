//! What a gateway or hub may be sent: bytes as a packet, as the items of one that somebody with the key has sealed, as
//! an item from a store, as a dictionary, as pieces in text messages, as a file on a stick.
#![no_main]

use kengele_fuzz::domain::time::Timestamp;
use kengele_fuzz::wire::tpdu::Deliver;
use kengele_fuzz::wire::uplink::segments::{Added, Patience, Reassembler};
use kengele_fuzz::wire::uplink::{
    Book, Down, GatewayNumber, Key, Mark, Other, Packet, Tag, Up, file, gateway_of, open_down,
    open_up, seal_down, seal_up,
};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fn packet<I>(items: Vec<I>) -> Packet<I> {
    Packet { gateway: GatewayNumber(1), number: 2, items }
}

fuzz_target!(|bytes: &[u8]| {
    let key = Key::new([7; 32]);
    let _named = (gateway_of(bytes), Mark::of(bytes));
    assert!(open_up(bytes, |_| Some(key.clone())).is_err(), "nobody has the key");
    assert!(open_down(bytes, &key).is_err(), "nobody has the key");

    // What somebody with the key may say: the first byte is the kind of an item, the others its body.
    if let [kind, body @ ..] = bytes {
        let other = Other { kind: u64::from(*kind), bytes: body.to_vec() };
        let up = packet(vec![Up::Other(other.clone())]);
        let down = packet(vec![Down::Other(other)]);
        let (Ok(up), Ok(down)) =
            (seal_up(&up, &key, Tag::Short), seal_down(&down, &key, Tag::Long))
        else {
            return;
        };
        let up = open_up(&up, |_| Some(key.clone())).expect("the gateway's own packet");
        let down = open_down(&down, &key).expect("the hub's own packet");
        let (again, back) = (seal_up(&up, &key, Tag::Long), seal_down(&down, &key, Tag::Long));
        let again = open_up(&again.expect("it was read"), |_| Some(key.clone()));
        // As words, since values that are no numbers are not even like themselves.
        assert_eq!(format!("{:?}", again.expect("it was sealed")), format!("{up:?}"));
        assert_eq!(open_down(&back.expect("it was read"), &key), Ok(down));
        if let [Up::Alert(alert)] = &up.items[..] {
            let _alert = alert.expand(None);
        }
    }
    if let Ok(Up::Block(block)) = Up::from_bytes(bytes) {
        let _id = block.id();
    }
    let _item = Down::from_bytes(bytes);
    if let Some(book) = Book::from_bytes(bytes) {
        assert_eq!(book.as_bytes(), bytes);
    }

    // Messages, each led by its length.
    let hour = Duration::from_secs(3_600);
    let patience = Patience { ask_after: hour, asks_max: 2, forget_after: hour * 9 };
    let (mut held, mut now, mut rest) = (Reassembler::new(3, patience), 0, bytes);
    while let [length, after @ ..] = rest {
        let (message, others) = after.split_at(usize::from(*length).min(after.len()));
        rest = others;
        now += 1_000_000;
        let at = Timestamp::from_millis(now);
        if let Ok(message) = Deliver::decode(message) {
            match held.add(&message.from, &message.data, at) {
                Added::Whole { reference: Some(reference), .. } => {
                    held.forget(&message.from, reference);
                }
                Added::Whole { .. } | Added::Held | Added::Again | Added::Foreign => {}
            }
        }
        let _asked = held.ask(at);
        let _lost = held.expire(at);
    }

    let whole: Vec<u8> = file::MAGIC.iter().chain(bytes).copied().collect();
    let found = file::records(&whole).expect("it begins as a file does");
    let sizes = found.map(|found| match found {
        file::Found::Packet(packet) => packet.len() + 12,
        file::Found::Damaged(bytes) | file::Found::Torn(bytes) => bytes,
    });
    assert_eq!(sizes.sum::<usize>(), bytes.len(), "all of the file is accounted for");
    let _other = file::records(bytes);
});
