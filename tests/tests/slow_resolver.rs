//! How long resolvers are waited for that tell of endpoints: a real one, behind a wire that delays.

use std::{fs, process::Command, time::Duration};

use sidecar_tests::{
    cgroup::Cgroup, dnsmasq, eventually, netns::Netns, process, sidecar::Sidecar, wire::Wire,
};

/// A resolver that is three seconds away, to and fro, is waited for, also where one question follows from
/// another; how long is what resolv.conf says.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_slow_resolver_is_waited_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let (pod, far, cgroup) = (Netns::new(), Netns::new(), Cgroup::new());
    let ends = [pod.tun("wire0", "10.79.0.1/24"), far.tun("wire0", "10.79.0.2/24")];
    let _wire = Wire::slow(ends, Duration::from_millis(1500));
    let records = [
        "--host-record=web.example,10.79.0.2",
        "--srv-host=_http._tcp.web.example,web.example,80",
        "--local=/example/",
    ];
    let log = dir.path().join("dns");
    let _resolver = far.within(|| {
        dnsmasq::start("10.79.0.2", &records.map(str::to_owned), &log, ["web.example", "10.79.0.2"])
    });
    let settings = dir.path().join("settings.yaml");
    fs::write(
        &settings,
        "traffic:
  services:
    - name: web
      addresses: [127.61.0.9]
      sources: [{dns: 'web.example:80'}, {srv: _http._tcp.web.example}]
",
    )
    .expect("settings");
    let (settings, path) = (settings.display().to_string(), cgroup.path().display().to_string());
    for (options, is_waited_for) in [("", true), ("options timeout:1 attempts:1\n", false)] {
        let resolving = dnsmasq::resolving(&["10.79.0.2"], options, &dir.path().join("resolv.conf"));
        let wrapper = [pod.network(), resolving].concat();
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let mut sidecar =
            Sidecar::spawn(dir.path(), &wrapper, &["--cgroup", &path, "--config", &settings], &[]);
        sidecar.await_attached();
        pod.within(|| sidecar.await_ready());
        let curl = ["curl", "-s", "http://127.61.0.9/"].map(str::to_owned).to_vec();
        let curl = [cgroup.wrapper(), pod.network(), curl].concat();
        process::output(Command::new(&curl[0]).args(&curl[1..]));
        for name in ["dns:web.example", "srv:_http._tcp.web.example"] {
            let label = ("sidecar_endpoint_source", name);
            pod.within(|| {
                eventually(&format!("a word of {name}"), || {
                    let scrape = sidecar.scrape();
                    let n = scrape.sum("sidecar_traffic_source_endpoints", &[label]);
                    let late = [label, ("sidecar_reason", "timeout")];
                    let n_late = scrape.count("sidecar_traffic_source_failures_total", &late);
                    assert_eq!(if is_waited_for { n_late } else { n? as u64 }, 0, "{name}");
                    (if is_waited_for { n == Some(1.0) } else { n_late > 0 }).then_some(())
                });
            });
        }
        sidecar.stop();
    }
}
