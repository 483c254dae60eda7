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

/// Pixels for the names beside the lines.
const LEGEND: u32 = 170;

/// Draws the lines.
pub(super) fn lines(path: &Path, title: &str, [x_label, y_label]: [&str; 2], lines: &[Line]) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    let all = || lines.iter().flat_map(|line| &line.points);
    let bounds = |values: &mut dyn Iterator<Item = f64>| values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let (x0, x1) = bounds(&mut all().map(|point| point.0));
    let (y0, y1) = bounds(&mut all().flat_map(|point| [point.1 - point.2, point.1 + point.2]));
    // Without what is left of sums of tenths.
    let tick = |value: &f64| ((value * 1e6).round() / 1e6).to_string();
    let (dx, dy) = ((x1 - x0) * 0.04, (y1 - y0) * 0.06);
    let area = SVGBackend::new(path, (760 + LEGEND, 460)).into_drawing_area();
    area.fill(&WHITE).map_err(|e| failed(&e))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 19))
        .margin(12)
        .margin_right(LEGEND + 12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(x0 - dx..x1 + dx, y0 - dy..y1 + dy)
        .map_err(|e| failed(&e))?;
    chart
        .configure_mesh()
        .x_desc(x_label)
        .y_desc(y_label)
        .light_line_style(WHITE)
        .x_label_formatter(&tick)
        .y_label_formatter(&tick)
        .label_style(("sans-serif", 14))
        .draw()
        .map_err(|e| failed(&e))?;
    for (number, line) in lines.iter().enumerate() {
        let (style, dashed) = look(number);
        let points = line.points.iter().map(|&(x, y, _)| (x, y));
        if dashed {
            chart.draw_series(DashedLineSeries::new(points.clone(), 7, 4, style)).map_err(|e| failed(&e))?;
        } else {
            chart.draw_series(LineSeries::new(points.clone(), style)).map_err(|e| failed(&e))?;
        }
        let bars = line.points.iter().map(|&(x, y, d)| PathElement::new([(x, y - d), (x, y + d)], style));
        chart.draw_series(bars).map_err(|e| failed(&e))?;
        chart.draw_series(points.map(|point| Circle::new(point, 3, style.color.filled()))).map_err(|e| failed(&e))?;
    }
    // Names stand beside the lines, where none of them is.
    let (width, _) = area.dim_in_pixel();
    for (number, line) in lines.iter().enumerate() {
        let (style, dashed) = look(number);
        let (x, y) = ((width - LEGEND) as i32, 48 + 20 * number as i32);
        for (from, to) in if dashed { vec![(0, 7), (11, 18)] } else { vec![(0, 18)] } {
            area.draw(&PathElement::new([(x + from, y), (x + to, y)], style)).map_err(|e| failed(&e))?;
        }
        area.draw(&Text::new(line.name.clone(), (x + 26, y - 7), ("sans-serif", 14))).map_err(|e| failed(&e))?;
    }
    area.present().map_err(|e| failed(&e))
}

/// How the line of this number is drawn, and whether it is dashed: so are those for which no colour is left.
fn look(number: usize) -> (ShapeStyle, bool) {
    (COLORS[number % COLORS.len()].stroke_width(2), number >= COLORS.len())
}
