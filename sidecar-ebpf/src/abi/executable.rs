//! Where the kernel has the file that a process executes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The single entry of `PLACES`, which user space writes before a program that reads it is at work: bytes from the beginning of
/// structures of the kernel that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Places {
    /// 0: nobody knows.
    pub is_known: u32,
    /// `task_struct.mm`
    pub mm: u32,
    /// `mm_struct.exe_file`
    pub exe_file: u32,
    /// `file.f_inode`
    pub inode: u32,
    /// `inode.i_ino`
    pub number: u32,
    /// `inode.i_sb`
    pub file_system: u32,
    /// `super_block.s_dev`
    pub device: u32,
    /// `inode.i_generation`
    pub generation: u32,
}

const _: () = assert!(size_of::<Places>() == 32);
