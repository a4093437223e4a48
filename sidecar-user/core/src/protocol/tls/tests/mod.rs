//! The protocol as a whole.

mod detection;
mod talks;
