//! The function library in `migrations/redis`: its text, the names of its functions, loading it and checking that it is
//! loaded. The promise of each function is written above it in the library.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};

use super::error::{LogError, failed};
use super::{client, value};

/// The library's name; a binary with another version loads another library beside this one.
pub const LIBRARY: &str = "millrace_v1";
/// Its text.
pub const TEXT: &str = include_str!("../../../migrations/redis/millrace.lua");

/// Acquires a lease.
pub const ACQUIRE: &str = "millrace_v1_acquire";
/// Renews a lease.
pub const RENEW: &str = "millrace_v1_renew";
/// Gives a lease back.
pub const RELEASE: &str = "millrace_v1_release";
/// Records the batch that is in flight.
pub const INTEND: &str = "millrace_v1_intend";
/// Moves a cursor.
pub const ADVANCE: &str = "millrace_v1_advance";
/// Writes slots of one key monotonically.
pub const PUT: &str = "millrace_v1_put";
/// Writes one field of many keys monotonically.
pub const PUT_EACH: &str = "millrace_v1_put_each";
/// Puts definitions in force.
pub const CONTROL: &str = "millrace_v1_control";
/// Begins a run of a job.
pub const JOB_BEGIN: &str = "millrace_v1_job_begin";
/// Records how a run ended.
pub const JOB_FINISH: &str = "millrace_v1_job_finish";
/// Shows that a worker is alive.
pub const HEARTBEAT: &str = "millrace_v1_heartbeat";
/// Removes a worker from its group.
pub const LEAVE: &str = "millrace_v1_leave";
/// The first call on every connection to the log.
pub const FENCE: &str = "millrace_v1_fence";

const ALL: [&str; 13] =
    [ACQUIRE, RENEW, RELEASE, INTEND, ADVANCE, PUT, PUT_EACH, CONTROL, JOB_BEGIN, JOB_FINISH, HEARTBEAT, LEAVE, FENCE];

/// Loads the library in place of an earlier text of the same version. The feature state's Redis needs it too.
pub async fn load(connection: &mut MultiplexedConnection) -> Result<(), LogError> {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg("REPLACE").arg(TEXT);
    command.exec_async(connection).await.map_err(failed("load the function library"))
}

/// Loads the library into the Redis of the feature state, where that is another deployment than the log.
pub async fn load_at(url: &str) -> Result<(), LogError> {
    const DOING: &str = "reach the feature state";
    let client = client::open(url).map_err(failed(DOING))?;
    load(&mut client.get_multiplexed_async_connection().await.map_err(failed(DOING))?).await
}

/// Checks that every function that this binary calls is loaded.
pub async fn check(connection: &mut MultiplexedConnection) -> Result<(), LogError> {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LIST").arg("LIBRARYNAME").arg(LIBRARY);
    let reply: Value = command.query_async(connection).await.map_err(failed("list the function library"))?;
    let mut known = Vec::new();
    value::texts(&reply, &mut known);
    match ALL.iter().find(|name| !known.iter().any(|text| text == *name)) {
        Some(missing) => Err(LogError::LibraryMissing { library: LIBRARY, missing: (*missing).to_owned() }),
        None => Ok(()),
    }
}

/// `FCALL name` with its keys; arguments follow.
pub fn call(name: &str, keys: &[&str]) -> Cmd {
    let mut command = redis::cmd("FCALL");
    command.arg(name).arg(keys.len()).arg(keys);
    command
}
