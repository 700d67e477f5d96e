//! The functions of `libchdb.so` that this server calls, loaded at run time. All unsafe code of this crate is here.
//!
//! A connection is used by one thread at a time; several connections on one data folder run in parallel.
//! Which SQL to send, and in which order, is left to [`crate::engine`].
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use libloading::Library;

use crate::error::{OpenError, QueryError};

type Handle = *mut c_void;

/// The library's functions. It is never unloaded, because its threads outlive every handle.
pub(crate) struct Api {
    connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Handle,
    close: unsafe extern "C" fn(*mut Handle),
    query: unsafe extern "C" fn(Handle, *const c_char, usize, *const c_char, usize) -> Handle,
    destroy: unsafe extern "C" fn(Handle),
    buffer: unsafe extern "C" fn(Handle) -> *const u8,
    length: unsafe extern "C" fn(Handle) -> usize,
    error: unsafe extern "C" fn(Handle) -> *const c_char,
    counters: [unsafe extern "C" fn(Handle) -> u64; 4],
    _library: ManuallyDrop<Library>,
}

impl Api {
    /// Loads the library and keeps it from taking over this process's signals.
    pub(crate) fn load(path: &Path) -> Result<Arc<Self>, OpenError> {
        let failed = |source| OpenError::Library { path: path.to_owned(), source };
        // SAFETY: the library's initializers are those of ClickHouse, and nothing else in this process runs them.
        let library = unsafe { Library::new(path) }.map_err(failed)?;
        // SAFETY: names and signatures are those of the library's public C header, `chdb.h`.
        let api = unsafe { Self::resolve(library) }.map_err(failed)?;
        Ok(Arc::new(api))
    }

    unsafe fn resolve(library: Library) -> Result<Self, libloading::Error> {
        unsafe {
            let signals: libloading::Symbol<'_, unsafe extern "C" fn(c_int)> =
                library.get(b"chdb_set_signal_handlers_enabled\0")?;
            signals(0);
            Ok(Self {
                connect: *library.get(b"chdb_connect\0")?,
                close: *library.get(b"chdb_close_conn\0")?,
                query: *library.get(b"chdb_query_n\0")?,
                destroy: *library.get(b"chdb_destroy_query_result\0")?,
                buffer: *library.get(b"chdb_result_buffer\0")?,
                length: *library.get(b"chdb_result_length\0")?,
                error: *library.get(b"chdb_result_error\0")?,
                counters: [
                    *library.get(b"chdb_result_storage_rows_read\0")?,
                    *library.get(b"chdb_result_storage_bytes_read\0")?,
                    *library.get(b"chdb_result_rows_written\0")?,
                    *library.get(b"chdb_result_bytes_written\0")?,
                ],
                _library: ManuallyDrop::new(library),
            })
        }
    }
}

/// One session of the engine; closed when dropped.
pub(crate) struct Connection {
    api: Arc<Api>,
    raw: *mut Handle,
}

// SAFETY: the engine ties a connection to no thread; `&mut self` on `query` keeps users apart.
unsafe impl Send for Connection {}

impl Connection {
    /// Opens a session on a data folder; the first one opens the folder.
    pub(crate) fn open(api: &Arc<Api>, folder: &Path) -> Result<Self, OpenError> {
        let option = [b"--path=", folder.as_os_str().as_bytes()].concat();
        let path = CString::new(option).map_err(|_| OpenError::Path(folder.to_owned()))?;
        let mut arguments = [c"clickhouse".as_ptr().cast_mut(), path.as_ptr().cast_mut()];
        // SAFETY: the strings live until the call returns, and the engine only reads them.
        let raw = unsafe { (api.connect)(arguments.len() as c_int, arguments.as_mut_ptr()) };
        if raw.is_null() {
            return Err(OpenError::Connect(folder.to_owned()));
        }
        Ok(Self { api: api.clone(), raw })
    }

    /// Runs statements to their end; blocks the thread.
    pub(crate) fn query(&mut self, sql: &[u8], format: &str) -> Result<Answer, QueryError> {
        // SAFETY: `raw` is an open connection; text and format are given with their lengths.
        let raw = unsafe {
            (self.api.query)(*self.raw, sql.as_ptr().cast(), sql.len(), format.as_ptr().cast(), format.len())
        };
        if raw.is_null() {
            return Err(QueryError::new(1001, "STD_EXCEPTION", "the engine returned nothing"));
        }
        let answer = Answer { api: self.api.clone(), raw };
        match answer.error() {
            Some(text) => Err(QueryError::from_engine(&text)),
            None => Ok(answer),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: opened by `connect`, closed once.
        unsafe { (self.api.close)(self.raw) }
    }
}

/// A result in the engine's own memory, freed when dropped.
pub(crate) struct Answer {
    api: Arc<Api>,
    raw: Handle,
}

// SAFETY: a result is an immutable buffer that only this value owns.
unsafe impl Send for Answer {}
unsafe impl Sync for Answer {}

impl Answer {
    /// Rows and bytes read, rows and bytes written.
    pub(crate) fn counters(&self) -> [u64; 4] {
        // SAFETY: `raw` is a result until drop.
        self.api.counters.map(|counter| unsafe { counter(self.raw) })
    }

    fn error(&self) -> Option<String> {
        // SAFETY: the text is zero-terminated and lives as long as the result.
        let text = unsafe { (self.api.error)(self.raw) };
        // SAFETY: as above; checked for null first.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: buffer and length describe one allocation that lives until drop and is never written again.
        unsafe {
            match (self.api.buffer)(self.raw) {
                buffer if buffer.is_null() => &[],
                buffer => std::slice::from_raw_parts(buffer, (self.api.length)(self.raw)),
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: returned by `query`, freed once.
        unsafe { (self.api.destroy)(self.raw) }
    }
}
