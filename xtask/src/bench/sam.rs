//! What a step of SAM costs beside a plain one.

use anyhow::Result;

use super::Measurements;
use crate::shell;

pub(super) fn run() -> Result<()> {
    shell::run("cargo", &["bench", "--workspace", "--bench", "sam", "--no-run"])?;
    let mut measured = Measurements::default();
    measured.alternate(3, &mut [shell::command("cargo", &["bench", "--quiet", "--workspace", "--bench", "sam"])])?;
    let mut ratios = Vec::new();
    for (work, plain) in [("sam-mlp", "plain-mlp"), ("sam-cnn", "plain-cnn"), ("sam-resnet", "plain-resnet"), ("sam-m32-cnn", "plain-cnn")]
    {
        ratios.push((work, "plain", measured.median(work, "lyceum")?, measured.median(plain, "lyceum")?));
    }
    measured.finish("sam", &ratios)
}
