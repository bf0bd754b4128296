//! The operator's account with a provider.

use std::collections::BTreeMap;
use std::fmt;

/// A password, key or token. It has no readable form.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `plain`.
    #[must_use]
    pub fn new(plain: impl Into<String>) -> Self {
        Self(plain.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a preset's placeholders need to know of the operator.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Sender's name, number or short code, where the provider takes one.
    pub from: Option<String>,
    /// Values of `{setting.NAME}`; what is absent has the preset's default.
    pub settings: BTreeMap<String, String>,
    /// Values of `{secret.NAME}`.
    pub secrets: BTreeMap<String, Secret>,
    /// Address at which the provider can reach our receiver of delivery reports, path secret included. `None` when it
    /// cannot, as behind most mobile networks: then reports are asked for, where the provider lets us.
    pub dlr_url: Option<String>,
    /// Country calling code in digits, such as `252`: providers that want national numbers need it.
    pub country_code: Option<String>,
}

impl fmt::Debug for Account {
    // Operators put keys into settings by mistake, and the report address holds its path secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").finish_non_exhaustive()
    }
}

impl Account {
    /// Returns the national significant number of `to`, when it is of the account's country.
    pub(super) fn national<'n>(&self, to: &'n str) -> Option<&'n str> {
        to.strip_prefix('+')?.strip_prefix(self.country_code.as_deref()?)
    }
}
