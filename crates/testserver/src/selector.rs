//! Selectors of lists and watches: namespace, labels and a few fields.

use serde_json::Value;

use super::status::Status;
use super::store::Key;

/// One `field = value` or `field != value`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    field: String,
    value: String,
    equal: bool,
}

/// A conjunction of requirements on labels, name and namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    namespace: Option<String>,
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

impl Selector {
    /// Reads the selectors of a query.
    pub fn parse(
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Selector, Status> {
        let fields = requirements("fieldSelector", fields.unwrap_or_default())?;
        let known = ["metadata.name", "metadata.namespace"];
        if let Some(unknown) = fields.iter().find(|r| !known.contains(&r.field.as_str())) {
            let message = format!("field label not supported: {}", unknown.field);
            return Err(Status::bad_request(message));
        }
        Ok(Selector {
            namespace: namespace.map(str::to_owned),
            labels: requirements("labelSelector", labels.unwrap_or_default())?,
            fields,
        })
    }

    /// The namespace, if it selects only one.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// Whether it depends on the namespace only.
    pub fn is_whole(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object with this key is selected, if its labels are too.
    pub fn may_select(&self, key: &Key) -> bool {
        let field = |requirement: &Requirement| {
            let found = match requirement.field.as_str() {
                "metadata.name" => &key.name,
                _ => &key.namespace,
            };
            (*found == requirement.value) == requirement.equal
        };
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == key.namespace)
            && self.fields.iter().all(field)
    }

    /// Whether an object is selected by its labels.
    pub fn selects_labels(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|requirement| {
            let found = labels[&requirement.field].as_str();
            (found == Some(requirement.value.as_str())) == requirement.equal
        })
    }
}

fn requirements(parameter: &str, text: &str) -> Result<Vec<Requirement>, Status> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, value.strip_prefix('=').unwrap_or(value), true)
            } else {
                let message = format!("{parameter} {part:?}: only =, == and != are supported");
                return Err(Status::bad_request(message));
            };
            Ok(Requirement {
                field: field.trim().to_owned(),
                value: value.trim().to_owned(),
                equal,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selects_by_equality_and_inequality() {
        let object = json!({ "metadata": { "labels": { "app": "db", "tier": "x" } } });
        let selects = |labels: &str, fields: &str| {
            let selector = Selector::parse(Some("n"), Some(labels), Some(fields));
            selector.map(|s| s.may_select(&Key::new("n", "a")) && s.selects_labels(&object))
        };
        assert_eq!(selects("", ""), Ok(true));
        assert_eq!(selects("app=db,tier==x", "metadata.name=a"), Ok(true));
        assert_eq!(selects("app=db,tier!=x", ""), Ok(false));
        assert_eq!(selects("missing!=x", "metadata.name!=a"), Ok(false));
        assert_eq!(
            selects("app in (db)", "").map_err(|status| status.code),
            Err(400)
        );
        assert_eq!(
            selects("", "spec.x=1").map_err(|status| status.code),
            Err(400)
        );
    }
}
