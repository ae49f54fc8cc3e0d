//! The report as Markdown.

use std::fmt::Write;

use super::plot::Plot;
use super::{Body, Pattern, Percentiles, Probed, Report, Table, Unit};
use crate::judge::{Answers, Kept};
use crate::measure::{Check, Row};
use crate::subject::{About, Family};

/// Renders the whole report, each plot above its table.
pub fn whole(report: &Report, plots: &[Plot]) -> String {
    let mut text = String::new();
    facts(&mut text, report);
    losses(&mut text, &report.tables);
    targets(&mut text, report);
    for found in &report.tables {
        table(&mut text, found, plots);
    }
    text
}

fn facts(text: &mut String, report: &Report) {
    let machine = &report.machine;
    let _ = writeln!(
        text,
        "{}, commit {}: {}, {} hardware threads, {}, {}, profile {}. A {} run.\n",
        machine.date,
        machine.commit,
        machine.processor,
        machine.cores,
        machine.system,
        machine.rustc,
        machine.build,
        report.effort,
    );
    let _ = writeln!(
        text,
        "Peers: {}{}.\n",
        machine.versions.join(", "),
        machine
            .go
            .as_ref()
            .map(|go| format!(", {go}"))
            .unwrap_or_default()
    );
    for skipped in &report.skipped {
        let _ = writeln!(text, "Not measured: {skipped}\n");
    }
}

/// Lists the peers with a lower median, or a lower percentile; bounds do not count.
fn losses(text: &mut String, tables: &[Table]) {
    let _ = writeln!(text, "## Where we lose\n");
    let lost: Vec<_> = tables.iter().flat_map(lost_in).collect();
    if lost.is_empty() {
        let _ = writeln!(text, "Nowhere in what was measured.");
    }
    for line in lost {
        let _ = writeln!(text, "- {line}");
    }
    text.push('\n');
}

fn lost_in(table: &Table) -> Vec<String> {
    let theirs = |about: &About| matches!(about.family, Family::Peer | Family::Textbook);
    match &table.body {
        Body::Rows(unit, rows) => {
            let theirs = rows.iter().filter(|row| theirs(&row.about));
            let faster = theirs.filter_map(|row| {
                let ratio = row.ratio.filter(|ratio| ratio.median < 1.0)?;
                Some(format!(
                    "{}: {} takes {:.2} of ours ({unit}{})",
                    table.title,
                    code(row.about.name),
                    ratio.median,
                    if ratio.max < 1.0 {
                        ", in every round"
                    } else {
                        "; not in every round"
                    },
                ))
            });
            faster.collect()
        }
        Body::Percentiles(rows) => {
            let Some((ours, others)) = rows.split_first() else {
                return Vec::new();
            };
            let theirs = others.iter().filter(|row| theirs(&row.about));
            let sooner = theirs.filter_map(|row| {
                let both = row.named().into_iter().zip(ours.named());
                let sooner = both.filter(|((_, theirs), (_, ours))| theirs < ours);
                let sooner = sooner.map(|((name, theirs), (_, ours))| {
                    format!("{name} {} (ours {})", duration(theirs), duration(ours))
                });
                let sooner: Vec<_> = sooner.collect();
                (!sooner.is_empty()).then(|| {
                    let name = code(row.about.name);
                    format!("{}: {name}, {}", table.title, sooner.join(", "))
                })
            });
            sooner.collect()
        }
        Body::Probed(..) => Vec::new(),
    }
}

fn targets(text: &mut String, report: &Report) {
    if report.targets.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "## Targets\n\nRatios of one run: the median of the rounds' ratios, both sides in turn. Same again: how far two medians of ours would lie apart, which is as far as two neighbouring rounds, over the root of the number of rounds; within that, but no more than 10%, a bound counts as met.\n\n| what | at most | measured | min to max | same again | |\n|---|---:|---:|---|---:|---|"
    );
    for target in &report.targets {
        let verdict = if target.met() { "met" } else { "**missed**" };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} to {} | {} | {verdict} |",
            code(&target.what),
            target.at_most,
            figure(target.measured.median),
            figure(target.measured.min),
            figure(target.measured.max),
            target
                .noise
                .map_or_else(|| "–".into(), |noise| format!("{:.1}%", noise * 100.0)),
        );
    }
    text.push('\n');
}

fn table(text: &mut String, table: &Table, plots: &[Plot]) {
    let _ = writeln!(text, "## {}\n", table.title);
    if !table.note.is_empty() {
        let _ = writeln!(text, "{}\n", code(&table.note));
    }
    for plot in plots.iter().filter(|plot| plot.table == table.name) {
        let _ = writeln!(text, "![{}]({})\n", plot.title, plot.file);
    }
    match &table.body {
        Body::Rows(unit, rows) => figures(text, *unit, rows),
        Body::Percentiles(rows) => percentiles(text, rows),
        Body::Probed(patterns, rows) => probed(text, patterns, rows),
    }
    text.push('\n');
}

fn figures(text: &mut String, unit: Unit, rows: &[Row]) {
    let checked = rows.iter().any(|row| row.check != Check::None);
    let clocked = rows.iter().any(|row| !row.about.clock.is_empty());
    let _ = write!(
        text,
        "| | {}{unit}, median | min to max | relative |",
        if clocked { "clock | " } else { "" }
    );
    let _ = writeln!(text, "{}", if checked { " correct |" } else { "" });
    let _ = writeln!(
        text,
        "|---|{}---:|---|---:|{}",
        if clocked { "---|" } else { "" },
        if checked { "---|" } else { "" }
    );
    for row in rows {
        let clock = if clocked {
            format!("{} | ", row.about.clock)
        } else {
            String::new()
        };
        let ratio = row
            .ratio
            .map_or_else(|| "–".into(), |ratio| format!("{:.2}", ratio.median));
        let _ = write!(
            text,
            "| {} | {clock}{} | {} to {} | {ratio} |",
            name(row.about.name, row.about.family),
            figure(row.nanos.median),
            figure(row.nanos.min),
            figure(row.nanos.max),
        );
        let _ = writeln!(
            text,
            "{}",
            if checked {
                format!(" {} |", check(row.check))
            } else {
                String::new()
            }
        );
    }
}

fn percentiles(text: &mut String, rows: &[Percentiles]) {
    let _ = writeln!(
        text,
        "| | p50 | p99 | p99.9 | p99.99 | max | calls |\n|---|---:|---:|---:|---:|---:|---:|"
    );
    for row in rows {
        let figures = row.named().map(|(_, nanos)| duration(nanos)).join(" | ");
        let _ = writeln!(
            text,
            "| {} | {figures} | {} |",
            name(row.about.name, row.about.family),
            row.count
        );
    }
}

fn probed(text: &mut String, patterns: &[Pattern], rows: &[Probed]) {
    let heads: Vec<_> = patterns.iter().map(|pattern| pattern.name).collect();
    let _ = writeln!(text, "| | {} |", heads.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(heads.len()));
    for row in rows {
        let cells = patterns
            .iter()
            .zip(&row.kept)
            .map(|(pattern, found)| match found {
                None => "not supported".to_owned(),
                Some(found) if pattern.saturates => kept(*found),
                Some(found) => excess(*found).unwrap_or_else(|| "within quota".to_owned()),
            });
        let cells: Vec<_> = cells.collect();
        let _ = writeln!(
            text,
            "| {} | {} |",
            name(row.about.name, row.about.family),
            cells.join(" | ")
        );
    }
}

fn name(name: &str, family: Family) -> String {
    let name = code(name);
    match family {
        Family::Ours => format!("**{name}**"),
        Family::Bound => format!("*{name}*"),
        Family::Peer | Family::Textbook => name,
    }
}

/// Marks the names of types as code.
fn code(text: &str) -> String {
    let mut marked = String::new();
    for part in text.split_inclusive(|end: char| !end.is_alphanumeric()) {
        let word = part.trim_end_matches(|end: char| !end.is_alphanumeric());
        let rest = &part[word.len()..];
        let _ = match is_type(word) {
            true => write!(marked, "`{word}`{rest}"),
            false => write!(marked, "{part}"),
        };
    }
    marked
}

/// Whether a word is in camel case, as `WorkQueue` is.
fn is_type(word: &str) -> bool {
    let mut humps = word.chars().zip(word.chars().skip(1));
    word.starts_with(char::is_uppercase)
        && humps.any(|(one, next)| one.is_lowercase() && next.is_uppercase())
}

fn check(check: Check) -> String {
    match check {
        Check::None => "–".into(),
        Check::Quota(found) => kept(found),
        Check::Answers(found) => answers(found),
        Check::Excess(excess) if excess > 0.0 => too_many(excess),
        Check::Excess(_) => "within quota".into(),
        Check::Keys { lost: 0, twice: 0 } => "yes".into(),
        Check::Keys { lost, twice } => format!("**{lost} lost, {twice} held twice**"),
    }
}

/// Renders the share of the rate that was admitted, and the excess.
fn kept(kept: Kept) -> String {
    let achieved = format!("{:.2}%", kept.achieved * 100.0);
    match excess(kept) {
        Some(excess) => format!("{achieved}, {excess}"),
        None => achieved,
    }
}

/// Renders the share of correct admissions, and the wrong answers.
fn answers(answers: Answers) -> String {
    let mut text = format!("{:.2}%", answers.achieved() * 100.0);
    if answers.missed > 0 {
        let _ = write!(text, ", **{} denied wrongly**", answers.missed);
    }
    if answers.excess > 0.0 {
        let _ = write!(text, ", {}", too_many(answers.excess));
    }
    text
}

/// Renders the worst excess of any window over burst and rate, if there is one.
fn excess(kept: Kept) -> Option<String> {
    (kept.excess > 0.0).then(|| too_many(kept.excess))
}

fn too_many(tokens: f64) -> String {
    format!("**{:.0} over quota**", tokens.ceil())
}

/// Rounds to three significant digits.
pub fn figure(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// Renders nanoseconds in the unit that suits them.
pub fn duration(nanos: u64) -> String {
    let nanos = nanos as f64;
    match nanos {
        nanos if nanos < 1e3 => format!("{nanos:.0} ns"),
        nanos if nanos < 1e6 => format!("{} µs", figure(nanos / 1e3)),
        nanos => format!("{} ms", figure(nanos / 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_code_and_words_are_not() {
        for (plain, marked) in [
            ("AtomicTokenBucket, Instant", "`AtomicTokenBucket`, Instant"),
            ("tower RateLimit, in a lock", "tower `RateLimit`, in a lock"),
            ("DelayQueue + set", "`DelayQueue` + set"),
            ("Go x/time/rate", "Go x/time/rate"),
            ("clock read + CAS", "clock read + CAS"),
            ("insert, over DelayQueue", "insert, over `DelayQueue`"),
            ("kube-runtime scheduler", "kube-runtime scheduler"),
        ] {
            assert_eq!(code(plain), marked);
        }
        assert_eq!(name("WorkQueue", Family::Ours), "**`WorkQueue`**");
    }
}
