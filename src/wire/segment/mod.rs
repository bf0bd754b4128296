//! Splitting a text into SMS segments: alphabet, length, concatenation; and joining those of others.

mod reassemble;
mod transliterate;

pub use reassemble::{Joined, Reassembler};
pub use transliterate::Transliteration;

use crate::wire::gsm7::{Alphabet, Language};
use crate::wire::tpdu::{Reference, UserData};

/// What the splitter may do beyond the default alphabet and UCS-2.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Languages whose shift tables may be used. Old telephones show nonsense for them: none by default.
    pub national: &'a [Language],
    /// Replacements that may be made when they save the text from UCS-2; none by default.
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

/// Splits `text` into segments.
///
/// # Errors
///
/// [`Error::TooLong`] when it takes more than 255.
pub fn segments(_text: &str, _options: &Options<'_>) -> Result<Segmented, Error> {
    todo!()
}

/// Returns what sending `text` takes, without a bound on its length.
#[must_use]
pub fn count(_text: &str, _options: &Options<'_>) -> Count {
    todo!()
}

/// Returns the characters that force `text` into UCS-2, each once, in order of appearance.
#[must_use]
pub fn forcing_ucs2(_text: &str, _options: &Options<'_>) -> Vec<char> {
    todo!()
}
