//! The variables of OpenTelemetry: which there are, and which key each one sets.
//!
//! Source: opentelemetry.io, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter" (1.50). Empty
//! is unset; what is not valid is ignored with a warning, never an error.

use super::{Level, Notice, Origin, Setting, keys::nearest, text};

/// What a variable does here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Its text is the key's.
    Key(&'static str),
    /// Whole milliseconds.
    Milliseconds(&'static str),
    /// A level under OpenTelemetry's names.
    Level(&'static str),
    /// A kind of histogram under OpenTelemetry's names.
    Histograms(&'static str),
    /// Resource attributes; the service's own go to the keys of `service`.
    Attributes,
    /// A list of exporters: only whether `otlp` is one of them matters.
    Exporters(&'static str),
    /// `true` pushes nothing.
    Disabled,
    /// Which sampler.
    Sampler,
    /// Known, not acted on, and this happens instead.
    NotHonoured(&'static str),
}

const NO_LOGS: &str = "this version pushes no logs";
const BATCHES: &str = "spans are pushed in batches of this program's own size";
const NO_SUCH_SAMPLER: &str = "spans.sampler holds";

/// How the variables of the exporter begin.
const EXPORTER: &str = "OTEL_EXPORTER_OTLP_";

/// All that are known, in the order in which they apply: a later one wins.
pub(super) const VARIABLES: [(&str, Rule); 41] = [
    ("OTEL_RESOURCE_ATTRIBUTES", Rule::Attributes),
    ("OTEL_SERVICE_NAME", Rule::Key("service.name")),
    ("OTEL_LOG_LEVEL", Rule::Level("log.level")),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", Rule::Key("otlp.endpoint")),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", Rule::Key("otlp.metrics_endpoint")),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Rule::Key("otlp.traces_endpoint")),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", Rule::Key("otlp.protocol")),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", Rule::Key("otlp.metrics_protocol")),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", Rule::Key("otlp.traces_protocol")),
    ("OTEL_EXPORTER_OTLP_HEADERS", Rule::Key("otlp.headers")),
    ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", Rule::Key("otlp.metrics_headers")),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", Rule::Key("otlp.traces_headers")),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", Rule::Key("otlp.compression")),
    ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", Rule::Key("otlp.metrics_compression")),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", Rule::Key("otlp.traces_compression")),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", Rule::Key("otlp.certificate")),
    ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", Rule::Key("otlp.metrics_certificate")),
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", Rule::Key("otlp.traces_certificate")),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", Rule::Key("otlp.client_certificate")),
    ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", Rule::Key("otlp.metrics_client_certificate")),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", Rule::Key("otlp.traces_client_certificate")),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", Rule::Key("otlp.client_key")),
    ("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", Rule::Key("otlp.metrics_client_key")),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", Rule::Key("otlp.traces_client_key")),
    ("OTEL_EXPORTER_OTLP_INSECURE", Rule::Key("otlp.insecure")),
    ("OTEL_EXPORTER_OTLP_METRICS_INSECURE", Rule::Key("otlp.metrics_insecure")),
    ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", Rule::Key("otlp.traces_insecure")),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", Rule::Milliseconds("otlp.timeout")),
    ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", Rule::Milliseconds("otlp.metrics_timeout")),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", Rule::Milliseconds("otlp.traces_timeout")),
    ("OTEL_METRIC_EXPORT_INTERVAL", Rule::Milliseconds("otlp.interval")),
    ("OTEL_METRICS_EXPORTER", Rule::Exporters("otlp.metrics")),
    ("OTEL_TRACES_EXPORTER", Rule::Exporters("otlp.traces")),
    ("OTEL_SDK_DISABLED", Rule::Disabled),
    ("OTEL_METRIC_EXPORT_TIMEOUT", Rule::NotHonoured("OTEL_EXPORTER_OTLP_TIMEOUT is the limit")),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", Rule::Key("otlp.temporality")),
    ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", Rule::Histograms("otlp.histograms")),
    ("OTEL_LOGS_EXPORTER", Rule::NotHonoured(NO_LOGS)),
    ("OTEL_TRACES_SAMPLER", Rule::Sampler),
    ("OTEL_TRACES_SAMPLER_ARG", Rule::Key("spans.ratio")),
    ("OTEL_BSP_SCHEDULE_DELAY", Rule::NotHonoured(BATCHES)),
];

/// The settings that the environment's `OTEL_…` variables make.
pub(super) fn settings(environment: &[(String, String)], notices: &mut Vec<Notice>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (name, rule) in VARIABLES {
        // The last of two, as a shell has it.
        let given = environment.iter().rev().find(|(given, _)| given == name).map(|(_, value)| value.trim());
        let Some(value) = given.filter(|value| !value.is_empty()) else { continue };
        let mut set = |key: &str, value: &str| {
            let origin = Origin::Variable(name.into());
            settings.push(Setting::new(key, value, origin));
        };
        match apply(rule, value, &mut set) {
            Ok(None) => {}
            Ok(Some(instead)) => notices.push(Notice::NotHonoured { variable: name.to_owned(), instead }),
            Err(why) => notices.push(Notice::Ignored { variable: name.to_owned(), why }),
        }
    }
    unknown(environment, notices);
    settings
}

/// Variables of the exporter that are in no list: whoever set one expects something of it.
fn unknown(environment: &[(String, String)], notices: &mut Vec<Notice>) {
    let given = environment.iter().filter(|(_, value)| !value.trim().is_empty()).map(|(name, _)| name);
    for name in given {
        let Some(bare) = name.strip_prefix(EXPORTER) else { continue };
        let mut known = VARIABLES.iter().filter_map(|(known, _)| known.strip_prefix(EXPORTER));
        if known.clone().any(|known| known == bare) {
            continue;
        }
        let variable = name.clone();
        notices.push(if bare.starts_with("LOGS_") {
            Notice::NotHonoured { variable, instead: NO_LOGS }
        } else {
            let meant = nearest(bare, &mut known);
            let hint = meant.map(|meant| format!(", did you mean `{EXPORTER}{meant}`?")).unwrap_or_default();
            Notice::Ignored { variable, why: format!("no such variable is known{hint}") }
        });
    }
}

/// One variable; the answer is what is not honoured about it, the error why it is not valid.
fn apply(rule: Rule, value: &str, set: &mut dyn FnMut(&str, &str)) -> Result<Option<&'static str>, String> {
    match rule {
        Rule::Key(key) => set(key, value),
        Rule::Milliseconds(key) => {
            let ms: u64 = value.parse().map_err(|_| format!("`{value}` is not a number of milliseconds"))?;
            set(key, &format!("{ms}ms"));
        }
        Rule::Level(key) => {
            let level = match value.to_ascii_lowercase().as_str() {
                "none" => Level::Off,
                "verbose" | "all" => Level::Trace,
                "warning" => Level::Warn,
                other => other.parse::<Level>().map_err(|refused| refused.to_string())?,
            };
            set(key, level.as_str());
        }
        Rule::Histograms(key) => match value.to_ascii_lowercase().as_str() {
            "explicit_bucket_histogram" => set(key, "explicit"),
            "base2_exponential_bucket_histogram" => set(key, "exponential"),
            _ => return Err(format!("`{value}` is not a kind of histogram")),
        },
        Rule::Attributes => {
            for (name, value) in text::pairs(value).map_err(|refused| refused.to_string())? {
                match name.as_str() {
                    "service.name" | "service.namespace" | "service.version" => set(&name, &value),
                    _ => set(&format!("resource.{name}"), &value),
                }
            }
        }
        Rule::Exporters(key) => {
            let mut known = value.split(',').map(str::trim);
            if let Some(other) = known
                .find(|name| !["otlp", "none", "prometheus", "console", "logging", "zipkin"].contains(name))
            {
                return Err(format!("`{other}` is not an exporter"));
            }
            let is_on = value.split(',').any(|name| name.trim() == "otlp");
            set(key, if is_on { "true" } else { "false" });
        }
        Rule::Disabled => match value.to_ascii_lowercase().as_str() {
            "true" => ["otlp.metrics", "otlp.traces"].iter().for_each(|key| set(key, "false")),
            "false" => {}
            _ => return Err(format!("`{value}` is neither true nor false")),
        },
        Rule::Sampler => match value {
            "jaeger_remote" | "parentbased_jaeger_remote" | "xray" => return Ok(Some(NO_SUCH_SAMPLER)),
            _ => set("spans.sampler", value),
        },
        Rule::NotHonoured(instead) => return Ok(Some(instead)),
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Place, keys};

    fn check(given: &[(&str, &str)]) -> (Vec<(String, String)>, Vec<String>) {
        let given: Vec<_> = given.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let mut notices = Vec::new();
        let settings = settings(&given, &mut notices).into_iter().map(|s| (s.key, s.value)).collect();
        (settings, notices.iter().map(Notice::to_string).collect())
    }

    #[test]
    fn each_rule_leads_to_a_key() {
        let keys = keys();
        for (name, rule) in VARIABLES {
            if let Rule::Key(key)
            | Rule::Milliseconds(key)
            | Rule::Level(key)
            | Rule::Histograms(key)
            | Rule::Exporters(key) = rule
            {
                assert!(matches!(keys.place(key), Place::Key(_)), "{name}");
            }
        }
    }

    #[test]
    fn values() {
        for (name, value, expected) in [
            ("OTEL_SERVICE_NAME", "shop", vec![("service.name", "shop")]),
            ("OTEL_SERVICE_NAME", "", vec![]),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "a=b%20c,service.version=2",
                vec![("resource.a", "b c"), ("service.version", "2")],
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500", vec![("otlp.timeout", "2500ms")]),
            ("OTEL_LOG_LEVEL", "none", vec![("log.level", "off")]),
            ("OTEL_TRACES_EXPORTER", "none", vec![("otlp.traces", "false")]),
            ("OTEL_METRICS_EXPORTER", "prometheus, otlp", vec![("otlp.metrics", "true")]),
            (
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
                "LowMemory",
                vec![("otlp.temporality", "LowMemory")],
            ),
            (
                "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
                "base2_exponential_bucket_histogram",
                vec![("otlp.histograms", "exponential")],
            ),
            ("OTEL_SDK_DISABLED", "TRUE", vec![("otlp.metrics", "false"), ("otlp.traces", "false")]),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", vec![("otlp.protocol", "http/protobuf")]),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1000", vec![("otlp.traces_timeout", "1000ms")]),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=b", vec![("otlp.metrics_headers", "a=b")]),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem", vec![("otlp.client_key", "/k.pem")]),
            ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "true", vec![("otlp.traces_insecure", "true")]),
            ("OTEL_EXPORTER_OTLP_NOTHING", "", vec![]),
            ("OTEL_TRACES_SAMPLER", "traceidratio", vec![("spans.sampler", "traceidratio")]),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25", vec![("spans.ratio", "0.25")]),
        ] {
            let (settings, notices) = check(&[(name, value)]);
            let expected: Vec<_> = expected.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            assert_eq!((settings, notices), (expected, vec![]), "{name}={value}");
        }
    }

    #[test]
    fn what_is_not_valid_or_not_honoured_is_named() {
        for (name, value, part) in [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "is ignored: `10s` is not a number of milliseconds"),
            ("OTEL_SDK_DISABLED", "yes", "is ignored"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "is ignored: entry 2"),
            ("OTEL_TRACES_EXPORTER", "carrier-pigeon", "is ignored"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://h", "not yet honoured: this version pushes no logs"),
            (
                "OTEL_EXPORTER_OTLP_METRIC_TIMEOUT",
                "1",
                "no such variable is known, did you mean `OTEL_EXPORTER_OTLP_METRICS_TIMEOUT`?",
            ),
            ("OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote", "not yet honoured: spans.sampler holds"),
            ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "linear", "is ignored"),
        ] {
            let (settings, notices) = check(&[(name, value)]);
            assert!(settings.is_empty() && notices.len() == 1, "{name}: {settings:?} {notices:?}");
            assert!(notices[0].starts_with(name) && notices[0].contains(part), "{notices:?}");
        }
    }

    #[test]
    fn the_service_name_of_its_own_variable_wins() {
        let (settings, _) =
            check(&[("OTEL_SERVICE_NAME", "own"), ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other")]);
        assert_eq!(settings.last(), Some(&("service.name".to_owned(), "own".to_owned())));
    }
}
