/** The scaling soak's app as a separate program. */
import http from "node:http";
import app from "./scaling-app.mjs";

const server = http.createServer(async (request, response) => {
  const answer = await app.fetch(new Request(`http://localhost${request.url}`));
  response.end(await answer.text());
});
server.listen(process.env.PORT, process.env.HOST);
