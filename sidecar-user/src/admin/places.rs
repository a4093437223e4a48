//! The places of a listener: when all are taken, the connection that has waited longest for a head makes room.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::AbortHandle,
    time::Instant,
};
use tracing::debug;

/// What a connection does.
#[derive(Clone, Copy, Debug)]
struct State {
    /// A request is being answered, or an answer goes on.
    is_asked: bool,
    /// The client has yet to take some of an answer.
    is_writing: bool,
    /// When the connection was accepted, or something was last done for it.
    since: Instant,
}

/// One connection's place.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Mutex<State>>);

impl Place {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { is_asked: false, is_writing: false, since: Instant::now() })))
    }

    /// A request has come, or its answer is made.
    pub(super) fn set_asked(&self, is_asked: bool) {
        self.change(|state| state.is_asked = is_asked);
    }

    /// A request is being answered.
    pub(super) fn is_asked(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_asked
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.since = Instant::now();
    }

    /// Whoever is least by this goes first.
    fn rank(&self) -> (bool, Instant) {
        let state = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.is_asked || state.is_writing, state.since)
    }
}

/// All the connections of a listener.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<(Place, AbortHandle)>);

impl Places {
    /// Takes a connection in; where there are `max` already, one of them is closed.
    pub(super) fn take(&mut self, max: usize, place: Place, connection: AbortHandle) {
        self.0.retain(|(_, connection)| !connection.is_finished());
        if self.0.len() >= max
            && let Some(i) = (0..self.0.len()).min_by_key(|&i| self.0[i].0.rank())
        {
            debug!("a connection makes room for another");
            self.0.swap_remove(i).1.abort();
        }
        self.0.push((place, connection));
    }
}

/// A stream that tells its place whether the client takes what is written.
#[derive(Debug)]
pub(super) struct Told<S> {
    pub(super) stream: S,
    pub(super) place: Place,
}

impl<S> Told<S> {
    fn tell(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(_) => self.place.change(|state| state.is_writing = false),
            // Since when it waits stays as it is.
            Poll::Pending => self.place.0.lock().unwrap_or_else(PoisonError::into_inner).is_writing = true,
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Told<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Told<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.tell(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.tell(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
