//! [`explain`]: one line for an error of the API server or of the way to it.

use std::error::Error as _;

use kube::core::Status;
use kube::error::Error;

/// Returns one line for an error: for a log, a condition or the exit of a command.
///
/// | error | line |
/// |---|---|
/// | 401 | `not authenticated: ...` |
/// | 403 | `forbidden: ...` with the server's message, which names the rule that is missing |
/// | 404 outside of the API, in plain text | the API group or its CustomResourceDefinition is not installed |
/// | 404 | `not found: ...` |
/// | 409 | `conflict: ...` |
/// | 422 | `invalid: ...` |
/// | 429 | `too many requests: ...` |
/// | other answers | `the API server says: ... (code)` |
/// | no answer | `the API server cannot be reached: ...` with the chain of causes |
/// | others | the error with the chain of its causes |
///
/// ```
/// use kube::core::Status;
/// use tollgate_kube::explain;
///
/// let status = Status::failure("leases is forbidden", "Forbidden").with_code(403);
/// assert_eq!(explain(&kube::Error::Api(status.boxed())), "forbidden: leases is forbidden");
/// ```
pub fn explain(error: &Error) -> String {
    let line = match error {
        Error::Api(status) => answered(status),
        other => match is_of_the_connection(other) {
            true => format!("the API server cannot be reached: {}", causes(other)),
            false => causes(other),
        },
    };
    // A body in plain text or HTML may have many lines.
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn answered(status: &Status) -> String {
    let what = match status.code {
        401 => "not authenticated",
        403 => "forbidden",
        // The mux of the API server, which knows no such path, answers in plain text.
        404 if status.message == "404 page not found" => {
            return "the API server does not serve this resource: its API group or \
                    CustomResourceDefinition is not installed (404 page not found)"
                .to_owned();
        }
        404 => "not found",
        409 => "conflict",
        422 => "invalid",
        429 => "too many requests",
        code => return format!("the API server says: {} ({code})", message(status)),
    };
    format!("{what}: {}", message(status))
}

/// What the server says; an answer without a body has only a reason.
fn message(status: &Status) -> &str {
    match status.message.trim() {
        "" => &status.reason,
        message => message,
    }
}

/// Whether an error comes from sending a request or reading its answer.
fn is_of_the_connection(error: &Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.is::<std::io::Error>() || cause.is::<hyper::Error>() {
            return true;
        }
        next = cause.source();
    }
    false
}

/// Returns the chain of causes, without those that the line has said already, and without kube's wrapping
/// of errors of the client's layers.
fn causes(error: &Error) -> String {
    let mut next = error.source();
    let mut line = match (error, next) {
        (Error::Service(_) | Error::HyperError(_), Some(cause)) => cause.to_string(),
        _ => error.to_string(),
    };
    while let Some(cause) = next {
        let said = cause.to_string();
        if !line.contains(&said) {
            line = format!("{line}: {said}");
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io;

    use tollgate::Denied;

    use super::*;

    fn api(code: u16, message: &str, reason: &str) -> String {
        let status = Status::failure(message, reason).with_code(code);
        explain(&Error::Api(status.boxed()))
    }

    #[test]
    fn answers_have_a_line_each() {
        for (code, message, line) in [
            (401, "Unauthorized", "not authenticated: Unauthorized"),
            (
                403,
                "leases is forbidden: cannot list",
                "forbidden: leases is forbidden: cannot list",
            ),
            (
                404,
                r#"databases "d" not found"#,
                r#"not found: databases "d" not found"#,
            ),
            (
                409,
                "the object has been modified",
                "conflict: the object has been modified",
            ),
            (
                422,
                "spec.engine: Invalid value",
                "invalid: spec.engine: Invalid value",
            ),
            (
                429,
                "Too many requests, please try again later.\n",
                "too many requests: Too many requests, please try again later.",
            ),
            (
                500,
                "etcd\n  is\tgone",
                "the API server says: etcd is gone (500)",
            ),
            (502, "", "the API server says: a reason (502)"),
        ] {
            assert_eq!(api(code, message, "a reason"), line);
        }
    }

    #[test]
    fn a_group_that_is_not_installed_is_told_from_an_object_that_is_not_there() {
        let line = api(404, "404 page not found", "Failed to parse error data");
        assert!(
            line.contains("CustomResourceDefinition is not installed"),
            "{line}"
        );
    }

    #[test]
    fn an_error_of_the_connection_has_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("client error (Connect)")]
        struct Connect(#[source] io::Error);

        let refused = Connect(io::Error::other("Connection refused"));
        assert_eq!(
            explain(&Error::Service(Box::new(refused))),
            "the API server cannot be reached: client error (Connect): Connection refused"
        );
    }

    #[test]
    fn an_error_of_the_client_does_not_blame_the_server() {
        let refused = Error::Service(Box::new(Denied::Exhausted));
        assert_eq!(explain(&refused), Denied::Exhausted.to_string());
        let json = serde_json::from_str::<u8>("x").unwrap_err();
        let line = explain(&Error::SerdeError(json));
        assert_eq!(
            line,
            "Error deserializing response: expected value at line 1 column 1"
        );
    }
}
