/** The page's side of the layout worker: one request at a time, and of those that wait only the newest. */
import type { LayoutReply, LayoutRequest } from "./messages";

export class LayoutClient {
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), {
    type: "module",
    name: "layout",
  });
  private running: LayoutRequest | null = null;
  private waiting: LayoutRequest | null = null;

  /** `onReply` gets each reply with the request it answers. */
  constructor(onReply: (request: LayoutRequest, reply: LayoutReply) => void) {
    this.worker.onmessage = (event: MessageEvent<LayoutReply>) => {
      const request = this.running;
      this.running = null;
      if (request) onReply(request, event.data);
      const next = this.waiting;
      this.waiting = null;
      if (next && !this.running) this.send(next);
    };
  }

  request(request: LayoutRequest): void {
    if (!this.running) return this.send(request);
    const unanswered = this.waiting?.layout === request.layout && this.waiting.tidy;
    this.waiting = { ...request, tidy: request.tidy || unanswered };
  }

  close(): void {
    this.worker.terminate();
  }

  private send(request: LayoutRequest): void {
    this.running = request;
    this.worker.postMessage(request);
  }
}
