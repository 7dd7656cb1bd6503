/** Ends the supervisor when the terminal command that started it ends. */

/** Sent on standard input by a client that leaves the fleet running. */
export const DETACH = "detach";

/** Calls `onGone` when standard input ends without `DETACH`. Returns a function that stops watching. */
export function watchClient(onGone: () => void): () => void {
  const { stdin } = process;
  let said = "";
  const hear = (text: string) => {
    said = (said + text).slice(-2 * DETACH.length);
    if (said.includes(DETACH)) unwatch();
  };
  const unwatch = () => {
    stdin.off("data", hear).off("end", onGone).off("close", onGone);
    // An open stdin would keep this process alive.
    stdin.destroy();
  };
  stdin.on("error", () => {}); // "end" or "close" follows.
  stdin.setEncoding("utf8").on("data", hear).once("end", onGone).once("close", onGone);
  return unwatch;
}
