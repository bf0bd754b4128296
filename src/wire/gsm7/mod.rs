//! The GSM 7-bit alphabets (3GPP TS 23.038): default, extension and national tables.

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
    #[must_use]
    pub fn encode(self, _text: &str) -> Option<Vec<u8>> {
        todo!()
    }

    /// Returns how many septets `c` takes, 1 or 2; `None` when it is in neither table.
    #[must_use]
    pub fn septets(self, _c: char) -> Option<usize> {
        todo!()
    }

    /// Returns the text of `septets`.
    #[must_use]
    pub fn decode(self, _septets: &[u8]) -> String {
        todo!()
    }
}

/// Packs septets into octets, the first one `fill_bits` (0 to 6) above the lowest bit of the first octet.
#[must_use]
pub fn pack(_septets: &[u8], _fill_bits: u8) -> Vec<u8> {
    todo!()
}

/// Unpacks at most `count` septets that stand `fill_bits` (0 to 6) above the lowest bit of the first octet.
#[must_use]
pub fn unpack(_octets: &[u8], _count: usize, _fill_bits: u8) -> Vec<u8> {
    todo!()
}
