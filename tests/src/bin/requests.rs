//! For benches: asks an HTTP/1.1 server at a steady rate, whatever becomes of the requests before, and tells of each.
//!
//! `requests RATE WORKERS (each|N) HOST PORT PATH` asks until SIGTERM: each request on a connection of its own that the server closes,
//! or N on one that the client does. The name is resolved for each connection. A line for each request, in the order in which they
//! ended; times in µs since the epoch:
//!
//! `DUE BEGUN OPENED ENDED PORT ENDPOINT OUTCOME`: when it was due, begun, when its connection was asked for (its name's resolution
//! before), the client's port (0: there was none), the answer's `X-Endpoint` (`-`: none), and a status or an error.

use std::{
    env,
    io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// Of a worker that waits for its turn: it looks whether that has come to an end.
const NAP: Duration = Duration::from_millis(50);

struct Load {
    host: String,
    port: u16,
    path: String,
    /// Requests on a connection; `None`: one, after which the server closes.
    kept: Option<u64>,
    interval: Duration,
    begun: Instant,
    next: AtomicU64,
    stop: Arc<AtomicBool>,
    told: Mutex<BufWriter<io::Stdout>>,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [rate, workers, kept, host, port, path] = arguments.as_slice() else {
        return Err(io::Error::other("requests RATE WORKERS (each|N) HOST PORT PATH"));
    };
    let number = |text: &String| text.parse::<u64>().map_err(io::Error::other);
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop))?;
    let load = Load {
        host: host.clone(),
        port: port.parse().map_err(io::Error::other)?,
        path: path.clone(),
        kept: if kept == "each" { None } else { Some(number(kept)?) },
        interval: Duration::from_secs(1) / u32::try_from(number(rate)?).map_err(io::Error::other)?,
        begun: Instant::now(),
        next: AtomicU64::new(0),
        stop,
        told: Mutex::new(BufWriter::new(io::stdout())),
    };
    thread::scope(|scope| {
        for _ in 0..number(workers)? {
            scope.spawn(|| load.work());
        }
        Ok::<_, io::Error>(())
    })?;
    load.told.lock().unwrap_or_else(PoisonError::into_inner).flush()
}

/// A connection, and what it has been used for.
struct Connection {
    stream: BufReader<TcpStream>,
    opened: u64,
    port: u16,
    n_asked: u64,
}

/// An answer that was read to its end.
struct Answer {
    status: u16,
    endpoint: String,
}

impl Load {
    fn work(&self) {
        let mut connection = None;
        while let Some(due) = self.turn() {
            let begun = now();
            let mut opened = begun;
            let answered = self.ask(&mut connection, &mut opened);
            let ended = now();
            let port = connection.as_ref().map_or(0, |connection| connection.port);
            let (endpoint, outcome) = match &answered {
                Ok(answer) => (answer.endpoint.as_str(), answer.status.to_string()),
                Err(error) => ("-", word(error)),
            };
            let is_over = connection.as_ref().is_none_or(|one| self.kept.is_none_or(|n| one.n_asked >= n));
            if answered.is_err() || is_over {
                connection = None;
            }
            let line = format!("{due} {begun} {opened} {ended} {port} {endpoint} {outcome}\n");
            // Whoever does not listen any more has ended.
            let _ = self.told.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        }
    }

    /// Waits for the next request's time, in µs since the epoch. `None`: there are no more.
    fn turn(&self) -> Option<u64> {
        let at =
            self.begun + self.interval * u32::try_from(self.next.fetch_add(1, Ordering::Relaxed)).ok()?;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let wait = at.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Some(now() - Instant::now().saturating_duration_since(at).as_micros() as u64);
            }
            thread::sleep(wait.min(NAP));
        }
    }

    fn ask(&self, connection: &mut Option<Connection>, opened: &mut u64) -> io::Result<Answer> {
        let one = match connection.take() {
            Some(one) => connection.insert(one),
            None => connection.insert(self.open(opened)?),
        };
        *opened = one.opened;
        one.n_asked += 1;
        let closes = if self.kept.is_none() { "Connection: close\r\n" } else { "" };
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n{closes}\r\n", self.path, self.host);
        one.stream.get_mut().write_all(request.as_bytes())?;
        let answer = read(&mut one.stream)?;
        if self.kept.is_none() && one.stream.read(&mut [0])? != 0 {
            return Err(io::Error::other("more than the answer"));
        }
        Ok(answer)
    }

    fn open(&self, opened: &mut u64) -> io::Result<Connection> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs();
        let addresses = addresses.map_err(|error| io::Error::other(format!("lookup: {error}")))?;
        *opened = now();
        let mut last = io::Error::other("lookup: no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    let port = stream.local_addr()?.port();
                    return Ok(Connection {
                        stream: BufReader::new(stream),
                        opened: *opened,
                        port,
                        n_asked: 0,
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let mut answer = Answer { status: 0, endpoint: "-".to_owned() };
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
            answer.status = rest.get(..3).and_then(|code| code.parse().ok()).unwrap_or_default();
        }
        let Some((name, value)) = text.split_once(": ") else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().map_err(io::Error::other)?;
        }
        if name.eq_ignore_ascii_case("x-endpoint") {
            value.clone_into(&mut answer.endpoint);
        }
    }
    let got = io::copy(&mut stream.by_ref().take(length), &mut io::sink())?;
    if got < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

/// One word.
fn word(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other => error.to_string().replace(' ', "_"),
        kind => format!("{kind:?}"),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}
