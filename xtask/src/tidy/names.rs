//! Rules on single items of a Rust file.

use super::{Violation, source::Source};

/// The kernel keeps 15 bytes of a name (`BPF_OBJ_NAME_LEN` with its final zero).
const BPF_NAME_MAX: usize = 15;

pub(super) fn check(source: &Source, violations: &mut Vec<Violation>) {
    let facts = &source.facts;
    let mut report = |line, rule: String, why| {
        violations.push(Violation { file: source.file.clone(), line, rule, why });
    };
    for &line in &facts.allows {
        report(line, "an `allow` attribute".into(), "put it right, or `expect` it with a reason");
    }
    for &line in &facts.bare_ignores {
        report(line, "`ignore` without a reason".into(), "a skip is a statement");
    }
    for (name, line) in &facts.macros {
        if name == "todo" || name == "unimplemented" {
            report(*line, format!("`{name}!`"), "what is not there yet is an issue, not a panic");
        }
    }
    if source.file.starts_with("sidecar-ebpf/") {
        for bpf in facts.bpf_names.iter().filter(|bpf| bpf.name.len() > BPF_NAME_MAX) {
            let rule = format!("`{}` is longer than {BPF_NAME_MAX} bytes", bpf.name);
            report(bpf.line, rule, "the kernel cuts it, and bpftool would show another name than the source");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Source, check};

    fn rules(text: &str) -> Vec<String> {
        let source = Source::parse("sidecar-ebpf/src/main.rs", text).expect(text);
        let mut violations = Vec::new();
        check(&source, &mut violations);
        violations.into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn attributes_and_macros() {
        let allow = "an `allow` attribute";
        assert_eq!(rules("#[allow(dead_code)] fn f() {}"), [allow]);
        assert_eq!(rules("#![allow(dead_code)]"), [allow]);
        assert_eq!(rules("#[cfg_attr(test, allow(dead_code))] fn f() {}"), [allow]);
        assert_eq!(rules("fn f() { #[allow(unused)] let x = 1; }"), [allow]);
        assert_eq!(rules("#[ignore] fn f() {}"), ["`ignore` without a reason"]);
        assert_eq!(rules("fn f() { todo!() }"), ["`todo!`"]);
        assert_eq!(rules("fn f() { vec![core::unimplemented!(\"x\")]; }"), ["`unimplemented!`"]);
        let clean =
            "#[expect(dead_code, reason = \"allow\")] #[ignore = \"privileged: x\"] fn todo() { allow(); }";
        assert_eq!(rules(clean), [""; 0]);
    }

    #[test]
    fn names_that_the_kernel_sees() {
        assert_eq!(rules("#[map] static ABCDEFGHIJKLMNOP: u8 = 0;").len(), 1);
        assert_eq!(rules("#[map(name = \"ABCDEFGHIJKLMNOP\")] static A: u8 = 0;").len(), 1);
        assert_eq!(rules("#[map(name = \"A\")] static ABCDEFGHIJKLMNOP: u8 = 0;").len(), 0);
        assert_eq!(rules("#[unsafe(link_section = \".maps\")] static ABCDEFGHIJKLMNOP: u8 = 0;").len(), 1);
        assert_eq!(rules("#[cgroup_skb] fn abcdefghijklmnop() {}").len(), 1);
        assert_eq!(rules("#[aya_ebpf::macros::cgroup_sock(post_bind4)] fn abcdefghijklmnop() {}").len(), 1);
        assert_eq!(rules("#[sock_ops] fn abcdefghijklmno() {} fn abcdefghijklmnop() {}").len(), 0);
        assert_eq!(rules("#[expect(unused, reason = \"x\")] static ABCDEFGHIJKLMNOP: u8 = 0;").len(), 0);
    }
}
