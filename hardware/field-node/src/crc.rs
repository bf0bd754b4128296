//! Checksums.

/// Returns CRC-16/CCITT-FALSE: polynomial 0x1021, first value 0xFFFF. `0x29B1` for `123456789`.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

/// Returns the CRC-8 of Sensirion's sensors: polynomial 0x31, first value 0xFF. `0x92` for `BE EF`.
///
/// Source: data sheet of Sensirion's `SHT3x-DIS`, §4.12; of its `SHT4x`, §4.4.
#[must_use]
pub fn crc8_sensirion(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0xFF, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x31 })
    })
}
