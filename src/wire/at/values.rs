//! Values inside the lines of an answer.

/// Fields of one line that are looked at; the rest is not kept.
const FIELDS_MAX: usize = 16;

/// Returns the fields after the colon of `line`, without their quotes. A comma inside quotes does not part fields.
#[must_use]
pub fn fields(line: &str) -> Vec<&str> {
    let values = line.split_once(':').map_or("", |(_, values)| values);
    split(values, ',').map(|field| field.trim().trim_matches('"')).take(FIELDS_MAX).collect()
}

/// Splits at `mark` where it stands outside quotes and brackets.
fn split(text: &str, mark: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut depth = 0_u8;
    text.split(move |c: char| {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth = depth.saturating_add(1),
            ')' if !quoted => depth = depth.saturating_sub(1),
            _other => {}
        }
        c == mark && !quoted && depth == 0
    })
}

/// Where a modem stands with a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// 1 or 5 (roaming): registered; 0: not, and not searching; 2: searching; 3: denied; 4: unknown. Newer modems say 6
    /// and 7 for "text messages only" (3GPP TS 27.007 §7.2).
    pub state: u8,
    /// Whether the line answers a question; else it is news.
    pub is_answer: bool,
}

impl Registration {
    /// Returns whether texts can be sent.
    #[must_use]
    pub const fn is_registered(self) -> bool {
        matches!(self.state, 1 | 5 | 6 | 7)
    }

    /// Returns the state in the operator's words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self.state {
            0 => "not searching for a network",
            1 => "registered",
            2 => "searching for a network",
            3 => "the network refuses this SIM",
            5 => "registered, roaming",
            6 | 7 => "registered for texts only",
            _other => "registration unknown",
        }
    }
}

/// Returns the registration that `+CREG`, `+CGREG` or `+CEREG` tells of (3GPP TS 27.007 §7.2, §10.1.20, §10.1.22).
///
/// The answer to a question has the mode before the state, both bare numbers; news has the state first.
#[must_use]
pub fn registration(line: &str) -> Option<Registration> {
    let (head, values) = line.split_once(':')?;
    if !matches!(head, "+CREG" | "+CGREG" | "+CEREG") {
        return None;
    }
    let mut parts = split(values, ',').map(str::trim);
    let first = parts.next()?.parse::<u8>().ok()?;
    match parts.next().and_then(|second| second.parse::<u8>().ok()) {
        Some(state) => Some(Registration { state, is_answer: true }),
        None => Some(Registration { state: first, is_answer: false }),
    }
}

/// Returns the signal strength of `+CSQ: rssi,ber` in dBm, -113 to -51; `None` when the modem does not know
/// (3GPP TS 27.007 §8.5).
#[must_use]
pub fn signal_dbm(line: &str) -> Option<i16> {
    let rssi: i16 = fields(line).first()?.parse().ok()?;
    (0..=31).contains(&rssi).then(|| 2 * rssi - 113)
}

/// Returns the operator's name and the technology of `+COPS: mode,format,"name",technology` (3GPP TS 27.007 §7.3).
#[must_use]
pub fn operator(line: &str) -> Option<(String, &'static str)> {
    let fields = fields(line);
    let name = fields.get(2).filter(|name| !name.is_empty())?;
    let technology = match fields.get(3).copied().unwrap_or_default() {
        "0" | "1" | "3" | "8" => "GSM",
        "2" | "4" | "5" | "6" => "UMTS",
        "7" | "9" => "LTE",
        "10" | "11" | "12" | "13" => "5G",
        _other => "",
    };
    Some((name.chars().take(40).collect(), technology))
}

/// Returns the service centre of `+CSCA: "number",type`, when there is one (3GPP TS 27.005 §3.3.1).
#[must_use]
pub fn service_centre(line: &str) -> Option<String> {
    fields(line)
        .first()
        .filter(|number| number.bytes().any(|b| b.is_ascii_digit()))
        .map(|number| (*number).to_owned())
}

/// How full a message storage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Places taken.
    pub used: u16,
    /// Places in all.
    pub total: u16,
}

impl Storage {
    /// Returns whether the storage may turn texts away: nine tenths, or all but one place.
    #[must_use]
    pub const fn is_nearly_full(self) -> bool {
        self.total > 0
            && (self.used + 1 >= self.total || self.used as u32 * 10 >= self.total as u32 * 9)
    }
}

/// Returns the last storage of `+CPMS`, the one that receives, from an answer to a setting (`used,total,…`) or to a
/// question (`"SM",used,total,…`) (3GPP TS 27.005 §3.2.2).
#[must_use]
pub fn storage(line: &str) -> Option<Storage> {
    let numbers: Vec<u16> = fields(line).iter().filter_map(|field| field.parse().ok()).collect();
    match *numbers.as_slice() {
        [.., used, total] => Some(Storage { used, total }),
        [] | [_] => None,
    }
}

/// Returns the place of `+CMTI: "SM",3`, `+CDSI: "SM",3` or `+CMGL: 3,…`; `None` for `-1` and the like.
#[must_use]
pub fn stored_index(line: &str) -> Option<u16> {
    let fields = fields(line);
    let place = if line.starts_with("+CMGL:") { fields.first() } else { fields.get(1) };
    place?.parse().ok()
}

/// What a modem offers for each parameter of `AT+CNMI` (mode, mt, bm, ds, bfr).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageSettings(pub Vec<Vec<u8>>);

impl MessageSettings {
    /// Returns whether each of `wanted` is among what is offered. Nothing is known of a parameter that is not listed.
    #[must_use]
    pub fn offers(&self, wanted: [u8; 5]) -> bool {
        wanted
            .iter()
            .enumerate()
            .all(|(place, value)| self.0.get(place).is_none_or(|offered| offered.contains(value)))
    }
}

/// Returns the ranges of `+CNMI: (0-2),(0,1,3),(0,2),(0-2),(0,1)` (3GPP TS 27.005 §3.4.1).
#[must_use]
pub fn message_settings(line: &str) -> Option<MessageSettings> {
    let values = line.strip_prefix("+CNMI:")?;
    Some(MessageSettings(split(values, ',').take(5).map(range).collect()))
}

fn range(text: &str) -> Vec<u8> {
    let text = text.trim().trim_matches(['(', ')']);
    let mut values = Vec::new();
    for part in text.split(',').take(FIELDS_MAX) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(from), Ok(to)) = (from.trim().parse::<u8>(), to.trim().parse::<u8>()) {
            values.extend((from..=to).take(FIELDS_MAX));
        }
    }
    values
}

/// A USSD line: `+CUSD: status,"text",scheme` (3GPP TS 27.007 §7.15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ussd {
    /// 0: done; 1: the network wants an answer; 2: ended; 3: somebody else answered; 4: not supported; 5: timed out.
    pub status: u8,
    /// The text as the modem gives it: plain, or in hexadecimal digits.
    pub text: String,
    /// Cell broadcast data coding scheme: 15 is GSM-7, 72 UCS-2 (3GPP TS 23.038 §5).
    pub scheme: u8,
}

impl Ussd {
    /// Reads a `+CUSD` line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let values = line.strip_prefix("+CUSD:")?.trim();
        let (status, rest) = values.split_once(',').unwrap_or((values, ""));
        // The text may hold quotes: the last one closes it.
        let (text, scheme) = match (rest.find('"'), rest.rfind('"')) {
            (Some(open), Some(close)) if open < close => {
                (rest.get(open + 1..close), rest.get(close + 1..))
            }
            (Some(open), _) => (rest.get(open + 1..), None),
            // Huawei E160 writes its digits without quotes.
            (None, _) => {
                let (text, scheme) = rest.split_once(',').unwrap_or((rest, ""));
                (Some(text.trim()), Some(scheme))
            }
        };
        Some(Self {
            status: status.trim().parse().ok()?,
            text: text.unwrap_or_default().to_owned(),
            scheme: scheme
                .and_then(|s| s.trim_start_matches(',').trim().parse().ok())
                .unwrap_or(15),
        })
    }
}
