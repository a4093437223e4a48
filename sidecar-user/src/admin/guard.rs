//! Who may speak to the admin listener. A page in the operator's browser reaches loopback too: by a name that it
//! rebinds to 127.0.0.1 (so the Host must be one that only this machine has), or across origins (so a request that
//! carries an Origin is a browser's, and refused). A socket file is reached by no name, so there any Host will do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hyper::{
    HeaderMap, StatusCode, Uri,
    header::{HOST, ORIGIN},
    http::uri::Authority,
};

/// Where a connection was accepted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Via {
    /// At an address, if it could be told.
    Tcp(Option<IpAddr>),
    /// At a socket file.
    File,
}

/// Why a request is not looked at.
pub(super) fn refuse(headers: &HeaderMap, uri: &Uri, via: Via) -> Option<(StatusCode, &'static str)> {
    if headers.contains_key(ORIGIN) {
        return Some((StatusCode::FORBIDDEN, "requests of web pages are refused"));
    }
    let Via::Tcp(local) = via else { return None };
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let is_ours = host.is_some_and(|host| is_ours(&host, local))
        && hosts.next().is_none()
        && uri.authority().is_none_or(|authority| is_ours(authority, local));
    (!is_ours).then_some((StatusCode::MISDIRECTED_REQUEST, "the Host is not of this listener: use localhost"))
}

fn is_ours(authority: &Authority, local: Option<IpAddr>) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_address = |ip: IpAddr| {
        let ip = ip.to_canonical();
        ip == Ipv4Addr::LOCALHOST
            || ip == Ipv6Addr::LOCALHOST
            || local.is_some_and(|local| ip == local.to_canonical())
    };
    let is_plain = !authority.as_str().contains('@');
    is_plain && (host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_address))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn check(hosts: &[&str], origin: Option<&str>, uri: &str, local: Option<&str>) -> Option<u16> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).expect("a header"));
        }
        if let Some(origin) = origin {
            headers.insert(ORIGIN, HeaderValue::from_str(origin).expect("a header"));
        }
        let via = match local {
            Some("file") => Via::File,
            local => Via::Tcp(local.map(|ip| ip.parse().expect("an address"))),
        };
        refuse(&headers, &uri.parse().expect("a uri"), via).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn names_that_only_this_machine_has() {
        for host in
            ["localhost", "localhost:9465", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9465", "[::1]", "[::1]:1"]
        {
            assert_eq!(check(&[host], None, "/", None), None, "{host}");
        }
        for host in ["10.1.2.3", "10.1.2.3:9465"] {
            assert_eq!(check(&[host], None, "/", Some("10.1.2.3")), None, "{host}");
            assert_eq!(check(&[host], None, "/", Some("::ffff:10.1.2.3")), None, "{host}");
            assert_eq!(check(&[host], None, "/", Some("127.0.0.1")), Some(421), "{host}");
        }
        for hosts in [
            &["evil.example"][..],
            &["evil.example:9465"],
            &["localhost.evil.example"],
            &["localhost@evil.example"],
            &["evil.example@localhost"],
            &[""],
            &["0.0.0.0"],
            &[],
            &["localhost", "localhost"],
        ] {
            assert_eq!(check(hosts, None, "/", Some("127.0.0.1")), Some(421), "{hosts:?}");
        }
    }

    #[test]
    fn the_target_counts_as_much_as_the_header() {
        assert_eq!(check(&["localhost"], None, "http://localhost:9465/log", None), None);
        assert_eq!(check(&["localhost"], None, "http://evil.example/log", None), Some(421));
    }

    #[test]
    fn a_socket_file_has_no_name() {
        for hosts in [&["docker"][..], &["evil.example"], &[""], &[]] {
            assert_eq!(check(hosts, None, "/", Some("file")), None, "{hosts:?}");
        }
        assert_eq!(check(&["localhost"], Some("http://localhost"), "/", Some("file")), Some(403));
    }

    #[test]
    fn any_origin_is_refused() {
        for origin in ["http://localhost:9465", "null", "http://evil.example", ""] {
            assert_eq!(check(&["localhost"], Some(origin), "/", None), Some(403), "{origin}");
        }
    }
}
