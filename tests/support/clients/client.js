// Asks for each URL on a connection of its own, and prints it, the status, and whom it took for its peer: client.js URL...
const http = require("http");
const ask = ([url, ...others]) => {
  if (url === undefined) return;
  http.get(url, { agent: false, timeout: 20000 }, (answer) => {
    const peer = `${answer.socket.remoteAddress} ${answer.socket.remotePort}`;
    answer.resume();
    answer.on("end", () => {
      console.log(url, answer.statusCode, peer);
      ask(others);
    });
  });
};
ask(process.argv.slice(2));
