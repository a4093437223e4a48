//! What of a hello may be shown: what is read of it, and what says where that is. Randoms, session ids, keys and tickets are not.

use super::HEADER;
use super::hello::{self, Field};
use super::record::Shown;

/// A hello that is being read: its bytes are told of when all of it is there, and with them the headers of the records that it
/// lies in.
#[derive(Debug, Default)]
pub(super) struct Hello {
    /// Headers, and how many bytes of its body came before each.
    headers: Vec<(usize, [u8; HEADER])>,
    is_told: bool,
}

impl Hello {
    /// A record's header came after so many bytes of its body.
    pub(super) fn header(&mut self, n: usize, header: &[u8; HEADER], shown: &mut Shown<'_>) {
        if n > 0 && !self.is_told {
            self.headers.push((n, *header));
        } else {
            shown.keep(header);
        }
    }

    /// All of its body is there, or as much of it as is read.
    pub(super) fn tell(&mut self, kind: u8, body: &[u8], shown: &mut Shown<'_>) {
        if !shown.transcript.is_recorded() {
            return self.settle(body.len(), shown);
        }
        if std::mem::replace(&mut self.is_told, true) {
            return;
        }
        let mut fields = hello::fields(kind, body).into_iter();
        let (mut field, mut at) = (Field { len: 0, is_shown: false }, 0);
        let headers = self.headers.drain(..).map(|(until, header)| (until, Some(header)));
        for (until, header) in headers.chain([(body.len(), None)]) {
            while at < until {
                if field.len == 0 {
                    let rest = Field { len: body.len() - at, is_shown: false };
                    field = fields.next().unwrap_or(rest);
                }
                let n = field.len.min(until - at);
                match field.is_shown {
                    true => shown.keep(&body[at..at + n]),
                    false => shown.hide(n),
                }
                field.len -= n;
                at += n;
            }
            header.iter().for_each(|header| shown.keep(header));
        }
    }

    /// Nothing of it waits to be told of.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Nothing is read of the `n` bytes of its body that are there.
    pub(super) fn settle(&mut self, n: usize, shown: &mut Shown<'_>) {
        if !std::mem::replace(&mut self.is_told, true) {
            shown.hide(n + self.headers.len() * HEADER);
        }
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.headers.capacity() * size_of::<(usize, [u8; HEADER])>()
    }
}
