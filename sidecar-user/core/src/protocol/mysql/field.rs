//! What fields are written in ("Protocol::LengthEncodedInteger" and the like).

/// Bytes that are read field by field. Each is `None` where the bytes end before it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Fields { rest: bytes }
    }

    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|taken| taken[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|taken| u16::from_le_bytes([taken[0], taken[1]]))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take(4).and_then(|taken| taken.try_into().ok()).map(u32::from_le_bytes)
    }

    /// A length-encoded integer. 0xfb and 0xff begin none.
    pub(super) fn int(&mut self) -> Option<u64> {
        let n = match self.byte()? {
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            0xfb | 0xff => return None,
            small => return Some(u64::from(small)),
        };
        let mut bytes = [0; 8];
        bytes[..n].copy_from_slice(self.take(n)?);
        Some(u64::from_le_bytes(bytes))
    }

    /// A length-encoded string.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let n = self.int()?;
        self.take(usize::try_from(n).ok()?)
    }

    /// What a NUL ends.
    pub(super) fn until_nul(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }
}

/// A database's name, as it is kept.
pub(super) fn name(bytes: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && text.len() <= 255).then(|| text.into())
}
