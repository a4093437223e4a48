// Server-sent events by node's http. PORT; one line a stream: path, events and bytes of their data.
const http = require('http');
const streams = {
  '/chunked': { ends: ['\n', '\n\n'], headers: {} },
  '/crlf': { ends: ['\r\n', '\r\n\r\n'], headers: {} },
  '/length': { ends: ['\r', '\r\r'], headers: { 'Content-Length': 0 } },
  '/close': { ends: ['\n', '\r\n\r\n'], headers: { Connection: 'close' }, untilClose: true },
};
http.createServer((request, response) => {
  const stream = streams[request.url];
  if (!stream) {
    response.writeHead(200, { 'Content-Type': 'text/plain' });
    return response.end('data: none\n\n');
  }
  const [line, end] = stream.ends;
  const all = [': begins', end];
  let [events, bytes] = [0, 0];
  for (let n = 0; n < 50; n += 1) {
    const data = 'x'.repeat(n * 37);
    all.push(`event: tick${line}id: ${n}${line}`, `data: ${data}${line}data: \u00e9`, end);
    events += 1;
    bytes += data.length + 1 + 2;
    if (n % 10 === 0) all.push(`event: nothing${end}`, ': still there', end);
  }
  const headers = { 'Content-Type': 'text/event-stream', ...stream.headers };
  if ('Content-Length' in headers) headers['Content-Length'] = Buffer.byteLength(all.join(''));
  if (stream.untilClose) response.useChunkedEncodingByDefault = false;
  response.writeHead(200, headers);
  const write = () => {
    if (all.length === 0) return response.end(() => console.log(`${request.url} ${events} ${bytes}`));
    response.write(all.shift());
    return setImmediate(write);
  };
  write();
}).listen(Number(process.argv[2]), '127.0.0.1');
