//! Replies: objects, lists and failures as HTTP responses.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::json;

use super::meta;
use super::route::ResourceRequest;
use super::status::Status;
use super::store::{Deletion, Object};

/// The body of a reply.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The reply to a delete: a `Status` for a removed object, the object itself if it waits for finalizers.
pub fn deletion(request: &ResourceRequest, deletion: &Deletion) -> Response<Body> {
    let removed = match deletion {
        Deletion::Pending(pending) => return object(StatusCode::OK, pending),
        Deletion::Removed(removed) => removed,
    };
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": request.name,
            "group": request.ty.group,
            "kind": request.ty.plural,
            "uid": meta::text(&removed.value, "uid"),
        },
    });
    json_text(StatusCode::OK, status.to_string().into())
}

/// An object.
pub fn object(code: StatusCode, object: &Object) -> Response<Body> {
    json_text(code, object.json.clone())
}

/// A failure, as an object or as plain text.
pub fn failure(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match status.plain {
        true => with_type(code, whole(format!("{}\n", status.message).into()), TEXT),
        false => json_text(code, status.to_json().to_string().into()),
    };
    if let Some(seconds) = status.retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A JSON text.
pub fn json_text(code: StatusCode, json: Bytes) -> Response<Body> {
    with_type(code, whole(json), JSON)
}

/// JSON that is written piece by piece.
pub fn stream(body: Body) -> Response<Body> {
    with_type(StatusCode::OK, body, JSON)
}

fn whole(text: Bytes) -> Body {
    Full::new(text)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn with_type(code: StatusCode, body: Body, content_type: HeaderValue) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
