//! What an answer says about the load of the server.

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::budget::Lane;
use crate::call::Call;

/// The longest pause that an answer can cause: 5 min.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// The pause after a 429 that names none, or none that can be read.
const UNNAMED_PAUSE: Duration = Duration::from_secs(1);

/// Returns how long the budget pauses after this answer; `None` if the answer is the caller's.
pub(super) fn pause_of<B>(call: &Call, lane: Lane, answer: &Response<B>) -> Option<Duration> {
    if lane == Lane::Lease || is_eviction(call) {
        return None;
    }
    let header = || answer.headers().get(RETRY_AFTER);
    let asks = match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => header().is_some(),
        _ => false,
    };
    asks.then(|| {
        let named = retry_after(answer.headers(), SystemTime::now());
        named.unwrap_or(UNNAMED_PAUSE).min(LONGEST_PAUSE)
    })
}

/// Whether a request evicts a pod: 429 then means that a disruption budget forbids it.
fn is_eviction(call: &Call) -> bool {
    matches!(call, Call::Resource(call)
        if call.is_to("", "pods") && call.subresource.as_deref() == Some("eviction"))
}

/// Reads `Retry-After`: whole seconds, or a date, which counts from the answer's own `Date`, so that the
/// two clocks need not agree.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |name| httpdate::parse_http_date(text(name)?).ok();
    let value = text(RETRY_AFTER)?;
    if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // More seconds than 64 bits hold are many.
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let until = date(RETRY_AFTER)?;
    // A date that has passed asks for no pause.
    Some(
        until
            .duration_since(date(DATE).unwrap_or(now))
            .unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use http::{Method, Uri};

    use super::*;

    /// 6 November 1994, 8:49:37.
    const NOW: u64 = 784_111_777;

    fn read(value: &str, date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        retry_after(&headers, now).map(|delay| delay.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (value, date, expected) in [
            ("0", None, Some(0)),
            ("1", None, Some(1)),
            (" 30 ", None, Some(30)),
            ("18446744073709551615", None, Some(u64::MAX)),
            ("99999999999999999999999", None, Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", None, Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", None, Some(0)),
            // The server's clock is an hour ahead of ours.
            (
                "Sun, 06 Nov 1994 09:49:47 GMT",
                Some("Sun, 06 Nov 1994 09:49:37 GMT"),
                Some(10),
            ),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some("noon"), Some(10)),
            ("", None, None),
            ("-1", None, None),
            ("1.5", None, None),
            ("soon", None, None),
        ] {
            assert_eq!(read(value, date), expected, "{value:?} {date:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::now()), None);
    }

    fn pause(status: u16, header: Option<&str>, uri: &'static str, lane: Lane) -> Option<u64> {
        let mut answer = Response::builder().status(status);
        if let Some(value) = header {
            answer = answer.header(RETRY_AFTER, value);
        }
        let call = Call::new(&Method::POST, &Uri::from_static(uri));
        pause_of(&call, lane, &answer.body(()).unwrap()).map(|pause| pause.as_secs())
    }

    #[test]
    fn a_refusal_for_load_pauses() {
        let of = |status, header| pause(status, header, "/api/v1/namespaces/a/pods", Lane::Normal);
        assert_eq!(of(429, Some("7")), Some(7));
        assert_eq!(of(429, None), Some(1));
        assert_eq!(of(429, Some("soon")), Some(1));
        assert_eq!(of(429, Some("86400")), Some(300));
        assert_eq!(of(503, Some("7")), Some(7));
        assert_eq!(of(503, Some("soon")), Some(1));
        assert_eq!(of(503, None), None);
        for status in [200, 201, 403, 404, 409, 500, 504] {
            assert_eq!(of(status, Some("7")), None, "{status}");
        }
    }

    #[test]
    fn an_eviction_and_a_lease_pause_nothing() {
        let of = |uri, lane| pause(429, Some("7"), uri, lane);
        let pod = "/api/v1/namespaces/a/pods/p/eviction";
        assert_eq!(of(pod, Lane::Normal), None);
        assert_eq!(
            of("/api/v1/namespaces/a/pods/p/binding", Lane::Normal),
            Some(7)
        );
        assert_eq!(
            of(
                "/apis/coordination.k8s.io/v1/namespaces/a/leases",
                Lane::Lease
            ),
            None
        );
    }
}
