/** All rows of the bounds soak, by name. */
import { APPS } from "./apps.mjs";
import { CLIENTS } from "./clients.mjs";
import { HTTP2_CLIENTS } from "./http2.mjs";
import { LANES } from "./lanes.mjs";
import { PRICES } from "./prices.mjs";
import { UPSTREAMS } from "./upstreams.mjs";

/** The peers of these rows can attack any server in front of the same app and program. */
const onAnyServer = (rows) =>
  Object.fromEntries(
    Object.entries(rows).map(([name, row]) => [
      name,
      { ...row, hasYardstick: row.alone === undefined && row.isSecure !== true },
    ]),
  );

export const ROWS = {
  ...onAnyServer(CLIENTS),
  ...HTTP2_CLIENTS,
  ...onAnyServer(UPSTREAMS),
  ...LANES,
  ...APPS,
  ...PRICES,
};
