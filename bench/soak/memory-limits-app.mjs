/** The app of the memory-limits soak: grows alone, or by programs that it starts, as fast as it can. */
import { spawn } from "node:child_process";

const PROGRAMS = 24;
const PIECE_BYTES = 4 << 20;
const kept = [];

function grow() {
  kept.push(Buffer.alloc(PIECE_BYTES, 1));
  setTimeout(grow, 1);
}

export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/alone") grow();
    // tail keeps a last line without end.
    if (pathname === "/together")
      for (let n = 0; n < PROGRAMS; n++) spawn("tail", ["/dev/zero"], { stdio: "ignore" });
    return new Response("Hello World!\n");
  },
};
