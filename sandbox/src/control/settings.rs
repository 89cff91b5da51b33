//! What may be set while the sandbox runs.

use super::{Control, ControlError, in_range};
use crate::charsets::ReportCharset;
use crate::pace::SPEEDS;
use crate::usage_plans::UsagePlan;
use serde::{Deserialize, Serialize};

const LONGEST_LIFE_SECONDS: f64 = 86_400.0;

/// Settings to change; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsChange {
    /// Seconds of Amazon time in a wall second.
    #[serde(default)]
    pub speed: Option<f64>,
    /// Send buyer data whatever was asked for.
    #[serde(default)]
    pub leak_buyer_data: Option<bool>,
    /// For how many seconds of the wall clock a page token of the inventory lives.
    #[serde(default)]
    pub inventory_token_seconds: Option<f64>,
    /// For how many seconds of the wall clock a document's address is good.
    #[serde(default)]
    pub document_url_seconds: Option<f64>,
    /// What reports about feedback are written in, instead of what their marketplace's are.
    #[serde(default)]
    pub report_charset: Option<ReportCharset>,
    /// Whether documents of reports are compressed.
    #[serde(default)]
    pub report_gzip: Option<bool>,
    /// Send every message twice.
    #[serde(default)]
    pub queue_duplicates: Option<bool>,
    /// Hand messages out in another order than they were sent in.
    #[serde(default)]
    pub queue_out_of_order: Option<bool>,
    /// The application's new secret; the old one stops working.
    #[serde(default)]
    pub client_secret: Option<String>,
}

/// The settings in force.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Seconds of Amazon time in a wall second.
    pub speed: f64,
    /// Whether buyer data is sent unasked.
    pub leak_buyer_data: bool,
    /// For how many seconds of the wall clock a page token of the inventory lives.
    pub inventory_token_seconds: f64,
    /// For how many seconds of the wall clock a document's address is good.
    pub document_url_seconds: f64,
    /// What reports about feedback are written in; `None` is what their marketplace's are.
    pub report_charset: Option<ReportCharset>,
    /// Whether documents of reports are compressed.
    pub report_gzip: bool,
    /// Whether every message is sent twice.
    pub queue_duplicates: bool,
    /// Whether messages are handed out in another order than they were sent in.
    pub queue_out_of_order: bool,
    /// The plans that are enforced, at speed 1.
    pub usage_plans: Vec<UsagePlan>,
}

impl SettingsChange {
    fn check(&self) -> Result<(), ControlError> {
        if let Some(speed) = self.speed {
            in_range("speed", speed, *SPEEDS.start(), *SPEEDS.end())?;
        }
        for (name, life) in [
            ("inventory_token_seconds", self.inventory_token_seconds),
            ("document_url_seconds", self.document_url_seconds),
        ] {
            in_range(name, life.unwrap_or_default(), 0.0, LONGEST_LIFE_SECONDS)?;
        }
        Ok(())
    }
}

impl Control {
    /// Changes settings and returns those in force.
    ///
    /// # Errors
    /// [`ControlError::OutOfRange`] for a speed outside 0.001 to 1,000,000, or a life that is longer than a day; then nothing
    /// changes.
    pub fn change_settings(&self, change: SettingsChange) -> Result<Settings, ControlError> {
        change.check()?;
        let mut state = self.shared.state();
        if let Some(speed) = change.speed {
            state.pace.change(self.shared.now(), speed);
        }
        let or = |change: Option<bool>, now: bool| change.unwrap_or(now);
        state.leak_buyer_data = or(change.leak_buyer_data, state.leak_buyer_data);
        state.report_gzip = or(change.report_gzip, state.report_gzip);
        state.queues.duplicates = or(change.queue_duplicates, state.queues.duplicates);
        state.queues.out_of_order = or(change.queue_out_of_order, state.queues.out_of_order);
        state.report_charset = change.report_charset.or(state.report_charset);
        if let Some(seconds) = change.inventory_token_seconds {
            state.inventory_token_seconds = seconds;
        }
        if let Some(seconds) = change.document_url_seconds {
            state.document_url_seconds = seconds;
        }
        if let Some(client_secret) = change.client_secret {
            state.sign_in.set_client_secret(client_secret);
        }
        Ok(Settings {
            speed: state.pace.speed(),
            leak_buyer_data: state.leak_buyer_data,
            inventory_token_seconds: state.inventory_token_seconds,
            document_url_seconds: state.document_url_seconds,
            report_charset: state.report_charset,
            report_gzip: state.report_gzip,
            queue_duplicates: state.queues.duplicates,
            queue_out_of_order: state.queues.out_of_order,
            usage_plans: UsagePlan::all(),
        })
    }
}
