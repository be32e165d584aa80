//! The status page on the admin address: what whoever is on call wants to see at a glance. The program writes all of it; a
//! script of a dozen lines puts each newer one, sent as an event every second, in the place of the older. Without a script
//! the page is loaded again by itself.
//!
//! **Invariant:** at most [`LISTENERS`] look on live, and all of them share one text; what comes from alerts is text only.

mod figures;
mod pulse;
#[cfg(test)]
mod tests;
mod text;
mod view;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures::stream;
use jiff::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::MissedTickBehavior,
};

use self::{figures::Figures, pulse::Pulse, text::Span};
use super::{
    health::{Dependency, Health, Readiness},
    metrics::Registry,
    recent::{Glimpse, Recent},
};

/// How many may look on live at once; one more is asked to come back, and sees the page as it stands.
const LISTENERS: usize = 16;
/// After so long a listener has to ask again, so that nobody keeps a place for ever.
const SITTING: Duration = Duration::from_mins(10);
/// The page's own script and style, its own events, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

/// The page of one process. Clones are the same page.
#[derive(Clone, Debug)]
pub(super) struct Page(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Arc<Registry>,
    healths: Arc<[Health]>,
    recent: Recent,
    pulse: Mutex<Pulse>,
    shown: watch::Sender<Arc<str>>,
    places: Arc<Semaphore>,
}

/// Everything that is told at one moment.
struct Told<'a> {
    stages: Vec<Stage>,
    figures: Figures,
    pulse: &'a Pulse,
    glimpse: Glimpse,
    now: Timestamp,
}

struct Stage {
    readiness: Readiness,
    dependencies: Vec<Dependency>,
}

impl Told<'_> {
    /// Whether a stage of this process writes objects, and so knows them.
    fn writes(&self) -> bool {
        self.stages.iter().any(|stage| stage.readiness.stage == "sink")
    }

    /// How long ago that was. The time is the broker's, so it may lie a little ahead.
    fn since(&self, at: Timestamp) -> Span {
        Span(self.now.duration_since(at).as_secs_f64())
    }
}

impl Page {
    pub(super) fn new(registry: Arc<Registry>, healths: Arc<[Health]>, recent: Recent) -> Self {
        let (shown, places) = (watch::Sender::new(Arc::from("")), Arc::new(Semaphore::new(LISTENERS)));
        Self(Arc::new(Inner { registry, healths, recent, pulse: Mutex::default(), shown, places }))
    }

    /// Looks at the figures once a second, and tells whoever looks on. Never ends.
    pub(super) async fn beat(&self) {
        let mut beat = tokio::time::interval(pulse::BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        let figures = Figures::read(&self.0.registry.exposition());
        self.0.pulse.lock().unwrap_or_else(PoisonError::into_inner).look(&figures, Instant::now());
        if self.0.shown.receiver_count() > 0 {
            self.0.shown.send_replace(self.text(figures).into());
        }
    }

    fn text(&self, figures: Figures) -> String {
        let (now, instant) = (Timestamp::now(), Instant::now());
        let stages = self.0.healths.iter().map(|health| {
            let (readiness, dependencies) = (health.readiness(), health.dependencies(instant));
            Stage { readiness, dependencies }
        });
        let pulse = self.0.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        let glimpse = self.0.recent.glimpse(now, instant);
        view::main(&Told { stages: stages.collect(), figures, pulse: &pulse, glimpse, now })
    }

    /// The whole page as it stands now.
    pub(super) fn html(&self) -> Response {
        let main = self.text(Figures::read(&self.0.registry.exposition()));
        of_type("text/html; charset=utf-8", HTML.replace("{{main}}", &main))
    }

    /// The page's inside, now and every second, for as long as a sitting takes.
    pub(super) fn events(&self) -> Response {
        let Ok(place) = Arc::clone(&self.0.places).try_acquire_owned() else {
            let later = [(header::RETRY_AFTER, "5")];
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                later,
                "too many look on live; the page itself is always there\n",
            )
                .into_response();
        };
        let sitting = Sitting { shown: self.0.shown.subscribe(), until: Instant::now() + SITTING, _place: place };
        let first = Event::default().data(self.text(Figures::read(&self.0.registry.exposition())));
        let first = stream::once(std::future::ready(Ok::<_, Infallible>(first.retry(Duration::from_secs(2)))));
        let later = stream::unfold(sitting, |mut sitting| async move { Some((Ok(sitting.next().await?), sitting)) });
        let mut response = Sse::new(futures::StreamExt::chain(first, later)).into_response();
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        response
    }
}

/// Somebody who looks on.
struct Sitting {
    shown: watch::Receiver<Arc<str>>,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Sitting {
    async fn next(&mut self) -> Option<Event> {
        if Instant::now() > self.until {
            return None;
        }
        self.shown.changed().await.ok()?;
        let text = Arc::clone(&self.shown.borrow_and_update());
        Some(Event::default().data(&*text))
    }
}

/// The page's script.
pub(super) async fn script() -> Response {
    of_type("text/javascript; charset=utf-8", SCRIPT)
}

/// The page's style.
pub(super) async fn style() -> Response {
    of_type("text/css; charset=utf-8", STYLE)
}

fn of_type(media: &'static str, body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, media), (header::CONTENT_SECURITY_POLICY, POLICY)], body).into_response()
}
