//! What a message may cost, and how what it costs compares.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::failure::Failure;

/// Of the budget. What is more above it fails, what is more below it is told.
const TOLERANCE: f64 = 0.03;
/// Of allocations, where 3% would be next to nothing. One more a bulk of 100 is noticed.
const LEAST_ALLOCATIONS: f64 = 0.005;

pub(super) const INSTRUCTIONS: &str = "instructions";
pub(super) const ALLOCATIONS: &str = "allocations";

/// What one message takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cost {
    pub(super) instructions: f64,
    pub(super) allocations: f64,
    pub(super) c_library: f64,
}

/// What the program was built by and for: instructions compare only where it is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) rustc: String,
    pub(super) target: String,
}

/// A cost a scenario. As text it is the file that is checked in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Budget {
    pub(super) origin: Origin,
    pub(super) costs: BTreeMap<String, Cost>,
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# What a message may cost, as `cargo xtask counts --accept` has measured it.")?;
        writeln!(f, "# `cargo xtask counts --help` tells what is counted, and what is judged.")?;
        writeln!(f, "rustc {}", self.origin.rustc)?;
        writeln!(f, "target {}", self.origin.target)?;
        writeln!(f, "\n# scenario         instructions  allocations  C library")?;
        for (scenario, cost) in &self.costs {
            let Cost { instructions, allocations, c_library } = cost;
            writeln!(f, "{scenario:<18} {instructions:>12.0} {allocations:>12.3} {c_library:>10.0}")?;
        }
        Ok(())
    }
}

impl FromStr for Budget {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let (mut rustc, mut target) = (String::new(), String::new());
        let mut costs = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let unreadable = || Failure::new(format!("the budget has a line that is none: `{line}`"));
            let (name, values) = line.split_once(' ').ok_or_else(unreadable)?;
            match name {
                "rustc" => values.clone_into(&mut rustc),
                "target" => values.clone_into(&mut target),
                _ => {
                    let numbers = values.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
                    let numbers = numbers.map_err(|_| unreadable())?;
                    let [instructions, allocations, c_library] = numbers[..] else { return Err(unreadable()) };
                    costs.insert(name.to_owned(), Cost { instructions, allocations, c_library });
                }
            }
        }
        Ok(Self { origin: Origin { rustc, target }, costs })
    }
}

/// What was measured beside what it may be.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    measured: &'a Budget,
    budget: &'a Budget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Dearer,
    Within,
    Cheaper,
}

/// One figure that is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure<'a> {
    pub(super) scenario: &'a str,
    pub(super) name: &'static str,
    measured: f64,
    budget: f64,
    /// What is let pass even where it is more than 3%.
    least: f64,
}

impl Figure<'_> {
    pub(super) fn verdict(&self) -> Verdict {
        let tolerance = (self.budget * TOLERANCE).max(self.least);
        if self.measured > self.budget + tolerance {
            Verdict::Dearer
        } else if self.measured < self.budget - tolerance {
            Verdict::Cheaper
        } else {
            Verdict::Within
        }
    }
}

impl fmt::Display for Figure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, name, measured, budget, .. } = self;
        // Half an allocation matters, half an instruction does not.
        let decimals = if *name == ALLOCATIONS { 3 } else { 0 };
        let percent = percent(*measured, *budget);
        write!(f, "{scenario}: {measured:.decimals$} {name} a message, {percent} of a budget of {budget:.decimals$}")
    }
}

impl<'a> Comparison<'a> {
    pub(super) fn of(measured: &'a Budget, budget: &'a Budget) -> Result<Self, Failure> {
        if measured.costs.keys().ne(budget.costs.keys()) {
            return Err(Failure::new(
                "the budget is not of these scenarios; `cargo xtask counts --accept` writes it anew",
            ));
        }
        Ok(Self { measured, budget })
    }

    /// All that is to be judged.
    pub(super) fn figures(&self) -> impl Iterator<Item = Figure<'a>> {
        let comparable = self.measured.origin == self.budget.origin;
        let pairs = self.measured.costs.iter().zip(self.budget.costs.values());
        pairs.flat_map(move |((scenario, measured), budget)| {
            let instructions = Figure {
                scenario,
                name: INSTRUCTIONS,
                measured: measured.instructions,
                budget: budget.instructions,
                least: 0.0,
            };
            let allocations = Figure {
                scenario,
                name: ALLOCATIONS,
                measured: measured.allocations,
                budget: budget.allocations,
                least: LEAST_ALLOCATIONS,
            };
            comparable.then_some(instructions).into_iter().chain([allocations])
        })
    }

    pub(super) fn is_dearer(&self) -> bool {
        self.figures().any(|figure| figure.verdict() == Verdict::Dearer)
    }
}

fn percent(measured: f64, budget: f64) -> String {
    // Nothing is as good as nothing, and anything is beyond all percents of it.
    let change = if measured == budget { 0.0 } else { (measured / budget - 1.0) * 100.0 };
    format!("{change:+.1}%")
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "a message           instructions           allocations             C library")?;
        for ((scenario, measured), budget) in self.measured.costs.iter().zip(self.budget.costs.values()) {
            let columns = [
                (measured.instructions, budget.instructions, 0),
                (measured.allocations, budget.allocations, 3),
                (measured.c_library, budget.c_library, 0),
            ];
            write!(f, "{scenario:<17}")?;
            for (measured, budget, decimals) in columns {
                write!(f, " {measured:>12.decimals$} {:>9}", percent(measured, budget))?;
            }
            writeln!(f)?;
        }
        let (ours, theirs) = (&self.measured.origin, &self.budget.origin);
        if ours != theirs {
            writeln!(f, "\nInstructions are NOT JUDGED, allocations are: the compiler is not the budget's.")?;
            writeln!(f, "    here:       rustc {} for {}", ours.rustc, ours.target)?;
            writeln!(f, "    the budget: rustc {} for {}", theirs.rustc, theirs.target)?;
        }
        for (verdict, heading) in [
            (
                Verdict::Cheaper,
                "Cheaper than the budget. `cargo xtask counts --accept` lowers it, so that it stays so:",
            ),
            (
                Verdict::Dearer,
                "DEARER than the budget allows. Find out why (`callgrind_annotate` on the profiles in target/callgrind) \
                 and make it cheaper;\nor, where it is worth its price, write the new figures by `cargo xtask counts \
                 --accept` and say so in the commit:",
            ),
        ] {
            let figures: Vec<_> = self.figures().filter(|figure| figure.verdict() == verdict).collect();
            if !figures.is_empty() {
                writeln!(f, "\n{heading}")?;
                figures.iter().try_for_each(|figure| writeln!(f, "    {figure}"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(instructions: f64, allocations: f64) -> Budget {
        let origin = Origin { rustc: "1.2.3 (abc 2026-01-01)".to_owned(), target: "a-b-c".to_owned() };
        let cost = Cost { instructions, allocations, c_library: 50.0 };
        Budget { origin, costs: BTreeMap::from([("some".to_owned(), cost)]) }
    }

    /// What is said of instructions and of allocations.
    fn verdicts(measured: &Budget, budget: &Budget) -> Result<Vec<(&'static str, Verdict)>, Failure> {
        let comparison = Comparison::of(measured, budget)?;
        Ok(comparison.figures().map(|figure| (figure.name, figure.verdict())).collect())
    }

    #[test]
    fn more_than_three_percent_above_is_dearer_and_below_cheaper() -> Result<(), Failure> {
        for (instructions, verdict) in
            [(1029.0, Verdict::Within), (1031.0, Verdict::Dearer), (971.0, Verdict::Within), (969.0, Verdict::Cheaper)]
        {
            let said = verdicts(&budget(instructions, 7.0), &budget(1000.0, 7.0))?;
            assert_eq!(said, [(INSTRUCTIONS, verdict), (ALLOCATIONS, Verdict::Within)], "{instructions}");
        }
        Ok(())
    }

    #[test]
    fn of_few_allocations_one_more_a_bulk_of_a_hundred_is_dearer() -> Result<(), Failure> {
        for (allocations, verdict) in
            [(0.104, Verdict::Within), (0.11, Verdict::Dearer), (0.096, Verdict::Within), (0.09, Verdict::Cheaper)]
        {
            let said = verdicts(&budget(1000.0, allocations), &budget(1000.0, 0.1))?;
            assert_eq!(said.last(), Some(&(ALLOCATIONS, verdict)), "{allocations}");
        }
        assert_eq!(verdicts(&budget(1.0, 0.5), &budget(1.0, 0.0))?.last(), Some(&(ALLOCATIONS, Verdict::Dearer)));
        Ok(())
    }

    #[test]
    fn by_another_compiler_only_allocations_are_judged() -> Result<(), Failure> {
        let mut measured = budget(2000.0, 8.0);
        measured.origin.rustc = "1.2.4 (def 2026-02-02)".to_owned();
        assert_eq!(verdicts(&measured, &budget(1000.0, 7.0))?, [(ALLOCATIONS, Verdict::Dearer)]);
        let text = Comparison::of(&measured, &budget(1000.0, 7.0))?.to_string();
        assert!(text.contains("NOT JUDGED") && text.contains("1.2.4") && text.contains("1.2.3"), "{text}");
        Ok(())
    }

    #[test]
    fn what_is_dearer_is_named_with_what_to_do() -> Result<(), Failure> {
        let (measured, budget) = (budget(1100.0, 7.0), budget(1000.0, 7.0));
        let comparison = Comparison::of(&measured, &budget)?;
        let text = comparison.to_string();
        assert!(comparison.is_dearer());
        assert!(text.contains("some: 1100 instructions a message, +10.0% of a budget of 1000"), "{text}");
        assert!(text.contains("--accept") && !text.contains("NOT JUDGED"), "{text}");
        Ok(())
    }

    #[test]
    fn a_scenario_without_a_budget_is_an_error() {
        let mut measured = budget(1.0, 1.0);
        let new = Cost { instructions: 1.0, allocations: 1.0, c_library: 1.0 };
        measured.costs.insert("new".to_owned(), new);
        assert!(Comparison::of(&measured, &budget(1.0, 1.0)).is_err());
        assert!(Comparison::of(&budget(1.0, 1.0), &measured).is_err());
    }

    #[test]
    fn the_file_is_read_as_it_was_written() -> Result<(), Failure> {
        let written = budget(1234.0, 7.125);
        assert_eq!(written.to_string().parse::<Budget>()?, written);
        assert!("some 1 2".parse::<Budget>().is_err());
        assert!("some 1 2 x".parse::<Budget>().is_err());
        Ok(())
    }
}
