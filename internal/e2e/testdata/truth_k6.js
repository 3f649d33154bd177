// The client of TestDifferentialTruth that is k6, one connection after the other:
// URLS, separated by spaces. What k6 has counted itself goes to the file SUMMARY.
import { WebSocket } from 'k6/websockets';

const story = JSON.parse(open('./truth.json'));
const messages = story.reduce((n, step) => n + (step.send ? step.times || 1 : 0), 0);
const pings = story.reduce((n, step) => n + (step.ping || (step.send && step.parts.length > 1) ? 1 : 0), 0);

export const options = {
  vus: 1,
  iterations: 1,
  summaryTrendStats: ['count'],
};

// k6 has no way to send a fragment, but its library makes some: the parts of a
// message are sent as one, with the ping before it.
const payloads = {};
for (const { send, parts } of story) {
  if (send) {
    const size = parts.reduce((a, b) => a + b);
    payloads[size] = payloads[size] || payload(size);
  }
}

function payload(size) {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) {
    bytes[i] = 97 + ((i * i + size) % 26);
  }
  let text = '';
  for (let i = 0; i < size; i += 4096) {
    text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  }
  return { text, binary: bytes.buffer };
}

function talk(url, then) {
  const [compression, , closer, code] = url.split('/').slice(4);
  const ws = new WebSocket(url, null, compression === 'plain' ? {} : { compression: 'deflate' });
  ws.binaryType = 'arraybuffer';
  let heard = 0;
  let answered = 0;
  let told = false;
  const next = () => {
    if (!told && heard >= messages && answered === pings) {
      told = true;
      ws.send('done');
    }
    if (told && heard === messages + 1 && closer === 'client') {
      ws.close(Number(code), 'the story ends');
    }
  };
  ws.onopen = () => {
    for (const { send, parts, times = 1 } of story) {
      if (!send || parts.length > 1) {
        ws.ping();
      }
      for (let time = 0; send && time < times; time++) {
        ws.send(payloads[parts.reduce((a, b) => a + b)][send]);
      }
    }
  };
  ws.onmessage = () => {
    heard++;
    next();
  };
  ws.onpong = () => {
    answered++;
    next();
  };
  ws.onclose = then;
}

export default function () {
  const urls = __ENV.URLS.split(' ');
  const next = () => urls.length && talk(urls.shift(), next);
  next();
}

export function handleSummary(data) {
  return { [__ENV.SUMMARY]: JSON.stringify(data.metrics) };
}
