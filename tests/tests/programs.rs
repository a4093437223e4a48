//! The built object: every program lets pass whatever it sees, on every path, but for those that may refuse it; each has a
//! name that `bpftool` shows whole.

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind, read::elf::ElfFile64};
use sidecar_tests::{
    bpf::{Fault, faults, moves_to_r0},
    root,
};

/// A program of the object: its section, its name, its instructions.
struct Program {
    section: String,
    name: String,
    code: Vec<u8>,
}

impl Program {
    /// The kernel lets the traffic pass on 1 (`cgroup_skb`, `cgroup_sock`, `cgroup_sock_addr`; docs/bpf/libbpf), and
    /// ignores what `sock_ops` returns here, where only 0 and 1 are allowed, and what a tracepoint's returns.
    fn wanted(&self) -> &'static [i64] {
        match self.section.as_str() {
            "sockops" => &[0, 1],
            section if section.starts_with("tp_btf/") => &[0],
            // `SK_DROP` and `SK_PASS`.
            "sk_lookup" => &[0, 1],
            _ => &[1],
        }
    }
}

impl Program {
    /// What a policy denies: `tests/steering.rs`, `datagrams.rs` and `inbound.rs` see what they answer.
    fn may_refuse(&self) -> bool {
        ["come_in", "say4", "say6", "steer4", "steer6"].contains(&self.name.trim_end_matches("_exe"))
    }
}

fn object() -> Vec<u8> {
    let path = root().join("target/bpf/sidecar-bpf.o");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run cargo xtask build", path.display()))
}

/// Programs of one kind may share a section; `.text` is what they call.
fn programs() -> Vec<Program> {
    let bytes = object();
    let elf = ElfFile64::<object::Endianness>::parse(&*bytes).expect("an ELF object");
    let is_program = |name: &str| {
        name.starts_with("cgroup") || ["sockops", "sk_lookup"].contains(&name) || name.starts_with("tp_btf/")
    };
    let mut programs = Vec::new();
    for section in elf.sections() {
        let name = section.name().expect("a name");
        if section.kind() != object::SectionKind::Text || name == ".text" || section.size() == 0 {
            continue;
        }
        assert!(is_program(name), "section {name} is of a kind that this test does not know");
        let functions: Vec<_> = elf
            .symbols()
            .filter(|one| one.section_index() == Some(section.index()) && one.kind() == SymbolKind::Text)
            .collect();
        let n_bytes: u64 = functions.iter().map(|function| function.size()).sum();
        assert_eq!(n_bytes, section.size(), "all of {name} is programs");
        let code = section.data().expect("instructions");
        for function in functions {
            let (from, size) = (function.address() as usize, function.size() as usize);
            programs.push(Program {
                section: name.to_owned(),
                name: function.name().expect("a name").to_owned(),
                code: code[from..from + size].to_vec(),
            });
        }
    }
    programs
}

#[test]
fn every_program_passes_on_every_path() {
    let programs = programs();
    let mut names: Vec<_> = programs.iter().map(|program| program.name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "come_in",
        "hand_over",
        "hear4",
        "hear6",
        "peer4",
        "peer6",
        "say4",
        "say4_exe",
        "say6",
        "say6_exe",
        "sk_bind4",
        "sk_bind6",
        "sk_connect4",
        "sk_connect6",
        "sk_create",
        "sk_release",
        "skb_in",
        "skb_out",
        "steer4",
        "steer4_exe",
        "steer6",
        "steer6_exe",
        "steer_end",
        "take_over",
        "tcp_log",
        "tcp_ops",
        "tcp_read",
    ];
    assert_eq!(names, expected);
    for program in programs.iter().filter(|program| !program.may_refuse()) {
        let found = faults(&program.code, program.wanted());
        assert!(found.is_empty(), "{} in {}: {found:?}", program.name, program.section);
    }
}

/// The same, on objects in which one verdict is turned round: each one is found.
#[test]
fn one_wrong_verdict_is_found() {
    for program in programs().into_iter().filter(|program| !program.may_refuse()) {
        let [wanted, ..] = program.wanted() else { panic!("no verdict is allowed") };
        let places = moves_to_r0(&program.code, *wanted as i32);
        let doctored = |at: usize| {
            let mut code = program.code.clone();
            code[at * 8 + 4] = 2;
            faults(&code, program.wanted())
        };
        let found = places.iter().filter(|at| !doctored(**at).is_empty()).count();
        assert!(found > 0, "{}: {} places, none matters", program.name, places.len());
    }
}

#[test]
fn what_the_walk_sees() {
    // Opcode, registers (source high), offset, immediate.
    type Code<'a> = &'a [(u8, u8, i16, i32)];
    let check = |code: Code<'_>| {
        let bytes: Vec<u8> = code
            .iter()
            .flat_map(|(code, registers, offset, imm)| {
                let (offset, imm) = (offset.to_le_bytes(), imm.to_le_bytes());
                [*code, *registers, offset[0], offset[1], imm[0], imm[1], imm[2], imm[3]]
            })
            .collect();
        faults(&bytes, &[1]).into_iter().collect::<Vec<_>>()
    };
    const EXIT: (u8, u8, i16, i32) = (0x95, 0, 0, 0);
    const SET: (u8, u8, i16, i32) = (0xb7, 0, 0, 1);
    let returns = |at, value| vec![Fault::Returns { at, value }];
    let cases: &[(&str, Code<'_>, Vec<Fault>)] = &[
        ("r0 = 1", &[SET, EXIT], vec![]),
        ("w0 = 1", &[(0xb4, 0, 0, 1), EXIT], vec![]),
        ("by way of r6, over a call", &[(0xb7, 6, 0, 1), (0x85, 0, 0, 5), (0xbf, 0x60, 0, 0), EXIT], vec![]),
        ("nothing set", &[EXIT], returns(0, None)),
        ("r0 = 0", &[(0xb7, 0, 0, 0), EXIT], returns(1, Some(0))),
        ("a call after it", &[SET, (0x85, 0, 0, 5), EXIT], returns(2, None)),
        ("one branch only", &[SET, (0x15, 1, 1, 0), (0xb7, 0, 0, 0), EXIT], returns(3, None)),
        ("both branches", &[(0x15, 1, 1, 0), (0x05, 0, 1, 0), (0x05, 0, 0, 0), SET, EXIT], vec![]),
        (
            "a loop that spoils",
            &[SET, (0x15, 1, 2, 0), (0x07, 0, 0, 1), (0x05, 0, -3, 0), EXIT],
            returns(4, None),
        ),
        ("loaded from memory", &[SET, (0x79, 0x10, 0, 0), EXIT], returns(2, None)),
        ("an atomic exchange", &[SET, (0xdb, 0x21, 0, 0xf1), EXIT], returns(2, None)),
        ("unreachable", &[SET, EXIT, (0xb7, 0, 0, 0), EXIT], vec![]),
        ("no end", &[SET], vec![Fault::Leaves(0)]),
        ("a jump out", &[SET, (0x05, 0, 7, 0), EXIT], vec![Fault::Leaves(1)]),
        ("a tail call", &[SET, (0x85, 0, 0, 12), EXIT], vec![Fault::TailCall(1)]),
        ("a wide constant", &[(0x18, 0, 0, 1), (0, 0, 0, 0), EXIT], vec![]),
        (
            "a wide constant, high half",
            &[(0x18, 0, 0, 1), (0, 0, 0, 1), EXIT],
            returns(2, Some((1 << 32) + 1)),
        ),
        ("no instruction", &[(0x04 | 0x03, 0, 0, 0), (0x20, 0, 0, 0), EXIT], vec![Fault::Unknown(1)]),
    ];
    for (name, code, expected) in cases {
        assert_eq!(check(code), *expected, "{name}");
    }
}

#[test]
fn names_are_shown_whole() {
    let bytes = object();
    let elf = ElfFile64::<object::Endianness>::parse(&*bytes).expect("an ELF object");
    let maps = elf.symbols().filter(|symbol| {
        let section = symbol.section_index().and_then(|index| elf.section_by_index(index).ok());
        section.is_some_and(|section| matches!(section.name(), Ok("maps" | ".maps")))
    });
    let maps = maps.filter_map(|symbol| symbol.name().ok().map(str::to_owned));
    let names: Vec<_> = programs().into_iter().map(|program| program.name).chain(maps).collect();
    assert!(names.contains(&"EVENTS".to_owned()), "{names:?}");
    for name in names {
        assert!((1..=15).contains(&name.len()), "{name} is longer than the kernel's 15");
    }
}
