//! A recording of another capture, which goes the way of what is observed.

use std::{
    fs,
    io::{self, BufReader, Read},
    path::Path,
};

use sidecar_core::{
    config::Config,
    record::{LeftOut, Wish, note},
    replay::{File, Replay},
};

use super::write::{RecordError, Writer};
use crate::{
    app::replay,
    cli::{self, EXIT_USAGE},
};

/// Bytes of the capture that are read at once.
const BUFFER: usize = 256 << 10;

pub(super) fn record(asked: &cli::Record, from: &Path) -> Result<(u8, Option<Writer>), RecordError> {
    let mut wish = Wish { max_bytes: asked.max_bytes, ..Wish::default() };
    for (name, value, is_wanted) in asked.conditions() {
        if let Err(why) = wish.filter.add(name, value, is_wanted) {
            eprintln!("sidecar: {why}");
            return Ok((EXIT_USAGE, None));
        }
    }
    let file = from.display().to_string();
    let input: Box<dyn Read> = if from == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(fs::File::open(from).map_err(|source| RecordError::Open { file: file.clone(), source })?)
    };
    let read = |source| RecordError::Read { file: file.clone(), source };
    let mut packets = File::open(BufReader::with_capacity(BUFFER, input)).map_err(read)?;
    let mut replay = Replay::new(&Config::default());
    replay.record(wish);
    let mut writer = Writer::open(&asked.output)?;
    // What comes before an error is recorded, too.
    let end = loop {
        match packets.packet() {
            Ok(Some(packet)) => replay.packet(&packet),
            Ok(None) => break Ok(()),
            Err(error) => break Err(read(error)),
        }
        replay.take();
        let Some(recorder) = replay.recorder() else { break Ok(()) };
        let is_full = recorder.is_full();
        if writer.take(&recorder.take().0).is_break() || is_full {
            break Ok(());
        }
    };
    replay.finish();
    if let Some(recorder) = replay.recorder() {
        let LeftOut { full, waiting } = recorder.left_out();
        let (bytes, _) = recorder.take();
        let _ = writer.take(&[bytes, note([full, 0, waiting])].concat());
    }
    replay::tell(&replay);
    end.map(|()| (0, Some(writer)))
}
