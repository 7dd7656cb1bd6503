/** The app of the chaos soak: each response repeats its request's target. */
export default {
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    if (search !== "") await new Promise((resolve) => setTimeout(resolve, 100));
    return new Response(`you asked for ${pathname}${search}\n`);
  },
};
