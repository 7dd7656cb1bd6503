/** The limits for fuzzing the balancer's parsers: low, so that small streams reach them. */
import type { RequestHeadLimits } from "../../src/http1/request-head.js";

export const FUZZ_LIMITS: RequestHeadLimits = { maxHeadBytes: 2048, maxHeaderFields: 24, maxBodyBytes: 2048 };
