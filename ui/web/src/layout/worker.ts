/** The layout's thread. */
import { LayoutService, type LayoutRequest } from "./messages";

const service = new LayoutService();

self.onmessage = (event: MessageEvent<LayoutRequest>) => {
  const reply = service.handle(event.data);
  self.postMessage(reply, { transfer: [reply.xy.buffer] });
};
