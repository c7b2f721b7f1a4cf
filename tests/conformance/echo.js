/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
'use strict';

/* What a browser's WebSocket can do, against a node that echoes: for Chromium
 * and for npm's ws, which has the same face. */

const MIB = 1 << 20;

function bytes(n) {
  const out = new Uint8Array(n);
  for (let i = 0, x = 1; i < n; i++) {
    x = (x * 48271) % 2147483647;
    out[i] = x;
  }
  return out;
}

const ECHOES = [
  '', 'a', 'é'.repeat(100), '🦉'.repeat(5000), 'x'.repeat(125), 'x'.repeat(126),
  'word '.repeat(13000), 'y'.repeat(MIB),
  bytes(0), bytes(1), bytes(125), bytes(126), bytes(65535), bytes(65536),
  bytes(MIB), new Uint8Array(MIB),
];

function same(a, b) {
  if (typeof a === 'string' || typeof b === 'string') return a === b;
  const [x, y] = [new Uint8Array(a), new Uint8Array(b)];
  return x.length === y.length && x.every((byte, i) => byte === y[i]);
}

/* Promises of events. */
function watch(ws) {
  const waiting = [];
  const come = [];
  ws.binaryType = 'arraybuffer';
  const opened = new Promise((resolve, reject) => {
    ws.onopen = resolve;
    ws.onerror = () => reject(new Error('could not connect'));
  });
  const closed = new Promise((resolve) => {
    ws.onclose = (event) => resolve(event);
  });
  ws.onmessage = (event) => {
    if (waiting.length > 0) waiting.shift()(event.data);
    else come.push(event.data);
  };
  const next = () => new Promise((resolve) => {
    if (come.length > 0) resolve(come.shift());
    else waiting.push(resolve);
  });
  return {opened, closed, next};
}

async function expect(next, sent) {
  const got = await next();
  if (!same(got, sent))
    throw new Error(`sent ${sent.length} ${typeof sent}, got ` +
                    `${got.length ?? got.byteLength} ${typeof got}`);
}

/* `connect` makes a socket; `more`, if any, goes on with the open one. */
async function run(connect, more) {
  const ws = connect();
  const {opened, closed, next} = watch(ws);
  await opened;
  for (const message of ECHOES) {
    ws.send(message);
    await expect(next, message);
  }
  for (let i = 0; i < 1000; i++) ws.send(`${i} `.repeat(1 + i % 100));
  for (let i = 0; i < 1000; i++) await expect(next, `${i} `.repeat(1 + i % 100));
  if (more !== undefined) await more(ws, (sent) => expect(next, sent));
  const extensions = ws.extensions;
  ws.close(4001, 'done');
  const end = await closed;
  return {extensions, code: end.code, clean: end.wasClean};
}

if (typeof module !== 'undefined') module.exports = {run};
