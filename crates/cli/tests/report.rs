//! The report in a real browser. Where there is no Chromium the test says so and passes; in CI (`CI` is set) it fails.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const RECIPE: &str = r#"
experiment = "certify"
[data]
name = "digits"
label_noise = 0.2
[model.mlp]
hidden = [16]
[training]
epochs = 4
[sharpness]
examples = 100
[[arm]]
name = "SGD"
estimator = "plain"
[[arm]]
name = "SAM"
estimator.sam = { rho = 0.05 }
"#;

fn chromium() -> Option<&'static str> {
    ["chromium", "google-chrome", "chromium-browser"].into_iter().find(|name| Command::new(name).arg("--version").output().is_ok())
}

fn open(browser: &str, folder: &Path, page: &Path, more: &[&str]) -> Output {
    let quiet = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        "--v=0",
        "--window-size=1100,1400",
    ];
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    Command::new(browser).args(quiet).arg(profile).args(more).arg(format!("file://{}", page.display())).output().unwrap()
}

#[test]
fn charts_are_drawn_and_nothing_is_complained_of() {
    let Some(browser) = chromium() else {
        assert!(std::env::var_os("CI").is_none(), "Chromium must be there in CI");
        eprintln!("skipped: no Chromium on this machine");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("report.toml");
    fs::write(&recipe, RECIPE).unwrap();
    let run = folder.path().join("run");
    let status = Command::new(env!("CARGO_BIN_EXE_lyceum")).args(["run", "--quiet"]).arg(&recipe).arg("--out").arg(&run).status().unwrap();
    assert!(status.success());
    let page = run.join("report.html");
    for scheme in ["--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"] {
        let dump = open(browser, folder.path(), &page, &[scheme, "--virtual-time-budget=5000", "--dump-dom"]);
        let log = String::from_utf8_lossy(&dump.stderr);
        assert!(!log.contains("CONSOLE"), "the page complained: {log}");
        let dom = String::from_utf8_lossy(&dump.stdout);
        let charts = dom.matches("class=\"chart").count();
        assert!(charts >= 5, "{charts} charts");
        assert_eq!(dom.matches("<svg").count(), charts, "every chart is drawn");
        assert_eq!(dom.matches("chart drawn").count(), charts);
        assert!(dom.matches("<img src=\"data:image/png").count() >= 20, "the gallery is there");
    }
    // Without JavaScript the numbers stand in tables.
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.matches("<table>").count() >= 8);
    let shot = folder.path().join("report.png");
    open(browser, folder.path(), &page, &[&format!("--screenshot={}", shot.display())]);
    let picture = fs::read(&shot).unwrap();
    assert!(picture.len() > 30_000, "a screenshot of {} bytes", picture.len());
}
