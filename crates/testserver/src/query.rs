//! Query parameters.

use super::list::ListQuery;
use super::selector::Selector;
use super::status::Status;

/// The query parameters the server knows; others are ignored.
#[derive(Debug, Default)]
pub struct Query {
    /// `watch`.
    pub watch: bool,
    /// `limit`.
    pub limit: Option<usize>,
    /// `continue`.
    pub continue_token: Option<String>,
    /// `labelSelector`.
    pub label_selector: Option<String>,
    /// `fieldSelector`.
    pub field_selector: Option<String>,
    /// `resourceVersion`.
    pub resource_version: Option<u64>,
    /// `resourceVersionMatch`.
    pub resource_version_match: Option<String>,
    /// `allowWatchBookmarks`.
    pub allow_watch_bookmarks: bool,
    /// `sendInitialEvents`.
    pub send_initial_events: Option<bool>,
    /// `timeoutSeconds`.
    pub timeout_seconds: Option<u64>,
    /// `fieldManager`.
    pub field_manager: Option<String>,
    /// `force`.
    pub force: bool,
}

impl Query {
    /// Reads the query of a URL.
    pub fn parse(query: &str) -> Result<Query, Status> {
        let mut parsed = Query::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !value.is_empty() {
                parsed.set(&name, value)?;
            }
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Status> {
        match name {
            "watch" => self.watch = flag(name, &value)?,
            "limit" => self.limit = Some(number(name, &value)?),
            "continue" => self.continue_token = Some(value),
            "labelSelector" => self.label_selector = Some(value),
            "fieldSelector" => self.field_selector = Some(value),
            "resourceVersion" => self.resource_version = Some(number(name, &value)?),
            "resourceVersionMatch" => self.resource_version_match = Some(value),
            "allowWatchBookmarks" => self.allow_watch_bookmarks = flag(name, &value)?,
            "sendInitialEvents" => self.send_initial_events = Some(flag(name, &value)?),
            "timeoutSeconds" => self.timeout_seconds = Some(number(name, &value)?),
            "fieldManager" => self.field_manager = Some(value),
            "force" => self.force = flag(name, &value)?,
            // Ignoring a dry run would carry the request out.
            "dryRun" => return Err(Status::bad_request("dryRun is not supported")),
            _ => {}
        }
        Ok(())
    }

    /// The selector of these parameters within a namespace (empty: all).
    pub fn selector(&self, namespace: &str) -> Result<Selector, Status> {
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        Selector::parse(
            namespace,
            self.label_selector.as_deref(),
            self.field_selector.as_deref(),
        )
    }

    /// The list of these parameters within a namespace (empty: all).
    pub fn list(&self, namespace: &str) -> Result<ListQuery, Status> {
        Ok(ListQuery {
            selector: self.selector(namespace)?,
            limit: self.limit,
            continue_token: self.continue_token.clone(),
            resource_version: self.resource_version.unwrap_or(0),
            exact: self.resource_version_match.as_deref() == Some("Exact"),
        })
    }
}

fn flag(name: &str, value: &str) -> Result<bool, Status> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Status::bad_request(format!(
            "{name} must be true or false, not {value:?}"
        ))),
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, Status> {
    let error = |_| Status::bad_request(format!("{name} must be a number, not {value:?}"));
    value.parse().map_err(error)
}

/// Decodes a part of a URL with percent escapes and plus signs for spaces.
fn decode(text: &str) -> Result<String, Status> {
    let broken = || Status::bad_request("the URL has a broken percent escape");
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit(), digit());
                let code = high.zip(low).ok_or_else(broken)?;
                u8::try_from(code.0 * 16 + code.1).map_err(|_| broken())?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        assert_eq!(decode("a%3Db+c%2C").as_deref(), Ok("a=b c,"));
        let query = Query::parse("labelSelector=app%3Ddb&limit=5&resourceVersion=").expect("valid");
        assert_eq!(query.label_selector.as_deref(), Some("app=db"));
        assert_eq!((query.limit, query.resource_version), (Some(5), None));
    }
}
