/** Paceline's own node:net servers and Bun.serve options: they listen for real, while an app's are adopted. */
export const ownServers = new WeakSet<object>();
