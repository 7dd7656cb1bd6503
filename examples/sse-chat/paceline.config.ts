// One room, so one process: with more of them each would have listeners of its own.
export default {
  app: "./app.ts",
  instances: 1,
  // Listeners never end by themselves; on a reload they are cut after this, and their browsers come again.
  drainTimeoutMs: 2000,
};
