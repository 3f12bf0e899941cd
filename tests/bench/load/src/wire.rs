//! The protobuf wire format, as far as finding fields needs it: <https://protobuf.dev/programming-guides/encoding/>.

use anyhow::{Context as _, bail};

/// A field of a message: its number, and where its value lies in the whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) number: u64,
    /// For a length-delimited field, where its content begins; else where its value does.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The fields of the message that lies in `body` from `start` to `end`, in the order they come.
///
/// # Errors
/// If the bytes are no protobuf message.
pub(crate) fn fields(body: &[u8], start: usize, end: usize) -> anyhow::Result<Vec<Field>> {
    let mut found = Vec::new();
    let mut at = start;
    while at < end {
        let (key, value_at) = varint(body, at)?;
        let (start, next) = match key & 7 {
            0 => (value_at, varint(body, value_at)?.1),
            1 => (value_at, value_at + 8),
            2 => {
                let (length, content_at) = varint(body, value_at)?;
                let length = usize::try_from(length).context("a length beyond memory")?;
                (content_at, content_at.saturating_add(length))
            }
            5 => (value_at, value_at + 4),
            other => bail!("found wire type `{other}` at byte {at}, expected 0, 1, 2 or 5"),
        };
        if next > end {
            bail!("found a field at byte {at} that ends at byte {next}, expected at most {end}");
        }
        found.push(Field { number: key >> 3, start, end: next });
        at = next;
    }
    Ok(found)
}

/// A varint at `at`, and where what follows it begins.
fn varint(body: &[u8], at: usize) -> anyhow::Result<(u64, usize)> {
    let mut value = 0;
    for (idx, byte) in body.get(at..).unwrap_or_default().iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * idx);
        if byte & 0x80 == 0 {
            return Ok((value, at + idx + 1));
        }
    }
    bail!("found no end of the number at byte {at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_each_wire_type_are_found() {
        let body = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x19, 1, 2, 3, 4, 5, 6, 7, 8];
        let found = fields(&body, 0, body.len()).expect("a message");
        let expected = [(1, 1, 3), (2, 5, 7), (3, 8, 16)].map(|(number, start, end)| Field { number, start, end });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_field_beyond_the_end_is_refused() {
        let error = fields(&[0x12, 0x05, b'h'], 0, 3).expect_err("cut");
        assert_eq!(error.to_string(), "found a field at byte 0 that ends at byte 7, expected at most 3");
    }
}
