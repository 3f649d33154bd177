// A chat as one would write it with ws: what one sends, everybody in the room
// (the path of the URL below /chat/) gets.
'use strict';

const http = require('node:http');
const { WebSocketServer } = require('ws');

const rooms = new Map(); // name to the set of its connections

const server = http.createServer((request, response) => {
  response.writeHead(200, { 'Content-Type': 'text/plain' });
  response.end('connect to /chat/ROOM\n');
});
const sockets = new WebSocketServer({ noServer: true, maxPayload: 1 << 20 });

server.on('upgrade', (request, socket, head) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  if (!pathname.startsWith('/chat/')) {
    socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    return;
  }
  sockets.handleUpgrade(request, socket, head, (connection) => join(connection, pathname));
});

function join(connection, name) {
  const room = rooms.get(name) ?? new Set();
  rooms.set(name, room.add(connection));
  connection.on('message', (data, isBinary) => {
    for (const member of room) {
      member.send(data, { binary: isBinary });
    }
  });
  connection.on('error', () => {}); // a close follows
  connection.on('close', () => {
    room.delete(connection);
    if (room.size === 0) {
      rooms.delete(name);
    }
  });
}

const port = Number(process.env.PORT ?? 3000);
server.listen(port, 'localhost', () => console.log(`listening on ${port}`));
process.on('SIGTERM', () => process.exit(0));
process.on('SIGINT', () => process.exit(0));
