//! The kinds of patch.

use serde_json::Value;

use super::status::Status;

/// A parsed patch body.
#[derive(Debug, Clone)]
pub enum Patch {
    /// Server-side apply.
    Apply {
        /// The field manager.
        manager: String,
        /// Whether to take conflicting fields over from other managers.
        force: bool,
        /// The declared fields.
        config: Value,
    },
    /// JSON merge patch (RFC 7386).
    Merge(Value),
    /// JSON patch (RFC 6902).
    Json(json_patch::Patch),
}

const EXPECTED: &str =
    "application/apply-patch+yaml, application/merge-patch+json or application/json-patch+json";

impl Patch {
    /// Reads a patch by its content type. An apply body must be JSON, which is YAML too.
    pub fn parse(
        content_type: &str,
        body: &[u8],
        field_manager: Option<&str>,
        force: bool,
    ) -> Result<Patch, Status> {
        match media_type(content_type) {
            "application/apply-patch+yaml" => {
                let manager = field_manager
                    .filter(|name| !name.is_empty())
                    .ok_or_else(|| {
                        Status::bad_request("fieldManager is required for an apply patch")
                    })?;
                let config: Value = parse_json(body)?;
                for field in ["apiVersion", "kind"] {
                    if !config[field].is_string() {
                        let message = format!("{field} is required in an apply patch");
                        return Err(Status::bad_request(message));
                    }
                }
                Ok(Patch::Apply {
                    manager: manager.to_owned(),
                    force,
                    config,
                })
            }
            "application/merge-patch+json" => {
                let patch: Value = parse_json(body)?;
                if !patch.is_object() {
                    return Err(Status::bad_request("a merge patch must be a JSON object"));
                }
                Ok(Patch::Merge(patch))
            }
            "application/json-patch+json" => Ok(Patch::Json(parse_json(body)?)),
            other => Err(Status::unsupported_media_type(other, EXPECTED)),
        }
    }
}

/// The media type of a `Content-Type`, without its parameters.
pub fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// Reads a JSON body.
pub fn parse_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("the body cannot be read as JSON: {error}")))
}
