// The smallest app: every request gets the same answer.
export default {
  fetch() {
    return new Response("Hello World!\n");
  },
};
