//! How measurements are summed up: buckets, kinds of histograms, since when sums count.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::Refused;

/// Most bounds that a histogram may have.
const MAX_BOUNDS: usize = 100;

/// Upper bounds of a histogram's buckets, in its metric's unit: 1 to 100 numbers, finite, ascending.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Buckets(Vec<f64>);

impl Buckets {
    /// The bounds.
    #[must_use]
    pub fn bounds(&self) -> &[f64] {
        &self.0
    }
}

impl FromStr for Buckets {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let numbers = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        let mut bounds = Vec::new();
        for number in numbers {
            let bound: f64 = number.parse().map_err(|_| Refused(format!("`{number}` is not a number")))?;
            if !bound.is_finite() {
                return Err(Refused(format!("`{number}` is no bound: the last bucket has none anyway")));
            }
            if bounds.last().is_some_and(|last| *last >= bound) {
                return Err(Refused(format!("`{number}` is not above the bound before it")));
            }
            bounds.push(bound);
        }
        if (1..=MAX_BOUNDS).contains(&bounds.len()) {
            Ok(Self(bounds))
        } else {
            Err(Refused(format!("{} bounds are not from 1 to {MAX_BOUNDS}", bounds.len())))
        }
    }
}

impl TryFrom<String> for Buckets {
    type Error = Refused;

    fn try_from(text: String) -> Result<Self, Refused> {
        text.parse()
    }
}

impl From<Buckets> for String {
    fn from(buckets: Buckets) -> Self {
        buckets.to_string()
    }
}

impl fmt::Display for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, bound) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { " " };
            write!(f, "{separator}{bound}")?;
        }
        Ok(())
    }
}

impl JsonSchema for Buckets {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Buckets".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Which histograms are pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Histograms {
    /// Buckets by bounds.
    #[default]
    Explicit,
    /// Base-2 exponential buckets, as fine as 160 of them can be.
    Exponential,
}

/// Since when a pushed sum or histogram counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Temporality {
    /// Since the series began.
    #[default]
    Cumulative,
    /// Since the push before; sums that go down too are cumulative all the same.
    Delta,
    /// Histograms as in `delta`; all sums here are read off counters and stay cumulative.
    LowMemory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets() {
        let hundred = (1..=100).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let more = format!("{hundred} 101");
        let cases = [
            ("0.1 0.5 1", Ok("0.1 0.5 1")),
            ("1e-3, 5,10", Ok("0.001 5 10")),
            ("-1 0", Ok("-1 0")),
            (hundred.as_str(), Ok(hundred.as_str())),
            ("", Err("0 bounds are not from 1 to 100")),
            (more.as_str(), Err("101 bounds are not from 1 to 100")),
            ("1 1", Err("`1` is not above the bound before it")),
            ("2 1", Err("`1` is not above the bound before it")),
            ("1 inf", Err("`inf` is no bound: the last bucket has none anyway")),
            ("NaN", Err("`NaN` is no bound: the last bucket has none anyway")),
            ("1 x", Err("`x` is not a number")),
        ];
        for (text, expected) in cases {
            let made = text.parse::<Buckets>();
            let made = made.as_ref().map(ToString::to_string).map_err(ToString::to_string);
            assert_eq!(made.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }
}
