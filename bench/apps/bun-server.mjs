/** The fleets' app as a plain Bun server on a unix socket: the instances behind nginx and HAProxy. */
const { default: app } = await import(process.argv[3] ?? "./fetch.mjs");

Bun.serve({ unix: process.argv[2], idleTimeout: 0, fetch: app.fetch });
