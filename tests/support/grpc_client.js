// A client of gRPC, by @grpc/grpc-js: every status, every kind of stream, calls that end before they are answered.
//
// grpc_client.js PORT
"use strict";
const grpc = require("@grpc/grpc-js");

const client = new grpc.Client(`127.0.0.1:${process.argv[2]}`, grpc.credentials.createInsecure());
const path = (method) => `/truth.v1.Calls/${method}`;
const plain = (bytes) => bytes;

/** What the call was answered with: a status, and the messages. */
function call(kind, method, sent, { deadline, cancel } = {}) {
  return new Promise((resolve) => {
    const messages = [];
    const options = deadline ? { deadline: Date.now() + deadline } : {};
    const one = (error, message) => (message ? messages.push(message) : undefined);
    const started = {
      unary: () => client.makeUnaryRequest(path(method), plain, plain, sent[0], new grpc.Metadata(), options, one),
      upload: () => client.makeClientStreamRequest(path(method), plain, plain, new grpc.Metadata(), options, one),
      download: () => client.makeServerStreamRequest(path(method), plain, plain, sent[0], new grpc.Metadata(), options),
      chat: () => client.makeBidiStreamRequest(path(method), plain, plain, new grpc.Metadata(), options),
    }[kind]();
    started.on("status", (status) => resolve({ code: status.code, messages }));
    started.on("error", () => {});
    if (kind === "download" || kind === "chat") started.on("data", (message) => messages.push(message));
    if (kind === "upload" || kind === "chat") {
      sent.forEach((message) => started.write(message));
      started.end();
    }
    if (cancel) setTimeout(() => started.cancel(), cancel);
  });
}

function expect(told, code, n) {
  if (told.code !== code || (n !== undefined && told.messages.length !== n)) {
    throw new Error(`${told.code} with ${told.messages.length} messages, and not ${code} with ${n}`);
  }
}

async function everything() {
  const { status } = grpc;
  for (let code = 0; code <= 16; code++) expect(await call("unary", "Unary", [Buffer.from(`${code}`)]), code);
  const unary = () => call("unary", "Unary", [Buffer.from("0")]);
  (await Promise.all(Array.from({ length: 200 }, unary))).forEach((told) => expect(told, status.OK, 1));
  for (const n of [0, 1, 20]) {
    expect(await call("upload", "Upload", Array(n).fill(Buffer.alloc(10_000, "u"))), status.OK, 1);
    expect(await call("chat", "Chat", Array(n).fill(Buffer.from("c"))), status.OK, n);
    expect(await call("download", "Download", [Buffer.from(`${2 * n}`)]), status.OK, 2 * n);
  }
  expect(await call("download", "Download", [Buffer.from("5")]), status.DATA_LOSS, 5);
  expect(await call("unary", "Unheard", [Buffer.alloc(0)]), status.UNIMPLEMENTED);
  for (let n = 0; n < 2; n++) {
    expect(await call("unary", "Cancelled", [Buffer.alloc(0)], { cancel: 200 }), status.CANCELLED);
    expect(await call("unary", "Late", [Buffer.alloc(0)], { deadline: 200 }), status.DEADLINE_EXCEEDED);
  }
  // Its connection goes with the process, and nothing is said of the call.
  call("unary", "Cancelled", [Buffer.alloc(0)]);
  setTimeout(() => process.exit(0), 200);
}

everything().catch((error) => {
  console.error(error);
  process.exit(1);
});
