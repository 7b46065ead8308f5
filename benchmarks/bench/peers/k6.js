// k6 as its users write it: a connection per VU, each message parsed, its lateness in a Trend.
import { WebSocket } from "k6/experimental/websockets";
import { sleep } from "k6";
import { Counter, Trend } from "k6/metrics";

const lateness = new Trend("delivery_ms", true);
const deliveries = new Counter("deliveries");
const clients = Number(__ENV.CLIENTS);

export const options = {
  scenarios: {
    readers: { executor: "per-vu-iterations", vus: clients, iterations: 1, maxDuration: "10m", gracefulStop: "1s" },
  },
  summaryTrendStats: ["p(50)", "p(99)", "max"],
};

export default function () {
  sleep(((__VU - 1) / clients) * Number(__ENV.CONNECT_S));
  const socket = new WebSocket(__ENV.URL);
  socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", channels: ["news"] }));
  socket.onmessage = (event) => {
    const now = Date.now();
    const message = JSON.parse(event.data);
    if (message.at !== undefined) {
      lateness.add(now - message.at);
      deliveries.add(1);
    } else if (message.end) {
      socket.close();
    }
  };
}
