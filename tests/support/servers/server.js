// Answers /STATUS/SIZE on a port, and logs what it answered: `node server.js LOG PORT`.
const fs = require("node:fs");
const http = require("node:http");

const [log, port] = process.argv.slice(2);
const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    const [, status, size] = new URL(request.url, "http://a").pathname.split("/");
    fs.appendFileSync(log, `${request.method} ${status}\n`);
    response.writeHead(Number(status), { "Content-Length": Number(size) });
    response.end("x".repeat(Number(size)));
  });
});
server.listen(Number(port), "127.0.0.1");
