//! Unsigned integers in groups of 7 bits, lowest first: `ULEB128`, as Thrift and the encodings use them.

/// Takes one from the front of `bytes`; `None` when they end before, or it has more than 64 bits.
pub fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        // Of the tenth byte one bit is left.
        if shift == 63 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Appends `value` to `out`.
pub fn write(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// The signed integer that `value` stands for in zigzag order: 0, -1, 1, -2, ..
pub fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Appends a signed integer in zigzag order to `out`.
pub fn write_zigzag(out: &mut Vec<u8>, value: i64) {
    write(
        out,
        (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back() {
        for value in [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            write_zigzag(&mut out, value);
            let mut bytes = out.as_slice();
            assert_eq!(read(&mut bytes).map(zigzag), Some(value));
            assert!(bytes.is_empty());
        }
        assert_eq!(read(&mut &[0x80; 11][..]), None);
        assert_eq!(read(&mut &[0x80][..]), None);
        let mut most = [0xFF; 10];
        most[9] = 2;
        assert_eq!(read(&mut &most[..]), None);
    }
}
