//! Where a text breaks into segments.

use super::{Count, Encoding};
use crate::wire::tpdu::Reference;
use unicode_segmentation::UnicodeSegmentation;

/// Breaks of one text in one encoding.
pub(super) struct Plan {
    /// Byte at which each segment ends; the last is the text's length.
    ends: Vec<usize>,
    units: usize,
    units_left: usize,
}

/// What is never cut: a grapheme cluster, or a character of one that is longer than a segment.
struct Atom {
    end: usize,
    units: usize,
    break_after: Break,
}

/// How well a text breaks at a place; the better is the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Break {
    Cluster,
    Word,
    Space,
}

impl Plan {
    /// Returns where `text` breaks; `None` when the encoding cannot write it.
    pub(super) fn new(text: &str, encoding: Encoding, reference: Reference) -> Option<Self> {
        let units = text.chars().map(|c| encoding.units(c)).sum::<Option<usize>>()?;
        let capacity_alone = encoding.capacity(None);
        if units <= capacity_alone {
            return Some(Self {
                ends: vec![text.len()],
                units,
                units_left: capacity_alone - units,
            });
        }
        let capacity = encoding.capacity(Some(reference));
        let atoms = atoms(text, encoding, capacity);
        let (ends, units_left) = breaks(&atoms, capacity);
        Some(Self { ends, units, units_left })
    }

    pub(super) fn segments(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn count(&self, encoding: Encoding) -> Count {
        Count {
            encoding,
            segments: self.ends.len(),
            units: self.units,
            units_left: self.units_left,
        }
    }

    /// Returns the pieces of the text that the plan was made for.
    pub(super) fn pieces<'a>(&self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| text.get(start..*end))
    }
}

fn atoms(text: &str, encoding: Encoding, capacity: usize) -> Vec<Atom> {
    let units = |piece: &str| piece.chars().filter_map(|c| encoding.units(c)).sum::<usize>();
    let mut words = text.split_word_bound_indices().map(|(start, _)| start).peekable();
    let mut clusters = text.grapheme_indices(true).peekable();
    let mut atoms = Vec::with_capacity(text.len());
    while let Some((start, cluster)) = clusters.next() {
        let end = start + cluster.len();
        while words.next_if(|word| *word < end).is_some() {}
        let next = clusters.peek().and_then(|(_, next)| next.chars().next());
        let break_after = if is_space(cluster) && !next.is_some_and(char::is_whitespace) {
            Break::Space
        } else if words.peek() == Some(&end) && next.is_some_and(char::is_alphanumeric) {
            Break::Word
        } else {
            Break::Cluster
        };
        if units(cluster) <= capacity {
            atoms.push(Atom { end, units: units(cluster), break_after });
        } else {
            atoms.extend(cluster.char_indices().map(|(at, c)| Atom {
                end: start + at + c.len_utf8(),
                units: encoding.units(c).unwrap_or(0),
                break_after: Break::Cluster,
            }));
        }
    }
    atoms
}

fn is_space(cluster: &str) -> bool {
    cluster.chars().next().is_some_and(char::is_whitespace)
}

/// Returns the ends of the segments and what the last leaves free.
///
/// Filling every segment gives the least number of them; a better break is taken where it keeps that number.
fn breaks(atoms: &[Atom], capacity: usize) -> (Vec<usize>, usize) {
    let reach = reach(atoms, capacity);
    // Least number of segments of the atoms from each one on.
    let mut least = vec![0_usize; atoms.len() + 1];
    for (at, end) in reach.iter().enumerate().rev() {
        let rest = least.get(*end).copied().unwrap_or(0);
        if let Some(slot) = least.get_mut(at) {
            *slot = rest + 1;
        }
    }
    let (mut ends, mut at) = (Vec::new(), 0);
    while let (Some(end), Some(allowed)) = (reach.get(at), least.get(at)) {
        let best = (at + 1..=*end)
            .filter(|next| least.get(*next).is_some_and(|rest| rest + 1 == *allowed))
            .filter_map(|next| Some((next, atoms.get(next - 1)?)))
            .max_by_key(|(next, atom)| (atom.break_after, *next));
        let Some((next, atom)) = best else { break };
        ends.push(atom.end);
        if next == atoms.len() {
            let used: usize = atoms.get(at..).unwrap_or_default().iter().map(|a| a.units).sum();
            return (ends, capacity - used);
        }
        at = next;
    }
    (ends, 0)
}

/// Returns for each atom the end of the longest row from it on that fits into a segment.
fn reach(atoms: &[Atom], capacity: usize) -> Vec<usize> {
    let (mut end, mut units) = (0, 0);
    atoms
        .iter()
        .map(|first| {
            while let Some(atom) = atoms.get(end).filter(|atom| units + atom.units <= capacity) {
                units += atom.units;
                end += 1;
            }
            units -= first.units;
            end
        })
        .collect()
}
