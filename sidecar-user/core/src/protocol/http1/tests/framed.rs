//! Any valid conversation, in any pieces: exactly its exchanges, and every byte explained.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::script::{Do, run, written};
use crate::model::Side;
use crate::protocol::{Birth, Limits, Next, Oddities};

/// How a body is sent.
#[derive(Clone, Debug)]
enum Sent {
    /// Not at all.
    None,
    Length(usize),
    Chunks(Vec<usize>, &'static str),
}

#[derive(Clone, Debug)]
struct Talk {
    method: &'static str,
    request: Sent,
    n_interim: usize,
    status: u16,
    response: Sent,
}

impl Sent {
    fn content(&self) -> usize {
        match self {
            Sent::None => 0,
            Sent::Length(n) => *n,
            Sent::Chunks(chunks, _) => chunks.iter().sum(),
        }
    }

    /// Header lines, the empty line, and the body unless it is left out.
    fn write(&self, text: &mut String, has_body: bool) {
        let body = |n: &usize| "HTTP/1.1 200 OK\r\n\r\n".chars().cycle().take(*n).collect::<String>();
        match self {
            Sent::None => text.push_str("\r\n"),
            Sent::Length(n) => {
                text.push_str(&format!("Content-Length: {n}\r\n\r\n"));
                if has_body {
                    text.push_str(&body(n));
                }
            }
            Sent::Chunks(chunks, trailer) => {
                text.push_str("Transfer-Encoding: chunked\r\n\r\n");
                if has_body {
                    for n in chunks {
                        text.push_str(&format!("{n:x};ext=1\r\n{}\r\n", body(n)));
                    }
                    text.push_str(&format!("0\r\n{trailer}\r\n"));
                }
            }
        }
    }
}

impl Talk {
    fn has_response_body(&self) -> bool {
        self.method != "HEAD" && !matches!(self.status, 204 | 304)
    }

    fn write_request(&self, text: &mut String) {
        text.push_str(&format!("{} /p HTTP/1.1\r\nHost: h\r\n", self.method));
        self.request.write(text, true);
    }

    fn write_response(&self, text: &mut String) {
        for _ in 0..self.n_interim {
            text.push_str("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
        }
        text.push_str(&format!("HTTP/1.1 {} Reason\r\n", self.status));
        self.response.write(text, self.has_response_body());
    }

    /// As `written`, without the times.
    fn expected(&self) -> String {
        let content = if self.has_response_body() { self.response.content() } else { 0 };
        let Talk { method, status, request, .. } = self;
        format!("{method} h/p -> {status} complete {}/{content}", request.content())
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        (0..300usize).prop_map(Sent::Length),
        (vec(1..40usize, 0..4), select(vec!["", "Sum: 1\r\n", "Sum: 1\r\nMore: 2\r\n"]))
            .prop_map(|(chunks, trailer)| Sent::Chunks(chunks, trailer)),
    ]
}

fn talk() -> impl Strategy<Value = Talk> {
    let method = select(vec!["GET", "HEAD", "POST", "PUT", "DELETE"]);
    let request = prop_oneof![Just(Sent::None), sent()];
    (method, request, 0..3usize, select(vec![200u16, 204, 304, 404, 500]), sent()).prop_map(
        |(method, request, n_interim, status, response)| Talk {
            method,
            request,
            n_interim,
            status,
            response,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_exchange_and_every_byte(
        talks in vec((talk(), any::<bool>()), 1..8),
        pieces in vec(any::<Index>(), 1..20),
        longest in select(vec![1usize, 3, 40, 400, 100_000]),
    ) {
        let (mut script, mut requests, mut responses) = (Vec::new(), String::new(), String::new());
        for (at, (talk, pipelines)) in talks.iter().enumerate() {
            talk.write_request(&mut requests);
            talk.write_response(&mut responses);
            if !pipelines || at + 1 == talks.len() {
                script.push(Do::Push(Side::Client, std::mem::take(&mut requests).into_bytes()));
                script.push(Do::Push(Side::Server, std::mem::take(&mut responses).into_bytes()));
            }
        }
        let mut pieces = pieces.iter().cycle();
        let run = run(&script, Limits::default(), Birth::Seen, |bytes| {
            let most = bytes.len().min(longest);
            pieces.next().map_or(most, |piece| piece.index(most) + 1)
        });
        let expected: Vec<String> = talks.iter().map(|(talk, _)| talk.expected()).collect();
        let exchanges: Vec<String> = run
            .exchanges
            .iter()
            .map(|exchange| written(exchange).split(" @").next().unwrap_or_default().to_owned())
            .collect();
        prop_assert_eq!(exchanges, expected);
        prop_assert_eq!(run.explained, run.given);
        prop_assert_eq!(run.next, Next::Continue);
        prop_assert_eq!(run.odd, Oddities::default());
    }
}
