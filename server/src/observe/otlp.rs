//! Spans for an OpenTelemetry collector: one for every session and, inside it, one for every chunk with its stages'
//! times.
//!
//! Only in builds with the `otlp` feature. The exporter has a thread and a bounded queue of its own, so a collector
//! that is slow or gone loses spans and delays nobody.

use std::time::Duration;

use anyhow::{Context, ensure};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

/// Spans that may wait to be sent; further ones are dropped. Ten seconds of a hundred sessions.
const QUEUE: usize = 4096;

/// Time between two sends.
const SEND_EVERY: Duration = Duration::from_secs(2);

/// Longest wait for an answer of the collector, and for the last send at the end.
const COLLECTOR_WITHIN: Duration = Duration::from_secs(3);

/// Sends the remaining spans when it is dropped.
pub struct Export(SdkTracerProvider);

impl Drop for Export {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(COLLECTOR_WITHIN) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

/// The layer that takes our spans, and none of the events inside them, to the collector at this address. Where it has
/// no path, OTLP's usual one is meant.
pub fn spans<S>(collector: &Url) -> anyhow::Result<(impl Layer<S> + use<S>, Export)>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    ensure!(collector.scheme() == "http", "--otlp-endpoint {collector}: must begin with http://");
    let endpoint = if collector.path() == "/" { collector.join("v1/traces")? } else { collector.clone() };
    let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    let exporter =
        exporter.with_endpoint(endpoint).with_timeout(COLLECTOR_WITHIN).build().context("--otlp-endpoint")?;
    let batches = BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_scheduled_delay(SEND_EVERY).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let resource = Resource::builder().with_service_name("causeway").build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource).build();
    // A chunk's span is of the level debug, whatever is logged.
    let ours = filter_fn(|about| about.is_span() && about.target().starts_with("server"));
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("causeway"));
    Ok((layer.with_filter(ours.with_max_level_hint(LevelFilter::DEBUG)), Export(provider)))
}
