// Loops of node that are sick in a known way, and healthy ones that look like it: `node sick_loops.js MODE MS`.
//
// Prints `ready {"pid":…,"tids":{…}}`, stays so, and ends by itself after five minutes. MS is how long each callback
// computes.
"use strict";
const child_process = require("child_process");
const http = require("http");

// A server, and a process of its own that makes a connection to it three times a second.
function besieged(then) {
  const server = http.createServer((request, response) => response.end("done"));
  server.listen(0, "127.0.0.1", () => {
    const client = `
      const kept = [];
      const ask = () => {
        const one = require("net").connect(${server.address().port}, "127.0.0.1");
        kept.push(one.on("error", () => {}));
      };
      process.stdin.on("end", () => process.exit()).resume();
      setInterval(ask, 300);`;
    child_process.spawn(process.execPath, ["-e", client], { stdio: ["pipe", "ignore", "ignore"] });
    setTimeout(then, 1500);
  });
}

function compute(ms) {
  const end = process.hrtime.bigint() + BigInt(Math.round(ms * 1e6));
  let sum = 0;
  while (process.hrtime.bigint() < end) {
    for (let value = 0; value < 1000; value++) sum += value * value;
  }
  return sum;
}

const modes = {
  // Never runs dry: each callback asks for the next.
  immediate(ms) {
    const again = () => {
      compute(ms);
      setImmediate(again);
    };
    again();
  },
  // A server at its limit: it is its own client, so that there is always another request.
  server(ms) {
    const server = http.createServer((request, response) => {
      compute(ms);
      response.end("done");
    });
    server.listen(0, "127.0.0.1", () => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
      const ask = () =>
        http.get({ port: server.address().port, agent }, (response) => {
          response.resume();
          response.on("end", ask);
        });
      for (let count = 0; count < 16; count++) ask();
    });
  },
  // One callback that never ends, while a server should answer.
  forever() {
    http.createServer((request, response) => response.end("done")).listen(0, "127.0.0.1");
    setTimeout(() => compute(1e9), 50);
  },
  // The same, with connections that come meanwhile and wait to be accepted.
  unaccepted() {
    besieged(() => compute(1e9));
  },
  // A callback that waits for another thread, with connections that come.
  waits() {
    besieged(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
  },
  // A callback that waits for a child: in a loop of its own, which serves nobody else.
  sync() {
    besieged(() => child_process.execSync("sleep 300"));
  },
  // The child is waited for as it should be.
  async() {
    besieged(() => child_process.exec("sleep 300"));
  },
  // Nothing to do.
  idle() {
    http.createServer((request, response) => response.end("done")).listen(0, "127.0.0.1");
  },
};

setTimeout(() => process.exit(), 300000).unref();
modes[process.argv[2]](Number(process.argv[3] || 3));
console.log("ready " + JSON.stringify({ pid: process.pid, tids: { main: process.pid } }));
