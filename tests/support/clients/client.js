// Asks N times for a URL, on a connection of its own each, and prints the status and whom it took for its peer: client.js URL N
const http = require("http");
const [url, n] = [process.argv[2], Number(process.argv[3])];
const ask = (left) => {
  if (left === 0) return;
  http.get(url, { agent: false }, (answer) => {
    const peer = `${answer.socket.remoteAddress} ${answer.socket.remotePort}`;
    answer.resume();
    answer.on("end", () => {
      console.log(answer.statusCode, peer);
      ask(left - 1);
    });
  });
};
ask(n);
