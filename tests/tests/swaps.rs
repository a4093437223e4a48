//! Connections while the policy is swapped, against what the endpoints wrote down. `cargo xtask bench swaps` is the same, longer.

use sidecar_tests::swaps::{self, Extent};

/// Each connection goes where it may, whichever way it is made and whatever becomes of it, and nothing is left of it.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_connection_goes_by_the_policy_that_held() {
    let account = swaps::run(Extent { swaps: 40, connections: 4000 });
    println!("{account}");
    assert_eq!(account.n_faults(), 0, "{account}");
    // Two thirds of connections are to services that are swapped.
    assert!(account.n_decisive > 2000, "{account}");
    for service in ["direct", "proxied", "switching", "asked"] {
        assert!(account.n_answered(service) > 500, "{service}: {account}");
    }
}
