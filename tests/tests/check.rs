//! `sidecar check`: what a person gets wrong, told with its place, and what does less than it seems to.

use std::{fs, process::Command};

use sidecar_tests::process;

/// The exit status, and all that was said, of a file with this content.
fn check(text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.yaml");
    fs::write(&path, text).expect("written");
    let output = process::output(Command::new(sidecar_tests::binary()).arg("check").arg(&path));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).replace(&format!("{}/", folder.path().display()), "");
    (output.status.code(), said)
}

/// Told what is wrong before anything is steered.
#[test]
#[ignore = "privileged: runs the release build"]
fn check_names_the_service_and_its_line() {
    let services = |text: &str| format!("traffic:\n  services:\n{text}");
    for (text, line, part) in [
        ("    - {name: a, addresses: [10.0.0.1], gear: sideways}\n", 3, "sideways"),
        ("    - {name: a, addresses: [10.0.0.1], gaer: deny}\n", 3, "gaer"),
        ("    - name: a\n      addresses: [10.0.0.0/40]\n", 4, "10.0.0.0/40"),
        (
            "    - {name: a, addresses: [10.0.0.1]}\n    - {name: a, addresses: [10.0.0.2]}\n",
            4,
            "called `a` too",
        ),
        ("    - {name: a, addresses: [10.0.0.1], gear: deny}\n", 3, "while_running"),
        ("    - {name: a, addresses: []}\n", 3, "no destination"),
        ("    - {name: a, addresses: [10.0.0.1], endpoints: ['10.0.0.2:0']}\n", 3, "10.0.0.2:0"),
        ("    - {name: a, addresses: [10.0.0.1], limits: {burst: 2}}\n", 3, "limits.rate"),
        (
            "    - {name: a, addresses: [10.0.0.1], limits: {connections: 5000000000}}\n",
            3,
            "not a whole number from 0 to 4294967295",
        ),
        ("    - {name: a, addresses: [10.0.0.1], limits: {rate: 1000001}}\n", 3, "are 1 to 1000000"),
        (
            "    - {name: a, hosts: [a.b], endpoints: ['10.0.0.2:80'], gear: proxy, when_gone: open, while_running: true}\n",
            3,
            "nowhere to go",
        ),
        ("  inbound:\n    - {name: a, ports: [9464]}\n", 4, "the daemon's own (metrics.listen)"),
    ] {
        let (code, said) = check(&services(text));
        assert_eq!(code, Some(2), "{text}: {said}");
        assert!(said.contains(&format!("s.yaml:{line}:")) && said.contains(part), "{text}: {said}");
    }
    // Too much is told at once, however much it is.
    let list = |n: u32, one: &dyn Fn(u32) -> String| (1..=n).map(one).collect::<Vec<_>>().join(", ");
    let (ports, addresses) = (list(60, &|n| n.to_string()), list(250, &|n| format!("10.0.0.{n}")));
    let service = |n: u32| format!("    - {{name: s{n}, addresses: [{addresses}], ports: [{ports}]}}\n");
    let (code, said) = check(&services(&(0..100).map(service).collect::<String>()));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("3000000 rules, and there is room for 4096"), "{said}");
    // 251 places each, of 32,768.
    let hashed = |n: u32| {
        format!(
            "    - {{name: s{n}, addresses: [10.0.0.{n}], balance: hash_user, endpoints: ['10.1.0.1:80']}}\n"
        )
    };
    for (n, expected) in [(130, Some(0)), (131, Some(2))] {
        let (code, said) = check(&services(&(1..=n).map(hashed).collect::<String>()));
        assert_eq!(code, expected, "{said}");
        assert_eq!(said.contains("s.yaml:133:"), n == 131, "{said}");
        assert_eq!(said.contains("32881 places, and there is room for 32768"), n == 131, "{said}");
    }
    let many = list(65, &|n| n.to_string());
    let (code, said) =
        check(&services(&format!("    - {{name: a, addresses: [10.0.0.1], ports: [{many}]}}\n")));
    assert!(code == Some(2) && said.contains("more than 64 `ports`"), "{said}");
}

/// What a person gets wrong about names is told with its line.
#[test]
#[ignore = "privileged: runs the release build"]
fn check_names_what_is_wrong_with_names() {
    let endpoints = "endpoints: ['10.0.0.1:80'], while_running: true";
    for (text, code, part) in [
        (format!("  services: [{{name: a, hosts: [a.b], {endpoints}}}]\n"), 0, ""),
        ("  services: [{name: a, hosts: [a.b]}]\n".into(), 0, ""),
        ("  services: [{name: a, hosts: ['a b']}]\n".into(), 2, "write a host's name"),
        (
            "  services: [{name: a, hosts: [a.b], endpoints: ['10.0.0.1:80']}]\n".into(),
            2,
            "while_running: true",
        ),
        (
            "  services: [{name: a, hosts: [a.b], resolve: virtual, while_running: true}]\n".into(),
            2,
            "needs `endpoints`",
        ),
        (
            "  services: [{name: a, addresses: [10.0.0.1], resolve: real}]\n".into(),
            2,
            "`resolve` is for `hosts`",
        ),
        (
            format!(
                "  services:\n    - {{name: a, hosts: [a.b], {endpoints}}}\n    - {{name: b, hosts: [A.b]}}\n"
            ),
            2,
            "service `a` has the host `a.b` already",
        ),
        (
            format!(
                "  services:\n    - {{name: a, hosts: [a.b], {endpoints}}}\n    - {{name: b, addresses: [240.240.1.0/24]}}\n"
            ),
            2,
            "lies in `traffic.pool4`",
        ),
        ("  pool4: fd00::/64\n".into(), 2, "traffic.pool4"),
        (
            "  services: [{name: a, hosts: [a.b], gear: deny, while_running: true}]\n".into(),
            0,
            "by its name only",
        ),
        (
            "  services: [{name: a, hosts: [a.b], gear: deny, resolve: real, while_running: true}]\n".into(),
            0,
            "are denied with it",
        ),
    ] {
        let (got, said) = check(&format!("traffic:\n{text}"));
        assert!(got == Some(code) && said.contains(part), "{text}: {got:?} {said}");
    }
}

/// What is valid, and does less than it seems to: each with all that is said of it.
#[test]
#[ignore = "privileged: runs the release build"]
fn check_names_what_does_less_than_it_seems_to() {
    let denied = "gear: deny, while_running: true";
    let one = "endpoints: ['10.1.0.1:80']";
    let of = |name: &str, more: &str| format!("{{name: {name}, {more}}}");
    let halves = [of("low", "addresses: [10.0.0.0/9]"), of("high", "addresses: [10.128.0.0/9]")];
    let with = |more: &str| [&halves[..], &[of("c", more)]].concat();
    let (all, ten) = (of("a", "addresses: ['0.0.0.0/0', '::/0']"), of("a", "addresses: [10.0.0.0/8]"));
    let real = format!("hosts: [a.test], resolve: real, {denied}");
    let by_name = "`c` is denied by its name only: whoever has its address from elsewhere reaches it, and other names on the same address are denied with it";
    for (services, expected) in [
        (with("addresses: [10.0.0.0/7]"), &[][..]),
        (
            with("addresses: [10.0.0.0/8], ports: [80]"),
            &["`c` never gets 10.0.0.0/8 at port 80: `low` and `high`, which stand before it, have it"],
        ),
        (
            vec![ten.clone(), of("c", "addresses: [10.0.0.1], ports: [80]")],
            &["`c` never gets 10.0.0.1/32 at port 80: `a`, which stands before it, has it"],
        ),
        (
            vec![halves[0].clone(), of("c", "addresses: [10.0.0.0/8], except: {addresses: [10.128.0.0/9]}")],
            &["`c` never gets 10.0.0.0/8: `low`, which stands before it, has what it does not except itself"],
        ),
        (
            vec![ten, of("c", &real)],
            &[
                by_name,
                "`c` does not deny connections by its names where their addresses are in 10.0.0.0/8 (`a`): what stands before it has them",
            ],
        ),
        (
            vec![all, of("c", &real)],
            &[
                by_name,
                "`c` never denies connections by its names: `a`, which stands before it, has every address",
            ],
        ),
        (
            vec![of(
                "c",
                "addresses: [10.0.0.0/8], ports: [80], except: {addresses: [11.0.0.1], ports: [22]}",
            )],
            &[
                "`c` excepts 11.0.0.1/32, which it does not have",
                "`c` excepts port 22, which it does not have",
            ],
        ),
        (
            vec![of(
                "c",
                &format!("hosts: [a.test], {one}, while_running: true, except: {{addresses: [10.0.0.0/8]}}"),
            )],
            &[
                "`c` excepts 10.0.0.0/8: all of its names have virtual addresses, of which nothing is excepted",
            ],
        ),
        (
            vec![of(
                "c",
                &format!(
                    "addresses: [10.0.0.0/8], except: {{addresses: [10.0.0.0/9, 10.128.0.0/9]}}, {denied}"
                ),
            )],
            &["`c` excepts all of its addresses: nothing is denied"],
        ),
        (
            vec![of("c", &format!("addresses: [10.0.0.0/8], except: {{uids: [0-4294967294]}}, {denied}"))],
            &["`c` excepts every user: nothing is denied"],
        ),
        (
            vec![of("c", &format!("addresses: [10.0.0.0/8, 'fd00::/8'], {one}"))],
            &["`c` has fd00::/8 and no endpoint of IPv6: connections there go where they ask"],
        ),
        (
            vec![of(
                "c",
                "addresses: [10.0.0.0/8, 'fd00::/8'], endpoints: ['10.1.0.1:80', {address: '[fd00::1]:80', weight: 0}]",
            )],
            &[
                "`c` has endpoints of IPv6 that all weigh 0: connections to addresses of IPv6 go where they ask",
            ],
        ),
        (
            vec![of(
                "c",
                "addresses: [10.0.0.0/8], balance: hash_source, endpoints: ['10.1.0.1:80', '10.1.0.2:80']",
            )],
            &[
                "`c` is balanced by the address that a socket is bound to: those that are bound to none, as usual, all get one endpoint",
            ],
        ),
        (
            vec![of("c", &format!("addresses: [10.0.0.0/8], {one}, limits: {{connections: 65536}}"))],
            &[
                "`c` may have 65536 connections at a time: each local address has ports for 65535 to where they go, so that one alone never reaches that",
            ],
        ),
        (
            vec![of("c", "addresses: [10.0.0.0/8], limits: {connections: 4294967295}")],
            &[
                "`c` may have 4294967295 connections at a time: no more than that are counted, and none is refused",
            ],
        ),
    ] {
        let (code, said) = check(&format!("traffic:\n  services: [{}]\n", services.join(", ")));
        assert_eq!(code, Some(0), "{services:?}: {said}");
        let told: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("traffic.services: ")).collect();
        assert_eq!(told, expected, "{services:?}: {said}");
    }
    for (inbound, expected) in [
        (
            format!("ports: [80], from: [10.0.0.0/8], except: [10.0.0.0/8], {denied}"),
            "`c` excepts everybody whom it is for: nothing is denied",
        ),
        (
            "ports: [80], from: [10.0.0.0/8], except: [11.0.0.1]".into(),
            "`c` excepts 11.0.0.1/32, and is not for who comes from there",
        ),
        (
            "ports: [80], limits: {connections: 2000000000}".into(),
            "`c` may have 2000000000 connections at a time: no process has descriptors for more than 1073741792 through the relay",
        ),
    ] {
        let (code, said) = check(&format!("traffic:\n  inbound: [{}]\n", of("c", &inbound)));
        assert_eq!(
            (code, said.lines().next()),
            (Some(0), Some(format!("traffic.inbound: {expected}").as_str())),
            "{said}"
        );
    }
}
