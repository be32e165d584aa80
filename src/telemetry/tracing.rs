//! Logs and traces: what leaves the process besides records, objects and answers.
//!
//! The W3C propagator is always set, so a trace that comes in at the door goes on to the object even where nothing is
//! exported. Spans are exported only if an endpoint is configured, over gRPC.

use std::time::Duration;

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

/// What the command line and the environment say about logs and traces.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `service.name` of the traces: `breakwater-work`.
    pub service: String,
    /// The filter as in `RUST_LOG`; none = `info`.
    pub filter: Option<String>,
    /// JSON lines instead of text for people.
    pub json: bool,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`; none = no export.
    pub endpoint: Option<String>,
    /// `OTEL_EXPORTER_OTLP_PROTOCOL`; none = gRPC.
    pub protocol: Option<String>,
}

/// What is wrong with the options.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A protocol that is not compiled in.
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL is {0:?}, and only \"grpc\" is compiled in: unset it, or set it to grpc")]
    Protocol(String),
    /// A filter that cannot be read.
    #[error("the log filter {text:?} cannot be read: {cause}")]
    Filter {
        /// As given.
        text: String,
        /// What is wrong.
        cause: String,
    },
    /// The exporter cannot be made.
    #[error("the trace exporter cannot be made: {0}")]
    Exporter(String),
    /// Called twice.
    #[error("logs are set up already")]
    Twice,
}

/// Holds the exporter; [`Guard::shutdown`] flushes it.
#[derive(Debug)]
#[must_use = "without a shutdown the last spans are lost"]
pub struct Guard(Option<SdkTracerProvider>);

impl Guard {
    /// Sends what is still held, for so long at most.
    pub async fn shutdown(self, within: Duration) {
        let Some(provider) = self.0 else { return };
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(within)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::debug!("the last spans did not reach their collector");
        }
    }
}

/// Sets up logs to standard error, the propagator, and the exporter if there is an endpoint. Once, within the runtime.
pub fn init(options: &Options) -> Result<Guard, TelemetryError> {
    let filter = filter(options.filter.as_deref())?;
    let provider = exporter(options)?;
    global::set_text_map_propagator(TraceContextPropagator::new());
    let logs = if options.json { json(std::io::stderr) } else { text(std::io::stderr) };
    // A span needs this layer for its trace to go on, exported or not; without an exporter nothing is sampled.
    let tracer = provider.clone().unwrap_or_else(|| SdkTracerProvider::builder().build()).tracer("breakwater");
    let traces = tracing_opentelemetry::layer().with_tracer(tracer);
    tracing_subscriber::registry()
        .with(logs)
        .with(traces)
        .with(filter)
        .try_init()
        .map_err(|_| TelemetryError::Twice)?;
    Ok(Guard(provider))
}

fn text<W>(out: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().with_writer(out).with_target(false).boxed()
}

fn json<W>(out: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> tracing_subscriber::fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(out).boxed()
}

/// The exporter's own failures, and those of what it stands on, would feed the exporter: they are silent.
fn filter(asked: Option<&str>) -> Result<EnvFilter, TelemetryError> {
    let text = asked.map(str::trim).filter(|text| !text.is_empty()).unwrap_or("info");
    let quiet = format!("opentelemetry=off,h2=warn,tonic=warn,hyper=warn,tower=warn,librdkafka=off,{text}");
    EnvFilter::try_new(quiet)
        .map_err(|error| TelemetryError::Filter { text: text.to_owned(), cause: error.to_string() })
}

fn exporter(options: &Options) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    if let Some(protocol) = options.protocol.as_deref().filter(|protocol| !matches!(*protocol, "" | "grpc")) {
        return Err(TelemetryError::Protocol(protocol.to_owned()));
    }
    if options.endpoint.as_deref().unwrap_or_default().is_empty() {
        return Ok(None);
    }
    // The crate reads the endpoint, headers and timeout from the environment, as its specification says.
    let exporter =
        SpanExporter::builder().with_tonic().build().map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
        .with_resource(Resource::builder().with_service_name(options.service.clone()).build())
        .with_batch_exporter(exporter)
        .build();
    Ok(Some(provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_protocol_than_grpc_is_told_and_not_ignored() {
        let of = |protocol: &str| exporter(&Options { protocol: Some(protocol.to_owned()), ..Options::default() });
        let fault = of("http/protobuf").expect_err("it should be refused").to_string();
        assert!(fault.contains("only \"grpc\" is compiled in"), "{fault}");
        assert!(matches!(of("grpc"), Ok(None)), "without an endpoint nothing is exported");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_told() {
        assert!(filter(Some("work=loud=quite")).is_err());
        assert!(filter(Some("breakwater=debug,librdkafka=debug")).is_ok());
        assert!(filter(None).is_ok());
    }
}
