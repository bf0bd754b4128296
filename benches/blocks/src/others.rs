//! What others need for the same values. Each is given its best: values in whole steps where it takes whole numbers, no names
//! but SenML's, no sequence, no quality; pcodec and zstd no times either.

use crate::Row;
use pco::ChunkConfig;
use pco::standalone::simple_compress;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

/// pcodec at its highest level, values only.
pub(crate) fn pcodec(steps: &[i64]) -> usize {
    let config = ChunkConfig::default().with_compression_level(12);
    simple_compress(steps, &config).unwrap().len()
}

/// Differences as bytes of seven bits, signal by signal, values only.
pub(crate) fn varints(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows {
        let mut before = 0;
        for step in &row.steps {
            let change = step - before;
            before = *step;
            let mut folded = (change << 1) ^ (change >> 63);
            while folded > 127 {
                bytes.push((folded & 127) as u8 | 128);
                folded >>= 7;
            }
            bytes.push(folded as u8);
        }
    }
    bytes
}

/// zstd at level 19 of these bytes, with all blocks before as its dictionary, and no more of a head than it must have.
pub(crate) fn zstd_after(past: &[u8], bytes: &[u8]) -> usize {
    let mut compressor = Compressor::with_dictionary(19, past).unwrap();
    for parameter in [
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
        CParameter::DictIdFlag(false),
        CParameter::Format(zstd::zstd_safe::FrameFormat::Magicless),
    ] {
        compressor.set_parameter(parameter).unwrap();
    }
    compressor.compress(bytes).unwrap().len()
}

/// Times and values as in Pelkonen et al., "Gorilla", VLDB 2015, section 4.1.
pub(crate) fn gorilla(times: &[i64], values: &[f64]) -> usize {
    // Start, first distance, first value.
    let mut bits = 64 + 14 + 64;
    let mut window: Option<(u32, u32)> = None;
    for pair in times.windows(3) {
        bits += match (pair[2] - pair[1]) - (pair[1] - pair[0]) {
            0 => 1,
            -63..=64 => 2 + 7,
            -255..=256 => 3 + 9,
            -2047..=2048 => 4 + 12,
            _ => 4 + 32,
        };
    }
    for pair in values.windows(2) {
        let change = pair[0].to_bits() ^ pair[1].to_bits();
        if change == 0 {
            bits += 1;
            continue;
        }
        let (leading, trailing) = (change.leading_zeros().min(31), change.trailing_zeros());
        match window {
            Some((l, t)) if l <= leading && t <= trailing => bits += 2 + 64 - l - t,
            Some(_) | None => {
                bits += 2 + 5 + 6 + 64 - leading - trailing;
                window = Some((leading, trailing));
            }
        }
    }
    bits.div_ceil(8) as usize
}

/// A SenML pack (RFC 8428) in CBOR with integer labels: name and start once a signal, then time and value of each reading.
pub(crate) fn senml_cbor(rows: &[Row]) -> usize {
    let mut bytes = head(rows.iter().map(|row| row.steps.len()).sum::<usize>() as u64);
    for row in rows {
        // Base name and base time, their labels with them.
        bytes += 1 + head(row.name.len() as u64) + row.name.len();
        bytes += 1 + head(row.times[0].unsigned_abs());
        for (time, value) in row.times.iter().zip(&row.values) {
            // A map, and two labels.
            bytes += 1 + 2 + head(time.abs_diff(row.times[0])) + number(*value);
        }
    }
    bytes
}

const fn head(number: u64) -> usize {
    match number {
        0..24 => 1,
        24..256 => 2,
        256..65_536 => 3,
        65_536..4_294_967_296 => 5,
        _ => 9,
    }
}

/// The shortest of a whole number, half, single and double precision that says the same.
fn number(value: f64) -> usize {
    if value.fract() == 0.0 {
        return head(value.abs() as u64);
    }
    if f64::from(value as f32).to_bits() != value.to_bits() {
        return 9;
    }
    // Half precision has 10 bits after the point, in this range of sizes.
    let half = (value.to_bits() << 12).trailing_zeros() >= 64 - 10 && value.abs() > 1e-4;
    if half && value.abs() < 65_504.0 { 3 } else { 5 }
}
