//! `docs/metrics.md`, from the catalogue.

use std::fmt::Write as _;

use super::{
    catalogue, family,
    http::{self, ErrorType},
    key, names,
    reason::{
        Answered, ConnectFailed, CutOff, Decided, Direction, DnsFailed, DnsOutcome, Drop, Dropped, Ejected,
        Ended, EndpointLeftOut, Excluded, Failed, Oddity, RecordLeftOut, RelayFailed, RelayRefused,
        SourceFails, Steered, TapLeftOut, Verdict,
    },
};
use crate::model::{Kind, MetricDef, Role};

/// The page: every metric in both spellings.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\nMade from `sidecar-user/core/src/signal/catalogue.rs` by `cargo xtask docs`. HTTP follows \
         OpenTelemetry's semantic conventions\nv1.44.0. Resource attributes are the labels of `target_info`.\n",
    );
    let mut sets: Vec<Values> = Vec::new();
    for def in catalogue::ALL {
        // Writing to a String does not fail.
        let _ = write!(page, "\n## {}\n\n{}\n\n", def.name, def.help);
        let _ = writeln!(page, "- Prometheus: `{}`", names::metric(def).sample());
        let _ = writeln!(page, "- {}, unit `{}`", kind(def), def.unit);
        if !def.attributes.is_empty() {
            let attributes = def.attributes.iter().map(|key| match Values::of(def, key) {
                None => format!("`{key}` (`{}`)", names::label(key)),
                Some(values) => {
                    let anchor = values.anchor();
                    if sets.iter().all(|set| set.title != values.title) {
                        sets.push(values);
                    }
                    format!("`{key}` (`{}`; [values](#{anchor}))", names::label(key))
                }
            });
            let _ = writeln!(page, "- attributes: {}", attributes.collect::<Vec<_>>().join(", "));
        }
    }
    page.push_str("\n# Values\n\nOf attributes that have a fixed set of them.\n");
    for Values { title, words } in sets {
        let _ = write!(page, "\n## {title}\n\n| value | meaning |\n|---|---|\n");
        for (word, meaning) in words {
            let _ = writeln!(page, "| `{word}` | {meaning} |");
        }
    }
    page
}

/// All values that an attribute of a metric, or of several, can have.
struct Values {
    title: String,
    /// Each, and what it means.
    words: Vec<(String, String)>,
}

impl Values {
    /// Those of `key` of `def`, if they are a fixed set that only the code knows.
    fn of(def: &'static MetricDef, key: &str) -> Option<Values> {
        let is = |defs: &[&MetricDef]| defs.iter().any(|other| std::ptr::eq(def, *other));
        match key {
            key::ERROR_TYPE if is(&[&catalogue::TCP_FAILED, &catalogue::PEER_FAILED]) => {
                let words = pairs(&ConnectFailed::WORDS, &ConnectFailed::MEANINGS);
                Some(Values { title: "error.type of attempts to connect".to_owned(), words })
            }
            key::ERROR_TYPE if let Some((of, own)) = family::errors(def) => {
                let words = [own, ErrorType::without_status()].concat();
                Some(Values { title: format!("error.type of {of}"), words })
            }
            key::ERROR_TYPE => {
                let role = if def.name.contains(".server.") { Role::Server } else { Role::Client };
                let statuses =
                    (format!("{}` to `999", http::lowest(role)), ErrorType::Status(0).why(role).into());
                let words = [vec![statuses], ErrorType::without_status()].concat();
                let whose = if role == Role::Server { "servers" } else { "clients" };
                Some(Values { title: format!("error.type of HTTP {whose}"), words })
            }
            key::OUTCOME if is(&[&catalogue::DNS_QUERIES]) => {
                let words = pairs(&DnsOutcome::WORDS, &DnsOutcome::MEANINGS);
                Some(Values { title: format!("{key} of {}", def.name), words })
            }
            key::OUTCOME => {
                Some(Values { title: key.to_owned(), words: pairs(&Ended::WORDS, &Ended::MEANINGS) })
            }
            key::DECISION => {
                Some(Values { title: key.to_owned(), words: pairs(&Decided::WORDS, &Decided::MEANINGS) })
            }
            key::TRAFFIC_DIRECTION => {
                Some(Values { title: key.to_owned(), words: pairs(&Direction::WORDS, &Direction::MEANINGS) })
            }
            key::VERDICT => {
                let words = pairs(&Verdict::WORDS[1..], &Verdict::MEANINGS[1..]);
                Some(Values { title: key.to_owned(), words })
            }
            key::REASON if is(&[&catalogue::TCP_RESET, &catalogue::PEER_RESET]) => {
                let words = pairs(&CutOff::WORDS, &CutOff::MEANINGS);
                Some(Values { title: format!("{key} of connections that were cut off"), words })
            }
            key::STATE if is(&[&catalogue::ENDPOINT_PROBES]) => {
                let words = pairs(&Answered::WORDS, &Answered::MEANINGS);
                Some(Values { title: format!("{key} of {}", def.name), words })
            }
            key::REASON => {
                let words = if is(&[&catalogue::CAPTURE_DROPS]) {
                    pairs(&Drop::WORDS, &Drop::MEANINGS)
                } else if is(&[&catalogue::TAP_LEFT_OUT]) {
                    pairs(&TapLeftOut::WORDS, &TapLeftOut::MEANINGS)
                } else if is(&[&catalogue::RECORD_LEFT_OUT]) {
                    pairs(&RecordLeftOut::WORDS, &RecordLeftOut::MEANINGS)
                } else if is(&[&catalogue::PARSER_ODDITIES]) {
                    pairs(&Oddity::WORDS, &Oddity::MEANINGS)
                } else if is(&[&catalogue::EXCLUDED_CONNECTIONS]) {
                    pairs(&Excluded::WORDS[..2], &Excluded::MEANINGS[..2])
                } else if is(&[&catalogue::EXCLUDED_EXCHANGES]) {
                    pairs(&Excluded::WORDS[2..], &Excluded::MEANINGS[2..])
                } else if is(&[&catalogue::EXPORT_FAILED]) {
                    pairs(&Failed::WORDS, &Failed::MEANINGS)
                } else if is(&[&catalogue::EXPORT_DROPPED]) {
                    pairs(&Dropped::WORDS, &Dropped::MEANINGS)
                } else if is(&[&catalogue::TRAFFIC_CONNECTIONS]) {
                    pairs(&Steered::WORDS, &Steered::MEANINGS)
                } else if is(&[&catalogue::DNS_FAILURES]) {
                    pairs(&DnsFailed::WORDS, &DnsFailed::MEANINGS)
                } else if is(&[&catalogue::ENDPOINT_EJECTIONS]) {
                    pairs(&Ejected::WORDS, &Ejected::MEANINGS)
                } else if is(&[&catalogue::SOURCE_FAILURES]) {
                    pairs(&SourceFails::WORDS, &SourceFails::MEANINGS)
                } else if is(&[&catalogue::SOURCE_LEFT_OUT]) {
                    pairs(&EndpointLeftOut::WORDS, &EndpointLeftOut::MEANINGS)
                } else if is(&[&catalogue::RELAY_REFUSED]) {
                    pairs(&RelayRefused::WORDS, &RelayRefused::MEANINGS)
                } else if is(&[&catalogue::RELAY_FAILURES]) {
                    pairs(&RelayFailed::WORDS, &RelayFailed::MEANINGS)
                } else {
                    return None;
                };
                Some(Values { title: format!("{key} of {}", def.name), words })
            }
            _ => None,
        }
    }

    /// Where a heading of this title is found.
    fn anchor(&self) -> String {
        let kept = |c: &char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-');
        self.title.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    }
}

fn pairs(words: &[&str], meanings: &[&str]) -> Vec<(String, String)> {
    words.iter().zip(meanings).map(|(word, meaning)| ((*word).to_owned(), (*meaning).to_owned())).collect()
}

fn kind(def: &MetricDef) -> String {
    match def.kind {
        Kind::Counter | Kind::CounterF64 => "counter".to_owned(),
        Kind::Gauge => "gauge".to_owned(),
        Kind::UpDown => "up-down counter".to_owned(),
        Kind::Info => "info".to_owned(),
        Kind::Histogram(bounds) => {
            let bounds = bounds.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
            format!("histogram, bounds {bounds}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_values() {
        for def in catalogue::ALL {
            for key in def.attributes {
                let sets = [
                    key::ERROR_TYPE,
                    key::OUTCOME,
                    key::REASON,
                    key::DECISION,
                    key::VERDICT,
                    key::TRAFFIC_DIRECTION,
                ];
                let has_set = sets.contains(key)
                    || std::ptr::eq(*def, &catalogue::ENDPOINT_PROBES) && *key == key::STATE;
                let n_values = Values::of(def, key).map(|values| values.words.len());
                assert_eq!(n_values.is_some_and(|n| n > 0), has_set, "{} {key}", def.name);
            }
        }
    }
}
