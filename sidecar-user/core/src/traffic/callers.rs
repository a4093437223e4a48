//! Whom services leave alone, whatever the destination: who connects, and what is executed there. In the kernel these are rules of a family of their own, so
//! they are in both banks, and change with the rest.

use sidecar_ebpf::abi::steer::{RULE_EXACT, RULE_EXCEPTION, RULE_FILE, RULE_USER, Rule, RuleKey};

use super::rules::Rules;
use crate::model::{FileId, policy::Service};

/// Who connects, as far as whoever asks knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its real user, as the initial user namespace counts.
    pub uid: Option<u32>,
    /// The file that its process executes.
    pub file: Option<FileId>,
}

/// The rules of all services, whose ids are given in their order.
pub(super) fn compile(services: &[Service], ids: &[u32]) -> Rules {
    services
        .iter()
        .zip(ids)
        .flat_map(|(service, id)| users(service, *id).chain(files(service, *id)))
        .collect()
}

fn users(service: &Service, id: u32) -> impl Iterator<Item = ((u32, RuleKey), Rule)> {
    let prefixes = service.except.uids.iter().flat_map(|uids| uids.prefixes());
    prefixes.map(move |(first, prefix)| {
        let mut addr = [0; 16];
        addr[..4].copy_from_slice(&first.to_be_bytes());
        let key = RuleKey { bank: 0, family: RULE_USER, port: id as u16, addr };
        ((RULE_EXACT + prefix, key), exception(id))
    })
}

fn files(service: &Service, id: u32) -> impl Iterator<Item = ((u32, RuleKey), Rule)> {
    let files = service.except.executables.iter().flat_map(|executable| &executable.files);
    files.map(move |FileId { device: (major, minor), inode, generation }| {
        // `MKDEV` of linux/kdev_t.h.
        let device = major << 20 | minor;
        let mut addr = [0; 16];
        addr[..8].copy_from_slice(&inode.to_ne_bytes());
        addr[8..12].copy_from_slice(&device.to_ne_bytes());
        addr[12..].copy_from_slice(&generation.unwrap_or_default().to_ne_bytes());
        let key = RuleKey { bank: 0, family: RULE_FILE, port: id as u16, addr };
        let prefix = if generation.is_some() { 128 } else { 96 };
        ((RULE_EXACT + prefix, key), exception(id))
    })
}

fn exception(service: u32) -> Rule {
    Rule { service, place: 0, flags: RULE_EXCEPTION }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Executable;

    #[test]
    fn users_are_a_services_own() {
        let mut services = ["a", "b", "c"].map(Service::named);
        services[0].except.uids = vec!["1000".parse().expect("a user"), "2000-2001".parse().expect("users")];
        services[2].except.uids = vec!["1000".parse().expect("a user")];
        let rules = compile(&services, &[7, 8, 9]);
        let told: Vec<_> = rules
            .iter()
            .map(|((len, key), rule)| (len - RULE_EXACT, key.port, &key.addr[..5], rule.service))
            .collect();
        let expected: [(u32, u16, &[u8], u32); 3] = [
            (31, 7, &[0, 0, 0x07, 0xd0, 0], 7),
            (32, 7, &[0, 0, 0x03, 0xe8, 0], 7),
            (32, 9, &[0, 0, 0x03, 0xe8, 0], 9),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn files_are_of_their_file_systems() {
        let mut service = Service::named("a");
        let files = ["8:1:77:5", "0:300:77"].map(|text| text.parse().expect("a file"));
        service.except.executables = vec![
            Executable { path: "/bin/a".into(), files: files.into(), unclear: Vec::new() },
            Executable { path: "/bin/b".into(), files: Vec::new(), unclear: Vec::new() },
        ];
        let rules = compile(&[service], &[3]);
        let told = rules.keys().map(|(len, key)| {
            let half = |at: usize| {
                let mut half = [0; 4];
                half.copy_from_slice(&key.addr[at..at + 4]);
                u32::from_ne_bytes(half)
            };
            (*len, key.family, key.port, [0, 8, 12].map(half))
        });
        let mut told: Vec<_> = told.collect();
        told.sort_unstable();
        // Where it has no generation, any.
        let expected = [(128, RULE_FILE, 3, [77, 300, 0]), (160, RULE_FILE, 3, [77, 8 << 20 | 1, 5])];
        assert_eq!(told, expected);
    }
}
