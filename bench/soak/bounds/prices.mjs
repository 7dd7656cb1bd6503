/**
 * What a connection and a request in progress cost: clients may have as many as the limits of connections and requests allow. These rows
 * have a bound for each of them instead of one for the process; docs/security.md has the figures.
 */
import { fieldsOf, streams } from "./http2.mjs";
import { connections, get } from "./peers.mjs";

/** Without a warm-up, which would leave behind the memory that is to be measured. */
const price = (count, bun, node, start, more = {}) => ({
  price: { count, kilobytes: { bun, node } },
  hasNoWarmUp: true,
  start,
  ...more,
});

export const PRICES = {
  "price: 4,000 connections without a request": price(4000, 8, 16, ({ port }) => connections(port, 4000, () => {})),
  "price: 4,000 connections over TLS without a request": price(
    4000,
    24,
    32,
    ({ tlsPort }) => connections(tlsPort, 4000, () => {}, { isSecure: true }),
    // On Node most of it is node:tls's own, in buffers of OpenSSL, and differs between runs.
    { isSecure: true, bareTls: ["node"] },
  ),
  "price: 2,000 requests in progress": price(2000, 12, 16, ({ port }) =>
    connections(port, 2000, (socket) => socket.write(get("/unread"))),
  ),
  "price: 1,000 requests of a program in progress": price(1000, 16, 16, ({ port }) =>
    connections(port, 1000, (socket) => socket.write(get("/program/unread"))),
  ),
  "price: 2,000 requests in progress over HTTP/2": price(
    2000,
    16,
    16,
    streams(40, 50, fieldsOf("GET", "/unread")).start,
  ),
};
