//! Line charts with error bars, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// A line through (x, mean, deviation).
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64, f64)>,
}

const COLORS: [RGBColor; 9] = [
    RGBColor(37, 99, 168),
    RGBColor(110, 110, 110),
    RGBColor(200, 100, 27),
    RGBColor(47, 138, 67),
    RGBColor(179, 50, 74),
    RGBColor(111, 79, 176),
    RGBColor(20, 140, 150),
    RGBColor(190, 150, 20),
    RGBColor(215, 95, 150),
];

/// Draws the lines.
pub(super) fn lines(path: &Path, title: &str, [x_label, y_label]: [&str; 2], lines: &[Line]) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let all = || lines.iter().flat_map(|line| &line.points);
    let bounds = |values: &mut dyn Iterator<Item = f64>| values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let (x0, x1) = bounds(&mut all().map(|point| point.0));
    let (y0, y1) = bounds(&mut all().flat_map(|point| [point.1 - point.2, point.1 + point.2]));
    let (dx, dy) = ((x1 - x0) * 0.04, (y1 - y0) * 0.06);
    let area = SVGBackend::new(path, (760, 460)).into_drawing_area();
    area.fill(&WHITE).map_err(|e| failed(&e))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 19))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(x0 - dx..x1 + dx, y0 - dy..y1 + dy)
        .map_err(|e| failed(&e))?;
    chart
        .configure_mesh()
        .x_desc(x_label)
        .y_desc(y_label)
        .light_line_style(WHITE)
        .label_style(("sans-serif", 14))
        .draw()
        .map_err(|e| failed(&e))?;
    for (line, color) in lines.iter().zip(COLORS.iter().cycle()) {
        let style = color.stroke_width(2);
        let points = line.points.iter().map(|&(x, y, _)| (x, y));
        let name = line.name.clone();
        let drawn = chart.draw_series(LineSeries::new(points.clone(), style)).map_err(|e| failed(&e))?;
        drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        chart.draw_series(points.map(|point| Circle::new(point, 3, color.filled()))).map_err(|e| failed(&e))?;
        let bars = line.points.iter().map(|&(x, y, d)| PathElement::new([(x, y - d), (x, y + d)], style));
        chart.draw_series(bars).map_err(|e| failed(&e))?;
    }
    chart
        .configure_series_labels()
        .position(emptiest_corner(all().map(|point| ((point.0 - x0) / (x1 - x0), (point.1 - y0) / (y1 - y0)))))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .draw()
        .map_err(|e| failed(&e))?;
    area.present().map_err(|e| failed(&e))
}

/// The corner of the unit square with the fewest points in it.
fn emptiest_corner(points: impl Iterator<Item = (f64, f64)>) -> SeriesLabelPosition {
    let points: Vec<(f64, f64)> = points.collect();
    let within = |right: bool, upper: bool| {
        let near = |at: f64, far: bool, reach: f64| if far { at > 1.0 - reach } else { at < reach };
        points.iter().filter(|(x, y)| near(*x, right, 0.35) && near(*y, upper, 0.5)).count()
    };
    let corners = [
        (within(false, false), SeriesLabelPosition::LowerLeft),
        (within(true, false), SeriesLabelPosition::LowerRight),
        (within(false, true), SeriesLabelPosition::UpperLeft),
        (within(true, true), SeriesLabelPosition::UpperRight),
    ];
    corners.into_iter().min_by_key(|(count, _)| *count).map_or(SeriesLabelPosition::LowerLeft, |(_, corner)| corner)
}
