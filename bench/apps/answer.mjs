/** The app of all fleets: reads one request field and sets three response fields. */
export const BODY = "Hello World!\n";

export function headersFor(requestId) {
  return {
    "content-type": "text/plain; charset=utf-8",
    "cache-control": "no-store",
    "x-request-id": requestId ?? "none",
  };
}
