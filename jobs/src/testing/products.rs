//! What a shop sells, as the sandbox and our tables tell it.

use chrono::TimeDelta;
use queue::Outcome;
use runtime::clock::Clock;
use sandbox::{ChangedProducts, ParticipationRecord, ProductChanges, ProductRecord};

use super::Shop;
use crate::kinds::{
    sync_inventory::{StockSynced, SyncInventory},
    sync_listings::{ListingsSynced, SyncListings},
    sync_participations::{ParticipationsSynced, SyncParticipations},
};

impl Shop {
    /// Syncs the stock in a new job.
    pub(crate) async fn sync_stock(&self) -> Outcome<StockSynced> {
        self.run(&SyncInventory { seller: self.seller }).await
    }

    /// Syncs listings and ranks in a new job.
    pub(crate) async fn sync_listings(&self) -> Outcome<ListingsSynced> {
        self.run(&SyncListings { seller: self.seller }).await
    }

    /// Syncs where the seller sells in a new job.
    pub(crate) async fn sync_participations(&self) -> Outcome<ParticipationsSynced> {
        self.run(&SyncParticipations { seller: self.seller }).await
    }

    /// Lets products appear, change (those that were quiet for longest) and go (the same).
    pub(crate) fn change_products(&self, count: usize, touch: usize, delete: usize) -> ChangedProducts {
        self.change_products_ago(0, count, touch, delete)
    }

    /// The same so many seconds ago.
    pub(crate) fn change_products_ago(
        &self,
        seconds_ago: u32,
        count: usize,
        touch: usize,
        delete: usize,
    ) -> ChangedProducts {
        let seller = self.account.selling_partner_id.clone();
        let changes = ProductChanges { seller, count, touch, delete, seconds_ago };
        self.sandbox.control().change_products(&changes).expect("the seller is known")
    }

    /// Lets the seller join or leave a marketplace.
    pub(crate) fn participate(&self, marketplace_id: &str, is_participating: bool) {
        let change = ParticipationRecord {
            marketplace_id: marketplace_id.to_owned(),
            is_participating,
            has_suspended_listings: false,
        };
        let seller = &self.account.selling_partner_id;
        self.sandbox.control().change_participation(seller, &change).expect("both are known");
    }

    /// Lets it be noon, so that no day of a European marketplace ends while a test runs.
    pub(crate) fn let_it_be_noon(&self) {
        let now = self.clock.now();
        let noon = now.date_naive().and_hms_opt(12, 0, 0).expect("there is a noon").and_utc();
        self.clock.advance(noon + TimeDelta::days(1) - now);
    }

    /// What Amazon knows of the seller's products, where this shop is synced.
    pub(crate) async fn products(&self) -> Vec<ProductRecord> {
        let synced = self.seller().await.marketplace_ids;
        let products = self.sandbox.control().products(&self.account.selling_partner_id);
        let products = products.expect("the seller is known").into_iter();
        products.filter(|product| synced.contains(&product.marketplace_id)).collect()
    }

    /// Compares the stock stored here with what Amazon knows, line by line.
    pub(crate) async fn assert_stock_stored(&self) {
        let fba = |product: &ProductRecord| product.fulfilled_by_amazon;
        let told: Vec<_> = self
            .products()
            .await
            .iter()
            .filter(|product| fba(product))
            .map(|product| {
                let stock = &product.stock;
                format!(
                    "{} {} {} {} {} {} {} {} {} {} {} {} {}",
                    product.marketplace_id,
                    product.sku,
                    product.asin,
                    product.fn_sku,
                    stock.total,
                    stock.fulfillable,
                    stock.inbound_working,
                    stock.inbound_shipped,
                    stock.inbound_receiving,
                    stock.reserved,
                    stock.researching,
                    stock.unfulfillable,
                    product.stock_updated_time.timestamp(),
                )
            })
            .collect();
        let query = "select concat_ws(' ', marketplace_id, seller_sku, asin, fnsku, total, fulfillable, inbound_working,
             inbound_shipped, inbound_receiving, reserved, researching, unfulfillable,
             extract(epoch from last_updated_at)::bigint) from inventory where gone_at is null";
        self.assert_same(query, told).await;
    }

    /// Compares the listings and their issues stored here with what Amazon knows, line by line.
    pub(crate) async fn assert_listings_stored(&self) {
        let told = self.products().await.into_iter().map(|product| {
            let mut issues: Vec<_> =
                product.issues.iter().map(|issue| format!("{}:{}", issue.code, issue.severity)).collect();
            issues.sort();
            format!(
                "{}|{}|{}|{}|{}|{}|{}|{}|{}|{}",
                product.marketplace_id,
                product.sku,
                product.asin,
                product.title,
                product.product_type,
                product.buyable,
                product.discoverable,
                product.created_time.timestamp(),
                product.last_updated_time.timestamp(),
                issues.join(","),
            )
        });
        let query = "select concat_ws('|', marketplace_id, seller_sku, asin, item_name, product_type, is_buyable::text,
             is_discoverable::text, extract(epoch from created_at)::bigint, extract(epoch from last_updated_at)::bigint,
             (select coalesce(string_agg(code || ':' || severity, ',' order by code), '') from listing_issues i
              where (i.seller_id, i.marketplace_id, i.seller_sku) = (l.seller_id, l.marketplace_id, l.seller_sku)))
             from listings l where gone_at is null";
        self.assert_same(query, told.collect()).await;
    }

    /// Compares the latest ranks stored here with what Amazon knows, line by line.
    pub(crate) async fn assert_ranks_stored(&self) {
        let told = self.products().await.into_iter().flat_map(|product| {
            let line =
                |kind: &str, rank| format!("{} {} {kind} {rank}", product.marketplace_id, product.asin);
            [line("classification", product.class_rank), line("display_group", product.group_rank)]
        });
        let query = "select concat_ws(' ', marketplace_id, asin, kind, rank) from sales_ranks r
             where day = (select max(day) from sales_ranks m where m.marketplace_id = r.marketplace_id) and exists (select from listings l where l.asin = r.asin and gone_at is null)";
        self.assert_same(query, told.collect()).await;
    }

    async fn assert_same(&self, query: &'static str, mut told: Vec<String>) {
        let mut stored = self.lines(query).await;
        stored.sort();
        told.sort();
        assert!(!told.is_empty(), "it looks at the right products");
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|line| !those.contains(line)).cloned().collect()
        };
        let (here, there) = (only(&stored, &told), only(&told, &stored));
        assert!(here.is_empty() && there.is_empty(), "only here: {here:#?}\nonly at Amazon: {there:#?}");
        assert_eq!(stored.len(), told.len(), "something is stored twice");
    }

    /// The texts that a query answers, in its order.
    pub(crate) async fn lines(&self, query: &'static str) -> Vec<String> {
        sqlx::query_scalar(query).fetch_all(&self.context.pool).await.expect("it can be read")
    }
}
