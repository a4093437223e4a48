//! An HTTP/1.1 client that has its connection in hand: it may leave a response half read, and knows its own port.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::nginx::Nginx;

/// A connection that stays open, one request at a time.
#[derive(Debug)]
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects.
    #[must_use]
    pub fn connect(nginx: &Nginx) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect to nginx");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Client(BufReader::new(stream))
    }

    /// Its own port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.get_ref().local_addr().expect("its address").port()
    }

    /// Sends a request.
    pub fn ask(&mut self, path: &str) {
        let request = format!("GET /{path} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).expect("send a request");
    }

    /// Reads a head: the status, and how much content follows.
    pub fn head(&mut self) -> (u16, u64) {
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a line of the head");
            let line = line.trim_end();
            if line.is_empty() {
                return (status.expect("a status line"), length);
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().ok();
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().expect("a length");
            }
        }
    }

    /// Reads so much content.
    pub fn skip(&mut self, n: u64) {
        let got = std::io::copy(&mut self.0.by_ref().take(n), &mut std::io::sink()).expect("content");
        assert_eq!(got, n, "the connection was cut");
    }

    /// A request and its whole response: the status.
    pub fn get(&mut self, path: &str) -> u16 {
        self.ask(path);
        let (status, length) = self.head();
        self.skip(length);
        status
    }
}
