//! What every kind that calls Amazon for a seller has in common: the seller must be connected, a call needs a permit, and a
//! refused authorisation is the seller's, not the job's.

use std::time::Duration;

use queue::{Failure, Outcome, Policy, Run};
use runtime::secret::SecretString;

use crate::{
    context::Context,
    sp_api::{
        CallError,
        auth::AuthError,
        request::{Request, Success},
    },
    store::sellers::{self, Seller, SellerId},
};

/// What a kind that calls Amazon for a seller asks of the engine: attempts for a day of Amazon being ill, at half an hour
/// each, and one job like it at a time.
pub(crate) const AMAZONS: Policy =
    Policy::sync().max_attempts(60).delays(Duration::from_secs(2), Duration::from_secs(1_800)).unique();

/// Why a run of a seller who is not connected did nothing.
pub(crate) const NOT_CONNECTED: &str = "the seller is not connected";

/// A connected seller, as one run deals with Amazon for it.
#[derive(Debug)]
pub(crate) struct Connected<'a> {
    pub(crate) context: &'a Context,
    pub(crate) seller: Seller,
    pub(crate) refresh_token: SecretString,
    /// Who asks the budgets: the job, which holds one slot of each at a time.
    pub(crate) ticket: String,
}

impl<'a> Connected<'a> {
    /// The seller, unless it is gone or its authorisation no longer holds.
    pub(crate) async fn open(context: &'a Context, id: SellerId, run: &Run) -> Outcome<Option<Self>> {
        let Some(seller) = load_seller(context, id).await? else { return Ok(None) };
        let refresh_token = seller.refresh_token(&context.keyring).map_err(Failure::reject)?;
        Ok(Some(Self { context, seller, refresh_token, ticket: run.id.to_string() }))
    }

    /// Makes a call as soon as the budget has one: at once or within a second, else [`CallError::Wait`] says when.
    pub(crate) async fn call(&self, request: &Request) -> Result<Success, CallError> {
        let sp_api = &self.context.sp_api;
        let permit = sp_api.permit(&self.seller, request.operation(), &self.ticket).await?;
        sp_api.call(permit, &self.seller, &self.refresh_token, request).await
    }

    /// The same, but only while more than `keep` calls are left in the budget: those are for others.
    pub(crate) async fn call_beside(&self, request: &Request, keep: u64) -> Result<Success, CallError> {
        if keep > 0 {
            self.context.sp_api.room_beside(&self.seller, request.operation(), keep).await?;
        }
        self.call(request).await
    }

    /// A failure for an error of Amazon's; a refused authorisation is noted at the seller, so that its other jobs rest too.
    pub(crate) async fn failed(&self, error: CallError) -> Failure {
        let Self { context, seller, .. } = self;
        if matches!(error, CallError::Auth(AuthError::GrantRefused)) {
            let noted = async {
                let mut connection = context.pool.acquire().await?;
                let reason = "Amazon refused the authorisation";
                sellers::needs_reauthorisation(&mut connection, seller, reason, context.clock.now()).await
            };
            if let Err(database) = noted.await {
                return database.into();
            }
            tracing::warn!(seller.id = %seller.id, "the seller must connect again: Amazon refused the authorisation");
        }
        error.into_failure(context.clock.now())
    }
}

/// The seller, unless it is gone or its authorisation no longer holds.
pub(crate) async fn load_seller(context: &Context, id: SellerId) -> Outcome<Option<Seller>> {
    let mut connection = context.pool.acquire().await?;
    let seller = sellers::get(&mut connection, id).await.map_err(Failure::retry)?;
    match seller {
        Some(seller) if seller.active => Ok(Some(seller)),
        _ => {
            tracing::info!(seller.id = %id, "nothing to do: {NOT_CONNECTED}");
            Ok(None)
        }
    }
}
