//! The GSM 7-bit alphabets (3GPP TS 23.038): default, extension and national tables.
//!
//! A text becomes septets, one to a byte, by [`Alphabet::encode`]; [`pack`] puts eight of them into seven octets.

mod tables;

/// The septet that announces one of the single shift table.
const ESCAPE: u8 = 0x1B;

/// A language with tables of its own: 3GPP TS 23.038 Annex A, identifiers of §6.2.1.2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Language {
    /// Identifier 1.
    Turkish = 1,
    /// Identifier 2: a single shift table only.
    Spanish,
    /// Identifier 3.
    Portuguese,
    /// Identifier 4.
    Bengali,
    /// Identifier 5.
    Gujarati,
    /// Identifier 6; its Devanagari serves Nepali too.
    Hindi,
    /// Identifier 7.
    Kannada,
    /// Identifier 8.
    Malayalam,
    /// Identifier 9.
    Oriya,
    /// Identifier 10.
    Punjabi,
    /// Identifier 11.
    Tamil,
    /// Identifier 12.
    Telugu,
    /// Identifier 13.
    Urdu,
}

impl Language {
    /// Every language with tables, by identifier.
    pub const ALL: [Self; 13] = [
        Self::Turkish,
        Self::Spanish,
        Self::Portuguese,
        Self::Bengali,
        Self::Gujarati,
        Self::Hindi,
        Self::Kannada,
        Self::Malayalam,
        Self::Oriya,
        Self::Punjabi,
        Self::Tamil,
        Self::Telugu,
        Self::Urdu,
    ];

    /// Returns the national language identifier, 1 to 13.
    #[must_use]
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Returns the language with this identifier.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.id() == id)
    }

    /// Returns the language's name in English, in small letters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Turkish => "turkish",
            Self::Spanish => "spanish",
            Self::Portuguese => "portuguese",
            Self::Bengali => "bengali",
            Self::Gujarati => "gujarati",
            Self::Hindi => "hindi",
            Self::Kannada => "kannada",
            Self::Malayalam => "malayalam",
            Self::Oriya => "oriya",
            Self::Punjabi => "punjabi",
            Self::Tamil => "tamil",
            Self::Telugu => "telugu",
            Self::Urdu => "urdu",
        }
    }

    /// Returns the language that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.as_str() == word)
    }
}

/// A pair of tables: what septets mean in one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Alphabet {
    /// Replaces the default alphabet; `None` keeps it.
    pub locking: Option<Language>,
    /// Replaces the default extension table behind the escape; `None` keeps it.
    pub single: Option<Language>,
}

impl Alphabet {
    /// The default alphabet with the default extension table.
    pub const DEFAULT: Self = Self { locking: None, single: None };

    /// Returns the septets of `text`, one to a byte; `None` when a character is in neither table.
    ///
    /// A character of both tables takes the main one; one that a table has twice takes the lower code.
    #[must_use]
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        let mut septets = Vec::with_capacity(text.len());
        for c in text.chars() {
            match self.find(c)? {
                Place::Main(code) => septets.push(code),
                Place::BehindEscape(code) => septets.extend([ESCAPE, code]),
            }
        }
        Some(septets)
    }

    /// Returns how many septets `c` takes, 1 or 2; `None` when it is in neither table.
    #[must_use]
    pub fn septets(self, c: char) -> Option<usize> {
        self.find(c).map(|place| match place {
            Place::Main(_) => 1,
            Place::BehindEscape(_) => 2,
        })
    }

    /// Returns the text of `septets`; never fails, for something must be shown.
    ///
    /// Behind an escape, a code that the single shift table lacks is read by the main table, and a second escape or the
    /// end is a space (§6.2.1.1). A code that the main table lacks is U+FFFD. The eighth bit of a byte is ignored.
    #[must_use]
    pub fn decode(self, septets: &[u8]) -> String {
        let (main, single) = (tables::locking(self.locking), tables::single(self.single));
        let mut text = String::with_capacity(septets.len());
        let mut septets = septets.iter().map(|septet| septet & 0x7F);
        while let Some(septet) = septets.next() {
            let c = if septet == ESCAPE {
                match septets.next() {
                    None | Some(ESCAPE) => Some(' '),
                    Some(code) => letter(single, code).or_else(|| letter(main, code)),
                }
            } else {
                letter(main, septet)
            };
            text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        text
    }

    fn find(self, c: char) -> Option<Place> {
        code(tables::locking(self.locking), c)
            .map(Place::Main)
            .or_else(|| code(tables::single(self.single), c).map(Place::BehindEscape))
    }
}

/// Where a character stands.
enum Place {
    Main(u8),
    BehindEscape(u8),
}

fn letter(table: &tables::Table, code: u8) -> Option<char> {
    let unit = table.get(usize::from(code)).copied().filter(|unit| *unit != 0)?;
    char::from_u32(u32::from(unit))
}

fn code(table: &tables::Table, c: char) -> Option<u8> {
    let unit = u16::try_from(u32::from(c)).ok().filter(|unit| *unit != 0)?;
    // Most letters stand at their ASCII code.
    if let Ok(code) = u8::try_from(unit)
        && table.get(usize::from(code)) == Some(&unit)
    {
        return Some(code);
    }
    table.iter().position(|entry| *entry == unit).and_then(|at| u8::try_from(at).ok())
}

/// Returns how many octets `septets` septets take behind `fill_bits` fill bits.
#[must_use]
pub const fn octets_for(septets: usize, fill_bits: u8) -> usize {
    (septets * 7 + fill_bits as usize).div_ceil(8)
}

/// Packs septets into octets, the first one `fill_bits` (0 to 6) above the lowest bit of the first octet.
///
/// Fill bits and what is left of the last octet are 0 (3GPP TS 23.038 §6.1.2.1.1).
#[must_use]
pub fn pack(septets: &[u8], fill_bits: u8) -> Vec<u8> {
    let mut octets = Vec::with_capacity(octets_for(septets.len(), fill_bits));
    let (mut bits, mut held) = (0_u16, u32::from(fill_bits % 7));
    for septet in septets {
        bits |= u16::from(septet & 0x7F) << held;
        held += 7;
        if held >= 8 {
            octets.push(low_octet(bits));
            bits >>= 8;
            held -= 8;
        }
    }
    if held > 0 {
        octets.push(low_octet(bits));
    }
    octets
}

/// Unpacks at most `count` septets that stand `fill_bits` (0 to 6) above the lowest bit of the first octet.
///
/// Returns fewer when the octets end before.
#[must_use]
pub fn unpack(octets: &[u8], count: usize, fill_bits: u8) -> Vec<u8> {
    let mut septets = Vec::with_capacity(count.min(octets.len() * 8 / 7));
    let (mut bits, mut held, mut skip) = (0_u16, 0_u32, u32::from(fill_bits % 7));
    for octet in octets {
        bits |= u16::from(*octet) << held;
        held += 8;
        if skip > 0 {
            bits >>= skip;
            held -= skip;
            skip = 0;
        }
        while held >= 7 && septets.len() < count {
            septets.push(low_octet(bits & 0x7F));
            bits >>= 7;
            held -= 7;
        }
        if septets.len() == count {
            break;
        }
    }
    septets
}

const fn low_octet(bits: u16) -> u8 {
    bits.to_le_bytes()[0]
}
