//! Makes sellers and orders: the same for the same seed and the same moment.
//!
//! Orders follow a fixed mix of situations, so that even a small seed has some of each: about a third may be solicited now, the
//! others are too early, too late, opted out, asked for already, not shipped or cancelled. No order comes within two hours of
//! an edge of its window, so that a test which takes minutes sees no order change its standing by itself.

use crate::orders::{FulfilledBy, FulfillmentStatus, Item, Order, OrderBook, Window};
use crate::products::{Identity, identity};
use crate::sellers::{FEWEST_PRODUCTS, Region, Seller, participations_of};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// What an order is like, as far as a review request is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    Eligible,
    TooEarly,
    TooLate,
    OptedOut,
    AskedElsewhere,
    Pending,
    Unshipped,
    PartiallyShipped,
    Cancelled,
}

const MIX: [Situation; 18] = [
    Situation::Eligible,
    Situation::TooEarly,
    Situation::Pending,
    Situation::Eligible,
    Situation::TooLate,
    Situation::Cancelled,
    Situation::Eligible,
    Situation::OptedOut,
    Situation::TooEarly,
    Situation::Eligible,
    Situation::Unshipped,
    Situation::TooLate,
    Situation::Eligible,
    Situation::AskedElsewhere,
    Situation::PartiallyShipped,
    Situation::Eligible,
    Situation::TooEarly,
    Situation::Cancelled,
];

/// The distance that every order keeps from the edges of its window.
const MARGIN: TimeDelta = TimeDelta::hours(2);
const ID_CHARACTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Makes sellers and orders from one stream of random numbers.
pub(crate) struct Generator {
    random: StdRng,
    now: DateTime<Utc>,
}

impl Generator {
    /// Everything is made as seen from `now`, in whole seconds as Amazon writes them.
    pub(crate) fn new(seed: u64, now: DateTime<Utc>) -> Generator {
        Generator { random: StdRng::seed_from_u64(seed), now: now.trunc_subsecs(0) }
    }

    /// A seller whose id is not taken yet. Every third one sells in a single marketplace, the others in all of their region.
    pub(crate) fn seller(
        &mut self,
        number: usize,
        region: Region,
        taken: &BTreeMap<String, Seller>,
    ) -> Seller {
        let mut selling_partner_id = format!("A{}", self.characters(13));
        while taken.contains_key(&selling_partner_id) {
            selling_partner_id = format!("A{}", self.characters(13));
        }
        let all = region.marketplaces();
        let marketplaces = if number % 3 == 2 { &all[..1] } else { all };
        Seller {
            selling_partner_id,
            number,
            region,
            marketplaces,
            participations: participations_of(number, region, marketplaces),
            products: FEWEST_PRODUCTS,
            seeded_at: self.now,
        }
    }

    /// A refresh token.
    pub(crate) fn refresh_token(&mut self) -> String {
        format!("Atzr|{}", self.characters(40))
    }

    /// The order at a place in the mix, with an id that is not in the book.
    pub(crate) fn order(&mut self, number: usize, seller: &Seller, book: &OrderBook) -> Order {
        let situation = MIX[number % MIX.len()];
        let mut order_id = self.order_id(seller.region);
        while book.contains(&order_id) {
            order_id = self.order_id(seller.region);
        }
        let (created_at, deliver_by) = self.promised(situation);
        let item_count = match situation {
            Situation::PartiallyShipped => 2,
            _ => self.random.random_range(1..=3),
        };
        Order {
            order_id,
            seller: seller.selling_partner_id.clone(),
            marketplace: &seller.marketplaces[self.random.random_range(0..seller.marketplaces.len())],
            created_at,
            last_updated_at: self.last_update(situation, created_at, deliver_by),
            status: status(situation),
            fulfilled_by: if self.random.random_bool(0.7) {
                FulfilledBy::Amazon
            } else {
                FulfilledBy::Merchant
            },
            ship_by: Window {
                earliest: created_at + TimeDelta::hours(12),
                latest: created_at + TimeDelta::hours(36),
            },
            deliver_by,
            items: self.items(item_count, seller),
            opted_out: situation == Situation::OptedOut,
            solicited_elsewhere: situation == Situation::AskedElsewhere,
            solicited_at: None,
            repeated_requests: 0,
            vanished: false,
        }
    }

    /// When the order was placed, and when it was or will be delivered.
    fn promised(&mut self, situation: Situation) -> (DateTime<Utc>, Window) {
        let days = TimeDelta::days;
        let width = self.between(TimeDelta::zero(), days(3));
        let earliest = match situation {
            Situation::Eligible | Situation::OptedOut | Situation::AskedElsewhere => {
                self.now - self.between(days(5) + MARGIN, days(29))
            }
            Situation::TooEarly => self.now - self.between(days(-1), days(5) - MARGIN),
            Situation::TooLate => self.now - self.between(days(30) + MARGIN, days(55)) - width,
            Situation::Cancelled => self.now - self.between(TimeDelta::zero(), days(50)),
            Situation::Pending | Situation::Unshipped | Situation::PartiallyShipped => {
                let created_at = self.now - self.between(TimeDelta::hours(4), days(2));
                let earliest = created_at + self.between(days(3), days(5));
                return (created_at, Window { earliest, latest: earliest + width });
            }
        };
        let created_at = earliest - self.between(days(2), days(5));
        (created_at, Window { earliest, latest: earliest + width })
    }

    /// Shipped orders last changed about their delivery, the others soon after they were placed.
    fn last_update(
        &mut self,
        situation: Situation,
        created_at: DateTime<Utc>,
        deliver_by: Window,
    ) -> DateTime<Utc> {
        let hours = TimeDelta::hours;
        let settled = self.now - TimeDelta::minutes(10);
        let (from, to) = match status(situation) {
            FulfillmentStatus::Shipped => {
                let to = settled.min(deliver_by.latest + hours(24));
                (deliver_by.earliest.min(to - hours(3)), to)
            }
            _ => (created_at + hours(1), settled.min(created_at + hours(24))),
        };
        from + self.between(TimeDelta::zero(), to - from)
    }

    /// Lines of an order: different products of the seller, those with low numbers more often.
    fn items(&mut self, count: usize, seller: &Seller) -> Vec<Item> {
        let last = seller.products.max(1);
        let first = self.random.random_range(0..last).min(self.random.random_range(0..last));
        (0..count.min(last)).map(|place| self.item(seller, (first + place) % last)).collect()
    }

    fn item(&mut self, seller: &Seller, number: usize) -> Item {
        let Identity { asin, sku, goods } = identity(&seller.selling_partner_id, number);
        Item {
            order_item_id: format!("{:014}", self.random.random_range(1..100_000_000_000_000_u64)),
            asin,
            title: goods.title,
            seller_sku: sku,
            quantity: self.random.random_range(1..=3),
            unit_price_cents: goods.unit_price_cents,
        }
    }

    fn order_id(&mut self, region: Region) -> String {
        let prefix = match region {
            Region::Na => 114,
            Region::Eu => 26,
            Region::Fe => 250,
        };
        let (middle, last) =
            (self.random.random_range(0..10_000_000), self.random.random_range(0..10_000_000));
        format!("{prefix:03}-{middle:07}-{last:07}")
    }

    fn characters(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| char::from(ID_CHARACTERS[self.random.random_range(0..ID_CHARACTERS.len())]))
            .collect()
    }

    fn between(&mut self, from: TimeDelta, to: TimeDelta) -> TimeDelta {
        TimeDelta::seconds(self.random.random_range(from.num_seconds()..=to.num_seconds()))
    }
}

fn status(situation: Situation) -> FulfillmentStatus {
    match situation {
        Situation::Pending => FulfillmentStatus::Pending,
        Situation::Unshipped => FulfillmentStatus::Unshipped,
        Situation::PartiallyShipped => FulfillmentStatus::PartiallyShipped,
        Situation::Cancelled => FulfillmentStatus::Cancelled,
        Situation::Eligible
        | Situation::TooEarly
        | Situation::TooLate
        | Situation::OptedOut
        | Situation::AskedElsewhere => FulfillmentStatus::Shipped,
    }
}

/// How many orders each seller gets: the first about half, each further one less than the one before, each at least one if
/// there are enough.
pub(crate) fn shares(orders: usize, sellers: usize) -> Vec<usize> {
    if sellers < 2 {
        return vec![orders; sellers];
    }
    let others = orders / 2;
    let weights: Vec<f64> = (1..sellers).map(|place| 1.0 / place as f64).collect();
    let sum: f64 = weights.iter().sum();
    let wanted = weights.iter().map(|weight| (others as f64 * weight / sum).floor().max(1.0) as usize);
    let mut left = others;
    let mut shares: Vec<usize> = wanted
        .map(|share| {
            let share = share.min(left);
            left -= share;
            share
        })
        .collect();
    shares.insert(0, orders - others + left);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::iso8601;
    use crate::solicitations::{Standing, standing, window};

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a valid timestamp")
    }

    fn orders(seed: u64, count: usize) -> Vec<Order> {
        let mut generator = Generator::new(seed, now());
        let seller = generator.seller(0, Region::Eu, &BTreeMap::new());
        let book = OrderBook::default();
        (0..count).map(|number| generator.order(number, &seller, &book)).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_orders_and_another_seed_others() {
        let fingerprint = |seed| -> Vec<String> {
            let line = |order: &Order| format!("{} {}", order.order_id, iso8601(order.last_updated_at));
            orders(seed, 50).iter().map(line).collect()
        };
        assert_eq!(fingerprint(7), fingerprint(7));
        assert_ne!(fingerprint(7), fingerprint(8));
    }

    #[test]
    fn a_third_may_be_solicited_now_and_every_other_standing_occurs() {
        let orders = orders(1, 1_800);
        let count = |wanted| orders.iter().filter(|order| standing(order, now()) == wanted).count();
        assert_eq!(count(Standing::Offered), 600);
        assert_eq!(count(Standing::OutsideWindow), 500);
        assert_eq!(count(Standing::NotAvailable), 700);
    }

    #[test]
    fn no_standing_changes_within_two_hours() {
        for order in orders(2, 1_800) {
            for minutes in [0, 30, 60, 90, 119] {
                let later = now() + TimeDelta::minutes(minutes);
                assert_eq!(
                    standing(&order, later),
                    standing(&order, now()),
                    "{:?}",
                    window(order.deliver_by)
                );
            }
        }
    }

    #[test]
    fn times_are_in_order_and_within_sixty_days() {
        for order in orders(3, 1_800) {
            let updated = order.last_updated_at;
            assert!(order.created_at <= updated, "{order:?}");
            assert!(updated <= now() - TimeDelta::minutes(10), "a search must find it at once: {order:?}");
            assert!(updated >= now() - TimeDelta::days(60), "{order:?}");
            assert!(order.deliver_by.earliest <= order.deliver_by.latest, "{order:?}");
        }
    }

    #[test]
    fn one_seller_has_half_and_the_others_less_and_less() {
        assert_eq!(shares(500, 3), [251, 166, 83]);
        assert_eq!(shares(500, 1), [500]);
        assert_eq!(shares(0, 3), [0, 0, 0]);
        assert_eq!(shares(3, 4), [2, 1, 0, 0]);
        for sellers in 1..40 {
            assert_eq!(shares(1_000, sellers).iter().sum::<usize>(), 1_000, "{sellers} sellers");
        }
    }
}
