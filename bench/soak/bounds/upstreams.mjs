/** Upstreams that send too much, to clients that read and to clients that do not. */
import { connections, get } from "./peers.mjs";

const unread = (what, reads = false) => ({
  start: ({ port }) => connections(port, 10, (socket) => socket.write(get(`/program/${what}`)), { reads }),
});

export const UPSTREAMS = Object.fromEntries(
  ["interims", "chunks", "close", "trailers", "extensions", "head", "after"].flatMap((what) => [
    [`upstream: ${what} without end, not read`, unread(what)],
    [`upstream: ${what} without end, read`, unread(what, true)],
  ]),
);
