//! Who may do what: one table.

use std::collections::BTreeSet;
use std::fmt;

use crate::KeyError;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Health,
    Create,
    Rotate,
    Versions,
    Generate,
    Rewrap,
    Destroy,
    Unwrap,
}

impl Act {
    pub const ALL: [Self; 8] = [
        Self::Health,
        Self::Create,
        Self::Rotate,
        Self::Versions,
        Self::Generate,
        Self::Rewrap,
        Self::Destroy,
        Self::Unwrap,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Create => "create",
            Self::Rotate => "rotate",
            Self::Versions => "versions",
            Self::Generate => "generate",
            Self::Rewrap => "rewrap",
            Self::Destroy => "destroy",
            Self::Unwrap => "unwrap",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The known callers, by username as the API server tells it: `system:serviceaccount:NAMESPACE:NAME`.
#[derive(Clone, Debug)]
pub struct Callers {
    operator: String,
    unwrappers: BTreeSet<String>,
}

impl Callers {
    /// Whoever unwraps gets plain keys, and whoever makes keys decides which: no caller may be both.
    pub fn new(operator: String, unwrappers: BTreeSet<String>) -> Result<Self, KeyError> {
        if operator.is_empty() || unwrappers.contains("") {
            return Err(KeyError::Invalid("a caller without a name".into()));
        }
        if unwrappers.contains(&operator) {
            return Err(KeyError::Invalid(format!(
                "{operator} can't be the operator and unwrap keys"
            )));
        }
        Ok(Self { operator, unwrappers })
    }

    /// Whether somebody may.
    pub fn may(&self, who: &str, act: Act) -> bool {
        let is_operator = who == self.operator;
        let is_unwrapper = self.unwrappers.contains(who);
        match act {
            Act::Health => is_operator || is_unwrapper,
            Act::Create | Act::Rotate | Act::Versions | Act::Generate | Act::Rewrap | Act::Destroy => {
                is_operator
            }
            Act::Unwrap => is_unwrapper,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_the_operator_and_unwraps() {
        let unwrappers = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert!(Callers::new("a".into(), unwrappers.clone()).is_err());
        assert!(Callers::new(String::new(), unwrappers.clone()).is_err());
        assert!(Callers::new("x".into(), [String::new()].into()).is_err());
        let callers = Callers::new("o".into(), unwrappers).unwrap();
        for act in Act::ALL {
            let (operator, unwrapper) = (callers.may("o", act), callers.may("a", act));
            assert_eq!(operator && unwrapper, act == Act::Health, "{act}");
            assert!(operator || unwrapper, "{act}");
            assert!(!callers.may("stranger", act) && !callers.may("", act), "{act}");
        }
    }
}
