//! What test programs say of their tests, held against which they are.

use std::{fmt::Write as _, ops::AddAssign, process::ExitStatus, time::Duration};

/// Tests of one program, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Counts {
    /// From libtest's last lines: `test result: ok. 8 passed; 0 failed; 0 ignored; …`.
    pub(super) fn read(said: &str) -> Self {
        let mut counts = Self::default();
        for line in said.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            let of = |what: &str| -> usize {
                let mut parts = line.split(['.', ';']).map(str::trim);
                let number = parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok());
                number.unwrap_or(0)
            };
            counts += Self { passed: of("passed"), failed: of("failed"), skipped: of("ignored") };
        }
        counts
    }
}

/// What became of a program.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: String,
    /// Tests that it was to run.
    pub(super) n_tests: usize,
    pub(super) counts: Counts,
    /// `None` if it could not be started.
    pub(super) status: Option<ExitStatus>,
    pub(super) took: Duration,
}

impl Outcome {
    /// It ended well and passed each of the tests that it listed before: one that is skipped, or that ends the program
    /// with status 0 amid the tests, is not passed.
    pub(super) fn is_good(&self) -> bool {
        let all = Counts { passed: self.n_tests, ..Counts::default() };
        self.status.is_some_and(|status| status.success()) && self.counts == all
    }

    /// A line for it.
    pub(super) fn line(&self) -> String {
        let Counts { passed, failed, skipped } = self.counts;
        let mut line = format!("{}: {passed} of {} passed", self.name, self.n_tests);
        for (n, what) in [(failed, "failed"), (skipped, "skipped")] {
            if n > 0 {
                let _ = write!(line, ", {n} {what}");
            }
        }
        if !self.is_good() {
            let end = self.status.map_or("could not be started".to_owned(), |status| status.to_string());
            let _ = write!(line, ": FAILED ({end})");
        }
        let _ = write!(line, ", {:.1} s", self.took.as_secs_f64());
        line
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn counts_are_the_sum_of_what_libtest_says() {
        let said = "running 2 tests\ntest a ... ok\n\
                    test result: ok. 287 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 2.98s\n\
                    test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.1s\n";
        assert_eq!(Counts::read(said), Counts { passed: 292, failed: 2, skipped: 1 });
        assert_eq!(Counts::read("test steering ... "), Counts::default());
    }

    #[test]
    fn good_is_what_ended_well_and_passed_all_that_there_is() {
        let (well, badly) = (ExitStatus::from_raw(0), ExitStatus::from_raw(101 << 8));
        for ([passed, failed, skipped], status, expected) in [
            ([3, 0, 0], Some(well), true),
            ([2, 0, 1], Some(well), false),
            ([2, 0, 0], Some(well), false),
            ([4, 0, 0], Some(well), false),
            ([3, 0, 0], Some(badly), false),
            ([2, 1, 0], Some(badly), false),
            ([0, 0, 0], None, false),
        ] {
            let counts = Counts { passed, failed, skipped };
            let outcome = Outcome {
                name: "steering".to_owned(),
                n_tests: 3,
                counts,
                status,
                took: Duration::from_millis(1500),
            };
            assert_eq!(outcome.is_good(), expected, "{outcome:?}");
            assert_eq!(outcome.line().contains("FAILED"), !expected, "{}", outcome.line());
        }
    }
}
