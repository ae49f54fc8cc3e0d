//! Injected faults of requests and watches.

use super::dice::Dice;
use super::route::Verb;

/// The fault of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 409 `Conflict`, nothing is done.
    Conflict,
    /// 429 with `Retry-After`, nothing is done.
    TooManyRequests {
        /// The value of `Retry-After`.
        retry_after_s: u64,
    },
    /// 429 of priority and fairness: the delay stands in the header only, and the body is plain text. Nothing is done.
    TooManyRequestsText {
        /// The value of `Retry-After`.
        retry_after_s: u64,
    },
    /// 403, as of a server that has not read its roles yet; nothing is done.
    Forbidden,
    /// 500, nothing is done.
    InternalError,
    /// 503 with `Retry-After`, nothing is done.
    Unavailable {
        /// The value of `Retry-After`.
        retry_after_s: u64,
    },
    /// The connection closes without a reply, nothing is done.
    DropBefore,
    /// The request is carried out, then the connection closes without a reply.
    DropAfter,
}

/// A fault for the next requests that match.
#[derive(Debug, Clone)]
pub struct Injection {
    /// Only this verb; any when `None`.
    pub verb: Option<Verb>,
    /// Only this resource; any when `None`. `databases` takes in `databases/status`,
    /// `databases/status` is the subresource alone.
    pub resource: Option<String>,
    /// The fault.
    pub fault: Fault,
    /// The number of requests.
    pub times: usize,
}

impl Injection {
    fn matches(&self, call: &Call) -> bool {
        self.verb.is_none_or(|verb| Some(verb) == call.verb)
            && self
                .resource
                .as_deref()
                .is_none_or(|resource| call.is_to(resource))
    }
}

/// The parts of a request that faults and the authorization hook match, and that are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The verb; `None` outside of resources.
    pub verb: Option<Verb>,
    /// Plural of the resource; empty outside of resources.
    pub plural: &'static str,
    /// Whether it goes to the `/status` subresource.
    pub status: bool,
}

impl Call {
    /// `plural` or `plural/status`.
    pub fn resource(&self) -> String {
        let subresource = if self.status { "/status" } else { "" };
        format!("{}{subresource}", self.plural)
    }

    /// Whether the call goes to `plural` or `plural/status`.
    pub fn is_to(&self, resource: &str) -> bool {
        match resource.strip_suffix("/status") {
            Some(plural) => self.status && plural == self.plural,
            None => resource == self.plural,
        }
    }
}

/// A watch event is cut this much more rarely than a request fails.
const CUT_SHARE: f64 = 1.0 / 16.0;

/// Decides before which event one watch stream is cut.
#[derive(Debug)]
pub struct Cutter {
    rate: f64,
    dice: Dice,
}

impl Cutter {
    /// Whether the connection breaks before the next event.
    pub fn cuts_now(&mut self) -> bool {
        self.dice.chance(self.rate)
    }
}

/// The source of faults.
#[derive(Debug)]
pub struct Faults {
    rate: f64,
    prefix: String,
    dice: Dice,
    /// A generator of its own, so that watches do not shift the decisions on requests.
    cut_dice: Dice,
    injections: Vec<Injection>,
    forbidden: Vec<(String, String)>,
    injected: usize,
}

impl Faults {
    /// Faults at `rate` for clients whose `User-Agent` starts with `prefix`.
    pub fn new(rate: f64, seed: u64, prefix: &str) -> Faults {
        Faults {
            rate: rate.clamp(0.0, 1.0),
            prefix: prefix.to_owned(),
            dice: Dice::new(seed),
            cut_dice: Dice::new(!seed),
            injections: Vec::new(),
            forbidden: Vec::new(),
            injected: 0,
        }
    }

    /// Adds a fault. The oldest matching fault is used first.
    pub fn inject(&mut self, injection: Injection) {
        self.injections.push(injection);
    }

    /// Forbids this verb on this resource to all clients.
    pub fn forbid(&mut self, verb: &str, resource: &str) {
        self.forbidden.push((verb.to_owned(), resource.to_owned()));
    }

    /// Whether the call has been forbidden.
    pub fn forbids(&self, call: &Call) -> bool {
        let Some(verb) = call.verb else { return false };
        self.forbidden
            .iter()
            .any(|(forbidden, resource)| forbidden == verb.as_str() && call.is_to(resource))
    }

    /// The number of faults so far.
    pub fn injected(&self) -> usize {
        self.injected
    }

    /// Counts a fault that another part carried out.
    pub fn count(&mut self) {
        self.injected += 1;
    }

    /// Whether a client with this `User-Agent` meets faults.
    pub fn concern(&self, user_agent: &str) -> bool {
        user_agent.starts_with(&self.prefix)
    }

    /// The fault of the next request, if it has one.
    pub fn next(&mut self, user_agent: &str, call: &Call) -> Option<Fault> {
        if !self.concern(user_agent) {
            return None;
        }
        let fault = self.targeted(call).or_else(|| self.random());
        self.injected += usize::from(fault.is_some());
        fault
    }

    fn targeted(&mut self, call: &Call) -> Option<Fault> {
        self.injections.retain(|injection| injection.times > 0);
        let injection = self
            .injections
            .iter_mut()
            .find(|injection| injection.matches(call))?;
        injection.times -= 1;
        Some(injection.fault)
    }

    fn random(&mut self) -> Option<Fault> {
        if self.rate <= 0.0 {
            return None;
        }
        // Draw both numbers each time, so that the n-th decision depends on n alone.
        let (hit, kind) = (self.dice.chance(self.rate), self.dice.below(100));
        hit.then_some(match kind {
            // An overloaded server refuses a client for a time, not one request in twenty: a client that waits for as
            // long as it is told would wait most of the time.
            0..2 => Fault::TooManyRequests { retry_after_s: 1 },
            2..60 => Fault::InternalError,
            60..85 => Fault::DropBefore,
            _ => Fault::DropAfter,
        })
    }

    /// Decides the cuts of a new watch stream; `None` for clients without faults.
    pub fn cutter(&mut self, user_agent: &str) -> Option<Cutter> {
        let faulty = self.rate > 0.0 && self.concern(user_agent);
        faulty.then(|| Cutter {
            rate: self.rate * CUT_SHARE,
            dice: Dice::new(self.cut_dice.next()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call = Call {
        verb: Some(Verb::Patch),
        plural: "databases",
        status: true,
    };

    fn sequence(seed: u64) -> Vec<Option<Fault>> {
        let mut faults = Faults::new(0.3, seed, "op");
        (0..2_000).map(|_| faults.next("op/1", &CALL)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_all_kinds() {
        let faults = sequence(1);
        assert_eq!(faults, sequence(1));
        assert_ne!(faults, sequence(2));
        let hits = faults.iter().flatten().count();
        assert!((500..700).contains(&hits), "{hits}");
        let of = |kind: Fault| faults.iter().filter(|fault| **fault == Some(kind)).count();
        let most = of(Fault::InternalError);
        let overload = Fault::TooManyRequests { retry_after_s: 1 };
        for kind in [overload, Fault::DropBefore, Fault::DropAfter] {
            assert!((1..most).contains(&of(kind)), "{kind:?}");
        }
    }

    #[test]
    fn other_clients_have_no_faults() {
        let mut faults = Faults::new(1.0, 1, "op");
        assert_eq!(faults.next("driver/1", &CALL), None);
        assert!(faults.cutter("driver/1").is_none());
        assert!(faults.next("op/1", &CALL).is_some());
        assert_eq!(faults.injected(), 1);
    }

    #[test]
    fn injections_match_and_run_out() {
        let mut faults = Faults::new(0.0, 1, "op");
        faults.inject(Injection {
            verb: Some(Verb::Patch),
            resource: Some("databases/status".into()),
            fault: Fault::Conflict,
            times: 2,
        });
        let whole = Call {
            status: false,
            ..CALL
        };
        assert_eq!(faults.next("op", &whole), None);
        assert_eq!(faults.next("op", &CALL), Some(Fault::Conflict));
        assert_eq!(faults.next("op", &CALL), Some(Fault::Conflict));
        assert_eq!(faults.next("op", &CALL), None);
        faults.forbid("patch", "databases");
        assert!(faults.forbids(&CALL) && faults.forbids(&whole));
    }
}
