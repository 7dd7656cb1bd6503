/** Servers of node:net, and options of Bun.serve, that Paceline itself makes: their listening is the real one, while that of an app is taken over. */
export const ownServers = new WeakSet<object>();
