//! Requests to services, as any client would send them.

use serde_json::Value;

/// GET. Returns the status and the body as JSON, null where the body is something else.
pub async fn get(url: &str) -> (u16, Value) {
    answer(reqwest::Client::new().get(url)).await
}

/// POST of a body with its content type.
pub async fn post(url: &str, content_type: &str, body: impl Into<String>) -> (u16, Value) {
    answer(reqwest::Client::new().post(url).header("content-type", content_type).body(body.into())).await
}

/// POST of JSON.
pub async fn post_json(url: &str, body: &Value) -> (u16, Value) {
    post(url, "application/json", body.to_string()).await
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    match request.send().await {
        Ok(answer) => {
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap_or_default();
            (status, serde_json::from_str(&text).unwrap_or(Value::Null))
        }
        // A killed service answers nothing. Callers try again.
        Err(_) => (0, Value::Null),
    }
}
