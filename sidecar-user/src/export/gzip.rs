//! gzip of what is exposed and pushed. It is large and repeats itself: a tenth is left.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// The body, compressed.
pub(crate) fn gzip(body: &[u8]) -> io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}
