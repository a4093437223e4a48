//! A call, whatever its request is carried by.

use std::time::Duration;

use super::{Messages, Part, Shape, Show, TRAILER_MAX, Trailer};
use crate::model::{Http, Ktime, Message, MessageKind, Method, Rpc, RpcSystem, Side};
use crate::protocol::{Signal, TEXT, http::authority::Target};

/// What is known of a call, or of what may be one, besides the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::protocol) struct Call {
    /// `None`: what was seen does not tell.
    system: Option<RpcSystem>,
    /// Its path: a method's name is no secret.
    path: Option<Box<str>>,
    status: Option<u32>,
    timeout: Option<Duration>,
    /// By [`Side::index`].
    messages: [Messages; 2],
    /// What reads a body of gRPC-Web of each side.
    web: Option<[Trailer; 2]>,
    reset: Option<(Side, u32)>,
}

/// What is told of what may be a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Told {
    Call(RpcSystem),
    /// It is none.
    Request,
    Unknown,
}

impl Call {
    /// One of this kind, by its content type, to this target. `None`: what was seen does not tell.
    pub(in crate::protocol) fn new(
        kind: Option<(RpcSystem, bool)>,
        target: Option<&str>,
        timeout: Option<Duration>,
    ) -> Call {
        let system = kind.map(|(system, _)| system);
        let web = kind.filter(|(system, _)| *system == RpcSystem::GrpcWeb);
        let path = target.and_then(|target| Target::new(Method::Post, target).path).map(Box::from);
        let web = web.map(|(_, is_text)| [Trailer::new(is_text), Trailer::new(is_text)]);
        Call { system, path, timeout, web, ..Call::default() }
    }

    /// The client gives it so much time.
    pub(in crate::protocol) fn give(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// What its response's headers or trailers say of it: its kind, by the content type, and the status.
    pub(in crate::protocol) fn answer(&mut self, told: Option<(RpcSystem, bool)>, status: Option<u32>) {
        self.status = self.status.or(status);
        if self.system.is_none() {
            // Of gRPC-Web as much as this shows in the body alone.
            self.system = told.map(|(system, _)| system).or(status.map(|_| RpcSystem::Grpc));
        }
        // It may be written in another way than the request.
        if let (Some([_, answer]), Some((RpcSystem::GrpcWeb, is_text))) = (&mut self.web, told)
            && self.messages[Side::Server.index()] == Messages::default()
        {
            *answer = Trailer::new(is_text);
        }
    }

    /// Content of `side`; `show` is told what may be seen of it.
    pub(in crate::protocol) fn content(
        &mut self,
        side: Side,
        at: Ktime,
        bytes: &[u8],
        mut show: impl FnMut(&[u8], Show),
        out: &mut Vec<Signal>,
    ) {
        let is_told = self.is_told();
        let messages = &mut self.messages[side.index()];
        match &mut self.web {
            Some(web) => web[side.index()].take(bytes, messages, show, |len| {
                tell(side, at, Part::Ended(len), is_told, out);
            }),
            None => messages.take(bytes, |part| match part {
                Part::Prefix(piece) => show(piece, Show::As),
                Part::Content(piece) | Part::Trailer(piece) => show(piece, Show::Filled(TEXT)),
                Part::Ended(_) => tell(side, at, part, is_told, out),
            }),
        }
    }

    /// So many bytes of it that nobody saw.
    pub(in crate::protocol) fn passed(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) {
        let is_told = self.is_told();
        let messages = &mut self.messages[side.index()];
        match &self.web {
            Some(_) => messages.lose(),
            None => messages.pass(n, |part| tell(side, at, part, is_told, out)),
        }
    }

    /// Bytes of `side` went by unread that may have been its own.
    pub(in crate::protocol) fn lose(&mut self, side: Side) {
        self.messages[side.index()].lose();
    }

    /// `by` gave it up.
    pub(in crate::protocol) fn reset(&mut self, by: Side, code: u32) {
        self.reset = Some((by, code));
    }

    /// Whether it is a call: where no field said so, the bodies may. They are whole, or not.
    pub(in crate::protocol) fn told(&self, is_requested: bool, is_answered: bool) -> Told {
        if let Some(system) = self.system {
            return Told::Call(system);
        }
        let [sent, received] = &self.messages;
        let received = received.shape(is_answered);
        match (sent.shape(is_requested), received) {
            (Shape::Framed | Shape::Empty, Shape::FramedAsWeb) => Told::Call(RpcSystem::GrpcWeb),
            (Shape::Framed, _) | (Shape::Empty, Shape::Framed) => Told::Call(RpcSystem::Grpc),
            (Shape::Other | Shape::FramedAsWeb, _) | (Shape::Empty, Shape::Other) => Told::Request,
            (Shape::Empty | Shape::Unknown, _) => Told::Unknown,
        }
    }

    /// It is surely a call.
    fn is_told(&self) -> bool {
        self.system.is_some()
    }

    /// What is exported of it.
    pub(in crate::protocol) fn rpc(self, system: RpcSystem, http: Http) -> Rpc {
        let [_, answer] = self.web.unwrap_or_default();
        let [sent, received] = self.messages;
        Rpc {
            system,
            http: Http { path: http.path.or(self.path), is_doubtful: false, ..http },
            status: self.status.or(answer.status()),
            messages: [sent.told(), received.told()],
            timeout: self.timeout,
            reset: self.reset,
        }
    }

    /// Bytes of memory that it takes.
    pub(in crate::protocol) fn held(&self) -> usize {
        let trailer = if self.web.is_some() { TRAILER_MAX } else { 0 };
        size_of::<Call>() + self.path.as_ref().map_or(0, |path| path.len()) + trailer
    }
}

fn tell(side: Side, at: Ktime, part: Part<'_>, is_told: bool, out: &mut Vec<Signal>) {
    if let Part::Ended(bytes) = part
        && is_told
    {
        out.push(Signal::Message(Message { at, side, kind: MessageKind::Call, bytes }));
    }
}
