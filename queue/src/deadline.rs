//! How a job stands to its deadline. Pure: what is known of a job goes in, a level and its reason come out.
//!
//! **Latest safe start** = deadline − the p99 of a run − the reserve for retries (their delays and runs) − the wait for its
//! budgets. Half, three quarters and nine tenths are parts of the way from the job's birth to there. All moments are UTC, so
//! no change of a wall clock moves them.

use std::{fmt, str::FromStr, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{policy::Policy, retry, state::State};

/// How near a job is to its deadline, the calmest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Level {
    /// Nothing to say.
    Fits,
    /// Half of the way from birth to the latest safe start has passed, and it has not begun.
    Half,
    /// Three quarters of it.
    ThreeQuarters,
    /// Nine tenths of it.
    NineTenths,
    /// The latest safe start has passed, and it has not begun.
    MustStartNow,
    /// Even if it began as soon as it can, a usual run would end late; or it is a dead letter.
    CannotFit,
    /// The deadline has passed, and it was not done.
    Missed,
}

impl Level {
    /// All levels, the calmest first.
    pub const ALL: [Self; 7] = [
        Self::Fits,
        Self::Half,
        Self::ThreeQuarters,
        Self::NineTenths,
        Self::MustStartNow,
        Self::CannotFit,
        Self::Missed,
    ];

    /// As stored and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Half => "half",
            Self::ThreeQuarters => "three quarters",
            Self::NineTenths => "nine tenths",
            Self::MustStartNow => "must start now",
            Self::CannotFit => "cannot fit",
            Self::Missed => "missed",
        }
    }

    /// The tenths and quarters of the way from birth to the latest safe start, with what share of it they are.
    const PARTS: [(Self, f64); 3] = [(Self::NineTenths, 0.9), (Self::ThreeQuarters, 0.75), (Self::Half, 0.5)];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|level| level.name()).collect();
            format!("`{text}` is not a level; the levels are {}", known.join(", "))
        })
    }
}

impl TryFrom<String> for Level {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Level> for String {
    fn from(level: Level) -> Self {
        level.name().to_owned()
    }
}

/// How long a run of a kind takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTime {
    /// 99 of 100 runs took no longer.
    pub p99: Duration,
    /// How many runs that was measured on; 0 where none has ended well yet, and the longest time that the kind allows
    /// stands in.
    pub measured: u32,
}

impl RunTime {
    /// What is assumed of a kind that has not run yet: that each run takes as long as it may.
    #[must_use]
    pub const fn unmeasured(policy: &Policy) -> Self {
        Self { p99: policy.timeout, measured: 0 }
    }
}

/// What a job waits for before it may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// A free worker.
    Worker,
    /// The moment that whoever enqueued it asked for; it is not late before then.
    FirstStart(DateTime<Utc>),
    /// The delay before its next attempt, which may be cut short.
    NextAttempt(DateTime<Utc>),
    /// A moment that was set aside for it, mostly by a budget; coming earlier would not help.
    Slot(DateTime<Utc>),
}

/// What is known of a job that must be done by a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// When it was enqueued.
    pub created_at: DateTime<Utc>,
    /// When it must be done.
    pub deadline_at: DateTime<Utc>,
    /// What it is now.
    pub state: State,
    /// What it waits for, while it is ready or delayed.
    pub waits: Waits,
    /// Failed attempts.
    pub attempts: i32,
    /// When its last run began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// From when the budgets that its kind asks have a call for it, where that is known.
    pub budgets_free_at: Option<DateTime<Utc>>,
}

/// How a job stands to its deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// The last moment to begin at which everything still fits.
    pub latest_safe_start: DateTime<Utc>,
    /// How near it is.
    pub level: Level,
    /// What was counted, in words.
    pub why: String,
    /// When it is worth looking again, if nothing happens to the job; `None`: never.
    pub look_at: Option<DateTime<Utc>>,
}

/// Longest time that is counted for anything: moments must stay such that Postgres can store them.
const LONGEST: TimeDelta = TimeDelta::days(3_650);
/// What is known of runs and budgets changes, so a job is looked at again after a twentieth of the time left, within these.
const SOONEST_LOOK: TimeDelta = TimeDelta::seconds(1);
const LATEST_LOOK: TimeDelta = TimeDelta::minutes(5);
/// Moments are compared as "has passed", so the next look comes just after one.
const JUST_AFTER: TimeDelta = TimeDelta::milliseconds(1);

/// How a job stands to its deadline at `now`.
#[must_use]
pub fn outlook(subject: &Subject, run_time: RunTime, policy: &Policy, now: DateTime<Utc>) -> Outlook {
    let needs = Needs::of(subject, run_time, policy, now);
    let latest_safe_start = subject.deadline_at - needs.all();
    let (level, what) = level(subject, &needs, latest_safe_start, now);
    let why = if level == Level::Fits || level == Level::Missed { what } else { format!("{what}; {needs}") };
    let look_at = next_look(subject, &needs, level, latest_safe_start, now);
    Outlook { latest_safe_start, level, why, look_at }
}

/// What must still fit before the deadline.
struct Needs {
    run: TimeDelta,
    measured: u32,
    retries: i32,
    reserve: TimeDelta,
    /// The earliest moment at which it may begin, budgets aside.
    free_to_begin_at: DateTime<Utc>,
    /// How long after that its budgets are empty.
    budgets: TimeDelta,
}

impl Needs {
    fn of(subject: &Subject, run_time: RunTime, policy: &Policy, now: DateTime<Utc>) -> Self {
        let run = delta(run_time.p99);
        let left = policy.max_attempts.saturating_sub(subject.attempts).saturating_sub(1).max(0);
        let retries = policy.reserve_retries.clamp(0, left);
        let reserve = (1..=retries).try_fold(TimeDelta::zero(), |sum, n| {
            let delay = delta(retry::delay(policy, subject.attempts.saturating_add(n), 0.0));
            sum.checked_add(&(delay + run)).filter(|sum| *sum < LONGEST)
        });
        let (free_to_begin_at, has_a_slot) = match subject.waits {
            Waits::Worker | Waits::NextAttempt(_) => (now, false),
            Waits::FirstStart(at) => (now.max(at), false),
            Waits::Slot(at) => (now.max(at), true),
        };
        // Whoever holds a slot of a budget does not queue up for it again.
        let free_at = subject.budgets_free_at.filter(|_| !has_a_slot && subject.state != State::Running);
        let budgets = free_at.map_or(TimeDelta::zero(), |at| bounded(at - free_to_begin_at));
        let reserve = reserve.unwrap_or(LONGEST);
        Self { run, measured: run_time.measured, retries, reserve, free_to_begin_at, budgets }
    }

    fn all(&self) -> TimeDelta {
        self.run + self.reserve + self.budgets
    }

    /// When it could make its first call, if it began as soon as it may.
    fn begins_at(&self) -> DateTime<Utc> {
        self.free_to_begin_at + self.budgets
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a run takes up to {}", words(self.run))?;
        match self.measured {
            0 => write!(f, " (the kind's longest time: none has been measured yet)")?,
            1 => write!(f, " (as the last one did)")?,
            runs => write!(f, " (p99 of {runs} runs)")?,
        }
        match self.retries {
            0 => {}
            1 => write!(f, ", 1 retry {}", words(self.reserve))?,
            retries => write!(f, ", {retries} retries {}", words(self.reserve))?,
        }
        if self.budgets > TimeDelta::zero() {
            write!(f, ", its budgets are empty for {}", words(self.budgets))?;
        }
        Ok(())
    }
}

fn level(
    subject: &Subject,
    needs: &Needs,
    latest_safe_start: DateTime<Utc>,
    now: DateTime<Utc>,
) -> (Level, String) {
    let deadline_at = subject.deadline_at;
    let said = |level: Level, what: &str| (level, what.to_owned());
    match subject.state {
        State::Cancelled => return said(Level::Fits, "it was cancelled"),
        State::Done => {
            let late = subject.finished_at.map_or(TimeDelta::zero(), |at| at - deadline_at);
            return if late > TimeDelta::zero() {
                (Level::Missed, format!("it was done {} after its deadline", words(late)))
            } else {
                said(Level::Fits, "it was done in time")
            };
        }
        _ if now > deadline_at => {
            return (Level::Missed, format!("its deadline has passed, and it is {}", subject.state));
        }
        State::Dead => {
            return said(Level::CannotFit, "it is a dead letter: it runs again only if a person says so");
        }
        State::Running => {
            let ends_at = subject.started_at.unwrap_or(now) + needs.run;
            return if ends_at > deadline_at {
                said(Level::CannotFit, "its run began too late to end in time")
            } else {
                said(Level::Fits, "it runs")
            };
        }
        State::Ready | State::Delayed => {}
    }
    if needs.begins_at() + needs.run > deadline_at {
        return said(Level::CannotFit, "a run that begins as soon as it can would end late");
    }
    match subject.waits {
        _ if now >= latest_safe_start => {
            return said(Level::MustStartNow, "its latest safe start has passed");
        }
        Waits::NextAttempt(at) if at + needs.run > deadline_at => {
            return said(Level::MustStartNow, "its next attempt would come too late");
        }
        Waits::FirstStart(at) | Waits::Slot(at) if at > latest_safe_start => {
            return said(Level::MustStartNow, "the moment that it waits for is after its latest safe start");
        }
        Waits::FirstStart(at) if now < at => return said(Level::Fits, "it waits for its first start"),
        _ => {}
    }
    match Level::PARTS.into_iter().find(|(_, share)| now >= part(subject, latest_safe_start, *share)) {
        Some((level, _)) => (level, format!("{level} of the time to its latest safe start has passed")),
        None => said(Level::Fits, "it has time"),
    }
}

/// The moment at which this share of the way from birth to the latest safe start has passed.
fn part(subject: &Subject, latest_safe_start: DateTime<Utc>, share: f64) -> DateTime<Utc> {
    let way = bounded(latest_safe_start - subject.created_at).to_std().unwrap_or_default();
    subject.created_at + bounded(delta(way.mul_f64(share)))
}

fn next_look(
    subject: &Subject,
    needs: &Needs,
    level: Level,
    latest_safe_start: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let done_for = matches!(subject.state, State::Done | State::Cancelled) || level == Level::Missed;
    if done_for {
        return None;
    }
    let deadline_at = subject.deadline_at;
    let parts = Level::PARTS.map(|(_, share)| part(subject, latest_safe_start, share));
    let first_start = match subject.waits {
        Waits::FirstStart(at) => at,
        _ => now,
    };
    let moments = [latest_safe_start, deadline_at - needs.run, deadline_at, first_start];
    let until = if now < latest_safe_start { latest_safe_start } else { deadline_at };
    let again = now + ((until - now) / 20).clamp(SOONEST_LOOK, LATEST_LOOK);
    let next = moments.into_iter().chain(parts).filter(|at| *at >= now).min();
    Some(next.map_or(again, |at| (at + JUST_AFTER).min(again)))
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).map_or(LONGEST, |delta| delta.min(LONGEST))
}

fn bounded(delta: TimeDelta) -> TimeDelta {
    delta.clamp(TimeDelta::zero(), LONGEST)
}

/// A length of time for people, in its largest unit or two.
fn words(length: TimeDelta) -> String {
    let seconds = length.num_seconds();
    match seconds {
        ..1 => format!("{} ms", length.num_milliseconds()),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A minute a run at most, ten attempts, delays of 10 s, 20 s, 40 s … 5 min, two of them in reserve.
    const POLICY: Policy = Policy::sync().delays(Duration::from_secs(10), Duration::from_secs(300));
    /// Ten seconds a run: with the delays 10 s and 20 s and two more runs, 60 s are needed in all.
    const RUN_TIME: RunTime = RunTime { p99: Duration::from_secs(10), measured: 340 };

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + seconds, 0).expect("a moment")
    }

    /// Ready from second 0, to be done by second 1,060: its latest safe start is second 1,000.
    fn subject() -> Subject {
        Subject {
            created_at: at(0),
            deadline_at: at(1_060),
            state: State::Ready,
            waits: Waits::Worker,
            attempts: 0,
            started_at: None,
            finished_at: None,
            budgets_free_at: None,
        }
    }

    fn seen(subject: &Subject, seconds: i64) -> Outlook {
        outlook(subject, RUN_TIME, &POLICY, at(seconds))
    }

    fn delayed(waits: Waits) -> Subject {
        Subject { state: State::Delayed, waits, ..subject() }
    }

    #[test]
    fn a_waiting_job_goes_through_the_levels_one_after_the_other() {
        let levels: Vec<_> = [0, 499, 500, 750, 900, 999, 1_000, 1_050, 1_051, 1_060, 1_061]
            .into_iter()
            .map(|seconds| seen(&subject(), seconds).level)
            .collect();
        use Level::{CannotFit, Fits, Half, Missed, MustStartNow, NineTenths, ThreeQuarters};
        assert_eq!(
            levels,
            [
                Fits,
                Fits,
                Half,
                ThreeQuarters,
                NineTenths,
                NineTenths,
                MustStartNow,
                MustStartNow,
                CannotFit,
                CannotFit,
                Missed
            ]
        );
        assert_eq!(seen(&subject(), 1).latest_safe_start, at(1_000));
        assert_eq!(
            seen(&subject(), 1_000).why,
            "its latest safe start has passed; a run takes up to 10 s (p99 of 340 runs), 2 retries 50 s"
        );
    }

    #[test]
    fn what_has_no_room_at_birth_is_told_at_once() {
        let born = |deadline| Subject { deadline_at: at(deadline), ..subject() };
        assert_eq!(seen(&born(9), 0).level, Level::CannotFit);
        assert_eq!(seen(&born(59), 0).level, Level::MustStartNow, "a run fits, its retries do not");
        assert_eq!(seen(&born(61), 0).level, Level::Fits);
        assert_eq!(seen(&born(-1), 0).level, Level::Missed);
    }

    #[test]
    fn where_nothing_has_run_yet_a_run_counts_as_long_as_it_may_take() {
        let unmeasured = outlook(&subject(), RunTime::unmeasured(&POLICY), &POLICY, at(1_055));
        assert_eq!(unmeasured.latest_safe_start, at(1_060 - 60 - 10 - 60 - 20 - 60));
        assert_eq!(unmeasured.level, Level::CannotFit);
        assert!(unmeasured.why.contains("none has been measured yet"), "{}", unmeasured.why);
    }

    #[test]
    fn only_attempts_that_are_left_are_kept_in_reserve() {
        let start = |attempts| seen(&Subject { attempts, ..subject() }, 0).latest_safe_start;
        assert_eq!(start(7), at(1_060 - 10 - 2 * 310), "the delays have grown by now");
        assert_eq!(start(8), at(1_060 - 10 - 310));
        assert_eq!(start(9), at(1_060 - 10));
        assert_eq!(start(i32::MAX), at(1_060 - 10));
        let none = POLICY.reserve_retries(0);
        assert_eq!(outlook(&subject(), RUN_TIME, &none, at(0)).latest_safe_start, at(1_060 - 10));
    }

    #[test]
    fn empty_budgets_move_the_latest_safe_start() {
        let waits = Subject { budgets_free_at: Some(at(300)), ..subject() };
        assert_eq!(seen(&waits, 0).latest_safe_start, at(700));
        assert!(seen(&waits, 400).why.starts_with("it has time"));
        assert_eq!(seen(&waits, 400).latest_safe_start, at(1_000), "they are free by now");
        let too_late = Subject { budgets_free_at: Some(at(1_051)), ..subject() };
        assert_eq!(seen(&too_late, 0).level, Level::CannotFit);
        assert!(seen(&too_late, 0).why.contains("its budgets are empty for 17 min"));
    }

    #[test]
    fn a_slot_that_was_set_aside_is_not_waited_for_twice() {
        let slot = Subject { budgets_free_at: Some(at(1_100)), ..delayed(Waits::Slot(at(600))) };
        assert_eq!(seen(&slot, 0).latest_safe_start, at(1_000));
        assert_eq!(seen(&slot, 599).level, Level::Half);
        assert_eq!(seen(&delayed(Waits::Slot(at(1_001))), 0).level, Level::MustStartNow);
        assert_eq!(seen(&delayed(Waits::Slot(at(1_051))), 0).level, Level::CannotFit);
    }

    #[test]
    fn a_job_that_waits_for_its_first_start_is_not_late_before_it() {
        let first = |seconds| delayed(Waits::FirstStart(at(seconds)));
        assert_eq!(seen(&first(950), 949).level, Level::Fits);
        assert_eq!(seen(&first(950), 950).level, Level::NineTenths);
        assert_eq!(seen(&first(1_001), 0).level, Level::MustStartNow, "it will begin too late");
        assert_eq!(seen(&first(1_051), 0).level, Level::CannotFit);
    }

    #[test]
    fn a_next_attempt_that_would_come_too_late_must_come_now() {
        let next = |seconds| delayed(Waits::NextAttempt(at(seconds)));
        assert_eq!(seen(&next(1_050), 100).level, Level::Fits);
        assert_eq!(seen(&next(1_051), 100).level, Level::MustStartNow);
        assert_eq!(seen(&next(1_051), 1_051).level, Level::CannotFit, "even now would be too late");
    }

    #[test]
    fn a_run_that_began_in_time_is_left_alone_and_one_that_did_not_cannot_fit() {
        let running = |began| Subject { state: State::Running, started_at: Some(at(began)), ..subject() };
        assert_eq!(seen(&running(1_050), 1_055).level, Level::Fits);
        assert_eq!(seen(&running(1_051), 1_051).level, Level::CannotFit);
        assert_eq!(seen(&running(1_050), 1_061).level, Level::Missed);
    }

    #[test]
    fn what_has_ended_is_judged_by_its_end() {
        let ended = |state, seconds| Subject { state, finished_at: Some(at(seconds)), ..subject() };
        assert_eq!(seen(&ended(State::Done, 1_060), 9_999).level, Level::Fits);
        let late = seen(&ended(State::Done, 1_090), 9_999);
        assert_eq!((late.level, late.look_at), (Level::Missed, None));
        assert_eq!(late.why, "it was done 30 s after its deadline");
        assert_eq!(seen(&ended(State::Cancelled, 1_090), 9_999).level, Level::Fits);
        assert_eq!(seen(&ended(State::Dead, 5), 6).level, Level::CannotFit, "only a person can help");
        assert_eq!(seen(&ended(State::Dead, 5), 1_061).level, Level::Missed);
    }

    #[test]
    fn names_are_read_back() {
        for level in Level::ALL {
            assert_eq!(level.name().parse(), Ok(level));
        }
        assert!("late".parse::<Level>().expect_err("no level").contains("nine tenths"));
    }

    fn subjects() -> impl Strategy<Value = (Subject, RunTime)> {
        let state = prop::sample::select(vec![State::Ready, State::Delayed, State::Running, State::Dead]);
        let waits = (0..4, -100_i64..3_000).prop_map(|(which, seconds)| match which {
            0 => Waits::Worker,
            1 => Waits::FirstStart(at(seconds)),
            2 => Waits::NextAttempt(at(seconds)),
            _ => Waits::Slot(at(seconds)),
        });
        let budgets = prop::option::of(-100_i64..3_000);
        let more = (0..12_i32, 0_i64..2_000, 0_u64..400);
        (state, waits, budgets, 0_i64..3_000, more).prop_map(
            |(state, waits, budgets, deadline, (attempts, began, p99))| {
                let subject = Subject {
                    deadline_at: at(deadline),
                    state,
                    waits,
                    attempts,
                    started_at: Some(at(began)),
                    budgets_free_at: budgets.map(at),
                    ..subject()
                };
                (subject, RunTime { p99: Duration::from_secs(p99), measured: 5 })
            },
        )
    }

    proptest! {
        #[test]
        fn a_job_that_nothing_happens_to_never_gets_calmer(
            (subject, run_time) in subjects(), one in 0_i64..4_000, other in 0_i64..4_000,
        ) {
            let (before, after) = (one.min(other), one.max(other));
            let level = |seconds| outlook(&subject, run_time, &POLICY, at(seconds)).level;
            prop_assert!(level(before) <= level(after), "{:?} then {:?}", level(before), level(after));
        }

        #[test]
        fn no_level_is_reached_long_before_the_next_look(
            (subject, run_time) in subjects(), seconds in 0_i64..4_000, share in 0.0..1.0_f64,
        ) {
            let now = at(seconds);
            let seen = outlook(&subject, run_time, &POLICY, now);
            let Some(look_at) = seen.look_at else {
                prop_assert_eq!(seen.level, Level::Missed);
                return Ok(());
            };
            prop_assert!(look_at > now && look_at <= now + LATEST_LOOK, "{look_at}");
            // Up to two milliseconds before the next look, nothing has changed.
            let length = (look_at - now - TimeDelta::milliseconds(2)).to_std().unwrap_or_default();
            let between = outlook(&subject, run_time, &POLICY, now + delta(length.mul_f64(share)));
            prop_assert_eq!(between.level, seen.level);
        }

        #[test]
        fn whatever_is_given_the_moments_can_be_stored(
            timeout in any::<u64>(), attempts in any::<i32>(), reserve in any::<i32>(), delay in any::<u64>(),
        ) {
            let policy = Policy::sync()
                .timeout(Duration::from_secs(timeout))
                .max_attempts(i32::MAX)
                .delays(Duration::from_secs(delay), Duration::from_secs(delay))
                .reserve_retries(reserve.min(1_000));
            let job = Subject { attempts, ..subject() };
            let seen = outlook(&job, RunTime::unmeasured(&policy), &policy, at(0));
            prop_assert!(seen.latest_safe_start > at(0) - LONGEST * 4, "{}", seen.latest_safe_start);
        }
    }
}
