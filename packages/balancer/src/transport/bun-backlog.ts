/** Deepens the accept queue of a listening socket: Bun always asks for 512, too few for a thousand clients at once. */
import { dlopen } from "bun:ffi";

/** Calls listen(2) again, which only changes the queue's length. On failure the queue stays as Bun made it. */
export function deepenBacklog(fd: number, backlog: number): void {
  const library = process.platform === "darwin" ? "libSystem.dylib" : "libc.so.6";
  try {
    const libc = dlopen(library, { listen: { args: ["int", "int"], returns: "int" } });
    libc.symbols.listen(fd, backlog);
    libc.close();
  } catch {
    // A libc of another name (musl): 512 waiting connections will do.
  }
}
