//! For the bench of steering: connects again and again and says how long it took, or is who it connects to.
//!
//! `connects serve PORT` accepts on 127.0.0.1 and sends each byte back. `connects ADDRESS N` prints medians in nanoseconds: of
//! connect(), and of a byte sent and received again from the beginning of connect() on. `connects ADDRESS ADDRESS N` prints
//! those of connect() alone to each of two in turns, whatever becomes of the connection; each begins a while after the one before,
//! which is over by then, however long that took: so none finds warmer caches, or another machine, than the other.

use std::{
    env,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// From one connection to the next.
const PACE: Duration = Duration::from_millis(1);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [serve, port] if serve == "serve" => {
            let port: u16 = port.parse().map_err(io::Error::other)?;
            for stream in TcpListener::bind(("127.0.0.1", port))?.incoming() {
                // A client that goes is no news.
                let _ = stream.and_then(echo);
            }
            Ok(())
        }
        [address, n] => {
            let address = address.parse().map_err(io::Error::other)?;
            measure(address, n.parse().map_err(io::Error::other)?)
        }
        [one, other, n] => {
            let one = one.parse().map_err(io::Error::other)?;
            let other = other.parse().map_err(io::Error::other)?;
            measure_in_turns([one, other], n.parse().map_err(io::Error::other)?)
        }
        _ => Err(io::Error::other("connects serve PORT, or connects ADDRESS [ADDRESS] N")),
    }
}

/// Until the client has no more.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

fn measure(address: SocketAddr, n: usize) -> io::Result<()> {
    let (mut connected, mut answered) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for _ in 0..n {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(address)?;
        connected.push(begun.elapsed().as_nanos());
        stream.set_nodelay(true)?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        answered.push(begun.elapsed().as_nanos());
    }
    println!("{} {}", median(connected), median(answered));
    Ok(())
}

fn measure_in_turns(addresses: [SocketAddr; 2], n: usize) -> io::Result<()> {
    let mut connected = [(); 2].map(|()| Vec::with_capacity(n));
    for _ in 0..n {
        for (address, connected) in addresses.iter().zip(&mut connected) {
            let begun = Instant::now();
            let mut stream = TcpStream::connect(address)?;
            connected.push(begun.elapsed().as_nanos());
            // Whoever is there may have closed already.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
            drop(stream);
            thread::sleep(PACE.saturating_sub(begun.elapsed()));
        }
    }
    let [one, other] = connected.map(median);
    println!("{one} {other}");
    Ok(())
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
