//! Connections that a service leaves alone, and what a person gets wrong about them.

use std::{borrow::Cow, fmt, path::PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

use super::ServiceSettings;
use crate::{
    config::value::Peers,
    model::{
        Executable, Uids,
        policy::{Except, Resolve},
    },
};

/// Connections that a service leaves alone.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct ExceptSettings {
    /// To networks or addresses.
    pub addresses: Vec<Peers>,
    /// To ports.
    pub ports: Vec<u16>,
    /// Of users, by their ids: `1000`, or `1000-1999`. It is the real user's id (credentials(7)) in the initial user namespace:
    /// inside of another one `id -u` tells another. What goes to virtual addresses is not excepted: nobody is there.
    pub uids: Vec<UidSetting>,
    /// Of processes that execute these files, by their absolute paths. What counts is the file and not its name: a copy is another
    /// one, and what executes a script is its interpreter. A path stands for what is there in the daemon's root and in those of
    /// the application's processes, looked at once a second; it may be that nothing is there yet. With
    /// `traffic.pin` the files that were there last are excepted while no daemon is there. Takes CAP_PERFMON and the kernel's BTF.
    pub executables: Vec<PathBuf>,
}

impl ExceptSettings {
    /// As the traffic plane has it.
    pub(super) fn except(&self) -> Except {
        Except {
            networks: self.addresses.iter().map(|peers| peers.0).collect(),
            ports: self.ports.clone(),
            uids: self.uids.iter().map(|uids| uids.0).collect(),
            executables: self
                .executables
                .iter()
                .map(|path| Executable { path: path.clone(), files: Vec::new(), unclear: Vec::new() })
                .collect(),
        }
    }

    /// What is wrong with them, of this service.
    pub(super) fn faults(&self, service: &ServiceSettings) -> Vec<String> {
        let by_caller = !self.uids.is_empty() || !self.executables.is_empty();
        let rows = [
            (self.addresses.len() > 256, "it excepts more than 256 `addresses`"),
            (self.ports.len() > 64, "it excepts more than 64 `ports`"),
            (self.uids.len() > 64, "it excepts more than 64 `uids`"),
            (self.executables.len() > 16, "it excepts more than 16 `executables`"),
            (self.ports.contains(&0), "0 is no port"),
            (
                by_caller && service.addresses.is_empty() && service.resolve() == Resolve::Virtual,
                "`except.uids` and `except.executables` would except nobody: all of its names have virtual addresses, where nobody is; say `resolve: real`",
            ),
        ];
        let mut faults: Vec<_> =
            rows.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, why)| why.to_owned()).collect();
        let is_no_path =
            |path: &&PathBuf| !path.is_absolute() || path.to_str().is_none_or(|path| path.contains('\0'));
        if let Some(path) = self.executables.iter().find(is_no_path) {
            faults.push(format!(
                "`{}` is no absolute path: executables are told apart by their files, not by names",
                path.display()
            ));
        }
        let is_twice = |(i, path): &(usize, &PathBuf)| self.executables[..*i].contains(path);
        if let Some((_, path)) = self.executables.iter().enumerate().find(is_twice) {
            faults.push(format!("it excepts {} twice", path.display()));
        }
        let meets = |(i, uids): (usize, &UidSetting)| {
            self.uids[..i].iter().find(|other| other.0.meets(&uids.0)).map(|other| (other.0, uids.0))
        };
        if let Some((one, other)) = self.uids.iter().enumerate().find_map(meets) {
            faults.push(format!("it excepts users twice: {one} and {other} have some in common"));
        }
        faults
    }
}

/// A user's id, or a range of them: a number or a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UidSetting(pub Uids);

impl<'de> Deserialize<'de> for UidSetting {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(UidVisitor)
    }
}

struct UidVisitor;

impl Visitor<'_> for UidVisitor {
    type Value = UidSetting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user id, 1000, or a range of them, 1000-1999")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<UidSetting, E> {
        text.parse().map(UidSetting).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, uid: u64) -> Result<UidSetting, E> {
        self.visit_str(&uid.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, uid: i64) -> Result<UidSetting, E> {
        self.visit_str(&uid.to_string())
    }
}

impl Serialize for UidSetting {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl JsonSchema for UidSetting {
    fn schema_name() -> Cow<'static, str> {
        "UidSetting".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "user id or range of them" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_that_except_nothing_are_refused() {
        for (service, except, expected) in [
            (r#""addresses": ["10.0.0.0/8"]"#, r#""addresses": ["10.1.0.0/16"], "ports": [22]"#, ""),
            (r#""addresses": ["10.1.0.0/16"]"#, r#""addresses": ["10.0.0.0/8"]"#, ""),
            (r#""addresses": ["10.0.0.1"]"#, r#""uids": [0, 1000, "2000-2999", "3000"]"#, ""),
            (r#""addresses": ["10.0.0.1"]"#, r#""uids": ["1000-1999", 1500]"#, "1000-1999 and 1500"),
            (r#""addresses": ["10.0.0.1"]"#, r#""executables": ["/usr/bin/curl"]"#, ""),
            (r#""addresses": ["10.0.0.1"]"#, r#""executables": ["curl"]"#, "no absolute path"),
            (r#""addresses": ["10.0.0.1"]"#, r#""executables": ["/a", "/b", "/a"]"#, "/a twice"),
            (r#""hosts": ["a.b"], "gear": "deny""#, r#""executables": ["/a"]"#, "nobody is"),
            (r#""hosts": ["a.b"], "gear": "deny""#, r#""uids": [1]"#, "nobody is"),
            (r#""hosts": ["a.b"], "gear": "deny", "resolve": "real""#, r#""uids": [1]"#, ""),
            (r#""hosts": ["a.b"], "addresses": ["10.0.0.1"]"#, r#""uids": [1]"#, ""),
        ] {
            let text = format!(r#"{{"name": "a", {service}, "except": {{{except}}}}}"#);
            let service: ServiceSettings = serde_json::from_str(&text).expect("a service");
            let faults = service.except.faults(&service).join("; ");
            assert_eq!(faults.is_empty(), expected.is_empty(), "{text}: {faults}");
            assert!(faults.contains(expected), "{text}: {faults}");
        }
        for uids in [r#""root""#, "-1", "4294967295", "1.5", "true", r#""2-1""#] {
            let text =
                format!(r#"{{"name": "a", "addresses": ["10.0.0.1"], "except": {{"uids": [{uids}]}}}}"#);
            assert!(serde_json::from_str::<ServiceSettings>(&text).is_err(), "{uids}");
        }
    }
}
