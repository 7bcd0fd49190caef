//! The warnings of host and gateway, which tell them to `tracing`, as sentences for the operator.
//!
//! With RUST_LOG set they are meant for people who look for a fault: they name their modules, and go down to
//! the level that RUST_LOG names.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// From here on warnings are shown on standard error.
pub fn show() {
    let subscriber = tracing_subscriber::fmt()
        .with_writer(os::stderr::Lines::default)
        .without_time()
        .log_internal_errors(false);
    match EnvFilter::try_from_default_env() {
        Ok(filter) => subscriber.with_env_filter(filter).init(),
        Err(_) => subscriber
            .with_env_filter("warn")
            .with_ansi(false)
            .event_format(Sentences)
            .init(),
    }
}

/// Writes an event as `lockstep: warning: no address is left for this guest mac=52:54:00:12:34:56`.
struct Sentences;

impl<S, N> FormatEvent<S, N> for Sentences
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            _ => "warning",
        };
        write!(writer, "lockstep: {level}: ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
