//! A client that connects, sends and receives by io_uring, for the tests: `uring_client URL…` asks for each, whose host is an
//! address, on a connection of its own, and prints it and the status.

use std::{io, net::SocketAddr};

use tokio_uring::net::TcpStream;

fn main() -> io::Result<()> {
    tokio_uring::start(async {
        for url in std::env::args().skip(1) {
            let status = ask(&url).await?;
            println!("{url} {status}");
        }
        Ok(())
    })
}

async fn ask(url: &str) -> io::Result<String> {
    let usage = || io::Error::other("uring_client http://ADDRESS/PATH…");
    let (host, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).ok_or_else(usage)?;
    let to: SocketAddr = format!("{host}:80").parse().map_err(|_| usage())?;
    let stream = TcpStream::connect(to).await?;
    let head = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
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
