//! A storm without the members that have live objects of their own: those are counted there. Pure.

use std::collections::HashSet;

use super::{live::Live, object::ObjectId};
use crate::{
    alert::Brief,
    remediation::{Draft, Member, Progress, Resource},
};

/// The draft's storm without members that are counted elsewhere: its figures, its list, and what the spec says of them.
pub fn take_out(draft: &mut Draft, elsewhere: &[(Member, ObjectId)], live: &Live) {
    thin(&mut draft.progress, elsewhere, live);
    let (Some(storm), spec) = (&draft.progress.storm, &mut draft.spec) else {
        return;
    };
    let listed = |resource: &Resource| format!("{}/{}/{}", resource.kind, resource.namespace, resource.name);
    spec.storm_alert_count = Some(storm.alert_count);
    spec.affected_resources = storm.affected_resources.iter().map(listed).collect();
    spec.deduplication.occurrence_count = draft.progress.count;
    if let Some(aggregation) = &mut spec.storm_aggregation {
        aggregation.alert_count = storm.alert_count;
        aggregation.total_affected_resources = storm.total_affected_resources;
        aggregation.affected_resources.clone_from(&storm.affected_resources);
    }
}

/// A storm's figures without one firing and one resource for each member that is counted elsewhere.
pub fn thin(progress: &mut Progress, elsewhere: &[(Member, ObjectId)], live: &Live) {
    let Some(storm) = &mut progress.storm else { return };
    let out: HashSet<Brief> = elsewhere.iter().map(|(member, _)| member.fingerprint).collect();
    let resources: Vec<_> =
        elsewhere.iter().filter_map(|(_, id)| live.object(id)).map(|object| &object.resource).collect();
    let less = out.len() as u64;
    progress.count = progress.count.saturating_sub(less);
    storm.alert_count = storm.alert_count.saturating_sub(less);
    storm.total_affected_resources = storm.total_affected_resources.saturating_sub(less);
    storm.members.retain(|member| !out.contains(&member.fingerprint));
    storm.affected_resources.retain(|resource| !resources.contains(&resource));
}
