//! One call, from the desk to its answer: a span of its own, linked to the records that caused it.

use opentelemetry::trace::TraceContextExt as _;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{
    Objects,
    desk::{Call, Found, Job},
};
use crate::{crash, decide::refusal::Answer, kafka::carrier, telemetry::metrics::SinkMetrics};

/// Asks what a job is for. The answer goes back to the desk, whatever it is.
pub async fn ask(objects: &impl Objects, job: Job, metrics: &SinkMetrics) -> (Job, Result<Found, Answer>) {
    let in_flight = metrics.write_begun();
    let span = span(&job);
    crash::point(before(&job.call));
    let answer = call(objects, &job.call).instrument(span).await;
    crash::point(after(&job.call));
    drop(in_flight);
    (job, answer)
}

fn before(call: &Call) -> &'static str {
    match call {
        Call::Create(_) => "sink-creates",
        Call::Apply { .. } => "sink-applies",
        Call::Read(_) => "sink-reads",
    }
}

fn after(call: &Call) -> &'static str {
    match call {
        Call::Create(_) => "sink-created",
        Call::Apply { .. } => "sink-applied",
        Call::Read(_) => "sink-read",
    }
}

/// The call itself.
pub async fn call(objects: &impl Objects, call: &Call) -> Result<Found, Answer> {
    match call {
        Call::Create(object) => objects.create(object).await,
        Call::Apply { id, version, status } => objects.apply_status(id, version, status).await,
        Call::Read(id) => objects.read(id).await,
    }
}

/// A write serves many records, so it is linked to each and the child of none.
fn span(job: &Job) -> tracing::Span {
    let verb = match job.call {
        Call::Create(_) => "create",
        Call::Apply { .. } => "apply",
        Call::Read(_) => "read",
    };
    let span = tracing::info_span!("sink.write", otel.kind = "client", verb, object = %job.object());
    for held in job.held() {
        let context = carrier::extract(&held.record.headers);
        span.add_link(context.span().span_context().clone());
    }
    span
}
