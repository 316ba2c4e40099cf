//! What a callback is told.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// What one run of a [`Timeit`](crate::Timeit) took, as its callback gets it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TimeitReport {
    /// The name of the root, whose run this is.
    pub name: Cow<'static, str>,
    /// How long each transaction took, the root's among them: in the order they ended, so the inner ones first.
    pub transactions: Transactions,
    /// Transactions whose name was taken in this report when they ended. Each was logged as an error.
    pub duplicates: Vec<(Cow<'static, str>, Duration)>,
    /// How the root's run ended.
    pub outcome: TimeitOutcome,
}

/// How a run of a [`Timeit`](crate::Timeit) ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeitOutcome {
    /// It came to its end. That it gave an `Err` is not seen by [`run`](crate::Timeit::run).
    Completed,
    /// It gave an `Err`, of which this is the text.
    Failed(String),
    /// It panicked, with this message.
    Panicked(String),
    /// It was dropped before its end: by a timeout, a `select!`, a shutdown.
    Cancelled,
}

#[cfg(feature = "metrics")]
impl TimeitOutcome {
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
            Self::Panicked(_) => "panicked",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The transactions of a report and how long each took, by name, in the order they ended.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Transactions(Vec<(Cow<'static, str>, Duration)>);

impl Transactions {
    /// How long the transaction of this name took.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Duration> {
        self.iter().find(|(known, _)| *known == name).map(|(_, took)| took)
    }

    /// Name and time of each, in the order they ended.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Duration)> {
        self.0.iter().map(|(name, took)| (&**name, *took))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none, which is so in no report: its root is among them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one, unless its name is taken; then it is given back.
    pub(super) fn add(&mut self, name: Cow<'static, str>, took: Duration) -> Result<(), Cow<'static, str>> {
        if self.get(&name).is_some() {
            return Err(name);
        }
        self.0.push((name, took));
        Ok(())
    }
}

impl fmt::Debug for Transactions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl IntoIterator for Transactions {
    type Item = (Cow<'static, str>, Duration);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
