//! Figures by name, as a scrape would show them: the page tells what `/metrics` tells, and nothing else.

use std::collections::BTreeMap;

/// What was shown at one moment, by series.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Reads an exposition of ours.
    pub(super) fn read(exposition: &str) -> Self {
        let samples = exposition.lines().filter(|line| !line.starts_with('#'));
        let read = samples.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self(read.collect())
    }

    /// Whether there is a family of that name.
    pub(super) fn has(&self, family: &str) -> bool {
        self.of(family).next().is_some()
    }

    /// All series of a family together.
    pub(super) fn sum(&self, family: &str) -> f64 {
        self.of(family).map(|(_, value)| value).sum()
    }

    /// The series of a family with one label, by its value.
    pub(super) fn by_label<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.of(family).filter_map(|(labels, value)| Some((labels.split('"').nth(1)?, value)))
    }

    /// Each series of a family: its labels with braces, and its value.
    fn of<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let from = self.0.range(family.to_owned()..);
        let same = from.take_while(move |(series, _)| series.starts_with(family));
        same.filter_map(move |(series, value)| {
            let labels = &series[family.len()..];
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_read_with_its_labels_and_without_its_neighbours() {
        let figures = Figures::read(
            "# TYPE a counter\na_total{reason=\"x\"} 2\na_total{reason=\"y\"} 3.5\na_total_more 7\nb 1\n# EOF\n",
        );
        assert_eq!((figures.sum("a_total"), figures.sum("b"), figures.sum("a")), (5.5, 1.0, 0.0));
        assert_eq!(figures.by_label("a_total").collect::<Vec<_>>(), [("x", 2.0), ("y", 3.5)]);
        assert!(figures.has("b") && !figures.has("a"));
    }
}
