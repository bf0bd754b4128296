//! Splitting a text into SMS segments: alphabet, length, concatenation; and joining those of others.

mod plan;
mod reassemble;
mod transliterate;

pub use reassemble::{Joined, Reassembler};
pub use transliterate::Transliteration;

use crate::wire::gsm7::{Alphabet, Language};
use crate::wire::tpdu::{
    Body, Concat, Element, OCTETS_MAX, Reference, UserData, fill_bits, header_octets,
};
use plan::Plan;
use std::borrow::Cow;

/// What the splitter may do beyond the default alphabet and UCS-2.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Languages whose shift tables may be used when they save segments. Old telephones show nonsense for them: none by
    /// default.
    pub national: &'a [Language],
    /// Replacements that may be made when they save segments; none by default.
    pub transliteration: Option<Transliteration>,
    /// Number that the segments share, when there are several.
    pub reference: Reference,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { national: &[], transliteration: None, reference: Reference::Narrow(0) }
    }
}

/// In what a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Septets of this alphabet.
    Gsm7(Alphabet),
    /// UTF-16 code units.
    Ucs2,
}

/// What sending a text takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// In what it is written.
    pub encoding: Encoding,
    /// Segments, at least 1.
    pub segments: usize,
    /// Septets or UTF-16 code units of the whole text, without headers.
    pub units: usize,
    /// Units that still fit into the last segment.
    pub units_left: usize,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its part of the text.
    pub text: String,
    /// The same, ready for [`Submit`](crate::wire::tpdu::Submit).
    pub data: UserData,
}

/// A text in segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segmented {
    /// What sending it takes.
    pub count: Count,
    /// The segments in order.
    pub segments: Vec<Segment>,
}

/// Why a text cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More segments than a header can number.
    #[error("the text takes {segments} segments and a message has at most 255")]
    TooLong {
        /// Segments that it would take.
        segments: usize,
    },
}

impl Encoding {
    /// Returns how many units fit into a segment, alone (`None`) or with others under a `reference`.
    #[must_use]
    pub fn capacity(self, reference: Option<Reference>) -> usize {
        let place = reference.map(|reference| Concat { reference, total: 1, part: 1 });
        let header_octets = header_octets(&self.header(place));
        match self {
            Self::Gsm7(_) => {
                let bits = (OCTETS_MAX - header_octets) * 8;
                (bits - usize::from(fill_bits(header_octets))) / 7
            }
            Self::Ucs2 => (OCTETS_MAX - header_octets) / 2,
        }
    }

    /// Returns the units of one character; `None` when it cannot be written.
    fn units(self, c: char) -> Option<usize> {
        match self {
            Self::Gsm7(alphabet) => alphabet.septets(c),
            Self::Ucs2 => Some(c.len_utf16()),
        }
    }

    fn header(self, place: Option<Concat>) -> Vec<Element> {
        let mut header: Vec<Element> = place.map(Element::Concat).into_iter().collect();
        if let Self::Gsm7(alphabet) = self {
            header.extend(alphabet.single.map(Element::SingleShift));
            header.extend(alphabet.locking.map(Element::LockingShift));
        }
        header
    }

    fn body(self, text: &str) -> Option<Body> {
        match self {
            Self::Gsm7(alphabet) => alphabet.encode(text).map(Body::Gsm7),
            Self::Ucs2 => Some(Body::Ucs2(text.encode_utf16().collect())),
        }
    }
}

/// Splits `text` into segments.
///
/// Breaks stand after white space, else between words, else between grapheme clusters, the last that needs no further
/// segment; within a cluster only when it is longer than a segment, and then between characters.
///
/// # Errors
///
/// [`Error::TooLong`] when it takes more than 255.
pub fn segments(text: &str, options: &Options<'_>) -> Result<Segmented, Error> {
    let chosen = choose(text, options);
    let count = chosen.plan.count(chosen.encoding);
    let total =
        u8::try_from(count.segments).map_err(|_| Error::TooLong { segments: count.segments })?;
    let segments = (1..=total)
        .zip(chosen.plan.pieces(&chosen.text))
        .map(|(part, text)| {
            let place = Concat { reference: options.reference, total, part };
            segment(text, chosen.encoding, (total > 1).then_some(place))
        })
        .collect();
    Ok(Segmented { count, segments })
}

/// Returns what sending `text` takes, without a bound on its length.
#[must_use]
pub fn count(text: &str, options: &Options<'_>) -> Count {
    let chosen = choose(text, options);
    chosen.plan.count(chosen.encoding)
}

/// Returns the characters that force `text` into UCS-2, each once, in order of appearance.
///
/// Of the alphabets that the options allow, that one speaks which lacks the fewest.
#[must_use]
pub fn forcing_ucs2(text: &str, options: &Options<'_>) -> Vec<char> {
    let lacking = |alphabet: Alphabet| {
        let mut lacking = Vec::new();
        for c in text.chars() {
            let known = replacement(c, alphabet, options.transliteration).is_some();
            if !known && !lacking.contains(&c) {
                lacking.push(c);
            }
        }
        lacking
    };
    alphabets(options.national).map(lacking).min_by_key(Vec::len).unwrap_or_default()
}

/// An encoding with the text as it can write it.
struct Chosen<'a> {
    encoding: Encoding,
    text: Cow<'a, str>,
    plan: Plan,
}

/// Chooses what takes the fewest segments; among equals the default alphabet before UCS-2, before national tables that
/// not every telephone knows, before changing the text.
fn choose<'a>(text: &'a str, options: &Options<'_>) -> Chosen<'a> {
    let plan = |encoding: Encoding, text: Cow<'a, str>| {
        let plan = Plan::new(&text, encoding, options.reference)?;
        Some(Chosen { encoding, text, plan })
    };
    if let Some(chosen) = plan(Encoding::Gsm7(Alphabet::DEFAULT), Cow::Borrowed(text)) {
        return chosen;
    }
    let as_written = alphabets(options.national)
        .filter_map(|alphabet| plan(Encoding::Gsm7(alphabet), Cow::Borrowed(text)));
    let rewritten = alphabets(options.national).filter_map(|alphabet| {
        let map = options.transliteration?;
        plan(Encoding::Gsm7(alphabet), Cow::Owned(transliterate(text, alphabet, map)?))
    });
    plan(Encoding::Ucs2, Cow::Borrowed(text))
        .into_iter()
        .chain(as_written)
        .chain(rewritten)
        .min_by_key(|chosen| chosen.plan.segments())
        .expect("UCS-2 writes every text")
}

/// Returns the default alphabet, and those that the languages allow: single shift, locking shift, both.
fn alphabets(national: &[Language]) -> impl Iterator<Item = Alphabet> {
    let shifted = national.iter().flat_map(|language| {
        let language = Some(*language);
        [
            Alphabet { single: language, locking: None },
            Alphabet { single: None, locking: language.filter(|l| *l != Language::Spanish) },
            Alphabet { single: language, locking: language.filter(|l| *l != Language::Spanish) },
        ]
    });
    std::iter::once(Alphabet::DEFAULT).chain(shifted)
}

fn transliterate(text: &str, alphabet: Alphabet, map: Transliteration) -> Option<String> {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        match replacement(c, alphabet, Some(map))? {
            Replacement::None => written.push(c),
            Replacement::By(other) => written.push_str(other),
        }
    }
    Some(written)
}

enum Replacement {
    None,
    By(&'static str),
}

/// Returns how `alphabet` writes `c`; `None` when it cannot.
fn replacement(c: char, alphabet: Alphabet, map: Option<Transliteration>) -> Option<Replacement> {
    if alphabet.septets(c).is_some() {
        return Some(Replacement::None);
    }
    let other = map?.replacement(c)?;
    other.chars().all(|c| alphabet.septets(c).is_some()).then_some(Replacement::By(other))
}

fn segment(text: &str, encoding: Encoding, place: Option<Concat>) -> Segment {
    let body = encoding.body(text).expect("the plan measured every character");
    let data = UserData::new(encoding.header(place), body).expect("the plan keeps the capacity");
    Segment { text: text.to_owned(), data }
}
