/** Every kind of pool there is; a new one is a file beside this one and a line here. */
import { app } from "./app.js";
import { asgi } from "./asgi.js";
import { command } from "./command.js";
import { fapws } from "./fapws.js";
import type { Fields, PoolKind } from "./kind.js";
import { proxy } from "./proxy.js";
import { staticFiles } from "./static.js";
import { wsgi } from "./wsgi.js";

const ALL = [app, staticFiles, wsgi, asgi, fapws, command, proxy] as const;

type Merged<U> = (U extends unknown ? (each: U) => void : never) extends (all: infer All) => void ? All : never;

/** As one list, whatever their keys are. */
export const POOL_KINDS = ALL as unknown as readonly PoolKind<Fields>[];

/** The keys of all kinds. */
export const kindFields = Object.assign({}, ...ALL.map(({ fields }) => fields)) as Merged<
  (typeof ALL)[number]["fields"]
>;

export const KIND_NAMES = POOL_KINDS.map(({ name }) => name);
