/** A Python API under gunicorn, together with a page that runs in Paceline: `npx paceline start examples/gunicorn`. */
export default {
  name: "gunicorn",
  pools: {
    web: { app: "./page.ts", instances: 1 },
    // A sync worker (gunicorn starts one by default) handles one request at a time.
    api: {
      command: ["gunicorn", "--bind", "unix:{socket}", "api:app"],
      instances: 2,
      routes: ["/api/"],
      maxInFlight: 1,
    },
  },
};
