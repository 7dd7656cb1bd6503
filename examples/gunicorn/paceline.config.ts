/** A Python API under gunicorn beside a page of ours: `npx paceline start examples/gunicorn`. */
export default {
  name: "gunicorn",
  pools: {
    web: { app: "./page.ts", instances: 1 },
    // A worker of the kind sync, of which gunicorn starts one unless told otherwise, takes one request at a time.
    api: {
      command: ["gunicorn", "--bind", "unix:{socket}", "api:app"],
      instances: 2,
      routes: ["/api/"],
      maxInFlight: 1,
    },
  },
};
