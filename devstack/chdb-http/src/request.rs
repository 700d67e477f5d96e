//! The parameters of a request: URL and headers of the ClickHouse HTTP interface, without the body.

use axum::extract::Query;
use axum::http::{HeaderMap, Method, Uri, header};

use crate::error::QueryError;
use crate::sql::{quote, quote_name};

/// Parameters of the interface that this server accepts and does not need. Every other unknown parameter is a setting of
/// the engine.
const IGNORED: [&str; 10] = [
    "user",
    "password",
    "quota_key",
    "buffer_size",
    "wait_end_of_query",
    "session_timeout",
    "session_check",
    "close_session",
    "client_protocol_version",
    "stacktrace",
];

/// How the answer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Packing {
    /// Not at all.
    #[default]
    Plain,
    /// ClickHouse's own blocks (`compress=1`).
    Blocks,
    /// An LZ4 frame (`Accept-Encoding: lz4`).
    Lz4Frame,
}

/// How the body is compressed as a whole (`Content-Encoding`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyEncoding {
    /// Not at all.
    #[default]
    Identity,
    /// LZ4 frames, one after the other.
    Lz4,
    /// Zstandard frames, one after the other.
    Zstd,
    /// Gzip.
    Gzip,
    /// Zlib, which HTTP calls `deflate`.
    Deflate,
}

/// A request without its body.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The query or its beginning.
    pub query: String,
    /// The database of names that have none of their own.
    pub database: Option<String>,
    /// The result's format where the query names none.
    pub format: String,
    /// Settings and `param_*` values.
    pub settings: Vec<(String, String)>,
    /// The client's name for the query. The answer repeats it.
    pub query_id: Option<String>,
    /// Whether the request names a session. Nothing is kept between requests, but some statements are refused then.
    pub in_session: bool,
    /// How the body is compressed as a whole.
    pub encoding: BodyEncoding,
    /// Whether the body consists of ClickHouse's compressed blocks (`decompress=1`).
    pub packed_body: bool,
    /// How to send the result.
    pub packing: Packing,
}

impl Request {
    /// Reads URL and headers.
    pub fn parse(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Self, QueryError> {
        let mut request = Self { format: "TabSeparated".to_owned(), ..Self::default() };
        request.read_headers(headers)?;
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| QueryError::new(36, "BAD_ARGUMENTS", format!("the URL is not readable: {error}")))?;
        for (name, value) in pairs {
            request.set(name, value)?;
        }
        if method == Method::GET {
            request.settings.push(("readonly".to_owned(), "2".to_owned()));
        }
        Ok(request)
    }

    /// Takes one parameter, from the URL or from a form.
    pub fn set(&mut self, name: String, value: String) -> Result<(), QueryError> {
        match name.as_str() {
            "query" => self.query.push_str(&value),
            "database" => self.database = Some(value).filter(|name| !name.is_empty()),
            "default_format" => self.format = value,
            "query_id" => self.query_id = Some(value).filter(|id| !id.is_empty()),
            "session_id" => self.in_session = !value.is_empty(),
            "compress" if is_on(&value) => self.packing = Packing::Blocks,
            "decompress" => self.packed_body = is_on(&value),
            "role" => return Err(QueryError::not_implemented("roles are not supported by chdb-http")),
            "compress" | "" => {}
            other if IGNORED.contains(&other) => {}
            _ => self.settings.push((name, value)),
        }
        Ok(())
    }

    /// Statements that prepare the engine's session: the database and the settings of this request.
    pub fn setup(&self) -> String {
        let database = self.database.iter().map(|name| format!("USE {};\n", quote_name(name)));
        // The library reads `1+1` as a query; a server does not.
        let mut sql: String = database.chain(["SET implicit_select = 0".to_owned()]).collect();
        for (name, value) in &self.settings {
            sql.push_str(&format!(", {} = {}", quote_setting(name), quote(value)));
        }
        sql
    }

    fn read_headers(&mut self, headers: &HeaderMap) -> Result<(), QueryError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.database = text("x-clickhouse-database");
        if let Some(format) = text("x-clickhouse-format") {
            self.format = format;
        }
        if text(header::ACCEPT_ENCODING.as_str()).is_some_and(|value| accepts_lz4(&value)) {
            self.packing = Packing::Lz4Frame;
        }
        if let Some(encoding) = text(header::CONTENT_ENCODING.as_str()) {
            self.encoding = parse_encoding(&encoding)?;
        }
        Ok(())
    }
}

fn parse_encoding(name: &str) -> Result<BodyEncoding, QueryError> {
    match name {
        "identity" => Ok(BodyEncoding::Identity),
        "lz4" => Ok(BodyEncoding::Lz4),
        "zstd" => Ok(BodyEncoding::Zstd),
        "gzip" => Ok(BodyEncoding::Gzip),
        "deflate" => Ok(BodyEncoding::Deflate),
        other => Err(QueryError::not_implemented(format!(
            "Content-Encoding {other} is not supported by chdb-http; send lz4, zstd, gzip, deflate or identity"
        ))),
    }
}

fn is_on(value: &str) -> bool {
    value == "1" || value == "true"
}

fn accepts_lz4(value: &str) -> bool {
    value.split(',').any(|part| part.split(';').next().is_some_and(|name| name.trim() == "lz4"))
}

/// Settings are bare words in `SET`; anything else goes in quotes, so that it can only be a name.
fn quote_setting(name: &str) -> String {
    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if bare { name.to_owned() } else { quote_name(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> Result<Request, QueryError> {
        Request::parse(&Method::POST, &uri.parse().unwrap(), &HeaderMap::new())
    }

    #[test]
    fn unknown_parameters_are_settings() {
        let request = parse("/?database=a`b&max_threads=2&param_x=it%27s&user=u&compress=0").unwrap();
        assert_eq!(request.setup(), "USE `a\\`b`;\nSET implicit_select = 0, max_threads = '2', param_x = 'it\\'s'");
        assert_eq!(request.packing, Packing::Plain);
    }

    #[test]
    fn a_get_only_reads() {
        let request = Request::parse(&Method::GET, &"/?query=SELECT+1".parse().unwrap(), &HeaderMap::new()).unwrap();
        assert!(request.setup().ends_with("readonly = '2'"));
        assert_eq!(request.query, "SELECT 1");
    }

    #[test]
    fn parameters_of_a_session_are_not_settings() {
        let request = parse("/?session_id=s&session_check=1&session_timeout=60&query_id=").unwrap();
        assert!(request.in_session && request.settings.is_empty());
        assert_eq!(request.query_id, None, "an empty id asks for a new one");
        assert!(!parse("/?session_id=").unwrap().in_session);
    }

    #[test]
    fn roles_and_unknown_encodings_are_refused_rather_than_ignored() {
        assert_eq!(parse("/?role=reader").unwrap_err().code, 48);
        assert_eq!(parse_encoding("br").unwrap_err().code, 48);
    }

    #[test]
    fn a_setting_cannot_smuggle_sql() {
        let request = parse("/?a%3D1%2C+b=2").unwrap();
        assert_eq!(request.setup(), "SET implicit_select = 0, `a=1, b` = '2'");
    }
}
