//! A word in the spec asks for a rotation, once: another word asks for another one.

use freehold_crds::{OperationType, Phase};

use crate::input::{Input, Operation};
use crate::operation::of_type;

pub struct Word<'a> {
    pub text: &'a str,
    /// What it asks for.
    pub of: OperationType,
    /// Which word an operation of that type was for.
    pub token: fn(&Operation) -> Option<&str>,
}

impl<'a> Word<'a> {
    /// Itself, unless it was heard.
    pub fn unheard(self, input: &Input<'_>) -> Option<&'a str> {
        (!self.brought(input, |phase| phase != Phase::Cancelled)).then_some(self.text)
    }

    /// Itself, once it got what it asked for.
    pub fn acknowledged(self, input: &Input<'_>) -> Option<String> {
        self.brought(input, |phase| phase == Phase::Succeeded)
            .then(|| self.text.to_owned())
    }

    fn brought(&self, input: &Input<'_>, is: impl Fn(Phase) -> bool) -> bool {
        of_type(input, self.of)
            .any(|(_, operation)| (self.token)(operation) == Some(self.text) && is(operation.status.phase))
    }
}
