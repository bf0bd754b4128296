//! Error results, in figures or in words.

/// Returns the result for an error of the equipment (3GPP TS 27.007 §9.2), in the form that `+CMEE` chose.
pub(super) fn equipment(code: u16, form: u8) -> String {
    match form {
        0 => "ERROR".to_owned(),
        1 => format!("+CME ERROR: {code}"),
        _words => format!("+CME ERROR: {}", equipment_words(code)),
    }
}

/// Returns the result for an error of the message service (3GPP TS 27.005 §3.2.5).
pub(super) fn message(code: u16, form: u8) -> String {
    match form {
        0 | 1 => format!("+CMS ERROR: {code}"),
        _words => format!("+CMS ERROR: {}", message_words(code)),
    }
}

fn equipment_words(code: u16) -> &'static str {
    match code {
        3 => "operation not allowed",
        4 => "operation not supported",
        10 => "SIM not inserted",
        11 => "SIM PIN required",
        12 => "SIM PUK required",
        16 => "incorrect password",
        20 => "memory full",
        21 => "invalid index",
        22 => "not found",
        30 => "no network service",
        50 => "Incorrect parameters",
        _unknown => "unknown",
    }
}

fn message_words(code: u16) -> &'static str {
    match code {
        21 => "Short message transfer rejected",
        302 => "operation not allowed",
        304 => "invalid PDU mode parameter",
        305 => "invalid text mode parameter",
        311 => "SIM PIN required",
        316 => "SIM PUK required",
        321 => "invalid memory index",
        322 => "memory full",
        330 => "SMSC address unknown",
        331 => "no network service",
        340 => "no +CNMA acknowledgement expected",
        _unknown => "unknown error",
    }
}
