//! Processes that end with their guard.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

/// A running process: told to end when dropped, killed if it does not, and reaped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts it, its output going to a file.
    #[must_use]
    pub fn start(command: &mut Command, output: &Path) -> Process {
        let file = File::create(output).expect("the output's file");
        let both = file.try_clone().expect("the output's file again");
        command.stdin(Stdio::null()).stdout(file).stderr(both);
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        Process { child, name }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // It may be gone already, which the caller will see.
        let _ = kill_process(self.pid(), signal);
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("{name} to end"), || self.child.try_wait().expect("its status"))
    }

    /// It has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Told first: a server that is killed outright leaves its workers behind.
        self.signal(Signal::TERM);
        for _ in 0..100 {
            if !self.is_running() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if self.is_running() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a program to its end; panics with its output if it fails.
pub fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = output(command);
    assert!(
        status.success(),
        "{command:?} ended with {status}:\n{stdout}\n{stderr}",
        stdout = text(&stdout),
        stderr = text(&stderr)
    );
    text(&stdout)
}

/// Runs a program to its end.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("start {command:?}: {error}"))
}

/// A file's content so far, or nothing.
#[must_use]
pub fn read(path: &Path) -> String {
    let mut content = Vec::new();
    if let Ok(mut file) = File::open(path) {
        let _ = file.read_to_end(&mut content);
    }
    text(&content)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
