/** Exports finding a command's processes; separate, because every process on Bun that imports node:fs pays for it. */
export * from "./error-line.js";
export * from "./listeners.js";
export * from "./processes.js";
