//! Fetching pages of a seller's orders and storing them, for the kinds that do so: going on, or back through the history.

use queue::{Failure, Outcome, outbox, outbox::NewJob};

use crate::{
    connected::Connected,
    order_windows::{self, PageSearch},
    sp_api::{CallError, answer::Refusal, orders::OrdersPage},
    store::{
        cursors::{self, Cursor},
        orders, sellers,
    },
};

/// What became of a step.
#[derive(Debug)]
pub(crate) enum Step {
    /// A page is stored, and the cursor has moved.
    Stored {
        /// Orders on it.
        seen: usize,
        /// Orders that were new or changed.
        stored: u64,
        /// The cursor now.
        cursor: Cursor,
    },
    /// Amazon no longer takes the page token; the window begins again.
    BegunAgain,
}

/// The orders of one seller, in one direction.
pub(crate) struct OrderPages<'a> {
    pub(crate) connected: &'a Connected<'a>,
    /// Which cursor moves.
    pub(crate) data_set: &'static str,
    /// How many calls of the budget are left to others.
    pub(crate) keep: u64,
}

impl OrderPages<'_> {
    /// How far it has come; `None` if it has never moved.
    pub(crate) async fn cursor(&self) -> Outcome<Option<Cursor>> {
        let mut connection = self.connected.context.pool.acquire().await?;
        Ok(cursors::load(&mut connection, self.connected.seller.id, self.data_set).await?)
    }

    /// Fetches the page and stores it. With the last page of a window, `after_a_window` is enqueued.
    pub(crate) async fn step(
        &self,
        cursor: &Cursor,
        page: &PageSearch,
        after_a_window: Option<NewJob>,
    ) -> Outcome<Step> {
        match self.fetch(page).await {
            Ok(answer) => self.save(cursor, page, &answer, after_a_window).await,
            Err(error)
                if page.search.page_token.is_some() && error.refusal() == Some(Refusal::InvalidInput) =>
            {
                tracing::info!(
                    seller.id = %self.connected.seller.id,
                    "the page token is no longer taken; the window begins again"
                );
                self.begin_again(cursor).await?;
                Ok(Step::BegunAgain)
            }
            Err(error) => Err(self.connected.failed(error).await),
        }
    }

    async fn fetch(&self, page: &PageSearch) -> Result<OrdersPage, CallError> {
        let answer = self.connected.call_beside(&page.search.request(), self.keep).await?;
        OrdersPage::parse(&answer.body)
    }

    async fn begin_again(&self, cursor: &Cursor) -> Outcome<()> {
        let context = self.connected.context;
        let (seller, now) = (self.connected.seller.id, context.clock.now());
        let mut connection = context.pool.acquire().await?;
        let again = order_windows::begun_again(cursor);
        cursors::advance(&mut connection, seller, self.data_set, cursor, &again, now).await?;
        Ok(())
    }

    /// Stores the page and moves the cursor in one transaction.
    async fn save(
        &self,
        cursor: &Cursor,
        page: &PageSearch,
        answer: &OrdersPage,
        after_a_window: Option<NewJob>,
    ) -> Outcome<Step> {
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
        if let Some(job) = after_a_window.filter(|_| next.window.is_none()) {
            outbox::enqueue(&mut transaction, &[job], now).await.map_err(Failure::retry)?;
        }
        transaction.commit().await?;
        Ok(Step::Stored { seen: answer.orders.len(), stored, cursor: next.after_moving() })
    }
}
