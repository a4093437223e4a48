//! `sidecar record`: what passes, as a capture that others may see, asked of a daemon that runs; or made of another capture.
//!
//! The answer of `/record` is that capture, without an end. Between packets, and at its end, are blocks of statistics that say how
//! many packets are missing so far, and why.

mod hub;
mod offline;
mod stream;
mod write;

pub(super) use self::{
    hub::{Recording, Recordings},
    write::write,
};

pub(super) use sidecar_core::record::Wish;

use std::time::Duration;

use sidecar_core::told::duration;
use tokio::sync::mpsc::channel;

use super::explain::decoded;
use crate::admin::Lines;

/// Chunks that a reader has not taken yet, besides its queue.
const UNDER_WAY: usize = 4;
const LASTS_MAX: Duration = Duration::from_secs(24 * 3600);
/// A file's beginning, and a packet.
const BYTES_MIN: u64 = 1024;

/// What a reader asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) wish: Wish,
    lasts: Option<Duration>,
}

impl Asked {
    /// By a query (without `?`): `for`, `max-bytes`, and conditions by their names, unwanted ones with `not.` before them.
    pub(super) fn parse(query: &str) -> Result<Asked, String> {
        let mut asked = Asked::default();
        let filter = &mut asked.wish.filter;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name), decoded(value));
            match (name.as_str(), name.strip_prefix("not.")) {
                ("for", _) => {
                    let lasts = duration(&value)?;
                    asked.lasts = Some(lasts).filter(|lasts| *lasts <= LASTS_MAX);
                    asked.lasts.ok_or("for: a day at most")?;
                }
                ("max-bytes", _) => {
                    let most = value.parse().ok().filter(|most| *most >= BYTES_MIN);
                    asked.wish.max_bytes =
                        Some(most.ok_or_else(|| format!("max-bytes: a number from {BYTES_MIN} on"))?);
                }
                (_, Some(name)) => filter.add(name, &value, false)?,
                (name, None) => filter.add(name, &value, true)?,
            }
        }
        Ok(asked)
    }

    /// The answer: what it is, and its bytes.
    pub(super) fn answer(self, recording: Recording) -> (&'static str, Lines) {
        let (chunks, under_way) = channel(UNDER_WAY);
        tokio::spawn(stream::carry(recording, self.lasts, chunks));
        ("application/x-pcapng", Lines::new(under_way))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        let asked = Asked::parse("for=1.5s&max-bytes=4096&protocol=http&not.port=9090").expect("a wish");
        assert_eq!((asked.lasts, asked.wish.max_bytes), (Some(Duration::from_millis(1500)), Some(4096)));
        let mut filter = sidecar_core::record::Filter::default();
        for (name, value, is_wanted) in [("protocol", "http", true), ("port", "9090", false)] {
            filter.add(name, value, is_wanted).expect("a condition");
        }
        assert_eq!(asked.wish.filter, filter);
        assert_eq!(Asked::parse("").expect("a wish"), Asked::default());
        for query in
            ["for=25h", "for=1", "max-bytes=10", "max-bytes=x", "port=0", "port=x", "role=x", "status=200"]
        {
            assert!(Asked::parse(query).is_err(), "{query}");
        }
    }
}
