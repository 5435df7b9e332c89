//! `cargo xtask coverage`: which lines of the product the tests run. In: the unit tests of the crates below and, if
//! asked for, stories against an instrumented operator on the host. Out: a table by file, and
//! `.lab/coverage/lcov.info`, which editors can show.
//!
//! Only lines of the product count: test files and `mod tests` are left out, for they are always covered.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::demo;
use crate::lab::{Lab, preflight, shell};
use crate::operator::StandIn;
use crate::tools::Tool;

const CARGO_LLVM_COV: Tool = Tool {
    name: "cargo-llvm-cov",
    version: "0.9.1",
    says: &["llvm-cov", "--version"],
    takes: "a minute",
};
/// The version of LLVM in rustc (`rustc -vV`); profiles of one are not read by another. Debian's, because a
/// toolchain without rustup's component `llvm-tools` has none.
const LLVM: &str = "22";
const CRATES: [&str; 5] = [
    "freehold-crds",
    "freehold-keys",
    "freehold-pki",
    "freehold-plan",
    "freehold",
];
/// Where the lines of these crates lie.
const FOLDERS: [&str; 2] = ["crds/src/", "operator/"];
/// Files of tests beside the product: `mod tests;`, and the API server in memory.
const TEST_FILES: [&str; 2] = ["tests.rs", "api_double.rs"];
/// The stories for `--with-lab`, by module. Left out is what kills operators, for a kill writes no profile, and what
/// looks at the Deployment's pods, which aren't there.
const STORIES: [&str; 4] = ["isolation::", "leaving::", "operator::", "serving::"];
const SKIPPED: &str = "the_operator_runs_twice";

/// Lines of one file, or of all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Lines {
    all: usize,
    covered: usize,
}

impl Lines {
    #[allow(clippy::cast_precision_loss, reason = "no file has 2^52 lines")]
    fn percent(self) -> f64 {
        100.0 * self.covered as f64 / self.all.max(1) as f64
    }
}

/// Measures and prints; an error if less than `fail_under` percent of all lines are covered.
pub fn run(lab: &Lab, with_lab: bool, fail_under: Option<f64>) -> Result<()> {
    preflight::check(lab)?;
    let coverage = Coverage {
        lab,
        tool: tools(lab)?,
    };
    let crates = CRATES.into_iter().flat_map(|name| ["-p", name]);
    println!("== unit tests of {}", CRATES.join(", "));
    // Of the run before; what it measured of sources that changed since would be in the way.
    coverage.run(coverage.command("clean").arg("--workspace"))?;
    coverage.run(
        coverage
            .command("test")
            .args(["--no-report", "--locked"])
            .args(crates),
    )?;
    if with_lab {
        coverage.stories()?;
    }
    let lcov = coverage.folder().join("lcov.info");
    coverage.run(
        coverage
            .command("report")
            .args(["--lcov", "--output-path"])
            .arg(&lcov),
    )?;
    let files = read(&lab.repo, &fs::read_to_string(&lcov)?)?;
    let total = files.values().fold(Lines::default(), |sum, file| Lines {
        all: sum.all + file.all,
        covered: sum.covered + file.covered,
    });
    print!("{}", table(&files, total));
    println!("line by line: {}", lcov.display());
    match fail_under {
        Some(least) if total.percent() < least => {
            bail!(
                "{:.1} % of the lines are covered, less than {least} %",
                total.percent()
            )
        }
        _ => Ok(()),
    }
}

/// Installs what measures; the path of `cargo-llvm-cov`.
fn tools(lab: &Lab) -> Result<PathBuf> {
    let log = lab.log("coverage");
    if shell::capture(Command::new(format!("llvm-cov-{LLVM}")).arg("--version")).is_err() {
        println!("== installing llvm-{LLVM}");
        let apt = |args: &[&str]| shell::run(Command::new("apt-get").args(args), &log);
        apt(&["update"])?;
        apt(&[
            "install",
            "-y",
            "--no-install-recommends",
            &format!("llvm-{LLVM}"),
        ])?;
    }
    CARGO_LLVM_COV.install(lab)
}

struct Coverage<'a> {
    lab: &'a Lab,
    tool: PathBuf,
}

impl Coverage<'_> {
    fn folder(&self) -> PathBuf {
        self.lab.dir.join("coverage")
    }

    fn target(&self) -> PathBuf {
        self.folder().join("target")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.tool);
        command
            .current_dir(&self.lab.repo)
            .env("CARGO_LLVM_COV_TARGET_DIR", self.target())
            .env("LLVM_COV", format!("llvm-cov-{LLVM}"))
            .env("LLVM_PROFDATA", format!("llvm-profdata-{LLVM}"))
            .args(["llvm-cov", verb]);
        command
    }

    fn run(&self, command: &mut Command) -> Result<()> {
        shell::run(command, &self.lab.log("coverage"))
    }

    /// Stories with the instrumented operator in the place of the Deployment's.
    fn stories(&self) -> Result<()> {
        println!("== the lab and Freehold in it");
        drop(demo::prepare(self.lab)?);
        println!("== stories with the instrumented operator");
        let build = ["--no-report", "--locked", "-p", "freehold", "--", "--version"];
        self.run(self.command("run").args(build))?;
        let binary = self.target().join("debug/freehold");
        let name = self.lab.repo.file_name().context("the checkout has no name")?;
        // As cargo-llvm-cov names profiles, so that its report finds this one.
        let profile = self.target().join(format!("{}-%p-%m.profraw", name.display()));
        let profile = profile.to_str().context("the checkout's path is no UTF-8")?;
        let stand_in = StandIn::start(self.lab, &binary, &[("LLVM_PROFILE_FILE", profile)])?;
        let mut stories = Command::new("cargo");
        let test = [
            "test",
            "--locked",
            "-p",
            "freehold-e2e",
            "--features",
            "lab",
            "--test",
            "stories",
            "--",
        ];
        stories
            .current_dir(&self.lab.repo)
            .args(test)
            .args(["--test-threads=1", "--nocapture"]);
        let told = stories.args(STORIES).args(["--skip", SKIPPED]).status()?;
        // In order, or there is no profile.
        stand_in.process.stop()?;
        if !told.success() {
            bail!("the stories failed ({told})");
        }
        Ok(())
    }
}

/// Lines by file of the product, from what `llvm-cov` exports in lcov's format: `SF:` begins a file, `DA:` tells how
/// often a line ran.
fn read(repo: &Path, lcov: &str) -> Result<BTreeMap<String, Lines>> {
    let mut files = BTreeMap::new();
    let mut current = None;
    for line in lcov.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            current = match product(repo, Path::new(path)) {
                Some(name) => Some((name, begin_of_tests(&fs::read_to_string(path)?))),
                None => None,
            };
        } else if let (Some(entry), Some((name, end))) = (line.strip_prefix("DA:"), &current) {
            let mut fields = entry.split(',').map(str::parse::<usize>);
            let (Some(Ok(number)), Some(Ok(count))) = (fields.next(), fields.next()) else {
                bail!("{line} is not lcov's format");
            };
            if number < *end {
                let file: &mut Lines = files.entry(name.clone()).or_default();
                file.all += 1;
                file.covered += usize::from(count > 0);
            }
        }
    }
    Ok(files)
}

/// The name of a file of the product, from the checkout's root.
fn product(repo: &Path, path: &Path) -> Option<String> {
    let name = path.strip_prefix(repo).ok()?.to_str()?;
    let file = path.file_name()?.to_str()?;
    let is_test = name.contains("/tests/") || TEST_FILES.contains(&file);
    let is_ours = FOLDERS.iter().any(|folder| name.starts_with(folder));
    (is_ours && !is_test).then(|| name.to_owned())
}

/// The number of the line at which `mod tests { … }`, the end of a file, begins.
fn begin_of_tests(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let is_module = |rest: &[&str]| {
        let mut rest = rest.iter().skip_while(|line| line.starts_with("#["));
        rest.next()
            .is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let begins = |(index, line): (usize, &&str)| {
        (*line == "#[cfg(test)]" && is_module(&lines[index..])).then_some(index + 1)
    };
    lines.iter().enumerate().find_map(begins).unwrap_or(usize::MAX)
}

fn table(files: &BTreeMap<String, Lines>, total: Lines) -> String {
    use std::fmt::Write;
    let mut text = format!("{:<48}{:>8}{:>9}{:>8}\n", "file", "lines", "covered", "%");
    let all = files
        .iter()
        .map(|(name, lines)| (name.as_str(), *lines))
        .chain([("total", total)]);
    for (name, lines) in all {
        let _ = writeln!(
            text,
            "{name:<48}{:>8}{:>9}{:>8.1}",
            lines.all,
            lines.covered,
            lines.percent()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_product_count() {
        let repo = std::env::temp_dir().join(format!("freehold-coverage-{}", std::process::id()));
        let file = repo.join("crds/src/a.rs");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(
            &file,
            "#[cfg(test)]\nmod double;\nfn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n}\n",
        )
        .unwrap();
        let others = [
            "crds/src/tests.rs",
            "operator/plan/tests/plan/main.rs",
            "e2e/src/main.rs",
        ];
        let mut lcov = format!("SF:{}\nDA:3,7\nDA:2,0\nDA:6,1\nend_of_record\n", file.display());
        for other in others {
            lcov += &format!("SF:{}\nDA:1,1\nend_of_record\n", repo.join(other).display());
        }
        let files = read(&repo, &lcov).unwrap();
        fs::remove_dir_all(&repo).unwrap();
        assert_eq!(
            files,
            BTreeMap::from([("crds/src/a.rs".to_owned(), Lines { all: 2, covered: 1 })])
        );
        assert!(read(&repo, "SF:x\nDA:1\n").unwrap().is_empty());
    }
}
