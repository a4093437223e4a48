//! Where the kernel that runs has what: the little of its BTF that this takes (Documentation/bpf/btf.rst).

use sidecar_ebpf::abi::executable::Places;

/// Why it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BtfError {
    /// It is cut off, or of a kind that came later.
    #[error("the kernel's BTF cannot be read")]
    Malformed,
    /// Another kernel has it somewhere else.
    #[error("the kernel's BTF has no {0}.{1}, or several")]
    Missing(&'static str, &'static str),
}

const MAGIC: u16 = 0xeb9f;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// Anonymous structures in each other that are looked into.
const DEPTH: u32 = 3;

/// Where the kernel has the file that a process executes.
pub(super) fn places(btf: &[u8]) -> Result<Places, BtfError> {
    let types = Types::read(btf).ok_or(BtfError::Malformed)?;
    Ok(Places {
        is_known: 1,
        mm: types.offset("task_struct", "mm")?,
        exe_file: types.offset("mm_struct", "exe_file")?,
        inode: types.offset("file", "f_inode")?,
        number: types.offset("inode", "i_ino")?,
        file_system: types.offset("inode", "i_sb")?,
        device: types.offset("super_block", "s_dev")?,
        generation: types.offset("inode", "i_generation")?,
    })
}

/// All types, by where each begins.
struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    begins: Vec<u32>,
}

impl<'a> Types<'a> {
    fn read(btf: &'a [u8]) -> Option<Self> {
        let magic = btf.get(..2)?;
        if u16::from_ne_bytes([magic[0], magic[1]]) != MAGIC {
            return None;
        }
        let header = word(btf, 4)?;
        let part = |at: usize| {
            let begin = (header as usize).checked_add(word(btf, at)? as usize)?;
            btf.get(begin..begin.checked_add(word(btf, at + 4)? as usize)?)
        };
        let (types, strings) = (part(8)?, part(16)?);
        // Type 0 is `void`, and is not there.
        let mut begins = vec![u32::MAX];
        let mut at = 0;
        while at < types.len() {
            begins.push(u32::try_from(at).ok()?);
            let info = word(types, at + 4)?;
            at = at.checked_add(12 + behind(kind(info), n_members(info))?)?;
        }
        Some(Types { types, strings, begins })
    }

    /// Bytes from the beginning of a structure to a member of it, which may be one of an anonymous structure's in it.
    fn offset(&self, of: &'static str, member: &'static str) -> Result<u32, BtfError> {
        let is_it = |begin: &&u32| {
            let begin = **begin as usize;
            word(self.types, begin + 4).is_some_and(|info| kind(info) == STRUCT) && self.is_named(begin, of)
        };
        let found = self.begins.iter().skip(1).filter(is_it);
        let mut bits = found.filter_map(|begin| self.member(*begin as usize, member, DEPTH));
        let first = bits.next().filter(|bits| bits % 8 == 0);
        match first {
            // Two that differ are nobody's to choose between.
            Some(first) if bits.all(|other| other == first) => Ok(first / 8),
            _ => Err(BtfError::Missing(of, member)),
        }
    }

    /// Bits from the beginning.
    fn member(&self, begin: usize, name: &str, depth: u32) -> Option<u32> {
        let info = word(self.types, begin + 4)?;
        // Of bit fields the upper eight bits say how many.
        let mask = if info >> 31 == 0 { u32::MAX } else { 0xff_ffff };
        (0..n_members(info)).find_map(|n| {
            let at = begin + 12 + n * 12;
            let offset = word(self.types, at + 8)? & mask;
            if self.is_named(at, name) {
                return Some(offset);
            }
            if word(self.types, at)? != 0 || depth == 0 {
                return None;
            }
            let inner = *self.begins.get(word(self.types, at + 4)? as usize)? as usize;
            let is_compound = word(self.types, inner.checked_add(4)?).map(kind);
            matches!(is_compound, Some(STRUCT | UNION))
                .then(|| self.member(inner, name, depth - 1))
                .flatten()
                .and_then(|inner| inner.checked_add(offset))
        })
    }

    /// Whether what begins there has that name.
    fn is_named(&self, begin: usize, name: &str) -> bool {
        let text = word(self.types, begin).and_then(|at| self.strings.get(at as usize..));
        text.and_then(|text| text.strip_prefix(name.as_bytes())).is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

fn n_members(info: u32) -> usize {
    (info & 0xffff) as usize
}

/// Bytes behind a type's own twelve.
fn behind(kind: u32, n: usize) -> Option<usize> {
    Some(match kind {
        // Pointers, forward declarations, typedefs, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Structures, unions, sections, enumerations of 64 bits.
        STRUCT | UNION | 15 | 19 => n * 12,
        // Enumerations, parameters.
        6 | 13 => n * 8,
        _ => return None,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure and its members: name, type, bits.
    type Struct<'a> = (&'a str, &'a [(&'a str, u32, u32)]);

    /// A BTF with these structures.
    fn made(structs: &[Struct<'_>]) -> Vec<u8> {
        let (mut types, mut strings) = (Vec::new(), vec![0_u8]);
        let mut name = |text: &str| {
            if text.is_empty() {
                return 0;
            }
            let at = strings.len() as u32;
            strings.extend(text.bytes().chain([0]));
            at
        };
        let mut put = |words: &[u32]| types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        for (of, members) in structs {
            put(&[name(of), STRUCT << 24 | members.len() as u32, 64]);
            for (member, of, bits) in *members {
                put(&[name(member), *of, *bits]);
            }
        }
        let mut btf = MAGIC.to_ne_bytes().to_vec();
        btf.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            btf.extend(word.to_ne_bytes());
        }
        btf.extend(types.iter().chain(&strings));
        btf
    }

    const ALL: [Struct<'_>; 6] = [
        ("task_struct", &[("mmap", 0, 0), ("mm", 0, 128)]),
        ("mm_struct", &[("", 3, 64)]),
        ("", &[("pgd", 0, 0), ("exe_file", 0, 192)]),
        ("file", &[("f_inode", 0, 256)]),
        ("inode", &[("i_ino", 0, 512), ("i_sb", 0, 320), ("i_generation", 0, 640)]),
        ("super_block", &[("s_dev", 0, 128)]),
    ];

    #[test]
    fn members_are_found_in_anonymous_structures_too() {
        let expected = Places {
            is_known: 1,
            mm: 16,
            exe_file: 32,
            inode: 32,
            number: 64,
            file_system: 40,
            device: 16,
            generation: 80,
        };
        assert_eq!(places(&made(&ALL)), Ok(expected));
    }

    #[test]
    fn what_is_not_clear_is_not_guessed() {
        assert_eq!(places(&made(&ALL[..5])), Err(BtfError::Missing("super_block", "s_dev")));
        let another: Struct<'_> = ("file", &[("f_inode", 0, 64)]);
        let twice = [ALL.as_slice(), &[another]].concat();
        assert_eq!(places(&made(&twice)), Err(BtfError::Missing("file", "f_inode")));
        let endless: [Struct<'_>; 1] = [("task_struct", &[("", 1, 0)])];
        assert_eq!(places(&made(&endless)), Err(BtfError::Missing("task_struct", "mm")));
    }

    #[test]
    fn any_bytes_are_judged() {
        let whole = made(&ALL);
        for len in 0..whole.len() {
            assert!(places(&whole[..len]).is_err(), "{len}");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut other = whole.clone();
                other[at] = byte;
                let _ = places(&other);
            }
        }
    }
}
