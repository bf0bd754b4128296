//! Presets: what a provider wants to be asked, and what its answers mean, as data.
//!
//! A preset is a TOML file; those in `presets/` are part of the program, an operator's own has the same form. The
//! fields are described in `docs/sms-providers.md`.

use super::path::{Condition, Path};
use super::template::{Escape, JsonTemplate, Name, Template};
use serde::Deserialize;
use std::collections::BTreeMap;
use thiserror::Error;

/// The presets that the program carries, by id.
pub const BUILTIN: [(&str, &str); 24] = [
    ("africastalking", include_str!("presets/africastalking.toml")),
    ("beem", include_str!("presets/beem.toml")),
    ("bulksms", include_str!("presets/bulksms.toml")),
    ("clickatell", include_str!("presets/clickatell.toml")),
    ("dmark", include_str!("presets/dmark.toml")),
    ("generic", include_str!("presets/generic.toml")),
    ("globelabs", include_str!("presets/globelabs.toml")),
    ("hormuud", include_str!("presets/hormuud.toml")),
    ("infobip", include_str!("presets/infobip.toml")),
    ("jasmin", include_str!("presets/jasmin.toml")),
    ("kannel", include_str!("presets/kannel.toml")),
    ("m3tech", include_str!("presets/m3tech.toml")),
    ("macrokiosk", include_str!("presets/macrokiosk.toml")),
    ("msg91", include_str!("presets/msg91.toml")),
    ("mtn", include_str!("presets/mtn.toml")),
    ("playmobile", include_str!("presets/playmobile.toml")),
    ("rapidpro-api", include_str!("presets/rapidpro-api.toml")),
    ("sms-gateway-android", include_str!("presets/sms-gateway-android.toml")),
    ("telesom", include_str!("presets/telesom.toml")),
    ("termii", include_str!("presets/termii.toml")),
    ("termii-bulk", include_str!("presets/termii-bulk.toml")),
    ("twilio", include_str!("presets/twilio.toml")),
    ("vonage", include_str!("presets/vonage.toml")),
    ("yo", include_str!("presets/yo.toml")),
];

/// Why a preset cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// The program carries no preset of that id.
    #[error("cannot find a preset named {0:?}")]
    NoSuchPreset(String),
    /// It is not TOML, or has fields that mean nothing. The source says where.
    #[error("cannot read preset")]
    Toml(#[source] Box<toml::de::Error>),
    /// It contradicts itself.
    #[error("cannot use preset {preset:?}: {fault}")]
    Fault {
        /// The preset's name.
        preset: String,
        /// What is wrong with it.
        fault: String,
    },
}

/// One provider, as data.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Provider's name, for people.
    pub name: String,
    /// Where it works, in the provider's words.
    #[serde(default)]
    pub countries: String,
    /// Whether the preset rests on the provider's complete published description.
    pub verified: bool,
    /// Where the facts are from.
    pub source: String,
    /// What the operator must know: registration of senders, what is not known.
    #[serde(default)]
    pub note: String,
    /// Set when the engine cannot do what the provider asks for: why.
    pub unsupported: Option<String>,
    /// The `{setting.NAME}`s.
    #[serde(default)]
    pub settings: BTreeMap<String, Need>,
    /// The `{secret.NAME}`s.
    #[serde(default)]
    pub secrets: BTreeMap<String, Need>,
    #[serde(default)]
    pub(super) auth: Auth,
    pub(super) send: Call,
    pub(super) batch: Option<Batch>,
    pub(super) reply: Reply,
    #[serde(default)]
    pub(super) receipt: Receipts,
    pub(super) balance: Option<BalanceQuery>,
    /// The provider's rate, where it names one.
    pub limit: Option<Limit>,
}

/// A value that the operator gives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// What it is and where to find it.
    pub about: String,
    /// Used when the operator gives none.
    pub default: Option<String>,
    /// Whether the provider can do without.
    #[serde(default)]
    pub optional: bool,
}

/// The provider's rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Requests a second in the long run.
    pub per_second: f64,
    /// Requests that may go out at once after a pause.
    pub burst: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    pub(super) basic: Option<Basic>,
    pub(super) bearer: Option<Template>,
    pub(super) token: Option<TokenStep>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Basic {
    pub(super) user: Template,
    pub(super) password: Template,
}

/// A request made before the first message, for a token that lives for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenStep {
    pub(super) call: Call,
    pub(super) token: Path,
    pub(super) expires_in: Option<Path>,
    /// Life of a token whose answer names none.
    pub(super) lifetime_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Method {
    Get,
    Post,
}

/// One HTTP request. At most one of `form`, `json` and `raw` makes its body.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Template,
    #[serde(default)]
    pub(super) query: BTreeMap<String, Template>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Template>,
    pub(super) form: Option<BTreeMap<String, Template>>,
    pub(super) json: Option<JsonTemplate>,
    pub(super) raw: Option<Raw>,
}

/// A body of any other format.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) template: Template,
    pub(super) content_type: String,
    pub(super) escape: Escape,
}

/// How several messages share a request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    /// Most messages in one request.
    pub(super) max: usize,
    /// Top-level array of the JSON body whose element is repeated; without it `{to}` becomes a comma-separated list.
    pub(super) repeat: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    Json,
    Text,
}

/// What an answer to a submission means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    pub(super) format: Format,
    /// Array with one item for a recipient (or a segment); the rules' paths start from the item.
    pub(super) each: Option<Path>,
    /// Recipient's number in an item.
    pub(super) to: Option<Path>,
    pub(super) id: Option<Id>,
    /// The provider's code, shown to the operator when a message is not accepted.
    pub(super) code: Option<Path>,
    /// The first that fits decides.
    pub(super) rule: Vec<Rule>,
}

/// Where the provider's id of a message stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Id {
    Path(Path),
    /// Between two markers in a text.
    Between(String, String),
    Header(String),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Any of these HTTP statuses; empty means any.
    #[serde(default)]
    pub(super) status: Vec<u16>,
    /// All of these.
    #[serde(default, rename = "where")]
    pub(super) conditions: Vec<Condition>,
    pub(super) then: Verdict,
    /// In the operator's words.
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Accepted,
    Retry,
    Rejected,
    ChannelDown,
    Unknown,
}

/// Delivery reports.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receipts {
    #[serde(default)]
    pub(super) states: States,
    pub(super) webhook: Option<Webhook>,
    pub(super) poll: Option<Poll>,
}

/// The provider's words for what became of a message. A word that is in none of the lists says nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct States {
    #[serde(default)]
    pub(super) delivered: Vec<String>,
    #[serde(default)]
    pub(super) pending: Vec<String>,
    #[serde(default)]
    pub(super) failed: Vec<String>,
    #[serde(default)]
    pub(super) expired: Vec<String>,
}

/// Reports that the provider brings. Query and form become one object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    pub(super) format: WebhookFormat,
    pub(super) each: Option<Path>,
    pub(super) reference: Path,
    pub(super) state: Path,
    pub(super) to: Option<Path>,
    pub(super) reason: Option<Path>,
    #[serde(default)]
    pub(super) answer: String,
    pub(super) signature: Option<Signature>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WebhookFormat {
    Form,
    Json,
}

/// HMAC-SHA256 in hexadecimal over the body and then some headers. Checked when the account has the secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signature {
    pub(super) header: String,
    pub(super) secret: String,
    #[serde(default)]
    pub(super) then_headers: Vec<String>,
}

/// Reports that we fetch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Poll {
    pub(super) call: Call,
    pub(super) each: Option<Path>,
    pub(super) state: Path,
    pub(super) to: Option<Path>,
    pub(super) reason: Option<Path>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BalanceQuery {
    pub(super) call: Call,
    pub(super) path: Path,
}

impl Preset {
    /// Reads a preset from TOML.
    ///
    /// # Errors
    ///
    /// [`Error::Toml`] or [`Error::Fault`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let preset: Self = toml::from_str(text).map_err(|error| Error::Toml(Box::new(error)))?;
        match preset.first_fault() {
            Some(fault) => Err(Error::Fault { preset: preset.name, fault }),
            None => Ok(preset),
        }
    }

    /// Returns the preset `id` of [`BUILTIN`].
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchPreset`]; the others only if the program was built from a broken file.
    pub fn builtin(id: &str) -> Result<Self, Error> {
        match BUILTIN.iter().find(|(known, _)| *known == id) {
            Some((_, text)) => Self::parse(text),
            None => Err(Error::NoSuchPreset(id.to_owned())),
        }
    }

    /// Returns whether reports can be fetched, and so work behind a mobile network.
    #[must_use]
    pub const fn can_poll(&self) -> bool {
        self.receipt.poll.is_some()
    }

    /// Returns whether the provider can bring reports to an address of ours.
    #[must_use]
    pub const fn has_webhook(&self) -> bool {
        self.receipt.webhook.is_some()
    }

    /// Returns whether the provider can be asked for what is left on the account.
    #[must_use]
    pub const fn has_balance(&self) -> bool {
        self.balance.is_some()
    }

    /// Returns the most messages that share a request.
    #[must_use]
    pub fn batch_max(&self) -> usize {
        self.batch.as_ref().map_or(1, |batch| batch.max.max(1))
    }

    fn calls(&self) -> impl Iterator<Item = &Call> {
        [
            Some(&self.send),
            self.auth.token.as_ref().map(|token| &token.call),
            self.receipt.poll.as_ref().map(|poll| &poll.call),
            self.balance.as_ref().map(|balance| &balance.call),
        ]
        .into_iter()
        .flatten()
    }

    fn first_fault(&self) -> Option<String> {
        for name in self.calls().flat_map(Call::names).chain(self.auth.names()) {
            let declared = name.account_key().map(|(table, key)| match table {
                "secret" => (table, key, self.secrets.contains_key(key)),
                _ => (table, key, self.settings.contains_key(key)),
            });
            if let Some((table, key, false)) = declared {
                return Some(format!("[{table}s] does not declare {key:?}"));
            }
        }
        if let Some(call) = self.calls().find(|call| call.bodies() > 1) {
            return Some(format!("{:?} has more than one of form, json and raw", call.method));
        }
        if !self.reply.rule.iter().any(|rule| rule.then == Verdict::Accepted) {
            return Some("no rule says when a message is accepted".to_owned());
        }
        let blind = |rule: &&Rule| rule.then == Verdict::Accepted && rule.conditions.is_empty();
        if self.reply.each.is_some() && self.reply.rule.iter().any(|rule| blind(&rule)) {
            return Some("with `each`, an accepted rule must look at the item".to_owned());
        }
        let statusless = |rule: &Rule| rule.then == Verdict::Accepted && rule.status.is_empty();
        if self.reply.rule.iter().any(statusless) {
            return Some("an accepted rule must name its HTTP statuses".to_owned());
        }
        self.batch.as_ref().and_then(|batch| self.batch_fault(batch))
    }

    /// A key that covers several messages would change when fewer of them are tried again, and so drop no repetition.
    fn batch_fault(&self, batch: &Batch) -> Option<String> {
        if self.send.names_once(batch.repeat.as_deref()).contains(&&Name::Key) {
            return Some("{key} stands outside the repeated element of a batch".to_owned());
        }
        match (&batch.repeat, &self.send.json) {
            (Some(repeat), Some(json)) if json.names(Some(repeat)).1.is_empty() => {
                Some(format!("the JSON body has no array {repeat:?}"))
            }
            (Some(_), None) => Some("batch.repeat needs a JSON body".to_owned()),
            (Some(_) | None, Some(_)) | (None, None) => None,
        }
    }
}

impl Auth {
    fn names(&self) -> impl Iterator<Item = &Name> {
        let basic = self.basic.iter().flat_map(|basic| [&basic.user, &basic.password]);
        basic.chain(&self.bearer).flat_map(Template::names)
    }
}

impl Call {
    fn bodies(&self) -> usize {
        [self.form.is_some(), self.json.is_some(), self.raw.is_some()]
            .into_iter()
            .filter(|there| *there)
            .count()
    }

    fn names(&self) -> Vec<&Name> {
        self.names_once(None)
    }

    /// Returns the placeholders that stand outside the JSON array `repeat`.
    pub(super) fn names_once(&self, repeat: Option<&str>) -> Vec<&Name> {
        let fields = self.query.values().chain(self.headers.values());
        let form = self.form.iter().flat_map(BTreeMap::values);
        let raw = self.raw.iter().map(|raw| &raw.template);
        let templates = fields.chain(form).chain(raw).chain([&self.url]);
        let json = self.json.iter().flat_map(|json| json.names(repeat).0);
        templates.flat_map(Template::names).chain(json).collect()
    }
}
