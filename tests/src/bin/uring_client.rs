//! A client that connects, sends and receives by io_uring, for the tests: `uring_client IP:PORT N` asks N times for `/100.bin`
//! on a connection of its own each, and prints the status of each answer.

use std::{io, net::SocketAddr};

use tokio_uring::net::TcpStream;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || io::Error::other("uring_client IP:PORT N");
    let to: SocketAddr = arguments.next().and_then(|to| to.parse().ok()).ok_or_else(usage)?;
    let n: usize = arguments.next().and_then(|n| n.parse().ok()).ok_or_else(usage)?;
    tokio_uring::start(async {
        for _ in 0..n {
            println!("{}", ask(to).await?);
        }
        Ok(())
    })
}

async fn ask(to: SocketAddr) -> io::Result<String> {
    let stream = TcpStream::connect(to).await?;
    let head = format!("GET /100.bin HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.into_bytes()).await.0?;
    let mut answer = Vec::new();
    loop {
        let (n, buffer) = stream.read(vec![0; 4096]).await;
        match n? {
            0 => break,
            n => answer.extend_from_slice(&buffer[..n]),
        }
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    text.split(' ').nth(1).map(str::to_owned).ok_or_else(|| io::Error::other("no status"))
}
