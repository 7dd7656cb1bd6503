/** The key of kinds whose programs may take few requests at once. */
import { count } from "../fields.js";

export const maxInFlight = count(
  1024,
  "How many requests each balancer sends to one instance of a `command` or `asgi` pool at once; others wait in the request queue. If the program has few processes or threads, set it to their number.",
  { max: 100_000 },
);
