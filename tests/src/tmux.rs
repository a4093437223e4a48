//! A real terminal: tmux, whose screen can be read and whose keys can be pressed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::process;

/// A terminal with a program in it. Dropped, it ends.
#[derive(Debug)]
pub struct Terminal {
    socket: PathBuf,
    status: PathBuf,
}

impl Terminal {
    /// Runs a command in a terminal of so many columns and lines; what is left of it stays on the screen when it ends.
    #[must_use]
    pub fn start(dir: &Path, columns: u16, lines: u16, words: &[&str]) -> Terminal {
        let terminal = Terminal { socket: dir.join("tmux.socket"), status: dir.join("tmux.status") };
        let size = [columns.to_string(), lines.to_string()];
        let mut command =
            terminal.command(&["-f", "/dev/null", "new-session", "-d", "-x", &size[0], "-y", &size[1]]);
        // By a shell: now and then tmux knows that a program is dead, and never with which status.
        command
            .args(["sh", "-c", "status=$1; shift; \"$@\"; echo $? >\"$status\"", "sh"])
            .arg(&terminal.status);
        command.args(words).args([";", "set-option", "-g", "remain-on-exit", "on"]);
        process::run(command.env("TERM", "xterm-256color").env_remove("TMUX"));
        terminal
    }

    /// What the screen shows, as text.
    #[must_use]
    pub fn screen(&self) -> String {
        process::run(&mut self.command(&["capture-pane", "-p"]))
    }

    /// The same with the escapes that colour it.
    #[must_use]
    pub fn raw(&self) -> String {
        process::run(&mut self.command(&["capture-pane", "-p", "-e"]))
    }

    /// Presses keys, by tmux's names.
    pub fn press(&self, keys: &[&str]) {
        process::run(self.command(&["send-keys"]).args(keys));
    }

    /// The program's exit status, once it has ended.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        process::read(&self.status).strip_suffix('\n').map(str::to_owned)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(words);
        command
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).output();
    }
}
