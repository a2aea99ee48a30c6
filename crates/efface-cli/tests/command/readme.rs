//! What the README and the examples beside it show to be typed works as it stands there.

use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// The blocks of the README that are fenced with this language.
fn blocks(language: &str) -> Vec<String> {
    let readme = text("README.md");
    let fence = format!("```{language}\n");
    let blocks = readme.split(&fence).skip(1);
    let blocks = blocks.map(|after| after.split("```").next().unwrap().to_owned());
    blocks.collect()
}

/// Runs lines in a new directory that holds data-samples, with the command on the path.
#[track_caller]
fn run(lines: &str) {
    let room = tempfile::tempdir().unwrap();
    copy(
        &Path::new(ROOT).join("data-samples"),
        &room.path().join("data-samples"),
    );
    let built = Path::new(env!("CARGO_BIN_EXE_efface")).parent().unwrap();
    let path = format!("{}:{}", built.display(), std::env::var("PATH").unwrap());
    let ran = Command::new("bash")
        .args(["-euo", "pipefail", "-c", lines])
        .current_dir(room.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{lines}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn every_shell_line_of_the_readme_runs() {
    let (mut run_here, mut run_by_ci) = (0, 0);
    for block in blocks("sh") {
        if block.starts_with("cargo ") {
            // These are what the whole check of the project consists of.
            let script = text(".ci/run");
            for line in block.lines() {
                let command = line.split('#').next().unwrap().trim();
                assert!(script.contains(&format!("\nstep {command}\n")), "{command}");
                run_by_ci += 1;
            }
        } else {
            run(&block);
            run_here += 1;
        }
    }
    assert_eq!((run_here, run_by_ci), (1, 2));
}

#[test]
fn the_line_for_cron_runs() {
    let block = blocks("crontab").concat();
    let command = block
        .split_whitespace()
        .skip(5)
        .collect::<Vec<_>>()
        .join(" ");
    run(&command
        .replace("/srv/", "data-samples/")
        .replace("/var/log/", ""));
}

#[test]
fn the_service_of_systemd_runs() {
    let unit = text("examples/systemd/efface-compact.service");
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/"));
    run(&command.unwrap().replace("/srv/", "data-samples/"));
}
