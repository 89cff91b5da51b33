//! One run of each kind: what comes next is said by the same functions as in a worker; what a worker would store is noted at
//! the seller.

use chrono::{DateTime, TimeDelta, Utc};
use jobs::{
    kinds::{
        backfill_orders,
        plan_review_requests::{MOST_PLANNED, PlanReviewRequests},
        send_review_request::SendReviewRequest,
        sync_inventory, sync_listings,
    },
    order_windows,
    performance::{self, Product, Report, ReportState, Step},
    sp_api::{
        CallError, Operation, Region, catalog::TOGETHER, inventory::InventoryPage, listings::ListingsPage,
        marketplaces::time_zone, request::Success,
    },
    store::{cursors::Cursor, sellers::SellerId},
};
use queue::{
    envelope::Envelope,
    outbox::{Cause, NewJob},
};
use runtime::clock::Clock;
use serde_json::json;

use crate::{
    office::Office,
    sellers::{ReviewState, Stored},
};

/// Orders on a page.
const ORDERS_A_PAGE: usize = 100;
/// SKUs on a page of stock.
const STOCK_A_PAGE: usize = 50;
/// Listings on a page.
const LISTINGS_A_PAGE: usize = 20;
/// How long Amazon makes a report.
const REPORT_TAKES: TimeDelta = TimeDelta::seconds(90);
/// Amazon's page tokens for stock live so long; the last seconds are not counted on.
const STOCK_TOKEN: TimeDelta = TimeDelta::seconds(25);

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

    async fn sync_inventory(&self) -> Result<(), Later> {
        loop {
            let walks = self.stored(|stored| stored.inventory.clone());
            let Some(marketplace) = walks.next(&self.marketplaces, self.job) else { return Ok(()) };
            let walk = walks.over(marketplace);
            let began_at = self.now();
            let mut search = sync_inventory::first_page(&walk, marketplace, began_at);
            let whole = search.changed_since.is_none();
            let skus = self.stored_skus();
            // Of what changed in the meantime, some SKUs.
            let mut left = if whole { skus } else { skus / 20 };
            let mut token_at = began_at;
            loop {
                match self.call(Operation::GetInventorySummaries).await {
                    Ok(()) => {}
                    // Only the first page may be waited for elsewhere: a token dies soon.
                    Err(Later(until)) if search.page_token.is_some() && until - token_at < STOCK_TOKEN => {
                        tokio::time::sleep((until - self.now()).to_std().unwrap_or_default()).await;
                        continue;
                    }
                    Err(later) => return Err(later),
                }
                left = left.saturating_sub(STOCK_A_PAGE);
                token_at = self.now();
                let next = if left > 0 { json!({"nextToken": left.to_string()}) } else { json!({}) };
                let body = json!({"payload": {"inventorySummaries": []}, "pagination": next});
                let Ok(page) = InventoryPage::parse(&answer(&body)) else { return Ok(()) };
                let Some(next) = sync_inventory::next_page(&search, &page) else { break };
                search = next;
            }
            let marketplace = marketplace.to_owned();
            let ended = walk.ended(self.job, began_at, whole);
            self.stored(|stored| stored.inventory.0.insert(marketplace, ended));
        }
    }

    fn stored_skus(&self) -> usize {
        self.office.sellers[self.number as usize].borrow().skus
    }

    async fn sync_listings(&self) -> Result<(), Later> {
        let mut calls = 0;
        loop {
            let walks = self.stored(|stored| stored.listings.clone());
            let Some(marketplace) = walks.next(&self.marketplaces, self.job).map(str::to_owned) else {
                break;
            };
            let walk = walks.over(&marketplace);
            let began_at = walk.under_way.map_or_else(|| self.now(), |under_way| under_way.began_at);
            let mut paging =
                Some(sync_listings::Paging::at(walk.under_way.and_then(|under_way| under_way.place)));
            while let Some(place) = paging {
                self.one_of(&mut calls, Operation::SearchListingsItems).await?;
                let page = self.page_of_listings(&place.search(&marketplace), &marketplace);
                paging = page.and_then(|page| place.after(&page, &marketplace));
            }
            let ended = walk.ended(self.job, began_at, true);
            self.stored(|stored| stored.listings.0.insert(marketplace, ended));
        }
        self.ask_for_ranks(&mut calls).await
    }

    /// One of the calls of a run, or a rest when there were enough.
    async fn one_of(&self, calls: &mut u32, operation: Operation) -> Result<(), Later> {
        if *calls == sync_listings::MOST_CALLS {
            return Err(Later(self.now() + sync_listings::REST));
        }
        *calls += 1;
        self.call(operation).await
    }

    fn page_of_listings(
        &self,
        search: &jobs::sp_api::listings::ListingsSearch,
        marketplace: &str,
    ) -> Option<ListingsPage> {
        let jobs::sp_api::listings::ListingsSearch::Created { since, page_token, .. } = search else {
            return None;
        };
        let skus = self.stored_skus();
        let created = |number: usize| {
            self.office.beginning - TimeDelta::minutes(i64::try_from(skus - number).unwrap_or(0))
        };
        let first =
            (0..skus).position(|number| since.is_none_or(|since| created(number) >= since)).unwrap_or(skus);
        let seen: usize = page_token.as_deref().and_then(|token| token.parse().ok()).unwrap_or(0);
        let here = (first + seen)..(first + seen + LISTINGS_A_PAGE).min(skus);
        let items: Vec<_> = here
            .clone()
            .map(|number| {
                let created = created(number).to_rfc3339();
                json!({"sku": number.to_string(), "summaries": [{"marketplaceId": marketplace, "createdDate": created}]})
            })
            .collect();
        let next =
            if here.end < skus { json!({"nextToken": (here.end - first).to_string()}) } else { json!({}) };
        let body = json!({"numberOfResults": skus - first, "items": items, "pagination": next});
        ListingsPage::parse(&answer(&body)).ok()
    }

    /// Sales ranks once a marketplace's day, twenty products a call.
    async fn ask_for_ranks(&self, calls: &mut u32) -> Result<(), Later> {
        let skus = self.stored_skus();
        for (place, marketplace) in self.marketplaces.iter().enumerate() {
            loop {
                let day = self.now().with_timezone(&time_zone(marketplace)).date_naive();
                let same_day =
                    |at: DateTime<Utc>| at.with_timezone(&time_zone(marketplace)).date_naive() == day;
                let asked = self.stored(|stored| match stored.ranks[place] {
                    (Some(at), asked) if same_day(at) => asked,
                    _ => 0,
                });
                if asked >= skus {
                    break;
                }
                self.one_of(calls, Operation::SearchCatalogItems).await?;
                let now = self.now();
                self.stored(|stored| stored.ranks[place] = (Some(now), asked + TOGETHER));
            }
        }
        Ok(())
    }

    async fn sync_performance(&self) -> Result<(), Later> {
        self.note_late_products();
        let mut asked = 0;
        loop {
            let now = self.now();
            let step = self.stored(|stored| performance::next_step(&stored.performance, now));
            match step {
                Step::Marketplace(id) => {
                    self.call(Operation::GetOrderMetrics).await?;
                    let now = self.now();
                    self.stored(|stored| {
                        let of_it =
                            stored.performance.marketplaces.iter_mut().filter(|(known, _)| *known == id);
                        of_it.for_each(|(_, at)| *at = Some(now));
                    });
                }
                Step::Product(product) => {
                    if asked == PRODUCTS_A_RUN {
                        return Err(Later(self.now()));
                    }
                    asked += 1;
                    self.call(Operation::GetOrderMetrics).await?;
                    let now = self.now();
                    self.stored(|stored| {
                        let known = stored.performance.products.iter_mut().find(|known| **known == product);
                        known.into_iter().for_each(|known| known.asked_at = Some(now));
                    });
                }
                Step::AskForReport(report_type, marketplace_id) => {
                    self.call(Operation::CreateReport).await?;
                    let now = self.now();
                    let report = Report {
                        report_type,
                        marketplace_id,
                        report_id: "1".to_owned(),
                        asked_at: now,
                        data_from: performance::data_from(report_type, now),
                        state: ReportState::Asked { looks: 0, next_look_at: performance::next_look(0, now) },
                    };
                    self.stored(|stored| stored.becomes(report));
                }
                Step::Look(report) => {
                    self.call(Operation::GetReport).await?;
                    let now = self.now();
                    let looks =
                        if let ReportState::Asked { looks, .. } = report.state { looks + 1 } else { 0 };
                    let state = if now - report.asked_at >= REPORT_TAKES {
                        ReportState::Ready { document_id: "d".to_owned() }
                    } else {
                        ReportState::Asked { looks, next_look_at: performance::next_look(looks, now) }
                    };
                    self.stored(|stored| stored.becomes(Report { state, ..report }));
                }
                Step::Fetch(report) => {
                    self.call(Operation::GetReportDocument).await?;
                    self.stored(|stored| stored.becomes(Report { state: ReportState::Ended, ..report }));
                }
                Step::GiveUp(report) => {
                    self.stored(|stored| stored.becomes(Report { state: ReportState::Ended, ..report }));
                }
                Step::Wait(until) => return Err(Later(until)),
                Step::Nothing => return Ok(()),
            }
        }
    }

    /// The products that were ordered lately need figures once a day.
    fn note_late_products(&self) {
        let now = self.now();
        let mut seller = self.office.sellers[self.number as usize].borrow_mut();
        let (sold, marketplaces) = (seller.products_sold, seller.marketplaces.len().max(1));
        let performance = &mut seller.stored.performance;
        if performance.products.is_empty() {
            for number in 0..sold {
                let marketplace_id = performance.marketplaces[number % marketplaces].0.clone();
                let product =
                    Product { marketplace_id, asin: format!("B{number:09}"), wanted_at: now, asked_at: None };
                performance.products.push(product);
            }
        }
        for product in &mut performance.products {
            if now - product.wanted_at >= performance::FRESH {
                product.wanted_at = now;
            }
        }
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

/// As `sync_performance` has it: then a run makes way for other sellers.
const PRODUCTS_A_RUN: u32 = 50;

impl Stored {
    /// Notes how a report is now.
    fn becomes(&mut self, report: Report) {
        let same = |known: &&mut Report| {
            known.report_type == report.report_type && known.marketplace_id == report.marketplace_id
        };
        match self.performance.reports.iter_mut().find(same) {
            Some(known) => *known = report,
            None => self.performance.reports.push(report),
        }
    }

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

fn answer(body: &serde_json::Value) -> Success {
    Success { body: body.to_string().into_bytes(), request_id: None }
}
