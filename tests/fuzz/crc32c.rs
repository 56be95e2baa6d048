//! CRC-32C (Castagnoli), bit by bit: nothing in common with how the log reckons it.

pub(crate) fn of(pieces: &[&[u8]]) -> u32 {
    !pieces.iter().flat_map(|piece| piece.iter()).fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 })
    })
}
