// There is one room, so there is one process: with more processes, each would have separate listeners.
export default {
  app: "./app.ts",
  instances: 1,
  // Listeners never end by themselves; on a reload they are disconnected after this time, and their browsers reconnect.
  drainTimeoutMs: 2000,
};
