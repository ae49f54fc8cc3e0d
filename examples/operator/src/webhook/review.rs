//! The reviews of the API server: `AdmissionReview` of `admission.k8s.io/v1`.

use std::fmt;

use kube::Resource;
use kube::core::DynamicObject;
use kube::core::admission::{
    AdmissionRequest, AdmissionResponse, AdmissionReview, META_API_VERSION_V1, META_KIND, Operation,
};
use kube::core::response::StatusSummary;
use serde::de::DeserializeOwned;

use super::rules::{self, Reasons};

/// Why there is no answer to a body. The API server takes it for a failure of the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The answer to a review.
///
/// # Errors
/// If the body is no review, or one of an object that has no rules.
pub fn answer(body: &[u8]) -> Result<AdmissionReview<DynamicObject>, Malformed> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body)
        .map_err(|error| Malformed(format!("the body is no AdmissionReview: {error}")))?;
    let (kind, version) = (&review.types.kind, &review.types.api_version);
    if kind != META_KIND || version != META_API_VERSION_V1 {
        let found = format!("{version} {kind}");
        return Err(Malformed(format!(
            "the body is a {found}, not a {META_API_VERSION_V1} {META_KIND}"
        )));
    }
    let request: AdmissionRequest<DynamicObject> = review
        .try_into()
        .map_err(|_| Malformed("the review has no request".to_owned()))?;
    let mut response = AdmissionResponse::from(&request);
    if let Err(reasons) = judge(&request)? {
        let (kind, namespace) = (&request.kind.kind, request.namespace.as_deref());
        tracing::info!(%kind, namespace, name = %request.name, %reasons, "refused");
        response = response.deny(reasons);
        response.result.status = Some(StatusSummary::Failure);
        response.result.code = 422;
        response.result.reason = "Invalid".to_owned();
    }
    Ok(response.into_review())
}

/// Judges the object of a review by the rules of its kind. What is neither a create nor an update of an object, but of
/// a subresource, is accepted.
fn judge(request: &AdmissionRequest<DynamicObject>) -> Result<Result<(), Reasons>, Malformed> {
    let is_write = [Operation::Create, Operation::Update].contains(&request.operation);
    let subresource = request.sub_resource.as_deref().unwrap_or_default();
    if !is_write || !subresource.is_empty() {
        return Ok(Ok(()));
    }
    match (&*request.kind.group, &*request.kind.kind) {
        ("example.com", "Database") => by(request, rules::database),
        ("example.com", "Backup") => by(request, rules::backup),
        (group, kind) => Err(Malformed(format!("there are no rules for {kind}.{group}"))),
    }
}

/// Judges the object as one of a kind.
fn by<K>(
    request: &AdmissionRequest<DynamicObject>,
    rule: impl FnOnce(&K, Option<&K>) -> Result<(), Reasons>,
) -> Result<Result<(), Reasons>, Malformed>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let missing = |what: &str| Malformed(format!("the request has no {what}"));
    let new = request.object.as_ref().ok_or_else(|| missing("object"))?;
    let old = match request.operation {
        Operation::Update => {
            let old = request.old_object.as_ref();
            Some(old.ok_or_else(|| missing("oldObject"))?)
        }
        _ => None,
    };
    // Most updates are of finalizers and labels.
    if old.is_some_and(|old| old.data["spec"] == new.data["spec"]) {
        return Ok(Ok(()));
    }
    let parse = |object: &DynamicObject| object.clone().try_parse::<K>();
    let new = match parse(new) {
        Ok(new) => new,
        Err(error) => {
            let kind = K::kind(&());
            return Ok(Err(Reasons::one(format!("it is not a {kind}: {error}"))));
        }
    };
    // An old object that cannot be read as its kind is judged as if it were new.
    let old = old.and_then(|old| parse(old).ok());
    Ok(rule(&new, old.as_ref()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn database(replicas: &Value) -> Value {
        json!({
            "apiVersion": "example.com/v1",
            "kind": "Database",
            "metadata": { "name": "orders", "namespace": "shop" },
            "spec": { "engine": "postgres", "replicas": replicas, "storage": "1Gi" },
        })
    }

    fn review(operation: &str, new: &Value, old: &Value) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "1-2-3",
                "kind": { "group": "example.com", "version": "v1", "kind": "Database" },
                "resource": { "group": "example.com", "version": "v1", "resource": "databases" },
                "name": "orders",
                "namespace": "shop",
                "operation": operation,
                "userInfo": { "username": "a" },
                "object": new,
                "oldObject": old,
            },
        })
    }

    fn answered(review: &Value) -> Result<Value, Malformed> {
        let answer = answer(review.to_string().as_bytes())?;
        Ok(serde_json::to_value(answer).expect("an answer can be written"))
    }

    #[test]
    fn an_answer_has_the_uid_of_its_review() {
        let (one, six) = (database(&json!(1)), database(&json!(6)));
        let allowed = answered(&review("CREATE", &one, &Value::Null)).expect("a review");
        assert_eq!(allowed["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(allowed["kind"], "AdmissionReview");
        assert_eq!(allowed["response"]["uid"], "1-2-3");
        assert_eq!(allowed["response"]["allowed"], true);

        let denied = answered(&review("UPDATE", &six, &one)).expect("a review");
        let response = &denied["response"];
        assert_eq!(
            (&response["uid"], &response["allowed"]),
            (&json!("1-2-3"), &json!(false))
        );
        let expected = json!({
            "status": "Failure",
            "code": 422,
            "reason": "Invalid",
            "message": "spec.replicas: 6 is not from 1 to 5",
        });
        assert_eq!(response["status"], expected);
    }

    #[test]
    fn an_object_that_is_not_of_its_kind_is_denied() {
        let three = database(&json!("three"));
        let denied = answered(&review("CREATE", &three, &Value::Null)).expect("a review");
        let message = denied["response"]["status"]["message"].as_str();
        let message = message.expect("a message");
        assert!(message.starts_with("it is not a Database: "), "{message}");
    }

    #[test]
    fn only_creates_and_updates_of_specs_are_judged() {
        let (one, six) = (database(&json!(1)), database(&json!(6)));
        let three = database(&json!("three"));
        for (operation, new, old, subresource) in [
            ("DELETE", &Value::Null, &six, ""),
            ("CONNECT", &six, &Value::Null, ""),
            ("UPDATE", &six, &one, "status"),
            ("UPDATE", &six, &six, ""),
            ("UPDATE", &three, &three, ""),
        ] {
            let mut review = review(operation, new, old);
            review["request"]["subResource"] = subresource.into();
            let answer = answered(&review).expect("a review");
            assert_eq!(answer["response"]["allowed"], true, "{review}");
        }
    }

    #[test]
    fn other_bodies_are_malformed() {
        let one = database(&json!(1));
        let good = review("UPDATE", &one, &one);
        let with = |pointer: &str, value: Value| {
            let mut changed = good.clone();
            *changed.pointer_mut(pointer).expect("a field") = value;
            changed
        };
        for (body, what) in [
            (json!({}), "no AdmissionReview"),
            (json!([good]), "no AdmissionReview"),
            (
                with("/apiVersion", json!("admission.k8s.io/v1beta1")),
                "v1beta1",
            ),
            (with("/kind", json!("Review")), "Review, not"),
            (with("/request", Value::Null), "no request"),
            (with("/request/object", Value::Null), "no object"),
            (with("/request/oldObject", Value::Null), "no oldObject"),
            (with("/request/operation", json!("PATCH")), "PATCH"),
            (with("/request/kind/kind", json!("Pod")), "Pod.example.com"),
            (with("/request/kind/group", json!("a")), "Database.a"),
        ] {
            let malformed = answered(&body).expect_err("no review");
            assert!(malformed.0.contains(what), "{malformed}");
        }
        for body in [&b""[..], b"{", b"\xff", b"null"] {
            assert!(answer(body).is_err());
        }
    }
}
