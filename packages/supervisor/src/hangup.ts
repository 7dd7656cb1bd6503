/** Keeps SIGHUP ignored if it was ignored when this process was started, as under nohup. */

// Set by the launcher, which can detect it on every runtime; for this process only.
export const ignoresHangup = process.env.PACELINE_NOHUP === "1";
delete process.env.PACELINE_NOHUP;
// Node has already installed its own listener.
if (ignoresHangup) process.on("SIGHUP", () => {});
