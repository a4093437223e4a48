//! Bytes from one socket to another and back, until both have said that there are no more.
//!
//! Nothing is held of a connection through which nothing flows: what is read goes through a buffer that all connections of
//! the thread share, and only what the other side does not take at once is put aside.

use std::{
    cell::RefCell,
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

/// What is read at once, and so the most that is put aside of a connection, each way.
const CHUNK: usize = 32 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Carries both ways, and adds to `carried` what went to `server`, and to `client`, as it goes.
///
/// # Errors
/// The first of either way; then neither is to be used further.
pub(super) async fn both(
    client: &mut TcpStream,
    server: &mut TcpStream,
    carried: &[AtomicU64; 2],
) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let [sent, received] = carried;
    tokio::try_join!(one(from_client, to_server, sent), one(from_server, to_client, received))?;
    Ok(())
}

async fn one(from: ReadHalf<'_>, mut to: WriteHalf<'_>, carried: &AtomicU64) -> io::Result<()> {
    let went = |n: usize| carried.fetch_add(n as u64, Ordering::Relaxed);
    loop {
        from.ready(Interest::READABLE).await?;
        let step = BUFFER.with_borrow_mut(|buffer| {
            let n = from.try_read(buffer)?;
            let taken = match to.try_write(&buffer[..n]) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            went(taken);
            Ok((n, buffer[taken..n].to_vec()))
        });
        match step {
            Ok((0, _)) => {
                // It may be gone already, for which it has its own reasons.
                let _ = to.shutdown().await;
                return Ok(());
            }
            Ok((_, rest)) => {
                let mut rest = &rest[..];
                while !rest.is_empty() {
                    let taken = to.write(rest).await?;
                    if taken == 0 {
                        return Err(io::ErrorKind::WriteZero.into());
                    }
                    went(taken);
                    rest = &rest[taken..];
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
