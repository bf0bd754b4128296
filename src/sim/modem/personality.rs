//! Four modems that people really use, as data.

/// A model of modem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Personality {
    /// `SIMCom` SIM800: 2G, the cheapest board.
    #[default]
    Sim800,
    /// `SIMCom` SIM7600: LTE.
    Sim7600,
    /// Quectel EC25: LTE.
    Ec25,
    /// Huawei E3372 stick: LTE, talkative.
    E3372,
}

impl Personality {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Sim800, Self::Sim7600, Self::Ec25, Self::E3372];

    /// Returns its word in configurations and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sim800 => "sim800",
            Self::Sim7600 => "sim7600",
            Self::Ec25 => "ec25",
            Self::E3372 => "e3372",
        }
    }

    /// Returns the personality that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|personality| personality.as_str() == word)
    }

    /// Returns what is particular to it.
    pub(super) const fn traits(self) -> &'static Traits {
        match self {
            Self::Sim800 => &SIM800,
            Self::Sim7600 => &SIM7600,
            Self::Ec25 => &EC25,
            Self::E3372 => &E3372,
        }
    }
}

/// How USSD texts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UssdStyle {
    /// Both ways in the chosen character set.
    Plain,
    /// Codes as packed septets in hexadecimal digits; answers so too, or in UCS-2 where they need it.
    Packed,
    /// Codes in the chosen character set, answers in UCS-2 hexadecimal digits.
    Ucs2Answer,
}

/// How the network shows on `+CREG`, `+CGREG` and `+CEREG`; `None` is a command that the modem does not know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registration {
    pub(super) circuit: u8,
    pub(super) packet: u8,
    pub(super) lte: Option<u8>,
    /// Access technology of 3GPP TS 27.007 §7.2 (0 GSM, 7 E-UTRAN), told with the cell.
    pub(super) technology: Option<u8>,
}

/// What is particular to a model.
#[derive(Debug)]
pub(super) struct Traits {
    pub(super) maker: &'static str,
    pub(super) model: &'static str,
    pub(super) revision: &'static str,
    pub(super) imei: &'static str,
    pub(super) information: &'static [&'static str],
    pub(super) capabilities: &'static str,
    /// Values of `+CNMI` that are accepted, place by place.
    pub(super) announcements: [&'static [u8]; 5],
    pub(super) registration: Registration,
    /// Lines after power-up or reset.
    pub(super) boot: &'static [&'static str],
    /// Lines that come by themselves, one after the other, while the modem is chatty.
    pub(super) noise: &'static [&'static str],
    /// Switches the noise on and off, and how it stands at start. `+QINDCFG` has it in its second parameter.
    pub(super) noise_switch: Option<(&'static str, bool)>,
    /// Message memories and their sizes, the first one chosen at start.
    pub(super) memories: &'static [(&'static str, usize)],
    pub(super) charsets: &'static [&'static str],
    pub(super) ussd: UssdStyle,
    /// `+CMEE` at start.
    pub(super) error_form: u8,
    /// Commands of the model's own that are answered `OK`, without their parameters.
    pub(super) own: &'static [&'static str],
    /// Answer to the command that tells how many tries the PIN has: name, text before the number.
    pub(super) pin_tries: (&'static str, &'static str, &'static str),
    /// The prefix that the answer to `+CGSN` and `+CGMR` has.
    pub(super) revision_prefix: &'static str,
    /// What is said when a message finds no room.
    pub(super) memory_full: Option<&'static str>,
}

static SIM800: Traits = Traits {
    maker: "SIMCOM_Ltd",
    model: "SIMCOM_SIM800L",
    revision: "1418B05SIM800L24",
    imei: "865067021234564",
    information: &["SIM800 R14.18"],
    capabilities: "+FCLASS,+CGSM",
    announcements: [&[0, 1, 2], &[0, 1, 2, 3], &[0, 2], &[0, 1], &[0, 1]],
    registration: Registration { circuit: 1, packet: 1, lte: None, technology: None },
    boot: &["RDY", "+CFUN: 1", "+CPIN: READY", "Call Ready", "SMS Ready"],
    noise: &[],
    noise_switch: None,
    memories: &[("SM", 30), ("ME", 50)],
    charsets: &["IRA", "GSM", "UCS2", "HEX", "PCCP", "PCDN", "8859-1"],
    ussd: UssdStyle::Plain,
    error_form: 0,
    own: &["+CSCLK", "+CIURC", "+CLTS", "+CMTE", "+CBC", "+CSDT", "+CNETLIGHT", "+CGSMS"],
    pin_tries: ("+SPIC", "+SPIC: ", ",10,0,10"),
    revision_prefix: "Revision:",
    memory_full: None,
};

static SIM7600: Traits = Traits {
    maker: "SIMCOM INCORPORATED",
    model: "SIMCOM_SIM7600E-H",
    revision: "LE20B03SIM7600M22",
    imei: "861477031234561",
    information: &[
        "Manufacturer: SIMCOM INCORPORATED",
        "Model: SIMCOM_SIM7600E-H",
        "Revision: SIM7600M22_V2.0",
        "IMEI: 861477031234561",
        "+GCAP: +CGSM",
    ],
    capabilities: "+CGSM",
    announcements: [&[0, 1, 2], &[0, 1, 2, 3], &[0, 2], &[0, 1, 2], &[0, 1]],
    registration: Registration { circuit: 2, packet: 1, lte: Some(1), technology: Some(7) },
    boot: &["RDY", "+CPIN: READY", "SMS DONE", "PB DONE"],
    noise: &[],
    noise_switch: None,
    memories: &[("ME", 23), ("SM", 30), ("MT", 53)],
    charsets: &["IRA", "GSM", "UCS2"],
    ussd: UssdStyle::Ucs2Answer,
    error_form: 0,
    own: &["+CGSMS", "+CNMP", "+CPSI", "+CUSBPIDSWITCH", "+CSCLK"],
    pin_tries: ("+SPIC", "+SPIC: ", ",10,0,10"),
    revision_prefix: "+CGMR: ",
    memory_full: None,
};

static EC25: Traits = Traits {
    maker: "Quectel",
    model: "EC25",
    revision: "EC25EFAR06A06M4G",
    imei: "866425031234567",
    information: &["Quectel", "EC25", "Revision: EC25EFAR06A06M4G"],
    capabilities: "+CGSM",
    announcements: [&[0, 1, 2], &[0, 1, 2, 3], &[0, 2], &[0, 1, 2], &[0, 1]],
    registration: Registration { circuit: 1, packet: 1, lte: Some(1), technology: Some(7) },
    boot: &["RDY", "+CPIN: READY", "+QUSIM: 1", "+CFUN: 1", "+QIND: SMS DONE", "+QIND: PB DONE"],
    noise: &["+QIND: \"csq\",22,99"],
    noise_switch: Some(("+QINDCFG", false)),
    memories: &[("SM", 50), ("ME", 255), ("MT", 305)],
    charsets: &["GSM", "IRA", "UCS2"],
    ussd: UssdStyle::Plain,
    error_form: 1,
    own: &["+QCFG", "+QURCCFG", "+QINDCFG", "+QSCLK", "+QNWINFO", "+CGSMS", "+QGPS"],
    pin_tries: ("+QPINC", "+QPINC: \"SC\",", ",10"),
    revision_prefix: "",
    memory_full: Some("+QIND: \"smsfull\",\"SM\""),
};

static E3372: Traits = Traits {
    maker: "huawei",
    model: "E3372",
    revision: "21.326.62.00.55",
    imei: "861821031234569",
    information: &[
        "Manufacturer: huawei",
        "Model: E3372",
        "Revision: 21.326.62.00.55",
        "IMEI: 861821031234569",
        "+GCAP: +CGSM,+DS,+ES",
    ],
    capabilities: "+CGSM,+DS,+ES",
    announcements: [&[0, 1, 2], &[0, 1, 2, 3], &[0, 2, 3], &[0, 1, 2], &[0, 1]],
    registration: Registration { circuit: 1, packet: 1, lte: Some(1), technology: Some(7) },
    boot: &["^SYSSTART", "^SIMST:1", "^SRVST:2"],
    noise: &["^RSSI:17", "^HCSQ:\"LTE\",44,39,121,20", "^MODE:6,0"],
    noise_switch: Some(("^CURC", true)),
    memories: &[("SM", 20), ("ME", 100)],
    charsets: &["IRA", "UCS2", "GSM"],
    ussd: UssdStyle::Packed,
    error_form: 0,
    own: &["^CURC", "^PORTSEL", "^BOOT", "^DSFLOWQRY", "^U2DIAG", "^SYSCFGEX", "^NDISDUP"],
    pin_tries: ("^CPIN", "^CPIN: READY,,10,", ",10,3"),
    revision_prefix: "",
    memory_full: Some("^SMMEMFULL:\"SM\""),
};
