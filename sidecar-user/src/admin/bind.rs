//! Opening the listeners, before the runtime starts and before privileges are dropped.

use std::{
    fmt, fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::{
            fs::FileTypeExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::Mode,
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt},
};
use sidecar_core::config::{AdminListen, Listen};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Why a listener is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// The system refused the address.
    #[error("listen on {address}")]
    Refused {
        /// As it was asked for.
        address: Address,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another process answers on the socket file.
    #[error("listen on {0}: another process answers there")]
    Answered(Address),
    /// Something else than a socket has the path; it is not touched.
    #[error("listen on {0}: the path exists and is no socket")]
    NotASocket(Address),
}

/// Where a listener is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Address {
    /// A port.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listener that accepts nothing yet.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Where it really is: the port that the system chose for port 0, the address taken in place of another.
    pub(crate) address: Address,
    /// What the operator should know about it.
    pub(crate) note: Option<String>,
    pub(super) listener: Listener,
}

/// The socket; non-blocking.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A socket's path, removed with its listener.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing is lost where it is gone already, and the next start removes what stayed.
        let _ = fs::remove_file(&self.0);
    }
}

/// The public listener.
///
/// # Errors
/// [`BindError::Refused`].
pub(crate) fn public(listen: Listen) -> Result<Bound, BindError> {
    tcp(listen.0, open_tcp)
}

/// The admin listener.
///
/// # Errors
/// [`BindError`].
pub(crate) fn admin(listen: &AdminListen) -> Result<Bound, BindError> {
    match listen {
        AdminListen::Tcp(address) => tcp(*address, open_tcp),
        AdminListen::Unix(path) => unix(path),
    }
}

/// `[::]` means "every address": where IPv6 is off, that is `0.0.0.0`.
fn tcp(
    address: SocketAddr,
    open: impl Fn(SocketAddr) -> Result<TcpListener, Errno>,
) -> Result<Bound, BindError> {
    let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let (opened, note) = match open(address) {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
            if address.is_ipv6() && address.ip().is_unspecified() =>
        {
            (open(ipv4), Some(format!("IPv6 is off: listening on {ipv4} in place of {address}")))
        }
        opened => (opened, None),
    };
    let refused = |source| BindError::Refused { address: Address::Tcp(address), source };
    let listener = opened.map_err(|errno| refused(errno.into()))?;
    let actual = listener.local_addr().map_err(refused)?;
    Ok(Bound { address: Address::Tcp(actual), note, listener: Listener::Tcp(listener) })
}

fn open_tcp(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = stream_socket(family)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Said, not assumed: net.ipv6.bindv6only may be 1 (ipv6(7), IPV6_V6ONLY).
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn unix(path: &Path) -> Result<Bound, BindError> {
    let address = Address::Unix(path.to_owned());
    let refused = |source| BindError::Refused { address: address.clone(), source };
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(BindError::NotASocket(address)),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(BindError::Answered(address)),
        // Left by a process that was killed.
        Ok(_) => fs::remove_file(path).map_err(refused)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error)),
    }
    let listener = open_unix(path).map_err(|errno| refused(errno.into()))?;
    let file = SocketFile(path.to_owned());
    Ok(Bound { address, note: None, listener: Listener::Unix(listener, file) })
}

fn open_unix(path: &Path) -> Result<UnixListener, Errno> {
    let socket = stream_socket(AddressFamily::UNIX)?;
    // Before bind(2), so that the file is never open to others: Linux gives it the mode of the socket, less the umask
    // (unix_bind_bsd in net/unix/af_unix.c).
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn stream_socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::STREAM, flags, None)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn the_actual_port_is_told_and_both_families_reach_it() {
        let bound = public(Listen(([0, 0, 0, 0, 0, 0, 0, 0], 0).into())).expect("a port");
        let Address::Tcp(address) = bound.address else { panic!("no port") };
        assert_ne!(address.port(), 0);
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).expect("reached by IPv4");
        let again = public(Listen(address)).expect_err("taken");
        assert!(
            matches!(again, BindError::Refused { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
        );
    }

    #[test]
    fn where_ipv6_is_off_ipv4_is_taken_and_said() {
        let every: SocketAddr = ([0, 0, 0, 0, 0, 0, 0, 0], 0).into();
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            let off = |address: SocketAddr| if address.is_ipv6() { Err(errno) } else { open_tcp(address) };
            let bound = tcp(every, off).expect("IPv4");
            assert!(matches!(bound.address, Address::Tcp(address) if address.is_ipv4()));
            assert!(bound.note.is_some_and(|note| note.starts_with("IPv6 is off")));
            // Not what was asked for where one address was.
            assert!(tcp(([0, 0, 0, 0, 0, 0, 0, 1], 0).into(), off).is_err());
        }
        assert!(tcp(every, |_| Err(Errno::ACCESS)).is_err());
    }

    #[test]
    fn a_socket_file_is_private_replaced_when_dead_and_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let listen = AdminListen::Unix(path.clone());
        let bound = admin(&listen).expect("bound");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(admin(&listen), Err(BindError::Answered(_))));
        drop(bound);
        assert!(!path.exists());
        // Dropped without removing the file, as after SIGKILL.
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        admin(&listen).expect("replaced");
        fs::write(&path, "precious").expect("written");
        assert!(matches!(admin(&listen), Err(BindError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).expect("untouched"), "precious");
    }
}
