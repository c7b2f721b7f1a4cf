/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
'use strict';

/* npm's ws against a node that echoes:
 *
 *   npm_ws.js URL deflate|plain [CA_FILE]
 *
 * Prints what the connection came to, as JSON. */

const fs = require('fs');
const WebSocket = require('ws');
const {run} = require('./echo.js');

const [url, compression, ca] = process.argv.slice(2);

function connect() {
  const options = {perMessageDeflate: compression === 'deflate'};
  if (ca !== undefined) {
    options.ca = fs.readFileSync(ca);
    options.servername = 'localhost';
  }
  return new WebSocket(url, options);
}

/* What a browser can't. */
async function more(ws, expect) {
  const once = (name) => new Promise((resolve) => ws.once(name, resolve));
  for (const compress of [true, false]) {
    ws.send('in ', {fin: false, compress});
    ws.send('three ', {fin: false, compress});
    ws.ping('between');
    ws.send('pieces', {fin: true, compress});
    const pong = await once('pong');
    if (pong.toString() !== 'between') throw new Error(`pong ${pong}`);
    await expect('in three pieces');
  }
}

run(connect, more).then((end) => console.log(JSON.stringify(end)), (error) => {
  console.error(error);
  process.exit(1);
});
