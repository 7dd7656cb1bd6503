/** What a message of a child becomes. */
import type { Notice } from "@paceline/wire";
import { expect, it } from "vitest";
import { ChildChannel, type ChildChannelEvents } from "./child-channel.js";
import type { LiveProcess } from "./live-process.js";

it.each<[Omit<Notice, "type" | "message">, string]>([
  [{}, "warn none"],
  [{ level: "error" }, "error none"],
  [{ kind: "disk" }, "warn disk"],
])("a notice with %j is an event with its level and its kind, for alerts", (more, expected) => {
  const events: string[] = [];
  const onNotice: ChildChannelEvents["onNotice"] = (_child, message, level, kind) =>
    void events.push(`${message}: ${level} ${kind ?? "none"}`);
  const channel = new ChildChannel({ events: { onHeard: () => {}, onNotice } } as unknown as ConstructorParameters<
    typeof ChildChannel
  >[0]);
  const balancer = { kind: "balancer", name: "balancer.1" } as LiveProcess;
  channel.message(balancer, { type: "notice", message: "the access log loses lines: ENOSPC", ...more });
  expect(events).toEqual([`the access log loses lines: ENOSPC: ${expected}`]);
});
