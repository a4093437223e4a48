// WebSocket by node's `ws`. URL, then what to send, as websocket_client.py has it.
const WebSocket = require('ws');
const [url, ...lines] = process.argv.slice(2);
const socket = new WebSocket(url, { perMessageDeflate: true });
let due = 0;
function next() {
  const line = lines.shift();
  if (line === undefined) return socket.close(1000);
  const [word, n, ...rest] = line.split(' ');
  due = word === 'push' ? Number(n) : 1;
  if (word === 'text') socket.send('x'.repeat(Number(n)));
  else if (word === 'binary') socket.send(Buffer.alloc(Number(n), 'x'));
  else socket.send(line);
}
socket.on('open', next);
socket.on('message', () => { due -= 1; if (due === 0) next(); });
socket.on('error', (error) => { console.error(error); process.exit(1); });
