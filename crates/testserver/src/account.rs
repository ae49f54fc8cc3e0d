//! The record of arrivals, independent of the server's decisions.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::faults::Call;
use super::route::Verb;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// The requests of each `User-Agent`.
#[derive(Debug, Default)]
pub struct Account {
    clients: Mutex<HashMap<String, Client>>,
}

/// The requests of one client.
#[derive(Debug, Default)]
struct Client {
    /// When each request arrived, in nanoseconds since the server started.
    arrivals: Vec<u64>,
    /// How often each call was made: at most one entry for each verb, type and subresource.
    calls: BTreeMap<Call, usize>,
}

impl Account {
    /// Records one arrival.
    pub(crate) fn record(&self, user_agent: &str, since_start: Duration, call: Call) {
        let nanos = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
        let mut clients = self.clients();
        if !clients.contains_key(user_agent) {
            clients.insert(user_agent.to_owned(), Client::default());
        }
        if let Some(client) = clients.get_mut(user_agent) {
            client.arrivals.push(nanos);
            if call.verb.is_some() {
                *client.calls.entry(call).or_default() += 1;
            }
        }
    }

    /// The arrivals of one client, in order of time.
    pub fn of(&self, user_agent: &str) -> Vec<u64> {
        let clients = self.clients();
        let mut list = clients
            .get(user_agent)
            .map(|client| client.arrivals.clone())
            .unwrap_or_default();
        drop(clients);
        // Instants are read before the lock, so two neighbours may be recorded out of order.
        list.sort_unstable();
        list
    }

    /// The number of requests of one client.
    pub fn count(&self, user_agent: &str) -> usize {
        let clients = self.clients();
        clients
            .get(user_agent)
            .map_or(0, |client| client.arrivals.len())
    }

    /// How often one client made each call, by verb and resource.
    pub fn calls(&self, user_agent: &str) -> BTreeMap<(Verb, String), usize> {
        let clients = self.clients();
        let calls = clients.get(user_agent).into_iter();
        let calls = calls.flat_map(|client| &client.calls);
        calls
            .filter_map(|(call, times)| Some(((call.verb?, call.resource()), *times)))
            .collect()
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<String, Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By how many requests the worst window exceeded a rate limit; zero or less if none did.
///
/// A window `[a_i, a_j]` of the sorted arrivals may hold
/// `burst + floor(rate_per_s * (a_j - a_i + slack))` requests; the answer is the largest
/// difference between what a window held and what it may hold, in integer arithmetic that is exact
/// as long as the rate times the time fits in 127 bits.
/// Without arrivals the answer is `-burst`.
pub fn largest_excess(arrivals: &[u64], burst: u64, rate_per_s: u64, slack: Duration) -> i64 {
    // With d the window's length in ns, count - floor(rate * d / 1e9) equals
    // ceil((1e9 * count - rate * d) / 1e9). The ceiling is monotone, so the window with the
    // largest numerator is the worst one, and that numerator splits into a term of j and one of i.
    let rate = i128::from(rate_per_s);
    let mut smallest_start = i128::MAX;
    let mut largest = None::<i128>;
    for (index, &arrival) in (0_i128..).zip(arrivals) {
        let paid = rate.saturating_mul(i128::from(arrival));
        smallest_start = smallest_start.min(NANOS_PER_SECOND * index - paid);
        let numerator = NANOS_PER_SECOND * (index + 1) - paid - smallest_start;
        largest = Some(largest.map_or(numerator, |so_far| so_far.max(numerator)));
    }
    let slack = i128::try_from(slack.as_nanos()).unwrap_or(i128::MAX);
    let excess = match largest {
        Some(numerator) => {
            let numerator = numerator.saturating_sub(rate.saturating_mul(slack));
            ceil_div(numerator, NANOS_PER_SECOND) - i128::from(burst)
        }
        None => -i128::from(burst),
    };
    i64::try_from(excess).unwrap_or(if excess < 0 { i64::MIN } else { i64::MAX })
}

fn ceil_div(numerator: i128, denominator: i128) -> i128 {
    numerator.div_euclid(denominator) + i128::from(numerator.rem_euclid(denominator) != 0)
}

#[cfg(test)]
mod tests {
    use super::super::dice::Dice;
    use super::*;

    fn by_definition(arrivals: &[u64], burst: u64, rate: u64, slack: Duration) -> i64 {
        let slack = slack.as_nanos() as i128;
        let mut worst = None;
        for i in 0..arrivals.len() {
            for j in i..arrivals.len() {
                let length = i128::from(arrivals[j] - arrivals[i]) + slack;
                let allowed = i128::from(burst) + i128::from(rate) * length / NANOS_PER_SECOND;
                let excess = (j - i + 1) as i128 - allowed;
                worst = worst.max(Some(excess));
            }
        }
        worst.unwrap_or(-i128::from(burst)) as i64
    }

    #[test]
    fn largest_excess_agrees_with_its_definition_on_random_input() {
        let mut dice = Dice::new(7);
        for _ in 0..2_000 {
            let length = dice.below(24) as usize;
            let spread = [3, 1_000, 1_000_000_000, 20_000_000_000][dice.below(4) as usize];
            let mut arrivals: Vec<u64> = (0..length).map(|_| dice.below(spread)).collect();
            arrivals.sort_unstable();
            let (burst, rate) = (dice.below(6), dice.below(2_000));
            let slack = Duration::from_nanos(dice.below(2_000_000_000));
            assert_eq!(
                largest_excess(&arrivals, burst, rate, slack),
                by_definition(&arrivals, burst, rate, slack),
                "{arrivals:?} burst {burst} rate {rate} slack {slack:?}"
            );
        }
    }

    #[test]
    fn a_paced_client_never_exceeds_and_one_more_request_does() {
        let second = 1_000_000_000;
        let paced: Vec<u64> = (0..100).map(|i| i * second / 10).collect();
        assert_eq!(largest_excess(&paced, 1, 10, Duration::ZERO), 0);
        let mut hasty = paced;
        hasty.insert(50, 49 * second / 10);
        assert_eq!(largest_excess(&hasty, 1, 10, Duration::ZERO), 1);
        assert_eq!(largest_excess(&[], 3, 10, Duration::ZERO), -3);
        let extremes = [0, u64::MAX];
        assert!(largest_excess(&extremes, 1, u64::MAX, Duration::ZERO) <= 0);
    }

    #[test]
    fn arrivals_come_back_in_order_and_per_client() {
        let account = Account::default();
        let at = Duration::from_nanos;
        account.record("a", at(5), Call::default());
        account.record("a", at(3), Call::default());
        account.record("b", at(4), Call::default());
        assert_eq!(account.of("a"), [3, 5]);
        assert_eq!(account.count("b"), 1);
        assert_eq!(account.count("c"), 0);
    }

    #[test]
    fn calls_are_counted_by_verb_and_resource() {
        let account = Account::default();
        let call = |verb, status| Call {
            verb: Some(verb),
            plural: "databases",
            status,
        };
        for call in [
            call(Verb::List, false),
            call(Verb::Patch, false),
            call(Verb::Patch, true),
            call(Verb::Patch, true),
            Call::default(),
        ] {
            account.record("a", Duration::ZERO, call);
        }
        let calls: Vec<_> = account.calls("a").into_iter().collect();
        assert_eq!(
            calls,
            [
                ((Verb::List, "databases".to_owned()), 1),
                ((Verb::Patch, "databases".to_owned()), 1),
                ((Verb::Patch, "databases/status".to_owned()), 2),
            ]
        );
        assert!(account.calls("b").is_empty());
    }
}
