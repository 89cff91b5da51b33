//! Fetching pages of a seller's orders and storing them, for the kinds that do so: going on, or back through the history.

use queue::{Failure, Outcome, Run, outbox, outbox::NewJob};

use crate::{
    connected::Connected,
    kinds::plan_review_requests::PlanReviewRequests,
    order_windows::{self, PageSearch},
    sp_api::{CallError, answer::Refusal, orders::OrdersPage},
    store::{
        cursors::{self, Cursor},
        orders, sellers,
    },
};

/// A page that is stored.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Orders on it.
    pub(crate) seen: usize,
    /// Orders that were new or changed.
    pub(crate) stored: u64,
    /// The cursor, which has moved.
    pub(crate) cursor: Cursor,
}

/// The orders of one seller, in one direction, as one run goes through them.
pub(crate) struct OrderPages<'a> {
    connected: &'a Connected<'a>,
    run: &'a Run,
    /// Which cursor moves.
    data_set: &'static str,
    /// How many calls of the budget are left to others.
    keep: u64,
    /// Whether a window has begun again in this run.
    begun_again: bool,
}

impl<'a> OrderPages<'a> {
    /// All that a run needs: which cursor moves, and how many calls of the budget are left to others.
    pub(crate) const fn new(
        connected: &'a Connected<'a>,
        run: &'a Run,
        data_set: &'static str,
        keep: u64,
    ) -> Self {
        Self { connected, run, data_set, keep, begun_again: false }
    }

    /// How far it has come; `fresh` if it has never moved.
    pub(crate) async fn cursor(&self, fresh: Cursor) -> Outcome<Cursor> {
        let mut connection = self.connected.context.pool.acquire().await?;
        let cursor = cursors::load(&mut connection, self.connected.seller.id, self.data_set).await?;
        Ok(cursor.unwrap_or(fresh))
    }

    /// Fetches the page and stores it; with the last page of a window, review requests are planned. `None` when Amazon no
    /// longer takes the page token, and the window begins again.
    pub(crate) async fn step(&mut self, cursor: &Cursor, page: &PageSearch) -> Outcome<Option<Stored>> {
        match self.fetch(page).await {
            Ok(answer) => self.save(cursor, page, &answer).await.map(Some),
            Err(error)
                if page.search.page_token.is_some() && error.refusal() == Some(Refusal::InvalidInput) =>
            {
                tracing::info!(
                    seller.id = %self.connected.seller.id,
                    "the page token is no longer taken; the window begins again"
                );
                self.begin_again(cursor).await?;
                Ok(None)
            }
            Err(error) => Err(self.connected.failed(error).await),
        }
    }

    async fn fetch(&self, page: &PageSearch) -> Result<OrdersPage, CallError> {
        let answer = self.connected.call_beside(&page.search.request(), self.keep).await?;
        OrdersPage::parse(&answer.body)
    }

    async fn begin_again(&mut self, cursor: &Cursor) -> Outcome<()> {
        let context = self.connected.context;
        let (seller, now) = (self.connected.seller.id, context.clock.now());
        let mut connection = context.pool.acquire().await?;
        let again = order_windows::begun_again(cursor);
        cursors::advance(&mut connection, seller, self.data_set, cursor, &again, now).await?;
        // Once is an old token. Twice would go on for ever, and use the budget up.
        if std::mem::replace(&mut self.begun_again, true) {
            return Err(Failure::retry("Amazon does not take the page tokens that it gives"));
        }
        Ok(())
    }

    /// Stores the page and moves the cursor in one transaction.
    async fn save(&self, cursor: &Cursor, page: &PageSearch, answer: &OrdersPage) -> Outcome<Stored> {
        let Connected { context, seller, .. } = self.connected;
        let now = context.clock.now();
        let next = page.moved(cursor, answer.next_token(), now);
        let fallback = seller.marketplace_ids.first().map_or("", String::as_str);
        let mut transaction = context.pool.begin().await?;
        // A cursor that moves says so for every marketplace of the seller.
        if !sellers::sells_in(&mut transaction, seller.id, &page.search.marketplace_ids).await? {
            return Err(Failure::retry(
                "the seller connected again or left meanwhile; this page was not stored",
            ));
        }
        let stored = orders::save(&mut transaction, seller.id, &answer.orders, fallback, now).await?;
        if !cursors::advance(&mut transaction, seller.id, self.data_set, cursor, &next, now).await? {
            return Err(Failure::retry("another run moved the cursor meanwhile; this page was not stored"));
        }
        if next.window.is_none() {
            let plan = NewJob::caused_by(&PlanReviewRequests { seller: seller.id }, self.run);
            outbox::enqueue(&mut transaction, &[plan], now).await.map_err(Failure::retry)?;
        }
        transaction.commit().await?;
        Ok(Stored { seen: answer.orders.len(), stored, cursor: next.after_moving() })
    }
}
