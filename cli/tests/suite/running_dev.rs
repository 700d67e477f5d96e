//! Commands use the stores of a running `millrace dev` unless a store's URL is given.

use std::path::Path;
use std::process::{Command, Output};

use millrace::running_dev::RunningDev;
use millrace_devstack::process::ProcessIdentity;
use tempfile::TempDir;

/// A port on which nothing listens.
const DEV_REDIS: &str = "redis://:secret@127.0.0.1:2/0";

/// A folder in which the file says that `process` runs `millrace dev`.
fn folder_of(process: ProcessIdentity) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join(".millrace/dev");
    std::fs::create_dir_all(&dir).unwrap();
    let dev = RunningDev {
        process,
        redis_url: DEV_REDIS.into(),
        redis_features_url: None,
        mongodb_url: "mongodb://127.0.0.1:3".into(),
        clickhouse_url: "http://127.0.0.1:4".into(),
        namespace: "of_dev".into(),
        ingest_url: "http://127.0.0.1:5".into(),
        server_url: "http://127.0.0.1:6".into(),
    };
    dev.write(&dir).unwrap();
    folder
}

fn millrace(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (String, String) {
    let unset = [
        "REDIS_URL",
        "REDIS_FEATURES_URL",
        "MONGODB_URL",
        "CLICKHOUSE_URL",
        "MILLRACE_NAMESPACE",
        "MILLRACE_DEV_DIR",
        "MILLRACE_SERVER_URL",
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(arguments).current_dir(folder);
    for name in unset {
        command.env_remove(name);
    }
    let Output { stdout, stderr, .. } = command.envs(environment.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&stdout), text(&stderr))
}

/// The help of a subcommand, without the line breaks that depend on the terminal's width.
fn help(folder: &Path, subcommand: &str) -> String {
    let (help, _) = millrace(folder, &[subcommand, "--help"], &[]);
    help.split_whitespace().collect::<Vec<_>>().join(" ")
}

const NOTICE: &str = "millrace: using the `millrace dev` in .millrace/dev: redis://127.0.0.1:2/0, \
                      mongodb://127.0.0.1:3, http://127.0.0.1:4, namespace of_dev\n";

#[test]
fn a_command_uses_the_stores_of_a_running_dev_and_prints_which_without_their_passwords() {
    let folder = folder_of(ProcessIdentity::current());
    let (_, failed) = millrace(folder.path(), &["status"], &[]);
    assert!(failed.starts_with(NOTICE), "{failed}");
    assert!(failed.contains("127.0.0.1:2") && !failed.contains("secret"), "{failed}");
    let help = help(folder.path(), "status");
    assert!(help.contains("[default: mongodb://127.0.0.1:3]") && help.contains("[default: of_dev]"), "{help}");
    assert!(help.contains("redis://127.0.0.1:2/0") && !help.contains("secret"), "{help}");
    let (_, failed) = millrace(folder.path(), &["get", "user", "1"], &[]);
    assert!(failed.starts_with(NOTICE) && failed.contains("127.0.0.1:6"), "{failed}");
}

#[test]
fn a_stores_url_that_is_given_replaces_all_of_them() {
    let folder = folder_of(ProcessIdentity::current());
    let elsewhere = "redis://127.0.0.1:1";
    for (arguments, environment) in [
        (vec!["status", "--redis-url", elsewhere], vec![]),
        (vec!["status"], vec![("REDIS_URL", elsewhere)]),
        (vec!["status", "--mongodb-url", "mongodb://127.0.0.1:1"], vec![("REDIS_URL", elsewhere)]),
        (vec!["get", "user", "1", "--url", "http://127.0.0.1:1"], vec![]),
    ] {
        let (_, failed) = millrace(folder.path(), &arguments, &environment);
        assert!(!failed.contains("millrace dev") && failed.starts_with("Error: "), "{arguments:?}: {failed}");
    }
    let help = help(folder.path(), "run-jobs");
    assert!(help.contains("[default: mongodb://127.0.0.1:27017]"), "services do not use them: {help}");
}

#[test]
fn the_file_of_a_dev_that_has_ended_is_not_used() {
    let mut other = Command::new("sleep").arg("0").spawn().unwrap();
    let ended = ProcessIdentity { pid: other.id(), ..ProcessIdentity::current() };
    other.wait().unwrap();
    for process in [ended, ProcessIdentity { started: 1, ..ProcessIdentity::current() }] {
        let folder = folder_of(process);
        let help = help(folder.path(), "status");
        assert!(help.contains("[default: redis://127.0.0.1:6379]") && !help.contains("of_dev"), "{help}");
    }
}
