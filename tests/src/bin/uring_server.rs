//! An HTTP/1.1 server that does all its input and output by io_uring, for the tests: answers `/STATUS/SIZE` on a port of
//! 127.0.0.1, and logs what it answered on standard output. `uring_server PORT`.

use std::{io, net::SocketAddr, rc::Rc};

use tokio_uring::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("uring_server PORT"))?;
    tokio_uring::start(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio_uring::spawn(async {
                // A client that goes is no news.
                let _ = serve(Rc::new(stream)).await;
            });
        }
    })
}

async fn serve(stream: Rc<TcpStream>) -> io::Result<()> {
    let mut pending = Vec::new();
    loop {
        let head_len = loop {
            if let Some(at) = pending.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !read(&stream, &mut pending).await? {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&pending[..head_len]).into_owned();
        let body_len = header(&head, "content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        while pending.len() < head_len + body_len {
            if !read(&stream, &mut pending).await? {
                return Ok(());
            }
        }
        pending.drain(..head_len + body_len);

        let mut words = head.split_whitespace();
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let mut parts = path.split('/').skip(1);
        let status = parts.next().unwrap_or("400");
        let size: usize = parts.next().and_then(|size| size.parse().ok()).unwrap_or(0);
        let mut answer = format!("HTTP/1.1 {status} said\r\nContent-Length: {size}\r\n\r\n").into_bytes();
        if method != "HEAD" {
            answer.resize(answer.len() + size, b'u');
        }
        let (written, _) = stream.write_all(answer).await;
        written?;
        println!("{method} {status}");
        if words.next() == Some("HTTP/1.0") {
            return Ok(());
        }
    }
}

/// Reads more; false at the end.
async fn read(stream: &TcpStream, into: &mut Vec<u8>) -> io::Result<bool> {
    let (n, buffer) = stream.read(vec![0; 1 << 16]).await;
    let n = n?;
    into.extend_from_slice(&buffer[..n]);
    Ok(n > 0)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
