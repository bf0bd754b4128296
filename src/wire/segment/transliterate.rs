//! Replacements that keep a text out of UCS-2, by language. Only used where asked for.

/// A map of characters to what may stand for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transliteration {
    language: &'static str,
}

impl Transliteration {
    /// Returns the map for a language tag (`fr`, `pt-BR`); `None` when there is none.
    #[must_use]
    pub fn for_language(_tag: &str) -> Option<Self> {
        todo!()
    }
}
