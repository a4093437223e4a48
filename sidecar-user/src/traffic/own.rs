//! Which addresses this network namespace has: whoever dials from one of them does not come in.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        socket_with,
    },
};
use sidecar_core::model::Directory;
use tokio::{io::unix::AsyncFd, task::spawn_blocking, time::sleep};
use tracing::warn;

use super::Traffic;
use crate::chain::chain;

/// Between two looks, if nobody says that there is anything new.
const PACE: Duration = Duration::from_secs(10);
/// Protocol 0, which rustix calls none.
const NETLINK_ROUTE: Option<Protocol> = None;
/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` of include/uapi/linux/rtnetlink.h.
const GROUPS: u32 = 0x10 | 0x100;

/// Told of each change (rtnetlink(7)). What has changed is not read: then one looks anew.
struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    #[expect(unsafe_code, reason = "tokio trusts no type to keep its descriptor")]
    fn open() -> io::Result<Changes> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, NETLINK_ROUTE)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        // SAFETY: an `OwnedFd` is one descriptor, open as long as it is there.
        Ok(Changes(unsafe { AsyncFd::register(socket) }?))
    }

    /// Comes back when there was one, or more than the kernel had room to tell of.
    async fn next(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut message = [0_u8; 4096];
        loop {
            match recv(&self.0, &mut message[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

impl Traffic {
    /// Looks which addresses are ours. `know` as in `apply`: where they are others than before.
    pub(super) fn look_at_own(&self, know: impl Fn(Directory)) {
        let found = if_addrs::get_if_addrs();
        let state = &mut *self.lock();
        let told = match found {
            Ok(all) => {
                let now: BTreeSet<IpAddr> = all.iter().map(if_addrs::Interface::ip).collect();
                let gone: Vec<_> = state.own.difference(&now).copied().collect();
                let new: Vec<_> = now.difference(&state.own).copied().collect();
                if gone.is_empty() && new.is_empty() {
                    return;
                }
                state
                    .steering
                    .own(&gone, &new)
                    .map(|()| state.own = now.into())
                    .map_err(|error| chain(&error))
            }
            Err(error) => Err(error.to_string()),
        };
        match told {
            Ok(()) => know(state.directory(&state.policy)),
            Err(error) if state.troubles.own.failed(Instant::now()) => {
                warn!(error, "what this host dials of its own addresses may be taken for what comes in");
            }
            Err(_) => {}
        }
    }

    /// Keeps looking, for ever.
    pub(crate) async fn keep_own(self: &Arc<Self>, know: impl Fn(Directory) + Clone + Send + 'static) {
        let changes = Changes::open();
        if let Err(error) = &changes {
            warn!(error = chain(error), pace = ?PACE, "nobody tells of new addresses of this host: they are looked for");
        }
        loop {
            let news = async {
                match &changes {
                    Ok(changes) if changes.next().await.is_ok() => {}
                    _ => std::future::pending().await,
                }
            };
            tokio::select! { () = news => {}, () = sleep(PACE) => {} }
            let (traffic, know) = (Arc::clone(self), know.clone());
            // It may wait for the kernel.
            let _ = spawn_blocking(move || traffic.look_at_own(know)).await;
        }
    }
}
