//! `millrace dev` while it starts: it can be stopped although a store hangs, and a port that is taken is an error.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Has the version of a Redis, writes its pid down, and never answers.
const HANGS: &str = "#!/bin/sh
if [ \"$1\" = --version ]; then echo 'Redis server v=7.0.15'; exit; fi
echo $$ > \"$MARK.new\" && mv \"$MARK.new\" \"$MARK\"
exec sleep 600
";

/// Free ports for all services, so that the usual ones may be in use on this machine.
const FREE_PORTS: [(&str, &str); 4] = [
    ("MILLRACE_INGEST_LISTEN", "127.0.0.1:0"),
    ("MILLRACE_SERVE_LISTEN", "127.0.0.1:0"),
    ("MILLRACE_SERVE_GRPC_LISTEN", "127.0.0.1:0"),
    ("MILLRACE_ADMIN_LISTEN", "127.0.0.1:0"),
];

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
        .envs(FREE_PORTS)
        .spawn()
        .unwrap();
    let store = eventually("the store is started", || fs::read_to_string(&mark).ok());
    let told = Command::new("kill").args(["-INT", &dev.id().to_string()]).status().unwrap();
    assert!(told.success());
    let ended = eventually("it has ended", || dev.try_wait().unwrap());
    assert_eq!(ended.code(), Some(130));
    // A process that has ended, and that its parent has not waited for, still has a folder, but no command line.
    let command_line = Path::new("/proc").join(store.trim()).join("cmdline");
    eventually("its store has ended", || fs::read(&command_line).map_or(true, |line| line.is_empty()).then_some(()));
}

#[test]
fn a_port_that_is_taken_is_an_error_before_any_store_starts() {
    let folder = tempfile::tempdir().unwrap();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let dev = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["dev", "--dir", "dev"])
        .current_dir(&folder)
        .envs(FREE_PORTS)
        .env("MILLRACE_SERVE_GRPC_LISTEN", address.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&dev.stderr).into_owned();
    assert!(!dev.status.success());
    let start = format!("Error: port {} of 127.0.0.1 is not free for feature-server", address.port());
    assert!(said.starts_with(&start), "{said}");
    assert!(said.contains("or set MILLRACE_SERVE_GRPC_LISTEN to another address"), "{said}");
    assert!(!folder.path().join("dev").exists());
}
