//! Texts with placeholders: checked when they are read, filled when an alert is told.

use std::fmt;
use thiserror::Error;

/// What can stand in braces in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Placeholder {
    /// Name of the area as people say it.
    Area,
    /// Name of the place of the node that decided.
    Place,
    /// The value that decided, with its unit.
    Value,
    /// Clock time of the alert.
    Time,
    /// Clock time until which the alert holds.
    Until,
    /// Who says so: the `sender` of the gateway.
    Sender,
    /// Number of warning and alert, such as `#7-2`, so that a repeated text is seen to be the same.
    Tag,
}

impl Placeholder {
    /// Every placeholder.
    pub const ALL: [Self; 7] =
        [Self::Area, Self::Place, Self::Value, Self::Time, Self::Until, Self::Sender, Self::Tag];

    /// Returns the word between the braces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Area => "area",
            Self::Place => "place",
            Self::Value => "value",
            Self::Time => "time",
            Self::Until => "until",
            Self::Sender => "sender",
            Self::Tag => "tag",
        }
    }
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    written: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Fill(Placeholder),
}

/// Why a text is no template. Offsets are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Not one of the placeholders.
    #[error("unknown placeholder {{{word}}}")]
    Unknown {
        /// What stands between the braces.
        word: String,
        /// Where the opening brace stands.
        offset: usize,
    },
    /// A brace without its partner.
    #[error("a brace without its partner; write {{{{ or }}}} for a brace itself")]
    Unpaired {
        /// Where it stands.
        offset: usize,
    },
}

impl Template {
    /// Reads a text: `{area}` is a placeholder, `{{` and `}}` are braces.
    ///
    /// # Errors
    ///
    /// Names the first placeholder that does not exist, or the brace that has no partner.
    pub fn parse(written: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut chars = written.char_indices().peekable();
        while let Some((offset, c)) = chars.next() {
            match c {
                '{' | '}' if chars.next_if(|(_, next)| *next == c).is_some() => literal.push(c),
                '}' => return Err(TemplateError::Unpaired { offset }),
                '{' => {
                    let mut word = String::new();
                    loop {
                        match chars.next() {
                            Some((_, '}')) => break,
                            Some((_, c)) if c != '{' => word.push(c),
                            Some(_) | None => return Err(TemplateError::Unpaired { offset }),
                        }
                    }
                    let fill = Placeholder::ALL
                        .into_iter()
                        .find(|p| p.as_str() == word)
                        .ok_or(TemplateError::Unknown { word, offset })?;
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Part::Fill(fill));
                }
                other => literal.push(other),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { written: written.to_owned(), parts })
    }

    /// Returns the text with every placeholder filled by `value_of`.
    pub fn render(&self, mut value_of: impl FnMut(Placeholder) -> String) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Literal(text) => text.clone(),
                Part::Fill(placeholder) => value_of(*placeholder),
            })
            .collect()
    }

    /// Returns the text as it was written.
    #[must_use]
    pub fn as_written(&self) -> &str {
        &self.written
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_doubled_braces_stay() {
        let template = Template::parse("{{{area}}} {value}!").unwrap();
        assert_eq!(template.render(|p| p.as_str().to_uppercase()), "{AREA} VALUE!");
        assert_eq!(template.as_written(), "{{{area}}} {value}!");
    }

    #[test]
    fn an_unknown_placeholder_and_a_lonely_brace_are_refused_where_they_stand() {
        let unknown = TemplateError::Unknown { word: "lvel".into(), offset: 3 };
        assert_eq!(Template::parse("at {lvel}"), Err(unknown));
        assert_eq!(Template::parse("at {value"), Err(TemplateError::Unpaired { offset: 3 }));
        assert_eq!(Template::parse("at } x"), Err(TemplateError::Unpaired { offset: 3 }));
        assert_eq!(Template::parse("{va{lue}"), Err(TemplateError::Unpaired { offset: 0 }));
    }
}
