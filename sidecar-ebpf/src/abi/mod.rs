//! Layouts that both sides read. Every struct is `repr(C)`, padding is explicit, and its size is asserted where
//! it is defined, so that a change that moves a field does not compile until both sides were looked at.

pub mod control;
pub mod count;
pub mod dns;
pub mod executable;
pub mod pins;
pub mod record;
pub mod results;
pub mod steer;
pub mod verdict;
pub mod who;
