//! What a run may use: time, the database, Amazon, keys. All is handed in, so that tests own it.

use std::sync::Arc;

use queue::limit::Budgets;
use runtime::clock::Clock;
use sqlx::PgPool;

use crate::{
    config::AmazonSettings,
    keyring::Keyring,
    notice_queue::NoticeSource,
    sp_api::{SpApi, report_document::ReportDocuments},
};

/// What a run may use.
#[derive(Debug)]
pub struct Context {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The database.
    pub pool: PgPool,
    /// Amazon's Selling Partner API.
    pub sp_api: SpApi,
    /// Where Amazon keeps the documents of reports.
    pub documents: ReportDocuments,
    /// Keys for data at rest.
    pub keyring: Arc<Keyring>,
    /// Where Amazon's notices come from.
    pub notices: NoticeSource,
}

impl Context {
    /// The context that these make.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(
        clock: Arc<dyn Clock>,
        pool: PgPool,
        budgets: Budgets,
        amazon: AmazonSettings,
        keyring: Keyring,
    ) -> Result<Self, reqwest::Error> {
        let documents = ReportDocuments::new(&amazon)?;
        let sp_api = SpApi::new(amazon, budgets, Arc::clone(&clock))?;
        Ok(Self { clock, pool, sp_api, documents, keyring: Arc::new(keyring), notices: NoticeSource::None })
    }

    /// The same, with notices from there.
    #[must_use]
    pub fn with_notices(self, notices: NoticeSource) -> Self {
        Self { notices, ..self }
    }
}
