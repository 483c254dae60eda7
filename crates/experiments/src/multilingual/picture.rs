//! A matrix of cosines with the tree of its clusters, as a picture.

use std::fmt::Write;

use lyceum_core::report::Picture;
use lyceum_multitask::similarity::{Join, leaves};
use ndarray::ArrayView2;

/// The side of a square, and the width of the tree.
const SIDE: f64 = 34.0;
const TREE: f64 = 170.0;
const NAME: f64 = 64.0;

/// Rows and columns in the order of the tree's leaves; the tree to the left, its root leftmost.
pub(super) fn clusters(names: &[String], cosines: ArrayView2<'_, f64>, joins: &[Join]) -> Picture {
    let order = leaves(joins);
    let n = order.len() as f64;
    let (width, height) = (TREE + NAME + n * SIDE + 8.0, NAME + n * SIDE + 8.0);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' \
         font-family='system-ui, sans-serif' font-size='12'><rect width='100%' height='100%' fill='white'/>"
    );
    let row = |place: usize| NAME + (place as f64 + 0.5) * SIDE;
    // Colours span what lies off the diagonal.
    let pairs = order.iter().flat_map(|&i| order.iter().map(move |&j| (i, j))).filter(|(i, j)| i != j);
    let (low, high) = pairs.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(cosines[at]), high.max(cosines[at])));
    for (y, &i) in order.iter().enumerate() {
        let _ = write!(svg, "<text x='{}' y='{}' text-anchor='end'>{}</text>", TREE + NAME - 6.0, row(y) + 4.0, escaped(&names[i]));
        let x = TREE + NAME + (y as f64 + 0.5) * SIDE;
        let _ = write!(svg, "<text transform='translate({},{}) rotate(-60)'>{}</text>", x, NAME - 6.0, escaped(&names[i]));
        for (x, &j) in order.iter().enumerate() {
            let value = cosines[[i, j]];
            let share = if i == j || high <= low { 1.0 } else { ((value - low) / (high - low)).clamp(0.0, 1.0) };
            let mix = |dark: f64| (245.0 + (dark - 245.0) * share) as u8;
            let ink = if share > 0.55 { "white" } else { "#222" };
            let (left, top) = (TREE + NAME + x as f64 * SIDE, NAME + y as f64 * SIDE);
            let _ = write!(
                svg,
                "<rect x='{left}' y='{top}' width='{SIDE}' height='{SIDE}' fill='rgb({},{},{})'/>\
                 <text x='{}' y='{}' text-anchor='middle' font-size='10' fill='{ink}'>{value:.2}</text>",
                mix(20.0),
                mix(70.0),
                mix(130.0),
                left + SIDE / 2.0,
                top + SIDE / 2.0 + 4.0
            );
        }
    }
    // Where each cluster's branch ends: its distance and its height on the page.
    let mut ends: Vec<(f64, f64)> = vec![(0.0, 0.0); order.len()];
    order.iter().enumerate().for_each(|(place, &task)| ends[task].1 = row(place));
    // Distances are all near one another, often near 1: the tree begins a little before the nearest join, not at 0.
    let farthest = joins.iter().map(|join| join.distance).fold(f64::MIN, f64::max);
    let nearest = joins.iter().map(|join| join.distance).fold(f64::MAX, f64::min);
    let begin = nearest - 0.2 * (farthest - nearest).max(f64::MIN_POSITIVE);
    let across = |distance: f64| TREE - (TREE - 12.0) * ((distance - begin) / (farthest - begin)).max(0.0);
    for join in joins {
        let ((a, ya), (b, yb)) = (ends[join.clusters.0], ends[join.clusters.1]);
        let (xa, xb, x) = (across(a), across(b), across(join.distance));
        let _ = write!(svg, "<path d='M{xa} {ya}H{x}V{yb}H{xb}' fill='none' stroke='#444' stroke-width='1.5'/>");
        ends.push((join.distance, f64::midpoint(ya, yb)));
    }
    svg += "</svg>";
    Picture::svg(&svg)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
