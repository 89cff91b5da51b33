//! Stock, listings and sales ranks.

use chrono::{DateTime, TimeDelta, Utc};
use jobs::{
    kinds::{sync_inventory, sync_listings},
    sp_api::{
        Operation,
        catalog::TOGETHER,
        inventory::InventoryPage,
        listings::{ListingsPage, ListingsSearch},
        marketplaces::time_zone,
        request::Success,
    },
};
use serde_json::json;

use super::{Desk, Later};

/// SKUs on a page of stock.
const STOCK_A_PAGE: usize = 50;
/// Amazon's page tokens for stock live so long; the last seconds are not counted on.
const STOCK_TOKEN: TimeDelta = TimeDelta::seconds(25);
/// Listings on a page.
const LISTINGS_A_PAGE: usize = 20;

impl Desk<'_> {
    pub(super) async fn sync_inventory(&self) -> Result<(), Later> {
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

    pub(super) async fn sync_listings(&self) -> Result<(), Later> {
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

    fn page_of_listings(&self, search: &ListingsSearch, marketplace: &str) -> Option<ListingsPage> {
        let ListingsSearch::Created { since, page_token, .. } = search else {
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
}

fn answer(body: &serde_json::Value) -> Success {
    Success { body: body.to_string().into_bytes(), request_id: None }
}
