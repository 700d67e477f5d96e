//! Reads the URL of a ClickHouse. The driver takes the credentials separately.

use millrace_core::percent;

use super::error::ClickHouseError;

/// The parts of the URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Scheme, host and port.
    pub base: String,
    /// User and password.
    pub credentials: Option<(String, String)>,
}

impl Parsed {
    /// Whether the server is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self.base.split("//").nth(1).unwrap_or_default();
        ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local))
    }
}

/// Reads `http://user:password@host:port/`.
pub(super) fn parse(url: &str) -> Result<Parsed, ClickHouseError> {
    let wrong = || ClickHouseError::Url("expected http://host:8123 or http://user:password@host:8123");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (credentials, host) = match authority.rsplit_once('@') {
        Some((credentials, host)) => (Some(credentials), host),
        None => (None, authority),
    };
    if host.is_empty() || !matches!(scheme, "http" | "https") {
        return Err(wrong());
    }
    let credentials = credentials.map(|text| {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        (decoded(user), decoded(password))
    });
    Ok(Parsed { base: format!("{scheme}://{host}"), credentials })
}

/// A `%` that does not begin a code stands for itself: people paste passwords as they are.
fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&percent::decode_lenient(text.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_the_url() {
        let parsed = parse("http://me:p%40ss@db:8123/").unwrap();
        assert_eq!(parsed.base, "http://db:8123");
        assert_eq!(parsed.credentials, Some(("me".into(), "p@ss".into())));
        assert_eq!(parse("http://127.0.0.1:8123").unwrap().credentials, None);
        assert!(parse("http://127.0.0.1:8123").unwrap().is_loopback());
        assert!(!parsed.is_loopback());
        assert!(parse("db:8123").is_err() && parse("http://").is_err() && parse("tcp://db:9000").is_err());
    }
}
