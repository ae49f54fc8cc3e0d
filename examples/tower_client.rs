//! A client that stays within the budget of a server: each request takes a token first, and waits
//! for it. When the server says `Retry-After`, all who share the budget wait.
//!
//! tokio's time is paused, so that the waits are exact and take no time.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tollgate::integrations::tokio::TokioClock;
use tollgate::integrations::tower::RateLimitLayer;
use tollgate::{AtomicTokenBucket, RateLimiter};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// The server: its third answer is that it has had enough.
async fn answer(request: u32) -> Result<u16, Infallible> {
    Ok(if request == 3 { 429 } else { 200 })
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let quota = "10/s burst 2".parse()?;
    let budget = Arc::new(AtomicTokenBucket::with_clock(quota, TokioClock::new())?);
    let mut client = ServiceBuilder::new()
        .layer(RateLimitLayer::new(budget.clone()))
        .service(service_fn(answer));

    let start = Instant::now();
    let mut sent = Vec::new();
    for request in 1..=5 {
        // Ready when there is a token.
        let status = client.ready().await?.call(request).await?;
        sent.push((start.elapsed().as_millis(), status));
        if status == 429 {
            let until = budget.now().saturating_add(Duration::from_secs(30));
            budget.pause_until(until)?;
        }
    }
    // The burst, a token after 100 ms, the pause, and a token after 100 ms more.
    let expected = [(0, 200), (0, 200), (100, 429), (30_100, 200), (30_200, 200)];
    assert_eq!(sent, expected);
    println!("requests at {sent:?} ms");
    Ok(())
}
