//! The plot of a workload: one bar for each contender.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    Canvas, INK, MARGIN, Pixel, WIDTH, WRONG, canvas, colour, heading, label, text, whose,
};
use crate::measure::Row;
use crate::report::markdown::figure;
use crate::report::{Table, Unit, wrong};
use crate::subject::Family;

const HEAD: i32 = 64;
const NAMES: i32 = 310;
const FIGURES: i32 = 84;
const FOOT: i32 = 50;
const PITCH: i32 = 22;
/// Half of a bar's height.
const HALF: i32 = 7;

/// The end of the axis, as a multiple of ours: a contender that takes a thousand times as long
/// would flatten all other bars. A bar that is cut has an arrow and its figure.
const CUT: f64 = 8.0;

/// How far whiskers may extend the axis. A whisker that is cut has no cap.
const SLACK: f64 = 1.6;

/// Draws medians as bars, minimum and maximum as whiskers.
pub fn draw(tables: &[Table], title: &str, unit: Unit, rows: &[Row]) -> anyhow::Result<String> {
    let count = i32::try_from(rows.len())?;
    let height = HEAD + PITCH * count + FOOT;
    canvas(height.unsigned_abs(), |root| {
        heading(root, title)?;
        let end = end(rows);
        let mut chart = ChartBuilder::on(root)
            .margin_left(NAMES)
            .margin_right(FIGURES)
            .margin_top(HEAD)
            .margin_bottom(8)
            .x_label_area_size(FOOT - 8)
            .build_cartesian_2d(0.0..end, 0.0..f64::from(count))?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.12))
            .axis_style(INK.mix(0.4))
            .x_label_formatter(&|value| format!("{value}"))
            .x_desc(format!(
                "{unit} (median; whiskers: minimum and maximum of all rounds)"
            ))
            .label_style(("sans-serif", 12).into_font().color(&INK))
            .draw()?;
        let at = |value: f64, line: i32| {
            let (x, _) = chart.backend_coord(&(value.min(end), 0.0));
            (x, HEAD + PITCH * line + PITCH / 2)
        };
        let mut hatched = false;
        for (line, row) in (0..).zip(rows) {
            let fault = wrong::fault(tables, row);
            hatched |= fault.is_some();
            bar(root, row, fault, line, end, at)?;
            let ((name, ink), (x, y)) = (label(&row.about, fault), at(0.0, line));
            text(root, &name, (x - 8, y), HPos::Right, 13, ink)?;
            let cut = if row.nanos.median > end { " →" } else { "" };
            let median = figure(row.nanos.median) + cut;
            let (x, y) = at(row.nanos.max.max(row.nanos.median), line);
            text(root, &median, (x + 6, y), HPos::Left, 12, INK)?;
        }
        if let Some(ours) = ours(rows) {
            let (x, _) = at(ours, 0);
            let line = [(x, HEAD), (x, HEAD + PITCH * count)];
            root.draw(&PathElement::new(line, colour(Family::Ours).mix(0.6)))?;
        }
        legend(root, rows, hatched)
    })
}

/// Returns our median, the reference line.
fn ours(rows: &[Row]) -> Option<f64> {
    rows.iter()
        .find(|row| row.about.family == Family::Ours)
        .map(|row| row.nanos.median)
}

fn end(rows: &[Row]) -> f64 {
    let longest = |figure: fn(&Row) -> f64| rows.iter().map(figure).fold(0.0, f64::max) * 1.05;
    let (median, most) = (
        longest(|row| row.nanos.median),
        longest(|row| row.nanos.max),
    );
    let end = most.min(median * SLACK);
    let end = ours(rows).map_or(end, |ours| end.min(ours * CUT));
    // An axis must not be empty.
    end.max(1e-3)
}

fn bar(
    root: &Canvas,
    row: &Row,
    fault: Option<&str>,
    line: i32,
    end: f64,
    at: impl Fn(f64, i32) -> Pixel,
) -> anyhow::Result<()> {
    let (left, y) = at(0.0, line);
    let (right, _) = at(row.nanos.median, line);
    block(root, (left, y), right, row.about.family, fault.is_some())?;
    if row.nanos.min > end {
        return Ok(());
    }
    let ((least, _), (most, _)) = (at(row.nanos.min, line), at(row.nanos.max, line));
    let mut whisker = vec![[(least, y), (most, y)], [(least, y - 3), (least, y + 3)]];
    if row.nanos.max <= end {
        whisker.push([(most, y - 3), (most, y + 3)]);
    }
    for stroke in whisker {
        root.draw(&PathElement::new(stroke, INK))?;
    }
    Ok(())
}

/// Draws the bar itself, hatched if its contender was found wrong.
fn block(
    root: &Canvas,
    (left, y): Pixel,
    right: i32,
    family: Family,
    hatched: bool,
) -> anyhow::Result<()> {
    let corners = [(left, y - HALF), (right, y + HALF)];
    root.draw(&Rectangle::new(corners, colour(family).filled()))?;
    if !hatched {
        return Ok(());
    }
    for foot in (left - 2 * HALF..right).step_by(6) {
        // From the lower left to the upper right, clipped to the bar.
        let (start, stop) = (foot.max(left), (foot + 2 * HALF).min(right));
        let stroke = [
            (start, y + HALF - (start - foot)),
            (stop, y + HALF - (stop - foot)),
        ];
        root.draw(&PathElement::new(stroke, WRONG))?;
    }
    Ok(root.draw(&Rectangle::new(corners, WRONG))?)
}

fn legend(root: &Canvas, rows: &[Row], hatched: bool) -> anyhow::Result<()> {
    let y = 48;
    let mut x = MARGIN;
    let mut entry = |family, words: &str, hatched| {
        block(root, (x, y), x + 22, family, hatched)?;
        text(root, words, (x + 28, y), HPos::Left, 12, INK)?;
        x += 100;
        anyhow::Ok(())
    };
    for family in [Family::Ours, Family::Peer, Family::Textbook, Family::Bound] {
        if rows.iter().any(|row| row.about.family == family) {
            entry(family, whose(family), false)?;
        }
    }
    if hatched {
        entry(Family::Peer, "found wrong: see its label", true)?;
    }
    let reading = if ours(rows).is_some() {
        "shorter is better; the line is ours"
    } else {
        "shorter is better"
    };
    let right = WIDTH.cast_signed() - MARGIN;
    text(root, reading, (right, y), HPos::Right, 12, INK)
}
