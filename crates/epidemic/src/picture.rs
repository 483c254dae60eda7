//! Pictures: the levels of behaviour over time, and the tree of an outbreak.

use std::fmt::Write;

use crate::{
    disease::{Infection, Setting},
    record::Day,
};

/// Colours that can be told apart, also by those who cannot tell red from green (Okabe and Ito).
const COLOURS: [&str; 10] = ["#999999", "#0072B2", "#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#8DA0CB", "#333333"];

/// What the levels are called.
pub const LEVELS: [&str; 5] = ["as before", "level 0", "level 1", "level 2", "level 3: quarantine"];

const STYLE: &str = "font-family=\"system-ui, sans-serif\" font-size=\"12\"";

/// Share of people at each level, stacked, over days.
pub fn levels(days: &[Day]) -> String {
    let (width, height, left, top) = (760.0, 260.0, 46.0, 34.0);
    let mut svg =
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" {STYLE}>", left + width + 12.0, top + height + 40.0);
    let last = days.last().map_or(1.0, |day| f64::from(day.day)).max(1.0);
    let x = |day: &Day| left + width * f64::from(day.day) / last;
    let y = |share: f64| top + height * (1.0 - share);
    let share = |day: &Day, until: usize| {
        let all: u32 = day.levels.iter().sum();
        f64::from(day.levels[..until].iter().sum::<u32>()) / f64::from(all.max(1))
    };
    let colours = ["#999999", "#009E73", "#F0E442", "#E69F00", "#D55E00"];
    for level in 0..5 {
        let upper = days.iter().map(|day| format!("{:.1},{:.1}", x(day), y(share(day, level + 1))));
        let lower = days.iter().rev().map(|day| format!("{:.1},{:.1}", x(day), y(share(day, level))));
        let points: Vec<String> = upper.chain(lower).collect();
        let _ = write!(svg, "<polygon points=\"{}\" fill=\"{}\"/>", points.join(" "), colours[level]);
        let at = left + [0.0, 100.0, 190.0, 280.0, 370.0][level];
        let _ = write!(svg, "<rect x=\"{at}\" y=\"10\" width=\"12\" height=\"12\" fill=\"{}\"/>", colours[level]);
        let _ = write!(svg, "<text x=\"{}\" y=\"20\" fill=\"currentColor\">{}</text>", at + 17.0, LEVELS[level]);
    }
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        let _ = write!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"currentColor\">{percent} %</text>", left - 6.0, at + 4.0);
    }
    days_axis(&mut svg, last, left, width, top + height);
    svg + "</svg>"
}

fn days_axis(svg: &mut String, last: f64, left: f64, width: f64, bottom: f64) {
    let step = [1.0, 2.0, 5.0, 7.0, 14.0, 28.0, 56.0, 112.0, 365.0].into_iter().find(|step| last / step <= 12.0).unwrap_or(1000.0);
    let mut day = 0.0;
    while day <= last {
        let at = left + width * day / last;
        let _ = write!(svg, "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"currentColor\">{day}</text>", bottom + 16.0);
        day += step;
    }
    let _ =
        write!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"currentColor\">day</text>", left + width / 2.0, bottom + 33.0);
}

/// The tree of one outbreak: all who were infected by one of the first, by them, and so on; time goes to the right. Of the outbreaks the
/// largest that can be drawn is taken.
pub fn tree(infections: &[Infection], most: usize) -> Option<String> {
    let mut number = std::collections::HashMap::new();
    infections.iter().enumerate().for_each(|(place, infection)| _ = number.insert(infection.person, place));
    let parent = |infection: &Infection| infection.by.and_then(|by| number.get(&by).copied());
    let mut children = vec![Vec::new(); infections.len()];
    let mut roots = Vec::new();
    for (place, infection) in infections.iter().enumerate() {
        match parent(infection) {
            Some(by) => children[by].push(place),
            None => roots.push(place),
        }
    }
    // Those infected later have greater numbers.
    let mut sizes = vec![1_usize; infections.len()];
    for place in (0..infections.len()).rev() {
        if let Some(by) = parent(&infections[place]) {
            sizes[by] += sizes[place];
        }
    }
    // Where every outbreak is too large, a branch of one is shown.
    let all = roots.iter().copied().chain(0..infections.len());
    let root = all.filter(|root| sizes[*root] > 1 && sizes[*root] <= most).max_by_key(|root| (sizes[*root], std::cmp::Reverse(*root)))?;
    let mut rows = std::collections::BTreeMap::new();
    let mut stack = vec![root];
    while let Some(place) = stack.pop() {
        rows.insert(place, rows.len());
        stack.extend(children[place].iter().rev());
    }
    let (from, until) = rows
        .keys()
        .fold((f32::INFINITY, 0.0_f32), |(from, until), place| (from.min(infections[*place].at), until.max(infections[*place].at)));
    let (width, row_height, left, top) = (720.0, if rows.len() > 60 { 9.0 } else { 15.0 }, 30.0, 34.0);
    let height = row_height * rows.len() as f64;
    let x = |place: usize| left + width * f64::from((infections[place].at - from) / (until - from).max(1e-3));
    let y = |place: usize| top + row_height * (rows[&place] as f64 + 0.5);
    let mut svg =
        format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" {STYLE}>", left + width + 30.0, top + height + 40.0);
    let mut used = Vec::new();
    for &place in rows.keys() {
        for &child in &children[place] {
            let _ = write!(
                svg,
                "<path d=\"M{:.1},{:.1} V{:.1} H{:.1}\" fill=\"none\" stroke=\"currentColor\" stroke-opacity=\"0.45\"/>",
                x(place),
                y(place),
                y(child),
                x(child)
            );
        }
    }
    for &place in rows.keys() {
        let infection = &infections[place];
        if !used.contains(&infection.place) {
            used.push(infection.place);
        }
        let colour = COLOURS[infection.place as usize];
        let _ = write!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{}\" fill=\"{}\" stroke=\"{colour}\" stroke-width=\"2\"><title>person {}, day {:.1}, {}{}</title></circle>",
            x(place),
            y(place),
            row_height / 4.0 + 0.6,
            if infection.asymptomatic { "none" } else { colour },
            infection.person,
            infection.at,
            infection.place.name(),
            if infection.asymptomatic { ", without symptoms" } else { "" },
        );
    }
    used.sort_by_key(|setting: &Setting| *setting as u8);
    for (place, setting) in used.iter().enumerate() {
        let at = left + 82.0 * place as f64;
        let _ = write!(svg, "<circle cx=\"{at}\" cy=\"16\" r=\"5\" fill=\"{}\"/>", COLOURS[*setting as usize]);
        let _ = write!(svg, "<text x=\"{}\" y=\"20\" fill=\"currentColor\">{}</text>", at + 9.0, setting.name());
    }
    let _ = write!(
        svg,
        "<text x=\"{left}\" y=\"{}\" fill=\"currentColor\">day {from:.0}</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"currentColor\">day {until:.0}</text>",
        top + height + 20.0,
        left + width,
        top + height + 20.0
    );
    Some(svg + "</svg>")
}
