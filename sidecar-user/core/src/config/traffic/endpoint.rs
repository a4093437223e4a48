//! Where a service can be had.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::config::value::Refused;

/// Where a service can be had: `IP:PORT`, or with a weight and a zone.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct EndpointSettings {
    /// `IP:PORT`.
    pub address: HostPort,
    /// Its share beside that of the others; 0: it gets none.
    pub weight: u16,
    /// Which zone it is in, where that is known.
    pub zone: Option<String>,
}

/// What an endpoint weighs of which nothing else is said.
pub(super) const WEIGHT: u16 = 100;

impl<'de> Deserialize<'de> for EndpointSettings {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(EndpointVisitor)
    }
}

struct EndpointVisitor;

impl<'de> Visitor<'de> for EndpointVisitor {
    type Value = EndpointSettings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`IP:PORT`, or `address`, `weight` and `zone`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<EndpointSettings, E> {
        text.parse()
            .map(|address| EndpointSettings { address, weight: WEIGHT, zone: None })
            .map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndpointSettings, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            address: HostPort,
            weight: Option<u16>,
            zone: Option<String>,
        }
        let written = Written::deserialize(MapAccessDeserializer::new(map))?;
        let weight = written.weight.unwrap_or(WEIGHT);
        Ok(EndpointSettings { address: written.address, weight, zone: written.zone })
    }
}

/// `IP:PORT`, with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort(pub SocketAddr);

impl FromStr for HostPort {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        let address = address
            .ok_or_else(|| Refused(format!("`{text}` is not an endpoint: write IP:PORT or [IPv6]:PORT")))?;
        if let IpAddr::V6(v6) = address.ip()
            && v6.is_unicast_link_local()
        {
            let why = "is an address on one link (fe80::/10), which says nothing without a device: write another of that host";
            return Err(Refused(format!("`{text}` {why}")));
        }
        // One address is one endpoint, however it is written.
        let ip = address.ip().to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(Refused(format!("`{text}` is no host's address")));
        }
        Ok(Self(SocketAddr::new(ip, address.port())))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_link_are_none() {
        for text in ["[fe80::1]:80", "[fe80::1%2]:80", "[febf::1]:80"] {
            let error = text.parse::<HostPort>().expect_err("it is refused").0;
            assert!(error.starts_with(&format!("`{text}` is an address on one link (fe80::/10)")), "{error}");
        }
        for text in ["[fe80::1%eth0]:80", "10.0.0.1", "10.0.0.1:0"] {
            let error = text.parse::<HostPort>().expect_err("it is refused").0;
            assert!(error.starts_with(&format!("`{text}` is not an endpoint")), "{error}");
        }
        for text in [
            "0.0.0.0:80",
            "[::]:80",
            "[::ffff:0.0.0.0]:80",
            "224.0.0.1:80",
            "[ff02::1]:80",
            "255.255.255.255:80",
        ] {
            let error = text.parse::<HostPort>().expect_err("it is refused").0;
            assert_eq!(error, format!("`{text}` is no host's address"));
        }
        for (text, address) in
            [("169.254.169.254:80", "169.254.169.254:80"), ("[::ffff:10.0.0.1]:80", "10.0.0.1:80")]
        {
            assert_eq!(text.parse::<HostPort>().map(|one| one.to_string()), Ok(address.to_owned()));
        }
    }
}
