/** Parts of the sources of the apps of `npm run field`. */

export const JSON_TYPE = "application/json";
/** Sends three lines at intervals to a node:http response. */
export const LINES = `
      const lines = async (res) => {
        for (let n = 0; n < 3; n++) {
          res.write("line " + n + "\\n");
          await new Promise((resolve) => setTimeout(resolve, 150));
        }
        res.end();
      };
      const count = async (req) => {
        let size = 0;
        for await (const part of req) size += part.length;
        return String(size);
      };`;
/** The same lines as a web stream. */
export const WEB_LINES = `
      const lines = () => new ReadableStream({
        async start(controller) {
          for (let n = 0; n < 3; n++) {
            controller.enqueue(new TextEncoder().encode("line " + n + "\\n"));
            await new Promise((resolve) => setTimeout(resolve, 150));
          }
          controller.close();
        },
      });`;
/** Paths that every app with these parts has. */
export const STREAMS = { stream: "/stream", upload: "/upload" };
