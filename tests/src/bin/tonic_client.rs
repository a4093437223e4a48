//! A client of gRPC, by tonic, for the tests: every status, every kind of stream, calls that end before they are answered.
//! `tonic_client PORT`.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio_stream::iter;
use tonic::{
    Code, Request, Status,
    body::Body,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// Messages as they are.
#[derive(Clone, Copy, Debug)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let n = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(n)))
    }
}

/// Long enough for a call to be under way.
const WAIT: Duration = Duration::from_millis(200);

type Calls = Grpc<Client<HttpConnector, Body>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let port: u16 = std::env::args().nth(1).unwrap_or_default().parse()?;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let mut calls = Grpc::with_origin(client, format!("http://127.0.0.1:{port}").parse()?);
    for code in 0..=16 {
        let answer = unary(&mut calls, "Unary", code.to_string()).await;
        let told = answer.err().map_or(Code::Ok, |status| status.code());
        anyhow::ensure!(told == Code::from_i32(code), "{told} for {code}");
    }
    for n in [0, 1, 20] {
        let sent: Vec<_> = (0..n).map(|_| Bytes::from(vec![b'u'; 10_000])).collect();
        calls.ready().await?;
        let answer = calls.client_streaming(Request::new(iter(sent)), path("Upload"), Plain).await?;
        anyhow::ensure!(answer.into_inner() == (n * 10_000).to_string());
        let sent: Vec<_> = (0..n).map(|n| Bytes::from(vec![b'c'; n])).collect();
        calls.ready().await?;
        let mut answers = calls.streaming(Request::new(iter(sent)), path("Chat"), Plain).await?.into_inner();
        let mut n_told = 0;
        while answers.message().await?.is_some() {
            n_told += 1;
        }
        anyhow::ensure!(n_told == n);
    }
    for (n, code) in [(0, Code::Ok), (40, Code::Ok), (5, Code::DataLoss)] {
        calls.ready().await?;
        let request = Request::new(Bytes::from(n.to_string()));
        let mut answers = calls.server_streaming(request, path("Download"), Plain).await?.into_inner();
        let told = loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => break Code::Ok,
                Err(status) => break status.code(),
            }
        };
        anyhow::ensure!(told == code, "{told} for {n}");
    }
    for _ in 0..2 {
        given_up(&mut calls, "Cancelled").await?;
    }
    // Its connection goes with the process, and nothing is said of the call.
    let call = unary(&mut calls, "Cancelled", String::new());
    tokio::select! {
        answer = call => anyhow::bail!("it was answered: {answer:?}"),
        () = tokio::time::sleep(WAIT) => std::process::exit(0),
    }
}

async fn unary(calls: &mut Calls, method: &str, message: String) -> Result<Bytes, Status> {
    calls.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let answer = calls.unary(Request::new(Bytes::from(message)), path(method), Plain).await?;
    Ok(answer.into_inner())
}

/// A call that is answered by nobody, and ended.
async fn given_up(calls: &mut Calls, method: &str) -> anyhow::Result<()> {
    let call = unary(calls, method, String::new());
    anyhow::ensure!(tokio::time::timeout(WAIT, call).await.is_err(), "it was answered");
    Ok(())
}

fn path(method: &str) -> PathAndQuery {
    format!("/truth.v1.Calls/{method}").parse().expect("a path")
}
