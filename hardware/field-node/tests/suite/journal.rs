//! The journal keeps what it was given, wherever the supply fails.

use kengele_field_node::dice::Dice;
use kengele_field_node::flash::MemoryFlash;
use kengele_field_node::journal::{Journal, Note, Place, REPORT_MAX};
use std::collections::BTreeMap;

type Flash = MemoryFlash<4, 256>;

fn all<F: kengele_field_node::flash::Flash>(journal: &mut Journal<F>) -> Vec<(Place, Vec<u8>)> {
    let mut found = Vec::new();
    let mut buffer = [0; REPORT_MAX];
    let mut after = None;
    while let Some((place, length)) = journal.next(after, &mut buffer).unwrap() {
        found.push((place, buffer[..length].to_vec()));
        after = Some(place);
    }
    found
}

#[test]
fn reports_come_oldest_first_and_go_when_settled() {
    let mut journal = Journal::open(Flash::default()).unwrap();
    let places: Vec<Place> = (0..4_u8).map(|n| journal.push(&[n, n]).unwrap()).collect();
    journal.settle(places[1]).unwrap();
    journal.settle(places[1]).unwrap();
    let left: Vec<Vec<u8>> = all(&mut journal).into_iter().map(|(_, report)| report).collect();
    assert_eq!(left, [vec![0, 0], vec![2, 2], vec![3, 3]]);
    assert_eq!(journal.waiting(), 3);
    let mut again = Journal::open(journal.into_flash()).unwrap();
    assert_eq!(all(&mut again).len(), 3);
    assert_eq!(again.waiting(), 3);
}

#[test]
fn a_full_ring_drops_the_oldest_and_counts_them() {
    let mut journal = Journal::open(Flash::default()).unwrap();
    journal.put(Note::Link, b"who I am").unwrap();
    for n in 0..500_u16 {
        journal.push(&n.to_le_bytes()).unwrap();
    }
    journal.put(Note::Settings, &[77]).unwrap();
    let mut journal = Journal::open(journal.into_flash()).unwrap();
    let left = all(&mut journal);
    assert_eq!(journal.waiting() as usize, left.len());
    assert_eq!(journal.dropped() as usize + left.len(), 500);
    assert!(left.len() > 20, "{}", left.len());
    assert_eq!(left.last().unwrap().1, 499_u16.to_le_bytes());
    assert_eq!(left[0].1, (500 - u16::try_from(left.len()).unwrap()).to_le_bytes());
    assert_eq!(
        (journal.note(Note::Link), journal.note(Note::Settings)),
        (&b"who I am"[..], &[77][..])
    );
}

#[test]
fn pages_wear_evenly() {
    let mut journal = Journal::open(Flash::default()).unwrap();
    (0..5000_u32).for_each(|n| journal.put(Note::Link, &n.to_le_bytes()).unwrap());
    let erased = journal.into_flash().erased;
    let (least, most) = (erased.iter().min().unwrap(), erased.iter().max().unwrap());
    assert!(*least > 40 && most - least <= 1, "{erased:?}");
}

/// What a journal must hold; where an operation was cut off, both outcomes are right.
#[derive(Clone, Default)]
struct Model {
    link: Vec<u8>,
    settings: Vec<u8>,
    waiting: BTreeMap<u32, Place>,
    gone: u32,
}

#[test]
fn wherever_the_supply_fails_nothing_else_is_lost() {
    for seed in 0..1000 {
        round(seed);
    }
}

fn byte(dice: &mut Dice) -> u8 {
    u8::try_from(dice.below(256)).unwrap()
}

fn length(dice: &mut Dice) -> usize {
    usize::try_from(dice.below(40)).unwrap()
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap()
}

fn round(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut journal = Journal::open(Flash::default()).unwrap();
    let mut model = Model::default();
    let mut pushed = 0_u32;
    for _ in 0..6 {
        let mut flash = journal.into_flash();
        flash.fail_after(Some(1 + dice.below(160)));
        // The supply may fail while the journal is opened, too.
        journal = if let Ok(journal) = Journal::open(flash.clone()) {
            journal
        } else {
            flash.fail_after(None);
            let mut flash = Journal::open(flash).unwrap().into_flash();
            flash.fail_after(Some(1 + dice.below(160)));
            Journal::open(flash).unwrap()
        };
        let doubt = loop {
            let mut doubt = model.clone();
            let result = match dice.below(6) {
                0 => {
                    doubt.link = vec![byte(&mut dice); length(&mut dice)];
                    journal.put(Note::Link, &doubt.link)
                }
                1 => {
                    doubt.settings = dice.below(u32::MAX).to_le_bytes().to_vec();
                    journal.put(Note::Settings, &doubt.settings)
                }
                2 => match model.waiting.iter().next().map(|(n, place)| (*n, *place)) {
                    Some((number, place)) => {
                        doubt.waiting.remove(&number);
                        let before = journal.waiting();
                        let result = journal.settle(place);
                        // One that was dropped is gone already.
                        doubt.gone += if result.is_ok() { before - journal.waiting() } else { 1 };
                        result
                    }
                    None => continue,
                },
                _ => {
                    let mut report = pushed.to_le_bytes().to_vec();
                    report.resize(4 + length(&mut dice) / 2, 0xAA);
                    pushed += 1;
                    journal.push(&report).map(|place| {
                        doubt.waiting.insert(pushed - 1, place);
                    })
                }
            };
            if result.is_err() {
                break doubt;
            }
            model = doubt;
        };
        let mut flash = journal.into_flash();
        flash.fail_after(None);
        journal = Journal::open(flash).unwrap();
        let said = format!("seed {seed}");
        let link = journal.note(Note::Link);
        assert!(link == model.link || link == doubt.link, "{said}: link");
        let settings = journal.note(Note::Settings);
        assert!(settings == model.settings || settings == doubt.settings, "{said}: settings");
        let found: BTreeMap<u32, Place> = all(&mut journal)
            .into_iter()
            .map(|(place, report)| (u32::from_le_bytes(report[..4].try_into().unwrap()), place))
            .collect();
        assert_eq!(journal.waiting() as usize, found.len(), "{said}: waiting");
        // Whatever is missing was settled, dropped as one of the oldest, or was just being written or settled.
        let oldest = found.keys().next().copied().unwrap_or(u32::MAX);
        for number in model.waiting.keys().filter(|number| **number >= oldest) {
            let doubted = !doubt.waiting.contains_key(number);
            assert!(found.contains_key(number) || doubted, "{said}: report {number} is lost");
        }
        for number in found.keys() {
            let last = pushed.checked_sub(1) == Some(*number);
            let known = model.waiting.contains_key(number);
            assert!(known || last, "{said}: report {number} came back");
        }
        let missing = model.waiting.keys().filter(|number| !found.contains_key(number)).count();
        let doubted = (doubt.gone - model.gone) as usize;
        let dropped = journal.dropped() as usize;
        let counted = dropped + model.gone as usize;
        let all_gone = pushed as usize - found.len();
        assert!(
            counted <= all_gone && all_gone <= counted + doubted + 1,
            "{said}: {all_gone} gone, {counted} counted, {missing} missing"
        );
        // From here on what was found is what is.
        model = Model {
            link: journal.note(Note::Link).to_vec(),
            settings: journal.note(Note::Settings).to_vec(),
            gone: pushed - count(found.len()) - journal.dropped(),
            waiting: found,
        };
    }
}
