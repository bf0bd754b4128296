//! A virtual GSM modem on a pseudo-terminal.
