//! A report as one HTML page.

use std::fmt::Write;

use super::{Block, Gallery, Report, Table};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const ECHARTS: &str = include_str!("../../assets/echarts.min.js");

impl Report {
    /// The page.
    pub fn html(&self) -> String {
        let mut body = format!("<header><h1>{}</h1><p>{}</p></header>\n", escape(&self.title), escape(&self.lead));
        if self.sections.len() > 2 {
            let links = self.sections.iter().enumerate().map(|(n, s)| format!("<a href=\"#s{n}\">{}</a>", escape(&s.title)));
            let _ = writeln!(body, "<nav>{}</nav>", links.collect::<String>());
        }
        for (number, section) in self.sections.iter().enumerate() {
            let _ = writeln!(body, "<section id=\"s{number}\"><h2>{}</h2>", escape(&section.title));
            section.blocks.iter().for_each(|b| body.push_str(&block(b)));
            body.push_str("</section>\n");
        }
        let has_charts = self.sections.iter().flat_map(|s| &s.blocks).any(|b| matches!(b, Block::Chart(_)));
        let scripts =
            if has_charts { format!("<script id=\"echarts\">{ECHARTS}</script>\n<script>{SCRIPT}</script>\n") } else { String::new() };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n{scripts}</body>\n</html>\n",
            escape(&self.title)
        )
    }
}

fn block(block: &Block) -> String {
    match block {
        Block::Text(text) => format!("<p>{}</p>\n", escape(text)),
        Block::Code(text) => format!("<pre>{}</pre>\n", escape(text)),
        Block::Links(links) => {
            let links = links.iter().map(|(name, to)| format!("<a href=\"{}\">{}</a>", escape(to), escape(name)));
            format!("<p>{}</p>\n", links.collect::<Vec<_>>().join(", "))
        }
        Block::Table(rows) => format!("<div class=\"wide\">{}</div>\n", table(rows)),
        Block::Gallery(pictures) => gallery(pictures),
        Block::Heatmap(heatmap) => heatmap.html(),
        Block::Picture { picture, caption } => {
            let caption = escape(caption);
            format!(
                "<figure class=\"picture\"><img src=\"{}\" alt=\"{caption}\"><figcaption>{caption}</figcaption></figure>\n",
                picture.uri
            )
        }
        Block::Chart(chart) => {
            // Neither `</script` nor `<!--` means anything to the page where `<` is written as an escape of JSON.
            let option = chart.option().to_string().replace('<', "\\u003c");
            let title = escape(&chart.title);
            format!(
                "<figure class=\"chart\"><figcaption>{title}</figcaption><div class=\"canvas\"></div>\
                 <script type=\"application/json\">{option}</script>\
                 <details open><summary>The numbers</summary><div class=\"wide\">{}</div></details></figure>\n",
                table(&chart.table())
            )
        }
    }
}

fn table(table: &Table) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells = cells.iter().fold(String::new(), |text, cell| text + &format!("<{tag}>{}</{tag}>", escape(cell)));
        format!("<tr>{cells}</tr>")
    };
    let body = table.rows.iter().fold(String::new(), |text, cells| text + &row(cells, "td"));
    format!("<table><thead>{}</thead><tbody>{body}</tbody></table>", row(&table.columns, "th"))
}

fn gallery(gallery: &Gallery) -> String {
    let pictures = gallery.pictures.iter().fold(String::new(), |text, (picture, caption)| {
        let caption = escape(caption);
        text + &format!("<figure><img src=\"{}\" alt=\"{caption}\"><figcaption>{caption}</figcaption></figure>", picture.uri)
    });
    format!("<div class=\"gallery\">{pictures}</div>\n")
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
