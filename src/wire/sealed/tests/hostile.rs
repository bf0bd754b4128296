//! Bytes that nobody sealed.

use super::super::message::Down;
use super::*;
use proptest::prelude::*;

/// Chance that is the same on every machine (xorshift).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
}

/// Frames that were true, with one to eight bits turned, cut, made longer, or mixed with each other.
#[test]
fn a_hundred_thousand_forged_frames_are_all_refused() {
    let mut pair = Pair::new(Listens::Always);
    pair.order(Order::Rekey { random: [9; 16] }, u64::MAX);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for n in 1..40_u32 {
        let kind = if n % 5 == 0 { Kind::Alarm } else { Kind::Telemetry };
        let sealed = pair.seal(kind, true, n * 10);
        let accepted = pair.hear(&sealed.frame, u64::from(n) * 10).unwrap();
        up.push(sealed.frame.to_vec());
        down.extend(accepted.reply.map(|reply| reply.frame.to_vec()));
    }
    let mut chance = Chance(20_261_127);
    let mut by_reason = std::collections::BTreeMap::new();
    for n in 0..100_000 {
        // A node tries 64 counters for each: of these there are fewer.
        let to_node = n % 16 == 0;
        let of = if to_node { &down } else { &up };
        let other = of[chance.below(of.len())].clone();
        let mut bytes = of[chance.below(of.len())].clone();
        match chance.below(8) {
            0 => bytes.truncate(chance.below(bytes.len())),
            1 => bytes.push(0),
            2 => {
                // The header of one with the rest of another.
                let cut = 1 + chance.below(bytes.len().min(other.len()) - 1);
                bytes.splice(cut.., other[cut..].iter().copied());
            }
            _ => {
                for _ in 0..=chance.below(8) {
                    let place = chance.below(bytes.len());
                    bytes[place] ^= 1 << chance.below(8);
                }
            }
        }
        if of.contains(&bytes) {
            continue;
        }
        let refused = if to_node {
            pair.node.clone().open(&bytes, 500).err()
        } else {
            pair.peer.hear(&bytes, at(500)).err()
        };
        let refused = refused.unwrap_or_else(|| panic!("{bytes:02x?} got through"));
        *by_reason.entry(refused.name()).or_insert(0) += 1;
    }
    for reason in ["length", "version", "reserved_type", "wrong_way", "foreign_node", "tag"] {
        assert!(by_reason.contains_key(reason), "{reason} never seen: {by_reason:?}");
    }
}

/// A find of the fuzzer: seconds of an order that has none were dropped in silence.
#[test]
fn a_stored_state_with_what_was_never_written_is_refused() {
    let mut pair = Pair::new(Listens::Always);
    pair.order(Order::SirenOff, 99);
    let whole = pair.peer.state().to_bytes().to_vec();
    let order = whole.len() - (4 + 1 + 2 + 8 + 2 + 1);
    assert_eq!(whole[order + 4], 2, "the order's code");
    for (place, byte) in [(order + 5, 1), (order + 4, 0), (order + 4, 7), (1, 2), (0, 9)] {
        let mut bytes = whole.clone();
        bytes[place] = byte;
        assert!(State::from_bytes(&bytes).is_err(), "{byte} at {place}");
    }
}

#[test]
fn every_reason_has_its_own_name() {
    let names: std::collections::BTreeSet<_> = Refusal::ALL.iter().map(|r| r.name()).collect();
    assert_eq!(names.len(), Refusal::ALL.len());
}

#[test]
fn a_code_with_a_wrong_letter_is_refused() {
    let code = Provisioning { address: ADDRESS, epoch: EPOCH }.to_code();
    let code = core::str::from_utf8(&code).unwrap();
    for place in PREFIX.len()..code.len() {
        for letter in ["A", "B", "7", "Z"] {
            let mut wrong = code.to_owned();
            wrong.replace_range(place..=place, letter);
            if wrong != code {
                assert_eq!(Provisioning::from_code(&wrong), Err(CodeError::Check), "{wrong}");
            }
        }
    }
    assert_eq!(Provisioning::from_code(&code[1..]), Err(CodeError::Prefix));
    assert_eq!(Provisioning::from_code(&code[..45]), Err(CodeError::Length(41)));
    let digit = code.replace(&code[10..11], "1");
    assert!(matches!(Provisioning::from_code(&digit), Err(CodeError::Letter(_))), "{digit}");
    assert_eq!(Provisioning::from_code("WF1:Ä"), Err(CodeError::Length(1)));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_by_both_ends(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut pair = Pair::new(Listens::Always);
        prop_assert!(pair.peer.hear(&bytes, at(1)).is_err());
        prop_assert!(pair.node.open(&bytes, 1).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_falling(
        bytes in prop::collection::vec(any::<u8>(), 0..700),
        text in ".{0,60}",
    ) {
        for kind in [Kind::Ack, Kind::Command, Kind::Time, Kind::Rekey] {
            if let Some(down) = Down::read(kind, &bytes) {
                prop_assert_eq!(down.write().unwrap().to_vec(), bytes.clone());
            }
        }
        if let Some(health) = Health::from_bytes(&bytes) {
            prop_assert_eq!(health.to_bytes().to_vec(), bytes.clone());
        }
        if let Ok(state) = State::from_bytes(&bytes) {
            prop_assert_eq!(state.to_bytes().to_vec(), bytes.clone());
        }
        prop_assert!(Record::from_bytes(&bytes).is_err());
        let of_ours = Provisioning::from_code(&format!("WF1:{text}"));
        prop_assert!(of_ours.is_err());
    }

    /// A stored state that was damaged is refused, or is another whole state; it never makes the reader fall.
    #[test]
    fn a_damaged_state_is_read_without_falling(place in 0_usize..400, bit in 0_u8..8, cut in 0_usize..400) {
        let mut pair = Pair::new(Listens::Always);
        for n in 1..40_u32 {
            let sealed = pair.seal(Kind::Telemetry, true, n * 10);
            pair.hear(&sealed.frame, u64::from(n) * 10).unwrap();
        }
        for order in [Order::Rekey { random: [1; 16] }, Order::SirenOff, Order::Interval { seconds: 5 }] {
            pair.order(order, 99);
        }
        let mut bytes = pair.peer.state().to_bytes().to_vec();
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 1 << bit;
        }
        bytes.truncate(bytes.len().max(cut));
        if let Ok(state) = State::from_bytes(&bytes) {
            let peer = Peer::new(*pair.peer.profile(), Some(state));
            let sealed = pair.seal(Kind::Telemetry, true, 900);
            let _heard = peer.hear(&sealed.frame, at(900));
            let _told = peer.step(at(u64::MAX));
        }
    }
}
