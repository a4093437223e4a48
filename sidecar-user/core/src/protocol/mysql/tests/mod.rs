//! Conversations and what is made of them.

mod cases;
mod detection;
mod recordings;
mod script;
