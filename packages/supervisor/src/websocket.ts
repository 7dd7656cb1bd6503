/** `paceline/websocket`: WebSockets for fetch apps. */
export * from "@paceline/server/websocket";
