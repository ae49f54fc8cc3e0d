//! Failures as Kubernetes `Status` objects.

use serde_json::{Map, Value, json};

use super::resource::ResourceType;
use super::route::ResourceRequest;

/// The user of a request without credentials; the server asks for none.
pub const USER: &str = "system:anonymous";

/// One reason why an object was refused, pointing at a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable reason, such as `FieldValueRequired`.
    pub reason: &'static str,
    /// What is wrong, in words.
    pub message: String,
    /// Path of the field, such as `spec.replicas`.
    pub field: String,
}

impl Cause {
    /// A missing field.
    pub fn required(field: &str, why: &str) -> Cause {
        let message = match why {
            "" => "Required value".to_owned(),
            _ => format!("Required value: {why}"),
        };
        Cause {
            reason: "FieldValueRequired",
            message,
            field: field.to_owned(),
        }
    }

    /// A field with a value out of bounds.
    pub fn invalid(field: &str, value: &Value, why: &str) -> Cause {
        let message = format!("Invalid value: {value}: {why}");
        Cause {
            reason: "FieldValueInvalid",
            message,
            field: field.to_owned(),
        }
    }

    /// A field that may not be changed like this now.
    pub fn forbidden(field: &str, why: &str) -> Cause {
        let message = format!("Forbidden: {why}");
        Cause {
            reason: "FieldValueForbidden",
            message,
            field: field.to_owned(),
        }
    }

    fn to_json(&self) -> Value {
        json!({ "reason": self.reason, "message": self.message, "field": self.field })
    }
}

/// A failed request, answered as an object of kind `Status`.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// What went wrong, in words.
    pub message: String,
    /// Seconds for the `Retry-After` header and `details.retryAfterSeconds`.
    pub retry_after_s: Option<u64>,
    /// Whether the body is the message as plain text instead of an object.
    pub plain: bool,
    details: Map<String, Value>,
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
        Status {
            code,
            reason,
            message: message.into(),
            retry_after_s: None,
            plain: false,
            details: Map::new(),
        }
    }

    fn about(mut self, ty: &ResourceType, kind: &str, name: &str) -> Status {
        if !name.is_empty() {
            self.details.insert("name".into(), name.into());
        }
        if !ty.group.is_empty() {
            self.details.insert("group".into(), ty.group.into());
        }
        self.details.insert("kind".into(), kind.into());
        self
    }

    /// 400: the request is invalid.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::new(400, "BadRequest", message)
    }

    fn plain(code: u16, reason: &'static str, text: &str) -> Status {
        let mut status = Status::new(code, reason, text);
        status.plain = true;
        status
    }

    /// Adds causes to the details.
    pub fn with_causes(mut self, causes: &[Cause]) -> Status {
        let causes: Vec<Value> = causes.iter().map(Cause::to_json).collect();
        self.details.insert("causes".into(), causes.into());
        self
    }

    /// 403: the object or the request may not be.
    pub fn forbidden(ty: &ResourceType, name: &str, why: &str) -> Status {
        let mut subject = ty.qualified_plural();
        if !name.is_empty() {
            subject = format!("{subject} {name:?}");
        }
        Status::new(403, "Forbidden", format!("{subject} is forbidden: {why}"))
            .about(ty, ty.plural, name)
    }

    /// 403: no role allows this request to its user. All requests have the same user.
    pub fn no_permission(request: &ResourceRequest) -> Status {
        let (ty, verb) = (request.ty, request.verb.as_str());
        let place = match request.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let resource = request.call().resource();
        let why = format!(
            "User {USER:?} cannot {verb} resource {resource:?} in API group {:?} {place}",
            ty.group
        );
        Status::forbidden(ty, &request.name, &why)
    }

    /// 403: no role allows a request outside of resources.
    pub fn no_permission_for_path(path: &str) -> Status {
        let message = format!("forbidden: User {USER:?} cannot get path {path:?}");
        Status::new(403, "Forbidden", message)
    }

    /// The refusal of a webhook, from the status in its answer; 400 unless that has a code of its own.
    pub fn denied(webhook: &str, answer: &Value) -> Status {
        let text = |field: &str| answer[field].as_str().filter(|text| !text.is_empty());
        let why = text("message").or(text("reason"));
        let by = format!("admission webhook {webhook:?} denied the request");
        let message = why.map_or(format!("{by} without explanation"), |why| {
            format!("{by}: {why}")
        });
        let code = answer["code"]
            .as_u64()
            .and_then(|code| code.try_into().ok());
        let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
        let reason = match code {
            400 => "BadRequest",
            403 => "Forbidden",
            422 => "Invalid",
            _ => "",
        };
        Status::new(code, reason, message)
    }

    /// 404: no such object.
    pub fn not_found(ty: &ResourceType, name: &str) -> Status {
        let message = format!("{} {name:?} not found", ty.qualified_plural());
        Status::new(404, "NotFound", message).about(ty, ty.plural, name)
    }

    /// 404: no such path. The answer is plain text.
    pub fn no_such_path() -> Status {
        Status::plain(404, "NotFound", "404 page not found")
    }

    /// 405: the path exists but not with this method.
    pub fn method_not_allowed() -> Status {
        let message = "the server does not allow this method on the requested resource";
        Status::new(405, "MethodNotAllowed", message)
    }

    /// 409: the name is taken.
    pub fn already_exists(ty: &ResourceType, name: &str) -> Status {
        let message = format!("{} {name:?} already exists", ty.qualified_plural());
        Status::new(409, "AlreadyExists", message).about(ty, ty.plural, name)
    }

    /// 409: a precondition of the write does not hold.
    pub fn conflict(ty: &ResourceType, name: &str, why: &str) -> Status {
        let plural = ty.qualified_plural();
        let message = format!("Operation cannot be fulfilled on {plural} {name:?}: {why}");
        Status::new(409, "Conflict", message).about(ty, ty.plural, name)
    }

    /// 409: the write was made against an older version.
    pub fn stale(ty: &ResourceType, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Status::conflict(ty, name, why)
    }

    /// 409: an injected fault.
    pub fn injected_conflict() -> Status {
        let message = "Operation cannot be fulfilled: the object has been modified; please apply \
                       your changes to the latest version and try again";
        Status::new(409, "Conflict", message)
    }

    /// 409: fields of an apply belong to other managers.
    pub fn apply_conflict(fields: &[(String, String)]) -> Status {
        let causes: Vec<Value> = fields
            .iter()
            .map(|(manager, field)| {
                let message = format!("conflict with {manager:?}");
                json!({ "reason": "FieldManagerConflict", "message": message, "field": field })
            })
            .collect();
        let listed: Vec<String> = fields
            .iter()
            .map(|(manager, field)| format!("{field} (with {manager:?})"))
            .collect();
        let message = format!(
            "Apply failed with {} conflict(s): {}",
            fields.len(),
            listed.join(", ")
        );
        let mut status = Status::new(409, "Conflict", message);
        status.details.insert("causes".into(), causes.into());
        status
    }

    /// 410: the resource version is no longer in the history.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::new(410, "Expired", message)
    }

    /// 413: the body is larger than the server reads.
    pub fn too_large() -> Status {
        Status::new(
            413,
            "RequestEntityTooLarge",
            "the request body is too large",
        )
    }

    /// 415: the body is of a type the server does not read.
    pub fn unsupported_media_type(got: &str, expected: &str) -> Status {
        let message = format!("the body of type {got:?} is not supported; expected {expected}");
        Status::new(415, "UnsupportedMediaType", message)
    }

    /// 422: the object breaks a rule of its type.
    pub fn invalid(ty: &ResourceType, name: &str, causes: &[Cause]) -> Status {
        let listed: Vec<String> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let message = format!(
            "{} {name:?} is invalid: {}",
            ty.qualified_kind(),
            listed.join(", ")
        );
        Status::new(422, "Invalid", message)
            .about(ty, ty.kind, name)
            .with_causes(causes)
    }

    /// 422: a JSON patch does not fit the object.
    pub fn patch_does_not_fit(message: impl Into<String>) -> Status {
        Status::new(422, "Invalid", message)
    }

    /// 429: retry later.
    pub fn too_many_requests(retry_after_s: u64) -> Status {
        let message =
            "the server has received too many requests and has asked us to try again later";
        let mut status = Status::new(429, "TooManyRequests", message);
        status.retry_after_s = Some(retry_after_s);
        status
    }

    /// 429: too many requests are in flight. The answer is plain text.
    pub fn too_many_in_flight(retry_after_s: u64) -> Status {
        let text = "Too many requests, please try again later.";
        let mut status = Status::plain(429, "TooManyRequests", text);
        status.retry_after_s = Some(retry_after_s);
        status
    }

    /// 500: an internal error.
    pub fn internal(message: impl Into<String>) -> Status {
        Status::new(500, "InternalError", message)
    }

    /// 503: the server cannot serve now.
    pub fn unavailable(retry_after_s: u64) -> Status {
        let message = "the server is currently unable to handle the request";
        let mut status = Status::new(503, "ServiceUnavailable", message);
        status.retry_after_s = Some(retry_after_s);
        status
    }

    /// 504: the resource version asked for is in the future.
    pub fn too_large_resource_version(wanted: u64, current: u64) -> Status {
        let message = format!("Too large resource version: {wanted}, current: {current}");
        let mut status = Status::new(504, "Timeout", message);
        status.retry_after_s = Some(1);
        status
    }

    /// The JSON object on the wire.
    pub fn to_json(&self) -> Value {
        let mut details = self.details.clone();
        if let Some(seconds) = self.retry_after_s {
            details.insert("retryAfterSeconds".into(), seconds.into());
        }
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if !details.is_empty() {
            status["details"] = details.into();
        }
        status
    }
}
