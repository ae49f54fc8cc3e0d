//! The HTTP service: reads a request, calls the store, writes the reply.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::Value;

use super::discovery;
use super::faults::{Call, Fault};
use super::patch::{Patch, media_type, parse_json};
use super::reply::{self, Body};
use super::route::{self, ResourceRequest, Verb};
use super::shell::Shell;
use super::status::Status;
use super::store::{Key, Preconditions, Store, Target};
use super::{watch, webhook};

/// The largest body that is read, as in Kubernetes.
const LARGEST_BODY: usize = 3 << 20;

/// The connection is to be closed without a reply.
#[derive(Debug)]
pub struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("connection dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

/// Answers one request, or drops its connection at a fault.
pub async fn handle(
    shell: Arc<Shell>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Dropped> {
    let since_start = shell.started.elapsed();
    let (head, body) = request.into_parts();
    let header = |name| {
        head.headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let user_agent = header(USER_AGENT).unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    let route = route::parse(&head.method, head.uri.path(), query);
    let call = call(&route);
    shell.account.record(user_agent, since_start, call);

    // Read the body before anything is decided, so that the connection stays usable.
    let body = Limited::new(body, LARGEST_BODY).collect().await;
    shell.outage.hang_ended().await;
    if shell.outage.is_down() {
        return Err(Dropped);
    }
    let concerned = call.verb != Some(Verb::Watch) && shell.faults().concern(user_agent);
    let seat = concerned.then(|| shell.flow.enter());
    if let Some(None) = seat {
        return Ok(reply::failure(&Status::too_many_in_flight(1)));
    }
    if concerned && !shell.options.latency.is_zero() {
        tokio::time::sleep(shell.options.latency).await;
    }
    let fault = shell.faults().next(user_agent, &call);
    if let Some(status) = refusal(fault, &route, head.uri.path())? {
        return Ok(reply::failure(&status));
    }
    let answer = match (route, body) {
        (Err(status), _) => Err(status),
        (Ok(_), Err(error)) => Err(unreadable(error.as_ref())),
        (Ok(route), Ok(body)) => {
            let content_type = header(CONTENT_TYPE).unwrap_or_default();
            answer(&shell, &route, user_agent, content_type, &body.to_bytes()).await
        }
    };
    match fault {
        Some(Fault::DropAfter) => Err(Dropped),
        _ => Ok(answer.unwrap_or_else(|status| reply::failure(&status))),
    }
}

fn call(route: &Result<route::Request, Status>) -> Call {
    match route {
        Ok(route::Request::Resource(request)) => request.call(),
        _ => Call::default(),
    }
}

/// The reply of a fault in place of the request's.
fn refusal(
    fault: Option<Fault>,
    route: &Result<route::Request, Status>,
    path: &str,
) -> Result<Option<Status>, Dropped> {
    Ok(Some(match fault {
        None | Some(Fault::DropAfter) => return Ok(None),
        Some(Fault::DropBefore) => return Err(Dropped),
        Some(Fault::Conflict) => Status::injected_conflict(),
        Some(Fault::TooManyRequests { retry_after_s }) => Status::too_many_requests(retry_after_s),
        Some(Fault::TooManyRequestsText { retry_after_s }) => {
            Status::too_many_in_flight(retry_after_s)
        }
        Some(Fault::Forbidden) => match route {
            Ok(route::Request::Resource(request)) => Status::no_permission(request),
            _ => Status::no_permission_for_path(path),
        },
        Some(Fault::InternalError) => Status::internal("an injected internal error"),
        Some(Fault::Unavailable { retry_after_s }) => Status::unavailable(retry_after_s),
    }))
}

fn unreadable(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Status {
    match error.is::<http_body_util::LengthLimitError>() {
        true => Status::too_large(),
        false => Status::bad_request("the body cannot be read"),
    }
}

async fn answer(
    shell: &Arc<Shell>,
    route: &route::Request,
    user_agent: &str,
    content_type: &str,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    let served = || shell.read(Store::served);
    let document = match route {
        route::Request::Version => discovery::version(),
        route::Request::CoreVersions => discovery::core_versions(),
        route::Request::Groups => discovery::groups(&served()),
        route::Request::Group(group) => discovery::group(&served(), group)?,
        route::Request::Resources { group, version } => {
            discovery::resources(&served(), group, version)?
        }
        route::Request::Resource(request) => {
            if shell.faults().forbids(&request.call()) {
                return Err(Status::no_permission(request));
            }
            if !shell.read(|store| store.serves(request.ty)) {
                return Err(Status::no_such_path());
            }
            return match request.verb {
                Verb::Get | Verb::List => read(shell, request),
                Verb::Watch => follow(shell, request, user_agent),
                _ => write(shell, request, content_type, body).await,
            };
        }
    };
    Ok(reply::json_text(
        StatusCode::OK,
        document.to_string().into(),
    ))
}

fn read(shell: &Shell, request: &ResourceRequest) -> Result<Response<Body>, Status> {
    if request.verb == Verb::Get {
        let object = shell.read(|store| store.get(request.ty, &key(request)))?;
        return Ok(reply::object(StatusCode::OK, &object));
    }
    let query = request.query.list(&request.namespace)?;
    let page = shell.read(|store| store.list(request.ty, &query))?;
    Ok(reply::json_text(StatusCode::OK, page.to_json(request.ty)))
}

fn follow(
    shell: &Arc<Shell>,
    request: &ResourceRequest,
    user_agent: &str,
) -> Result<Response<Body>, Status> {
    let cutter = shell.faults().cutter(user_agent);
    let lines = watch::open(shell, request, cutter)?;
    let body = StreamBody::new(lines.map_ok(Frame::data)).boxed_unsync();
    Ok(reply::stream(body))
}

async fn write(
    shell: &Shell,
    request: &ResourceRequest,
    content_type: &str,
    body: &Bytes,
) -> Result<Response<Body>, Status> {
    // Parse the body before the store is locked. A write runs again if the object changes during its review.
    let (ty, status) = (request.ty, request.status);
    match request.verb {
        Verb::Create => {
            let object = parse_object(content_type, body)?;
            let namespace = &request.namespace;
            let created = webhook::write(shell, ty, status, |store, now| {
                store.create(ty, namespace, object.clone(), now)
            });
            let created = created.await?;
            Ok(reply::object(StatusCode::CREATED, &created))
        }
        Verb::Update => {
            let object = parse_object(content_type, body)?;
            let updated = webhook::write(shell, ty, status, |store, now| {
                store.update(&target(request), object.clone(), now)
            });
            let (created, updated) = updated.await?;
            Ok(reply::object(written(created), &updated))
        }
        Verb::Patch => {
            let query = &request.query;
            let manager = query.field_manager.as_deref();
            let patch = Patch::parse(content_type, body, manager, query.force)?;
            let patched = webhook::write(shell, ty, status, |store, now| {
                store.patch(&target(request), &patch, now)
            });
            let (created, object) = patched.await?;
            Ok(reply::object(written(created), &object))
        }
        Verb::Delete => {
            let preconditions = delete_options(body)?;
            let deletion = shell
                .write(|store, now| store.delete(request.ty, &key(request), &preconditions, now))?;
            Ok(reply::deletion(request, &deletion))
        }
        Verb::Get | Verb::List | Verb::Watch => Err(Status::method_not_allowed()),
    }
}

/// The code of a write that may have created its object.
fn written(created: bool) -> StatusCode {
    match created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    }
}

fn key(request: &ResourceRequest) -> Key {
    Key::new(&request.namespace, &request.name)
}

fn target(request: &ResourceRequest) -> Target {
    Target {
        ty: request.ty,
        key: key(request),
        status: request.status,
    }
}

fn parse_object(content_type: &str, body: &Bytes) -> Result<Value, Status> {
    match media_type(content_type) {
        "" | "application/json" => parse_json(body),
        other => Err(Status::unsupported_media_type(other, "application/json")),
    }
}

/// Reads the preconditions of `DeleteOptions`. Foreground and background propagation both
/// collect dependents in the background.
fn delete_options(body: &Bytes) -> Result<Preconditions, Status> {
    if body.is_empty() {
        return Ok(Preconditions::default());
    }
    let options: Value = parse_json(body)?;
    if options["dryRun"]
        .as_array()
        .is_some_and(|stages| !stages.is_empty())
    {
        return Err(Status::bad_request("dryRun is not supported"));
    }
    let precondition = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
    Ok(Preconditions {
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
        orphan: options["propagationPolicy"] == "Orphan",
    })
}
