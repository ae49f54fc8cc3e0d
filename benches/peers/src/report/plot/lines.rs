//! The plot of contention: one line for each contender, over the number of threads.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{Canvas, INK, Pixel, WIDTH, canvas, colour, heading, label, text};
use crate::measure::Row;
use crate::report::{Body, Table, wrong};
use crate::subject::{About, Family};

/// The title of the plot.
pub const TITLE: &str = "Contention: threads on one bucket, admitted";

const HEIGHT: u32 = 560;
const NAMES: i32 = 320;
/// Pixels between two names.
const PITCH: i32 = 17;

/// Returns the tables of the sweep with their numbers of threads, fewest first.
pub fn sweep(tables: &[Table]) -> Vec<(u32, &[Row], &Table)> {
    let mut sweep: Vec<_> = tables
        .iter()
        .filter_map(|table| {
            let threads = table.name.strip_prefix("contention-")?.parse().ok()?;
            match &table.body {
                Body::Rows(_, rows) => Some((threads, rows.as_slice(), table)),
                _ => None,
            }
        })
        .collect();
    sweep.sort_by_key(|(threads, ..)| *threads);
    sweep
}

/// Draws medians over threads, with each name at the end of its line.
pub fn draw(tables: &[Table], sweep: &[(u32, &[Row], &Table)]) -> anyhow::Result<String> {
    let medians = || {
        let rows = sweep.iter().flat_map(|(_, rows, _)| *rows);
        rows.map(|row| row.nanos.median)
    };
    let least = medians().fold(f64::INFINITY, f64::min) / 1.3;
    let most = medians().fold(0.0, f64::max) * 1.3;
    let threads = || sweep.iter().map(|(threads, ..)| *threads);
    let (fewest, all) = (threads().min().unwrap_or(1), threads().max().unwrap_or(1));

    canvas(HEIGHT, |root| {
        heading(root, TITLE)?;
        let mut chart = ChartBuilder::on(root)
            .margin_left(8)
            .margin_right(NAMES)
            .margin_top(44)
            .margin_bottom(8)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(fewest..all, (least..most).log_scale())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.12))
            .axis_style(INK.mix(0.4))
            .x_labels(sweep.len())
            .y_label_formatter(&|value| format!("{value}"))
            .x_desc("threads")
            .y_desc("ns/call, all threads together (logarithmic)")
            .label_style(("sans-serif", 12).into_font().color(&INK))
            .draw()?;
        let mut ends = Vec::new();
        for (about, line) in series(sweep) {
            let ours = about.family == Family::Ours;
            let stroke = colour(about.family).stroke_width(if ours { 3 } else { 2 });
            let points: Vec<Pixel> = line
                .iter()
                .map(|(threads, row)| chart.backend_coord(&(*threads, row.nanos.median)))
                .collect();
            root.draw(&PathElement::new(points.clone(), stroke))?;
            for point in &points {
                root.draw(&Circle::new(*point, 3, colour(about.family).filled()))?;
            }
            let fault = line.iter().find_map(|(_, row)| wrong::fault(tables, row));
            ends.extend(points.last().map(|end| (*end, about, fault)));
        }
        names(root, ends)
    })
}

/// Returns the line of each contender of the first step through all steps.
fn series<'a>(
    sweep: &'a [(u32, &[Row], &Table)],
) -> impl Iterator<Item = (&'a About, Vec<(u32, &'a Row)>)> {
    let first = sweep.first().into_iter().flat_map(|(_, rows, _)| *rows);
    first.map(|Row { about, .. }| {
        let step = |(threads, rows, _): &'a (u32, &[Row], &Table)| {
            let row = rows.iter().find(|row| row.about.name == about.name)?;
            Some((*threads, row))
        };
        (about, sweep.iter().filter_map(step).collect())
    })
}

/// Draws the names beside the ends of their lines, moved apart where they would overlap.
fn names(root: &Canvas, mut ends: Vec<(Pixel, &About, Option<&str>)>) -> anyhow::Result<()> {
    ends.sort_by_key(|((_, y), ..)| *y);
    let places = apart(
        ends.iter().map(|((_, y), ..)| *y),
        HEIGHT.cast_signed() - 16,
    );
    let left = WIDTH.cast_signed() - NAMES + 34;
    for (((x, y), about, fault), place) in ends.into_iter().zip(places) {
        let leader = [(x + 5, y), (left - 5, place)];
        root.draw(&PathElement::new(leader, colour(about.family).mix(0.6)))?;
        let (name, ink) = label(about, fault);
        text(root, &name, (left, place), HPos::Left, 13, ink)?;
    }
    Ok(())
}

/// Moves sorted places down until no two overlap, then up from the bottom.
fn apart(wanted: impl Iterator<Item = i32>, bottom: i32) -> Vec<i32> {
    let mut places: Vec<i32> = wanted.collect();
    for next in 1..places.len() {
        places[next] = places[next].max(places[next - 1] + PITCH);
    }
    let mut below = bottom + PITCH;
    for place in places.iter_mut().rev() {
        *place = (*place).min(below - PITCH);
        below = *place;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_distance() {
        assert_eq!(apart([10, 10, 100].into_iter(), 500), [10, 27, 100]);
        assert_eq!(apart([90, 95, 100].into_iter(), 100), [66, 83, 100]);
        assert!(apart([].into_iter(), 100).is_empty());
    }
}
