mod calls;
mod cases;
mod losses;
mod script;
mod seen;
