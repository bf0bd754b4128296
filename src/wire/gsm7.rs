//! The GSM 7-bit alphabets (3GPP TS 23.038): default, extension and national tables.
