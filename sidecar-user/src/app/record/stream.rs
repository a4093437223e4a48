//! From a recording's queue to the answer: for so long, with what was left out said between packets.

use std::time::Duration;

use bytes::Bytes;
use sidecar_core::record::note;
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep_until},
};

use super::hub::Recording;

/// Between two times that what was left out is said.
const NOTES: Duration = Duration::from_secs(1);

/// Carries chunks until nobody wants more, or there will be no more.
pub(super) async fn carry(mut recording: Recording, lasts: Option<Duration>, to: Sender<Bytes>) {
    let begun = Instant::now();
    let end = lasts.map(|lasts| begun + lasts);
    let (mut said, mut next_note) = ([0; 3], begun + NOTES);
    loop {
        tokio::select! {
            chunk = recording.chunks.recv() => {
                let Some(chunk) = chunk else { break };
                if to.send(chunk).await.is_err() {
                    return;
                }
            }
            () = sleep_until(next_note) => {
                next_note += NOTES;
                let left_out = recording.left_out.read();
                if left_out != std::mem::replace(&mut said, left_out)
                    && to.send(note(left_out).into()).await.is_err()
                {
                    return;
                }
            }
            () = at(end) => break,
            () = to.closed() => return,
        }
    }
    // What passed before the end.
    while let Ok(chunk) = recording.chunks.try_recv() {
        if to.send(chunk).await.is_err() {
            return;
        }
    }
    let _ = to.send(note(recording.left_out.read()).into()).await;
}

async fn at(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}
