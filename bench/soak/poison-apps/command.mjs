/** The same as a program that does not know Paceline, on the socket in its arguments. */
import { createServer } from "node:http";
import handler from "./node.mjs";

const server = createServer(handler).listen({ path: process.argv[2] });
process.on("SIGTERM", () => server.close());
