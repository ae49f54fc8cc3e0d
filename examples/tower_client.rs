//! A client that keeps to the budget of a server: each request waits for a token. At a `Retry-After` all services
//! that share the budget pause, including the requests that wait already.
//!
//! tokio's time is paused, so the waits are exact and take no time.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use tokio::time::Instant;
use tollgate::integrations::tokio::TokioClock;
use tollgate::integrations::tower::RateLimitLayer;
use tollgate::{AtomicTokenBucket, RateLimiter};
use tower::{ServiceBuilder, ServiceExt, service_fn};

/// The server, which answers the third request with 429.
async fn answer(request: u32) -> Result<u16, Infallible> {
    Ok(if request == 3 { 429 } else { 200 })
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let quota = "10/s burst 2".parse()?;
    let budget = Arc::new(AtomicTokenBucket::with_clock(quota, TokioClock::new())?);
    let client = ServiceBuilder::new()
        .layer(RateLimitLayer::new(budget.clone()))
        .service(service_fn(answer));

    // Five concurrent requests, each in a task of its own. The last three wait for tokens.
    let start = Instant::now();
    let (done, mut answers) = unbounded_channel();
    for request in 1..=5 {
        let (client, budget, done) = (client.clone(), budget.clone(), done.clone());
        tokio::spawn(async move {
            let status = client.oneshot(request).await?;
            done.send((start.elapsed().as_millis(), status))?;
            if status == 429 {
                let retry_after = Duration::from_secs(30);
                budget.pause_until(budget.now().saturating_add(retry_after))?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(())
        });
    }
    drop(done);
    let mut answered = Vec::new();
    while let Some(answer) = answers.recv().await {
        answered.push(answer);
    }

    // The burst, a token after 100 ms, the pause, and a token 100 ms after it.
    let expected = [(0, 200), (0, 200), (100, 429), (30_100, 200), (30_200, 200)];
    assert_eq!(answered, expected);
    println!("answers at {answered:?} ms");
    Ok(())
}
