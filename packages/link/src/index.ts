/** What Paceline's processes say to each other, and the client with which a child says it. */
export * from "./messages.js";
