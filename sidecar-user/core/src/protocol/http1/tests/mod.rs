//! Conversations and what is made of them. A new rule is a new case in the table it belongs to.

mod bodies;
mod calls;
mod endings;
mod events;
mod framed;
mod losses;
mod script;
mod shown;
mod wants;
