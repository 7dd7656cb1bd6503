/** Prints the status once a second as text or JSON, for logs and simple terminals. */
import type { FigureHistory } from "../control/api.js";
import { ControlClient } from "../control/client.js";
import { feedStatus } from "./feed.js";
import { clock } from "./format.js";
import { initialModel } from "./model.js";
import { update } from "./update.js";
import { plainView } from "./view.js";

const DEFAULT_WIDTH = 120;
const TIMEOUT_MS = 10_000;

export interface PlainOptions {
  socketPath: string;
  json: boolean;
  /** Print one status only. */
  once: boolean;
  /** The width in columns. Default: 120. */
  width?: number | undefined;
  print(text: string): void;
  /** Ends the loop, which otherwise continues even if the supervisor goes away. */
  signal: AbortSignal;
}

/** @throws PacelineError with `once` if there is no status to print */
export async function runPlain({ socketPath, json, once, width, print, signal }: PlainOptions): Promise<void> {
  let model = initialModel("attached", { width: width ?? DEFAULT_WIDTH, height: 1 });
  const show = (status: Parameters<Parameters<typeof feedStatus>[1]["onStatus"]>[0]) => {
    if (json) return print(JSON.stringify(status));
    model = update(model, { type: "status", status, at: Date.now() }).model;
    const lines = plainView(model, model.size.width).map((line) =>
      line
        .map(({ text }) => text)
        .join("")
        .trimEnd(),
    );
    print(`${lines.join("\n")}\n`);
  };
  const takeHistory = (zoom: "seconds" | "minutes", history: FigureHistory) => {
    model = update(model, { type: "history", zoom, history }).model;
  };
  if (once) {
    const client = new ControlClient({ socketPath, timeoutMs: TIMEOUT_MS });
    const status = await client.status();
    // The supervisor of an earlier version keeps no history.
    if (!json && status.traffic !== undefined) takeHistory("seconds", await client.history("seconds"));
    return show(status);
  }
  let lost = false;
  const stop = feedStatus(socketPath, {
    onStatus: (status) => {
      lost = false;
      show(status);
    },
    ...(!json && { onHistory: takeHistory }),
    onLost: () => {
      const at = Date.now();
      model = update(model, { type: "lost", at }).model;
      const text = "connection lost, reconnecting";
      if (!lost)
        print(json ? JSON.stringify({ error: { code: "lost", message: text, at } }) : `${clock(at)} ${text}\n`);
      lost = true;
    },
  });
  await new Promise<void>((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve());
  });
  stop();
}
