//! From a reader's queue to its answer: at most so many lines, for so long, and what was left out said between them.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep_until},
};

use super::{Wish, hub::Tap};

/// Between two times that what was left out is said.
const NOTES: Duration = Duration::from_secs(1);

/// Carries lines until nobody wants more, or there will be no more.
pub(super) async fn carry(mut tap: Tap, wish: Wish, to: Sender<Bytes>) {
    let begun = Instant::now();
    let end = wish.lasts.map(|lasts| begun + lasts);
    let (mut said, mut next_note, mut n) = ([0; 2], begun + NOTES, 0);
    while wish.count.is_none_or(|count| n < count) {
        tokio::select! {
            line = tap.lines.recv() => {
                let Some(line) = line else { break };
                if to.send(line).await.is_err() {
                    return;
                }
                n += 1;
            }
            () = sleep_until(next_note) => {
                next_note += NOTES;
                let left_out = tap.left_out.read();
                if left_out != std::mem::replace(&mut said, left_out)
                    && to.send(wish.form.note(left_out)).await.is_err()
                {
                    return;
                }
            }
            () = at(end) => break,
            () = to.closed() => return,
        }
    }
    let _ = to.send(wish.form.note(tap.left_out.read())).await;
}

async fn at(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}
