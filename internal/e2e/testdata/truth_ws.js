// The peers of TestDifferentialTruth that are made with ws, of which they know
// nothing else: `node truth_ws.js server ADDRESS`, until SIGTERM, and `node
// truth_ws.js client URL...`, one connection after the other.
'use strict';

const http = require('node:http');
const { WebSocket, WebSocketServer } = require('ws');
const story = require('./truth.json');

const compression = {
  plain: false,
  takeover: true,
  'no-takeover': { serverNoContextTakeover: true, clientNoContextTakeover: true },
};
const messages = story.reduce((n, step) => n + (step.send ? step.times ?? 1 : 0), 0);
const pings = story.reduce((n, step) => n + (step.ping || step.send && step.parts.length > 1 ? 1 : 0), 0);

// payload is what one can compress, and not to nothing.
function payload(size) {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i < size; i++) {
    bytes[i] = 97 + (i * i + size) % 26;
  }
  return bytes;
}

// talk tells the story as role, hears it from the other end, and closes where the
// path says so: /client/compression/observer/closer/code.
function talk(ws, role, path) {
  const [closer, code] = path.split('/').slice(4);
  let heard = 0;
  let answered = 0;
  let told = false;
  const next = () => {
    if (!told && heard >= messages && answered === pings) {
      told = true;
      ws.send('done');
    }
    if (told && heard === messages + 1 && role === closer) {
      ws.close(Number(code), 'the story ends');
    }
  };
  ws.on('message', () => {
    if (heard++ === 0 && role === 'server') {
      tell(ws); // see talk in truth_talk_test.go
    }
    next();
  });
  ws.on('pong', () => {
    answered++;
    next();
  });
  if (role === 'client') {
    tell(ws);
  }
}

function tell(ws) {
  let n = 0;
  for (const { send, parts, times = 1 } of story) {
    if (!send) {
      ws.ping(`ping ${n++}`);
      continue;
    }
    for (let time = 0; time < times; time++) {
      parts.forEach((size, i) => {
        const fin = i === parts.length - 1;
        ws.send(payload(size), { binary: send === 'binary', fin });
        if (i === 0 && !fin) {
          ws.ping(`ping ${n++}`);
        }
      });
    }
  }
}

function serve(address) {
  const [host, port] = address.split(':');
  const sockets = {};
  for (const [name, perMessageDeflate] of Object.entries(compression)) {
    sockets[name] = new WebSocketServer({ noServer: true, perMessageDeflate });
  }
  const server = http.createServer();
  server.on('upgrade', (request, socket, head) => {
    const name = request.url.split('/')[2];
    sockets[name].handleUpgrade(request, socket, head, (ws) => talk(ws, 'server', request.url));
  });
  server.listen(Number(port), host, () => console.log('listening'));
  process.on('SIGTERM', () => process.exit(0));
}

async function dial(urls) {
  for (const url of urls) {
    const path = new URL(url).pathname;
    const ws = new WebSocket(url, { perMessageDeflate: compression[path.split('/')[2]] });
    await new Promise((resolve, reject) => {
      ws.on('open', () => talk(ws, 'client', path));
      ws.on('close', resolve);
      ws.on('error', reject);
    });
  }
}

const [what, ...rest] = process.argv.slice(2);
if (what === 'server') {
  serve(rest[0]);
} else {
  dial(rest);
}
