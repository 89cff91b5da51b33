//! For tests of the kinds: a shop, which is a seller with orders at a sandbox of Amazon, and the production context over a
//! real Postgres and Redis. Verbs run jobs and read what both sides know; nothing is cleaned up, all is the test's own.

mod notice_queue;
mod products;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use queue::{
    Failure, Job, JobId, Outcome, Run, Signals,
    limit::Budgets,
    outbox::{self, Cause, NewJob},
};
use runtime::{
    clock::{Clock, SystemClock},
    testing::{TestDatabase, TestRedis},
};
use sandbox::{Call, Fault, FaultScript, Operation as Asked, Options, Region, Sandbox, Seed, SeededSeller};
use tokio::time::Instant;

use crate::{
    config::AmazonSettings,
    context::Context,
    keyring::Keyring,
    kinds::{
        plan_review_requests::{PlanReviewRequests, Planned},
        send_review_request::SendReviewRequest,
        sync_orders::{SyncOrders, Synced},
    },
    sp_api::{self, Operation},
    store::sellers::{self, Connection, Seller, SellerId},
};

pub(crate) use notice_queue::{QUEUE_ARN, TestQueue};

/// The sandbox's call that asks a buyer.
pub(crate) const ASK_BUYER: Asked = Asked::CreateProductReviewAndSellerFeedbackSolicitation;
/// The sandbox's call that tells whether a buyer may be asked.
pub(crate) const OFFERS: Asked = Asked::GetSolicitationActionsForOrder;

/// Amazon's hour lasts a second: quotas do not slow tests down, and tokens grow old within them.
const SPEED: f64 = 3_600.0;
/// Far more than anything here takes: what is waited for until then will not come.
const DEADLINE: Duration = Duration::from_secs(20);

/// The host's clock, and as much more as a test adds. It does not stand still, because short waits for a budget are slept.
#[derive(Debug, Default)]
pub(crate) struct MovableClock {
    ahead_us: AtomicI64,
}

impl MovableClock {
    /// Moves the clock, for us and for the sandbox.
    pub(crate) fn advance(&self, by: TimeDelta) {
        let us = by.num_microseconds().expect("tests do not move by thousands of years");
        self.ahead_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl Clock for MovableClock {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + TimeDelta::microseconds(self.ahead_us.load(Ordering::Relaxed))
    }
}

/// How a shop differs from others.
pub(crate) struct Plan {
    /// How many orders it has.
    pub(crate) orders: usize,
    /// Amazon's seconds in one of ours.
    pub(crate) speed: f64,
    /// Longest call to Amazon.
    pub(crate) timeout: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self { orders: 36, speed: SPEED, timeout: Duration::from_secs(10) }
    }
}

/// A seller with orders at a sandbox, connected here.
pub(crate) struct Shop {
    /// Amazon.
    pub(crate) sandbox: Sandbox,
    /// What runs use.
    pub(crate) context: Arc<Context>,
    /// Time, here and there.
    pub(crate) clock: Arc<MovableClock>,
    /// Our id of the seller.
    pub(crate) seller: SellerId,
    /// Amazon's.
    pub(crate) account: SeededSeller,
    /// How it is reached.
    pub(crate) amazon: AmazonSettings,
    /// What is left of its quota, as we count it.
    pub(crate) budgets: Budgets,
    _database: TestDatabase,
    _redis: TestRedis,
}

/// An order as both sides can tell it: id, marketplace, status, last update, lines.
pub(crate) type Told = (String, String, String, DateTime<Utc>, BTreeSet<String>);

impl Shop {
    /// A shop with so many orders.
    pub(crate) async fn with_orders(orders: usize) -> Self {
        Self::open(Plan { orders, ..Plan::default() }).await
    }

    /// A shop with two orders in each of the sandbox's situations, all of them stored here.
    pub(crate) async fn synced() -> Self {
        let shop = Self::open(Plan::default()).await;
        shop.sync().await.expect("nothing is wrong yet");
        shop
    }

    /// A shop as planned.
    pub(crate) async fn open(plan: Plan) -> Self {
        let clock = Arc::new(MovableClock::default());
        let amazons_clock = Arc::clone(&clock);
        let options =
            Options { speed: plan.speed, clock: Arc::new(move || amazons_clock.now()), ..Options::default() };
        let sandbox = Sandbox::start(options).await.expect("loopback has a free port");
        let seed = Seed { sellers: 1, orders: plan.orders, seed: 1, region: Region::Eu };
        let mut seeded = sandbox.control().seed(&seed).expect("the sandbox takes so many");
        let account = seeded.sellers.remove(0);
        let url = |path: &str| format!("{}{path}", sandbox.base_url()).parse().expect("a URL");
        let amazon = AmazonSettings {
            client_id: seeded.client_id,
            client_secret: seeded.client_secret.into(),
            token_url: url("/auth/o2/token"),
            endpoint: Some(url("/")),
            timeout: plan.timeout,
        };
        let (database, redis) = (TestDatabase::new().await, TestRedis::new().await);
        let budgets = Budgets::new(redis.redis.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
        let keyring: Keyring = Keyring::generate("test").expect("random").parse().expect("a ring");
        let clock_here = Arc::clone(&clock) as Arc<dyn Clock>;
        let pool = database.pool.clone();
        let context = Context::new(clock_here, pool, budgets.clone(), amazon.clone(), keyring);
        let context = Arc::new(context.expect("TLS can be set up"));
        let seller = connect(&context, &account, &account.refresh_token, &account.marketplace_ids).await;
        // As if it had been synced since long ago: nothing of the shop is history.
        sqlx::query(
            "insert into sync_cursors (seller_id, data_set, synced_until, moved_at)
             select id, 'orders', connected_at - interval '800 days', connected_at from sellers",
        )
        .execute(&context.pool)
        .await
        .expect("the seller is there");
        Self { sandbox, context, clock, seller, account, amazon, budgets, _database: database, _redis: redis }
    }

    /// The seller connects again, with this authorisation and all of its marketplaces.
    pub(crate) async fn reconnect(&self, refresh_token: &str) {
        self.connect_with(refresh_token, &self.account.marketplace_ids).await;
    }

    /// The seller connects again, with these marketplaces.
    pub(crate) async fn connect_with(&self, refresh_token: &str, marketplace_ids: &[String]) {
        connect(&self.context, &self.account, refresh_token, marketplace_ids).await;
    }

    /// Another seller connects, with this id at Amazon.
    pub(crate) async fn connect_other(&self, selling_partner_id: &str) -> SellerId {
        let account =
            SeededSeller { selling_partner_id: selling_partner_id.to_owned(), ..self.account.clone() };
        connect(&self.context, &account, &account.refresh_token, &account.marketplace_ids).await
    }

    /// The seller's row, as a run reads it.
    pub(crate) async fn seller(&self) -> Seller {
        let mut connection = self.context.pool.acquire().await.expect("Postgres is there");
        sellers::get(&mut connection, self.seller).await.expect("it is valid").expect("it is there")
    }

    /// Enqueues a job, whether or not there is one like it. Returns its first run.
    pub(crate) async fn enqueue<J: Job<Context = Context>>(&self, job: &J) -> Run {
        let job = NewJob { unique_key: None, ..NewJob::of(job, Cause::Cli) };
        let mut connection = self.context.pool.acquire().await.expect("Postgres is there");
        let now = self.context.clock.now();
        outbox::enqueue(&mut connection, std::slice::from_ref(&job), now).await.expect("it is in order");
        first_run(job.id, J::VERSION)
    }

    /// Runs a new job once.
    pub(crate) async fn run<J: Job<Context = Context>>(&self, job: &J) -> Outcome<J::Report> {
        let run = self.enqueue(job).await;
        job.run(&self.context, &run).await
    }

    /// Syncs the orders in a new job.
    pub(crate) async fn sync(&self) -> Outcome<Synced> {
        self.run(&SyncOrders { seller: self.seller }).await
    }

    /// Plans the review requests in a new job.
    pub(crate) async fn plan(&self) -> Outcome<Planned> {
        self.run(&PlanReviewRequests { seller: self.seller }).await
    }

    /// Plans the review requests, and runs each one that waits once, the window that ends first first. Those that end well
    /// wait no longer.
    pub(crate) async fn send(&self) -> Sending {
        self.plan().await.expect("nothing can be wrong with planning");
        let waiting: Vec<(uuid::Uuid, serde_json::Value)> = sqlx::query_as(
            "select id, payload from jobs where kind = 'send_review_request' order by deadline_at, payload->>'order'",
        )
        .fetch_all(&self.context.pool)
        .await
        .expect("jobs can be read");
        let mut sending = Sending::default();
        for (id, payload) in waiting {
            let job: SendReviewRequest = serde_json::from_value(payload).expect("it is a request");
            match job.run(&self.context, &first_run(JobId(id), SendReviewRequest::VERSION)).await {
                Ok(report) => {
                    sending.done.insert(job.order, report.outcome);
                    sqlx::query("delete from jobs where id = $1")
                        .bind(id)
                        .execute(&self.context.pool)
                        .await
                        .expect("it is there");
                }
                Err(failure) => drop(sending.failed.insert(job.order, failure)),
            }
        }
        sending
    }

    /// Leaves a call that hangs in mid-air, as a worker that dies: begins `job`, drops it when a call of `operation` hangs.
    pub(crate) async fn drop_in_call<J: Job<Context = Context>>(&self, job: &J, operation: Asked) {
        let before = self.calls_of(operation).len();
        let run = self.enqueue(job).await;
        tokio::select! {
            ended = job.run(&self.context, &run) => panic!("the call was to hang: {:?}", ended.map(drop)),
            () = until(|| self.hangs(operation, before)) => {}
        }
    }

    /// Whether a call of the operation after the first `before` ones hangs.
    pub(crate) fn hangs(&self, operation: Asked, before: usize) -> bool {
        self.calls_of(operation).iter().skip(before).any(|call| call.fault == Some(Fault::Hang))
    }

    /// Uses up the seller's budget of an operation, as other jobs do.
    pub(crate) async fn use_up(&self, operation: Operation) {
        let budgets = [sp_api::budgets::budget(self.seller, operation)];
        // Some more than the burst, so that the next one waits longer than is waited within a run.
        for other in 0..budgets[0].burst + 3 {
            self.budgets.ask(&budgets, &format!("another job {other}")).await.expect("Redis is there");
        }
    }

    /// Lets the next calls of an operation go wrong.
    pub(crate) fn fault(&self, operation: Asked, fault: Fault, times: u32) {
        self.fault_after(0, operation, fault, times);
    }

    /// Lets calls of an operation go wrong after so many unharmed ones.
    pub(crate) fn fault_after(&self, unharmed: u32, operation: Asked, fault: Fault, times: u32) {
        let script = FaultScript { skip: unharmed, ..FaultScript::new(operation, fault, times) };
        self.sandbox.control().script_fault(script).expect("the fault fits");
    }

    /// Every call of an operation that the sandbox received.
    pub(crate) fn calls_of(&self, operation: Asked) -> Vec<Call> {
        let calls = self.sandbox.control().calls(0, usize::MAX).calls;
        calls.into_iter().filter(|call| call.operation == Some(operation)).collect()
    }

    /// The orders that calls of a solicitation's operation were about, one for each call.
    pub(crate) fn orders_in_calls(&self, operation: Asked) -> Vec<String> {
        let order = |call: Call| call.path.split('/').nth(4).expect("the path has the order").to_owned();
        self.calls_of(operation).into_iter().map(order).collect()
    }

    /// The seller's orders as Amazon knows them.
    pub(crate) fn at_amazon(&self) -> BTreeMap<String, sandbox::OrderRecord> {
        let mut orders = self.sandbox.control().orders();
        let orders = orders.remove(&self.account.selling_partner_id).unwrap_or_default();
        orders.into_iter().map(|order| (order.id.clone(), order)).collect()
    }

    /// The orders whose buyers may be asked now.
    pub(crate) fn eligible(&self) -> BTreeSet<String> {
        self.at_amazon().into_values().filter(|order| order.eligible).map(|order| order.id).collect()
    }

    /// The orders whose buyers Amazon asked for us.
    pub(crate) fn asked(&self) -> BTreeSet<String> {
        let orders = self.at_amazon().into_values();
        orders.filter(|order| order.solicited_at.is_some()).map(|order| order.id).collect()
    }

    /// Amazon's orders as it tells them, in the order of their ids.
    pub(crate) fn told(&self) -> Vec<Told> {
        let told = |order: sandbox::OrderRecord| {
            let status = serde_json::to_value(order.status).expect("it is a word");
            let status = status.as_str().expect("it is a word").to_owned();
            let items = order.item_ids.into_iter().collect();
            (order.id, order.marketplace_id, status, order.last_updated_time, items)
        };
        self.at_amazon().into_values().map(told).collect()
    }

    /// The orders that are stored here, in the order of their ids.
    pub(crate) async fn stored(&self) -> Vec<Told> {
        type Row = (String, String, String, DateTime<Utc>, Vec<String>);
        let rows: Vec<Row> = sqlx::query_as(
            "select order_id, marketplace_id, fulfillment_status, last_updated_at,
                 array_agg(order_item_id) filter (where order_item_id is not null)
             from orders left join order_items using (seller_id, order_id)
             where seller_id = $1 group by seller_id, order_id order by order_id collate \"C\"",
        )
        .bind(self.seller)
        .fetch_all(&self.context.pool)
        .await
        .expect("orders can be read");
        rows.into_iter()
            .map(|(id, marketplace, status, at, items)| {
                (id, marketplace, status, at, items.into_iter().collect())
            })
            .collect()
    }

    /// Compares what is stored with what Amazon knows, and names the orders that differ.
    pub(crate) async fn assert_all_stored(&self) {
        let (stored, told) = (self.stored().await, self.told());
        let only = |these: &[Told], those: &[Told]| -> Vec<Told> {
            these.iter().filter(|order| !those.contains(order)).cloned().collect()
        };
        let (here, there) = (only(&stored, &told), only(&told, &stored));
        assert!(here.is_empty() && there.is_empty(), "only here: {here:#?}\nonly at Amazon: {there:#?}");
    }

    /// What became of each order's review request.
    pub(crate) async fn outcomes(&self) -> BTreeMap<String, String> {
        let rows: Vec<(String, String)> = sqlx::query_as("select order_id, state from review_requests")
            .fetch_all(&self.context.pool)
            .await
            .expect("outcomes can be read");
        rows.into_iter().collect()
    }

    /// The orders whose review request ended in a state.
    pub(crate) async fn ended(&self, state: &str) -> BTreeSet<String> {
        let outcomes = self.outcomes().await.into_iter();
        outcomes.filter(|(_, ended)| ended == state).map(|(order, _)| order).collect()
    }

    /// The seller's state.
    pub(crate) async fn state(&self) -> String {
        self.one("select state from sellers").await
    }

    /// The one text that a query answers.
    pub(crate) async fn one(&self, query: &'static str) -> String {
        sqlx::query_scalar(query).fetch_one(&self.context.pool).await.expect("there is one row")
    }

    /// Every row of every table, as text.
    pub(crate) async fn everything_stored(&self) -> String {
        let tables: Vec<String> = sqlx::query_scalar(
            "select format('select coalesce(string_agg(t::text, chr(10)), '''') from %I.%I t', schemaname, tablename)
             from pg_tables where schemaname not in ('pg_catalog', 'information_schema')",
        )
        .fetch_all(&self.context.pool)
        .await
        .expect("the catalog can be read");
        let mut text = String::new();
        for table in tables {
            let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(table))
                .fetch_one(&self.context.pool)
                .await
                .expect("a table can be read");
            text.push_str(&rows);
        }
        text
    }

    /// Changes what is stored behind the program's back.
    pub(crate) async fn execute(&self, statement: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&self.context.pool)
            .await
            .expect("the statement is right");
    }
}

/// How review requests ended, by their orders.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    /// Those that ended well, with the order's outcome.
    pub(crate) done: BTreeMap<String, Option<&'static str>>,
    /// Those that wait again.
    pub(crate) failed: BTreeMap<String, Failure>,
}

impl Sending {
    /// All of them; fails if one did not end well.
    pub(crate) fn all_done(self) -> BTreeMap<String, Option<&'static str>> {
        assert!(self.failed.is_empty(), "{:?}", self.failed);
        self.done
    }

    /// The one that did not end well, and until when it snoozes.
    pub(crate) fn one_snoozed(self) -> (String, DateTime<Utc>) {
        match &Vec::from_iter(self.failed)[..] {
            [(order, Failure::Snooze { until, .. })] => (order.clone(), *until),
            other => panic!("it was to be one that snoozes: {other:?}"),
        }
    }
}

fn first_run(id: JobId, version: u8) -> Run {
    let signals = Signals::default();
    Run { id, attempt: 1, fence: 1, deadline_at: None, version, trace: None, signals }
}

async fn connect(
    context: &Context,
    account: &SeededSeller,
    refresh_token: &str,
    marketplace_ids: &[String],
) -> SellerId {
    let seller = Connection {
        selling_partner_id: account.selling_partner_id.clone(),
        region: sp_api::Region::Eu,
        marketplace_ids: marketplace_ids.to_vec(),
        refresh_token: refresh_token.to_owned().into(),
    };
    let mut connection = context.pool.acquire().await.expect("Postgres is there");
    sellers::connect(&mut connection, &context.keyring, &seller, context.clock.now())
        .await
        .expect("the seller connects")
}

/// Everything that is logged on this thread, at every level, while it lives.
pub(crate) struct Log {
    written: Arc<Mutex<Vec<u8>>>,
    _subscriber: tracing::subscriber::DefaultGuard,
}

impl Log {
    /// Begins to listen.
    pub(crate) fn listen() -> Self {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Sink(Arc::clone(&sink)))
            .finish();
        Self { written, _subscriber: tracing::subscriber::set_default(subscriber) }
    }

    /// What was logged so far.
    pub(crate) fn text(&self) -> String {
        let written = self.written.lock().expect("no test panics while it writes");
        String::from_utf8_lossy(&written).into_owned()
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics while it writes").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Until it is so; fails when it does not become so.
pub(crate) async fn until(so: impl Fn() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < DEADLINE, "what was waited for did not happen");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The error that a run wants to be tried again for.
pub(crate) fn retried<T: std::fmt::Debug>(outcome: Outcome<T>) -> String {
    match outcome {
        Err(Failure::Retry { error, .. }) => queue::failure::chain(error.as_ref()),
        other => panic!("not to be tried again: {other:?}"),
    }
}

/// The error that a run was rejected for.
pub(crate) fn rejected<T: std::fmt::Debug>(outcome: Outcome<T>) -> String {
    match outcome {
        Err(Failure::Reject { error }) => queue::failure::chain(error.as_ref()),
        other => panic!("not rejected: {other:?}"),
    }
}

/// The moment until which a run snoozes.
pub(crate) fn snoozed<T: std::fmt::Debug>(outcome: Outcome<T>) -> DateTime<Utc> {
    match outcome {
        Err(Failure::Snooze { until, .. }) => until,
        other => panic!("it does not snooze: {other:?}"),
    }
}
