//! Certificates, made by openssl, and TLS in front of a receiver, by nginx.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    eventually, free_port,
    process::{self, Process},
};

/// A folder with an authority's certificate, and those of a server and a client that it signed.
#[derive(Debug)]
pub struct Pki {
    dir: PathBuf,
}

impl Pki {
    /// Makes them: `ca.pem`, and `NAME.pem` with `NAME.key` for `server` (127.0.0.1 and localhost) and `client`. `other.pem`
    /// is an authority that signed nothing.
    #[must_use]
    pub fn new(dir: &Path) -> Pki {
        let pki = Pki { dir: dir.join("pki") };
        fs::create_dir_all(&pki.dir).expect("a folder");
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        for name in ["ca", "other"] {
            let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
            let subject = format!("/CN=the tests' {name}");
            let words = ["req", "-x509", "-subj", &subject, "-keyout", &key, "-out", &pem];
            pki.openssl(&[&words[..], &new_key].concat());
        }
        for (name, extensions) in [
            ("server", "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n"),
            ("client", "extendedKeyUsage=clientAuth\n"),
        ] {
            let file = |ending: &str| format!("{name}.{ending}");
            let (key, csr, ext, pem) = (file("key"), file("csr"), file("ext"), file("pem"));
            fs::write(pki.dir.join(&ext), extensions).expect("written");
            let subject = format!("/CN={name}");
            let words = ["req", "-subj", &subject, "-keyout", &key, "-out", &csr];
            pki.openssl(&[&words[..], &new_key].concat());
            let words = ["x509", "-req", "-in", &csr, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
            pki.openssl(&[&words[..], &["-days", "2", "-extfile", &ext, "-out", &pem]].concat());
        }
        pki
    }

    /// The path of one of the files.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn openssl(&self, words: &[&str]) {
        process::run(Command::new("openssl").args(words).current_dir(&self.dir));
    }
}

/// nginx that ends TLS and passes gRPC or HTTP on. Asks for a client's certificate, and refuses without.
#[derive(Debug)]
pub struct TlsFront {
    _process: Process,
    port: u16,
}

impl TlsFront {
    /// `pass` is `grpc_pass grpc://…` or `proxy_pass http://…`.
    #[must_use]
    pub fn start(pki: &Pki, pass: &str) -> TlsFront {
        let (port, dir) = (free_port(), pki.dir.join(format!("front{}", free_port())));
        fs::create_dir_all(&dir).expect("a folder");
        let (text, file) = (dir.display(), dir.join("nginx.conf"));
        let (ca, certificate, key) = (pki.path("ca.pem"), pki.path("server.pem"), pki.path("server.key"));
        let config = format!(
            "user root; daemon off; worker_processes 1; pid {text}/nginx.pid; error_log {text}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n  access_log off; client_max_body_size 64m;\n  \
             client_body_temp_path {text}/body; proxy_temp_path {text}/proxy;\n  \
             fastcgi_temp_path {text}/f; uwsgi_temp_path {text}/u; scgi_temp_path {text}/s;\n  \
             server {{\n    listen 127.0.0.1:{port} ssl http2;\n    \
             ssl_certificate {certificate}; ssl_certificate_key {key};\n    \
             ssl_client_certificate {ca}; ssl_verify_client on;\n    \
             location / {{ {pass}; }}\n  }}\n}}\n"
        );
        fs::write(&file, config).expect("nginx's configuration");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&dir).arg("-c").arg(&file);
        let process = Process::start(&mut command, &dir.join("out.log"));
        eventually("nginx to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        TlsFront { _process: process, port }
    }

    /// For `--otlp-endpoint`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }
}
