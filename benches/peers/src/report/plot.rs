//! The report as plots: bars for a workload, lines for contention.

mod bars;
mod lines;

use std::path::Path;

use anyhow::Context;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Body, Table};
use crate::subject::{About, Family};

/// A plot and the table that it belongs to.
#[derive(Debug)]
pub struct Plot {
    /// The name of its table.
    pub table: String,
    /// The file name.
    pub file: String,
    /// The alternative text.
    pub title: String,
}

/// Draws every table of figures into a folder.
///
/// # Errors
/// A plot that cannot be drawn or written.
pub fn all(tables: &[Table], folder: &Path) -> anyhow::Result<Vec<Plot>> {
    clear(folder)?;
    let mut plots = Vec::new();
    let mut save = |table: &Table, name: &str, title: &str, svg: String| {
        let file = format!("{name}.svg");
        let path = folder.join(&file);
        std::fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
        plots.push(Plot {
            table: table.name.clone(),
            file,
            title: title.to_owned(),
        });
        anyhow::Ok(())
    };
    let mut sweep = lines::sweep(tables);
    if sweep.len() < 2 {
        // A line needs two points.
        sweep.clear();
    }
    if let Some((_, _, first)) = sweep.first() {
        save(
            first,
            "contention",
            lines::TITLE,
            lines::draw(tables, &sweep)?,
        )?;
    }
    for table in tables {
        let swept = sweep.iter().any(|(_, _, swept)| swept.name == table.name);
        if let Body::Rows(unit, rows) = &table.body
            && !swept
        {
            let svg = bars::draw(tables, &table.title, *unit, rows)?;
            save(table, &table.name, &table.title, svg)?;
        }
    }
    Ok(plots)
}

/// Removes the plots of an earlier report, which may have had other workloads.
fn clear(folder: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot clear {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            std::fs::remove_file(path).with_context(cannot)?;
        }
    }
    Ok(())
}

/// The canvas while a plot is drawn.
type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A position in pixels, from the left and from the top.
type Pixel = (i32, i32);

const WIDTH: u32 = 900;
const MARGIN: i32 = 16;
const INK: RGBColor = RGBColor(36, 41, 47);
const WRONG: RGBColor = RGBColor(200, 30, 30);

fn canvas(height: u32, draw: impl FnOnce(&Canvas) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    draw(&root)?;
    root.present()?;
    drop(root);
    Ok(svg)
}

fn colour(family: Family) -> RGBColor {
    match family {
        Family::Ours => RGBColor(20, 110, 180),
        Family::Peer => RGBColor(222, 150, 60),
        Family::Textbook => RGBColor(240, 205, 145),
        Family::Bound => RGBColor(175, 175, 175),
    }
}

fn whose(family: Family) -> &'static str {
    match family {
        Family::Ours => "tollgate",
        Family::Peer => "peer",
        Family::Textbook => "textbook",
        Family::Bound => "bound",
    }
}

/// Returns a contender's label and its colour; the label of a wrong one names the fault.
fn label(about: &About, fault: Option<&str>) -> (String, RGBColor) {
    match (fault, about.family) {
        (Some(fault), _) => (format!("{} ✗ {fault}", about.name), WRONG),
        (None, Family::Ours) => (about.name.to_owned(), colour(Family::Ours)),
        (None, _) => (about.name.to_owned(), INK),
    }
}

fn text(
    root: &Canvas,
    words: &str,
    at: Pixel,
    from: HPos,
    size: i32,
    colour: RGBColor,
) -> anyhow::Result<()> {
    let style = ("sans-serif", size)
        .into_font()
        .color(&colour)
        .pos(Pos::new(from, VPos::Center));
    Ok(root.draw(&Text::new(words, at, style))?)
}

fn heading(root: &Canvas, title: &str) -> anyhow::Result<()> {
    text(root, title, (MARGIN, 22), HPos::Left, 18, INK)
}
