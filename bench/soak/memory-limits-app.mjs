/**
 * The app of the memory-limits soak: its memory grows as fast as possible, in its own process, with its event loop turning or not, or in
 * programs that it starts.
 */
import { spawn } from "node:child_process";

/** tail keeps an endless last line in memory. */
const PROGRAMS = "for n in $(seq 32); do tail /dev/zero & done; wait";
const PIECE_BYTES = 4 << 20;
const kept = [];

const take = () => kept.push(Buffer.alloc(PIECE_BYTES, 1));

function grow() {
  take();
  setTimeout(grow, 1);
}

function block() {
  for (;;) take();
}

export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/alone") grow();
    if (pathname === "/blocked") setTimeout(block, 100);
    if (pathname === "/together") spawn("sh", ["-c", PROGRAMS], { stdio: "ignore" });
    return new Response("Hello World!\n");
  },
};
