//! Rules on the text of any file, line by line.

use super::Violation;

/// A file that is longer has a second subject.
const LINES_MAX: usize = 700;

/// Words that stand for work not done. Put together here, for this file is read too.
const UNFINISHED: [&str; 3] = [concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Folders of the machines that this is built on.
const MACHINES: [&str; 3] = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];

pub(super) fn check(file: &str, text: &str, violations: &mut Vec<Violation>) {
    let mut report = |line, rule: String, why| {
        violations.push(Violation { file: file.to_string(), line, rule, why });
    };
    let is_from_elsewhere = file.contains("LICENSE") || file == "Cargo.lock";
    if is_from_elsewhere {
        return;
    }
    let n_lines = text.lines().count();
    if file.ends_with(".rs") && n_lines > LINES_MAX {
        report(LINES_MAX + 1, format!("{n_lines} lines"), "look for the second subject, and give it a file");
    }
    for (index, line) in text.lines().enumerate() {
        for word in UNFINISHED.iter().filter(|word| has_word(line, word)) {
            report(index + 1, format!("`{word}`"), "do it now, or file an issue");
        }
        for folder in MACHINES.iter().filter(|folder| has_absolute(line, folder)) {
            report(index + 1, format!("a path under {folder}"), "it is there on one machine only");
        }
    }
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

/// Whether the folder is at a path's beginning, and not further down in another path.
fn has_absolute(line: &str, folder: &str) -> bool {
    let is_path = |c: char| c.is_alphanumeric() || "_-.}/~*".contains(c);
    line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(is_path))
}

#[cfg(test)]
mod tests {
    use super::{LINES_MAX, MACHINES, UNFINISHED, check};

    fn count(file: &str, text: &str) -> usize {
        let mut violations = Vec::new();
        check(file, text, &mut violations);
        violations.len()
    }

    #[test]
    fn lines() {
        let [fix, marks, _] = UNFINISHED;
        let [machine, ..] = MACHINES;
        assert_eq!(count("a.rs", &format!("// {fix}: x\n// {marks}\n")), 2);
        assert_eq!(count("a.rs", &format!("// {marks}X a{fix} {fix}_\n")), 0);
        assert_eq!(count("a.toml", &format!("x = \"{machine}a\"\n")), 1);
        assert_eq!(count("a.sh", &format!("cd {machine}a\n")), 1);
        assert_eq!(count("a.sh", &format!("cd target{machine}a ${{X}}{machine}\n")), 0);
        assert_eq!(count("Cargo.lock", &format!("{machine}\n")), 0);
        assert_eq!(count("a.rs", &"\n".repeat(LINES_MAX)), 0);
        assert_eq!(count("a.rs", &"\n".repeat(LINES_MAX + 1)), 1);
    }
}
