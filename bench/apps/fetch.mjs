/** The fleets' app as a fetch handler: what Paceline's instances run. */
import { BODY, headersFor } from "./answer.mjs";

export default {
  fetch(request) {
    return new Response(BODY, { headers: headersFor(request.headers.get("x-request-id")) });
  },
};
