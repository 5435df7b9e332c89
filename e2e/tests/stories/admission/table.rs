//! A table of objects, good and bad: what is changed in a good one, and whether the API server takes it then. The refusal's
//! message is part of the promise: it is all that the person at the other end gets.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::api::{Answer, Api};

/// What is set, by JSON pointer.
pub type Changes = Vec<(&'static str, Value)>;

/// What the API server makes of an object.
#[derive(Clone)]
pub enum Expect {
    Taken,
    /// Refused, with all of these in the message.
    Refused(Vec<String>),
}

/// One object, as what differs from a good one.
pub struct Case {
    pub name: String,
    pub changes: Changes,
    pub expect: Expect,
}

/// Cases of one kind.
pub struct Table {
    pub kind: &'static str,
    pub path: String,
    pub base: Value,
    pub cases: Vec<Case>,
}

/// How many cases there were, and what went otherwise than expected.
#[derive(Default)]
pub struct Tally {
    pub taken: usize,
    pub refused: usize,
    pub wrong: Vec<String>,
}

pub fn takes(name: impl Into<String>, changes: impl Into<Changes>) -> Case {
    Case {
        name: name.into(),
        changes: changes.into(),
        expect: Expect::Taken,
    }
}

/// Several parts of a message are separated by an ellipsis.
pub fn refuses(name: impl Into<String>, changes: impl Into<Changes>, message: &str) -> Case {
    Case {
        name: name.into(),
        changes: changes.into(),
        expect: Expect::Refused(message.split('…').map(|part| part.trim().to_owned()).collect()),
    }
}

/// One field.
pub fn one(path: &'static str, value: impl Into<Value>) -> Changes {
    vec![(path, value.into())]
}

/// The field isn't there.
pub fn absent() -> Value {
    json!({"$absent": true})
}

/// A whole number's bounds from both sides.
pub fn numbers(path: &'static str, least: i64, most: i64) -> Vec<Case> {
    within(path, least, most, |number| vec![(path, json!(number))])
}

/// As [`numbers`], where a number is not set by its path alone.
pub fn within(path: &str, least: i64, most: i64, set: impl Fn(i64) -> Changes) -> Vec<Case> {
    let field = path.rsplit('/').next().unwrap_or(path);
    let said = |bound: &str, value: i64| format!("{field}…should be {bound} than or equal to {value}");
    vec![
        takes(format!("{field}: {least} is the least"), set(least)),
        takes(format!("{field}: {most} is the most"), set(most)),
        refuses(
            format!("{field}: {} is too little", least - 1),
            set(least - 1),
            &said("greater", least),
        ),
        refuses(
            format!("{field}: {} is too much", most + 1),
            set(most + 1),
            &said("less", most),
        ),
    ]
}

/// A text's length, at its end and one beyond.
pub fn lengths(path: &'static str, most: usize, make: fn(usize) -> String) -> Vec<Case> {
    lengths_of(path, most, make, |text| vec![(path, json!(text))])
}

/// As [`lengths`], where a text is not set by its path alone.
pub fn lengths_of(
    path: &str,
    most: usize,
    make: fn(usize) -> String,
    set: impl Fn(String) -> Changes,
) -> Vec<Case> {
    let field = path.rsplit('/').next().unwrap_or(path);
    let (fits, beyond) = (make(most), make(most + 1));
    assert_eq!((fits.chars().count(), beyond.chars().count()), (most, most + 1));
    vec![
        takes(format!("{field}: {most} characters"), set(fits)),
        refuses(
            format!("{field}: {} characters", most + 1),
            set(beyond),
            &format!("{field}…Too long: may not be more than {most} bytes"),
        ),
    ]
}

/// Letters.
pub fn letters(count: usize) -> String {
    "a".repeat(count)
}

/// An object with changes made to it. What is on the way to a field is made.
pub fn changed(base: &Value, changes: &[(&'static str, Value)]) -> Value {
    let mut object = base.clone();
    for (path, value) in changes {
        let (parent, field) = path.rsplit_once('/').unwrap();
        let mut at = &mut object;
        for step in parent.split('/').skip(1) {
            at = match at {
                Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
                other => &mut other[step],
            };
        }
        match at {
            Value::Array(items) => items[field.parse::<usize>().unwrap()] = value.clone(),
            other if *value == absent() => drop(other.as_object_mut().unwrap().remove(field)),
            other => other[field] = value.clone(),
        }
    }
    object
}

/// Whether an answer is the expected one; else what is wrong.
pub fn judge(what: &str, expect: &Expect, answer: &Answer) -> Result<(), String> {
    let message = answer.message();
    match expect {
        Expect::Taken if answer.is_taken() => Ok(()),
        Expect::Taken => Err(format!("{what}: is refused: {message}")),
        Expect::Refused(parts) if answer.is_taken() => {
            Err(format!("{what}: is taken; expected: {}", parts.join(" … ")))
        }
        Expect::Refused(parts) => match parts.iter().find(|part| !message.contains(*part)) {
            None => Ok(()),
            Some(part) => Err(format!("{what}: the refusal doesn't say {part:?}: {message}")),
        },
    }
}

impl Tally {
    pub fn add(&mut self, expect: &Expect, judged: Result<(), String>) {
        match expect {
            Expect::Taken => self.taken += 1,
            Expect::Refused(_) => self.refused += 1,
        }
        self.wrong.extend(judged.err());
    }

    pub fn join(&mut self, other: Tally) {
        self.taken += other.taken;
        self.refused += other.refused;
        self.wrong.extend(other.wrong);
    }
}

impl Table {
    /// Asks about every case, four at a time.
    pub fn run(&self, api: &Api) -> Tally {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut tally = Tally::default();
            while let Some(case) = self.cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                let answer = api.try_create(&self.path, &changed(&self.base, &case.changes));
                let what = format!("{}: {}", self.kind, case.name);
                tally.add(&case.expect, judge(&what, &case.expect, &answer));
            }
            tally
        };
        let mut all = Tally::default();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                all.join(worker.join().unwrap());
            }
        });
        all
    }
}
