//! What the API server shows: every object that bears our label, for as long as the sink runs; and whether it answers.

use std::{pin::pin, time::Duration};

use futures::TryStreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    kubernetes::{Kubernetes, Unusable},
    live::Sight,
    object::{ObjectId, Shown},
};
use crate::{
    decide::refusal::{About, Answer},
    remediation::mark,
    telemetry::{complaint::Complaint, health::Health},
};

static CUT: Complaint = Complaint::new("the watch of the objects is cut: it is taken up again, and the list with it");

/// Objects in one page of a list: their payloads may be large, and a page is in memory at once.
const PAGE: u32 = 100;
/// How often it is asked whether the API server answers.
const PROBE: Duration = Duration::from_secs(2);
/// How often boot is refused before that is believed: an API server that has just begun knows nobody's role for a second.
const REFUSALS: u32 = 4;

/// Why the sink cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kind is not served.
    #[error(
        "the api server does not serve RemediationRequest: run `breakwater print crd | kubectl apply -f -`, then start \
         the sink again; nothing was committed"
    )]
    KindAbsent,
    /// The token or certificate is not taken, or may not list objects.
    #[error(
        "the api server does not let the sink list its objects (code {0}): mend its credentials or its role; nothing was committed"
    )]
    NotAllowed(u16),
    /// A right is missing.
    #[error(
        "the sink has no right to {verb} {resource} in remediation.kubernaut.io: grant it in every namespace (a \
         ClusterRole), then start the sink again; nothing was committed"
    )]
    NoRight {
        /// To do what,
        verb: &'static str,
        /// to what.
        resource: String,
    },
    /// The right to create is missing where it must be.
    #[error(
        "the sink has no right to create remediationrequests in remediation.kubernaut.io, neither in every namespace nor \
         in its fallback namespace: grant it (a ClusterRole; or a Role in the fallback namespace and in each namespace \
         that has alerts), then start the sink again; nothing was committed"
    )]
    NoCreate,
    /// The client cannot be made.
    #[error(transparent)]
    Unusable(#[from] Unusable),
}

/// Shows all objects and what becomes of them, until told to stop. Proves first that the kind is served and may be
/// listed; an API server that is away is waited for.
pub async fn run(
    kubernetes: Kubernetes,
    sights: mpsc::Sender<Sight>,
    health: Health,
    stop: CancellationToken,
) -> Result<(), WatchError> {
    let shown = async {
        prove(&kubernetes, &health).await?;
        tokio::select! {
            shown = show(&kubernetes, &sights) => shown,
            () = probe(&kubernetes, &health) => Ok(()),
        }
    };
    stop.run_until_cancelled(shown).await.unwrap_or(Ok(()))
}

async fn prove(kubernetes: &Kubernetes, health: &Health) -> Result<(), WatchError> {
    let api = health.condition("kubernetes");
    let mut refusals = 0;
    loop {
        let refused = match proven(kubernetes).await {
            Ok(None) => {
                api.met();
                return Ok(());
            }
            Ok(Some(missing)) => Some(missing),
            Err(Answer { code: 404, about: About::Kind, .. }) => return Err(WatchError::KindAbsent),
            Err(Answer { code: 401, .. }) => return Err(WatchError::NotAllowed(401)),
            Err(Answer { code: 403, .. }) => Some(WatchError::NotAllowed(403)),
            Err(answer) => {
                api.missing(unready(&answer));
                None
            }
        };
        if let Some(refused) = refused {
            refusals += 1;
            if refusals >= REFUSALS {
                return Err(refused);
            }
            api.missing("the api server does not let the sink in, or not yet".to_owned());
        }
        sleep(PROBE).await;
    }
}

/// Whether the kind is served, and which right is missing. Creates may be granted namespace by namespace: then where the
/// fallback lies they must be, and the rest is only complained of.
async fn proven(kubernetes: &Kubernetes) -> Result<Option<WatchError>, Answer> {
    kubernetes.served().await?;
    for (verb, subresource) in [("get", ""), ("list", ""), ("watch", ""), ("patch", "status")] {
        if !kubernetes.may(verb, subresource).await? {
            let resource = format!("remediationrequests/{subresource}").trim_end_matches('/').to_owned();
            return Ok(Some(WatchError::NoRight { verb, resource }));
        }
    }
    if !kubernetes.may_create().await? {
        return Ok(Some(WatchError::NoCreate));
    }
    if !kubernetes.may("create", "").await? {
        tracing::warn!(
            "the sink has no right to create remediationrequests in every namespace: drafts for namespaces where it has \
             none become dead letters; grant it, then: breakwater dead-letters redrive --reason refused"
        );
    }
    Ok(None)
}

/// Asks, again and again, whether the API server answers: a frozen one cuts no watch.
async fn probe(kubernetes: &Kubernetes, health: &Health) {
    let api = health.condition("kubernetes");
    loop {
        let answered = tokio::time::timeout(PROBE, kubernetes.answers()).await;
        match answered {
            Ok(Ok(())) => api.met(),
            Ok(Err(answer)) => api.missing(unready(&answer)),
            Err(_) => api.missing(unready(&Answer::default())),
        }
        sleep(PROBE).await;
    }
}

fn unready(answer: &Answer) -> String {
    match answer.code {
        0 => "the api server does not answer".to_owned(),
        code => format!("the api server answers with code {code}"),
    }
}

async fn show(kubernetes: &Kubernetes, sights: &mpsc::Sender<Sight>) -> Result<(), WatchError> {
    while follow(kubernetes, sights).await? {
        sleep(PROBE).await;
    }
    Ok(())
}

/// Lists and watches. True if both have to begin anew: a watch that is answered 410 as it starts is asked for by kube
/// with the same outdated version for ever (kube-runtime 5); a 410 within the watch it heals by itself.
async fn follow(kubernetes: &Kubernetes, sights: &mpsc::Sender<Sight>) -> Result<bool, WatchError> {
    let config = watcher::Config::default().labels(mark::FINGERPRINT).page_size(PAGE);
    let mut events = pin!(watcher(kubernetes.watched()?, config).default_backoff());
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                CUT.settle();
                let Some(sight) = sight(event) else { continue };
                if sights.send(sight).await.is_err() {
                    return Ok(false);
                }
            }
            Ok(None) => return Ok(false),
            Err(error) => {
                CUT.raise(&error);
                if matches!(&error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410) {
                    return Ok(true);
                }
            }
        }
    }
}

/// What an event shows. An object that is not ours, or no longer, is as good as none.
fn sight(event: watcher::Event<Shown>) -> Option<Sight> {
    match event {
        watcher::Event::Init => Some(Sight::Begin),
        watcher::Event::InitApply(shown) | watcher::Event::Apply(shown) => {
            shown.ours().map(|object| Sight::Stands(Box::new(object)))
        }
        watcher::Event::Delete(shown) => {
            let (namespace, name) = (shown.metadata.namespace?, shown.metadata.name?);
            Some(Sight::Deleted(ObjectId::new(&namespace, &name)))
        }
        watcher::Event::InitDone => Some(Sight::Whole),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

    use super::*;

    fn review(allowed: bool) -> ResponseTemplate {
        ResponseTemplate::new(201).set_body_json(json!({ "status": { "allowed": allowed } }))
    }

    fn client_of(server: &MockServer) -> Kubernetes {
        let config = kube::Config::new(server.uri().parse().unwrap());
        Kubernetes::new(config, Duration::from_secs(5)).unwrap().falling_back_to("home")
    }

    /// What boot says when reviews of that verb, in that namespace or in all (null), are answered with no.
    async fn proven_without(verb: &str, namespaces: &[serde_json::Value]) -> Option<String> {
        let server = MockServer::start().await;
        for namespace in namespaces {
            let asks = json!({ "spec": { "resourceAttributes": { "verb": verb, "namespace": namespace } } });
            Mock::given(matchers::body_partial_json(asks)).respond_with(review(false)).mount(&server).await;
        }
        Mock::given(matchers::method("POST")).respond_with(review(true)).mount(&server).await;
        Mock::given(matchers::method("GET")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        proven(&client_of(&server)).await.unwrap().map(|error| error.to_string())
    }

    #[tokio::test]
    async fn i10_an_api_server_that_knows_no_role_for_its_first_second_is_asked_again() {
        let server = MockServer::start().await;
        let forbidden = ResponseTemplate::new(403);
        Mock::given(matchers::method("GET")).respond_with(forbidden).up_to_n_times(1).mount(&server).await;
        Mock::given(matchers::method("POST")).respond_with(review(true)).mount(&server).await;
        Mock::given(matchers::method("GET")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let health = Health::new("sink");
        prove(&client_of(&server), &health).await.unwrap();
        assert_eq!(server.received_requests().await.unwrap().iter().filter(|one| one.method == "GET").count(), 2);
    }

    #[tokio::test]
    async fn i10_a_right_that_is_missing_everywhere_is_named_at_boot_and_a_create_may_be_granted_here_and_there() {
        for verb in ["get", "list", "watch", "patch"] {
            let said = proven_without(verb, &[json!(null)]).await.unwrap();
            assert!(said.contains(&format!("no right to {verb} rem")), "{said}");
        }
        assert_eq!(proven_without("create", &[json!(null)]).await, None);
        let said = proven_without("create", &[json!(null), json!("home")]).await.unwrap();
        assert!(said.contains("no right to create rem") && said.contains("fallback namespace"), "{said}");
        assert_eq!(proven_without("none", &[]).await, None);
    }
}
