//! Four processes share budgets through one Redis, in real time: none is exceeded, and together they use them up.
//!
//! Each process says of every grant which time it asked with and how long the answer took. The budget's own time of the grant
//! lies between the two, so a span is exceeded only if more calls than allowed lie in it as a whole.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
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

/// One of the four: reads prefix, first and last moment from its input, and prints each call that it was granted.
#[test]
#[ignore = "is started by four_processes_share_budgets"]
fn asks_greedily() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the one who starts it says what to do");
    let words: Vec<_> = line.split_whitespace().collect();
    let [prefix, from, until] = words[..] else { panic!("not what was expected: {line}") };
    let moment =
        |text: &str| DateTime::from_timestamp_micros(text.parse().expect("a number")).expect("a moment");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let calls = runtime.block_on(ask_from_to(prefix, moment(from), moment(until)));
    println!();
    for call in calls {
        println!("call {} {} {}", call.seller, call.asked_at, call.answered_at);
    }
}

async fn ask_from_to(prefix: &str, from: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Call> {
    let url = ProcessEnvironment.get(env::REDIS_URL.name).expect("the one who starts it has it");
    let info = redis::IntoConnectionInfo::into_connection_info(url.as_str()).expect("a URL");
    let redis = Redis::open(info, prefix).await.expect("Redis is there");
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
    let from = SystemClock.now() + TimeDelta::seconds(2);
    let until = from + Duration::from_secs(SECONDS.into());
    let order =
        format!("{} {} {}\n", redis.redis.prefix(), from.timestamp_micros(), until.timestamp_micros());
    let processes: Vec<_> = (0..PROCESSES).map(|_| start_one(&order)).collect();
    let calls: Vec<_> = processes.into_iter().map(calls_of).collect();
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

fn start_one(order: &str) -> Child {
    let mut process = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", "budgets_processes::asks_greedily", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the process starts");
    let mut input = process.stdin.take().expect("its input is piped");
    input.write_all(order.as_bytes()).expect("it reads");
    process
}

fn calls_of(mut process: Child) -> Vec<Call> {
    let output = BufReader::new(process.stdout.take().expect("its output is piped"));
    let calls = output
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| {
            let numbers: Vec<i64> =
                line.strip_prefix("call ")?.split(' ').map(|n| n.parse().expect("a number")).collect();
            let [seller, asked_at, answered_at] = numbers[..] else { panic!("not a call: {line}") };
            Some(Call { seller: usize::try_from(seller).expect("0 or 1"), asked_at, answered_at })
        })
        .collect();
    assert!(process.wait().expect("it ends").success(), "the process failed");
    calls
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
