//! Combiners of gradients on one encoder for nine languages, and whose gradients are alike.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use anyhow::{Context, Result};
use base64::Engine;

use super::{Cell, Extent, Results, kept_cells, mean_and_deviation, run_missing_cells};
use crate::{
    machine,
    shell::{self, root},
};

const SEEDS: [u64; 2] = [1, 2];
const RECIPE: &str = "recipes/multitask/multilingual.toml";
const LANGUAGES: [&str; 9] = ["cs", "da", "de", "es", "fr", "it", "nl", "pl", "pt-br"];

/// Name, and what stands in the arm beside it.
const ARMS: [(&str, &str); 13] = [
    ("sum", ""),
    ("mixing, T = 5", "mixing_temperature=5.0"),
    ("GradNorm", "method={gradnorm={}}"),
    ("uncertainty", "method={uncertainty={}}"),
    ("MGDA", "method=\"mgda\""),
    ("PCGrad", "method=\"pcgrad\",granularity=\"layer\""),
    ("CAGrad", "method={cagrad={}}"),
    ("IMTL-G", "method=\"imtl-g\""),
    ("Nash-MTL", "method=\"nash-mtl\""),
    ("Aligned-MTL", "method={aligned-mtl={}}"),
    ("Gradient Vaccine, whole", "method={gradient-vaccine={}}"),
    ("Gradient Vaccine, layers", "method={gradient-vaccine={}},granularity=\"layer\""),
    ("Gradient Vaccine, parameters", "method={gradient-vaccine={}},granularity=\"parameter\""),
];

pub(super) fn run(extent: Extent) -> Result<()> {
    shell::data("libreoffice-help")?;
    let grid: Vec<(&str, &str, u64)> = SEEDS.iter().flat_map(|seed| ARMS.map(|(name, more)| (name, more, *seed))).collect();
    let cells: Vec<Cell> = grid
        .iter()
        .map(|(name, more, seed)| {
            let comma = if more.is_empty() { "" } else { "," };
            Cell {
                recipe: RECIPE,
                name: format!("{}-seed-{seed}", name.replace([' ', ',', '='], "")),
                overrides: vec![format!("arm=[{{name=\"{name}\"{comma}{more}}}]"), format!("seed={seed}")],
            }
        })
        .collect();
    let folder = root().join("results/gradient-vaccine");
    let kept = kept_cells(&folder, extent)?;
    let found = run_missing_cells("gradient-vaccine", &cells, &kept, extent)?;
    let by_cell: BTreeMap<(&str, u64), &BTreeMap<String, f64>> =
        grid.iter().zip(&found).map(|((name, _, seed), values)| ((*name, *seed), values)).collect();
    let value = |name: &str, seed: u64, key: &str| by_cell[&(name, seed)].get(&format!("{name}/{key}")).copied().unwrap_or(f64::NAN);
    let over_seeds = |name: &str, key: &str| mean_and_deviation(&SEEDS.map(|seed| value(name, seed, key)));
    let machine = machine::describe()?;
    std::fs::create_dir_all(&folder)?;
    let mut text = format!(
        "# Gradient Vaccine and other combiners on nine languages\n\n\
         One encoder fills in masked tokens of paragraphs of LibreOffice's help beside the same paragraph in English. Loss in nats a masked\n\
         token on paragraphs that no language was trained on, and the share of tokens predicted right; mean ± standard deviation over\n\
         seeds {SEEDS:?}. Every arm has the same learning rate (Adam, which takes out the scale of a gradient); it and the share that is masked\n\
         are from a few short trials with the sum (seed 1), not from a search.\n\n\
         Recipe: `{RECIPE}`. Again: `cargo xtask reproduce gradient-vaccine`.\n\n\
         | combiner | mean loss | right, % | {} |\n|---|---:|---:|{}\n",
        LANGUAGES.join(" | "),
        "---:|".repeat(LANGUAGES.len())
    );
    for (name, _) in ARMS {
        let ((loss, deviation), (right, spread)) = (over_seeds(name, "loss"), over_seeds(name, "accuracy"));
        write!(text, "| {name} | {loss:.3} ± {deviation:.3} | {:.1} ± {:.1} |", 100.0 * right, 100.0 * spread)?;
        for language in LANGUAGES {
            write!(text, " {:.3} |", over_seeds(name, &format!("loss/{language}")).0)?;
        }
        writeln!(text)?;
    }
    text += "\nDifference from the sum in the same seed, mean loss (negative is better):\n\n| combiner | difference |\n|---|---:|\n";
    for (name, _) in ARMS.iter().skip(1) {
        let (mean, deviation) = mean_and_deviation(&SEEDS.map(|seed| value(name, seed, "loss") - value("sum", seed, "loss")));
        writeln!(text, "| {name} | {mean:+.3} ± {deviation:.3} |")?;
    }
    text += "\n## Whose gradients are alike\n\nMean cosines of the sum's gradients over training; rows and columns by family.\n\n";
    let families = [("Germanic", vec!["de", "nl", "da"]), ("Romance", vec!["es", "pt-br", "fr", "it"]), ("Slavic", vec!["cs", "pl"])];
    let order: Vec<&str> = families.iter().flat_map(|(_, languages)| languages.clone()).collect();
    let cosine = |a: &str, b: &str| {
        let (first, second) = if a < b { (a, b) } else { (b, a) };
        over_seeds("sum", &format!("cosine/{first}/{second}")).0
    };
    writeln!(text, "| | {} |\n|---|{}", order.join(" | "), "---:|".repeat(order.len()))?;
    for a in &order {
        write!(text, "| {a} |")?;
        for b in &order {
            if a == b { write!(text, " – |")? } else { write!(text, " {:.3} |", cosine(a, b))? }
        }
        writeln!(text)?;
    }
    let (correlation, spread) = over_seeds("sum", "cosine_family_correlation");
    let family = |language: &str| families.iter().position(|(_, languages)| languages.contains(&language));
    let pairs = order.iter().enumerate().flat_map(|(i, a)| order[..i].iter().map(move |b| (*a, *b)));
    let (within, between): (Vec<_>, Vec<_>) = pairs.partition(|(a, b)| family(a) == family(b));
    let mean = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| cosine(a, b)).sum::<f64>() / pairs.len() as f64;
    writeln!(
        text,
        "\nWithin a family {:.3} on average, between families {:.3}. Spearman correlation of the cosines with the distance in the tree of families:\n\
         {correlation:+.2} ± {spread:.2}.",
        mean(&within),
        mean(&between)
    )?;
    let (drawing, report) = (folder.join("alike.svg"), root().join("runs/reproduce/gradient-vaccine/sum-seed-1/report.json"));
    // Of a run that was kept only its drawing may be left.
    if report.exists() || !drawing.exists() {
        std::fs::write(&drawing, picture(&report)?)?;
    }
    text += "\n![cosines and their tree, seed 1](alike.svg)\n";
    Results { folder: &folder, machine, seeds: &SEEDS, cells: &cells, found: &found, kept }.write(text)
}

/// The drawing in a run's report.
fn picture(report: &Path) -> Result<Vec<u8>> {
    const MARK: &str = "data:image/svg+xml;base64,";
    let text = std::fs::read_to_string(report).with_context(|| report.display().to_string())?;
    let (_, rest) = text.split_once(MARK).context("the report has no drawing")?;
    let (encoded, _) = rest.split_once('"').context("the drawing has no end")?;
    Ok(base64::engine::general_purpose::STANDARD.decode(encoded)?)
}
