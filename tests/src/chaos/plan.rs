//! What goes wrong in a run of chaos, when, at whom and for how long: decided as a whole before it begins, from a number.
//!
//! The same number gives the same plan in the same build. Faults overlap, but never at the same target. They are dealt from
//! a shuffled deck that holds each sort at least once, so that a run of two minutes has them all.

use std::{collections::HashMap, fmt, ops::RangeInclusive, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

/// The two roles that are killed and stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Runs jobs.
    Worker,
    /// Decides when.
    Scheduler,
}

impl Role {
    /// The name of its program.
    #[must_use]
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Scheduler => "scheduler",
        }
    }
}

/// One process of ours, which is started again after each end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Whom {
    /// What it is.
    pub(super) role: Role,
    /// Which one, from 1.
    pub(super) number: usize,
}

/// One of the two servers, or the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Server {
    /// What is quick.
    Redis,
    /// What remembers.
    Postgres,
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `kill -9` of a process, started again after `down`.
    Kill {
        /// Who.
        whom: Whom,
        /// How long nobody is in its place.
        down: Duration,
    },
    /// SIGSTOP of a process, SIGCONT after `lasts`.
    Stop {
        /// Who.
        whom: Whom,
        /// How long.
        lasts: Duration,
    },
    /// A server is stopped in good order, and started again after `down`.
    Restart {
        /// Which.
        server: Server,
        /// How long it is away.
        down: Duration,
    },
    /// `kill -9` of a server, started again after `down`.
    Crash {
        /// Which.
        server: Server,
        /// How long it is away.
        down: Duration,
    },
    /// `FLUSHALL`.
    Flush,
    /// All connections to a server are reset.
    Cut {
        /// To which.
        server: Server,
    },
    /// All connections to a server are reset, and new ones refused.
    Refuse {
        /// To which.
        server: Server,
        /// How long.
        lasts: Duration,
    },
    /// What passes to and from a server is late.
    Slow {
        /// Which.
        server: Server,
        /// How late, each way.
        latency: Duration,
        /// How long.
        lasts: Duration,
    },
    /// Nothing passes to and from a server, but connections stay.
    Hang {
        /// Which.
        server: Server,
        /// How long.
        lasts: Duration,
    },
}

/// What a fault happens to: only one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// A process.
    Process(Whom),
    /// A server itself.
    Server(Server),
    /// The way to a server.
    Way(Server),
}

impl Fault {
    /// What it happens to.
    #[must_use]
    pub(super) const fn target(self) -> Target {
        match self {
            Self::Kill { whom, .. } | Self::Stop { whom, .. } => Target::Process(whom),
            Self::Restart { server, .. } | Self::Crash { server, .. } => Target::Server(server),
            Self::Flush => Target::Server(Server::Redis),
            Self::Cut { server }
            | Self::Refuse { server, .. }
            | Self::Slow { server, .. }
            | Self::Hang { server, .. } => Target::Way(server),
        }
    }

    /// From its beginning until it is over.
    #[must_use]
    pub(super) const fn lasts(self) -> Duration {
        match self {
            Self::Kill { down, .. } | Self::Restart { down, .. } | Self::Crash { down, .. } => down,
            Self::Stop { lasts, .. }
            | Self::Refuse { lasts, .. }
            | Self::Slow { lasts, .. }
            | Self::Hang { lasts, .. } => lasts,
            Self::Flush | Self::Cut { .. } => Duration::ZERO,
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role.program(), self.number)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Postgres => "Postgres",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |length: &Duration| format!("{:.1} s", length.as_secs_f64());
        match self {
            Self::Kill { whom, down } => {
                write!(f, "kill -9 {whom}, in its place again after {}", seconds(down))
            }
            Self::Stop { whom, lasts } => write!(f, "SIGSTOP {whom} for {}", seconds(lasts)),
            Self::Restart { server, down } => write!(f, "restart {server}, away for {}", seconds(down)),
            Self::Crash { server, down } => write!(f, "kill -9 {server}, away for {}", seconds(down)),
            Self::Flush => write!(f, "FLUSHALL"),
            Self::Cut { server } => write!(f, "cut connections to {server}"),
            Self::Refuse { server, lasts } => {
                write!(f, "refuse connections to {server} for {}", seconds(lasts))
            }
            Self::Slow { server, latency, lasts } => {
                write!(f, "slow {server}: {} ms late for {}", latency.as_millis(), seconds(lasts))
            }
            Self::Hang { server, lasts } => write!(f, "nothing passes to {server} for {}", seconds(lasts)),
        }
    }
}

/// A sort of fault: what is counted in the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Sort {
    /// `kill -9` of a worker.
    KillWorker,
    /// `kill -9` of a scheduler.
    KillScheduler,
    /// A worker stands still, shorter than its lease.
    StopWorker,
    /// A worker stands still until its lease has ended.
    StopWorkerPastItsLease,
    /// A scheduler stands still.
    StopScheduler,
    /// Redis is restarted.
    RestartRedis,
    /// Redis is killed.
    KillRedis,
    /// Redis forgets everything.
    FlushRedis,
    /// Postgres is restarted.
    RestartPostgres,
    /// Postgres is killed.
    KillPostgres,
    /// Connections to Redis are cut.
    CutRedis,
    /// Connections to Postgres are cut.
    CutPostgres,
    /// Redis cannot be reached.
    RefuseRedis,
    /// Postgres cannot be reached.
    RefusePostgres,
    /// The way to Redis is slow.
    SlowRedis,
    /// The way to Postgres is slow.
    SlowPostgres,
    /// Redis does not answer.
    HangRedis,
    /// Postgres does not answer.
    HangPostgres,
}

/// How often the deck has a sort that is in it more than once.
const MORE_THAN_ONCE: [(Sort, usize); 3] =
    [(Sort::KillWorker, 5), (Sort::KillScheduler, 2), (Sort::FlushRedis, 2)];

impl Sort {
    /// All of them.
    pub(super) const ALL: [Self; 18] = [
        Self::KillWorker,
        Self::KillScheduler,
        Self::StopWorker,
        Self::StopWorkerPastItsLease,
        Self::StopScheduler,
        Self::RestartRedis,
        Self::KillRedis,
        Self::FlushRedis,
        Self::RestartPostgres,
        Self::KillPostgres,
        Self::CutRedis,
        Self::CutPostgres,
        Self::RefuseRedis,
        Self::RefusePostgres,
        Self::SlowRedis,
        Self::SlowPostgres,
        Self::HangRedis,
        Self::HangPostgres,
    ];

    fn draw(self, random: &mut StdRng, cast: Cast) -> Fault {
        let worker = |random: &mut StdRng| Whom {
            role: Role::Worker,
            number: random.random_range(1..=cast.workers.max(1)),
        };
        let scheduler = |random: &mut StdRng| Whom {
            role: Role::Scheduler,
            number: random.random_range(1..=cast.schedulers.max(1)),
        };
        let (redis, postgres) = (Server::Redis, Server::Postgres);
        match self {
            Self::KillWorker => Fault::Kill { whom: worker(random), down: within(random, 0..=3_000) },
            Self::KillScheduler => Fault::Kill { whom: scheduler(random), down: within(random, 0..=4_000) },
            Self::StopWorker => Fault::Stop { whom: worker(random), lasts: within(random, 1_000..=7_000) },
            // The lease lasts 10 s; above 14 s a call to Amazon that it had begun counts as ended.
            Self::StopWorkerPastItsLease => {
                Fault::Stop { whom: worker(random), lasts: within(random, 11_000..=18_000) }
            }
            Self::StopScheduler => {
                Fault::Stop { whom: scheduler(random), lasts: within(random, 2_000..=10_000) }
            }
            Self::RestartRedis => Fault::Restart { server: redis, down: within(random, 100..=4_000) },
            Self::KillRedis => Fault::Crash { server: redis, down: within(random, 100..=4_000) },
            Self::FlushRedis => Fault::Flush,
            Self::RestartPostgres => Fault::Restart { server: postgres, down: within(random, 100..=4_000) },
            Self::KillPostgres => Fault::Crash { server: postgres, down: within(random, 100..=4_000) },
            Self::CutRedis => Fault::Cut { server: redis },
            Self::CutPostgres => Fault::Cut { server: postgres },
            Self::RefuseRedis => Fault::Refuse { server: redis, lasts: within(random, 500..=5_000) },
            Self::RefusePostgres => Fault::Refuse { server: postgres, lasts: within(random, 500..=5_000) },
            Self::SlowRedis => slow(random, redis),
            Self::SlowPostgres => slow(random, postgres),
            Self::HangRedis => Fault::Hang { server: redis, lasts: within(random, 1_000..=12_000) },
            Self::HangPostgres => Fault::Hang { server: postgres, lasts: within(random, 1_000..=12_000) },
        }
    }
}

fn slow(random: &mut StdRng, server: Server) -> Fault {
    Fault::Slow { server, latency: within(random, 20..=300), lasts: within(random, 2_000..=8_000) }
}

/// A length of time, of so many milliseconds.
fn within(random: &mut StdRng, milliseconds: RangeInclusive<u64>) -> Duration {
    Duration::from_millis(random.random_range(milliseconds))
}

/// Who plays.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cast {
    /// Workers.
    pub(super) workers: usize,
    /// Schedulers.
    pub(super) schedulers: usize,
}

/// One fault and its moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Since the beginning.
    pub(super) at: Duration,
    /// Its sort.
    pub(super) sort: Sort,
    /// What goes wrong.
    pub(super) fault: Fault,
}

/// The first fault comes after this: the system has begun to work.
const BEGINS: Duration = Duration::from_secs(2);
/// After a fault its target has this long to be itself again.
const REST: Duration = Duration::from_secs(2);

/// The whole plan: faults for `length`, on the average one each `every`. The last one is over before the end.
#[must_use]
pub(super) fn plan(seed: u64, length: Duration, every: Duration, cast: Cast) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX / 4).max(10);
    let mut steps = Vec::new();
    let mut deck = Vec::new();
    let mut free_at: HashMap<Target, Duration> = HashMap::new();
    let mut at = BEGINS;
    while at < length {
        if deck.is_empty() {
            deck = shuffled_deck(&mut random);
        }
        let Some(sort): Option<Sort> = deck.pop() else { break };
        let fault = sort.draw(&mut random, cast);
        let begins = free_at.get(&fault.target()).map_or(at, |free| at.max(*free));
        let ends = begins + fault.lasts();
        if ends <= length {
            free_at.insert(fault.target(), ends + REST);
            steps.push(Step { at: begins, sort, fault });
        }
        at += within(&mut random, every_ms / 10..=every_ms * 19 / 10);
    }
    steps.sort_by_key(|step| step.at);
    steps
}

fn shuffled_deck(random: &mut StdRng) -> Vec<Sort> {
    let times = |sort: Sort| match MORE_THAN_ONCE.iter().find(|(more, _)| *more == sort) {
        Some((_, times)) => *times,
        None => 1,
    };
    let mut deck: Vec<_> =
        Sort::ALL.into_iter().flat_map(|sort| std::iter::repeat_n(sort, times(sort))).collect();
    deck.shuffle(random);
    deck
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const CAST: Cast = Cast { workers: 3, schedulers: 2 };
    const TWO_MINUTES: Duration = Duration::from_secs(120);
    const EVERY: Duration = Duration::from_secs(3);

    #[test]
    fn the_same_seed_is_the_same_plan() {
        for seed in 0..50 {
            assert_eq!(plan(seed, TWO_MINUTES, EVERY, CAST), plan(seed, TWO_MINUTES, EVERY, CAST), "{seed}");
        }
        assert_ne!(plan(1, TWO_MINUTES, EVERY, CAST), plan(2, TWO_MINUTES, EVERY, CAST));
    }

    #[test]
    fn at_the_end_nothing_is_wrong_any_more() {
        for seed in 0..500 {
            for length in [Duration::from_secs(5), Duration::from_secs(30), TWO_MINUTES] {
                for step in plan(seed, length, EVERY, CAST) {
                    assert!(step.at + step.fault.lasts() <= length, "seed {seed}: {step:?}");
                }
            }
        }
    }

    #[test]
    fn a_target_has_one_fault_at_a_time_and_rests_before_the_next() {
        for seed in 0..500 {
            let mut free_at = HashMap::new();
            for step in plan(seed, TWO_MINUTES, EVERY, CAST) {
                let free = free_at.get(&step.fault.target()).copied().unwrap_or_default();
                assert!(step.at >= free, "seed {seed}: {step:?}");
                free_at.insert(step.fault.target(), step.at + step.fault.lasts() + REST);
            }
        }
    }

    #[test]
    fn everybody_has_a_turn_and_nobody_else() {
        let mut workers = BTreeSet::new();
        let mut schedulers = BTreeSet::new();
        for seed in 0..50 {
            for step in plan(seed, TWO_MINUTES, EVERY, CAST) {
                if let Target::Process(Whom { role, number }) = step.fault.target() {
                    match role {
                        Role::Worker => workers.insert(number),
                        Role::Scheduler => schedulers.insert(number),
                    };
                }
            }
        }
        assert_eq!((workers, schedulers), ([1, 2, 3].into(), [1, 2].into()));
    }
}
