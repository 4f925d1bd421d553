/** A WebSocket that does not give up: reconnects with growing pauses until it is closed. */

export interface FeedEvents {
  /** Connected. What follows begins with a full reset, so nothing need be kept from before. */
  onUp(): void;
  /** Not connected; the next try is at `retryAtMs` of `Date.now()`. */
  onLost(retryAtMs: number): void;
  /** One decoded message. */
  onMessage(message: unknown): void;
}

/** First pause, doubled with each failure. */
const RETRY_FIRST_MS = 1000;
/** A person watching a peer restart waits no longer than this. */
const RETRY_MAX_MS = 10_000;
/** Share of the pause that is random, so that a restarted peer is not met by all browsers at once. */
const RETRY_JITTER = 0.2;

/** The pause before try number `attempt`, counted from 0. `random` is in [0, 1). */
export function retryDelayMs(attempt: number, random: number): number {
  const pause = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(pause * (1 - RETRY_JITTER * random));
}

export class Feed {
  private socket: WebSocket | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private attempt = 0;
  private closed = false;

  constructor(
    private readonly url: string,
    private readonly events: FeedEvents,
  ) {
    this.connect();
  }

  /** For good. No event follows. */
  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }

  /** Tries at once instead of at the end of the pause. Does nothing while connected. */
  retryNow(): void {
    if (this.closed || this.socket) return;
    clearTimeout(this.timer);
    this.connect();
  }

  /** Gives up a connection that is known to be dead, though its end has not been seen. */
  restart(): void {
    const socket = this.socket;
    if (!socket || this.closed) return;
    this.lost(socket);
    socket.close();
  }

  private connect(): void {
    const socket = new WebSocket(this.url);
    this.socket = socket;
    socket.onopen = () => {
      if (socket !== this.socket || this.closed) return;
      this.attempt = 0;
      this.events.onUp();
    };
    socket.onmessage = (event) => {
      if (socket === this.socket && !this.closed) this.receive(event.data);
    };
    // An error is always followed by a close.
    socket.onclose = () => this.lost(socket);
  }

  private receive(data: unknown): void {
    if (typeof data !== "string") return;
    let message: unknown;
    try {
      message = JSON.parse(data);
    } catch {
      // What we cannot read may have held changes: begin anew with a reset.
      this.restart();
      return;
    }
    this.events.onMessage(message);
  }

  private lost(socket: WebSocket): void {
    if (socket !== this.socket || this.closed) return;
    this.socket = null;
    const delay = retryDelayMs(this.attempt, Math.random());
    this.attempt += 1;
    this.timer = setTimeout(() => this.connect(), delay);
    this.events.onLost(Date.now() + delay);
  }
}
