/** The handler as a program of its own, on the socket that its argument names. */
import { server } from "./handler.mjs";

server.listen({ path: process.argv[2] });
process.on("SIGTERM", () => server.close());
