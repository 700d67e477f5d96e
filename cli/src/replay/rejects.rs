//! Rejected events: prints the first few and can write all to a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::batch::Rejection;
use super::error::ReplayError;
use super::plan::PlannedEvent;

/// Takes rejected events from all senders.
pub struct RejectLog {
    inner: Mutex<RejectOutput>,
}

struct RejectOutput {
    left_to_print: usize,
    print: Box<dyn Fn(&str) + Send>,
    file: Option<(PathBuf, BufWriter<File>)>,
}

impl RejectLog {
    /// Prints the first `show` events with `print`, and writes all to `file` as NDJSON.
    pub fn new(show: usize, file: Option<&Path>, print: impl Fn(&str) + Send + 'static) -> Result<Self, ReplayError> {
        let open = |path: &Path| match File::create(path) {
            Ok(file) => Ok((path.to_owned(), BufWriter::new(file))),
            Err(error) => Err(ReplayError::file(path)(error)),
        };
        let file = file.map(open).transpose()?;
        Ok(Self { inner: Mutex::new(RejectOutput { left_to_print: show, print: Box::new(print), file }) })
    }

    /// Takes the rejected events of one batch.
    pub fn add(&self, events: &[PlannedEvent], rejections: &[Rejection]) -> Result<(), ReplayError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for rejection in rejections {
            let Some(event) = events.get(rejection.index) else { continue };
            inner.add(event, rejection)?;
        }
        Ok(())
    }

    /// Writes out the buffered events.
    pub fn finish(&self) -> Result<(), ReplayError> {
        match &mut self.inner.lock().unwrap_or_else(PoisonError::into_inner).file {
            Some((path, file)) => file.flush().map_err(ReplayError::file(path)),
            None => Ok(()),
        }
    }
}

impl RejectOutput {
    fn add(&mut self, event: &PlannedEvent, rejection: &Rejection) -> Result<(), ReplayError> {
        let mut json = String::new();
        event.write_json(&mut json);
        if self.left_to_print > 0 {
            self.left_to_print -= 1;
            (self.print)(&format!("rejected: {}: {}: {json}", rejection.field, rejection.error));
        }
        if let Some((path, file)) = &mut self.file {
            let quoted = |text: &str| serde_json::Value::from(text);
            let (field, error) = (quoted(&rejection.field), quoted(&rejection.error));
            writeln!(file, r#"{{"field":{field},"error":{error},"row":{},"event":{json}}}"#, event.row)
                .map_err(ReplayError::file(path))?;
        }
        Ok(())
    }
}
