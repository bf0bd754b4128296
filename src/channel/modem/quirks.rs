//! What is particular to a model, as data.

/// How a USSD code has to be written in `AT+CUSD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UssdForm {
    /// As it is: `"*100#"`.
    Text,
    /// As packed septets in hexadecimal digits: `"AA180C3602"`.
    Packed,
}

/// What is particular to a model.
#[derive(Debug, PartialEq, Eq)]
pub struct Quirks {
    /// Name in the configuration and on screens.
    pub name: &'static str,
    /// Parts of what the modem calls itself (`AT+CGMI`, `AT+CGMM`), in capitals.
    pub called: &'static [&'static str],
    /// Commands of the model's own at start; a refusal is no harm.
    pub commands: &'static [&'static str],
    /// `AT+CSMS`: with 1, each direct message has to be acknowledged (`AT+CNMA`), else the network sends it again.
    pub message_service: u8,
    /// `AT+CNMI` in order of preference; the first that the modem offers is set. The fourth number is 1 for direct status
    /// reports (`+CDS`), 2 for stored ones (`+CDSI`).
    pub message_settings: &'static [[u8; 5]],
    /// Where messages are stored.
    pub storage: &'static str,
    /// How a USSD code is written.
    pub ussd: UssdForm,
    /// Lines that tell of a restart, besides `RDY`.
    pub restarts: &'static [&'static str],
    /// Command whose answer starts with the number of tries that the SIM allows for its PIN.
    pub pin_tries: Option<&'static str>,
}

/// The rest: what the standard says.
pub static GENERIC: Quirks = Quirks {
    name: "generic",
    called: &[],
    commands: &[],
    message_service: 1,
    message_settings: &[
        [2, 1, 0, 1, 0],
        [2, 1, 0, 2, 0],
        [2, 1, 0, 1, 1],
        [2, 1, 0, 2, 1],
        [1, 1, 0, 1, 0],
        [2, 1, 0, 0, 0],
    ],
    storage: "SM",
    ussd: UssdForm::Text,
    restarts: &[],
    pin_tries: None,
};

/// The models that are known, more particular names first.
pub static KNOWN: &[Quirks] = &[
    // Offers ds 0 and 1 only; says that it is up 10 to 20 s after power-up, and RDY only at a fixed speed.
    Quirks {
        name: "sim800",
        called: &["SIM800", "SIM900", "SIM868"],
        commands: &["AT+CSCLK=0"],
        message_service: 1,
        message_settings: &[[2, 1, 0, 1, 0]],
        storage: "SM",
        ussd: UssdForm::Text,
        restarts: &[
            "Call Ready",
            "SMS Ready",
            "UNDER-VOLTAGE POWER DOWN",
            "OVER-VOLTAGE POWER DOWN",
        ],
        pin_tries: Some("AT+SPIC"),
    },
    // Sends over packet service by default, which many networks refuse: +CGSMS=1 forces circuit service.
    Quirks {
        name: "sim7600",
        called: &["SIM7600", "SIM7500", "SIMCOM_SIM7", "A7670", "A7672", "SIM7000", "SIM7070"],
        commands: &["AT+CGSMS=1"],
        message_service: 1,
        message_settings: &[[2, 1, 0, 1, 0], [2, 1, 0, 2, 0]],
        storage: "SM",
        ussd: UssdForm::Text,
        restarts: &["SMS DONE", "PB DONE", "*ATREADY"],
        pin_tries: Some("AT+SPIC"),
    },
    // Speaks its news on another USB port unless told to use this one.
    Quirks {
        name: "ec25",
        called: &["EC25", "EG25", "EC21", "EG21", "EC20", "EG91", "EG95", "BG96"],
        commands: &["AT+QURCCFG=\"urcport\",\"usbat\""],
        message_service: 1,
        message_settings: &[[2, 1, 0, 1, 0], [2, 1, 0, 2, 0]],
        storage: "SM",
        ussd: UssdForm::Text,
        restarts: &["POWERED DOWN"],
        pin_tries: Some("AT+QPINC?"),
    },
    // Talks without end until ^CURC=0; wants USSD packed; stores status reports. ^BOOT comes unasked, restart or not.
    Quirks {
        name: "huawei",
        called: &["HUAWEI", "E3372", "E173", "E220", "E1550", "E3131", "K3715", "E1752"],
        commands: &["AT^CURC=0"],
        message_service: 1,
        message_settings: &[[2, 1, 0, 2, 1], [2, 1, 0, 2, 0], [2, 1, 0, 1, 0], [1, 1, 0, 1, 0]],
        storage: "SM",
        ussd: UssdForm::Packed,
        restarts: &["^SYSSTART"],
        pin_tries: Some("AT^CPIN?"),
    },
];

/// Returns the quirks of `name` as the configuration writes it.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Quirks> {
    KNOWN.iter().chain([&GENERIC]).find(|quirks| quirks.name.eq_ignore_ascii_case(name))
}

/// Returns the quirks of a modem that calls itself `called`.
#[must_use]
pub fn by_call(called: &str) -> &'static Quirks {
    let called = called.to_ascii_uppercase();
    KNOWN
        .iter()
        .find(|quirks| quirks.called.iter().any(|part| called.contains(part)))
        .unwrap_or(&GENERIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_is_found_by_what_it_calls_itself() {
        let called = [
            ("SIMCOM_Ltd SIMCOM_SIM800C", "sim800"),
            ("SIMCOM INCORPORATED SIMCOM_SIM7600E-H", "sim7600"),
            ("INCORPORATED A7670E-FASE", "sim7600"),
            ("Quectel EC25", "ec25"),
            ("huawei E3372", "huawei"),
            ("Huawei Technologies Co., Ltd. E173", "huawei"),
            ("ZTE INCORPORATED MF667", "generic"),
            ("", "generic"),
        ];
        for (name, quirks) in called {
            assert_eq!(by_call(name).name, quirks, "{name}");
        }
    }

    #[test]
    fn each_model_asks_for_status_reports_and_has_a_name_of_its_own() {
        for quirks in KNOWN.iter().chain([&GENERIC]) {
            assert_eq!(by_name(quirks.name), Some(quirks));
            let [first, ..] = quirks.message_settings else {
                panic!("{} announces nothing", quirks.name)
            };
            assert!(
                matches!(first, [_, 1, 0, 1 | 2, _]),
                "{}: texts stored, reports wanted",
                quirks.name
            );
        }
    }
}
