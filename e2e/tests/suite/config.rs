//! `.env.example` lists every setting of every binary and every variable of `docker-compose.yml`, with its default, and
//! nothing else.

use std::collections::BTreeMap;

use clap::{Args, Command, CommandFactory};
use millrace::commands::run_jobs::RunJobsArgs;
use millrace_e2e::compose;

fn settings(command: &Command) -> BTreeMap<String, String> {
    let value = |argument: &clap::Arg| {
        let defaults: Vec<_> = argument.get_default_values().iter().map(|text| text.to_string_lossy()).collect();
        Some((argument.get_env()?.to_string_lossy().into_owned(), defaults.join(",")))
    };
    command.get_arguments().filter_map(value).collect()
}

#[test]
fn the_example_environment_lists_every_setting() {
    let commands = [
        millrace_ingest::Config::command(),
        millrace_online_consumer::Config::command(),
        millrace_offline_consumer::Config::command(),
        millrace_feature_server::Config::command(),
    ];
    let run_jobs = RunJobsArgs::augment_args(Command::new("run-jobs"));
    let mut wanted: BTreeMap<String, String> = commands.iter().chain([&run_jobs]).flat_map(settings).collect();
    wanted.insert("MILLRACE_DEV_DIR".into(), ".millrace/dev".into());
    wanted.insert("MILLRACE_SERVER_URL".into(), "http://127.0.0.1:8081".into());
    for (name, default) in compose::variables(compose::COMPOSE) {
        let known = wanted.entry(name.clone()).or_insert_with(|| default.clone());
        assert_eq!(*known, default, "docker-compose.yml has another default for {name}");
    }
    let listed: BTreeMap<String, String> = include_str!("../../../.env.example")
        .lines()
        .filter_map(|line| line.trim_start_matches("# ").split_once('='))
        .filter(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let lines: Vec<String> = wanted.iter().map(|(name, value)| format!("# {name}={value}")).collect();
    assert_eq!(listed, wanted, "the settings are:\n{}", lines.join("\n"));
}

#[test]
fn every_command_line_passes_the_checks_of_its_parser() {
    millrace_ingest::Config::command().debug_assert();
    millrace_online_consumer::Config::command().debug_assert();
    millrace_offline_consumer::Config::command().debug_assert();
    millrace_feature_server::Config::command().debug_assert();
    RunJobsArgs::augment_args(Command::new("run-jobs")).debug_assert();
}
