//! For the bench of open connections: has very many open at a time, or is who they are opened to.
//!
//! `holds serve ADDRESS…` accepts on each, beside others that do, and sends each byte back. `holds ADDRESS/N…` opens N connections to each, sends a byte on
//! each and waits for it to come back, prints `opened ADDRESS N ERROR=N…`, and waits for a line on its standard input or its end; then
//! the byte again on each, `alive N`, and closes all.

use std::{
    collections::BTreeMap,
    env,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::epoll,
    net::{self, AddressFamily, SocketType},
};

/// More than ever wait at once.
const EVENTS: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [serve, addresses @ ..] if serve == "serve" => self::serve(addresses),
        pairs => hold(pairs),
    }
}

fn serve(addresses: &[String]) -> io::Result<()> {
    let waiting = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut listeners = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let listener = listen(address.parse().map_err(io::Error::other)?)?;
        listener.set_nonblocking(true)?;
        watch(&waiting, &listener, number)?;
        listeners.push(listener);
    }
    // By number, after those of the listeners.
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    println!("listening");
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        epoll::wait(&waiting, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let number = event.data.u64() as usize;
            if let Some(listener) = listeners.get(number) {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    watch(&waiting, &stream, listeners.len() + connections.len())?;
                    connections.push(Some(stream));
                }
                continue;
            }
            let place = &mut connections[number - listeners.len()];
            let mut buffer = [0; 64];
            let is_open = place.as_mut().is_some_and(|stream| match stream.read(&mut buffer) {
                Ok(0) => false,
                Ok(n) => stream.write_all(&buffer[..n]).is_ok(),
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            });
            if !is_open {
                *place = None;
            }
        }
    }
}

/// Shared with other processes that listen there.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket(family, SocketType::STREAM, None)?;
    net::sockopt::set_socket_reuseport(&socket, true)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, 4096)?;
    Ok(socket.into())
}

fn watch(waiting: &OwnedFd, fd: impl AsFd, number: usize) -> io::Result<()> {
    let number = epoll::EventData::new_u64(number as u64);
    Ok(epoll::add(waiting, fd, number, epoll::EventFlags::IN)?)
}

fn hold(pairs: &[String]) -> io::Result<()> {
    let mut held = Vec::new();
    for pair in pairs {
        let (address, n) = pair.split_once('/').ok_or(io::Error::other("ADDRESS/N"))?;
        let to: SocketAddr = address.parse().map_err(io::Error::other)?;
        let (mut n_open, mut errors) = (0, BTreeMap::<String, u64>::new());
        for _ in 0..n.parse().map_err(io::Error::other)? {
            match open(to) {
                Ok(stream) => {
                    n_open += 1;
                    held.push(stream);
                }
                Err(error) => *errors.entry(format!("{:?}", error.kind())).or_default() += 1,
            }
        }
        let errors: String = errors.iter().map(|(kind, n)| format!(" {kind}={n}")).collect();
        println!("opened {address} {n_open}{errors}");
    }
    println!("all");
    io::stdin().read_line(&mut String::new())?;
    let n_alive = held.iter_mut().filter_map(|stream| ask(stream).ok()).count();
    println!("alive {n_alive}");
    Ok(())
}

fn open(to: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask(&mut stream)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}
