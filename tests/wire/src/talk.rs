//! Conversations over HTTP/1, and what they should come to.

use std::fmt::{self, Write as _};

use crate::choices::Choices;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A message on its way.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) side: Side,
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the other side that come before its first.
    pub(crate) after: usize,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {}: {}", self.side, self.after, self.bytes.escape_ascii())
    }
}

/// What both sides say, and the requests with their answers as they should be reported.
#[derive(Clone, Debug, Default)]
pub(crate) struct Talk {
    pub(crate) messages: Vec<Message>,
    pub(crate) exchanges: Vec<String>,
    /// The server ends the last response by closing.
    pub(crate) ends_by_close: bool,
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "HEAD", "DELETE"];
const STATUSES: [u16; 6] = [200, 204, 304, 404, 500, 206];
/// What a body may look like.
const BODIES: [&str; 5] =
    ["x", "GET /fake HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "0\r\n\r\n", "\r\n\r\n"];

impl Talk {
    /// `are_plain`: bodies that look like nothing else.
    pub(crate) fn choose(choices: &mut Choices<'_>, are_plain: bool) -> Talk {
        let mut talk = Talk::default();
        let n = 1 + choices.below(8);
        let pipelined = choices.once_in(3);
        let (mut client, mut server) = (0, 0);
        for number in 0..n {
            let request = Request::choose(number, choices, are_plain);
            let is_last = number + 1 == n;
            let response = Response::choose(&request, is_last, choices, are_plain);
            let after = if pipelined && choices.below(4) > 0 { 0 } else { server };
            client += request.bytes.len();
            talk.messages.push(Message { side: Side::Client, bytes: request.bytes, after });
            server += response.bytes.len();
            talk.messages.push(Message { side: Side::Server, bytes: response.bytes, after: client });
            talk.ends_by_close |= response.ends_by_close;
            let (method, status) = (request.method.to_uppercase(), response.status);
            let (sent, got) = (request.body, response.body);
            talk.exchanges.push(format!("{method} /{number} {status} Complete {sent}/{got}"));
        }
        talk
    }

    /// All that a side says.
    pub(crate) fn stream(&self, side: Side) -> Vec<u8> {
        let own = self.messages.iter().filter(|message| message.side == side);
        own.flat_map(|message| message.bytes.iter().copied()).collect()
    }

    /// How much of a side's stream may have been sent when so much of the other's has arrived.
    pub(crate) fn may_send(&self, side: Side, arrived: usize) -> usize {
        let own = self.messages.iter().filter(|message| message.side == side);
        own.take_while(|message| message.after <= arrived).map(|message| message.bytes.len()).sum()
    }
}

struct Request {
    method: &'static str,
    bytes: Vec<u8>,
    body: usize,
}

impl Request {
    fn choose(number: usize, choices: &mut Choices<'_>, are_plain: bool) -> Request {
        let method = choices.of(&METHODS);
        let mut head = format!("{method} /{number} HTTP/1.1\r\n");
        padding(&mut head, choices);
        let (mut framed, mut body) = (Vec::new(), 0);
        if matches!(method, "POST" | "PUT") {
            (framed, body) = framing(&mut head, choices, are_plain);
        }
        Request { method, bytes: [head.as_bytes(), b"\r\n", &framed].concat(), body }
    }
}

struct Response {
    status: u16,
    bytes: Vec<u8>,
    body: usize,
    ends_by_close: bool,
}

impl Response {
    fn choose(to: &Request, is_last: bool, choices: &mut Choices<'_>, are_plain: bool) -> Response {
        let status = choices.of(&STATUSES);
        let interim = ["", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"];
        let mut head = choices.of(&interim).to_owned();
        let _ = write!(head, "HTTP/1.1 {status} Some words\r\n");
        padding(&mut head, choices);
        let has_body = to.method != "HEAD" && !matches!(status, 204 | 304);
        let ends_by_close = has_body && is_last && choices.once_in(4);
        let (mut framed, mut body) = (Vec::new(), 0);
        if ends_by_close {
            framed = content(choices, are_plain);
            body = framed.len();
        } else if has_body {
            (framed, body) = framing(&mut head, choices, are_plain);
        } else if to.method == "HEAD" {
            head.push_str("Content-Length: 1234\r\n");
        }
        Response { status, bytes: [head.as_bytes(), b"\r\n", &framed].concat(), body, ends_by_close }
    }
}

fn padding(head: &mut String, choices: &mut Choices<'_>) {
    match choices.below(8) {
        6 => head.push_str(&"X-Many: a\r\n".repeat(choices.below(40))),
        7 => {
            let _ = write!(head, "X-Long: {}\r\n", "v".repeat(choices.below(3000)));
        }
        _ => head.push_str("Host: a\r\n"),
    }
}

fn content(choices: &mut Choices<'_>, are_plain: bool) -> Vec<u8> {
    let text = if are_plain { "x" } else { choices.of(&BODIES) };
    text.repeat(choices.below(300)).into_bytes()
}

/// Adds what says how long the body is; the body as it is sent, and how much of that is content.
fn framing(head: &mut String, choices: &mut Choices<'_>, are_plain: bool) -> (Vec<u8>, usize) {
    let content = content(choices, are_plain);
    if choices.once_in(2) {
        head.push_str("Transfer-Encoding: chunked\r\n");
        let mut framed = Vec::new();
        for chunk in content.chunks(1 + choices.below(200)) {
            let extension = choices.of(&["", ";a=b", " ;c=\"d\""]);
            framed.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
            framed.extend_from_slice(chunk);
            framed.extend_from_slice(b"\r\n");
        }
        framed.extend_from_slice(choices.of(&["0\r\n\r\n", "0\r\nTrailer: a\r\n\r\n"]).as_bytes());
        return (framed, content.len());
    }
    let _ = write!(head, "Content-Length: {}\r\n", content.len());
    let len = content.len();
    (content, len)
}
