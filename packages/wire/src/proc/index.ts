/** Exports the code that finds a command's processes. Separate, because an import of node:fs costs every process on Bun memory. */
export * from "./error-line.js";
export * from "./listeners.js";
export * from "./processes.js";
