//! The host's own errors as problem documents (RFC 9457), in the form that the gateway components use.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;

/// A problem with additional members.
pub(crate) fn problem(
    status: StatusCode,
    kind: &str,
    title: &str,
    detail: &str,
    members: &[(&str, serde_json::Value)],
) -> Response<Full<Bytes>> {
    let mut document = serde_json::json!({
        "type": format!("urn:exesdb:problem:{kind}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
    });
    for (name, value) in members {
        document[*name] = value.clone();
    }
    let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}
