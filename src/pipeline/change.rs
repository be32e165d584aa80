//! What a running process can take over from a changed pipeline, and what it can't.

use super::{Pipeline, expression::Expression, storm::StormRule};

impl Pipeline {
    /// What another pipeline changes that only a start can take over; each with the reason.
    #[must_use]
    pub fn fixed_in(&self, next: &Self) -> Vec<&'static str> {
        let groupings = |pipeline: &Self, other: &Self| {
            pipeline.storm.rules.iter().map(grouping).eq(other.storm.rules.iter().map(grouping))
        };
        let told = [
            (self.topics != next.topics, "topics, groups and memory: this process is connected under their names"),
            (self.identity != next.identity, "identity: records in hand would become other alerts"),
            (self.dedup.shards != next.dedup.shards, "dedup.shards: memory would not be found"),
            (!groupings(self, next), "storm.rules: records in hand lie in groups by name, match and group_by"),
            (self.ingest.timeout != next.ingest.timeout, "ingest.timeout: the client of Kafka was made with it"),
            (self.sink.timeout != next.sink.timeout, "sink.timeout: the client of the API server was made with it"),
        ];
        told.into_iter().filter(|(differs, _)| *differs).map(|(_, why)| why).collect()
    }
}

/// What puts an alert into a group.
fn grouping(rule: &StormRule) -> (&str, Option<&str>, &[super::storm::GroupField]) {
    (&rule.name, rule.matches.as_ref().map(Expression::source), &rule.group_by)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts what of a change needs a start, by its first word.
    fn check(next: &str, expected: &[&str]) {
        let fixed = Pipeline::default().fixed_in(&Pipeline::parse("p", next).unwrap());
        let fields: Vec<&str> = fixed.iter().filter_map(|why| why.split(':').next()).collect();
        assert_eq!(fields, expected, "{next}");
    }

    #[test]
    fn q04_what_a_running_process_takes_over_and_what_it_does_not() {
        check("priority: { fallback: P1 }", &[]);
        check("storm: { threshold: 3, hold: 1s, quiet: 30s }", &[]);
        check("sink: { writes_per_second: 5 }", &[]);
        check("dedup: { ttl: 1m }\ningest: { max_alerts: 5 }", &[]);
        check("topics: { alerts: other }", &["topics, groups and memory"]);
        check("groups: { work: other }", &["topics, groups and memory"]);
        check("identity: { fields: [name] }", &["identity"]);
        check("dedup: { shards: 3 }", &["dedup.shards"]);
        check("storm: { rules: [{ name: a, group_by: [name, namespace] }] }", &["storm.rules"]);
        check("storm: { rules: [{ name: same-alert, group_by: [name, namespace], threshold: 4 }] }", &[]);
        check("ingest: { timeout: 5s }\nsink: { timeout: 5s }", &["ingest.timeout", "sink.timeout"]);
    }
}
