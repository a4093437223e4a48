//! What a test may choose, out of bytes: those of a property test's input, or of a fuzzer's.

/// Bytes that choices are made of. When there are no more, the first choice is always taken.
#[derive(Debug)]
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// Of these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Choices(bytes)
    }

    /// There are no more.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One of 256.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let high = if n > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (high | usize::from(self.byte())) % n
    }

    /// A number from 1 to `n`, and `n` when there are no more choices.
    pub(crate) fn up_to(&mut self, n: usize) -> usize {
        if self.is_over() { n } else { 1 + self.below(n) }
    }

    /// Once in `n` times, and not when there are no more choices.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of these.
    pub(crate) fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// 32 bits.
    pub(crate) fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// So many bytes, or as many as there are.
    pub(crate) fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }
}
