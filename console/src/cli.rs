//! The `amzigo` command line: reads arguments, calls [`crate::ops`], shows the answer.
//!
//! Every command answers as a table for people, or with `--json` as one JSON document on standard output. Errors go to
//! standard error and say what to do next; the exit code tells programs which sort it was (see [`stop`]).

mod answer;
mod audit;
mod batch;
mod budgets;
mod bulk;
mod cancel;
mod completions;
mod controls;
mod database;
mod dead;
mod deadlines;
mod doctor;
mod enqueue;
mod explain;
mod freshness;
mod jobs;
mod keys;
mod people;
mod redis;
mod run_now;
mod schedules;
mod sellers;
mod serve;
mod setup;
mod staff;
mod stop;
mod top;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::{answer::Answers, stop::Stop};

/// Watch and steer the background jobs of Amzigo.
#[derive(Debug, Parser)]
#[command(
    name = "amzigo",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused or not found.\n\
                  Settings come from the environment; a command names what it misses."
)]
struct Amzigo {
    /// Answer with one JSON document instead of a table.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Migrate(setup::Migrate),
    NewKey(setup::NewKey),
    Kinds(setup::Kinds),
    Enqueue(enqueue::Enqueue),
    Jobs(jobs::Jobs),
    Job(jobs::Job),
    Batch(batch::Batch),
    #[command(subcommand)]
    Dead(dead::Dead),
    #[command(subcommand)]
    Bulk(bulk::Bulk),
    Deadlines(deadlines::Deadlines),
    Budgets(budgets::Budgets),
    Pause(controls::Pause),
    Resume(controls::Resume),
    Limit(controls::Limit),
    Controls(controls::Controls),
    #[command(subcommand)]
    Schedules(schedules::Schedules),
    #[command(subcommand)]
    Sellers(sellers::Sellers),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Staff(staff::Staff),
    #[command(subcommand)]
    Keys(keys::Keys),
    Serve(serve::Serve),
    Top(top::Top),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// Runs the command that the process was started with.
pub async fn main() -> ExitCode {
    let amzigo = Amzigo::parse();
    let answers = Answers { json: amzigo.json };
    match run(amzigo.command, answers).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            answer::complain(&stop);
            stop.exit_code()
        }
    }
}

async fn run(command: Command, answers: Answers) -> Result<(), Stop> {
    match command {
        Command::Migrate(migrate) => migrate.run(answers).await,
        Command::NewKey(new_key) => new_key.run(answers),
        Command::Kinds(kinds) => kinds.run(answers),
        Command::Enqueue(enqueue) => enqueue.run(answers).await,
        Command::Jobs(jobs) => jobs.run(answers).await,
        Command::Job(job) => job.run(answers).await,
        Command::Batch(batch) => batch.run(answers).await,
        Command::Dead(dead) => dead.run(answers).await,
        Command::Bulk(bulk) => bulk.run(answers).await,
        Command::Deadlines(deadlines) => deadlines.run(answers).await,
        Command::Budgets(budgets) => budgets.run(answers).await,
        Command::Pause(pause) => pause.run(answers).await,
        Command::Resume(resume) => resume.run(answers).await,
        Command::Limit(limit) => limit.run(answers).await,
        Command::Controls(controls) => controls.run(answers).await,
        Command::Schedules(schedules) => schedules.run(answers).await,
        Command::Sellers(sellers) => sellers.run(answers).await,
        Command::Audit(audit) => audit.run(answers).await,
        Command::Staff(staff) => staff.run(answers).await,
        Command::Keys(keys) => keys.run(answers).await,
        Command::Serve(serve) => serve.run().await,
        Command::Top(top) => top.run(answers).await,
        Command::Doctor(doctor) => doctor.run(answers).await,
        Command::Completions(completions) => completions.run(Amzigo::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound_and_every_command_shows_an_example() {
        let amzigo = Amzigo::command();
        amzigo.clone().debug_assert();
        let mut commands: Vec<_> = amzigo.get_subcommands().collect();
        while let Some(command) = commands.pop() {
            if command.has_subcommands() {
                commands.extend(command.get_subcommands());
            } else {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("amzigo "), "{} shows no example", command.get_name());
            }
        }
    }
}
