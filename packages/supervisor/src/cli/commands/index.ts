/** The registry of commands by their names, in the order in which help lists them. */

import type { DefineCommand } from "../options.js";
import { alerts } from "./alerts.js";
import { certs } from "./certs.js";
import { check } from "./check.js";
import { complete, completion } from "./completion.js";
import { deaths } from "./deaths.js";
import { deploy } from "./deploy.js";
import { diff } from "./diff.js";
import { dump } from "./dump.js";
import { events } from "./events.js";
import { explain } from "./explain.js";
import { exportUnit } from "./export.js";
import { history } from "./history.js";
import { importConfig } from "./import.js";
import { init } from "./init.js";
import { lock, unlock } from "./lock.js";
import { logs } from "./logs.js";
import { ls } from "./ls.js";
import { mcp } from "./mcp.js";
import { page } from "./page.js";
import { record } from "./record.js";
import { rehearse } from "./rehearse.js";
import { reload } from "./reload.js";
import { restart } from "./restart.js";
import { rollback } from "./rollback.js";
import { scale } from "./scale.js";
import { schema } from "./schema.js";
import { serve } from "./serve.js";
import { start } from "./start.js";
import { startup } from "./startup.js";
import { status } from "./status.js";
import { stop } from "./stop.js";
import { top } from "./top.js";
import { drain, eject, readmit, undrain, weight } from "./turns.js";
import { upgrade } from "./upgrade.js";
import { watch } from "./watch.js";

export const commands: Readonly<Record<string, DefineCommand>> = {
  start,
  stop,
  restart,
  reload,
  scale,
  upgrade,
  serve,
  ls,
  status,
  top,
  page,
  logs,
  events,
  watch,
  explain,
  deaths,
  history,
  dump,
  alerts,
  certs,
  mcp,
  deploy,
  rollback,
  diff,
  lock,
  unlock,
  drain,
  undrain,
  eject,
  readmit,
  weight,
  init,
  import: importConfig,
  check,
  rehearse,
  record,
  schema,
  export: exportUnit,
  startup,
  completion,
  complete,
};

/** The heading in help above each of these commands and those that follow it. */
export const HEADINGS: Readonly<Record<string, string>> = {
  start: "Start, stop and change a fleet:",
  ls: "See what it does:",
  deploy: "Deploy a release:",
  drain: "Take an instance out of turn:",
  init: "Write and check a configuration:",
  export: "Install, and help:",
};
