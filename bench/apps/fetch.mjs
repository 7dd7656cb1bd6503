/** The fleets' app as a fetch handler, for Paceline's instances. */
import { BODY, headersFor } from "./answer.mjs";

export default {
  fetch(request) {
    return new Response(BODY, { headers: headersFor(request.headers.get("x-request-id")) });
  },
};
