//! What a pod's manifest tells its containers of itself, by Kubernetes' downward API. Its variables have no fixed
//! names: those that manifests mostly give are taken, each also with `K8S_` or `MY_` before it.

/// The pod, as far as it was told. An empty variable is unset.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Downward {
    /// `POD_NAME`
    pub(crate) pod: Option<String>,
    /// `POD_NAMESPACE`
    pub(crate) namespace: Option<String>,
    /// `POD_UID`
    pub(crate) uid: Option<String>,
    /// `NODE_NAME`
    pub(crate) node: Option<String>,
    /// `CONTAINER_NAME`: the application's container. No field of the API has it; manifests write it out. Elsewhere
    /// others have a variable of this name, for purposes of their own: taken in a pod only.
    pub(crate) container: Option<String>,
    /// Kubernetes started this process: it gives every container the API server's address.
    pub(crate) is_kubernetes: bool,
}

impl Downward {
    /// From the environment. `is_in_pod`: something else says already that this is one.
    pub(crate) fn read(is_in_pod: bool) -> Self {
        Self::of(|name| std::env::var(name).ok(), is_in_pod)
    }

    fn of(variable: impl Fn(&str) -> Option<String>, is_in_pod: bool) -> Self {
        let first = |name: &str| {
            let names = [name.to_owned(), format!("K8S_{name}"), format!("MY_{name}")];
            names.iter().filter_map(|name| variable(name)).find(|value| !value.is_empty())
        };
        let (pod, uid) = (first("POD_NAME"), first("POD_UID"));
        let is_kubernetes = variable("KUBERNETES_SERVICE_HOST").is_some();
        let is_in_pod = is_in_pod || is_kubernetes || pod.is_some() || uid.is_some();
        Downward {
            pod,
            namespace: first("POD_NAMESPACE"),
            uid,
            node: first("NODE_NAME"),
            container: first("CONTAINER_NAME").filter(|_| is_in_pod),
            is_kubernetes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[(&str, &str)], is_in_pod: bool) -> Downward {
        let variable =
            |name: &str| given.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned());
        Downward::of(variable, is_in_pod)
    }

    #[test]
    fn the_usual_names_are_taken_and_empty_ones_are_not() {
        let given = [("POD_NAME", ""), ("MY_POD_NAME", "shop-1"), ("POD_UID", "u"), ("K8S_NODE_NAME", "n")];
        let expected = Downward {
            pod: Some("shop-1".into()),
            uid: Some("u".into()),
            node: Some("n".into()),
            ..Downward::default()
        };
        assert_eq!(of(&given, false), expected);
    }

    #[test]
    fn a_container_is_named_in_a_pod_only() {
        let name = ("CONTAINER_NAME", "shop");
        for (given, is_in_pod, expected) in [
            (&[name][..], false, None),
            (&[name], true, Some("shop")),
            (&[name, ("NODE_NAME", "n"), ("POD_UID", "")], false, None),
            (&[name, ("POD_UID", "u")], false, Some("shop")),
            (&[name, ("MY_POD_NAME", "shop-1")], false, Some("shop")),
            (&[name, ("KUBERNETES_SERVICE_HOST", "10.0.0.1")], false, Some("shop")),
        ] {
            assert_eq!(of(given, is_in_pod).container.as_deref(), expected, "{given:?} {is_in_pod}");
        }
    }
}
