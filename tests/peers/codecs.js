// Runs a codec as Node.js does: the file as it is, a context for each frame. One JSON frame a line, one JSON answer a line.
"use strict";

const vm = require("vm");
const file = process.argv[2];
const script = new vm.Script(require("fs").readFileSync(file, "utf8"), { filename: file });

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { bytes, port, unix_ms } = JSON.parse(line);
  // A Buffer of Node.js is one of its own Uint8Arrays.
  const context = vm.createContext({ Buffer, Uint8Array, atob, btoa });
  script.runInContext(context);
  context.input = { bytes, fPort: port };
  context.unix_ms = unix_ms;
  const call = "input.bytes = Array.from(input.bytes); input.recvTime = new Date(unix_ms); decodeUplink(input)";
  let answer;
  try {
    answer = vm.runInContext(call, context);
  } catch (error) {
    answer = { throws: String(error.name || error) };
  }
  console.log(JSON.stringify(answer));
});
