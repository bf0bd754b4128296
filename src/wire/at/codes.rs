//! Error results, and what each means for the next step.

use std::fmt;

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// `ERROR`, and no more.
    Plain,
    /// `+CMS ERROR: n`, 3GPP TS 27.005 §3.2.5.
    Cms(u16),
    /// `+CME ERROR: n`, 3GPP TS 27.007 §9.2.
    Cme(u16),
    /// An error in words that no table knows.
    Words(String),
}

/// What helps against an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing went out; the network or the modem is busy, or out of reach.
    RetrySoon,
    /// Nothing went out, and nothing will until somebody mends the modem, the SIM or the configuration.
    FixConfiguration,
    /// Nothing went out; the operator refuses this SIM: no credit, or barred.
    CreditOrBarring,
    /// Nothing went out; this text will never reach this number.
    PermanentForRecipient,
    /// Nothing went out; the SIM's memory is full and has to be emptied first.
    Housekeeping,
    /// The error does not tell whether the network took the text.
    UnknownOutcome,
}

use Class::{
    CreditOrBarring, FixConfiguration, Housekeeping, PermanentForRecipient, RetrySoon,
    UnknownOutcome,
};

/// `+CMS ERROR` codes: 3GPP TS 27.005 §3.2.5, whose causes below 128 are those of TS 24.011 Annex E and whose causes
/// from 128 to 255 those of TS 23.040 §9.2.3.22.
///
/// Causes up to 255 are the network's own refusal: nothing went out. A failure of the equipment (300), a network timeout
/// (332), an unknown error (500) and a rejected duplicate (197) leave that open.
pub(super) const CMS: &[(u16, Class, &str)] = &[
    (1, PermanentForRecipient, "unassigned number"),
    (8, CreditOrBarring, "operator determined barring"),
    (10, CreditOrBarring, "call barred"),
    (21, CreditOrBarring, "short message transfer rejected"),
    (27, RetrySoon, "destination out of service"),
    (28, PermanentForRecipient, "unidentified subscriber"),
    (29, CreditOrBarring, "facility rejected"),
    (30, PermanentForRecipient, "unknown subscriber"),
    (38, RetrySoon, "network out of order"),
    (41, RetrySoon, "temporary failure"),
    (42, RetrySoon, "congestion"),
    (47, RetrySoon, "resources unavailable"),
    (50, CreditOrBarring, "requested facility not subscribed"),
    (69, FixConfiguration, "requested facility not implemented"),
    (81, RetrySoon, "invalid short message reference"),
    (95, PermanentForRecipient, "semantically incorrect message"),
    (96, PermanentForRecipient, "invalid mandatory information"),
    (97, PermanentForRecipient, "message type non-existent"),
    (98, RetrySoon, "message not compatible with state"),
    (99, PermanentForRecipient, "information element non-existent"),
    (111, RetrySoon, "protocol error"),
    (127, RetrySoon, "interworking, unspecified"),
    (128, PermanentForRecipient, "telematic interworking not supported"),
    (144, PermanentForRecipient, "alphabet not supported"),
    (145, PermanentForRecipient, "message class not supported"),
    (192, RetrySoon, "service centre busy"),
    (193, CreditOrBarring, "no subscription to the service centre"),
    (194, RetrySoon, "service centre system failure"),
    (195, PermanentForRecipient, "invalid address"),
    (196, PermanentForRecipient, "destination barred"),
    (197, UnknownOutcome, "rejected as a duplicate"),
    (198, PermanentForRecipient, "validity period format not supported"),
    (199, PermanentForRecipient, "validity period not supported"),
    (208, Housekeeping, "SIM storage full"),
    (211, Housekeeping, "memory capacity exceeded"),
    (255, UnknownOutcome, "unspecified"),
    (300, UnknownOutcome, "modem failure"),
    (301, RetrySoon, "SMS service of the modem reserved"),
    (302, RetrySoon, "operation not allowed"),
    (303, FixConfiguration, "operation not supported"),
    (304, PermanentForRecipient, "invalid PDU"),
    (305, PermanentForRecipient, "invalid text parameter"),
    (310, FixConfiguration, "SIM not inserted"),
    (311, FixConfiguration, "SIM PIN required"),
    (312, FixConfiguration, "phone-to-SIM PIN required"),
    (313, FixConfiguration, "SIM failure"),
    (314, RetrySoon, "SIM busy"),
    (315, FixConfiguration, "wrong SIM"),
    (316, FixConfiguration, "SIM PUK required"),
    (317, FixConfiguration, "SIM PIN2 required"),
    (318, FixConfiguration, "SIM PUK2 required"),
    (320, Housekeeping, "memory failure"),
    (321, RetrySoon, "invalid memory index"),
    (322, Housekeeping, "memory full"),
    (330, FixConfiguration, "service centre address unknown"),
    (331, RetrySoon, "no network service"),
    (332, UnknownOutcome, "network timeout"),
    (340, RetrySoon, "no acknowledgement expected"),
    (500, UnknownOutcome, "unknown error"),
];

/// `+CME ERROR` codes: 3GPP TS 27.007 §9.2; 515 is SIMCom's and Huawei's.
pub(super) const CME: &[(u16, Class, &str)] = &[
    (0, UnknownOutcome, "phone failure"),
    (1, RetrySoon, "no connection to phone"),
    (3, RetrySoon, "operation not allowed"),
    (4, FixConfiguration, "operation not supported"),
    (5, FixConfiguration, "phone-to-SIM PIN required"),
    (10, FixConfiguration, "SIM not inserted"),
    (11, FixConfiguration, "SIM PIN required"),
    (12, FixConfiguration, "SIM PUK required"),
    (13, FixConfiguration, "SIM failure"),
    (14, RetrySoon, "SIM busy"),
    (15, FixConfiguration, "wrong SIM"),
    (16, FixConfiguration, "incorrect password"),
    (17, FixConfiguration, "SIM PIN2 required"),
    (18, FixConfiguration, "SIM PUK2 required"),
    (20, Housekeeping, "memory full"),
    (21, RetrySoon, "invalid index"),
    (22, RetrySoon, "not found"),
    (23, Housekeeping, "memory failure"),
    (24, PermanentForRecipient, "text too long"),
    (25, PermanentForRecipient, "invalid characters in text"),
    (26, PermanentForRecipient, "number too long"),
    (27, PermanentForRecipient, "invalid characters in number"),
    (30, RetrySoon, "no network service"),
    (31, RetrySoon, "network timeout"),
    (32, CreditOrBarring, "network not allowed, emergency calls only"),
    (40, FixConfiguration, "network personalisation PIN required"),
    (100, UnknownOutcome, "unknown"),
    (515, RetrySoon, "please wait, starting"),
];

impl ErrorCode {
    /// Returns what helps against the error. Codes of no table, and the bare `ERROR`, leave the outcome open.
    #[must_use]
    pub fn class(&self) -> Class {
        self.entry().map_or(UnknownOutcome, |(class, _)| class)
    }

    /// Returns the code that `words` stand for, as a modem in verbose mode (`AT+CMEE=2`) gives them.
    #[must_use]
    pub fn from_cms_words(words: &str) -> Self {
        find(CMS, words).map_or_else(|| Self::unknown(words), Self::Cms)
    }

    /// Returns the code that `words` stand for, as a modem in verbose mode (`AT+CMEE=2`) gives them.
    #[must_use]
    pub fn from_cme_words(words: &str) -> Self {
        find(CME, words).map_or_else(|| Self::unknown(words), Self::Cme)
    }

    fn unknown(words: &str) -> Self {
        Self::Words(words.trim().chars().take(80).collect())
    }

    fn entry(&self) -> Option<(Class, &'static str)> {
        let (table, code) = match self {
            Self::Cms(code) => (CMS, code),
            Self::Cme(code) => (CME, code),
            Self::Plain | Self::Words(_) => return None,
        };
        table.iter().find(|(known, _, _)| known == code).map(|(_, class, words)| (*class, *words))
    }
}

/// The operator's words: `SIM storage full (CMS 208)`.
impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.entry().map_or("a code of the manufacturer's own", |(_, words)| words);
        match self {
            Self::Plain => f.write_str("refused without a reason"),
            Self::Cms(code) => write!(f, "{words} (CMS {code})"),
            Self::Cme(code) => write!(f, "{words} (CME {code})"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// Modems and we differ in a few words; letters and digits decide.
fn find(table: &[(u16, Class, &str)], words: &str) -> Option<u16> {
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let wanted = plain(words);
    let wanted = VERBOSE
        .iter()
        .find(|(theirs, _)| *theirs == wanted)
        .map_or(wanted.as_str(), |(_, ours)| ours);
    table.iter().find(|(_, _, known)| plain(known) == wanted).map(|(code, _, _)| *code)
}

/// Words of the standard where ours differ, letters and digits only.
const VERBOSE: &[(&str, &str)] = &[
    ("mefailure", "modemfailure"),
    ("operatordeterminedbarring", "operatordeterminedbarring"),
    ("scbusy", "servicecentrebusy"),
    ("scsystemfailure", "servicecentresystemfailure"),
    ("simsmsstoragefull", "simstoragefull"),
    ("invalidpdumodeparameter", "invalidpdu"),
    ("smscaddressunknown", "servicecentreaddressunknown"),
    ("nonetworkservice", "nonetworkservice"),
    ("phsimpinrequired", "phonetosimpinrequired"),
    ("simwrong", "wrongsim"),
    ("textstringtoolong", "texttoolong"),
];
