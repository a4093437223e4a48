//! A body that goes on for as long as somebody makes lines.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc::Receiver;

/// Lines as they come. Dropped, whoever makes them is told.
#[derive(Debug)]
pub(crate) struct Lines(Receiver<Bytes>);

impl Lines {
    pub(crate) fn new(lines: Receiver<Bytes>) -> Self {
        Lines(lines)
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}
