/** The processes of a command, wherever they are; apart from the rest, since node:fs costs every process on Bun that imports it. */
export * from "./error-line.js";
export * from "./listeners.js";
export * from "./processes.js";
export * from "./processes.js";
