//! Charts as data: the same numbers become an Apache ECharts option and a table.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Table;

/// A chart with one x axis, one y axis and some series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn.
    pub series: Vec<Series>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    /// How it is measured.
    pub scale: Scale,
}

/// How an axis is divided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By powers.
    Log,
    /// By name; x values are indices into the names.
    Category(Vec<String>),
}

/// One line, set of bars or cloud of points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub shape: Shape,
    /// The points; one that is not finite is left out of the drawing.
    pub points: Vec<(Option<f64>, Option<f64>)>,
    /// An interval around each point, if known.
    pub band: Option<Vec<(Option<f64>, Option<f64>)>>,
    /// The series before it whose colour and place in the legend it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// The marks of series in turn, and their dashes, in pixels on and off.
const SYMBOLS: [&str; 6] = ["circle", "rect", "triangle", "diamond", "emptyCircle", "emptyRect"];
const DASHES: [&[u8]; 6] = [&[], &[8, 4], &[2, 3], &[10, 3, 2, 3], &[14, 4], &[5, 2]];

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// A line.
    Line,
    /// A dashed line without points, for a reference.
    Reference,
    /// Bars.
    Bar,
    /// Points.
    Scatter,
}

impl Axis {
    /// A linear axis.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Linear }
    }

    /// A logarithmic axis.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Log }
    }

    /// An axis of names.
    pub fn category(label: impl Into<String>, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { label: label.into(), scale: Scale::Category(names.into_iter().map(Into::into).collect()) }
    }

    /// With `from_zero` the axis begins at 0, as bars must.
    fn option(&self, horizontal: bool, from_zero: bool) -> Value {
        let (kind, names) = match &self.scale {
            Scale::Linear => ("value", Value::Null),
            Scale::Log => ("log", Value::Null),
            Scale::Category(names) => ("category", json!(names)),
        };
        json!({
            "type": kind, "name": self.label, "nameLocation": "middle", "nameGap": if horizontal { 28 } else { 48 },
            "data": names, "scale": !horizontal && !from_zero && kind != "category", "splitLine": { "lineStyle": { "opacity": 0.25 } },
        })
    }

    fn cell(&self, value: Option<f64>) -> String {
        match (&self.scale, value) {
            (Scale::Category(names), Some(index)) => names.get(index as usize).cloned().unwrap_or_default(),
            (_, value) => number(value),
        }
    }
}

impl Series {
    /// A series of this shape.
    pub fn new(name: impl Into<String>, shape: Shape, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), shape, points: points.into_iter().map(finite).collect(), band: None, of: None }
    }

    /// A line through these points.
    pub fn line(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::new(name, Shape::Line, points)
    }

    /// Bars of these heights over the categories in order.
    pub fn bars(name: impl Into<String>, heights: impl IntoIterator<Item = f64>) -> Self {
        Self::new(name, Shape::Bar, heights.into_iter().enumerate().map(|(index, height)| (index as f64, height)))
    }

    /// With an interval (low, high) around each point.
    pub fn with_band(mut self, band: impl IntoIterator<Item = (f64, f64)>) -> Self {
        self.band = Some(band.into_iter().map(finite).collect());
        self
    }

    /// In the colour of another series before it, and under its name in the legend.
    pub fn of(mut self, series: impl Into<String>) -> Self {
        self.of = Some(series.into());
        self
    }

    fn legend(&self) -> &str {
        self.of.as_deref().unwrap_or(&self.name)
    }

    fn options(&self, color: usize) -> Vec<Value> {
        let points: Vec<Value> = self.points.iter().map(|(x, y)| json!([x, y])).collect();
        let mut main = json!({ "name": self.legend(), "data": points, "color": color });
        // Told apart without colours too; where two lines are the same, the one below shows between the dashes.
        let (symbol, dashes) = (SYMBOLS[color % SYMBOLS.len()], &DASHES[color % DASHES.len()]);
        let dashes = if dashes.is_empty() { json!("solid") } else { json!(dashes) };
        let more = match self.shape {
            Shape::Line if self.points.len() == 1 => json!({
                "type": "line", "symbol": symbol, "symbolSize": 9, "label": { "show": true, "formatter": number(self.points[0].1), "color": "inherit" },
            }),
            Shape::Line => json!({
                "type": "line", "showSymbol": self.points.len() <= 40, "symbol": symbol, "symbolSize": 6,
                "lineStyle": { "width": 2, "type": dashes },
            }),
            Shape::Reference => json!({ "type": "line", "showSymbol": false, "lineStyle": { "type": "dashed", "width": 1.5 } }),
            Shape::Bar => json!({ "type": "bar", "barMaxWidth": 36 }),
            Shape::Scatter => json!({ "type": "scatter", "symbol": symbol, "symbolSize": 8 }),
        };
        merge(&mut main, more);
        let mut all = vec![main];
        if let Some(band) = &self.band {
            let rows: Vec<Value> = self.points.iter().zip(band).map(|((x, _), (low, high))| json!([x, low, high])).collect();
            // The page turns this into a custom series that draws error bars, or a filled band around a line.
            all.push(json!({ "type": "custom", "name": self.legend(), "band": self.shape == Shape::Line, "data": rows, "color": color }));
        }
        all
    }
}

impl Chart {
    /// A chart without series.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { title: title.into(), x, y, series: Vec::new() }
    }

    /// With one more series.
    pub fn with(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// The numbers, a row a point.
    pub fn table(&self) -> Table {
        let mut table = Table::new(["series", self.x.label.as_str(), self.y.label.as_str(), "interval"]);
        for series in &self.series {
            for (index, (x, y)) in series.points.iter().enumerate() {
                let interval = series.band.as_ref().and_then(|band| band.get(index));
                let interval = interval.map(|(low, high)| format!("{} to {}", number(*low), number(*high))).unwrap_or_default();
                table.push([series.name.clone(), self.x.cell(*x), self.y.cell(*y), interval]);
            }
        }
        if self.series.iter().all(|series| series.band.is_none()) {
            table.columns.pop();
            table.rows.iter_mut().for_each(|row| drop(row.pop()));
        }
        table
    }

    /// The ECharts option; colours and fonts are the page's.
    pub(super) fn option(&self) -> Value {
        let mut names: Vec<&str> = Vec::new();
        let mut series: Vec<Value> = Vec::new();
        for one in &self.series {
            let color = names.iter().position(|name| *name == one.legend()).unwrap_or(names.len());
            if color == names.len() {
                names.push(one.legend());
            }
            series.extend(one.options(color));
        }
        let bars = self.series.iter().any(|series| series.shape == Shape::Bar);
        // The page makes room above the grid for as many rows as the legend takes.
        json!({
            "xAxis": self.x.option(true, false), "yAxis": self.y.option(false, bars), "series": series,
            "legend": { "show": names.len() > 1, "data": names, "top": 0, "left": 0, "right": 0, "type": "plain", "itemGap": 14 },
            "grid": { "left": 64, "right": 16, "top": 12, "bottom": 44 },
            "tooltip": { "trigger": if self.series.iter().any(|s| s.shape == Shape::Scatter) { "item" } else { "axis" } },
            "aria": { "enabled": true },
        })
    }
}

fn finite((a, b): (f64, f64)) -> (Option<f64>, Option<f64>) {
    (Some(a).filter(|v| v.is_finite()), Some(b).filter(|v| v.is_finite()))
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "–".into(),
        Some(v) if v == v.trunc() && v.abs() < 1e9 => format!("{v}"),
        Some(v) if v.abs() >= 1e-3 && v.abs() < 1e6 => format!("{v:.4}"),
        Some(v) => format!("{v:.3e}"),
    }
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
