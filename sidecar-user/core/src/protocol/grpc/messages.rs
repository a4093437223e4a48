//! Messages of one side of a call: each begins with a byte of flags and its length (PROTOCOL-HTTP2, "Length-Prefixed-Message").

/// Bytes before each message.
const PREFIX: usize = 5;
const COMPRESSED: u8 = 0x01;
/// Of gRPC-Web: what follows is no message, but what trailers are elsewhere (PROTOCOL-WEB).
const TRAILER: u8 = 0x80;

/// Where one side of a call stands. Holds nothing of what is in the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::protocol) struct Messages {
    /// How many began.
    pub(in crate::protocol) n: u32,
    prefix: [u8; PREFIX],
    n_prefix: u8,
    /// Bytes of the current one that are to come.
    left: u32,
    /// Where the next begins is not known any more.
    is_lost: bool,
    /// As what was there is no message.
    is_wrong: bool,
    /// One has something in it.
    has_content: bool,
    has_trailer: bool,
}

/// What a body looks like, of which nothing else says whether there are messages in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Shape {
    /// It has nothing in it.
    Empty,
    /// It is messages: each length leads to the next one, and the last to the end.
    Framed,
    /// The same, and a trailer of gRPC-Web.
    FramedAsWeb,
    /// It is something else.
    Other,
    /// It may be either.
    Unknown,
}

/// What was in a piece of a body, in order.
pub(super) enum Part<'a> {
    /// What says how long the next one is, or a piece of it.
    Prefix(&'a [u8]),
    /// Content of a message, or what is none.
    Content(&'a [u8]),
    /// A message of so many bytes ended.
    Ended(u64),
    /// A piece of a trailer.
    Trailer(&'a [u8]),
}

impl Messages {
    /// The next bytes of the body.
    pub(in crate::protocol) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Part<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_lost {
            if usize::from(self.n_prefix) < PREFIX {
                let known = usize::from(self.n_prefix);
                self.is_wrong = known == 0 && rest[0] & !(COMPRESSED | TRAILER) != 0;
                let (piece, after) =
                    rest.split_at(rest.len().min(if self.is_wrong { 1 } else { PREFIX - known }));
                self.prefix[known..known + piece.len()].copy_from_slice(piece);
                self.n_prefix += piece.len() as u8;
                if self.is_wrong {
                    self.is_lost = true;
                    break;
                }
                each(Part::Prefix(piece));
                rest = after;
                if usize::from(self.n_prefix) < PREFIX {
                    break;
                }
                self.begin();
            }
            let (piece, after) = rest.split_at(rest.len().min(self.left as usize));
            if !piece.is_empty() {
                each(if self.is_trailer() { Part::Trailer(piece) } else { Part::Content(piece) });
            }
            rest = after;
            self.go_on(piece.len() as u32, &mut each);
        }
        if !rest.is_empty() {
            each(Part::Content(rest));
        }
    }

    /// So many bytes passed that nobody saw.
    pub(in crate::protocol) fn pass(&mut self, n: u64, mut each: impl FnMut(Part<'_>)) {
        match u32::try_from(n) {
            Ok(n) if usize::from(self.n_prefix) == PREFIX && n <= self.left => self.go_on(n, &mut each),
            _ => self.lose(),
        }
    }

    /// What passed of it is not known.
    pub(in crate::protocol) fn lose(&mut self) {
        self.is_lost = true;
    }

    /// How many began, if that is known.
    pub(super) fn told(&self) -> Option<u32> {
        (!self.is_lost || self.is_wrong).then_some(self.n)
    }

    /// What it looks like so far; `is_whole`: nothing more comes.
    pub(in crate::protocol) fn shape(&self, is_whole: bool) -> Shape {
        let is_between = self.n_prefix == 0;
        // Messages as text begin with an `A`, whatever is in them.
        let may_be_text = self.n == 0 && !is_between && self.prefix[0] == b'A';
        match () {
            () if may_be_text => Shape::Unknown,
            () if self.is_wrong => Shape::Other,
            () if self.is_lost => Shape::Unknown,
            () if is_between && self.has_trailer => Shape::FramedAsWeb,
            () if is_between && self.n == 0 => Shape::Empty,
            // Zeros are empty messages, one after the other.
            () if is_between && (self.has_content || self.n == 1) => Shape::Framed,
            () if is_between || !is_whole => Shape::Unknown,
            () => Shape::Other,
        }
    }

    fn begin(&mut self) {
        let [_, len @ ..] = self.prefix;
        self.left = u32::from_be_bytes(len);
        self.n += u32::from(!self.is_trailer());
        self.has_content |= self.left > 0;
        self.has_trailer |= self.is_trailer();
    }

    fn go_on(&mut self, n: u32, each: &mut impl FnMut(Part<'_>)) {
        self.left -= n;
        if self.left > 0 {
            return;
        }
        self.n_prefix = 0;
        if !self.is_trailer() {
            let [_, len @ ..] = self.prefix;
            each(Part::Ended(u32::from_be_bytes(len).into()));
        }
    }

    fn is_trailer(&self) -> bool {
        self.prefix[0] & TRAILER != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_they_are_cut() {
        let body =
            b"\x00\x00\x00\x00\x03abc\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02de\x80\x00\x00\x00\x04x: y\x00";
        for piece in 1..=body.len() {
            let (mut messages, mut lengths, mut trailer) = (Messages::default(), Vec::new(), Vec::new());
            for bytes in body.chunks(piece) {
                messages.take(bytes, |part| match part {
                    Part::Ended(len) => lengths.push(len),
                    Part::Trailer(bytes) => trailer.extend_from_slice(bytes),
                    Part::Prefix(_) | Part::Content(_) => {}
                });
            }
            assert_eq!(
                (messages.n, &lengths[..], &trailer[..]),
                (3, &[3, 0, 2][..], &b"x: y"[..]),
                "{piece}"
            );
        }
    }

    #[test]
    fn what_passes_unseen() {
        let mut messages = Messages::default();
        let mut n_ended = 0;
        let mut ended = |part: Part<'_>| n_ended += u32::from(matches!(part, Part::Ended(_)));
        messages.take(b"\x00\x00\x00\x00\x64abc", &mut ended);
        messages.pass(97, &mut ended);
        messages.take(b"\x00\x00\x00\x00\x01", &mut ended);
        messages.pass(2, &mut ended);
        messages.take(b"\x00\x00\x00\x00\x01a", &mut ended);
        assert_eq!((messages.n, n_ended), (2, 1));
    }

    #[test]
    fn what_it_looks_like() {
        for (body, so_far, whole) in [
            (&b""[..], Shape::Empty, Shape::Empty),
            (b"\x00\x00\x00\x00\x00", Shape::Framed, Shape::Framed),
            (b"\x00\x00\x00\x00\x03abc", Shape::Framed, Shape::Framed),
            (b"\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01a", Shape::Framed, Shape::Framed),
            (b"\x00\x00\x00\x00\x03abc\x80\x00\x00\x00\x01\n", Shape::FramedAsWeb, Shape::FramedAsWeb),
            (b"\x80\x00\x00\x00\x01\n", Shape::FramedAsWeb, Shape::FramedAsWeb),
            (&[0; 20], Shape::Unknown, Shape::Unknown),
            (b"\x00\x00\x00\x00\x03ab", Shape::Unknown, Shape::Other),
            (b"{}", Shape::Other, Shape::Other),
            (b"{\"a\": 1}", Shape::Other, Shape::Other),
            (b"\x00\x00\x00\x00\x03abcdefghi", Shape::Other, Shape::Other),
            (b"AAAAAANhYmM=", Shape::Unknown, Shape::Unknown),
        ] {
            let mut messages = Messages::default();
            messages.take(body, |_| {});
            assert_eq!((messages.shape(false), messages.shape(true)), (so_far, whole), "{body:?}");
        }
        let mut messages = Messages::default();
        messages.take(b"\x00\x00\x00\x00\x03abc", |_| {});
        messages.lose();
        assert_eq!(messages.shape(true), Shape::Unknown);
    }

    #[test]
    fn what_is_none() {
        let mut messages = Messages::default();
        messages.take(b"{\"a\": 1}", |part| assert!(matches!(part, Part::Content(b"{\"a\": 1}"))));
        assert_eq!(messages.n, 0);
    }
}
