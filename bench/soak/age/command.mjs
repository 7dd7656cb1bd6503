/** The handler as a separate program, on the socket in its argument. */
import { server } from "./handler.mjs";

server.listen({ path: process.argv[2] });
process.on("SIGTERM", () => server.close());
