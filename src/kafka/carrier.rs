//! The trace in record headers: W3C trace context, in and out.

use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
};

use crate::alert::headers::Headers;

/// Writes the trace context into headers, in place of one that is there already.
pub fn inject(context: &Context, headers: &mut Headers) {
    global::get_text_map_propagator(|propagator| propagator.inject_context(context, &mut Out(headers)));
}

/// Reads the trace context that came with a record; an empty one if none did.
#[must_use]
pub fn extract(headers: &Headers) -> Context {
    global::get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), &In(headers)))
}

struct Out<'a>(&'a mut Headers);

impl Injector for Out<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.0.retain(|(name, _)| !name.eq_ignore_ascii_case(key));
        if !value.is_empty() {
            self.0.push(key, value); // an empty tracestate says nothing
        }
    }
}

struct In<'a>(&'a Headers);

impl Extractor for In<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        // The last one counts, as retries append; foreign bytes are as good as none.
        let (_, value) = self.0.0.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        std::str::from_utf8(value).ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::{
        propagation::TraceContextPropagator,
        trace::{InMemorySpanExporter, SdkTracerProvider},
    };

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn p09_the_trace_of_the_door_is_the_trace_behind_the_topic() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let tracer = provider.tracer("test");
        let mut headers = Headers::default();
        let door = tracer.start("door");
        inject(&Context::current_with_span(door), &mut headers);
        tracer.span_builder("work").with_kind(SpanKind::Consumer).start_with_context(&tracer, &extract(&headers)).end();
        let spans = exporter.get_finished_spans().expect("the exporter is in memory");
        let work = spans.iter().find(|span| span.name == "work").expect("it has ended");
        let told = headers.text("traceparent").expect("it is injected");
        assert_eq!(told.split('-').nth(1), Some(work.span_context.trace_id().to_string().as_str()));
        assert_eq!(told.split('-').nth(2), Some(work.parent_span_id.to_string().as_str()));
    }

    #[test]
    fn of_a_header_given_twice_the_last_counts_and_injecting_leaves_one() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let mut headers = Headers::default();
        headers.push("traceparent", "00-11111111111111111111111111111111-1111111111111111-01");
        headers.push("Traceparent", PARENT);
        let context = extract(&headers);
        assert_eq!(context.span().span_context().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        inject(&context, &mut headers);
        assert_eq!(headers.0, [("traceparent".to_owned(), PARENT.into())]);
    }

    #[test]
    fn k09_foreign_bytes_are_as_good_as_none() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let mut headers = Headers::default();
        headers.push("traceparent", vec![0xff, 0xfe]);
        assert!(!extract(&headers).span().span_context().is_valid());
    }
}
