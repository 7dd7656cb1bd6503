/** The supervisor's side of a start in a terminal: it ends with the command that started it. */

/** Said on standard input by a client that leaves the fleet running. */
export const DETACH = "detach";

/** Calls `onGone` when standard input ends without the word; returns what ends the watch. */
export function watchClient(onGone: () => void): () => void {
  const { stdin } = process;
  let said = "";
  const hear = (text: string) => {
    said = (said + text).slice(-2 * DETACH.length);
    if (said.includes(DETACH)) unwatch();
  };
  const unwatch = () => {
    stdin.off("data", hear).off("end", onGone).off("close", onGone);
    // Else it would keep this process.
    stdin.destroy();
  };
  stdin.on("error", () => {}); // It ends all the same.
  stdin.setEncoding("utf8").on("data", hear).once("end", onGone).once("close", onGone);
  return unwatch;
}
