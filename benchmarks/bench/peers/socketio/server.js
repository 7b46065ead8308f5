// Socket.IO as its users run it: several nodes, one Redis adapter, rooms. The stream comes through Redis, as an emitter
// in another process sends it. Environment: PORT, REDIS_URL.
const { createServer } = require("http");
const { Server } = require("socket.io");
const { createClient } = require("redis");
const { createAdapter } = require("@socket.io/redis-adapter");

async function main() {
  const publisher = createClient({ url: process.env.REDIS_URL });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  let clients = 0;
  const http = createServer((request, response) => {
    const ready = request.url === "/readyz";
    response.writeHead(200, { "Content-Type": "text/plain" });
    response.end(ready ? "ready" : `node_clients ${clients}\n`);
  });
  const io = new Server(http, { transports: ["websocket"], adapter: createAdapter(publisher, subscriber) });
  io.on("connection", (socket) => {
    clients += 1;
    socket.on("subscribe", (channel) => socket.join(channel));
    socket.on("disconnect", () => { clients -= 1; });
  });
  http.listen(Number(process.env.PORT), "127.0.0.1");
}

main();
