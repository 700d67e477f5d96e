//! A chdb-http process for one test, on a free port and a temporary folder.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use clickhouse::{Client, Compression};
use tempfile::TempDir;

/// A running server. Killed when dropped.
pub struct Server {
    /// Where it listens.
    pub url: String,
    child: Child,
    folder: TempDir,
}

impl Server {
    /// On an empty folder.
    pub fn start() -> Self {
        Self::on(tempfile::tempdir().expect("a folder"), &[])
    }

    /// With further arguments.
    pub fn with(arguments: &[&str]) -> Self {
        Self::on(tempfile::tempdir().expect("a folder"), arguments)
    }

    fn on(folder: TempDir, arguments: &[&str]) -> Self {
        let (child, url) = spawn(folder.path(), arguments);
        Self { url, child, folder }
    }

    /// SIGKILL, and a new process on the same folder.
    pub fn kill_and_restart(mut self) -> Self {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
        (self.child, self.url) = spawn(self.folder.path(), &[]);
        self
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    }

    /// Waits until it has ended; whether it ended well.
    pub fn wait(&mut self) -> bool {
        self.child.wait().expect("ended").success()
    }

    /// The official client, uncompressed.
    pub fn client(&self) -> Client {
        Client::default().with_url(&self.url).with_compression(Compression::None)
    }

    /// The folder of bodies on their way.
    pub fn bodies(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("http-bodies")).expect("a folder").count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, arguments: &[&str]) -> (Child, String) {
    let library = millrace_devstack::tools::chdb::library().expect("libchdb");
    let mut child = Command::new(env!("CARGO_BIN_EXE_chdb-http"))
        .arg("--lib")
        .arg(library)
        .arg("--path")
        .arg(folder)
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
    let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
    (child, format!("http://{address}"))
}

/// The error's text must carry this code.
pub fn assert_code<T: std::fmt::Debug>(result: clickhouse::error::Result<T>, code: u32) {
    let text = result.expect_err("an error").to_string();
    assert!(text.contains(&format!("Code: {code}. DB::Exception: ")), "{text}");
}
