//! What came of all machines.

use anyhow::{Result, bail};

use super::{Run, machine};

/// Prints what failed, what the others told if it `is_asked_for`, then a table of kernels and tests.
///
/// # Errors
/// If a kernel's machine failed, or one of its tests was not passed.
pub(super) fn show(names: &[&str], runs: &[Run<'_>], is_asked_for: bool) -> Result<()> {
    let mut failed = Vec::new();
    let mut table = format!("\n{:<14} {:<30} {:>7}", "kernel", "release", "seconds");
    table.extend(names.iter().map(|name| format!("  {name:<8}")));
    for (kernel, outcome) in runs {
        let (name, release) = (kernel.row.name, &kernel.release);
        table += &format!("\n{name:<14} {release:<30} {:>7.1}", outcome.took.as_secs_f64());
        let mut is_good = outcome.fault.is_none() && machine::status(&outcome.report) == Some(0);
        for test in names {
            let is_there = kernel.row.tests.contains(test);
            let result = if is_there { result(&outcome.report, test) } else { "-" };
            is_good &= !is_there || result == "ok";
            table += &format!("  {result:<8}");
        }
        if !is_good {
            let fault = outcome.fault.as_deref().unwrap_or("its tests failed");
            println!("\n== {name} ({release}): {fault}\n{}", outcome.report.trim_end());
            failed.push(name);
        } else if is_asked_for {
            println!("\n== {name} ({release})\n{}", outcome.report.trim_end());
        }
    }
    println!("{table}\n");
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed on {}", failed.join(", "))
}

/// What libtest says of a test; `missing` if it says nothing.
fn result<'a>(report: &'a str, name: &str) -> &'a str {
    let line = report.lines().find_map(|line| line.strip_prefix("test ")?.strip_prefix(name));
    line.and_then(|rest| rest.rsplit_once("... ")).map_or("missing", |(_, result)| result.trim())
}

#[cfg(test)]
mod tests {
    use super::result;

    #[test]
    fn results_are_read_from_what_libtest_prints() {
        let report = "running 2 tests\ntest counts ... ok\ntest netem - should panic ... FAILED\n";
        assert_eq!(result(report, "counts"), "ok");
        assert_eq!(result(report, "netem"), "FAILED");
        assert_eq!(result(report, "attaches"), "missing");
    }
}
