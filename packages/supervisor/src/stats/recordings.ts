/** The recordings under way: the balancers report their requests while there is one. */
import type { RecordedRequests } from "@paceline/wire";
import type { RecordingLine } from "../control/api.js";

type Listener = (lines: readonly RecordingLine[]) => void;

export class Recordings {
  private readonly listeners = new Set<Listener>();

  /** @param follow tells the balancers what `areOn` is. Resolves when they know */
  constructor(private readonly follow: () => Promise<unknown>) {}

  get areOn(): boolean {
    return this.listeners.size > 0;
  }

  /** Returns a function that ends it. */
  add(listener: Listener): () => void {
    this.listeners.add(listener);
    void this.follow().then(() => {
      if (this.listeners.has(listener)) listener([{ began: true }]);
    });
    return () => {
      if (this.listeners.delete(listener)) void this.follow();
    };
  }

  heard({ requests, lost }: Pick<RecordedRequests, "requests" | "lost">): void {
    const lines: RecordingLine[] = lost > 0 ? [{ lost }, ...requests] : requests;
    for (const listener of this.listeners) listener(lines);
  }
}
