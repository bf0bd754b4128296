//! A GSM or LTE modem on a serial port, in PDU mode.
