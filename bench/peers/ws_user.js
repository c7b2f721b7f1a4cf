// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The libclusterpush authors
//
// What one would write in Node: ws and ioredis, a Redis channel for each user,
// subscribed while a socket of that user is here. It understands what cp-node
// does ("u17 hello", "* hello"), and so can be measured by the same program.
//
//   node ws_user.js REDIS_PORT      prints "listening on 127.0.0.1:PORT"
//
// It is meant to be as fast as this design gets: PUBLISHes of one turn leave in
// one write (enableAutoPipelining), ws has its native part (bufferutil) and
// does not compress.
'use strict';

const { WebSocketServer } = require('ws');
const Redis = require('ioredis');

const EVERYBODY = '*';
const channelOf = (user) => 'u:' + user;

const redis = { host: '127.0.0.1', port: Number(process.argv[2]) };
const publisher = new Redis({ ...redis, enableAutoPipelining: true });
const subscriber = new Redis(redis);
const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  backlog: 4096,
  perMessageDeflate: false,
});
const sockets = new Map(); // of each user here, by channel: a Set

function deliver(channel, text) {
  const targets =
    channel === channelOf(EVERYBODY) ? server.clients : sockets.get(channel);
  for (const socket of targets ?? []) socket.send(text);
}

function join(channel, socket) {
  if (!sockets.has(channel)) {
    sockets.set(channel, new Set());
    subscriber.subscribe(channel);
  }
  sockets.get(channel).add(socket);
}

function leave(channel, socket) {
  sockets.get(channel).delete(socket);
  if (sockets.get(channel).size > 0) return;
  sockets.delete(channel);
  subscriber.unsubscribe(channel);
}

function relay(message) {
  const text = message.toString();
  const space = text.indexOf(' ');
  publisher.publish(channelOf(text.slice(0, space)), text.slice(space + 1));
}

server.on('connection', (socket, request) => {
  const user = new URL(request.url, 'ws://here').searchParams.get('user');
  const channel = channelOf(user);
  join(channel, socket);
  socket.on('message', relay);
  socket.on('error', () => {}); // close follows
  socket.on('close', () => leave(channel, socket));
});

subscriber.on('message', deliver);
subscriber.subscribe(channelOf(EVERYBODY)).then(() => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
