//! `millrace dev` can be stopped while it is still starting: a store that hangs, or is being fetched, is no reason to wait.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Says that it is a Redis, writes down its pid, and never answers.
const HANGS: &str = "#!/bin/sh
if [ \"$1\" = --version ]; then echo 'Redis server v=7.0.15'; exit; fi
echo $$ > \"$MARK.new\" && mv \"$MARK.new\" \"$MARK\"
exec sleep 600
";

fn eventually<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(Instant::now() < deadline, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_first_interrupt_counts_while_a_store_is_starting() {
    let folder = tempfile::tempdir().unwrap();
    let (bin, mark) = (folder.path().join("bin"), folder.path().join("pid"));
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("redis-server"), HANGS).unwrap();
    fs::set_permissions(bin.join("redis-server"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut dev = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .arg("dev")
        .arg("--dir")
        .arg(folder.path().join("dev"))
        .env("PATH", path)
        .env("MARK", &mark)
        .env_remove("REDIS_URL")
        .env("MONGODB_URL", "mongodb://127.0.0.1:1")
        .env("CLICKHOUSE_URL", "http://127.0.0.1:1")
        .spawn()
        .unwrap();
    let store = eventually("the store is started", || fs::read_to_string(&mark).ok());
    let told = Command::new("kill").args(["-INT", &dev.id().to_string()]).status().unwrap();
    assert!(told.success());
    let ended = eventually("it has ended", || dev.try_wait().unwrap());
    assert_eq!(ended.code(), Some(130));
    // One that nobody has waited for yet still has a folder, and no command line.
    let command_line = Path::new("/proc").join(store.trim()).join("cmdline");
    eventually("its store has ended", || fs::read(&command_line).map_or(true, |line| line.is_empty()).then_some(()));
}
