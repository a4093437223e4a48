//! `sidecar replay FILE`: prints what is in a capture.

use std::{
    fs,
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
    sync::Arc,
};

use sidecar_core::{
    config::Config,
    replay::{File, FileError, LeftOut, Replay},
};

use crate::{
    cli::{self, Lines},
    export::Format,
};

/// Bytes of the capture that are read at once.
const BUFFER: usize = 256 << 10;

/// Why not all of it is printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplayError {
    /// It cannot be opened.
    #[error("open {file}")]
    Open {
        /// The capture.
        file: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It cannot be read to its end.
    #[error("{file}")]
    File {
        /// The capture.
        file: String,
        /// Where, and why.
        #[source]
        source: FileError,
    },
    /// Nobody takes what is printed.
    #[error("write to standard output")]
    Write(#[source] io::Error),
}

/// Prints the exchanges or the metrics of a capture: the exit status. What comes before an error is printed, too.
///
/// # Errors
/// [`ReplayError`]
pub(super) fn print(asked: &cli::Replay) -> Result<u8, ReplayError> {
    let file = asked.file.display().to_string();
    let is_stream = asked.file == Path::new("-");
    let input: Box<dyn Read> = if is_stream {
        Box::new(io::stdin().lock())
    } else {
        let opened = fs::File::open(&asked.file);
        Box::new(opened.map_err(|source| ReplayError::Open { file: file.clone(), source })?)
    };
    let out = BufWriter::new(io::stdout().lock());
    let (metrics, form) = (asked.metrics, asked.output);
    let mut printer = Printer { out, form, metrics, is_stream };
    let mut replay = Replay::new(&Config::default());
    match printer.print(BufReader::with_capacity(BUFFER, input), &mut replay) {
        // Whoever read it has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(ReplayError::Write(error)),
        Ok(end) => {
            tell(&replay);
            end.map(|()| 0).map_err(|source| ReplayError::File { file, source })
        }
    }
}

struct Printer<W> {
    out: W,
    form: Lines,
    metrics: bool,
    /// Whoever captures at the same time wants to see it.
    is_stream: bool,
}

impl<W: Write> Printer<W> {
    /// Everything, unless writing fails; how the capture ended.
    fn print(&mut self, input: impl Read, replay: &mut Replay) -> io::Result<Result<(), FileError>> {
        let end = match File::open(input) {
            Ok(file) => self.packets(file, replay)?,
            Err(error) => Err(error),
        };
        replay.finish();
        self.exchanges(replay)?;
        if self.metrics {
            let (snapshot, resource) = (Arc::new(replay.snapshot()), Arc::default());
            let exposition = Format::Text.encode(&snapshot, &resource).map_err(io::Error::other)?;
            self.out.write_all(&exposition)?;
        }
        self.out.flush()?;
        Ok(end)
    }

    /// Until the end, or where it breaks off.
    fn packets(
        &mut self,
        mut file: File<impl Read>,
        replay: &mut Replay,
    ) -> io::Result<Result<(), FileError>> {
        loop {
            match file.packet() {
                Ok(Some(packet)) => replay.packet(&packet),
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
            self.exchanges(replay)?;
        }
    }

    fn exchanges(&mut self, replay: &mut Replay) -> io::Result<()> {
        let told = replay.take();
        for told in told.iter().filter(|_| !self.metrics) {
            match self.form {
                Lines::Text => writeln!(self.out, "{}", told.to_text())?,
                Lines::Ndjson => writeln!(self.out, "{}", told.to_json())?,
            }
        }
        if self.is_stream && !told.is_empty() { self.out.flush() } else { Ok(()) }
    }
}

/// What is missing in what was printed, on standard error.
pub(super) fn tell(replay: &Replay) {
    let reason = |why: &LeftOut| match why {
        LeftOut::Link(link) => format!("of link type {}, which is not read", link.0),
        LeftOut::NotIp => "no IP".to_owned(),
        LeftOut::NotRead => "neither TCP nor from or to a name server".to_owned(),
        LeftOut::Fragment => "fragments".to_owned(),
        LeftOut::Short => "kept in so short a form that their headers are not whole".to_owned(),
        LeftOut::Malformed => "malformed".to_owned(),
        LeftOut::Obsolete => "in blocks of a form that is read no more".to_owned(),
    };
    let left_out: Vec<_> = replay.left_out().iter().map(|(why, n)| format!("{n} {}", reason(why))).collect();
    if !left_out.is_empty() {
        eprintln!("sidecar: of {} packets left out: {}", replay.n_packets(), left_out.join(", "));
    }
    let tally = replay.tally();
    let [_, encrypted, unclassified, _, mptcp] = tally.classified;
    for (n, what) in [
        (tally.gaps, "connections have gaps: packets are missing in the capture"),
        (encrypted, "connections are encrypted"),
        (unclassified, "connections speak nothing that is known"),
        (mptcp, "connections are of MPTCP, which is not read"),
        (tally.memory_full, "connections were given up: all together held too much"),
    ] {
        if n > 0 {
            eprintln!("sidecar: {n} {what}");
        }
    }
}
