/** Runs the dashboard in the terminal: passes messages to the model, carries out its effects, and draws it. */
import type { FleetEvent, LogLine, OperationResult } from "../control/api.js";
import { ControlClient } from "../control/client.js";
import type { Glyphs } from "./chart.js";
import { feedLines, feedStatus } from "./feed.js";
import { ZOOMS } from "./history.js";
import { type Effect, followed, initialModel, type Message, type Ownership, watched } from "./model.js";
import { isInForeground, openTerminal } from "./terminal.js";
import { update } from "./update.js";
import { view } from "./view.js";

/** The delay before the log of a row is followed, in milliseconds, so that moving through the rows does not load each log. */
const FOLLOW_DELAY_MS = 150;
const LOG_LINES = 2000;
const DEATHS_TIMEOUT_MS = 5000;
const SIGNALS: NodeJS.Signals[] = ["SIGTERM", "SIGINT", "SIGHUP"];

interface DashboardOptions {
  socketPath: string;
  ownership: Ownership;
  colour: boolean;
  glyphs: Glyphs;
  /** Writes a dump of a process to a new file in the working directory, and returns a message. */
  saveDump(target: string, details: Record<string, unknown>): string;
  /** Stops a fleet that this program has started; a second call stops it at once. */
  onStop?(): void;
  /** Ends the dashboard when its fleet has stopped. */
  ended?: Promise<unknown>;
}

/** Why the dashboard ended. The terminal is restored. */
export type Leaving = { by: "key" } | { by: "end" } | { by: "signal"; signal: NodeJS.Signals };

export function runDashboard(options: DashboardOptions): Promise<Leaving> {
  const { socketPath, ownership, colour, glyphs } = options;
  return new Promise((resolve) => {
    const terminal = openTerminal({
      colour,
      onKey: (key, at) => dispatch({ type: "key", key, at }, true),
      onPasted: (text, at) => dispatch({ type: "pasted", text, at }, true),
      onMouse: (press) => dispatch({ type: "mouse", at: Date.now(), ...press }, true),
      onResize: (size) => dispatch({ type: "resize", ...size }, true),
    });
    let model = initialModel(ownership, terminal.size, glyphs);
    const frames = new Frames(() => terminal.draw(view(model)));
    let log: { name: string | null | undefined; stop(): void } = { name: undefined, stop: () => {} };

    const dispatch = (message: Message, urgent = false) => {
      const step = update(model, message);
      model = step.model;
      for (const effect of step.effects) perform(effect);
      if (followed(model) !== log.name) followLog(followed(model));
      frames.request(urgent);
    };

    const perform = (effect: Effect) => {
      switch (effect.type) {
        case "operate":
          return void operate(effect);
        case "loadDeaths":
          return void loadDeaths();
        case "copy":
          return terminal.copy(effect.text);
        case "mouse":
          return terminal.reportMouse(effect.on);
        case "stop":
          return options.onStop?.();
        case "quit":
          return leave({ by: "key" });
        default:
          return effect satisfies never;
      }
    };

    const operate = async ({ id, path, body }: Extract<Effect, { type: "operate" }>) => {
      const onProgress = (message: string) => dispatch({ type: "progress", id, message });
      const result = await new ControlClient({ socketPath })
        .operate("POST", path, body, onProgress)
        .then((given) => saved(given, body as { target?: string }))
        .catch((error: Error): OperationResult => ({ ok: false, code: "failed", message: error.message }));
      dispatch({ type: "result", id, result, at: Date.now() }, true);
    };

    const saved = (result: OperationResult, { target = "" }: { target?: string }): OperationResult =>
      result.ok && result.details?.path !== undefined
        ? { ok: true, message: options.saveDump(target, result.details) }
        : result;

    const loadDeaths = async () => {
      // If there is no response, the known reports stay.
      const deaths = await new ControlClient({ socketPath, timeoutMs: DEATHS_TIMEOUT_MS }).deaths().catch(() => null);
      if (deaths !== null) dispatch({ type: "deaths", deaths }, true);
    };

    const followLog = (name: string | null | undefined) => {
      log.stop();
      if (name === undefined) {
        log = { name, stop: () => {} };
        return;
      }
      let stop = () => {};
      const timer = setTimeout(() => {
        const about = name === null ? "" : `&name=${encodeURIComponent(name)}`;
        const path = `/v1/logs?follow=1&lines=${LOG_LINES}${about}`;
        stop = feedLines<LogLine>(socketPath, path, (lines, fresh) => dispatch({ type: "log", name, lines, fresh }));
      }, FOLLOW_DELAY_MS);
      log = {
        name,
        stop: () => {
          clearTimeout(timer);
          stop();
        },
      };
    };

    const stopStatus = feedStatus(socketPath, {
      onStatus: (status) => dispatch({ type: "status", status, at: Date.now() }),
      onHistory: (zoom, history) => dispatch({ type: "history", zoom, history }),
      wantsMinutes: () => ZOOMS[model.zoom]?.from === "minutes",
      watched: () => watched(model),
      onOpen: (name, requests) => dispatch({ type: "open", name, requests }),
      onLost: () => dispatch({ type: "lost", at: Date.now() }),
    });
    const stopEvents = feedLines<FleetEvent>(socketPath, "/v1/events?follow=1&lines=200", (events, fresh) =>
      dispatch({ type: "events", events, fresh }),
    );

    const crash = (error: unknown) => {
      terminal.restore();
      process.stderr.write(`paceline: ${error instanceof Error ? error.stack : error}\n`);
      process.exit(1);
    };
    const handlers = SIGNALS.map((signal) => [signal, () => leave({ by: "signal", signal })] as const);
    // If the terminal is closed, its input ends.
    const hangUp = () => leave({ by: "signal", signal: "SIGHUP" });
    let left = false;
    const leave = (leaving: Leaving) => {
      if (left) return;
      left = true;
      frames.stop();
      stopStatus();
      stopEvents();
      log.stop();
      terminal.restore();
      process.off("uncaughtException", crash).off("unhandledRejection", crash);
      process.off("exit", terminal.restore);
      for (const [signal, handler] of handlers) process.off(signal, handler);
      process.stdin.off("end", hangUp).off("error", hangUp);
      process.stdout.off("error", hangUp);
      if (leaving.by === "signal") process.once("exit", () => endBy(leaving.signal));
      resolve(leaving);
    };
    process.on("uncaughtException", crash).on("unhandledRejection", crash);
    process.on("exit", terminal.restore);
    for (const [signal, handler] of handlers) process.on(signal, handler);
    process.stdin.on("end", hangUp).on("error", hangUp);
    process.stdout.on("error", hangUp);
    void options.ended?.then(() => leave({ by: "end" }));
    frames.request(true);
  });
}

/**
 * Ends a process in the background by the signal itself. At an ordinary exit the runtime would restore the terminal, for which the kernel
 * would stop the process.
 */
function endBy(signal: NodeJS.Signals): void {
  if (isInForeground()) return;
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

/** Figures change once a second, so two frames per second are enough. In milliseconds. */
const FRAME_MS = 500;
/** Repeated keys are drawn together. In milliseconds. */
const KEY_FRAME_MS = 30;

class Frames {
  private timer: NodeJS.Timeout | undefined;
  private dueAt = Number.POSITIVE_INFINITY;
  private drawnAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly draw: () => void) {}

  /** Schedules a frame; `urgent` if the user waits for it. */
  request(urgent: boolean): void {
    const now = performance.now();
    const dueAt = Math.max(now, this.drawnAt + (urgent ? KEY_FRAME_MS : FRAME_MS));
    if (dueAt >= this.dueAt) return;
    clearTimeout(this.timer);
    this.dueAt = dueAt;
    this.timer = setTimeout(() => this.now(), dueAt - now);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.dueAt = Number.NEGATIVE_INFINITY;
  }

  private now(): void {
    this.dueAt = Number.POSITIVE_INFINITY;
    this.drawnAt = performance.now();
    this.draw();
  }
}
