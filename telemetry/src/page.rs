//! The numbers of one moment, and their text for Prometheus.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::Registry,
};

use crate::metric::{Histogram, Kind, Metric};

/// The media type of [`Page::to_text`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The numbers of one moment.
#[derive(Debug, Clone, Default)]
pub struct Page {
    families: Vec<Family>,
}

#[derive(Debug, Clone)]
struct Family {
    metric: &'static Metric,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    labels: Vec<&'static str>,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Number(f64),
    Histogram(Histogram),
}

impl Page {
    /// Adds a number under the values of the metric's labels.
    ///
    /// # Panics
    /// If a label does not have that value by its description, or the metric is a histogram.
    pub fn number(&mut self, metric: &'static Metric, labels: &[&'static str], value: f64) {
        assert!(
            !matches!(metric.kind, Kind::Histogram(_)),
            "{} is a histogram",
            metric.name
        );
        self.add(metric, labels, Value::Number(value));
    }

    /// Adds a histogram under the values of the metric's labels.
    ///
    /// # Panics
    /// If a label does not have that value by its description, or the bounds are others.
    pub fn histogram(&mut self, metric: &'static Metric, labels: &[&'static str], histogram: &Histogram) {
        assert_eq!(
            metric.kind,
            Kind::Histogram(histogram.bounds()),
            "{} has other bounds",
            metric.name
        );
        self.add(metric, labels, Value::Histogram(histogram.clone()));
    }

    fn add(&mut self, metric: &'static Metric, labels: &[&'static str], value: Value) {
        let fits = labels.len() == metric.labels.len()
            && labels
                .iter()
                .zip(metric.labels)
                .all(|(value, label)| label.values.contains(value));
        assert!(fits, "{} has no labels {labels:?}", metric.name);
        let sample = Sample {
            labels: labels.to_vec(),
            value,
        };
        let known = self
            .families
            .iter_mut()
            .find(|family| std::ptr::eq(family.metric, metric));
        match known {
            Some(family) => family.samples.push(sample),
            None => self.families.push(Family {
                metric,
                samples: vec![sample],
            }),
        }
    }

    /// The page in Prometheus' text format.
    pub fn to_text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).expect("a string takes every text");
        text
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for Family { metric, samples } in &self.families {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram(_) => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for sample in samples {
                let names = metric.labels.iter().map(|label| label.name);
                let labels: Vec<(&str, &str)> = names.zip(sample.labels.iter().copied()).collect();
                let mut one = family.encode_family(&labels)?;
                match (&sample.value, metric.kind) {
                    (Value::Number(value), Kind::Counter) => {
                        one.encode_counter(value, None::<&Exemplar<NoLabelSet, f64>>)?;
                    }
                    (Value::Number(value), _) => one.encode_gauge(value)?,
                    (Value::Histogram(histogram), _) => one.encode_histogram::<NoLabelSet>(
                        histogram.sum(),
                        histogram.count(),
                        &histogram.buckets(),
                        None,
                    )?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Label;

    static COUNTER: Metric = Metric {
        name: "things",
        kind: Kind::Counter,
        unit: "things",
        labels: &[Label {
            name: "colour",
            values: &["red", "blue"],
        }],
        help: "Things",
    };
    static GAUGE: Metric = Metric {
        name: "depth",
        kind: Kind::Gauge,
        unit: "",
        labels: &[],
        help: "Depth",
    };
    static HISTOGRAM: Metric = Metric {
        name: "time_seconds",
        kind: Kind::Histogram(&[0.5, 1.0]),
        unit: "seconds",
        labels: &[],
        help: "Time",
    };

    #[test]
    fn a_page_is_prometheus_text() {
        let mut page = Page::default();
        page.number(&COUNTER, &["red"], 3.0);
        page.number(&GAUGE, &[], 0.25);
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        [0.5, 0.75, 8.0]
            .into_iter()
            .for_each(|value| histogram.observe(value));
        page.histogram(&HISTOGRAM, &[], &histogram);
        page.number(&COUNTER, &["blue"], 0.0);
        let text = page.to_text();
        for line in [
            "# TYPE things_total counter",
            "things_total{colour=\"red\"} 3.0",
            "things_total{colour=\"blue\"} 0.0",
            "# TYPE depth gauge",
            "depth 0.25",
            "# TYPE time_seconds histogram",
            "time_seconds_bucket{le=\"0.5\"} 1",
            "time_seconds_bucket{le=\"1\"} 2",
            "time_seconds_bucket{le=\"+Inf\"} 3",
            "time_seconds_sum 9.25",
            "time_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(
            text.matches("# TYPE things_total").count(),
            1,
            "a family stands together"
        );
    }

    #[test]
    #[should_panic(expected = "things has no labels [\"green\"]")]
    fn a_label_has_no_other_value_than_it_was_described_with() {
        Page::default().number(&COUNTER, &["green"], 1.0);
    }

    #[test]
    #[should_panic(expected = "things has no labels []")]
    fn no_label_is_left_out() {
        Page::default().number(&COUNTER, &[], 1.0);
    }

    #[test]
    #[should_panic(expected = "has other bounds")]
    fn a_histogram_has_its_metrics_bounds() {
        Page::default().histogram(&HISTOGRAM, &[], &Histogram::new(&[0.5]));
    }
}
