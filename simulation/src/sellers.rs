//! What sellers are like: most are small, a few are huge, some connect during the day. All follows from the seed.

use chrono::{DateTime, TimeDelta, Utc};
use jobs::{
    kinds::{
        sync_inventory::SyncInventory, sync_listings::SyncListings, sync_orders::SyncOrders,
        sync_participations::SyncParticipations, sync_performance::SyncPerformance,
    },
    order_windows,
    performance::Standing,
    sp_api::{Region, marketplaces::MARKETPLACES},
    store::{
        cursors::Cursor,
        review_requests,
        sellers::SellerId,
        walks::{Walk, Walks},
    },
};
use queue::{Job, JobId};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use uuid::Uuid;

use crate::schedules;

/// How often an order changes from being placed to being delivered.
const CHANGES_AN_ORDER: f64 = 3.0;
/// Of a hundred orders, those whose buyers do not want to be asked: Amazon never offers a request for them.
const NEVER_OFFERED: f64 = 0.08;
/// Of a hundred sellers, those that connect during the first hours.
const NEWCOMERS: f64 = 0.01;
/// Orders are told of in their windows for so long.
const WINDOW_DAYS: i64 = 25;

/// A seller, as both sides know it.
#[derive(Debug)]
pub(crate) struct Seller {
    pub(crate) id: SellerId,
    pub(crate) region: Region,
    pub(crate) marketplaces: Vec<String>,
    /// When it connected; later than the beginning for a newcomer.
    pub(crate) connected_at: DateTime<Utc>,
    pub(crate) orders_a_day: f64,
    /// SKUs in each marketplace.
    pub(crate) skus: usize,
    /// Products that were ordered lately.
    pub(crate) products_sold: usize,
    /// Seconds since the beginning at which one of its orders changes, in order.
    changes: Vec<u32>,
    /// What we have stored.
    pub(crate) stored: Stored,
}

/// What our tables would hold of a seller.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) orders: Cursor,
    pub(crate) history: Cursor,
    pub(crate) inventory: Walks,
    pub(crate) listings: Walks,
    /// Sales ranks: for each marketplace, how many products were asked about since its day began, and which day that is.
    pub(crate) ranks: Vec<(Option<DateTime<Utc>>, usize)>,
    pub(crate) performance: Standing,
    pub(crate) participations_at: Option<DateTime<Utc>>,
    /// Orders that are known to be shipped, and their review requests.
    pub(crate) reviews: Vec<Review>,
    /// Those before this one need nothing any more.
    pub(crate) reviews_done_before: usize,
}

/// An order's review request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Review {
    pub(crate) opens_at: DateTime<Utc>,
    pub(crate) closes_at: DateTime<Utc>,
    /// Whether Amazon offers it.
    pub(crate) offered: bool,
    pub(crate) state: ReviewState,
}

/// How a review request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReviewState {
    /// Nothing was done yet.
    Open,
    /// Amazon was asked, and did not offer it; it is asked again then.
    NotOffered(DateTime<Utc>),
    /// Amazon took it.
    Sent,
}

/// A bell-shaped number on a logarithmic scale: `median`, and how far two thirds lie from it, as a factor.
fn around(random: &mut StdRng, median: f64, factor: f64) -> f64 {
    // The sum of twelve fair numbers is as good as a bell.
    let bell = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
    median * factor.powf(bell)
}

/// How busy an hour is, a day being 1 on average: quiet at night, most in the evening.
fn busy(hour: f64) -> f64 {
    1.0 + 0.7 * ((hour - 15.0) / 24.0 * std::f64::consts::TAU).cos()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "numbers of things a shop has"
)]
impl Seller {
    /// The seller with this number.
    pub(crate) fn new(number: u32, seed: u64, beginning: DateTime<Utc>, length: TimeDelta) -> Self {
        let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number)));
        let id = SellerId(Uuid::from_u64_pair(random.random(), random.random()));
        let region = match random.random::<f64>() {
            x if x < 0.6 => Region::Eu,
            x if x < 0.9 => Region::Na,
            _ => Region::Fe,
        };
        let all: Vec<_> = MARKETPLACES.iter().filter(|marketplace| marketplace.region == region).collect();
        let count = random.random_range(1..=4).min(all.len());
        let marketplaces =
            all[..count].iter().map(|marketplace| marketplace.id.to_owned()).collect::<Vec<_>>();
        let orders_a_day = around(&mut random, 6.0, 3.5).min(3_000.0);
        let skus = (around(&mut random, 30.0, 3.0) as usize).clamp(3, 3_000);
        let products_sold = skus.min(1 + (orders_a_day * 2.0) as usize);
        let newcomer = random.random::<f64>() < NEWCOMERS;
        let connected_at = if newcomer {
            beginning + TimeDelta::seconds(random.random_range(0..6 * 3_600))
        } else {
            beginning - TimeDelta::days(random.random_range(60..300))
        };
        let changes = changes(&mut random, orders_a_day, length);
        let count = marketplaces.len();
        let mut seller = Self {
            id,
            region,
            connected_at,
            orders_a_day,
            skus,
            products_sold,
            changes,
            stored: Stored {
                orders: order_windows::fresh(connected_at),
                history: order_windows::fresh(connected_at),
                inventory: Walks::default(),
                listings: Walks::default(),
                ranks: vec![(None, 0); count],
                performance: Standing {
                    marketplaces: marketplaces.iter().map(|id| (id.clone(), None)).collect(),
                    ..Standing::default()
                },
                participations_at: None,
                reviews: Vec::new(),
                reviews_done_before: 0,
            },
            marketplaces,
        };
        if !newcomer {
            seller.has_been_here_long(&mut random, beginning, length);
        }
        seller
    }

    /// Whether it is connected.
    pub(crate) fn is_connected(&self, now: DateTime<Utc>) -> bool {
        self.connected_at <= now
    }

    /// How many orders changed in a span of time.
    pub(crate) fn changed(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        beginning: DateTime<Utc>,
    ) -> usize {
        let second = |at: DateTime<Utc>| (at - beginning).num_seconds().clamp(0, i64::from(u32::MAX)) as u32;
        let known = self.changes.partition_point(|change| *change < second(until))
            - self.changes.partition_point(|change| *change < second(from));
        // Before the beginning nobody has counted.
        let before = (beginning.min(until) - from).max(TimeDelta::zero());
        known + (before.as_seconds_f64() / 86_400.0 * self.orders_a_day * CHANGES_AN_ORDER) as usize
    }

    /// When its orders change from now on.
    pub(crate) fn changes(&self) -> &[u32] {
        &self.changes
    }

    /// The orders of a part of its history have become known, as far as a review may be requested for them.
    pub(crate) fn learns_of(
        &mut self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
        random: &mut StdRng,
    ) {
        let days = ((until - from).as_seconds_f64() / 86_400.0).max(0.0);
        let added = (days * self.orders_a_day) as usize;
        for _ in 0..added {
            let delivered = from + (until - from).mul_f(random.random());
            self.adds_review(delivered, random);
        }
        // Whose window has closed by now was never in our hands.
        let first = self.stored.reviews.len() - added;
        let mut place = 0;
        self.stored.reviews.retain(|review| {
            place += 1;
            place <= first || review.closes_at > now
        });
    }

    fn adds_review(&mut self, delivered: DateTime<Utc>, random: &mut StdRng) {
        let (opens_at, closes_at) =
            review_requests::window(delivered, delivered + TimeDelta::days(random.random_range(0..4)));
        let offered = random.random::<f64>() >= NEVER_OFFERED;
        self.stored.reviews.push(Review { opens_at, closes_at, offered, state: ReviewState::Open });
    }

    /// Everything was synced when it was last due; what is open are the orders whose windows open today, and those that
    /// Amazon did not offer yet.
    fn has_been_here_long(&mut self, random: &mut StdRng, beginning: DateTime<Utc>, length: TimeDelta) {
        let due = |kind| schedules::last_due(kind, &self.id.to_string(), beginning);
        self.stored.orders = Cursor::starting_at(due(SyncOrders::KIND) - order_windows::NOT_YET_TOLD);
        self.stored.history = Cursor::starting_at(self.connected_at - order_windows::HISTORY);
        let (changed, listed) = (due(SyncInventory::KIND), due(SyncListings::KIND));
        for id in &self.marketplaces {
            let whole = changed - TimeDelta::minutes(random.random_range(0..23 * 60));
            let walk = Walk::default().ended(JobId::new(), whole, true).ended(JobId::new(), changed, false);
            self.stored.inventory.0.insert(id.clone(), walk);
            self.stored.listings.0.insert(id.clone(), Walk::default().ended(JobId::new(), listed, true));
        }
        for ranks in &mut self.stored.ranks {
            *ranks = (Some(listed), self.skus);
        }
        for (_, asked_at) in &mut self.stored.performance.marketplaces {
            *asked_at = Some(due(SyncPerformance::KIND));
        }
        self.stored.participations_at = Some(due(SyncParticipations::KIND));
        let days = (length.as_seconds_f64() / 86_400.0 * self.orders_a_day).ceil() as usize;
        for _ in 0..days {
            let opens = beginning + length.mul_f(random.random());
            self.adds_review(opens - TimeDelta::days(5), random);
        }
        let waiting = (self.orders_a_day * NEVER_OFFERED * WINDOW_DAYS as f64) as usize;
        for _ in 0..waiting {
            let opens_at = beginning - TimeDelta::days(WINDOW_DAYS).mul_f(random.random());
            let next = beginning + TimeDelta::days(1).mul_f(random.random());
            let closes_at = opens_at + TimeDelta::days(WINDOW_DAYS);
            let state = ReviewState::NotOffered(next);
            self.stored.reviews.push(Review { opens_at, closes_at, offered: false, state });
        }
        self.stored.reviews.sort_by_key(|review| review.closes_at);
    }
}

/// When orders change, in seconds since the beginning.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of some days")]
fn changes(random: &mut StdRng, orders_a_day: f64, length: TimeDelta) -> Vec<u32> {
    let rate = orders_a_day * CHANGES_AN_ORDER / 86_400.0;
    let mut changes = Vec::new();
    let mut second = 0.0;
    loop {
        // The time between two changes, were every hour the busiest; of the changes, as many stay as the hour is busy.
        second += -random.random::<f64>().max(1e-12).ln() / (rate * 1.7);
        if second >= length.as_seconds_f64() {
            return changes;
        }
        if random.random::<f64>() * 1.7 < busy(second / 3_600.0 % 24.0) {
            changes.push(second as u32);
        }
    }
}

/// A part of a span of time.
trait Part {
    fn mul_f(self, part: f64) -> Self;
}

impl Part for TimeDelta {
    #[expect(clippy::cast_possible_truncation, reason = "some weeks of milliseconds")]
    fn mul_f(self, part: f64) -> Self {
        Self::milliseconds((self.as_seconds_f64() * part * 1_000.0) as i64)
    }
}
