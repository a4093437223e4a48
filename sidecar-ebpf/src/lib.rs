//! The contract between the BPF programs and user space: what a record, a verdict and a counter look like in
//! memory. Nothing that only one side needs lives here.
#![no_std]
#![forbid(unsafe_code)]

pub mod abi;
