// The smallest app: every request gets the same response.
export default {
  fetch() {
    return new Response("Hello World!\n");
  },
};
