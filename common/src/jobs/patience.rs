//! Calls to the log that are retried while it is unavailable. Retries of calls to other stores are left to `query` and
//! `write`, which use the same delays.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::JobError;
use super::progress::RunProgress;
use crate::backoff::BackOff;
use crate::log::LogError;

/// The delays between the attempts of a run at a store that is unavailable, or at the log.
pub(super) const BACK_OFF: BackOff = BackOff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Retries a call to the log while the log is unavailable, and shows in `progress` that the run waits. Returns the answer,
/// the log's error if a retry cannot help, or [`JobError::Stopped`] as soon as `stop` is cancelled.
pub(super) async fn patient<T, F: Future<Output = Result<T, LogError>>>(
    progress: &RunProgress,
    stop: &CancellationToken,
    mut ask: impl FnMut() -> F,
) -> Result<T, JobError> {
    let mut back_off = BACK_OFF;
    loop {
        match stop.run_until_cancelled(ask()).await.ok_or(JobError::Stopped)? {
            Ok(answer) => {
                progress.goes_on();
                return Ok(answer);
            }
            Err(error) if error.is_transient() => progress.wait_for(format!("the log: {error}")),
            Err(error) => return Err(error.into()),
        }
        stop.run_until_cancelled(tokio::time::sleep(back_off.next_delay())).await.ok_or(JobError::Stopped)?;
    }
}

/// As [`patient`], but makes the first call even after `stop`, so that a run that was told to stop is still recorded. If the
/// log is unavailable then, it gives up; the next run of the view records this one as abandoned.
pub(super) async fn insist<T, F: Future<Output = Result<T, LogError>>>(
    progress: &RunProgress,
    stop: &CancellationToken,
    mut ask: impl FnMut() -> F,
) -> Result<T, JobError> {
    match ask().await {
        Err(error) if error.is_transient() => patient(progress, stop, ask).await,
        answer => Ok(answer?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_that_was_told_to_stop_still_records_how_it_ended() {
        let (progress, stop) = (RunProgress::default(), CancellationToken::new());
        stop.cancel();
        assert_eq!(insist(&progress, &stop, async || Ok(7)).await.unwrap(), 7);
        let asked = std::cell::Cell::new(0);
        let away = async || {
            asked.set(asked.get() + 1);
            let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into();
            Err::<(), _>(LogError::Redis { doing: "record a run", source })
        };
        assert!(matches!(insist(&progress, &stop, away).await, Err(JobError::Stopped)));
        assert_eq!(asked.get(), 1, "and does not wait for a log that is unavailable");
    }
}
