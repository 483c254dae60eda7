//! A network as a picture: nodes from top to bottom, what is read from further above as lines at the side.

use std::fmt::Write as _;

use super::{Graph, Op, Port};

/// The least width of a box, and what a letter takes.
const WIDTH: f64 = 300.0;
const LETTER: f64 = 6.6;
const HEIGHT: f64 = 26.0;
const GAP: f64 = 14.0;
const MARGIN: f64 = 12.0;
/// How far apart lines at the side are.
const LANE: f64 = 14.0;

/// Colours on light and on dark pages, also where the picture is a file of its own.
const STYLE: &str = "<style>svg{color:#222}@media (prefers-color-scheme:dark){svg{color:#ddd}}</style>";

/// Nodes that are drawn in one box: an operation, and the normalisations and functions of its numbers that follow.
struct Row {
    first: usize,
    last: usize,
}

impl Graph {
    /// The picture as SVG.
    pub fn svg(&self) -> String {
        let rows = self.rows();
        let labels: Vec<[String; 3]> = rows.iter().map(|row| self.label(row)).collect();
        let letters = |label: &[String; 3]| label.iter().map(|text| text.chars().count()).sum::<usize>();
        let box_width = labels.iter().map(|label| LETTER * (letters(label) + 6) as f64).fold(WIDTH, f64::max).round();
        let top = |row: usize| MARGIN + row as f64 * (HEIGHT + GAP);
        let lanes = self.lanes(&rows);
        let width = 2.0 * MARGIN + box_width + LANE * (1 + lanes.iter().map(|(.., lane)| *lane + 1).max().unwrap_or(0)) as f64;
        let height = top(rows.len() + 1) - GAP + MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"currentColor\" stroke=\"none\">{STYLE}\n"
        );
        let mut draw = |row: usize, name: &str, right: &str| {
            let (x, y) = (MARGIN, top(row));
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{box_width}\" height=\"{HEIGHT}\" rx=\"4\" fill=\"none\" stroke=\"currentColor\" \
                 stroke-opacity=\"0.5\"/><text x=\"{}\" y=\"{}\">{name}</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\" \
                 fill-opacity=\"0.75\">{right}</text>",
                x + 8.0,
                y + 17.0,
                x + box_width - 8.0,
                y + 17.0
            );
        };
        draw(0, "input", &self.input().to_string());
        for (number, [name, operations, shape]) in labels.iter().enumerate() {
            draw(number + 1, &format!("<tspan fill-opacity=\"0.75\">{}</tspan>{operations}", escaped(name)), shape);
        }
        for (number, row) in rows.iter().enumerate() {
            let before = row.first.checked_sub(1).map_or(Port::Input, Port::Node);
            if self.nodes()[row.first].inputs.contains(&before) {
                let (x, y) = (MARGIN + box_width / 2.0, top(number + 1));
                let _ = writeln!(svg, "<path d=\"M {x} {} V {y}\" fill=\"none\" stroke=\"currentColor\"/>", y - GAP);
            }
        }
        for (from, to, lane) in lanes {
            let (right, side) = (MARGIN + box_width, MARGIN + box_width + LANE * (lane + 1) as f64);
            let (y, end) = (top(from) + 0.65 * HEIGHT, top(to) + 0.35 * HEIGHT);
            let _ = writeln!(
                svg,
                "<path d=\"M {right} {y} H {side} V {end} H {right}\" fill=\"none\" stroke=\"currentColor\"/>\
                 <path d=\"M {right} {end} l 6 -3 v 6 z\"/>"
            );
        }
        svg + "</svg>\n"
    }

    /// What a row is called where that says more than its operations; its operations; the shape of what it gives.
    fn label(&self, row: &Row) -> [String; 3] {
        let nodes = &self.nodes()[row.first..=row.last];
        let operations = nodes.iter().map(|node| node.op.name()).collect::<Vec<_>>().join(" · ");
        let (block, own) = nodes[0].name.rsplit_once('.').unwrap_or(("", &nodes[0].name));
        let is_usual = own.trim_end_matches(|letter: char| letter.is_ascii_digit()) == nodes[0].op.name();
        let parts: Vec<&str> = [block, if is_usual { "" } else { own }].into_iter().filter(|part| !part.is_empty()).collect();
        let name = if parts.is_empty() { String::new() } else { format!("{}: ", parts.join(".")) };
        [name, operations, nodes[nodes.len() - 1].shape.to_string()]
    }

    fn rows(&self) -> Vec<Row> {
        let readers = self.readers();
        let mut rows: Vec<Row> = Vec::new();
        for (number, node) in self.nodes().iter().enumerate() {
            let follows = matches!(node.op, Op::BatchNorm | Op::LayerNorm | Op::GroupNorm { .. } | Op::Activation(_) | Op::Dropout(_));
            match rows.last_mut() {
                Some(row) if follows && node.inputs == [Port::Node(row.last)] && readers[row.last].len() == 1 => row.last = number,
                _ => rows.push(Row { first: number, last: number }),
            }
        }
        rows
    }

    /// Of each line that skips rows: the rows where it begins and ends, counted from the input's, and its lane, so that no two
    /// lines cover each other.
    fn lanes(&self, rows: &[Row]) -> Vec<(usize, usize, usize)> {
        let row = |port: &Port| match port {
            Port::Input => 0,
            Port::Node(number) => rows.partition_point(|row| row.first <= *number),
        };
        let inputs = rows.iter().enumerate().flat_map(|(to, row)| self.nodes()[row.first].inputs.iter().map(move |port| (port, to + 1)));
        let mut skips: Vec<(usize, usize)> = inputs.map(|(port, to)| (row(port), to)).filter(|(from, to)| to - from > 1).collect();
        skips.sort_by_key(|(from, to)| (to - from, *from));
        skips.dedup();
        let mut placed: Vec<(usize, usize, usize)> = Vec::new();
        for (from, to) in skips {
            let free = |lane: &usize| placed.iter().all(|(begin, end, other)| other != lane || *end < from || to < *begin);
            let lane = (0..=placed.len()).find(free).unwrap_or(placed.len());
            placed.push((from, to, lane));
        }
        placed
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
