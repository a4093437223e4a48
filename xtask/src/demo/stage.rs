//! Who takes part: an OTLP receiver, and a server under `sidecar run`.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use sidecar_tests::{free_port, nginx::Nginx, sidecar::Sidecar};
use tempfile::TempDir;

use super::receiver::Receiver;
use crate::workspace::Workspace;

const USUAL_PORTS: [u16; 2] = [9464, 9465];

pub(super) struct Stage {
    // Dropped in this order: the daemon with its last exports, who takes them, their files.
    pub(super) sidecar: Sidecar,
    pub(super) nginx: Nginx,
    pub(super) receiver: Receiver,
    _dir: TempDir,
}

impl Stage {
    pub(super) fn new(workspace: &Workspace) -> Result<Self> {
        let dir = tempfile::tempdir().context("make a folder")?;
        // nginx reads its files as another user.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).context("open the folder")?;
        let receiver = Receiver::start(workspace, dir.path())?;
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        let sidecar = observe(dir.path(), &nginx, receiver.port());
        nginx.await_listening();
        Ok(Self { sidecar, nginx, receiver, _dir: dir })
    }

    pub(super) fn introduce(&self) {
        let [metrics, admin] = USUAL_PORTS;
        println!("An unmodified nginx runs under `sidecar run -- nginx …`.");
        println!("  server         http://127.0.0.1:{}", self.nginx.port);
        println!("  metrics        http://127.0.0.1:{}/metrics   (usually {metrics})", self.sidecar.port);
        println!("  admin          http://127.0.0.1:{}           (usually {admin})", self.sidecar.admin_port);
        println!("  OTLP receiver  http://127.0.0.1:{} (gRPC)", self.receiver.port());
        println!("The ports are ones that nobody else uses just now. Sending requests …\n");
    }
}

fn observe(dir: &Path, nginx: &Nginx, otlp_port: u16) -> Sidecar {
    let endpoint = format!("http://127.0.0.1:{otlp_port}");
    let args = ["--otlp-endpoint", &endpoint, "--set", "otlp.interval=1s", "--service-name", "demo"];
    let command = nginx.command();
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    Sidecar::run(dir, &args, &words)
}
