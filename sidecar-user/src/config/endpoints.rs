//! Files that list endpoints, in YAML or JSON: what they say, or what is wrong with them and where.

use std::{path::Path, str};

use serde_saphyr::{Location, MessageFormatter as _, Spanned, UserMessageFormatter};
use sidecar_core::{
    config::{EndpointSettings, endpoints_of},
    model::policy::Found,
};

use super::file::Reader;

/// Why there is no list.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum ListError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(String),
    /// It is no list of endpoints.
    #[error("{0}")]
    Invalid(String),
}

/// Reads one.
///
/// # Errors
/// [`ListError`], which names the file and the place.
pub(crate) fn read(path: &Path, reader: &mut Reader) -> Result<Vec<Found>, ListError> {
    let name = path.display();
    let bytes = reader.read(path).map_err(|error| ListError::Read(format!("{name}: {error}")))?;
    let text = str::from_utf8(bytes).map_err(|error| ListError::Invalid(format!("{name}: {error}")))?;
    parse(text).map_err(|(at, why)| {
        ListError::Invalid(format!("{name}:{}:{}: {why}", at.line().max(1), at.column().max(1)))
    })
}

fn parse(text: &str) -> Result<Vec<Found>, (Location, String)> {
    let options = serde_saphyr::options! { with_snippet: false };
    let list = serde_saphyr::from_str_with_options::<Option<Vec<Spanned<EndpointSettings>>>>(text, options);
    let list = list.map_err(|error| {
        let at = error.location().unwrap_or(Location::UNKNOWN);
        (at, UserMessageFormatter.format_message(&error).into_owned())
    })?;
    // One that is cut off at its beginning is no list without endpoints.
    let list =
        list.ok_or((Location::UNKNOWN, "found nothing, expected a list: `[]` is one of none".to_owned()))?;
    let (places, list): (Vec<_>, Vec<_>) = list.into_iter().map(|item| (item.referenced, item.value)).unzip();
    endpoints_of(&list).map_err(|(at, why)| {
        let at = at.and_then(|at| places.get(at).copied()).unwrap_or(Location::UNKNOWN);
        (at, why)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_wrong_names_file_and_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("e.yaml");
        let read = |text: &str| {
            fs::write(&path, text).expect("written");
            let read = read(&path, &mut Reader::again());
            read.map(|found| found.len())
                .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
        };
        for (text, n) in [
            ("[]", 0),
            ("- 10.0.0.1:80\n- {address: '[fd00::1]:80', weight: 3, zone: a}\n", 2),
            (r#"["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 1}]"#, 2),
        ] {
            assert_eq!(read(text), Ok(n), "{text}");
        }
        for (text, part) in [
            ("", "e.yaml:1:1: found nothing"),
            ("# none\n", "e.yaml:1:1: found nothing"),
            ("- 10.0.0.1\n", "e.yaml:1:3: `10.0.0.1` is not an endpoint"),
            ("- 10.0.0.1:80\n- 10.0.0.1:80\n", "e.yaml:2:3: endpoint 10.0.0.1:80 is there twice"),
            ("- {address: '10.0.0.1:80', wieght: 3}\n", "e.yaml:1:"),
            ("[10.0.0.1:80", "e.yaml:1:"),
            ("endpoints: []\n", "e.yaml:1:1:"),
            ("[{address: '10.0.0.1:80', weight: 0}]", "e.yaml:1:1: all endpoints weigh 0"),
        ] {
            let error = read(text).expect_err("it is refused");
            assert!(error.starts_with(part), "{text}: {error}");
        }
        fs::remove_file(&path).expect("removed");
        let gone = super::read(&path, &mut Reader::again());
        assert!(matches!(gone, Err(ListError::Read(why)) if why.ends_with("(os error 2)")));
    }
}
