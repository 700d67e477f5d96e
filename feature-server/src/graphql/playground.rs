//! A page on which people try queries. It is part of the binary, and its policy forbids it to load anything from other
//! servers.

use axum::http::{HeaderName, header};
use axum::response::IntoResponse;
use axum::routing::{Router, get};

const HTML: &str = include_str!("playground/index.html");
const SCRIPT: &str = include_str!("playground/playground.js");
const STYLE: &str = include_str!("playground/playground.css");

/// Allows the page its own scripts and styles, and requests to this server only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page and its files.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/playground", get(|| async { file("text/html; charset=utf-8", HTML) }))
        .route("/playground/playground.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
        .route("/playground/playground.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text)
}
