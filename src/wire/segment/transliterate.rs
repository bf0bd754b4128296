//! Replacements that keep a text out of UCS-2, by language. Only used where asked for.

/// A map of characters to what may stand for them: those of typography, and those of one language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transliteration {
    letters: &'static [(char, &'static str)],
}

impl Transliteration {
    /// Returns the map for a language tag (`fr`, `pt-BR`), by its first part; `None` when there is none.
    #[must_use]
    pub fn for_language(tag: &str) -> Option<Self> {
        let language = tag.split(['-', '_']).next().unwrap_or(tag).to_ascii_lowercase();
        let letters = match language.as_str() {
            "en" | "sw" | "so" | "id" | "tl" | "fil" => &[],
            "fr" => FRENCH,
            "pt" => PORTUGUESE,
            "es" => SPANISH,
            "ha" => HAUSA,
            "tr" => TURKISH,
            "hi" | "ne" | "bn" => DANDA,
            "ur" => URDU,
            _ => return None,
        };
        Some(Self { letters })
    }

    /// Returns what may stand for `c`.
    #[must_use]
    pub fn replacement(self, c: char) -> Option<&'static str> {
        let maps = [self.letters, TYPOGRAPHY];
        maps.into_iter().flatten().find(|(from, _)| *from == c).map(|(_, to)| *to)
    }
}

/// What word processors put for keys of the keyboard.
const TYPOGRAPHY: &[(char, &str)] = &[
    ('\u{2018}', "'"),
    ('\u{2019}', "'"),
    ('\u{201A}', "'"),
    ('`', "'"),
    ('\u{201C}', "\""),
    ('\u{201D}', "\""),
    ('\u{201E}', "\""),
    ('«', "\""),
    ('»', "\""),
    ('\u{2010}', "-"),
    ('\u{2011}', "-"),
    ('\u{2013}', "-"),
    ('\u{2014}', "-"),
    ('\u{2212}', "-"),
    ('•', "-"),
    ('…', "..."),
    ('\u{A0}', " "),
    ('\u{2009}', " "),
    ('\u{202F}', " "),
    ('\t', " "),
    ('\u{AD}', ""),
    ('\u{FEFF}', ""),
];

const FRENCH: &[(char, &str)] = &[
    ('â', "a"),
    ('ç', "c"),
    ('ê', "e"),
    ('ë', "e"),
    ('î', "i"),
    ('ï', "i"),
    ('ô', "o"),
    ('œ', "oe"),
    ('û', "u"),
    ('ÿ', "y"),
    ('À', "A"),
    ('Â', "A"),
    ('È', "E"),
    ('Ê', "E"),
    ('Ë', "E"),
    ('Î', "I"),
    ('Ï', "I"),
    ('Ô', "O"),
    ('Œ', "OE"),
    ('Ù', "U"),
    ('Û', "U"),
    ('Ÿ', "Y"),
];

const PORTUGUESE: &[(char, &str)] = &[
    ('á', "a"),
    ('â', "a"),
    ('ã', "a"),
    ('ç', "c"),
    ('ê', "e"),
    ('í', "i"),
    ('ó', "o"),
    ('ô', "o"),
    ('õ', "o"),
    ('ú', "u"),
    ('Á', "A"),
    ('Â', "A"),
    ('Ã', "A"),
    ('À', "A"),
    ('Ê', "E"),
    ('Í', "I"),
    ('Ó', "O"),
    ('Ô', "O"),
    ('Õ', "O"),
    ('Ú', "U"),
    ('º', "o"),
    ('ª', "a"),
];

const SPANISH: &[(char, &str)] = &[
    ('á', "a"),
    ('í', "i"),
    ('ó', "o"),
    ('ú', "u"),
    ('Á', "A"),
    ('Í', "I"),
    ('Ó', "O"),
    ('Ú', "U"),
    ('º', "o"),
    ('ª', "a"),
];

const HAUSA: &[(char, &str)] = &[
    ('ɓ', "b"),
    ('ɗ', "d"),
    ('ƙ', "k"),
    ('ƴ', "y"),
    ('Ɓ', "B"),
    ('Ɗ', "D"),
    ('Ƙ', "K"),
    ('Ƴ', "Y"),
];

const TURKISH: &[(char, &str)] = &[
    ('ç', "c"),
    ('ğ', "g"),
    ('ı', "i"),
    ('ş', "s"),
    ('â', "a"),
    ('î', "i"),
    ('û', "u"),
    ('Ğ', "G"),
    ('İ', "I"),
    ('Ş', "S"),
];

/// The full stop of Devanagari and Bengali, which the Bengali tables lack.
const DANDA: &[(char, &str)] = &[('।', "."), ('॥', ".")];

/// The tanwin that the Urdu tables lack, and marks that stand at codes of two septets.
const URDU: &[(char, &str)] = &[('\u{64B}', ""), ('۔', "."), ('،', ",")];
