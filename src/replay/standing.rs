//! The objects that exist, as far as a replay asks: which incident each stands for, whether it is over, and what its
//! spec says. Reads from the API server and never writes.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    alert::{Brief, EventTime},
    pipeline::Pipeline,
    remediation::{
        Draft, Remediation, Update,
        crd::{RemediationRequest, RemediationRequestSpec},
    },
    sink::{
        live::{Live, Sight, StormLife, Verdict},
        object::{Object, ObjectId, Shown},
    },
    work::namespaces::Namespaces,
};

/// Objects in one page of a list: their payloads may be large, and a page is in memory at once.
const PAGE: u32 = 200;

/// What a draft means beside the objects that exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is no object for it, and the log knows no end of it.
    Missing,
    /// There is one, and it says the same.
    Exists(String),
    /// There is one, and its spec says something else.
    Differs(String, Vec<Field>),
    /// It is over: in this final phase, or by the log's word.
    Over(String, String),
}

/// A field of a spec that says something else.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Field {
    /// `spec.priority`.
    pub field: String,
    /// What the object says.
    pub then: Value,
    /// What the draft says.
    pub now: Value,
}

/// The ends that the log tells, by fingerprint: through which event time, told when, and whether of a storm.
#[derive(Clone, Debug, Default)]
pub struct Endings(HashMap<Brief, Vec<Ending>>);

#[derive(Clone, Copy, Debug)]
struct Ending {
    through: EventTime,
    at: EventTime,
    storm: bool,
}

impl Endings {
    /// Notes what a `closed` record of that event time says.
    pub fn note(&mut self, closed: &crate::alert::Closed, at: EventTime) {
        let ending = Ending { through: closed.through, at, storm: closed.storm };
        let of = self.0.entry(closed.fingerprint).or_default();
        // what ends more, later, says all that the ones before it said
        of.retain(|before| before.storm != ending.storm || before.through > ending.through);
        of.push(ending);
    }

    /// Whether the log says that the incident of a draft is over.
    #[must_use]
    pub fn of(&self, draft: &Draft) -> bool {
        let incident = &draft.incident;
        let members = draft.progress.storm.iter().flat_map(|storm| &storm.members);
        let whose = members.map(|member| member.fingerprint).chain([incident.fingerprint.brief()]);
        let ends = |ending: &Ending| {
            ending.through >= incident.generation.at
                && ending.at > incident.generation.at
                && (ending.storm || !incident.storm)
        };
        whose.filter_map(|whom| self.0.get(&whom)).flatten().any(ends)
    }
}

/// The objects that exist.
pub struct Standing {
    live: Live,
    specs: HashMap<ObjectId, [u8; 32]>,
    client: Client,
    /// Labels of namespaces, as they are now.
    pub namespaces: Namespaces,
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Standing").field("objects", &self.specs.len()).finish_non_exhaustive()
    }
}

impl Standing {
    /// Lists everything that there is.
    ///
    /// # Errors
    /// The API server is away, or does not let us.
    pub async fn list(client: Client, pipeline: &Pipeline) -> Result<Self, kube::Error> {
        let life = StormLife { quiet: pipeline.storm.quiet, max_duration: pipeline.storm.max_duration };
        let (mut live, mut specs) = (Live::new(life), HashMap::new());
        drop(live.see(Sight::Begin));
        let objects: Api<RemediationRequest> = Api::all(client.clone());
        let mut page = ListParams::default().labels(crate::remediation::mark::FINGERPRINT).limit(PAGE);
        loop {
            let listed = objects.list(&page).await?;
            for object in listed.items {
                let digest = digest(&object.spec);
                if let Some(shown) = ours(object) {
                    specs.insert(shown.id.clone(), digest);
                    drop(live.enter(shown));
                }
            }
            match listed.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => page = page.continue_token(&more),
                None => break,
            }
        }
        let namespaces = Self::labels(&client).await?;
        Ok(Self { live, specs, client, namespaces })
    }

    /// The labels that namespaces bear now.
    ///
    /// # Errors
    /// The API server is away, or does not let us.
    pub async fn labels(client: &Client) -> Result<Namespaces, kube::Error> {
        let namespaces = Namespaces::default();
        for namespace in Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await? {
            let labels: BTreeMap<String, String> = namespace.labels().clone();
            namespaces.set(&namespace.name_any(), labels);
        }
        Ok(namespaces)
    }

    /// The object of that name in that namespace; else the one that was made for the incident of that name elsewhere: in
    /// the fallback namespace, or with a suffix where a stranger had the name.
    #[must_use]
    pub fn find(&self, object: &str) -> Option<&Object> {
        let (namespace, name) = object.split_once('/').unwrap_or(("", object));
        self.live.object(&ObjectId::new(namespace, name)).or_else(|| self.live.incident(name))
    }

    /// Where the object of an incident is, and how it stands in a word: its phase, `live`, or `absent`.
    #[must_use]
    pub fn stands(&self, object: &str) -> (String, String) {
        match self.find(object) {
            None => (object.to_owned(), "absent".to_owned()),
            Some(known) => {
                let phase = known.status.overall_phase.clone().filter(|phase| !phase.is_empty());
                (known.id.to_string(), phase.unwrap_or_else(|| "live".to_owned()))
            }
        }
    }

    /// What becomes of a draft.
    ///
    /// # Errors
    /// The API server is away.
    pub async fn judge(&self, draft: &Draft, endings: &Endings) -> Result<Fate, kube::Error> {
        let id = match self.live.judge(&Remediation::Draft(Box::new(draft.clone()))) {
            Verdict::Create | Verdict::Missing if endings.of(draft) => {
                let object = format!("{}/{}", draft.incident.namespace, draft.incident.name);
                return Ok(Fate::Over(object, "closed, by the log".to_owned()));
            }
            Verdict::Create | Verdict::Missing => return Ok(Fate::Missing),
            Verdict::Update(id) | Verdict::Over(id) => id,
        };
        let object = self.live.object(&id);
        let own = object.is_some_and(|object| *object.incident == *draft.incident.name);
        if own && self.specs.get(&id) != Some(&digest(&draft.spec)) {
            let fields = self.differing(&id, &draft.spec).await?;
            if !fields.is_empty() {
                return Ok(Fate::Differs(id.to_string(), fields));
            }
        }
        match object.and_then(|object| object.over()) {
            Some(phase) if !own => Ok(Fate::Over(id.to_string(), phase.to_owned())),
            _ => Ok(Fate::Exists(id.to_string())),
        }
    }

    /// Whether the live object of an incident counts less of it than this, or does not say that it was resolved. Of what
    /// was folded into it later, it says nothing.
    #[must_use]
    pub fn is_behind(&self, update: &Update) -> bool {
        let Verdict::Update(id) = self.live.judge(&Remediation::Update(Box::new(update.clone()))) else { return false };
        let Some(status) = self.live.object(&id).map(|object| &object.status) else { return false };
        let newest = update.incident.generation.to_string();
        match &status.deduplication {
            None => true,
            Some(dedup) if dedup.generation != newest => false,
            Some(dedup) => {
                dedup.generation_count < update.progress.count
                    || (update.progress.resolved_at.is_some() && status.resolved_at.is_none())
            }
        }
    }

    async fn differing(&self, id: &ObjectId, now: &RemediationRequestSpec) -> Result<Vec<Field>, kube::Error> {
        let objects: Api<RemediationRequest> = Api::namespaced(self.client.clone(), &id.namespace);
        let Some(object) = objects.get_opt(&id.name).await? else { return Ok(Vec::new()) };
        let (then, now) = (value(&object.spec), value(now));
        let mut fields = Vec::new();
        compare("spec", &then, &now, &mut fields);
        Ok(fields)
    }
}

fn ours(object: RemediationRequest) -> Option<crate::sink::object::Object> {
    let shown: Shown = serde_json::from_value(serde_json::to_value(object).ok()?).ok()?;
    shown.ours()
}

fn value(spec: &RemediationRequestSpec) -> Value {
    serde_json::to_value(spec).expect("a spec is strings, numbers and lists")
}

fn digest(spec: &RemediationRequestSpec) -> [u8; 32] {
    Sha256::digest(value(spec).to_string()).into()
}

/// The leaves in which two values differ; a list is one leaf.
fn compare(path: &str, then: &Value, now: &Value, fields: &mut Vec<Field>) {
    match (then, now) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let absent = Value::Null;
                let (one, other) = (one.get(key).unwrap_or(&absent), other.get(key).unwrap_or(&absent));
                compare(&format!("{path}.{key}"), one, other, fields);
            }
        }
        _ if then == now => {}
        _ => fields.push(Field { field: path.to_owned(), then: then.clone(), now: now.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn l11_what_differs_is_named_leaf_by_leaf() {
        let (then, now) =
            (json!({ "a": { "b": 1, "c": [1] }, "d": "x" }), json!({ "a": { "b": 2, "c": [1] }, "e": true }));
        let mut fields = Vec::new();
        compare("spec", &then, &now, &mut fields);
        let told: Vec<String> = fields.iter().map(|it| format!("{} {} {}", it.field, it.then, it.now)).collect();
        assert_eq!(told, ["spec.a.b 1 2", "spec.d \"x\" null", "spec.e null true"]);
    }
}
