//! Reports: one self-contained HTML file with charts, tables and pictures.
//!
//! A [`Report`] is plain data, kept as `report.json` in the run folder; [`Report::html`] turns it into a page that
//! needs no network, follows the reader's light or dark setting, prints, and shows its numbers as tables where there
//! is no JavaScript.

mod chart;
mod heatmap;
mod html;
mod picture;

use serde::{Deserialize, Serialize};

pub use chart::{Axis, Chart, Scale, Series, Shape};
pub use heatmap::Heatmap;
pub use picture::{Gallery, Picture};

/// A report: a title, a few words, sections.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What the page is called.
    pub title: String,
    /// One or two sentences under the title.
    pub lead: String,
    /// The parts, in order.
    pub sections: Vec<Section>,
}

/// A part of a report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// What is in it.
    pub blocks: Vec<Block>,
}

/// Something in a section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// Numbers in rows.
    Table(Table),
    /// A chart, with its numbers as a table.
    Chart(Chart),
    /// A matrix of numbers.
    Heatmap(Heatmap),
    /// Small pictures with captions.
    Gallery(Gallery),
    /// A picture as large as it is, or as the page is wide.
    Picture {
        /// The picture.
        picture: Picture,
        /// What stands under it.
        caption: String,
    },
    /// Text as it is, for example a recipe.
    Code(String),
    /// Names with the addresses they lead to.
    Links(Vec<(String, String)>),
}

/// A table; the first column is set left, the others right.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Column headings.
    pub columns: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
}

impl Report {
    /// An empty report.
    pub fn new(title: impl Into<String>, lead: impl Into<String>) -> Self {
        Self { title: title.into(), lead: lead.into(), sections: Vec::new() }
    }

    /// With one more section.
    pub fn section(mut self, title: impl Into<String>, blocks: impl IntoIterator<Item = Block>) -> Self {
        self.sections.push(Section { title: title.into(), blocks: blocks.into_iter().collect() });
        self
    }
}

impl Table {
    /// A table with these headings and no rows.
    pub fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl IntoIterator<Item = impl Into<String>>) {
        self.rows.push(row.into_iter().map(Into::into).collect());
    }

    /// The table in GitHub's Markdown, with columns padded so that it reads as plain text too.
    pub fn markdown(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).chain(self.columns.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
        };
        let line = |cells: &[String]| {
            let padded = cells.iter().enumerate().map(|(column, cell)| {
                let space = " ".repeat(width(column).saturating_sub(cell.chars().count()));
                if column == 0 { format!("{cell}{space}") } else { format!("{space}{cell}") }
            });
            format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
        };
        let rule = (0..self.columns.len()).map(|column| {
            let dashes = "-".repeat(width(column) + 1);
            if column == 0 { format!("-{dashes}") } else { format!("{dashes}:") }
        });
        let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
        self.rows.iter().fold(line(&self.columns) + &rule, |text, row| text + &line(row))
    }
}

/// A number with four digits that count, by powers of ten where it is very large or small.
pub fn significant(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return if value.is_nan() { "–".into() } else { if value > 0.0 { "∞" } else { "−∞" }.into() };
    }
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return format!("{value:.3e}");
    }
    let digits = if size == 0.0 { 3 } else { (3 - size.log10().floor() as i32).clamp(0, 7) };
    format!("{value:.*}", digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo() -> Report {
        let mut table = Table::new(["name", "value"]);
        table.push(["<b>", "1.5"]);
        let chart = Chart::new("Loss <train>", Axis::linear("epoch"), Axis::linear("loss"))
            .with(Series::line("SGD", [(0.0, 2.0), (1.0, f64::NAN)]).with_band([(1.0, 3.0), (0.5, 1.5)]));
        let picture = Picture::grey(2, 2, &[0, 255, 255, 0]).unwrap();
        let gallery = Gallery { pictures: vec![(picture, "{3, 8}".into())] };
        let names = |what: &str| (what.to_owned(), vec!["<1>".to_owned(), "2".to_owned()]);
        let values = vec![vec![Some(0.0), None], vec![Some(f64::NAN), Some(90.0)]];
        let heatmap =
            Heatmap { title: "&".into(), rows: names("a"), columns: names("b"), values, scale: (0.0, 100.0, " %".into()), digits: 1 };
        Report::new("Title & all", "Lead").section(
            "One",
            [
                Block::Text("a < b".into()),
                Block::Table(table),
                Block::Chart(chart),
                Block::Gallery(gallery),
                Block::Heatmap(heatmap),
                Block::Links(vec![("seed <1>".into(), "seed-1/report.html".into())]),
                Block::Code("x = 1".into()),
            ],
        )
    }

    #[test]
    fn digits_that_count() {
        let cases = [
            (0.0, "0.000"),
            (1.0, "1.000"),
            (-58.868, "-58.87"),
            (12_345.6, "12346"),
            (0.000_123_46, "0.0001235"),
            (1.5e-9, "1.500e-9"),
            (f64::INFINITY, "∞"),
            (f64::NAN, "–"),
            (9.9e36, "9.900e36"),
        ];
        for (value, text) in cases {
            assert_eq!(significant(value), text);
        }
    }

    #[test]
    fn a_page_needs_nothing_from_outside_and_escapes_what_it_shows() {
        let html = demo().html();
        let (before, rest) = html.split_once("<script id=\"echarts\">").unwrap();
        let after = rest.split_once("</script>").unwrap().1;
        for part in [before, after] {
            assert!(!part.contains("src=\"http") && !part.contains("href=\"http"), "the page must not need a network");
        }
        assert!(html.contains("&lt;b&gt;") && html.contains("a &lt; b") && html.contains("Title &amp; all"));
        assert!(!html.contains("<b>") && !html.contains("<1>"));
        assert!(html.contains("<td class=\"deep\" style=\"--depth:90%\">90.0</td>"), "the number and how deep its colour is");
        assert_eq!(html.matches("id=\"echarts\"").count(), 1);
    }

    /// Names end no script and begin none, and what the page reads is what was meant.
    #[test]
    fn names_of_series_do_nothing_to_the_page() {
        let name = "<!--<script>alert(1)</script>";
        let chart = Chart::new(name, Axis::linear("x"), Axis::linear("y")).with(Series::line(name, [(0.0, 1.0)]));
        let html = Report::new(name, name).section(name, [Block::Chart(chart)]).html();
        let before = html.split_once("<script id=\"echarts\">").unwrap().0;
        assert!(!before.contains("<!--") && !before.contains("<script>"), "{before}");
        let json = before.split_once("<script type=\"application/json\">").unwrap().1.split_once("</script>").unwrap().0;
        let option: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(option["series"][0]["name"], name);
    }

    #[test]
    fn a_report_survives_its_json() {
        let report = demo();
        let text = serde_json::to_string(&report).unwrap();
        let again: Report = serde_json::from_str(&text).unwrap();
        assert_eq!(again.html(), report.html());
    }

    #[test]
    fn what_belongs_to_a_series_has_its_colour_and_its_place_in_the_legend() {
        let axis = || Axis::linear("x");
        let chart = Chart::new("", axis(), axis())
            .with(Series::new("a", Shape::Scatter, [(0.0, 1.0)]))
            .with(Series::line("a, fitted", [(0.0, 1.0)]).with_band([(0.0, 2.0)]).of("a"))
            .with(Series::new("b", Shape::Scatter, [(0.0, 1.0)]));
        let option = chart.option();
        let drawn: Vec<_> = option["series"].as_array().unwrap().iter().map(|one| (one["name"].as_str(), one["color"].as_u64())).collect();
        assert_eq!(drawn, [(Some("a"), Some(0)), (Some("a"), Some(0)), (Some("a"), Some(0)), (Some("b"), Some(1))]);
        assert_eq!(chart.table().rows[1][0], "a, fitted");
    }

    #[test]
    fn a_table_as_markdown() {
        let mut table = Table::new(["method", "error"]);
        table.push(["SAM", "1.25"]);
        assert_eq!(table.markdown(), "| method | error |\n|--------|------:|\n| SAM    |  1.25 |\n");
    }
}
