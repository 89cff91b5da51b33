//! One run of each kind: what comes next is said by the same functions as in a worker; what a worker would store is noted at
//! the seller.

mod performance;
mod products;

use chrono::{DateTime, TimeDelta, Utc};
use jobs::{
    kinds::{
        backfill_orders,
        plan_review_requests::{MOST_PLANNED, PlanReviewRequests},
        send_review_request::SendReviewRequest,
    },
    order_windows,
    sp_api::{CallError, Operation, Region},
    store::{cursors::Cursor, sellers::SellerId},
};
use queue::{
    envelope::Envelope,
    outbox::{Cause, NewJob},
};
use runtime::clock::Clock;

use crate::{
    office::Office,
    sellers::{ReviewState, Stored},
};

/// Orders on a page.
const ORDERS_A_PAGE: usize = 100;

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    /// The job is done.
    Done,
    /// It goes on at this moment.
    Snooze(DateTime<Utc>),
}

/// Why a run ends early: it goes on at this moment.
struct Later(DateTime<Utc>);

/// Runs a job of a seller once.
pub(crate) async fn run(office: &Office, seller: u32, envelope: &Envelope) -> Run {
    let desk = Desk::of(office, seller, envelope);
    let run = match envelope.kind.as_str() {
        "sync_orders" => desk.sync_orders().await,
        "backfill_orders" => desk.backfill_orders().await,
        "sync_inventory" => desk.sync_inventory().await,
        "sync_listings" => desk.sync_listings().await,
        "sync_performance" => desk.sync_performance().await,
        "sync_participations" => desk.sync_participations().await,
        "plan_review_requests" => desk.plan_review_requests().await,
        "send_review_request" => desk.send_review_request(&envelope.payload).await,
        _ => Ok(()),
    };
    match run {
        Ok(()) => Run::Done,
        Err(Later(until)) => Run::Snooze(until),
    }
}

/// One job at work for one seller.
struct Desk<'a> {
    office: &'a Office,
    number: u32,
    id: SellerId,
    region: Region,
    marketplaces: Vec<String>,
    job: queue::JobId,
    ticket: String,
}

impl<'a> Desk<'a> {
    fn of(office: &'a Office, number: u32, envelope: &Envelope) -> Self {
        let seller = office.sellers[number as usize].borrow();
        Self {
            office,
            number,
            id: seller.id,
            region: seller.region,
            marketplaces: seller.marketplaces.clone(),
            job: envelope.id,
            ticket: envelope.id.to_string(),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.office.clock.now()
    }

    fn stored<T>(&self, act: impl FnOnce(&mut Stored) -> T) -> T {
        act(&mut self.office.sellers[self.number as usize].borrow_mut().stored)
    }

    /// A permit, then the call.
    async fn call(&self, operation: Operation) -> Result<(), Later> {
        let permit = self.office.permits.of_seller(self.id, self.region, operation, &self.ticket).await;
        permit.map(drop).map_err(|error| self.later(&error))?;
        let called = self.office.amazon.call(self.number, self.region, operation).await;
        // Amazon's bucket was empty though our budget was not: that is counted, and must not be.
        called.map_err(|_| Later(self.now() + TimeDelta::minutes(1)))
    }

    fn later(&self, error: &CallError) -> Later {
        match error {
            CallError::Wait { until, .. } => Later(*until),
            CallError::Resting { resting, .. } => Later(resting.until),
            _ => Later(self.now() + TimeDelta::minutes(1)),
        }
    }

    async fn enqueue(&self, job: NewJob) {
        self.office.enqueue(job).await;
    }

    async fn sync_orders(&self) -> Result<(), Later> {
        loop {
            let cursor = self.stored(|stored| stored.orders.clone());
            let page = order_windows::next_page(&cursor, &self.marketplaces, self.now());
            self.call(Operation::SearchOrders).await?;
            let next = self.page_of_orders(&cursor, &page);
            self.stored(|stored| stored.orders = next.clone());
            if next.window.is_none() {
                break;
            }
        }
        self.enqueue(NewJob::of(&PlanReviewRequests { seller: self.id }, Cause::Job(self.job))).await;
        Ok(())
    }

    async fn backfill_orders(&self) -> Result<(), Later> {
        loop {
            let cursor = self.stored(|stored| stored.history.clone());
            let Some(page) = order_windows::next_page_back(&cursor, &self.marketplaces, self.now()) else {
                return Ok(());
            };
            let room =
                self.office.permits.room_beside(self.id, Operation::SearchOrders, backfill_orders::KEEP);
            room.await.map_err(|error| self.later(&error))?;
            self.call(Operation::SearchOrders).await?;
            let next = self.page_of_orders(&cursor, &page);
            if next.window.is_none() {
                let mut seller = self.office.sellers[self.number as usize].borrow_mut();
                // Orders that were placed longer ago have no open window any more.
                let recent = self.now() - TimeDelta::days(35);
                let mut random = self.office.random.borrow_mut();
                if page.end() < cursor.reached && cursor.reached > recent {
                    seller.learns_of(page.end().max(recent), cursor.reached, self.now(), &mut random);
                }
            }
            let window_is_done = next.window.is_none();
            self.stored(|stored| stored.history = next);
            if window_is_done {
                self.enqueue(NewJob::of(&PlanReviewRequests { seller: self.id }, Cause::Job(self.job))).await;
            }
        }
    }

    /// The cursor after a page, which has a next one while more orders changed in its window.
    fn page_of_orders(&self, cursor: &Cursor, page: &order_windows::PageSearch) -> Cursor {
        let search = &page.search;
        let (from, until) = (search.last_updated_after, search.last_updated_before);
        let changed =
            self.office.sellers[self.number as usize].borrow().changed(from, until, self.office.beginning);
        let seen: usize = search.page_token.as_deref().and_then(|token| token.parse().ok()).unwrap_or(0);
        let token = (seen + ORDERS_A_PAGE < changed).then(|| (seen + ORDERS_A_PAGE).to_string());
        page.moved(cursor, token.as_deref(), self.now())
    }

    async fn sync_participations(&self) -> Result<(), Later> {
        self.call(Operation::GetMarketplaceParticipations).await?;
        let now = self.now();
        self.stored(|stored| stored.participations_at = Some(now));
        Ok(())
    }

    /// Plans requests for the orders whose windows are open, the one that ends first first.
    async fn plan_review_requests(&self) -> Result<(), Later> {
        let now = self.now();
        let planned: Vec<usize> = self.stored(|stored| {
            let open = (stored.reviews_done_before..).zip(&stored.reviews[stored.reviews_done_before..]);
            let mut due: Vec<_> = open
                .filter(|(_, review)| review.opens_at <= now && review.closes_at > now)
                .filter(|(_, review)| match review.state {
                    ReviewState::Open => true,
                    ReviewState::NotOffered(next) => next <= now,
                    ReviewState::Sent => false,
                })
                .map(|(place, review)| (review.closes_at, place))
                .collect();
            due.sort_unstable();
            due.into_iter().take(usize::try_from(MOST_PLANNED).unwrap_or(0)).map(|(_, place)| place).collect()
        });
        for place in planned {
            let request = SendReviewRequest { seller: self.id, order: place.to_string() };
            self.enqueue(NewJob::of(&request, Cause::Job(self.job))).await;
        }
        Ok(())
    }

    async fn send_review_request(&self, payload: &[u8]) -> Result<(), Later> {
        let Ok(request) = serde_json::from_slice::<SendReviewRequest>(payload) else { return Ok(()) };
        let Ok(place) = request.order.parse::<usize>() else { return Ok(()) };
        let now = self.now();
        let review = self.stored(|stored| stored.reviews[place]);
        if review.state == ReviewState::Sent || review.closes_at <= now {
            return Ok(());
        }
        self.call(Operation::GetSolicitationActions).await?;
        let state = if review.offered {
            self.call(Operation::RequestReview).await?;
            ReviewState::Sent
        } else {
            ReviewState::NotOffered(self.now() + TimeDelta::days(1))
        };
        self.stored(|stored| {
            stored.reviews[place].state = state;
            while stored
                .reviews
                .get(stored.reviews_done_before)
                .is_some_and(|review| review.state == ReviewState::Sent)
            {
                stored.reviews_done_before += 1;
            }
        });
        Ok(())
    }
}

impl Stored {
    /// How far each data set reaches; those that were never synced since the seller connected.
    pub(crate) fn reached(&self, connected_at: DateTime<Utc>) -> Vec<(&'static str, DateTime<Utc>)> {
        let oldest = |moments: Vec<Option<DateTime<Utc>>>| {
            moments.into_iter().map(|at| at.unwrap_or(connected_at)).min().unwrap_or(connected_at)
        };
        let walked =
            |walks: &jobs::store::walks::Walks| walks.0.values().map(|walk| walk.synced_at).collect();
        vec![
            ("orders", self.orders.reached),
            ("inventory", oldest(walked(&self.inventory))),
            ("listings", oldest(walked(&self.listings))),
            ("sales_ranks", oldest(self.ranks.iter().map(|(at, _)| *at).collect())),
            ("performance", oldest(self.performance.marketplaces.iter().map(|(_, at)| *at).collect())),
            ("participations", oldest(vec![self.participations_at])),
        ]
    }
}
