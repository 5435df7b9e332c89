//! A graph of steps, run on two workers in the order in which they are listed, each as soon as what it
//! needs is done. Every step prints a line with its time, and what takes long is named while it runs; the first
//! failure ends the run and names its log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a step found: it did its work, or nothing was left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Fresh,
}

/// How often the steps that run are named.
const TELL_EVERY: Duration = Duration::from_secs(30);

type Work<'a> = Box<dyn FnOnce() -> Result<Outcome> + Send + 'a>;

/// One step. `needs` names steps of the same graph; a name that the graph doesn't hold is an error.
pub struct Step<'a> {
    name: String,
    needs: Vec<String>,
    log: Option<PathBuf>,
    work: Work<'a>,
}

impl std::fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("name", &self.name)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

impl<'a> Step<'a> {
    pub fn new(
        name: impl Into<String>,
        needs: &[&str],
        work: impl FnOnce() -> Result<Outcome> + Send + 'a,
    ) -> Self {
        Step {
            name: name.into(),
            needs: needs.iter().map(ToString::to_string).collect(),
            log: None,
            work: Box::new(work),
        }
    }

    /// The log that a failure of this step points to.
    pub fn log(mut self, log: PathBuf) -> Self {
        self.log = Some(log);
        self
    }
}

struct Board<'a> {
    waiting: Vec<Step<'a>>,
    running: BTreeMap<String, Instant>,
    done: BTreeSet<String>,
    failed: Option<anyhow::Error>,
    count: usize,
}

/// Runs the graph; returns when every step is done, or with the first failure once the other worker's
/// step has ended too.
pub fn run(steps: Vec<Step<'_>>) -> Result<()> {
    let total = steps.len();
    check(&steps)?;
    let board = Mutex::new(Board {
        waiting: steps,
        running: BTreeMap::new(),
        done: BTreeSet::new(),
        failed: None,
        count: 0,
    });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| worker(&board, &changed, total));
        }
        scope.spawn(|| tell(&board, &changed));
    });
    let board = board
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    match board.failed {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn check(steps: &[Step<'_>]) -> Result<()> {
    let mut before = BTreeSet::new();
    for step in steps {
        if let Some(missing) = step.needs.iter().find(|n| !before.contains(n.as_str())) {
            bail!(
                "step {:?} needs {missing:?}, which no earlier step is called",
                step.name
            );
        }
        before.insert(step.name.as_str());
    }
    Ok(())
}

fn worker<'a>(board: &Mutex<Board<'a>>, changed: &Condvar, total: usize) {
    let lock = || board.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    loop {
        let step = {
            let mut state = lock();
            loop {
                if state.waiting.is_empty() || state.failed.is_some() {
                    return;
                }
                let ready = state
                    .waiting
                    .iter()
                    .position(|s| s.needs.iter().all(|n| state.done.contains(n)));
                if let Some(at) = ready {
                    let step = state.waiting.remove(at);
                    state.running.insert(step.name.clone(), Instant::now());
                    break step;
                }
                state = changed
                    .wait(state)
                    .unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        };
        let begin = Instant::now();
        let result = (step.work)();
        let mut state = lock();
        state.running.remove(&step.name);
        state.count += 1;
        let place = format!("[{:>2}/{total}]", state.count);
        let took = shown(begin.elapsed());
        match result {
            Ok(Outcome::Done) => println!("{place} {:<38} {took:>8}", step.name),
            Ok(Outcome::Fresh) => println!("{place} {:<38} {:>8}", step.name, "ready"),
            Err(error) => {
                println!("{place} {:<38} {took:>8}  FAILED", step.name);
                let error = match step.log {
                    Some(log) => error.context(format!("{} failed; its log: {}", step.name, log.display())),
                    None => error.context(format!("{} failed", step.name)),
                };
                state.failed.get_or_insert(error);
            }
        }
        state.done.insert(step.name);
        changed.notify_all();
    }
}

/// Says every half minute what is being done.
fn tell(board: &Mutex<Board<'_>>, changed: &Condvar) {
    let mut state = board.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut told = Instant::now();
    while !(state.running.is_empty() && (state.waiting.is_empty() || state.failed.is_some())) {
        if told.elapsed() >= TELL_EVERY {
            let all: Vec<String> = state
                .running
                .iter()
                .map(|(name, begin)| format!("{name} ({})", shown(begin.elapsed())))
                .collect();
            println!("        … {}", all.join(", "));
            told = Instant::now();
        }
        let waited = changed.wait_timeout(state, TELL_EVERY.saturating_sub(told.elapsed()));
        state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
    }
}

/// A duration for people: `0.4 s`, `12.3 s`, `4 min 05 s`.
pub fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_starts_only_when_what_it_needs_is_done() {
        let log = Mutex::new(Vec::new());
        let note = |name: &'static str| {
            let log = &log;
            move || {
                log.lock().unwrap().push(name);
                Ok(Outcome::Done)
            }
        };
        run(vec![
            Step::new("a", &[], note("a")),
            Step::new("b", &["a"], note("b")),
            Step::new("c", &["b"], note("c")),
        ])
        .unwrap();
        assert_eq!(*log.lock().unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn a_failure_names_the_step_and_its_log_and_starts_nothing_more() {
        let error = run(vec![
            Step::new("a", &[], || bail!("no disk")).log("/logs/a.log".into()),
            Step::new("b", &["a"], || panic!("must not start")),
        ])
        .unwrap_err();
        assert_eq!(format!("{error:#}"), "a failed; its log: /logs/a.log: no disk");
    }

    #[test]
    fn a_need_that_no_step_meets_is_an_error_before_anything_runs() {
        let error = run(vec![Step::new("a", &["b"], || panic!("must not start"))]).unwrap_err();
        assert!(error.to_string().contains("\"b\""), "{error}");
    }
}
