//! What came between two snapshots, for receivers that want differences (delta temporality).

use super::{Family, Histogram, Point, PointValue, Snapshot};
use crate::model::MetricDef;

impl Snapshot {
    /// This snapshot, in which the points of metrics that `is_delta` chooses say only what came since `earlier`, one of
    /// the same store. Points to which nothing came are left out.
    #[must_use]
    pub fn since(&self, earlier: &Snapshot, is_delta: impl Fn(&MetricDef) -> bool) -> Snapshot {
        let family = |family: &Family| {
            if !is_delta(family.def) {
                return Some(family.clone());
            }
            let before = earlier.family(family.def).map_or(&[][..], |family| &family.points);
            let of = |point: &Point| {
                let at = before.binary_search_by(|one| one.attributes.cmp(&point.attributes)).ok()?;
                // Another start is another series, under the same attributes.
                Some(&before[at]).filter(|one| one.started == point.started)
            };
            let point = |point: &Point| {
                Some(Point {
                    attributes: point.attributes.clone(),
                    started: Some(earlier.at),
                    value: match of(point) {
                        Some(before) => difference(&point.value, &before.value, earlier)?,
                        None => point.value.clone(),
                    },
                })
            };
            let points: Vec<Point> = family.points.iter().filter_map(point).collect();
            (!points.is_empty()).then_some(Family { def: family.def, points })
        };
        Snapshot {
            at: self.at,
            started: self.started,
            families: self.families.iter().filter_map(family).collect(),
        }
    }
}

/// `None` where nothing came.
fn difference(value: &PointValue, before: &PointValue, earlier: &Snapshot) -> Option<PointValue> {
    match (value, before) {
        (PointValue::U64(value), PointValue::U64(before)) => {
            let n = value.saturating_sub(*before);
            (n > 0).then_some(PointValue::U64(n))
        }
        (PointValue::F64(value), PointValue::F64(before)) => {
            let n = value - before;
            (n > 0.0).then_some(PointValue::F64(n))
        }
        (PointValue::Histogram(value), PointValue::Histogram(before)) => {
            let new = histogram(value, before, earlier);
            (new.count > 0).then_some(PointValue::Histogram(new))
        }
        // A series keeps its kind of value.
        (value, _) => Some(value.clone()),
    }
}

fn histogram(value: &Histogram, before: &Histogram, earlier: &Snapshot) -> Histogram {
    let mut new = value.clone();
    for (count, before) in new.counts.iter_mut().zip(&before.counts) {
        *count = count.saturating_sub(*before);
    }
    new.sum -= before.sum;
    new.count = new.count.saturating_sub(before.count);
    // Which of the values came last is not known.
    (new.min, new.max) = (f64::INFINITY, f64::NEG_INFINITY);
    if let (Some(new), Some(before)) = (&mut new.exponential, &before.exponential) {
        *new = new.since(before);
    }
    new.forget_exemplars(earlier.at);
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;
    use crate::signal::{ExemplarIds, Layout, UnixNanos, catalogue};

    static COUNTER: MetricDef =
        MetricDef { name: "a", kind: Kind::Counter, unit: "1", help: "", attributes: &["k"] };
    static GAUGE: MetricDef =
        MetricDef { name: "b", kind: Kind::Gauge, unit: "1", help: "", attributes: &[] };

    fn point(key: &'static str, started: u64, value: PointValue) -> Point {
        Point { attributes: vec![("k", key.into())], started: Some(UnixNanos(started)), value }
    }

    fn snapshot(at: u64, families: Vec<Family>) -> Snapshot {
        Snapshot { at: UnixNanos(at), started: UnixNanos(1), families }
    }

    fn is_delta(def: &MetricDef) -> bool {
        !matches!(def.kind, Kind::Gauge)
    }

    #[test]
    fn numbers() {
        let value = PointValue::U64;
        let counters = |points| Family { def: &COUNTER, points };
        let gauges = |n| Family { def: &GAUGE, points: vec![point("g", 1, value(n))] };
        let before = snapshot(
            10,
            vec![
                counters(vec![
                    point("again", 2, value(7)),
                    point("gone", 2, value(9)),
                    point("more", 2, value(5)),
                    point("same", 2, value(4)),
                ]),
                gauges(3),
            ],
        );
        let now = snapshot(
            20,
            vec![
                counters(vec![
                    point("again", 15, value(2)),
                    point("more", 2, value(8)),
                    point("new", 12, value(1)),
                    point("same", 2, value(4)),
                ]),
                gauges(2),
            ],
        );
        let expected = vec![
            counters(vec![
                point("again", 10, value(2)),
                point("more", 10, value(3)),
                point("new", 10, value(1)),
            ]),
            gauges(2),
        ];
        assert_eq!(now.since(&before, is_delta), snapshot(20, expected));
        let still = now.since(&now, is_delta);
        assert_eq!(still.families, [gauges(2)], "a family without news is left out");
    }

    #[test]
    fn histograms() {
        let layout = Layout { bounds: [1.0, 2.0].into(), exponential: true };
        let of = |values: &[f64]| {
            let mut histogram = Histogram::new(&layout);
            for (i, value) in values.iter().enumerate() {
                let ids = ExemplarIds { trace: [1; 16], span: [1; 8] };
                histogram.record(*value, UnixNanos(i as u64 + 1), Some(ids));
            }
            let points = vec![point("h", 1, PointValue::Histogram(histogram))];
            vec![Family { def: &catalogue::HTTP_SERVER_DURATION, points }]
        };
        let values = [0.5, 3.0, 1.5, 0.001, 100.0];
        let delta = snapshot(9, of(&values)).since(&snapshot(3, of(&values[..3])), is_delta);
        let PointValue::Histogram(made) = &delta.families[0].points[0].value else { panic!("a histogram") };
        assert_eq!((made.count, &*made.counts), (2, &[1, 0, 1][..]));
        assert!((made.sum - 100.001).abs() < 1e-9 && made.min.is_infinite() && made.max.is_infinite());
        assert_eq!(made.exponential.as_ref().map(crate::signal::Exponential::count), Some(2));
        let exemplars: Vec<f64> = made.exemplars().map(|one| one.value).collect();
        assert_eq!(exemplars, [0.001, 100.0], "older ones were delivered");
    }
}
