//! What a BPF program can return, found by walking its instructions. Not a verifier: it follows constants through
//! registers, and takes everything else for unknown, so that it may complain without need but never be silent wrongly.
//!
//! Instruction set: RFC 9669.

use std::collections::{BTreeMap, BTreeSet};

/// One instruction, of 8 bytes.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u8,
    dst: usize,
    src: usize,
    offset: i16,
    imm: i32,
}

/// What the registers hold; `None` is anything.
type Registers = [Option<i64>; 11];

/// Why a program is not known to return one of the wanted values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An `exit` where r0 is something else, or not the same on all ways there.
    Returns {
        /// Place of the `exit`, counted in instructions.
        at: usize,
        /// What r0 is; `None` where it is not one constant.
        value: Option<i64>,
    },
    /// A jump out of the program, or an end without `exit`.
    Leaves(usize),
    /// A tail call: another program would decide.
    TailCall(usize),
    /// Not an instruction of RFC 9669.
    Unknown(usize),
}

const LOAD: u8 = 0x00;
const LOAD_X: u8 = 0x01;
const ALU: u8 = 0x04;
const JUMP: u8 = 0x05;
const JUMP_32: u8 = 0x06;
const ALU_64: u8 = 0x07;
const STORE: u8 = 0x02;
const STORE_X: u8 = 0x03;

const REGISTER: u8 = 0x08;
const MOVE: u8 = 0xb0;
const JA: u8 = 0x00;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const LOAD_64: u8 = 0x18;
const ATOMIC: u8 = 0xc0;
const TAIL_CALL: i32 = 12;

/// Every way in which the program, given as its bytes, might return something that is not `wanted`. Functions that it
/// calls return to it, and are not looked at.
#[must_use]
pub fn faults(program: &[u8], wanted: &[i64]) -> BTreeSet<Fault> {
    let program: Vec<Instruction> = program.chunks_exact(8).map(decode).collect();
    let mut faults = BTreeSet::new();
    let mut known: BTreeMap<usize, Registers> = BTreeMap::from([(0, [None; 11])]);
    let mut waiting = vec![0];
    while let Some(at) = waiting.pop() {
        let mut registers = known[&at];
        let next = match step(&program, at, &mut registers) {
            Ok(next) => next,
            Err(fault) => {
                faults.insert(fault);
                continue;
            }
        };
        for next in next {
            let joined = known.get(&next).map_or(registers, |before| join(before, &registers));
            if known.insert(next, joined) != Some(joined) {
                waiting.push(next);
            }
        }
    }
    for (&at, registers) in &known {
        let is_exit = program.get(at).is_some_and(|one| one.code == JUMP | EXIT);
        if is_exit && !registers[0].is_some_and(|value| wanted.contains(&value)) {
            faults.insert(Fault::Returns { at, value: registers[0] });
        }
    }
    faults
}

/// Places of `r0 = value`.
#[must_use]
pub fn moves_to_r0(program: &[u8], value: i32) -> Vec<usize> {
    let is_move = |one: &Instruction| {
        matches!(one.code & 0x07, ALU | ALU_64) && one.code & 0xf8 == MOVE && one.dst == 0 && one.imm == value
    };
    let program = program.chunks_exact(8).map(decode).enumerate();
    program.filter(|(_, one)| is_move(one)).map(|(at, _)| at).collect()
}

fn decode(bytes: &[u8]) -> Instruction {
    Instruction {
        code: bytes[0],
        dst: usize::from(bytes[1] & 0x0f),
        src: usize::from(bytes[1] >> 4),
        offset: i16::from_le_bytes([bytes[2], bytes[3]]),
        imm: i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

/// Does one instruction; gives those that may come after it, none after `exit`.
fn step(program: &[Instruction], at: usize, registers: &mut Registers) -> Result<Vec<usize>, Fault> {
    let one = *program.get(at).ok_or(Fault::Leaves(at))?;
    let jump = |by: i64| {
        let to = usize::try_from(at as i64 + 1 + by).ok().filter(|to| *to < program.len());
        to.ok_or(Fault::Leaves(at))
    };
    if one.dst > 10 || one.src > 10 {
        return Err(Fault::Unknown(at));
    }
    let mut set = |register: usize, value| registers[register] = value;
    match (one.code & 0x07, one.code & 0xf0) {
        (LOAD, _) if one.code == LOAD_64 => {
            // Of two slots. A source means an address.
            let high = program.get(at + 1).ok_or(Fault::Leaves(at))?.imm;
            let value = i64::from(high) << 32 | i64::from(one.imm as u32);
            set(one.dst, (one.src == 0).then_some(value));
            return Ok(vec![jump(1)?]);
        }
        (LOAD_X, _) => set(one.dst, None),
        (ALU | ALU_64, MOVE) => {
            let is_wide = one.code & 0x07 == ALU_64;
            let value = match (one.code & REGISTER != 0, one.offset) {
                (false, _) => Some(i64::from(one.imm)),
                (true, 0) => registers[one.src],
                // With sign extension.
                (true, _) => None,
            };
            let value = if is_wide { value } else { value.map(|value| i64::from(value as u32)) };
            registers[one.dst] = value;
        }
        (ALU | ALU_64, _) => set(one.dst, None),
        (STORE, _) => {}
        (STORE_X, _) if one.code & 0xe0 == ATOMIC => {
            // Fetching ones write the source, compare-and-exchange writes r0.
            set(one.src, None);
            set(0, None);
        }
        (STORE_X, _) => {}
        (JUMP, CALL) if one.src == 0 && one.imm == TAIL_CALL => return Err(Fault::TailCall(at)),
        (JUMP, CALL) => (0..=5).for_each(|register| set(register, None)),
        (JUMP, EXIT) => return Ok(vec![]),
        (JUMP, JA) => return Ok(vec![jump(one.offset.into())?]),
        (JUMP_32, JA) => return Ok(vec![jump(one.imm.into())?]),
        (JUMP | JUMP_32, _) => return Ok(vec![jump(0)?, jump(one.offset.into())?]),
        _ => return Err(Fault::Unknown(at)),
    }
    Ok(vec![jump(0)?])
}

fn join(one: &Registers, other: &Registers) -> Registers {
    std::array::from_fn(|register| one[register].filter(|_| one[register] == other[register]))
}
