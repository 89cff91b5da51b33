//! Takes Amazon's notices out of our queue, and lets what they are about be looked at soon.
//!
//! When: every minute, for most of it, where a queue is configured.
//! Safe to repeat: a notice's id is stored with its effects in one transaction, and only then is the message deleted; it comes
//! again if that fails, and has no second effect.
//! Limits: ten messages a call of the queue; the syncs that follow ask their own budgets.
//! Does not promise: an order in the notices, or that none is lost. What they speed up happens without them, later.
//! In dead letters: deploy/runbooks/receive_notifications.md.

use std::{collections::HashMap, time::Duration};

use chrono::TimeDelta;
use queue::{
    Failure, Group, Job, Outcome, Policy, Run, Schedule, hurry,
    outbox::{self, NewJob},
    policy::minutes,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    context::Context,
    kinds::{sync_orders::SyncOrders, sync_performance::SyncPerformance},
    notice_queue::{Message, NoticeQueue, NoticeSource},
    notices::{Notice, Tells},
    store::{
        notices,
        sellers::{self, Partner},
    },
};

/// Listens to the one queue.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveNotifications {}

/// What a run took.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Notices that had an effect.
    pub taken: u32,
    /// Notices that had come before.
    pub seen_before: u32,
    /// Notices of sellers or marketplaces that are not ours to sync.
    pub unknown_seller: u32,
    /// Notices that nobody asked for.
    pub not_asked_for: u32,
    /// Messages that were left in the queue.
    pub left: u32,
    /// Why nothing was done, where that is so.
    pub skipped: Option<&'static str>,
}

/// How long a run listens; the next one comes with the next minute.
const LISTENS_FOR: TimeDelta = TimeDelta::seconds(50);
/// Longest wait of one call. Source: "Amazon SQS API Reference", ReceiveMessage, read 2026-11-25.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

impl Job for ReceiveNotifications {
    const KIND: &'static str = "receive_notifications";
    const SUMMARY: &'static str = "Takes Amazon's notices out of our queue, so that changed orders and finished reports are fetched soon.";
    const POLICY: Policy = Policy::sync()
        .timeout(minutes(3))
        // A day of the queue being away, at half an hour each.
        .max_attempts(60)
        .delays(Duration::from_secs(10), Duration::from_secs(1_800))
        .unique();
    const GROUP: Group = Group::Fixed("notices");
    const SCHEDULE: Option<Schedule> = Some(Schedule::cron("* * * * *").skip_missed());

    type Context = Context;
    type Report = Taken;

    async fn run(&self, context: &Context, run: &Run) -> Outcome<Taken> {
        let queue = match &context.notices {
            NoticeSource::Queue { queue, .. } => queue.as_ref(),
            NoticeSource::None => {
                return Ok(Taken { skipped: Some("no queue is configured"), ..Taken::default() });
            }
            NoticeSource::NotBuiltIn => {
                return Err(Failure::reject(
                    "AMZIGO_SQS_QUEUE_URL names a queue, but this worker was built without what reads it: build it with \
                     `--features sqs`, or set the variable to none",
                ));
            }
        };
        let started_at = context.clock.now();
        notices::prune(&mut *context.pool.acquire().await?, started_at).await?;
        let mut taken = Taken::default();
        while !run.signals.asked_to_stop() {
            let left = started_at + LISTENS_FOR - context.clock.now();
            let wait = Duration::from_secs(left.num_seconds().try_into().unwrap_or(0));
            if wait.is_zero() {
                break;
            }
            let messages = queue.receive(wait.min(LONGEST_WAIT)).await.map_err(Failure::retry)?;
            if !messages.is_empty() {
                take(context, run, queue, messages, &mut taken).await?;
            }
        }
        Ok(taken)
    }

    async fn tick(_: &mut PgConnection) -> Result<Vec<Self>, sqlx::Error> {
        Ok(vec![Self {}])
    }
}

/// Notes some messages with their effects, then deletes them.
async fn take(
    context: &Context,
    run: &Run,
    queue: &dyn NoticeQueue,
    messages: Vec<Message>,
    taken: &mut Taken,
) -> Outcome<()> {
    let mut receipts = Vec::new();
    let mut readable = Vec::new();
    for message in messages {
        if let Some(notice) = read(&message, taken) {
            readable.push(notice);
            receipts.push(message.receipt);
        }
    }
    if receipts.is_empty() {
        return Ok(());
    }
    let mut transaction = context.pool.begin().await?;
    let ends = note(&mut transaction, context, run, readable).await?;
    transaction.commit().await?;
    for (name, end) in ends {
        count(name, end, taken);
    }
    queue.delete(receipts).await.map_err(Failure::retry)
}

/// The notice, unless it must stay in the queue: what nobody can read, and what is somebody else's to take.
fn read(message: &Message, taken: &mut Taken) -> Option<Notice> {
    let (notice_type, why) = match Notice::parse(&message.text) {
        Ok(Notice { tells: Tells::Credentials, .. }) => {
            ("credentials", "it is about our credentials".to_owned())
        }
        Ok(notice) => return Some(notice),
        Err(unreadable) => ("unreadable", unreadable.to_string()),
    };
    tracing::warn!(
        message.id,
        message.bytes = message.text.len(),
        why,
        "left a message in the queue for notices"
    );
    count(notice_type, End::Left, taken);
    None
}

/// What became of a notice.
#[derive(Debug, Clone, Copy)]
enum End {
    Taken,
    SeenBefore,
    UnknownSeller,
    NotAskedFor,
    Left,
}

fn count(notice_type: &'static str, end: End, taken: &mut Taken) {
    let (outcome, counted) = match end {
        End::Taken => ("taken", &mut taken.taken),
        End::SeenBefore => ("seen_before", &mut taken.seen_before),
        End::UnknownSeller => ("unknown_seller", &mut taken.unknown_seller),
        End::NotAskedFor => ("not_asked_for", &mut taken.not_asked_for),
        End::Left => ("left", &mut taken.left),
    };
    *counted += 1;
    metrics::counter!("notices_total", "type" => notice_type, "outcome" => outcome).increment(1);
}

/// Stores which notices came, and what follows from those that are new.
async fn note(
    connection: &mut PgConnection,
    context: &Context,
    run: &Run,
    readable: Vec<Notice>,
) -> Outcome<Vec<(&'static str, End)>> {
    let now = context.clock.now();
    let ids: Vec<_> = readable.iter().map(|notice| (notice.id.as_str(), notice.tells.name())).collect();
    let mut new = notices::note(connection, &ids, now).await?;
    let partners = partners(connection, &readable).await?;
    let mut ends = Vec::new();
    let mut syncs = Vec::new();
    for Notice { id, tells } in &readable {
        let name = tells.name();
        // Twice in one call: the first one counts.
        let Some(place) = new.iter().position(|new| new == id) else {
            ends.push((name, End::SeenBefore));
            continue;
        };
        new.swap_remove(place);
        let end = match tells {
            Tells::OrderChanged { selling_partner_id, marketplace_id } => {
                let concerned = of(&partners, selling_partner_id).filter(|partner| {
                    marketplace_id.as_ref().is_none_or(|id| partner.marketplace_ids.contains(id))
                });
                let before = syncs.len();
                syncs.extend(concerned.map(|partner| SyncOrders { seller: partner.seller }));
                if syncs.len() > before { End::Taken } else { End::UnknownSeller }
            }
            Tells::ReportFinished { selling_partner_id } => {
                let mut end = End::UnknownSeller;
                for partner in selling_partner_id.iter().flat_map(|id| of(&partners, id)) {
                    hurry::snoozing(connection, SyncPerformance::KIND, &partner.seller.to_string(), now)
                        .await?;
                    end = End::Taken;
                }
                end
            }
            Tells::Other | Tells::Credentials => End::NotAskedFor,
        };
        ends.push((name, end));
    }
    let jobs: Vec<_> =
        syncs.iter().map(|sync| SyncOrders::after_a_notice(NewJob::caused_by(sync, run), now)).collect();
    outbox::enqueue(connection, &jobs, now).await.map_err(Failure::retry)?;
    Ok(ends)
}

/// The connected sellers that the notices are about, by Amazon's ids.
async fn partners(
    connection: &mut PgConnection,
    readable: &[Notice],
) -> Outcome<HashMap<String, Vec<Partner>>> {
    let ids: Vec<_> = readable
        .iter()
        .filter_map(|notice| match &notice.tells {
            Tells::OrderChanged { selling_partner_id, .. } => Some(selling_partner_id.clone()),
            Tells::ReportFinished { selling_partner_id } => selling_partner_id.clone(),
            Tells::Other | Tells::Credentials => None,
        })
        .collect();
    let mut partners: HashMap<_, Vec<Partner>> = HashMap::new();
    for partner in sellers::of_partners(connection, &ids).await? {
        partners.entry(partner.selling_partner_id.clone()).or_default().push(partner);
    }
    Ok(partners)
}

fn of<'p>(partners: &'p HashMap<String, Vec<Partner>>, id: &str) -> impl Iterator<Item = &'p Partner> {
    partners.get(id).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering};

    use chrono::{DateTime, Utc};
    use queue::{Queue, outbox::Cause};
    use serde_json::{Value, json};

    use super::*;
    use crate::kinds::sync_orders::SYNCED_AFTER;
    use crate::{
        notices::samples::{POSTCODE, camel_case, order_change, report_finished},
        store::sellers::SellerId,
        testing::{Log, Shop, TestQueue, rejected, retried},
    };

    const UK: &str = "A1F83G8C2ARO7P";

    async fn listening() -> (Shop, Arc<TestQueue>) {
        let mut shop = Shop::with_orders(0).await;
        let queue = shop.listen();
        (shop, queue)
    }

    async fn receive(shop: &Shop) -> Taken {
        shop.run(&ReceiveNotifications {}).await.expect("nothing is wrong")
    }

    fn order(shop: &Shop, id: &str) -> String {
        order_change(id, &shop.account.selling_partner_id, &shop.account.marketplace_ids[0])
    }

    /// Whose orders are to be synced, and when.
    async fn syncs(shop: &Shop) -> Vec<(Value, DateTime<Utc>)> {
        sqlx::query_as("select payload, due_at from jobs where kind = 'sync_orders' order by id")
            .fetch_all(&shop.context.pool)
            .await
            .expect("jobs can be read")
    }

    async fn noted(shop: &Shop) -> Vec<String> {
        sqlx::query_scalar("select notice_id from notices order by notice_id")
            .fetch_all(&shop.context.pool)
            .await
            .expect("notices can be read")
    }

    #[tokio::test]
    async fn does_its_work() {
        let (shop, queue) = listening().await;
        queue.put(order(&shop, "n-1"));
        queue.put(order(&shop, "n-2"));
        let before = shop.context.clock.now();
        let taken = receive(&shop).await;
        assert_eq!(taken, Taken { taken: 2, ..Taken::default() });
        let [(payload, due_at)] = &syncs(&shop).await[..] else { panic!("one sync for both") };
        assert_eq!(*payload, json!({"seller": shop.seller}));
        let after = *due_at - before;
        assert!(after >= SYNCED_AFTER && after < SYNCED_AFTER + TimeDelta::seconds(10), "{after}");
        assert_eq!(noted(&shop).await, ["n-1", "n-2"]);
        assert_eq!(queue.left(), [""; 0]);
        let listened = shop.context.clock.now() - before;
        assert!(listened > TimeDelta::seconds(48) && listened < TimeDelta::seconds(60), "{listened}");
    }

    #[tokio::test]
    async fn a_finished_report_lets_the_job_that_waits_for_it_run() {
        let (shop, queue) = listening().await;
        let job = |seller: SellerId| {
            NewJob::raw(SyncPerformance::KIND, Queue::Sync, &seller.to_string(), json!({}), Cause::Cli)
        };
        let (ours, others) = (job(shop.seller), job(SellerId::new()));
        let mut connection = shop.context.pool.acquire().await.expect("Postgres is there");
        outbox::enqueue(&mut connection, &[ours.clone(), others.clone()], shop.context.clock.now())
            .await
            .expect("they are in order");
        shop.execute(
            "delete from outbox;
             update jobs set state = 'delayed', waits_for = 'a report', due_at = due_at + interval '1 hour'
             where kind = 'sync_performance'",
        )
        .await;
        queue.put(report_finished("n-1", &shop.account.selling_partner_id));
        assert_eq!(receive(&shop).await, Taken { taken: 1, ..Taken::default() });
        let states: Vec<(String, bool)> = sqlx::query_as(
            "select state, exists (select from outbox where job_id = id) from jobs where id = any($1)
             order by array_position($1, id)",
        )
        .bind([ours.id.0, others.id.0])
        .fetch_all(&shop.context.pool)
        .await
        .expect("jobs can be read");
        assert_eq!(states, [("ready".to_owned(), true), ("delayed".to_owned(), false)]);
        assert_eq!(syncs(&shop).await, []);
    }

    #[tokio::test]
    async fn twice_is_once() {
        let (shop, queue) = listening().await;
        queue.put(order(&shop, "n-1"));
        queue.put(order(&shop, "n-1"));
        assert_eq!(receive(&shop).await, Taken { taken: 1, seen_before: 1, ..Taken::default() });
        shop.execute("update jobs set state = 'done', finished_at = due_at where kind = 'sync_orders'").await;
        queue.put(order(&shop, "n-1"));
        assert_eq!(receive(&shop).await, Taken { seen_before: 1, ..Taken::default() });
        assert_eq!(syncs(&shop).await.len(), 1);
        assert_eq!(queue.left(), [""; 0]);
    }

    #[tokio::test]
    async fn stops_and_resumes() {
        let (shop, queue) = listening().await;
        queue.put(order(&shop, "n-1"));
        // Not even noted: it has no effect, and comes again.
        shop.execute("alter table notices rename to elsewhere").await;
        retried(shop.run(&ReceiveNotifications {}).await);
        shop.execute("alter table elsewhere rename to notices").await;
        assert_eq!((syncs(&shop).await.len(), queue.left().len()), (0, 1));
        // Noted with its effect, and not deleted: it comes again, and has no second effect.
        queue.show_again();
        queue.keeps_all.store(true, Ordering::Relaxed);
        retried(shop.run(&ReceiveNotifications {}).await);
        assert_eq!((syncs(&shop).await.len(), queue.left().len()), (1, 1));
        queue.show_again();
        queue.keeps_all.store(false, Ordering::Relaxed);
        assert_eq!(receive(&shop).await, Taken { seen_before: 1, ..Taken::default() });
        assert_eq!((syncs(&shop).await.len(), queue.left().len()), (1, 0));
    }

    #[tokio::test]
    async fn nothing_to_do() {
        let mut shop = Shop::with_orders(0).await;
        assert_eq!(receive(&shop).await.skipped, Some("no queue is configured"));
        let queue = shop.listen();
        assert_eq!(receive(&shop).await, Taken::default());
        assert_eq!((noted(&shop).await, queue.left()), (vec![], vec![]));
    }

    #[tokio::test]
    async fn a_program_without_what_reads_the_queue_says_how_to_build_it() {
        let mut shop = Shop::with_orders(0).await;
        Arc::get_mut(&mut shop.context).expect("nobody else uses it yet").notices = NoticeSource::NotBuiltIn;
        let error = rejected(shop.run(&ReceiveNotifications {}).await);
        assert!(error.contains("--features sqs"), "{error}");
    }

    #[tokio::test]
    async fn what_is_not_ours_is_counted_and_deleted() {
        let (shop, queue) = listening().await;
        let partner = &shop.account.selling_partner_id;
        queue.put(order_change("n-1", "A2STRANGER", UK));
        queue.put(order_change("n-2", partner, "ATVPDKIKX0DER"));
        queue.put(report_finished("n-3", "A2STRANGER"));
        queue.put(camel_case("n-4", "FEED_PROCESSING_FINISHED", json!({})));
        let taken = receive(&shop).await;
        assert_eq!(taken, Taken { unknown_seller: 3, not_asked_for: 1, ..Taken::default() });
        // One that is no longer connected is a stranger, too.
        shop.execute("update sellers set state = 'disconnected'").await;
        queue.put(order(&shop, "n-5"));
        assert_eq!(receive(&shop).await, Taken { unknown_seller: 1, ..Taken::default() });
        assert_eq!((syncs(&shop).await, queue.left()), (vec![], vec![]));
    }

    #[tokio::test]
    async fn what_nobody_can_read_and_what_is_for_somebody_else_stays_in_the_queue() {
        let log = Log::listen();
        let (shop, queue) = listening().await;
        queue.put("<html>Planted</html>");
        queue.put(camel_case(
            "n-1",
            "APPLICATION_OAUTH_CLIENT_NEW_SECRET",
            json!({"newClientSecret": "Planted"}),
        ));
        queue.put(order(&shop, "n-2"));
        assert_eq!(receive(&shop).await, Taken { taken: 1, left: 2, ..Taken::default() });
        assert_eq!(queue.left(), ["m-0", "m-1"]);
        assert_eq!(noted(&shop).await, ["n-2"], "a message that stays is not noted");
        let logged = log.text();
        let line = logged.lines().find(|line| line.contains("m-0")).expect("it is warned of");
        assert!(line.contains("WARN") && line.contains("message.bytes=20"), "{line}");
        assert!(!logged.contains("Planted"), "{logged}");
    }

    #[tokio::test]
    async fn nothing_about_a_buyer_is_stored_or_logged() {
        let log = Log::listen();
        let (shop, queue) = listening().await;
        queue.put(order(&shop, "n-1"));
        queue.put(&order(&shop, "n-2")[..400]);
        queue.keeps_all.store(true, Ordering::Relaxed);
        let error = retried(shop.run(&ReceiveNotifications {}).await);
        queue.is_away.store(true, Ordering::Relaxed);
        let errors = error + &retried(shop.run(&ReceiveNotifications {}).await);
        let (stored, logged) = (shop.everything_stored().await, log.text());
        assert!(stored.contains("n-1") && logged.contains("m-1"), "it looks at the right places");
        for (place, text) in [("table", &stored), ("log", &logged), ("error", &errors)] {
            for word in [POSTCODE, "Planted Buyer", "026-7654321-7654321", "OrderStatusChange"] {
                assert!(!text.contains(word), "{word} is in a {place}");
            }
        }
    }

    #[tokio::test]
    async fn a_notice_is_forgotten_when_it_can_no_longer_come_again() {
        let (shop, queue) = listening().await;
        queue.put(order(&shop, "n-1"));
        receive(&shop).await;
        shop.clock.advance(notices::LONGEST_KEPT - TimeDelta::minutes(2));
        receive(&shop).await;
        assert_eq!(noted(&shop).await, ["n-1"]);
        shop.clock.advance(TimeDelta::minutes(2));
        receive(&shop).await;
        assert_eq!(noted(&shop).await, [""; 0]);
    }

    #[tokio::test]
    async fn a_queue_that_is_away_is_asked_again() {
        let (shop, queue) = listening().await;
        queue.is_away.store(true, Ordering::Relaxed);
        let error = retried(shop.run(&ReceiveNotifications {}).await);
        assert!(error.contains("could not fetch messages"), "{error}");
    }

    #[cfg(feature = "sqs")]
    #[tokio::test]
    async fn a_changed_order_comes_through_the_queue_and_is_synced() {
        use crate::kinds::subscribe_notifications::SubscribeNotifications;

        let mut shop = Shop::with_orders(20).await;
        shop.listen_to_amazon().await;
        shop.sync().await.expect("nothing is wrong");
        shop.run(&SubscribeNotifications { seller: shop.seller }).await.expect("nothing is wrong");
        let careless = sandbox::SettingsChange {
            queue_duplicates: Some(true),
            queue_out_of_order: Some(true),
            ..sandbox::SettingsChange::default()
        };
        shop.sandbox.control().change_settings(careless).expect("it can be set");
        shop.execute("delete from outbox; delete from jobs").await;
        let seller = shop.account.selling_partner_id.clone();
        let changes = sandbox::OrderChanges { seller, touch: 3, count: 0, seconds_ago: 0, seed: 2 };
        shop.sandbox.control().change_orders(&changes).expect("the seller is known");

        let (outcome, ()) = tokio::join!(shop.run(&ReceiveNotifications {}), async {
            let all_gone = || {
                let messages = shop.sandbox.control().queue().messages;
                !messages.is_empty() && messages.iter().all(|message| message.deleted)
            };
            crate::testing::until(all_gone).await;
            // Its time is over, and the call that waits gets something to come back with.
            shop.clock.advance(LISTENS_FOR);
            let body = camel_case("n-last", "FEED_PROCESSING_FINISHED", json!({}));
            shop.sandbox.control().push_message(&sandbox::NewMessage { body });
        });
        let taken = outcome.expect("nothing is wrong");
        assert_eq!((taken.taken, taken.seen_before, taken.left), (3, 3 + taken.not_asked_for, 0));
        let [(payload, due_at)] = &syncs(&shop).await[..] else { panic!("one sync for all") };
        assert_eq!(*payload, json!({"seller": shop.seller}));
        let due_at = *due_at;
        shop.clock.advance(due_at - shop.context.clock.now());
        shop.sync().await.expect("nothing is wrong");
        shop.assert_all_stored().await;
        let stored = shop.everything_stored().await;
        assert!(sandbox::PLANTED.into_iter().all(|word| !stored.contains(word)));
    }
}
