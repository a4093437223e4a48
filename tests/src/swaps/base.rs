//! That the daemon and the kernel's maps are where they began, and count what the clients count.

use std::{collections::BTreeMap, fs, process::Command};

use super::truth::{Account, Attempt};
use crate::{eventually, process, sidecar::Sidecar};

/// Waits until nobody holds a place, and the relay carries nothing.
pub(super) fn await_rest(sidecar: &Sidecar) {
    eventually("places to be given back", || {
        let scrape = sidecar.scrape();
        let mut active =
            scrape.all("sidecar_traffic_service_active").chain(scrape.all("sidecar_relay_active"));
        active.all(|(_, n)| n == 0.0).then_some(())
    });
}

/// Adds what is wrong to the account.
pub(super) fn judge(sidecar: &mut Sidecar, attempts: &[Attempt<'_>], account: &mut Account) {
    let scrape = sidecar.scrape();
    let mut verdicts: BTreeMap<[String; 2], u64> = BTreeMap::new();
    let all = scrape.all("sidecar_traffic_connections_total");
    for (labels, n) in all.filter(|(labels, _)| labels["sidecar_traffic_direction"] == "outbound") {
        let key =
            ["sidecar_verdict", "sidecar_reason"].map(|key| labels.get(key).cloned().unwrap_or_default());
        *verdicts.entry(key).or_default() += n as u64;
    }
    let mut take =
        |verdict: &str| verdicts.remove(&[verdict.to_owned(), "gear".to_owned()]).unwrap_or_default();
    let [direct, proxied] = ["direct", "proxied"].map(&mut take);
    let n_all = attempts.len() as u64;
    account.expect(direct + proxied == n_all, || format!("{direct} direct, {proxied} proxied of {n_all}"));
    verdicts.retain(|_, n| *n > 0);
    account.expect(verdicts.is_empty(), || format!("other verdicts: {verdicts:?}"));
    account.tell("decided as direct", direct);
    account.tell("decided as proxied", proxied);

    let failures = |reason| scrape.count("sidecar_relay_failures_total", &[("sidecar_reason", reason)]);
    let [strangers, unreached, broken, accept] =
        ["stranger", "unreachable", "broken", "accept"].map(failures);
    let count = |is: &dyn Fn(&&Attempt<'_>) -> bool| attempts.iter().filter(is).count() as u64;
    let unreachable = count(&|attempt| attempt.service == "unreachable");
    let n_killed = count(&|attempt| attempt.is_killed());
    // One that is killed while its SYN waits for a processor takes what the relay would be told with it. Of others a stranger would show:
    // they would not be answered, or not be counted as unreached.
    account.expect(strangers <= n_killed, || format!("{strangers} strangers, {n_killed} clients killed"));
    account.expect(accept == 0, || format!("accept failed {accept} times"));
    account.expect(unreached == unreachable, || format!("{unreached} unreached of {unreachable}"));
    account.expect(broken <= n_killed, || format!("{broken} broken, {n_killed} clients killed"));
    let n_relayed = scrape.count("sidecar_relay_accepted_total", &[]);
    let at_least = account.n_answered("proxied") + account.n_answered("asked") + unreachable;
    account.expect((at_least..=proxied).contains(&n_relayed), || format!("the relay had {n_relayed}"));
    account.tell("taken by the relay", n_relayed);
    account.tell("broken in the relay", broken);
    account.tell("of clients that were killed before the relay was told", strangers);
    account.tell("clients killed in a handshake", n_killed);

    let maps = maps(sidecar.process().pid().as_raw_nonzero().get());
    let values = |name: &str| -> Vec<serde_json::Value> {
        let id = maps.get(name).unwrap_or_else(|| panic!("no map {name} in {maps:?}")).to_string();
        let dumped = process::run(Command::new("bpftool").args(["-j", "map", "dump", "id", &id]));
        serde_json::from_str(&dumped).expect("a map's entries")
    };
    let left = values("HANDOVER");
    account.expect(left.is_empty(), || format!("{} entries in HANDOVER", left.len()));
    let loads = values("LOADS");
    let is_zero = |entry: &serde_json::Value| {
        entry["value"].as_array().is_some_and(|bytes| bytes.iter().all(|byte| byte == "0x00"))
    };
    let loaded: Vec<_> = loads.iter().filter(|entry| !is_zero(entry)).collect();
    account.expect(!loads.is_empty() && loaded.is_empty(), || format!("LOADS: {loaded:?}"));
    let log = sidecar.log();
    account.expect(!log.contains("panicked"), || log);
    account.tell("kB of memory at most", sidecar.peak_kb());
}

/// Ids of the maps that a process holds, by their names.
fn maps(pid: i32) -> BTreeMap<String, u64> {
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the daemon's descriptors");
    let ids = files.filter_map(|file| {
        let text = fs::read_to_string(file.ok()?.path()).ok()?;
        text.lines().find_map(|line| line.strip_prefix("map_id:")?.trim().parse::<u64>().ok())
    });
    let name = |id: u64| {
        let shown = process::run(Command::new("bpftool").args(["-j", "map", "show", "id", &id.to_string()]));
        let map: serde_json::Value = serde_json::from_str(&shown).expect("a map");
        (map["name"].as_str().unwrap_or_default().to_owned(), id)
    };
    ids.map(name).collect()
}
