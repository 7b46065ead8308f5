// What Artillery's users add to count messages: a listener on the connection, a histogram and a counter.
const ended = new WeakMap();

function listen(context, events, done) {
  const socket = context.ws;
  ended.set(socket, new Promise((resolve) => socket.once("close", resolve)));
  socket.on("message", (data) => {
    const now = Date.now();
    const message = JSON.parse(data);
    if (message.at !== undefined) {
      events.emit("histogram", "delivery_ms", now - message.at);
      events.emit("counter", "deliveries", 1);
    } else if (message.end) {
      socket.close();
    }
  });
  return done();
}

function untilTheEnd(context, events, done) {
  ended.get(context.ws).then(() => done());
}

module.exports = { listen, untilTheEnd };
