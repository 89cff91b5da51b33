//! Our side: the scheduler's ticks, the engine with its queue, the workers' slots, and what is measured of it all.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use jobs::{
    catalog::CATALOG,
    kinds::{
        backfill_orders::BackfillOrders, plan_review_requests::PlanReviewRequests,
        sync_inventory::SyncInventory, sync_listings::SyncListings, sync_orders::SyncOrders,
        sync_participations::SyncParticipations, sync_performance::SyncPerformance,
    },
    newcomers,
    sp_api::permits::Permits,
    store::sellers::SellerId,
};
use queue::stepping::Stepper;
use queue::{
    Engine, JobId, KnownKinds, Queue, Schedule, Unique, WorkerId,
    envelope::Envelope,
    lease::Ended,
    limit::Budgets,
    outbox::{Cause, NewJob},
};
use rand::{SeedableRng, rngs::StdRng};
use runtime::clock::Clock;
use tokio::sync::Notify;

use crate::{
    Options,
    amazon::Amazon,
    clock::SimulatedClock,
    measure::{self, Measure, Sample},
    runs::{self, Run},
    sellers::Seller,
};

/// Where all these jobs wait.
const QUEUE: Queue = Queue::Sync;
/// Slots that a worker has for them, as `AMZIGO_WORKER_SLOTS` says by default.
pub(crate) const SLOTS: usize = 32;
/// How often it is looked how things stand.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The scheduler looks this often at the least for what is due.
const PROMOTE_EVERY: Duration = Duration::from_millis(200);
/// Longest time of a call, with tokens.
const LONGEST_CALL: Duration = Duration::from_secs(65);

/// Our side of the simulation.
pub(crate) struct Office {
    pub(crate) clock: SimulatedClock,
    pub(crate) beginning: DateTime<Utc>,
    pub(crate) permits: Permits,
    pub(crate) amazon: Amazon,
    pub(crate) sellers: Vec<RefCell<Seller>>,
    pub(crate) measure: RefCell<Measure>,
    pub(crate) random: RefCell<StdRng>,
    engine: Engine,
    numbers: HashMap<String, u32>,
    /// Jobs that have not ended, and the one that holds each unique key.
    unfinished: RefCell<HashMap<JobId, Unfinished>>,
    keys: RefCell<HashMap<String, JobId>>,
    free: Cell<usize>,
    workers: Vec<WorkerId>,
    changed: Notify,
}

struct Unfinished {
    key: Option<String>,
    /// Whether the key is held until a run begins only.
    while_waiting: bool,
    /// When it is due, as long as no run has begun.
    waits_until: Option<DateTime<Utc>>,
    envelope: Envelope,
}

impl Office {
    pub(crate) fn open(options: &Options, beginning: DateTime<Utc>) -> Self {
        let clock = SimulatedClock::starting_at(beginning);
        let shared: Arc<dyn Clock> = Arc::new(clock);
        let length = TimeDelta::hours(i64::from(options.hours));
        let sellers: Vec<_> = (0..options.sellers)
            .map(|number| RefCell::new(Seller::new(number, options.seed, beginning, length)))
            .collect();
        let numbers = (0..).zip(&sellers).map(|(number, seller)| (seller.borrow().id.to_string(), number));
        Self {
            clock,
            beginning,
            permits: Permits::new(Budgets::in_memory(Arc::clone(&shared)), Arc::clone(&shared), LONGEST_CALL),
            amazon: Amazon::new(options.seed),
            measure: RefCell::default(),
            random: RefCell::new(StdRng::seed_from_u64(options.seed)),
            engine: Engine::in_memory(shared),
            numbers: numbers.collect(),
            sellers,
            unfinished: RefCell::default(),
            keys: RefCell::default(),
            free: Cell::new(SLOTS * options.workers as usize),
            workers: (0..options.workers).map(|_| WorkerId::new()).collect(),
            changed: Notify::new(),
        }
    }

    /// Works for so long.
    pub(crate) async fn work(self: &Rc<Self>, length: TimeDelta) {
        self.engine.control(QUEUE, &CATALOG.controls(QUEUE)).await.unwrap_or_default();
        let schedules = [
            tick::<SyncParticipations>(|seller| SyncParticipations { seller }),
            tick::<SyncOrders>(|seller| SyncOrders { seller }),
            tick::<BackfillOrders>(|seller| BackfillOrders { seller }),
            tick::<SyncInventory>(|seller| SyncInventory { seller }),
            tick::<SyncListings>(|seller| SyncListings { seller }),
            tick::<SyncPerformance>(|seller| SyncPerformance { seller }),
            tick::<PlanReviewRequests>(|seller| PlanReviewRequests { seller }),
        ];
        for schedule in schedules {
            tokio::task::spawn_local(Rc::clone(self).fires(schedule));
        }
        tokio::task::spawn_local(Rc::clone(self).connects_newcomers());
        tokio::task::spawn_local(Rc::clone(self).hears_notices());
        tokio::task::spawn_local(Rc::clone(self).promotes());
        tokio::task::spawn_local(Rc::clone(self).hands_out());
        let looks = length.num_seconds().unsigned_abs() / LOOK_EVERY.as_secs();
        for look in 1..=looks {
            tokio::time::sleep(LOOK_EVERY).await;
            self.look();
            if look % 6 == 0 {
                eprintln!("simulate: {:>3} h of {:>3}", look / 6, looks / 6);
            }
        }
    }

    /// Fires a schedule for each connected seller, each at its place.
    async fn fires(self: Rc<Self>, ticked: Ticked) {
        let Some(stepper) =
            ticked.schedule.and_then(|schedule| Stepper::new(&schedule).ok().zip(Some(schedule)))
        else {
            return;
        };
        let (stepper, schedule) = stepper;
        // Those whose place comes from the tick before the beginning on.
        let mut at = self.beginning - TimeDelta::from_std(schedule.spread).unwrap_or_default();
        while let Some(next) = stepper.next_after(at) {
            at = next;
            if let Ok(wait) = (at - self.clock.now()).to_std() {
                tokio::time::sleep(wait).await;
            }
            let now = self.clock.now();
            for seller in &self.sellers {
                let wanted = {
                    let seller = seller.borrow();
                    (seller.is_connected(now) && (ticked.wants)(&seller, now)).then_some(seller.id)
                };
                let Some(job) = wanted.map(&ticked.job) else { continue };
                let place = TimeDelta::from_std(schedule.place(&job.kind, &job.group)).unwrap_or_default();
                if at + place >= self.beginning {
                    self.enqueue(job.due_at(at + place)).await;
                }
            }
        }
    }

    /// A seller that connects is synced at once.
    async fn connects_newcomers(self: Rc<Self>) {
        let mut newcomers: Vec<_> = self
            .sellers
            .iter()
            .map(|seller| (seller.borrow().connected_at, seller.borrow().id))
            .filter(|(connected_at, _)| *connected_at > self.beginning)
            .collect();
        newcomers.sort_unstable();
        for (connected_at, seller) in newcomers {
            if let Ok(wait) = (connected_at - self.clock.now()).to_std() {
                tokio::time::sleep(wait).await;
            }
            for job in newcomers::first_jobs(seller, Cause::Cli, connected_at) {
                self.enqueue(job).await;
            }
        }
    }

    /// Amazon tells of each change of an order; a sync follows when a search can find it.
    async fn hears_notices(self: Rc<Self>) {
        let mut changes: Vec<(u32, u32)> = Vec::new();
        for (number, seller) in (0..).zip(&self.sellers) {
            changes.extend(seller.borrow().changes().iter().map(|second| (*second, number)));
        }
        changes.sort_unstable();
        for (second, number) in changes {
            let at = self.beginning + TimeDelta::seconds(i64::from(second));
            if let Ok(wait) = (at - self.clock.now()).to_std() {
                tokio::time::sleep(wait).await;
            }
            let connected = {
                let seller = self.sellers[number as usize].borrow();
                seller.is_connected(at).then_some(seller.id)
            };
            if let Some(seller) = connected {
                let job = NewJob::of(&SyncOrders { seller }, Cause::Schedule);
                self.enqueue(SyncOrders::after_a_notice(job, at)).await;
            }
        }
    }

    /// Enqueues a job, as the door does: one that holds the same unique key is enough, and is brought forward.
    pub(crate) async fn enqueue(&self, job: NewJob) {
        let now = self.clock.now();
        let due_at = job.due_at.filter(|due| *due > now);
        let holder = job.unique_key.as_ref().and_then(|key| self.keys.borrow().get(key).copied());
        if let Some(holder) = holder {
            let envelope = {
                let mut unfinished = self.unfinished.borrow_mut();
                let Some(waiting) = unfinished.get_mut(&holder) else { return };
                let wanted = due_at.unwrap_or(now);
                if waiting.waits_until.is_none_or(|until| until <= wanted) {
                    return;
                }
                waiting.waits_until = Some(wanted);
                waiting.envelope.clone()
            };
            self.push(due_at, envelope).await;
            return;
        }
        let envelope = Envelope {
            id: job.id,
            priority: job.priority,
            version: job.version,
            group: job.group,
            kind: job.kind,
            payload: job.payload.to_string().into_bytes(),
        };
        if let Some(key) = &job.unique_key {
            self.keys.borrow_mut().insert(key.clone(), job.id);
        }
        let unfinished = Unfinished {
            while_waiting: job.unique == Unique::WhileWaiting,
            key: job.unique_key,
            waits_until: Some(due_at.unwrap_or(now)),
            envelope: envelope.clone(),
        };
        self.unfinished.borrow_mut().insert(job.id, unfinished);
        self.push(due_at, envelope).await;
    }

    async fn push(&self, due_at: Option<DateTime<Utc>>, envelope: Envelope) {
        // Memory does not fail.
        self.engine.push(QUEUE, &[(due_at, envelope)]).await.unwrap_or_default();
        if due_at.is_none() {
            self.changed.notify_one();
        }
    }

    /// Makes ready what is due.
    async fn promotes(self: Rc<Self>) {
        loop {
            let Ok(promoted) = self.engine.promote(QUEUE).await else { return };
            if promoted.moved > 0 {
                self.changed.notify_one();
                continue;
            }
            tokio::time::sleep(PROMOTE_EVERY).await;
        }
    }

    /// Hands ready jobs to free slots.
    async fn hands_out(self: Rc<Self>) {
        let known = KnownKinds::all();
        for worker in self.workers.iter().cycle() {
            while self.free.get() == 0 {
                self.changed.notified().await;
            }
            let Ok(claimed) = self.engine.claim(QUEUE, *worker, self.free.get().min(SLOTS), &known).await
            else {
                return;
            };
            if claimed.entries.is_empty() {
                self.changed.notified().await;
            }
            for entry in claimed.entries {
                let Ok(envelope) = Envelope::decode(&entry) else { continue };
                self.free.set(self.free.get() - 1);
                tokio::task::spawn_local(Rc::clone(&self).runs(*worker, envelope));
            }
        }
    }

    /// Runs a job once, and settles it.
    async fn runs(self: Rc<Self>, worker: WorkerId, envelope: Envelope) {
        let id = envelope.id;
        let due = match self.unfinished.borrow_mut().get_mut(&id) {
            // A copy of a job that has ended.
            None => Some(Run::Done),
            Some(unfinished) => {
                unfinished.waits_until = None;
                if unfinished.while_waiting {
                    unfinished.key.take().map(|key| self.keys.borrow_mut().remove(&key));
                }
                None
            }
        };
        let run = match (due, self.numbers.get(&envelope.group)) {
            (Some(run), _) => run,
            (None, None) => Run::Done,
            (None, Some(number)) => {
                *self.measure.borrow_mut().runs.entry(kind_name(&envelope.kind)).or_default() += 1;
                runs::run(&self, *number, &envelope).await
            }
        };
        let mut ended = Ended::default();
        match run {
            Run::Done => {
                if let Some(Unfinished { key: Some(key), .. }) = self.unfinished.borrow_mut().remove(&id) {
                    self.keys.borrow_mut().remove(&key);
                }
                ended.finished.push(id);
            }
            Run::Snooze(until) => {
                self.measure.borrow_mut().snoozes += 1;
                ended.delayed.push((id, until.max(self.clock.now())));
            }
        }
        self.engine.end_leases(QUEUE, worker, &ended).await.unwrap_or_default();
        self.free.set(self.free.get() + 1);
        self.changed.notify_one();
    }

    /// Looks how things stand.
    fn look(&self) {
        let now = self.clock.now();
        let mut ages: BTreeMap<&'static str, Vec<u32>> = BTreeMap::new();
        let mut connected = 0_u32;
        for seller in &self.sellers {
            let seller = seller.borrow();
            // A newcomer's first walks take their time; how long is told by its history, not by ages.
            if !seller.is_connected(now - TimeDelta::hours(1)) {
                continue;
            }
            connected += 1;
            for (data_set, reached) in seller.stored.reached(seller.connected_at) {
                ages.entry(data_set).or_default().push(measure::since(reached, now));
            }
        }
        let mut measure = self.measure.borrow_mut();
        let hour = (now - self.beginning).as_seconds_f64() / 3_600.0;
        let mut sample = Sample { hour, ..Sample::default() };
        for (data_set, of_all) in ages {
            measure.ages(&mut sample, data_set, of_all);
        }
        let calls = self.amazon.take_calls();
        measure.called(&calls);
        for (operation, count) in calls {
            let entry = operation.entry();
            #[expect(clippy::cast_precision_loss, reason = "some millions")]
            let used =
                count as f64 / (entry.plan.rate * LOOK_EVERY.as_secs_f64() * f64::from(connected.max(1)));
            sample.used.insert(entry.name, used);
        }
        measure.samples.push(sample);
    }
}

/// A kind's schedule, and the job that it makes for a seller.
struct Ticked {
    schedule: Option<Schedule>,
    job: Box<dyn Fn(SellerId) -> NewJob>,
    wants: fn(&Seller, DateTime<Utc>) -> bool,
}

fn tick<J: queue::Job>(job: fn(SellerId) -> J) -> Ticked {
    // The tick of the history leaves out those whose history is whole.
    let wants: fn(&Seller, DateTime<Utc>) -> bool = if J::KIND == <BackfillOrders as queue::Job>::KIND {
        |seller, now| jobs::order_windows::next_page_back(&seller.stored.history, &[], now).is_some()
    } else {
        |_, _| true
    };
    Ticked {
        schedule: J::SCHEDULE,
        job: Box::new(move |seller| NewJob::of(&job(seller), Cause::Schedule)),
        wants,
    }
}

/// A kind's name as the catalog has it.
fn kind_name(kind: &str) -> &'static str {
    CATALOG.get(kind).map_or("unknown", |kind| kind.name)
}
