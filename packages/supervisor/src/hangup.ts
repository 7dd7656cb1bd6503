/** Whether SIGHUP was ignored when this process was started, as nohup has it: then it stays ignored. */

// The launcher's, who can see it on every runtime; for this process alone.
export const ignoresHangup = process.env.PACELINE_NOHUP === "1";
delete process.env.PACELINE_NOHUP;
// Node has begun to listen to it by itself.
if (ignoresHangup) process.on("SIGHUP", () => {});
