/** Says in one line why an address cannot be listened on. */
import { ServerError } from "../shared/errors.js";
import { describeAddress, type ServeAddress } from "./running-server.js";

/** The ServerError for what a runtime threw when it was to listen. */
export function listenError(address: ServeAddress, cause: unknown): ServerError {
  const where = describeAddress(address);
  const { code, message } = cause as { code?: string; message?: string };
  if (code === "EADDRINUSE") {
    return new ServerError("address-in-use", `cannot listen on ${where}: it is in use`, { cause });
  }
  return new ServerError("cannot-listen", `cannot listen on ${where}: ${message ?? cause}`, { cause });
}
