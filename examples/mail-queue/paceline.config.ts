/** A page that queues mails, a worker that sends them, and a report every minute: `npx paceline start examples/mail-queue`. */
export default {
  name: "mail-queue",
  pools: {
    web: { app: "./app.ts", instances: 2 },
    mail: { worker: "./mail.ts" },
    report: { worker: "./report.ts", cron: "* * * * *" },
  },
};
