//! Recipients: who is to be told, in which language, by which number.

use std::fmt;
use thiserror::Error;

/// Number of a recipient: what logs and exports carry instead of a telephone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipientId(pub i64);

/// What a recipient does. Any lower-case word of the configuration; some have a meaning of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(pub String);

impl Role {
    /// The role that hears of faults.
    pub const TECHNICIAN: &'static str = "technician";

    /// Returns whether this is the role that hears of faults.
    #[must_use]
    pub fn is_technician(&self) -> bool {
        self.0 == Self::TECHNICIAN
    }
}

/// A person or body to be told.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Their number here.
    pub id: RecipientId,
    /// What they are called.
    pub name: String,
    /// Their telephone number.
    pub number: PhoneNumber,
    /// What they do.
    pub role: Role,
    /// Language of their texts: a BCP 47 tag such as `sw`.
    pub language: String,
    /// Names of the areas that they are told about; `*` means all.
    pub areas: Vec<String>,
    /// Whether they have agreed to be told. Nobody is sent a text without.
    pub consent: bool,
}

impl Recipient {
    /// Returns whether they are told about `area`.
    #[must_use]
    pub fn covers(&self, area: &str) -> bool {
        self.areas.iter().any(|own| own == "*" || own == area)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient")
            .field("id", &self.id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A telephone number in the form of ITU-T E.164: `+`, then 7 to 15 digits of which the first is not 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumber(String);

/// Why a text is no telephone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PhoneNumberError {
    /// Without `+` and country code nobody knows which country it is in.
    #[error("a telephone number starts with + and the country code, such as +255712345678")]
    NoCountryCode,
    /// Anything but digits, spaces, dots, dashes and brackets.
    #[error("a telephone number has nothing but digits after the +")]
    NotADigit,
    /// Too short or too long.
    #[error("a telephone number has 7 to 15 digits after the +")]
    Length,
}

impl PhoneNumber {
    /// Reads a number as people write it: spaces, dots, dashes and brackets are dropped, a leading `00` means `+`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn parse(written: &str) -> Result<Self, PhoneNumberError> {
        let bare: String = written
            .chars()
            .filter(|c| !c.is_whitespace() && !matches!(c, '.' | '-' | '(' | ')' | '/'))
            .collect();
        let digits = bare
            .strip_prefix('+')
            .or_else(|| bare.strip_prefix("00"))
            .ok_or(PhoneNumberError::NoCountryCode)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PhoneNumberError::NotADigit);
        }
        if digits.starts_with('0') {
            return Err(PhoneNumberError::NoCountryCode);
        }
        if !(7..=15).contains(&digits.len()) {
            return Err(PhoneNumberError::Length);
        }
        Ok(Self(format!("+{digits}")))
    }

    /// Returns `+` and the digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the number with all but its ends hidden, for screens that others may see.
    #[must_use]
    pub fn masked(&self) -> String {
        let length = self.0.chars().count();
        self.0
            .chars()
            .enumerate()
            .map(|(i, c)| if i < 4 || i + 2 >= length { c } else { '•' })
            .collect()
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_as_people_write_it() {
        for written in ["+255 712 345 678", "00255-712-345-678", "+255(712)345.678"] {
            assert_eq!(PhoneNumber::parse(written).unwrap().as_str(), "+255712345678", "{written}");
        }
    }

    #[test]
    fn a_number_that_no_network_knows_is_refused_with_the_reason() {
        for (written, reason) in [
            ("0712345678", PhoneNumberError::NoCountryCode),
            ("+0712345678", PhoneNumberError::NoCountryCode),
            ("+25571234567x", PhoneNumberError::NotADigit),
            ("+2557", PhoneNumberError::Length),
            ("+2557123456789012", PhoneNumberError::Length),
            ("", PhoneNumberError::NoCountryCode),
        ] {
            assert_eq!(PhoneNumber::parse(written), Err(reason), "{written}");
        }
    }

    #[test]
    fn a_debug_line_holds_no_number() {
        let number = PhoneNumber::parse("+255712345678").unwrap();
        assert!(!format!("{number:?}").contains("712"));
        assert_eq!(number.masked(), "+255•••••••78");
    }
}
