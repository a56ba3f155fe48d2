/** Talking to the service: plain requests, and a feed that says honestly whether it is live. */

const SILENCE_MS = 11_000; // the service speaks every 5 s, if only to say that it is there
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 5_000;

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? String(status));
    this.status = status;
  }
}

async function answer(response) {
  if (response.status === 401) location.assign("/login");
  if (!response.ok) throw new Refused(response.status, await response.json().catch(() => ({})));
  return response.json();
}

export const getJson = async (path) => answer(await fetch(path, { cache: "no-store" }));

export const postJson = async (path, body) =>
  answer(
    await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
  );

/**
 * The live feed from `cursor` on. After a drop it asks for everything after the last event it had, so nothing is missed.
 * Not EventSource: that hides the service's heartbeats, without which a dead line looks like a quiet day.
 */
export class Feed {
  constructor(path, cursor, { onEvent, onState }) {
    Object.assign(this, { path, cursor, onEvent, onState, retryMs: FIRST_RETRY_MS, heardMs: performance.now() });
    setInterval(() => this.#watch(), 1_000);
    addEventListener("online", () => this.#abort());
    addEventListener("offline", () => this.#abort());
    this.#run();
  }

  #abort() {
    this.aborter?.abort();
  }

  #watch() {
    if (performance.now() - this.heardMs > SILENCE_MS) this.#abort();
  }

  async #run() {
    for (;;) {
      try {
        await this.#listen();
      } catch {
        // Whatever it was, the remedy is the same: say that we are stale, and try again.
      }
      this.onState(false);
      await new Promise((resolve) => setTimeout(resolve, this.retryMs));
      this.retryMs = Math.min(2 * this.retryMs, LAST_RETRY_MS);
    }
  }

  async #listen() {
    this.aborter = new AbortController();
    this.heardMs = performance.now();
    const response = await fetch(`${this.path}?cursor=${this.cursor}`, { cache: "no-store", signal: this.aborter.signal });
    if (response.status === 401) location.assign("/login");
    if (!response.ok) throw new Error(String(response.status));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      this.heardMs = performance.now();
      this.retryMs = FIRST_RETRY_MS;
      this.onState(true);
      buffer += value;
      const events = buffer.split("\n\n");
      buffer = events.pop();
      for (const event of events) this.#take(event);
    }
  }

  #take(event) {
    const fields = Object.fromEntries(
      event.split("\n").filter((line) => !line.startsWith(":")).map((line) => line.split(/: ?(.*)/s).slice(0, 2)),
    );
    if (fields.id !== undefined) this.cursor = Number(fields.id);
    if (fields.data !== undefined) this.onEvent(JSON.parse(fields.data));
  }
}
