//! The AT command dialect of modems (3GPP TS 27.005, 27.007): lines, results and unsolicited codes.
