//! Descriptions of metrics.

/// Upper bounds of histograms of seconds, from a commit of a store to an aggregation on a slow machine.
pub const SECONDS: &[f64] = &[
    0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1_800.0,
];

/// What there is to know of a metric before there is a number of it.
#[derive(Debug, PartialEq)]
pub struct Metric {
    /// Its name, without what the kind adds to it.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// What is counted or measured: seconds, bytes, batches.
    pub unit: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
    /// One sentence without a full stop.
    pub help: &'static str,
}

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only grows, and begins anew with the process. Its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often values were at most each of these bounds; `_bucket`, `_sum` and `_count` are added to its name.
    Histogram(&'static [f64]),
}

/// A label and all the values that it can have.
#[derive(Debug, PartialEq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: &'static [&'static str],
}

impl Metric {
    /// The name as it is served, and as documents have it.
    pub fn full_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.name),
            Kind::Gauge | Kind::Histogram(_) => self.name.to_owned(),
        }
    }

    /// The names of the series of it, which queries may use.
    pub fn series_names(&self) -> Vec<String> {
        let suffixes: &[&str] = match self.kind {
            Kind::Counter => &["_total"],
            Kind::Gauge => &[""],
            Kind::Histogram(_) => &["_bucket", "_sum", "_count"],
        };
        let named = |suffix: &&str| format!("{}{suffix}", self.name);
        suffixes.iter().map(named).collect()
    }

    /// Series of it at most.
    pub fn series_max(&self) -> usize {
        let labels: usize = self.labels.iter().map(|label| label.values.len()).product();
        labels
            * match self.kind {
                Kind::Counter | Kind::Gauge => 1,
                // The bounds, infinity, the sum and the count.
                Kind::Histogram(bounds) => bounds.len() + 3,
            }
    }

    /// The word for its kind.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }
}

/// Values that were observed, by upper bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// How many were at most each bound and above the one before; one more for those above all.
    counts: Vec<u64>,
    sum: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(SECONDS)
    }
}

impl Histogram {
    /// One without values. The bounds rise.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// Adds a value.
    pub fn observe(&mut self, value: f64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    /// Adds a time.
    pub fn observe_ms(&mut self, ms: u64) {
        self.observe(ms as f64 / 1_000.0);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What they add up to.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    pub(crate) fn bounds(&self) -> &'static [f64] {
        self.bounds
    }

    /// Each bound, infinity the last, with how many were at most that and above the one before.
    pub(crate) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_at_the_first_bound_that_it_does_not_exceed() {
        let mut histogram = Histogram::new(&[1.0, 2.0]);
        for value in [0.0, 1.0, 1.5, 2.0, 2.5, f64::INFINITY] {
            histogram.observe(value);
        }
        let counts: Vec<u64> = histogram.buckets().into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 2, 2]);
        assert_eq!(histogram.count(), 6);
    }

    #[test]
    fn series_are_as_many_as_labels_and_bounds_make() {
        let metric = Metric {
            name: "a_seconds",
            kind: Kind::Histogram(&[1.0, 2.0]),
            unit: "seconds",
            labels: &[
                Label {
                    name: "x",
                    values: &["1", "2", "3"],
                },
                Label {
                    name: "y",
                    values: &["1", "2"],
                },
            ],
            help: "",
        };
        assert_eq!(metric.series_max(), 6 * 5);
        assert_eq!(
            metric.series_names(),
            ["a_seconds_bucket", "a_seconds_sum", "a_seconds_count"]
        );
        assert_eq!(metric.full_name(), "a_seconds");
    }
}
