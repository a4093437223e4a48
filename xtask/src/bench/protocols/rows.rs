//! What is measured: who serves, who asks, and what of it is counted.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::servers::{DATABASE, RESOLVER, Server};

/// A protocol, and how it is spoken.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) server: Server,
    client: Client,
    /// Exchanges of a run.
    pub(super) n: u64,
    pub(super) connections: u32,
    /// Connections that are open at once for their memory to be seen; 0: not measured.
    pub(super) many: u32,
    /// What the daemon counts them by.
    pub(super) counted: &'static str,
}

#[derive(Clone, Copy)]
enum Client {
    /// What is asked for, and how many streams a connection has; 0: HTTP/1.
    H2load(u32),
    Grpc(u32),
    /// By `-M`.
    Pgbench(&'static str),
    MariadbSlap,
    /// How many commands at once.
    RedisBenchmark(u32),
    Memcaslap,
    Dnsperf,
    Ab,
    WebSocket,
}

const HTTP: &str = "http_server_request_duration_seconds_count";
const RPC: &str = "rpc_server_call_duration_seconds_count";
const DB: &str = "db_server_operation_duration_seconds_count";
const DNS: &str = "sidecar_dns_server_lookup_duration_seconds_count";
const TLS: &str = "sidecar_tls_server_handshake_duration_seconds_count";
const MESSAGES: &str = "sidecar_messages_total";

const fn row(
    (name, about): (&'static str, &'static str),
    (server, client): (Server, Client),
    (n, connections, many): (u64, u32, u32),
    counted: &'static str,
) -> Row {
    Row { name, about, server, client, n, connections, many, counted }
}

pub(super) const ROWS: &[Row] = &[
    row(
        ("http", "HTTP/1.1, GET of 100 bytes, h2load and nginx"),
        (Server::Nginx(""), Client::H2load(0)),
        (25_000, 8, 2000),
        HTTP,
    ),
    row(
        ("http2-1", "HTTP/2, 1 stream a connection, h2load and nginx"),
        (Server::Nginx("http2"), Client::H2load(1)),
        (25_000, 8, 2000),
        HTTP,
    ),
    row(
        ("http2-10", "the same, 10 streams"),
        (Server::Nginx("http2"), Client::H2load(10)),
        (50_000, 8, 2000),
        HTTP,
    ),
    row(
        ("http2-100", "the same, 100 streams"),
        (Server::Nginx("http2"), Client::H2load(100)),
        (100_000, 8, 2000),
        HTTP,
    ),
    row(
        ("grpc-10", "gRPC, unary, 10 streams, h2load and grpcio"),
        (Server::Grpcio, Client::Grpc(10)),
        (4_000, 8, 200),
        RPC,
    ),
    row(
        ("postgresql", "simple queries, pgbench -S"),
        (Server::Postgres, Client::Pgbench("simple")),
        (15_000, 8, 200),
        DB,
    ),
    row(
        ("postgresql-prepared", "the same, prepared"),
        (Server::Postgres, Client::Pgbench("prepared")),
        (15_000, 8, 200),
        DB,
    ),
    row(("mariadb", "texts, mariadb-slap"), (Server::MariaDb, Client::MariadbSlap), (15_000, 8, 400), DB),
    row(
        ("redis-1", "GET and SET, redis-benchmark"),
        (Server::Redis, Client::RedisBenchmark(1)),
        (25_000, 8, 2000),
        DB,
    ),
    row(
        ("redis-100", "the same, 100 in a pipeline"),
        (Server::Redis, Client::RedisBenchmark(100)),
        (300_000, 8, 2000),
        DB,
    ),
    row(
        ("memcached", "get and set of 1 KiB, binary, memcaslap"),
        (Server::Memcached, Client::Memcaslap),
        (25_000, 8, 1000),
        DB,
    ),
    row(("dns", "UDP, dnsperf and dnsmasq"), (Server::Dnsmasq, Client::Dnsperf), (15_000, 8, 0), DNS),
    row(
        ("tls", "handshakes of TLS 1.3, ab and nginx"),
        (Server::Nginx("ssl"), Client::Ab),
        (1_500, 8, 0),
        TLS,
    ),
    row(
        ("websocket", "messages of 100 bytes to one client, websockets"),
        (Server::WebSocket, Client::WebSocket),
        (15_000, 1, 0),
        MESSAGES,
    ),
];

/// Names that dnsperf asks for in a pass.
const NAMES: u64 = 1000;

impl Row {
    pub(super) fn named(name: &str) -> Result<&'static Row> {
        let names = || ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        ROWS.iter()
            .find(|row| row.name == name)
            .with_context(|| format!("no protocol `{name}`: there are {}", names()))
    }

    /// The client's command line for about `n` exchanges; files that it needs go into `dir`.
    pub(super) fn command(&self, dir: &Path, port: u16, n: u64, connections: u32) -> Result<Vec<String>> {
        let url = format!("http://127.0.0.1:{port}/100.bin");
        let each = (n / u64::from(connections)).max(1);
        let text = match self.client {
            Client::H2load(0) => format!("h2load --h1 -t 1 -n {n} -c {connections} {url}"),
            Client::H2load(streams) => format!("h2load -t 1 -n {n} -c {connections} -m {streams} {url}"),
            Client::Grpc(streams) => {
                let message = dir.join("message");
                // Not compressed, empty.
                fs::write(&message, [0; 5]).context("write a message")?;
                let (message, url) =
                    (message.display(), format!("http://127.0.0.1:{port}/truth.v1.Calls/Unary"));
                format!(
                    "h2load -t 1 -n {n} -c {connections} -m {streams} -H te:trailers -H content-type:application/grpc \
                     -d {message} {url}"
                )
            }
            Client::Pgbench(mode) => format!(
                "pgbench -h 127.0.0.1 -p {port} -U postgres -n -S -M {mode} -c {connections} -j 1 -t {each} {DATABASE}"
            ),
            Client::MariadbSlap => {
                let words = format!(
                    "mariadb-slap --no-defaults --host=127.0.0.1 --port={port} --user=app --concurrency={connections} \
                     --number-of-queries={n} --create-schema={DATABASE}"
                );
                let words = words.split(' ').map(str::to_owned);
                return Ok(words.chain(["--query=SELECT 1".to_owned()]).collect());
            }
            Client::RedisBenchmark(pipeline) => {
                // Half of them each.
                format!("redis-benchmark -p {port} -t set,get -q -n {} -c {connections} -P {pipeline}", n / 2)
            }
            // In words its keys have control characters, which the protocol does not allow.
            Client::Memcaslap => format!("memcaslap -B -s 127.0.0.1:{port} -T 1 -c {connections} -x {n}"),
            Client::Dnsperf => {
                let names = dir.join("names");
                let lines: String = (0..NAMES).map(|number| format!("n{number}.bench.test A\n")).collect();
                fs::write(&names, lines).context("write names")?;
                let passes = n.div_ceil(NAMES);
                format!("dnsperf -s {RESOLVER} -d {} -n {passes} -c {connections} -T 1", names.display())
            }
            Client::Ab => format!("ab -q -n {n} -c {connections} https://127.0.0.1:{port}/100.bin"),
            Client::WebSocket => {
                let script = sidecar_tests::root().join("tests/support/websocket_client.py");
                let python = sidecar_tests::python();
                let words = [python, script.display().to_string(), format!("ws://127.0.0.1:{port}/")];
                return Ok(words.into_iter().chain([format!("push {n} 100")]).collect());
            }
        };
        Ok(text.split(' ').map(str::to_owned).collect())
    }
}
