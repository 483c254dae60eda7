//! Matrices of numbers with their axes, as tables whose cells are coloured.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::html::escape;

/// A matrix of numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heatmap {
    /// What it shows.
    pub title: String,
    /// What the rows are, and their names.
    pub rows: (String, Vec<String>),
    /// What the columns are, and their names.
    pub columns: (String, Vec<String>),
    /// The numbers, row by row; one that is not known is empty.
    pub values: Vec<Vec<Option<f64>>>,
    /// The numbers of the palest and the deepest colour, and their unit.
    pub scale: (f64, f64, String),
    /// Digits after the decimal point.
    pub digits: usize,
}

impl Heatmap {
    pub(super) fn html(&self) -> String {
        let (low, high, unit) = &self.scale;
        let mut text = format!(
            "<figure class=\"heat\"><figcaption>{}</figcaption><p>{} across, {} down; from {low} (pale) to {high}{} (deep).</p>\
             <div class=\"wide\"><table><thead><tr><th></th>",
            escape(&self.title),
            escape(&self.columns.0),
            escape(&self.rows.0),
            escape(unit),
        );
        self.columns.1.iter().for_each(|name| text.push_str(&format!("<th>{}</th>", escape(name))));
        text.push_str("</tr></thead><tbody>");
        for (row, name) in self.values.iter().zip(&self.rows.1) {
            let _ = write!(text, "<tr><th>{}</th>", escape(name));
            for value in row {
                let _ = match value.filter(|value| value.is_finite()) {
                    None => write!(text, "<td></td>"),
                    Some(value) => {
                        let depth = (100.0 * (value - low) / (high - low)).clamp(0.0, 100.0).round();
                        let class = if depth > 55.0 { " class=\"deep\"" } else { "" };
                        write!(text, "<td{class} style=\"--depth:{depth}%\">{value:.0$}</td>", self.digits)
                    }
                };
            }
            text.push_str("</tr>");
        }
        text + "</tbody></table></div></figure>\n"
    }
}
