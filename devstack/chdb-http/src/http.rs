//! The routes: a request becomes a statement, its result a response.
//!
//! ClickHouse's manual describes the interface under "HTTP interface"; the README lists the parts that are missing here.
//! A result is complete before its first byte is sent, so an error always has its own status.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tempfile::TempPath;

use crate::body::{BodyReader, Spool};
use crate::engine::{Engine, Output, Statement};
use crate::error::QueryError;
use crate::pack;
use crate::request::{Packing, Request};
use crate::sql::{self, InlineInsert};

/// The statement of an INSERT must end within this many bytes, as with ClickHouse's `max_query_size`.
const HEAD: usize = 256 << 10;
/// The longest query in bytes: unlike an INSERT's data, a query is held in memory.
const MAX_QUERY: usize = 64 << 20;

/// The engine and the limits that all requests share.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) spool: Spool,
    pub(crate) max_body: u64,
}

/// All routes.
pub(crate) fn router(server: Server) -> Router {
    Router::new()
        .route("/", get(query).post(query))
        .route("/ping", get(|| async { "Ok.\n" }))
        .layer(DefaultBodyLimit::max(MAX_QUERY))
        .with_state(Arc::new(server))
}

async fn query(State(server): State<Arc<Server>>, request: axum::extract::Request) -> Response {
    match server.answer(request).await {
        Ok(response) => response,
        Err(error) => failure(&error, server.engine.version()),
    }
}

impl Server {
    async fn answer(&self, request: axum::extract::Request) -> Result<Response, QueryError> {
        let (parts, body) = request.into_parts();
        let mut request = Request::parse(&parts.method, &parts.uri, &parts.headers)?;
        let body = if is_form(&parts) { read_form(parts, body, &mut request).await? } else { body };
        let mut reader = BodyReader::new(body, request.encoding, request.packed_body, self.max_body);
        let mut text = first_line(&request);
        reader.fill(&mut text, HEAD).await?;
        if text.trim_ascii().is_empty() {
            return empty_query(&request);
        }
        match InlineInsert::find(&text) {
            Some(insert) => self.insert(&request, &insert, text, reader).await,
            None => self.plain(&request, text, reader).await,
        }
    }

    async fn insert(
        &self,
        request: &Request,
        insert: &InlineInsert,
        mut text: Vec<u8>,
        mut reader: BodyReader,
    ) -> Result<Response, QueryError> {
        let file = self.spool.keep(text.split_off(insert.data_at), &mut reader).await?;
        let path = file.to_string_lossy().into_owned();
        let result = self.execute(request, insert.from_file(&path).into_bytes(), Some(file)).await;
        result.map_err(|error| QueryError { message: error.message.replace(&path, "request body"), ..error })
    }

    async fn plain(
        &self,
        request: &Request,
        mut text: Vec<u8>,
        mut reader: BodyReader,
    ) -> Result<Response, QueryError> {
        reader.fill(&mut text, MAX_QUERY + 1).await?;
        if text.len() > MAX_QUERY {
            return Err(QueryError::too_large(MAX_QUERY as u64));
        }
        sql::check_single(&text)?;
        if request.in_session {
            sql::check_sessionless(&text)?;
        }
        self.execute(request, text, None).await
    }

    async fn execute(&self, request: &Request, sql: Vec<u8>, data: Option<TempPath>) -> Result<Response, QueryError> {
        let format = sql::output_format(&sql).unwrap_or_else(|| request.format.clone());
        let statement = Statement { setup: request.setup(), sql, format: request.format.clone(), data };
        let output = self.engine.run(statement).await?;
        Ok(success(request, &format, output))
    }
}

/// The query of the URL and the body are one text, with a line break between.
fn first_line(request: &Request) -> Vec<u8> {
    let mut text = request.query.clone().into_bytes();
    if !text.is_empty() {
        text.push(b'\n');
    }
    text
}

fn empty_query(request: &Request) -> Result<Response, QueryError> {
    let only_looking = request.settings.iter().any(|(name, value)| name == "readonly" && value == "2");
    if only_looking { Ok("Ok.\n".into_response()) } else { Err(QueryError::syntax("Empty query")) }
}

fn is_form(parts: &Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("multipart/form-data"))
}

/// The official client sends query parameters as the fields of a form.
async fn read_form(parts: Parts, body: Body, request: &mut Request) -> Result<Body, QueryError> {
    let mut form = Multipart::from_request(axum::extract::Request::from_parts(parts, body), &())
        .await
        .map_err(QueryError::network)?;
    while let Some(field) = form.next_field().await.map_err(QueryError::network)? {
        let name = field.name().unwrap_or_default().to_owned();
        if field.file_name().is_some() {
            return Err(QueryError::not_implemented("external tables are not supported by chdb-http"));
        }
        request.set(name, field.text().await.map_err(QueryError::network)?)?;
    }
    Ok(Body::empty())
}

fn success(request: &Request, format: &str, output: Output) -> Response {
    let [read_rows, read_bytes, written_rows, written_bytes] = output.counters.map(|count| count.to_string());
    let summary = serde_json::json!({
        "read_rows": read_rows, "read_bytes": read_bytes,
        "written_rows": written_rows, "written_bytes": written_bytes,
    });
    let packing = if output.body.is_empty() { Packing::Plain } else { request.packing };
    let query_id = request.query_id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let mut response = pack::body(output.body, packing).into_response();
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        // A text that a header cannot hold (a query id with a line break) is left out.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("content-type", content_type(format));
    set("x-clickhouse-query-id", &query_id);
    set("x-clickhouse-format", format);
    set("x-clickhouse-timezone", "UTC");
    set("x-clickhouse-summary", &summary.to_string());
    if packing == Packing::Lz4Frame {
        set("content-encoding", "lz4");
    }
    response
}

fn failure(error: &QueryError, version: &str) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // The body may not have been read to its end. Without a new connection, its rest would be read as the next request.
    let headers = [("x-clickhouse-exception-code", error.code.to_string()), ("connection", "close".to_owned())];
    (status, headers, format!("{error} (version {version})\n")).into_response()
}

fn content_type(format: &str) -> &'static str {
    match format {
        "JSON" | "JSONCompact" | "JSONStrings" => "application/json; charset=UTF-8",
        "JSONEachRow" | "NDJSON" | "JSONLines" => "application/x-ndjson; charset=UTF-8",
        "TabSeparated" | "TSV" | "TabSeparatedWithNames" | "TSVWithNames" => "text/tab-separated-values; charset=UTF-8",
        "CSV" | "CSVWithNames" => "text/csv; charset=UTF-8",
        name if name.starts_with("Pretty") || name == "Vertical" => "text/plain; charset=UTF-8",
        _ => "application/octet-stream",
    }
}
