//! What paths of cgroups say of pods and containers. Pure: texts in, texts out.
//!
//! Layouts: the systemd driver makes `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/
//! cri-containerd-<id>.scope` with `_` for each `-` of the uid, the cgroupfs driver
//! `kubepods/burstable/pod<uid>/<id>` (kubelet, `cgroup_manager_linux.go`).

/// Hexadecimal digits of a container's id.
const ID_LENGTH: usize = 64;

/// The container that another process is in, by the paths of both in the unified hierarchy as this process is shown
/// them. `None`: it is in ours, or in none of this pod.
pub(super) fn sibling<'a>(own: &str, other: &'a str) -> Option<&'a str> {
    if own == "/" {
        // The namespace ends at our container: its neighbours are one step up, or two where the runtime puts a
        // cgroup of its own below the container's (crun).
        let name = other.strip_prefix("/../")?;
        let (prefix, name) = match name.strip_prefix("../") {
            Some(name) => ("/../../", name),
            None => ("/../", name),
        };
        let first = name.split('/').next().filter(|first| !first.is_empty() && *first != "..")?;
        let is_ours = prefix == "/../" || container_id(first).is_some();
        return is_ours.then(|| &other[..prefix.len() + first.len()]);
    }
    // The whole hierarchy is shown: what is in the same pod.
    let (pod, own_name) = own.rsplit_once('/')?;
    let is_pod = pod.rsplit('/').next().is_some_and(|name| name.contains("pod"));
    let name = other.strip_prefix(pod)?.strip_prefix('/')?.split('/').next()?;
    let is_other = is_pod && !name.is_empty() && name != own_name;
    is_other.then(|| &other[..pod.len() + 1 + name.len()])
}

/// Whether this path shows the way out of a container: a private cgroup namespace, or a pod's place.
pub(super) fn is_contained(own: &str, is_real_root: bool) -> bool {
    (own == "/" && !is_real_root) || is_in_pod(own)
}

/// Whether this path is that of a pod's container. Behind a private namespace no path says so.
pub(super) fn is_in_pod(own: &str) -> bool {
    own.rsplit_once('/').is_some_and(|(pod, _)| pod.contains("kubepods"))
}

/// Whether a folder of this name is the pod's.
pub(super) fn is_pod(name: &str, uid: &str) -> bool {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let Some((before, found)) = name.rsplit_once("pod") else { return false };
    !uid.is_empty()
        && (before.is_empty() || before.ends_with('-'))
        && (found == uid || found == uid.replace('-', "_"))
}

/// The container's id in the name of its cgroup.
pub(crate) fn container_id(name: &str) -> Option<&str> {
    let mut runs = name.split(|c: char| !c.is_ascii_hexdigit());
    runs.find(|run| run.len() == ID_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f1c9e2b7a6d5048c1e2f3a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";

    #[test]
    fn siblings_are_the_other_containers_of_the_pod() {
        let scope = format!("/../cri-containerd-{ID}.scope");
        let crun = format!("/../../crio-{ID}.scope");
        let pod = "/kubepods.slice/kubepods-pod1_2.slice";
        let cases = [
            ("/", "/", None),
            ("/", "/init.scope", None),
            ("/", &*scope, Some(&*scope)),
            ("/", &*format!("{scope}/system.slice"), Some(&*scope)),
            ("/", "/../app", Some("/../app")),
            ("/", &*format!("{crun}/container"), Some(&*crun)),
            // Further away is not this pod.
            ("/", "/../../system.slice", None),
            ("/", "/../../../x", None),
            ("/", "/..", None),
            (&*format!("{pod}/b"), &*format!("{pod}/a/x"), Some(&*format!("{pod}/a"))),
            (&*format!("{pod}/b"), &*format!("{pod}/b"), None),
            (&*format!("{pod}/b"), &*format!("{pod}/b/x"), None),
            (&*format!("{pod}/b"), "/kubepods.slice/kubepods-pod1_3.slice/a", None),
            ("/system.slice/sidecar.service", "/system.slice/nginx.service", None),
        ];
        for (own, other, expected) in cases {
            assert_eq!(sibling(own, other), expected, "{own} {other}");
        }
    }

    #[test]
    fn a_pod_is_recognised_by_its_uid_in_both_drivers() {
        let uid = "0f3b6e8a-1c2d-4e5f-8a9b-0c1d2e3f4a5b";
        let underscored = uid.replace('-', "_");
        for (name, expected) in [
            (format!("kubepods-burstable-pod{underscored}.slice"), true),
            (format!("kubepods-pod{underscored}.slice"), true),
            (format!("pod{uid}"), true),
            (format!("pod{uid}x"), false),
            (format!("tripod{uid}"), false),
            ("pod".to_owned(), false),
            ("kubepods.slice".to_owned(), false),
        ] {
            assert_eq!(is_pod(&name, uid), expected, "{name}");
        }
        assert!(!is_pod("pod", ""));
    }

    #[test]
    fn a_container_is_recognised_by_its_id() {
        for (name, expected) in [
            (format!("cri-containerd-{ID}.scope"), Some(ID)),
            (format!("docker-{ID}.scope"), Some(ID)),
            (ID.to_owned(), Some(ID)),
            (format!("{ID}0"), None),
            ("shop.service".to_owned(), None),
        ] {
            assert_eq!(container_id(&name), expected, "{name}");
        }
    }

    #[test]
    fn only_inside_a_container_is_there_a_pod_to_look_for() {
        for (own, is_real_root, expected) in [
            ("/", false, true),
            ("/", true, false),
            ("/system.slice/sidecar.service", false, false),
            ("/kubepods/burstable/pod1/b", false, true),
        ] {
            assert_eq!(is_contained(own, is_real_root), expected, "{own}");
        }
    }
}
