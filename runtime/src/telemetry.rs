//! Logs and metrics of a process.
//!
//! What may be logged, and at which level, stands in `docs/LOGGING.md`; personal data never.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use thiserror::Error;
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::env::{self, EnvError, Environment};

/// Why telemetry could not start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] EnvError),
    /// Metrics are already recorded by somebody else in this process.
    #[error("could not start recording metrics")]
    Metrics(#[from] BuildError),
}

/// A handle to what this process records.
#[derive(Clone, Debug)]
pub struct Telemetry {
    prometheus: PrometheusHandle,
}

/// Upper bounds of duration histograms, in seconds: from a script's time to a day's export.
const SECONDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 3_600.0];

/// Starts logging to standard error and recording metrics, once a process.
///
/// # Errors
/// When a setting is wrong, or it was called before.
pub fn start(environment: &dyn Environment) -> Result<Telemetry, TelemetryError> {
    // One crypto provider for all TLS in the process; a second caller finds it set.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());

    let filter = env::LOG.read(environment)?;
    let parsed = EnvFilter::try_new(&filter).map_err(|error| env::LOG.invalid(&filter, error))?;
    let format = env::LOG_FORMAT.read(environment)?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let never = filter_fn(may_be_logged);
    let already_set = match format.as_str() {
        "json" => subscriber.json().flatten_event(true).finish().with(never).try_init().is_err(),
        "text" => subscriber.with_ansi(ansi).finish().with(never).try_init().is_err(),
        other => return Err(env::LOG_FORMAT.invalid(other, "it is neither json nor text").into()),
    };
    if already_set {
        tracing::debug!("logging was started before");
    }

    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .install_recorder()?;
    Ok(Telemetry { prometheus })
}

/// Whatever the settings say: AWS' client writes whole messages into its log below `info`, and buyers are in them.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !metadata.target().starts_with("aws_")
}

impl Telemetry {
    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.prometheus.run_upkeep();
        self.prometheus.render()
    }
}
