//! What every kind that calls Amazon for a seller has in common: the seller must be connected, and a refused authorisation
//! is the seller's, not the job's.

use queue::{Failure, Outcome};

use crate::{
    context::Context,
    sp_api::{CallError, auth::AuthError},
    store::sellers::{self, Seller, SellerId},
};

/// The seller, unless it is gone or its authorisation no longer holds.
pub(crate) async fn load_seller(context: &Context, id: SellerId) -> Outcome<Option<Seller>> {
    let mut connection = context.pool.acquire().await?;
    let seller = sellers::get(&mut connection, id).await.map_err(Failure::retry)?;
    match seller {
        Some(seller) if seller.active => Ok(Some(seller)),
        _ => {
            tracing::info!(seller.id = %id, "nothing to do: the seller is not connected");
            Ok(None)
        }
    }
}

/// A failure for an error of Amazon's; a refused authorisation is noted at the seller, so that its other jobs rest too.
pub(crate) async fn amazon_failed(context: &Context, seller: &Seller, error: CallError) -> Failure {
    if matches!(error, CallError::Auth(AuthError::GrantRefused)) {
        let noted = async {
            let mut connection = context.pool.acquire().await?;
            sellers::needs_reauthorisation(&mut connection, seller, "Amazon refused the authorisation").await
        };
        if let Err(database) = noted.await {
            return database.into();
        }
        tracing::warn!(seller.id = %seller.id, "the seller must connect again: Amazon refused the authorisation");
    }
    error.into_failure(context.clock.now())
}
