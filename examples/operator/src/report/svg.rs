//! The picture of a demo run, as SVG: three panels over one axis of time.

use std::fmt::Write;

use super::timeline::{BIN, Timeline, allowed, bins};

const WIDTH: f64 = 960.0;
/// The left and right edges of the panels.
const LEFT: f64 = 72.0;
const RIGHT: f64 = WIDTH - 24.0;
const PANEL: f64 = 168.0;
/// From the top of one panel to that of the next.
const STEP: f64 = 244.0;
const TOP: f64 = 112.0;

const BLUE: &str = "#4c78a8";
const RED: &str = "#d6453d";
const GREEN: &str = "#3a9d5d";
const AMBER: &str = "#e0952c";
const GREY: &str = "#8a8f98";

/// One panel: its place, and the scales of its axes.
struct Panel {
    top: f64,
    seconds: f64,
    most: f64,
}

/// A name in a legend, with its colour, and whether its line is dashed.
type Entry<'a> = (&'a str, &'a str, bool);

impl Panel {
    fn x(&self, seconds: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (seconds / self.seconds).min(1.0)
    }

    fn y(&self, value: f64) -> f64 {
        self.top + PANEL * (1.0 - value / self.most)
    }

    /// Grid, labels, title and legend.
    fn frame(&self, svg: &mut String, title: &str, legend: &[Entry<'_>]) {
        for value in ticks(self.most, 4.0) {
            let y = self.y(value);
            line(svg, (LEFT, y), (RIGHT, y), "#e6e8eb", 1.0, false);
            text(
                svg,
                (LEFT - 8.0, y + 4.0),
                "tick",
                "end",
                &format!("{value}"),
            );
        }
        let bottom = self.top + PANEL;
        for second in ticks(self.seconds, 12.0) {
            let x = self.x(second);
            line(svg, (x, bottom), (x, bottom + 5.0), GREY, 1.0, false);
            text(
                svg,
                (x, bottom + 20.0),
                "tick",
                "middle",
                &format!("{second} s"),
            );
        }
        line(svg, (LEFT, bottom), (RIGHT, bottom), GREY, 1.0, false);
        text(svg, (LEFT, self.top - 16.0), "title", "start", title);
        let mut x = RIGHT;
        for (name, colour, dashed) in legend.iter().rev() {
            // The width that the name is given, whatever the font.
            let width = name.chars().count() as f64 * 6.4;
            x -= width;
            let y = self.top - 16.0;
            let fit = format!("class='name' textLength='{width:.1}'");
            let _ = writeln!(svg, "<text x='{x:.1}' y='{y:.1}' {fit}>{name}</text>");
            x -= 8.0;
            line(svg, (x - 22.0, y - 4.0), (x, y - 4.0), colour, 3.0, *dashed);
            x -= 44.0;
        }
    }

    fn curve(&self, svg: &mut String, points: impl Iterator<Item = (f64, f64)>, colour: &str) {
        let points = points.map(|(at, value)| format!("{:.1},{:.1}", self.x(at), self.y(value)));
        let points = points.collect::<Vec<_>>().join(" ");
        let style = "fill='none' stroke-width='2' stroke-linejoin='round'";
        let _ = writeln!(
            svg,
            "<polyline {style} stroke='{colour}' points='{points}'/>"
        );
    }
}

/// Draws a run of `total` objects, whose calls arrived at these nanoseconds, under a budget.
pub fn draw(
    timeline: &Timeline,
    arrivals: &[u64],
    total: usize,
    (qps, burst): (u64, u64),
) -> String {
    let calls = bins(arrivals);
    let allowed = allowed(arrivals, qps, burst);
    let bin = BIN.as_secs_f64();
    let last = timeline
        .samples
        .last()
        .map_or(0.0, |last| last.at.as_secs_f64());
    let seconds = last.max(calls.len() as f64 * bin).max(bin);
    let panel = |at: f64, most: f64| Panel {
        top: TOP + at * STEP,
        seconds,
        most: most.max(1.0) * 1.05,
    };
    let height = TOP + 2.0 * STEP + PANEL + 40.0;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}'>\n\
         <style>text {{ font-family: system-ui, 'DejaVu Sans', sans-serif; fill: #2b2f36; }} .tick {{ font-size: 11px; \
         fill: #5f6671; }} .name {{ font-size: 12px; }} .title {{ font-size: 14px; font-weight: 600; }} \
         .head {{ font-size: 20px; font-weight: 600; }}</style>\n<rect width='100%' height='100%' fill='#fff'/>\n"
    );
    let head = format!("{total} objects under a budget of {qps} calls a second, burst {burst}");
    text(&mut svg, (LEFT, 40.0), "head", "start", &head);
    let summary = format!("{} API calls in {last:.1} s", arrivals.len());
    text(&mut svg, (LEFT, 62.0), "name", "start", &summary);

    let highest = allowed.iter().copied().fold(0.0, f64::max);
    let budget = panel(
        0.0,
        highest.max(calls.iter().copied().max().unwrap_or(0) as f64),
    );
    let legend = [
        ("calls", BLUE, false),
        ("rate", RED, true),
        ("rate and burst left", AMBER, false),
    ];
    budget.frame(&mut svg, "API calls in each 100 ms", &legend);
    let bottom = budget.top + PANEL;
    let mut bars = format!("M{LEFT},{bottom:.1}");
    for (at, count) in calls.iter().enumerate() {
        let (y, end) = (budget.y(*count as f64), budget.x((at + 1) as f64 * bin));
        let _ = write!(bars, " V{y:.1} H{end:.1}");
    }
    let _ = writeln!(svg, "<path fill='{BLUE}' d='{bars} V{bottom:.1} Z'/>");
    let steps = allowed.iter().enumerate();
    let steps =
        steps.flat_map(|(at, most)| [(at as f64 * bin, *most), ((at + 1) as f64 * bin, *most)]);
    budget.curve(&mut svg, steps, AMBER);
    let rate = budget.y(qps as f64 * bin);
    line(&mut svg, (LEFT, rate), (RIGHT, rate), RED, 2.0, true);

    let samples = || timeline.samples.iter();
    let deepest = samples()
        .map(|sample| sample.ready.max(sample.delayed))
        .max();
    let queue = panel(1.0, deepest.unwrap_or(0) as f64);
    queue.frame(
        &mut svg,
        "Keys in the queues",
        &[("ready", BLUE, false), ("delayed", GREY, false)],
    );
    queue.curve(
        &mut svg,
        samples().map(|it| (it.at.as_secs_f64(), it.delayed as f64)),
        GREY,
    );
    queue.curve(
        &mut svg,
        samples().map(|it| (it.at.as_secs_f64(), it.ready as f64)),
        BLUE,
    );

    let objects = panel(2.0, total as f64);
    objects.frame(
        &mut svg,
        "Objects that have converged",
        &[("converged", GREEN, false), ("all", GREY, true)],
    );
    let all = objects.y(total as f64);
    line(&mut svg, (LEFT, all), (RIGHT, all), GREY, 1.5, true);
    objects.curve(
        &mut svg,
        samples().map(|it| (it.at.as_secs_f64(), it.converged as f64)),
        GREEN,
    );
    svg + "</svg>\n"
}

/// Round values from 0 up to `most`, about `count` of them.
fn ticks(most: f64, count: f64) -> impl Iterator<Item = f64> {
    let rough = (most / count).max(1.0);
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = step
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    (0..=100)
        .map(move |n| f64::from(n) * step)
        .take_while(move |value| *value <= most)
}

fn line(
    svg: &mut String,
    from: (f64, f64),
    to: (f64, f64),
    colour: &str,
    width: f64,
    dashed: bool,
) {
    let dashes = if dashed {
        " stroke-dasharray='6 4'"
    } else {
        ""
    };
    let _ = writeln!(
        svg,
        "<line x1='{:.1}' y1='{:.1}' x2='{:.1}' y2='{:.1}' stroke='{colour}' stroke-width='{width}'{dashes}/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x='{x:.1}' y='{y:.1}' class='{class}' text-anchor='{anchor}'>{text}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ticks() {
        assert_eq!(
            ticks(315.0, 4.0).collect::<Vec<_>>(),
            [0.0, 100.0, 200.0, 300.0]
        );
        assert_eq!(ticks(2.1, 4.0).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn a_run_is_drawn_and_an_empty_one_too() {
        let mut timeline = Timeline::start();
        let empty = draw(&timeline, &[], 0, (10, 1));
        assert!(!empty.contains("NaN") && !empty.contains("inf") && empty.ends_with("</svg>\n"));
        timeline.add(3, 4, 5);
        let arrivals = [50_000_000, 250_000_000, 260_000_000];
        let drawn = draw(&timeline, &arrivals, 8, (10, 5));
        // A bar for each bin.
        let bars = drawn
            .lines()
            .find(|line| line.starts_with("<path"))
            .unwrap();
        assert_eq!(bars.matches(" H").count(), 3);
        for text in [
            "8 objects",
            "3 API calls",
            "ready",
            "delayed",
            "converged",
            "rate",
        ] {
            assert!(drawn.contains(text), "{text}");
        }
    }
}
