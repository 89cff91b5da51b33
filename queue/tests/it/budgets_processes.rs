//! Four processes share budgets through one Redis, in real time: none is exceeded, and together they use them up.
//!
//! Each process says of every grant which time it asked with and how long the answer took. The budget's own time of the grant
//! lies between the two, so a span is exceeded only if more calls than allowed lie in it as a whole.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use queue::limit::{Budget, Budgets, Grant};
use runtime::{
    clock::{Clock, SystemClock},
    env::{self, Environment, ProcessEnvironment},
    redis::Redis,
    testing::TestRedis,
};
use tokio::task::JoinSet;

const PROCESSES: usize = 4;
/// Jobs in each process that always want another call.
const JOBS: usize = 40;
const SECONDS: u32 = 5;

/// Two sellers with 200 calls a second each, and a cap of 300 that they share; half a second of each is saved up.
fn of_seller(number: usize) -> [Budget; 2] {
    [
        Budget { name: format!("searchOrders:seller-{number}"), rate: 200.0, burst: 100 },
        Budget { name: "searchOrders:application".to_owned(), rate: 300.0, burst: 150 },
    ]
}

/// A call that was granted: to which seller, asked at, and answered after, both in microseconds.
#[derive(Debug, Clone, Copy)]
struct Call {
    seller: usize,
    asked_at: i64,
    answered_at: i64,
}

/// One of the four: reads the prefix from its input, says when it is ready, reads the first and the last moment, and prints
/// each call that it was granted between them.
#[test]
#[ignore = "is started by four_processes_share_budgets"]
fn asks_greedily() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let redis = runtime.block_on(connect(&next_line()));
    println!("\nready");
    let order = next_line();
    let moments: Vec<_> = order
        .split(' ')
        .map(|text| DateTime::from_timestamp_micros(text.parse().expect("a number")).expect("a moment"))
        .collect();
    let [from, until] = moments[..] else { panic!("not two moments: {order}") };
    for call in runtime.block_on(ask_from_to(&redis, from, until)) {
        println!("call {} {} {}", call.seller, call.asked_at, call.answered_at);
    }
}

fn next_line() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the one who starts it says what to do");
    line.trim().to_owned()
}

async fn connect(prefix: &str) -> Redis {
    let url = ProcessEnvironment.get(env::REDIS_URL.name).expect("the one who starts it has it");
    let info = redis::IntoConnectionInfo::into_connection_info(url.as_str()).expect("a URL");
    Redis::open(info, prefix).await.expect("Redis is there")
}

async fn ask_from_to(redis: &Redis, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Call> {
    let mut jobs = JoinSet::new();
    for job in 0..JOBS {
        // All processes and the server are on one host, whose clock they share.
        let budgets = Budgets::new(redis.clone(), Arc::new(SystemClock));
        jobs.spawn(async move { job_asks(&budgets, job % 2, from, until).await });
    }
    jobs.join_all().await.concat()
}

async fn job_asks(budgets: &Budgets, seller: usize, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut ticket = uuid::Uuid::new_v4().to_string();
    sleep_until(from).await;
    loop {
        let before = SystemClock.now();
        if before >= until {
            return calls;
        }
        match budgets.ask(&of_seller(seller), &ticket).await.expect("Redis is there") {
            Grant::Now => {
                let answered_at = SystemClock.now().timestamp_micros();
                calls.push(Call { seller, asked_at: before.timestamp_micros(), answered_at });
                ticket = uuid::Uuid::new_v4().to_string();
            }
            Grant::At { moment, .. } => sleep_until(moment).await,
        }
    }
}

async fn sleep_until(moment: DateTime<Utc>) {
    let wait = (moment - SystemClock.now()).to_std().unwrap_or_default();
    tokio::time::sleep(wait).await;
}

#[test]
fn four_processes_share_budgets() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let redis = runtime.block_on(TestRedis::new());
    let mut processes: Vec<_> = (0..PROCESSES).map(|_| Asker::start(redis.redis.prefix())).collect();
    let from = SystemClock.now() + TimeDelta::milliseconds(200);
    let until = from + Duration::from_secs(SECONDS.into());
    for process in &mut processes {
        process.say(&format!("{} {}", from.timestamp_micros(), until.timestamp_micros()));
    }
    let calls: Vec<_> = processes.into_iter().map(Asker::calls).collect();
    assert!(calls.iter().all(|calls| !calls.is_empty()), "each process gets some");

    let all = calls.concat();
    let [_, cap] = of_seller(0);
    not_exceeded(&cap, all.clone());
    for number in 0..2 {
        let [seller, _] = of_seller(number);
        not_exceeded(&seller, all.iter().copied().filter(|call| call.seller == number).collect());
    }
    let plan = f64::from(cap.burst) + cap.rate * f64::from(SECONDS);
    let used = f64::from(u32::try_from(all.len()).expect("few"));
    println!("{used} of {plan} calls: {:.1} %", used / plan * 100.0);
    assert!(used >= plan * 0.97, "{used} of {plan}");
}

/// A process that asks.
struct Asker {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Asker {
    /// Starts one and waits until it is ready.
    fn start(prefix: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["--exact", "budgets_processes::asks_greedily", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the process starts");
        let output = BufReader::new(process.stdout.take().expect("its output is piped")).lines();
        let mut asker = Self { process, output };
        asker.say(prefix);
        let ready = asker.output.by_ref().map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "the process ended before it was ready");
        asker
    }

    fn say(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().expect("its input is piped");
        writeln!(input, "{line}").expect("it reads");
    }

    /// What it was granted, when it has ended.
    fn calls(mut self) -> Vec<Call> {
        let lines = self.output.map_while(Result::ok);
        let calls = lines
            .filter_map(|line| {
                let numbers: Vec<i64> =
                    line.strip_prefix("call ")?.split(' ').map(|n| n.parse().expect("a number")).collect();
                let [seller, asked_at, answered_at] = numbers[..] else { panic!("not a call: {line}") };
                Some(Call { seller: usize::try_from(seller).expect("0 or 1"), asked_at, answered_at })
            })
            .collect();
        assert!(self.process.wait().expect("it ends").success(), "the process failed");
        calls
    }
}

/// No span of time has more calls wholly in it than the burst and what the rate gives.
fn not_exceeded(budget: &Budget, mut calls: Vec<Call>) {
    calls.sort_by_key(|call| call.answered_at);
    for first in &calls {
        let mut inside = 0_u32;
        for call in calls.iter().filter(|call| call.asked_at >= first.asked_at) {
            inside += 1;
            #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
            let seconds = (call.answered_at - first.asked_at) as f64 / 1e6;
            let allowed = f64::from(budget.burst) + budget.rate * seconds;
            assert!(f64::from(inside) <= allowed, "{inside} calls in {seconds} s of {budget:?}");
        }
    }
}
