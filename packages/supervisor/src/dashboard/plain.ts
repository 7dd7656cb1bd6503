/** Prints the status once per second as ASCII text or as JSON, for logs and simple terminals, until the fleet stops. */
import type { FigureHistory, FleetEvent } from "../control/api.js";
import { ControlClient } from "../control/client.js";
import { hasStopped } from "../core/words.js";
import { feedLines, feedStatus } from "./feed.js";
import { clock } from "./format.js";
import { initialModel } from "./model.js";
import { update } from "./update.js";
import { plainView } from "./view.js";

const DEFAULT_WIDTH = 120;
const TIMEOUT_MS = 10_000;
/** How long the last events may take to arrive after the connection is lost, in milliseconds. */
const EVENTS_MS = 500;

interface PlainOptions {
  socketPath: string;
  json: boolean;
  /** Whether only one status is printed. */
  once: boolean;
  /** The width in columns. Default: 120. */
  width?: number | undefined;
  print(text: string): void;
  /** Ends the loop, which otherwise runs until the fleet stops, even while the supervisor is unreachable. */
  signal: AbortSignal;
}

/** @throws PacelineError with `once` if there is no status to print */
export async function runPlain({ socketPath, json, once, width, print, signal }: PlainOptions): Promise<void> {
  let model = initialModel("attached", { width: width ?? DEFAULT_WIDTH, height: 1 }, "ascii");
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
  let stopped = false;
  let ended = false;
  let end = () => {};
  /** Called when both streams have ended. Prints that the fleet has stopped or is lost; the last frame stays. */
  const say = () => {
    const at = Date.now();
    const code = stopped ? "stopped" : "lost";
    const text = stopped ? "the fleet has stopped" : "connection lost, reconnecting";
    print(json ? JSON.stringify({ error: { code, message: text, at } }) : `${clock(at)} ${text}\n`);
    if (stopped) end();
  };
  const stopEvents = feedLines<FleetEvent>(socketPath, "/v1/events?follow=1&lines=1", (events) => {
    if (events.length === 0) return;
    stopped = hasStopped(events);
    if (stopped && lost) say();
  });
  const stopStatus = feedStatus(socketPath, {
    onStatus: (status) => {
      lost = false;
      show(status);
    },
    ...(!json && { onHistory: takeHistory }),
    onLost: () => {
      if (lost) return;
      lost = true;
      model = update(model, { type: "lost", at: Date.now() }).model;
      // The last event may arrive a moment later.
      setTimeout(() => lost && !ended && say(), EVENTS_MS);
    },
  });
  await new Promise<void>((resolve) => {
    end = resolve;
    if (signal.aborted) return resolve();
    signal.addEventListener("abort", () => resolve());
  });
  ended = true;
  stopStatus();
  stopEvents();
}
