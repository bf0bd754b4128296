//! SenML packs in JSON and CBOR (RFC 8428).
