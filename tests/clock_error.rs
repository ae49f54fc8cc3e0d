//! How far the default clock is from the operating system's: to be run in several processes, since
//! each calibrates its counter anew. `ci/clock-error` does that.

use std::thread;
use std::time::{Duration, Instant};

use tollgate::{Clock, SystemClock};

/// Both clocks at one instant, to some tens of nanoseconds.
fn both(start: Instant) -> (f64, f64) {
    let clock = SystemClock::new();
    let one = |_| {
        let before = start.elapsed();
        let told = clock.now();
        let gap = start.elapsed() - before;
        (
            gap,
            (before + gap / 2).as_nanos() as f64,
            told.as_nanos() as f64,
        )
    };
    let (_, truth, told) = (0..20).map(one).min_by_key(|both| both.0).unwrap();
    (truth, told)
}

#[test]
#[ignore = "takes 20 s, and says how the machine is as much as what the clock does"]
fn rate_error() {
    let start = Instant::now();
    let mut seen = vec![both(start)];
    while seen.len() <= 20 {
        let next = Duration::from_secs(seen.len() as u64);
        while start.elapsed() < next {
            thread::sleep(Duration::from_millis(10));
            SystemClock::new().now();
        }
        seen.push(both(start));
    }
    let ppm = |from: usize, to: usize| {
        let ((t0, c0), (t1, c1)) = (seen[from], seen[to]);
        ((c1 - c0) / (t1 - t0) - 1.0) * 1e6
    };
    let late: Vec<f64> = (10..20).map(|from| ppm(from, from + 1)).collect();
    let worst = late
        .iter()
        .fold(0.0, |worst: f64, off| worst.max(off.abs()));
    println!(
        "rate error: first second {:+.2} ppm, all 20 s {:+.2} ppm, each second after 10 s at most {worst:.2} ppm",
        ppm(0, 1),
        ppm(0, 20)
    );
    assert!(worst <= 5.0, "{late:?}");
}
