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
    /// `CONTAINER_NAME`: the application's container. No field of the API has it; manifests write it out.
    pub(crate) container: Option<String>,
    /// Kubernetes started this process: it gives every container the API server's address.
    pub(crate) is_kubernetes: bool,
}

impl Downward {
    /// From the environment.
    pub(crate) fn read() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |name: &str| {
            let names = [name.to_owned(), format!("K8S_{name}"), format!("MY_{name}")];
            names.iter().filter_map(|name| variable(name)).find(|value| !value.is_empty())
        };
        Downward {
            pod: first("POD_NAME"),
            namespace: first("POD_NAMESPACE"),
            uid: first("POD_UID"),
            node: first("NODE_NAME"),
            container: first("CONTAINER_NAME"),
            is_kubernetes: variable("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_names_are_taken_and_empty_ones_are_not() {
        let given = [("POD_NAME", ""), ("MY_POD_NAME", "shop-1"), ("POD_UID", "u"), ("K8S_NODE_NAME", "n")];
        let variable =
            |name: &str| given.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned());
        let expected = Downward {
            pod: Some("shop-1".into()),
            uid: Some("u".into()),
            node: Some("n".into()),
            ..Downward::default()
        };
        assert_eq!(Downward::of(variable), expected);
    }
}
